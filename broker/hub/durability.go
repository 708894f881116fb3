package hub

import (
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// durability is what a queue's arguments ask for, or else the configuration. What both kinds other than always mean:
// messages are confirmed when they are written, and a crash of the machine may lose the newest of them.
func (h *Hub) durability(a object.Arguments) journal.Durability {
	asked, ok, _ := a.Text(object.Durability)
	if !ok {
		asked = h.config.Load().Storage.Durability
	}
	switch asked {
	case config.DurabilityInterval:
		return journal.Interval
	case config.DurabilityNone:
		return journal.None
	}
	return journal.Always
}
