package retain

import (
	"fmt"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/message"
)

// Cursor is a place between the pages of a Match. The zero Cursor is before the first page.
type Cursor struct {
	from string // the first topic that may follow, whether it exists or not
}

// looksPerMatch bounds the work of a page: it ends after limit messages or limit × looksPerMatch looks at topics.
const looksPerMatch = 16

// Match answers a page of the messages whose topics match a valid filter: at most limit, which is positive, in the
// order of topics, those that come after a cursor. With more, there may be others, from next on; a page can then be
// short or empty, when many topics were passed over to make it. The store may change between pages: what is there all
// the time is answered once, what comes and goes meanwhile may be answered or not. Messages may have expired.
func (s *Store) Match(filter string, after Cursor, limit int) (page []*message.Message, next Cursor, more bool) {
	if limit < 1 {
		panic(fmt.Sprintf("BUG: a page of %d messages", limit))
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	f := parse(filter)
	o := &s.topics
	from := f.first()
	if compare(from, after.from) < 0 {
		from = after.from
	}
	p := o.seek(from)
	for looks := limit * looksPerMatch; ; looks-- {
		it := o.at(p)
		if it == nil {
			return page, Cursor{}, false
		}
		if len(page) == limit || looks == 0 {
			return page, Cursor{from: it.topic}, true
		}
		switch f.look(it.topic) {
		case matches:
			page = append(page, it.record.message(it.topic))
			p = o.after(p)
		case beyond:
			return page, Cursor{}, false
		case before:
			p = o.seekFrom(p, string(f.seek))
		}
	}
}

// scan walks the order of topics for one filter.
type scan struct {
	levels []string
	seek   []byte // set by look: the next place where a match can be
}

func parse(filter string) *scan { return &scan{levels: strings.Split(filter, "/")} }

// first is the place of the first possible match.
func (f *scan) first() string {
	for i, l := range f.levels {
		if l == "+" || l == "#" {
			return strings.Join(f.levels[:i], "/")
		}
	}
	return strings.Join(f.levels, "/")
}

type sight uint8

const (
	matches sight = iota
	before        // no match here; the next can be at seek
	beyond        // no match here or later
)

// behindDollar is the first place behind all topics that begin with '$'.
const behindDollar = "%"

// look compares a topic with the filter.
func (f *scan) look(topic string) sight {
	start := 0 // of the topic's level i
	plus := -1 // where the topic's level of the last '+' so far ends
	for i, want := range f.levels {
		if i == 0 && strings.HasPrefix(topic, "$") && (want == "+" || want == "#") { // [MQTT-4.7.2-1]
			return f.to("", behindDollar)
		}
		if want == "#" {
			return matches
		}
		if start > len(topic) { // the topic is a parent of what the filter wants
			if want == "+" {
				want = ""
			}
			return f.to(topic, "/"+want)
		}
		end := start + strings.IndexByte(topic[start:], '/')
		if end < start {
			end = len(topic)
		}
		if want == "+" {
			plus = end
		} else if c := strings.Compare(topic[start:end], want); c < 0 {
			return f.to(topic[:start], want)
		} else if c > 0 {
			return f.advance(topic, plus)
		}
		start = end + 1
	}
	if start > len(topic) {
		return matches
	}
	return f.advance(topic, plus) // the topic is below a match
}

// advance seeks behind everything that has the topic's beginning up to plus.
func (f *scan) advance(topic string, plus int) sight {
	if plus < 0 {
		return beyond
	}
	return f.to(topic[:plus], "\x00")
}

func (f *scan) to(parts ...string) sight {
	f.seek = f.seek[:0]
	for _, p := range parts {
		f.seek = append(f.seek, p...)
	}
	return before
}
