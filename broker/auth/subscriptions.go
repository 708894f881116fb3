package auth

import (
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// AutoSubscriptions are what topic policies subscribe the peer to when it connects, in the order of the policies; of
// several with one filter, the first. Names stand where their filters have placeholders; a filter whose placeholder has no
// name, or one with a wildcard in it, which would be more than was meant, is left out.
func (a *Access) AutoSubscriptions() (out []object.AutoSubscription) {
	var seen map[string]bool
	for _, p := range a.policies() {
		if len(p.subscriptions) == 0 || !mayPass(p.subscribers, a.who.name) {
			continue
		}
		if seen == nil {
			seen = make(map[string]bool)
		}
		for _, s := range p.subscriptions {
			filter, ok := fillIn(s.Filter, a.who.name, a.clientID)
			if !ok || seen[filter] {
				continue
			}
			seen[filter] = true
			s.Filter = filter
			out = append(out, s)
		}
	}
	return out
}

// fillIn puts names in the place of placeholders.
func fillIn(filter, user, clientID string) (string, bool) {
	if !strings.Contains(filter, "%u") && !strings.Contains(filter, "%c") {
		return filter, true
	}
	wild := strings.Contains(filter, "%u") && strings.ContainsAny(user, "+#") || strings.Contains(filter, "%c") && strings.ContainsAny(clientID, "+#")
	if wild || lacks(filter, user, clientID) {
		return "", false
	}
	return strings.NewReplacer("%u", user, "%c", clientID).Replace(filter), true
}
