package auth

import "strings"

// clientPatterns are the MQTT client ids that a user may have; none is any. Each is the text between its wildcards, in
// which the user's name stands already, so that it is never a wildcard.
type clientPatterns [][]string

// newClientPatterns reads patterns in which * stands for any text and %u for the name of the user.
func newClientPatterns(patterns []string, user string) (out clientPatterns) {
	for _, p := range patterns {
		parts := strings.Split(p, "*")
		for i := range parts {
			parts[i] = strings.ReplaceAll(parts[i], "%u", user)
		}
		out = append(out, parts)
	}
	return out
}

// admit says whether a client id is one of them.
func (c clientPatterns) admit(id string) bool {
	if len(c) == 0 {
		return true
	}
	for _, parts := range c {
		if matchesParts(parts, id) {
			return true
		}
	}
	return false
}

// matchesParts says whether the parts are in a text in their order, the first at its beginning and the last at its end.
func matchesParts(parts []string, text string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return text == first
	}
	rest, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	if rest, ok = strings.CutSuffix(rest, last); !ok {
		return false
	}
	for _, p := range parts[1 : len(parts)-1] {
		at := strings.Index(rest, p)
		if at < 0 {
			return false
		}
		rest = rest[at+len(p):]
	}
	return true
}

// mayBe says whether a peer may have a client id; without one, as with AMQP, it may.
func (a *Authority) mayBe(w who, clientID string) bool {
	if clientID == "" {
		return true
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	u := a.userLocked(w)
	return u == nil || u.clients.admit(clientID)
}
