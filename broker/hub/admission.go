package hub

import (
	"github.com/turnstone-mq/turnstone/broker/object"
)

// Enter finds a virtual host and takes a place in it for one connection, as its maxConnections allows. Whoever got one
// calls Leave when the connection ends.
func (h *Hub) Enter(name string) (*VirtualHost, error) {
	v, err := h.VirtualHost(name)
	if err != nil {
		return nil, err
	}
	n := v.connections.Add(1)
	if limit := h.hostSpec(name).MaxConnections; limit > 0 && n > int64(limit) {
		v.connections.Add(-1)
		return nil, errorf(TooMany, "vhost '%s' has %d connections, as many as its maxConnections allows", name, limit)
	}
	return v, nil
}

// Leave gives back what Enter took.
func (v *VirtualHost) Leave() { v.connections.Add(-1) }

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
