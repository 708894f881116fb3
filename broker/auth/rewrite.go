package auth

import (
	"fmt"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// rewrite gives the topics of a policy's filter another name. The catalogue has checked that each placeholder has what it
// stands for.
type rewrite struct {
	publish, subscribe bool
	to                 []target
}

// target is a level of the new name: a placeholder, or text with %u and %c.
type target struct {
	plus int // the + of the filter, from 1; zero for none
	rest bool
	text string
}

func newRewrite(r *object.TopicRewrite) *rewrite {
	if r == nil {
		return nil
	}
	w := &rewrite{publish: r.Publish, subscribe: r.Subscribe}
	for l := range strings.SplitSeq(r.To, "/") {
		w.to = append(w.to, target{plus: object.RewritePlaceholder(l), rest: l == object.RewriteRest, text: l})
	}
	return w
}

// RenameTopic is the name under which a topic is published to, whatever the peer calls it: that of the first policy that
// matches and renames what is published. It is applied once. The error says that there is no such name.
func (a *Access) RenameTopic(name string) (string, error) {
	for _, p := range a.policies() {
		if p.rewrite == nil || !p.rewrite.publish || !p.filter.matches(name, a.who.name, a.clientID) {
			continue
		}
		if renamed, ok := p.rename(name, a.who.name, a.clientID); ok {
			return renamed, checkRenamed(name, renamed, topic.CheckName)
		}
	}
	return name, nil
}

// RenameFilter is RenameTopic for a filter of a subscription: that of the first policy that covers it and renames
// filters. Where the filter has a wildcard for a placeholder, so has the new one.
func (a *Access) RenameFilter(filter string) (string, error) {
	for _, p := range a.policies() {
		if p.rewrite == nil || !p.rewrite.subscribe || !p.filter.covers(filter, a.who.name, a.clientID) {
			continue
		}
		if renamed, ok := p.rename(filter, a.who.name, a.clientID); ok {
			return renamed, checkRenamed(filter, renamed, topic.CheckFilter)
		}
	}
	return filter, nil
}

// rename puts what the filter's wildcards stand for into the new name; not ok when a name that it needs is not there.
func (p *policy) rename(name, user, clientID string) (renamed string, ok bool) {
	levels, ok := p.filter.expand(user, clientID)
	if !ok {
		return "", false
	}
	pluses, rest, some := capture(levels, name)
	names := strings.NewReplacer("%u", user, "%c", clientID)
	out := make([]string, 0, len(p.rewrite.to))
	for _, t := range p.rewrite.to {
		switch {
		case t.plus > 0:
			out = append(out, pluses[t.plus-1])
		case !t.rest:
			if lacks(t.text, user, clientID) {
				return "", false
			}
			out = append(out, names.Replace(t.text))
		case some:
			out = append(out, rest)
		}
	}
	return strings.Join(out, "/"), true
}

// capture answers what the wildcards of a filter stand for in a name, or another filter, that it covers: the level for each
// +, and the levels for #, if there are some.
func capture(levels []level, name string) (pluses []string, rest string, some bool) {
	some = true
	for _, l := range levels {
		if l.kind == all {
			return pluses, name, some
		}
		var text string
		text, name, some = strings.Cut(name, "/")
		if l.kind == one {
			pluses = append(pluses, text)
		}
	}
	return pluses, "", false
}

// checkRenamed: a name can become one that is none by what %u and %c stand for, or by a topic that matches without being
// valid. One that begins with $ would be another kind of thing.
func checkRenamed(from, to string, check func(string, int) error) error {
	if err := check(to, 0); err != nil {
		return fmt.Errorf("%q is renamed by a topic policy to %q: %w", from, to, err)
	}
	if strings.HasPrefix(to, "$") {
		return fmt.Errorf("%q is renamed by a topic policy to %q: topics that begin with $ are the broker's", from, to)
	}
	return nil
}
