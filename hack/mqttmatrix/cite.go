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

// citations are those of a text, in order, with the offset of each.
func citations(text string) (found []cited, at []int, err error) {
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

// splitNumber reads 3.3.2-15.
func splitNumber(s string) (section string, n int, err error) {
	m := number.FindStringSubmatch(s)
	if m == nil {
		return "", 0, fmt.Errorf("%q is not the number of a statement", s)
	}
	n, err = strconv.Atoi(m[2])
	return m[1], n, err
}
