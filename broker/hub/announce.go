package hub

import (
	"strings"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/retain"
)

// The topics that the broker alone publishes to begin with these.
const (
	sysTopics   = "$SYS/"
	eventTopics = "$events/"
)

// ownTopic says that no client may publish to a topic.
func ownTopic(name string) bool {
	return strings.HasPrefix(name, sysTopics) || strings.HasPrefix(name, eventTopics)
}

// Announcer publishes what the broker says of itself. It belongs to one goroutine.
type Announcer struct {
	publisher *Publisher
	exchange  string
	own       map[string]bool // topics that it retains
}

// NewAnnouncer makes one for the virtual host.
func (v *VirtualHost) NewAnnouncer() *Announcer {
	return &Announcer{
		publisher: v.NewPublisher(PublisherOptions{Access: internal, Encoding: message.MQTT}),
		exchange:  v.hub.Config().MQTT.Exchange, own: make(map[string]bool),
	}
}

// Retain says what is true of a topic from now on: connected subscribers get it with QoS 0, and later ones as a retained
// message. It is in memory alone: after a restart other things are true.
func (a *Announcer) Retain(topic, payload string) {
	m := &message.Message{Exchange: a.exchange, Key: topic, Encoding: message.MQTT, Retain: true, Owned: true, Payload: []byte(payload)}
	host := a.publisher.host
	if _, existed := host.retained.Set(topic, m, retain.Place{}); !existed {
		host.announced.Add(1)
	}
	a.own[topic] = true
	a.publish(topic, payload, nil)
}

// Tell says what has just happened to those who listen.
func (a *Announcer) Tell(topic, payload string, properties []byte) {
	a.publish(topic, payload, properties)
}

func (a *Announcer) publish(topic, payload string, properties []byte) {
	r, err := a.publisher.Route([]byte(a.exchange), []byte(topic))
	if err != nil || len(r.to) == 0 && !r.perMessage {
		return // the exchange is not there, or nobody listens
	}
	m := message.Message{Exchange: r.Exchange, Key: r.Key, Encoding: message.MQTT, Properties: properties, Payload: []byte(payload)}
	if _, err := a.publisher.Publish(r, &m, nil, 0); err == nil {
		a.publisher.HandOver()
	}
}

// Clear takes back what it retains.
func (a *Announcer) Clear() {
	for topic := range a.own {
		host := a.publisher.host
		if _, existed := host.retained.Clear(topic); existed {
			host.announced.Add(-1)
		}
	}
	clear(a.own)
}
