// Package topic holds the names that messages are routed by, and the patterns that match them.
//
// The topic of MQTT and the routing key of AMQP are one name in two spellings that Swap turns into one another; the
// topic filter of MQTT and the binding key of a topic exchange are two dialects of patterns over that name. Tree matches
// both at once. The package knows no exchange, no subscription and no permission; router, retain, auth and the endpoints
// call it.
package topic

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Form is the spelling of a name, and the dialect of a pattern.
type Form uint8

// The forms. A level of one spelling is a word of the other; only the byte between them differs.
const (
	MQTT Form = 1 // levels between '/'; '+' is one level, a last '#' is that level, what is below it, and its parent
	AMQP Form = 2 // words between '.'; '*' is one word, '#' anywhere is zero or more words
)

// maxBytes is what the length prefix of an MQTT string can say. [MQTT-4.7.3-3]
const maxBytes = 65535

// Swap turns every '/' into '.' and every '.' into '/': a topic into a routing key and back. It is its own inverse, so
// that every name comes back unchanged from the other spelling. A name without either is answered as it is, uncopied.
func Swap(name string) string {
	if strings.IndexByte(name, '/') < 0 && strings.IndexByte(name, '.') < 0 {
		return name
	}
	b := []byte(name)
	for i, c := range b {
		switch c {
		case '/':
			b[i] = '.'
		case '.':
			b[i] = '/'
		}
	}
	return string(b)
}

// CheckName says why name is not an MQTT topic name of at most maxLevels levels; zero is any number of them.
func CheckName(name string, maxLevels int) error {
	if err := checkText(name, maxLevels); err != nil {
		return fmt.Errorf("topic name %w", err)
	}
	if strings.ContainsAny(name, "+#") {
		return errors.New("topic name contains a wildcard") // [MQTT-3.3.2-2], [MQTT-4.7.1-1]
	}
	return nil
}

// CheckFilter says why filter is not an MQTT topic filter of at most maxLevels levels; zero is any number of them.
func CheckFilter(filter string, maxLevels int) error {
	if err := checkText(filter, maxLevels); err != nil {
		return fmt.Errorf("topic filter %w", err)
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && more:
			return errors.New("topic filter has '#' before its last level") // [MQTT-4.7.1-2]
		case len(level) > 1 && strings.ContainsAny(level, "+#"):
			return errors.New("topic filter has a wildcard that is not a whole level") // [MQTT-4.7.1-2], [MQTT-4.7.1-3]
		}
	}
	return nil
}

func checkText(s string, maxLevels int) error {
	switch {
	case s == "":
		return errors.New("is empty") // [MQTT-4.7.3-1]
	case len(s) > maxBytes:
		return fmt.Errorf("has %d bytes, more than %d", len(s), maxBytes) // [MQTT-4.7.3-3]
	case strings.IndexByte(s, 0) >= 0:
		return errors.New("contains U+0000") // [MQTT-4.7.3-2]
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8") // [MQTT-1.5.3-1]
	}
	if n := 1 + strings.Count(s, "/"); maxLevels > 0 && n > maxLevels {
		return fmt.Errorf("has %d levels, more than %d", n, maxLevels)
	}
	return nil
}

// Kind is what a subscription's filter asks for, by its beginning.
type Kind uint8

// The kinds.
const (
	// Plain filters are of a subscription of the client's own.
	Plain Kind = iota
	// Shared is $share/NAME/FILTER: each message goes to one of the clients that subscribe with it. MQTT 5 §4.8.2.
	Shared
	// Exclusive is $exclusive/FILTER: one client alone may have it.
	Exclusive
	// OfQueue is $queue/NAME: the client consumes from a queue.
	OfQueue
)

// prefixes begin the filters that are not plain.
var prefixes = map[Kind]string{Shared: "$share/", Exclusive: ExclusivePrefix, OfQueue: "$queue/"}

// ExclusivePrefix begins the filters of exclusive subscriptions.
const ExclusivePrefix = "$exclusive/"

// Parse says of what kind a filter is, and what it matches: rest is a plain filter, which the caller checks as any other,
// or the name of a queue.
func Parse(filter string) (kind Kind, rest string, err error) {
	if filter == "" || filter[0] != '$' {
		return Plain, filter, nil
	}
	for kind, prefix := range prefixes {
		if rest, ok := strings.CutPrefix(filter, prefix); ok {
			if kind == Shared {
				rest, err = cutShare(rest)
			}
			if rest == "" && err == nil {
				err = errors.New("has nothing after " + prefix)
			}
			return kind, rest, err
		}
	}
	return Plain, filter, nil
}

func cutShare(s string) (filter string, err error) {
	name, filter, found := strings.Cut(s, "/")
	switch {
	case name == "":
		return "", errors.New("has no share name") // [MQTT5-4.8.2-1]
	case strings.ContainsAny(name, "+#"):
		return "", errors.New("has a wildcard in its share name") // [MQTT5-4.8.2-2]
	case !found || filter == "":
		return "", errors.New("has no filter after its share name") // [MQTT5-4.8.2-2]
	}
	return filter, nil
}

// Match says whether a valid MQTT filter matches a topic name, byte by byte. Wildcard characters in the name are text.
// [MQTT-3.3.2-3], [MQTT-4.7.3-4]
func Match(filter, name string) bool {
	if name == "" || filter == "" {
		return false
	}
	if name[0] == '$' && wildcard(filter[0]) {
		return false // [MQTT-4.7.2-1]
	}
	for {
		f, filterRest, filterMore := cut(filter, '/')
		if f == "#" {
			return true
		}
		n, nameRest, nameMore := cut(name, '/')
		switch {
		case f != "+" && f != n:
			return false
		case !nameMore:
			return !filterMore || filterRest == "#" // "a/#" matches its parent "a"
		case !filterMore:
			return false
		}
		filter, name = filterRest, nameRest
	}
}

// wildcard says whether a filter that begins with c begins with a wildcard: in a valid filter those are whole levels.
func wildcard(c byte) bool { return c == '+' || c == '#' }

func (f Form) separator() byte {
	if f == AMQP {
		return '.'
	}
	return '/'
}

// levelKind says what one level of a pattern matches.
type levelKind uint8

const (
	literal levelKind = iota
	oneLevel
	anyLevels // zero or more
)

func (f Form) kind(level string) levelKind {
	switch {
	case level == "#":
		return anyLevels
	case level == "+" && f == MQTT, level == "*" && f == AMQP:
		return oneLevel
	}
	return literal
}

// cut is strings.Cut for one byte; more says that a separator was there, and so that rest is a level too.
func cut(s string, separator byte) (level, rest string, more bool) {
	if i := strings.IndexByte(s, separator); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
