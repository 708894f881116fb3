package mqtt

import (
	"log/slog"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/router"
)

// autoSubscribe subscribes the client to what topic policies say, as if it had asked itself, but for renaming. What the
// session has already stays as it is, what is refused is logged.
func (c *connection) autoSubscribe() {
	wanted := c.access.AutoSubscriptions()
	if len(wanted) == 0 {
		return
	}
	has := make(map[string]router.Options)
	for _, s := range c.session.Subscriptions() {
		has[s.Filter] = s.Options
	}
	var granted []wish
	for _, a := range wanted {
		s := packet.Subscription{
			Filter: a.Filter, QoS: a.QoS, NoLocal: a.NoLocal, RetainAsPublished: a.RetainAsPublished, RetainHandling: a.RetainHandling,
		}
		was, there := has[s.Filter]
		w := c.grant(s, was.SubscriptionID)
		if there && was == w.Options {
			continue
		}
		refused, err := c.allowed(s)
		if refused == nil {
			refused = err
		}
		if refused != nil {
			c.log(slog.LevelInfo, "subscription by a topic policy was refused", refused)
			continue
		}
		granted = append(granted, w)
	}
	replayed, err := c.subscribe(granted)
	if err != nil {
		c.log(slog.LevelInfo, "subscriptions by topic policies were refused", err)
	}
	c.startReplay(replayed)
}
