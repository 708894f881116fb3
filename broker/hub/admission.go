package hub

import (
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// Enter takes a place for one connection in the virtual host of its access, as that and the user allow. Whoever got one
// gives it back with VirtualHost.Leave.
func (h *Hub) Enter(a *auth.Access) (*VirtualHost, error) {
	v, err := h.VirtualHost(a.VirtualHost())
	if err != nil {
		return nil, err
	}
	if err := h.mayConnectNow(a); err != nil {
		h.stats.ConnectsRefused.add(1)
		return nil, err
	}
	more := 0 // that are about to end
	if v.displaces(a) {
		more = 1
	}
	if most := a.MaxConnections(); !a.Account().Enter(above(most, more)) {
		h.stats.UserFull.add(1)
		return nil, errorf(TooMany, "connection refused for %s: user connection limit (%d) is reached", whose(a), most)
	}
	n := v.connections.Add(1)
	if limit := h.hostSpec(v.name).MaxConnections; limit > 0 && n > int64(above(limit, more)) {
		v.Leave(a)
		return nil, errorf(TooMany, "vhost '%s' has %d connections, as many as its maxConnections allows", v.name, limit)
	}
	return v, nil
}

// above is a limit with so many more; zero stays no limit.
func above(limit, more int) int {
	if limit == 0 {
		return 0
	}
	return limit + more
}

// mayConnectNow holds a client and its user to their rates of connections: a client that is over its own takes nothing of
// the user's.
func (h *Hub) mayConnectNow(a *auth.Access) error {
	r := a.Rates()
	if most := r.Client.ConnectsPerSecond; most > 0 && a.ClientID() != "" && !a.ClientAccount().Connect(most) {
		return errorf(TooFast, "client '%s' connects more than %v times per second", a.ClientID(), most)
	}
	if most := r.User.ConnectsPerSecond; most > 0 && !a.Account().Connect(most) {
		return errorf(TooFast, "%s connects more than %v times per second", whose(a), most)
	}
	return nil
}

// displaces says that a connection takes the place of one that its client has, which therefore ends.
func (v *VirtualHost) displaces(a *auth.Access) bool {
	s := v.session(a.ClientID())
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current != nil && s.current.access != nil && s.current.access.User() == a.User()
}

// Leave gives back what Enter took.
func (v *VirtualHost) Leave(a *auth.Access) {
	v.connections.Add(-1)
	a.Account().Leave()
}

// hostSpec is what the catalogue says of a virtual host; nothing when it is gone.
func (h *Hub) hostSpec(name string) object.VirtualHostSpec {
	h.meta.mu.RLock()
	o, ok := h.meta.state.Get(object.Key{Kind: object.KindVirtualHost, Name: name})
	h.meta.mu.RUnlock()
	if !ok {
		return object.VirtualHostSpec{}
	}
	spec, err := object.Decode[object.VirtualHostSpec](o)
	if err != nil {
		panic("catalogue holds what it would refuse: " + err.Error())
	}
	return spec
}
