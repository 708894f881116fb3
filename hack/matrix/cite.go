package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// citation matches [MQTT-3.3.1-3], and what stands for several: [MQTT5-3.3.2-15 to 18, 20], [MQTT-3.3.1-5, 3.3.1-10].
var citation = regexp.MustCompile(`\[(MQTT5?-)([0-9][^\]\n]*)\]`)

// cited is a number that a text cites.
type cited struct {
	prefix, number string
}

// section matches 2 §2.6.14, section 2.6.14 of part 2 of AMQP 1.0, with what stands before it, a part of it that has a name,
// 2 §2.8.18/stolen, and what stands for several, 3 §3.2.11 to 3 §3.2.14.
var section = regexp.MustCompile(`(^|MQTT |[^-.\w])\b([1-5]) §([0-9]+(?:\.[0-9]+)+)(/[a-z0-9-]+)?(?: to [1-5] §([0-9.]*[0-9]))?`)

// prefixAMQP10 is that of the sections of AMQP 1.0 here.
const prefixAMQP10 = "AMQP10-"

// citations are those of a text with the offset of each, first the numbers of MQTT.
func citations(text string) (found []cited, at []int, err error) {
	if found, at, err = numbered(text); err != nil {
		return nil, nil, err
	}
	for _, m := range section.FindAllStringSubmatchIndex(text, -1) {
		group := func(n int) string {
			if m[2*n] < 0 {
				return ""
			}
			return text[m[2*n]:m[2*n+1]]
		}
		if group(1) == "MQTT " {
			continue // a section of MQTT 5
		}
		sections, err := sectionsTo(group(2), group(3), group(5))
		if err != nil {
			return nil, nil, err
		}
		for _, n := range sections {
			found, at = append(found, cited{prefixAMQP10, n + group(4)}), append(at, m[4])
		}
	}
	return found, at, nil
}

// sectionsTo are the sections from first to last, which is empty when there is one.
func sectionsTo(part, first, last string) (all []string, err error) {
	if !strings.HasPrefix(first, part+".") {
		return nil, fmt.Errorf("%s §%s: part %s has no section %s", part, first, part, first)
	}
	if last == "" {
		return []string{first}, nil
	}
	dot := strings.LastIndexByte(first, '.')
	from, _ := strconv.Atoi(first[dot+1:]) // the pattern has digits there
	to, err := strconv.Atoi(strings.TrimPrefix(last, first[:dot+1]))
	if err != nil || to <= from {
		return nil, fmt.Errorf("%s §%s to %s is no range", part, first, last)
	}
	for n := from; n <= to; n++ {
		all = append(all, first[:dot+1]+strconv.Itoa(n))
	}
	return all, nil
}

// numbered are the citations of MQTT.
func numbered(text string) (found []cited, at []int, err error) {
	for _, m := range citation.FindAllStringSubmatchIndex(text, -1) {
		prefix, list := text[m[2]:m[3]], text[m[4]:m[5]]
		numbers, err := expand(list)
		if err != nil {
			return nil, nil, fmt.Errorf("[%s%s]: %w", prefix, list, err)
		}
		for _, n := range numbers {
			found, at = append(found, cited{prefix, n}), append(at, m[0])
		}
	}
	return found, at, nil
}

// expand reads "3.3.2-15 to 18, 20": later numbers may leave out the section, which stays the same.
func expand(list string) (numbers []string, err error) {
	section := ""
	for _, item := range strings.Split(list, ", ") {
		first, last, isRange := strings.Cut(item, " to ")
		if !strings.Contains(first, "-") {
			first = section + "-" + first
		}
		var n int
		if section, n, err = splitNumber(first); err != nil {
			return nil, err
		}
		end := n
		if isRange {
			if end, err = strconv.Atoi(last); err != nil || end <= n {
				return nil, fmt.Errorf("%q is no range", item)
			}
		}
		for ; n <= end; n++ {
			numbers = append(numbers, fmt.Sprintf("%s-%d", section, n))
		}
	}
	return numbers, nil
}

var number = regexp.MustCompile(`^([0-9]+\.[0-9]+\.[0-9]+)-([0-9]+)$`)

var sectionNumber = regexp.MustCompile(`^[1-5](\.[0-9]+)+(/[a-z0-9-]+)?$`)

// checkSection says whether a statement of AMQP 1.0 is numbered as one: by its section, and a name where a section has several.
func checkSection(s string) error {
	if !sectionNumber.MatchString(s) {
		return fmt.Errorf("%q is not the number of a section, with or without a name behind a slash", s)
	}
	return nil
}

func checkNumber(s string) error {
	_, _, err := splitNumber(s)
	return err
}

// splitNumber reads 3.3.2-15.
func splitNumber(s string) (section string, n int, err error) {
	m := number.FindStringSubmatch(s)
	if m == nil {
		return "", 0, fmt.Errorf("%q is not the number of a statement", s)
	}
	n, err = strconv.Atoi(m[2])
	return m[1], n, err
}
