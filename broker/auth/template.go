package auth

import "strings"

// template is an MQTT topic filter in which %u stands for the user's name and %c for the client id. What they stand for
// is text: wildcards in a name are not wildcards of the filter.
type template struct {
	levels  []level
	dynamic bool // some level has a placeholder
	client  bool // some level has the client id
}

type level struct {
	kind levelKind
	text string
}

type levelKind uint8

const (
	literal  levelKind = iota
	one                // +
	all                // #: this level, what is below it, and its parent
	variable           // text with placeholders
)

func newTemplate(filter string) template {
	var t template
	for l := range strings.SplitSeq(filter, "/") {
		switch {
		case l == "+":
			t.levels = append(t.levels, level{kind: one})
		case l == "#":
			t.levels = append(t.levels, level{kind: all})
		case strings.Contains(l, "%u") || strings.Contains(l, "%c"):
			t.levels = append(t.levels, level{kind: variable, text: l})
			t.dynamic, t.client = true, t.client || strings.Contains(l, "%c")
		default:
			t.levels = append(t.levels, level{text: l})
		}
	}
	return t
}

// expand puts names in the place of placeholders. A name that is not there, such as that of an anonymous client or the
// client id of AMQP, has no expansion: ok is false, and the template matches nothing.
func (t template) expand(user, clientID string) (levels []level, ok bool) {
	if !t.dynamic {
		return t.levels, true
	}
	names := strings.NewReplacer("%u", user, "%c", clientID)
	for _, l := range t.levels {
		if l.kind != variable {
			levels = append(levels, l)
			continue
		}
		if lacks(l.text, user, clientID) {
			return nil, false
		}
		for text := range strings.SplitSeq(names.Replace(l.text), "/") {
			levels = append(levels, level{text: text})
		}
	}
	return levels, true
}

// lacks says that a text has a placeholder for a name that is not there.
func lacks(text, user, clientID string) bool {
	return user == "" && strings.Contains(text, "%u") || clientID == "" && strings.Contains(text, "%c")
}

// spans says that a client id, which the client chooses, would be several levels: it could name a place below that of
// another client.
func (t template) spans(clientID string) bool { return t.client && strings.Contains(clientID, "/") }

// matches says whether the filter matches a topic name.
func (t template) matches(topic, user, clientID string) bool {
	levels, ok := t.expand(user, clientID)
	if !ok || hidden(levels, topic) {
		return false
	}
	for {
		if len(levels) > 0 && levels[0].kind == all {
			return true
		}
		text, rest, more := strings.Cut(topic, "/")
		if len(levels) == 0 || levels[0].kind == literal && levels[0].text != text {
			return false
		}
		levels, topic = levels[1:], rest
		if !more {
			return len(levels) == 0 || levels[0].kind == all
		}
	}
}

// hidden: filters that begin with a wildcard do not match topics that begin with $. [MQTT-4.7.2-1]
func hidden(levels []level, topic string) bool {
	return strings.HasPrefix(topic, "$") && (levels[0].kind == one || levels[0].kind == all)
}

// covers says whether the filter matches every topic that another filter matches.
func (t template) covers(filter, user, clientID string) bool {
	levels, ok := t.expand(user, clientID)
	if !ok || hidden(levels, filter) {
		return false
	}
	for {
		if len(levels) > 0 && levels[0].kind == all {
			return true
		}
		text, rest, more := strings.Cut(filter, "/")
		switch {
		case len(levels) == 0 || text == "#":
			return false
		case levels[0].kind == literal && (wild(text) || levels[0].text != text):
			return false
		}
		levels, filter = levels[1:], rest
		if !more {
			return len(levels) == 0 || levels[0].kind == all
		}
	}
}

// overlaps says whether some topic is matched by both filters. It may say yes too often, never no.
func (t template) overlaps(filter, user, clientID string) bool {
	levels, ok := t.expand(user, clientID)
	if !ok || hidden(levels, filter) {
		return false
	}
	for {
		text, rest, more := strings.Cut(filter, "/")
		switch {
		case len(levels) > 0 && levels[0].kind == all || text == "#":
			return true
		case len(levels) == 0:
			return false
		case levels[0].kind == literal && !wild(text) && levels[0].text != text:
			return false
		}
		levels, filter = levels[1:], rest
		if !more {
			return len(levels) == 0 || levels[0].kind == all
		}
	}
}

// wild says whether a level of a subscription is a wildcard for one level, in MQTT or in AMQP.
func wild(text string) bool { return text == "+" || text == "*" }
