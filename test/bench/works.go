package main

import "fmt"

// work is one thing to measure.
type work struct {
	name, what string
	protocol   string // mqtt, amqp or amqp10
	measure    func(*site, work) (figures, error)

	size                  int // bytes of a payload
	publishers, consumers int // connections
	queues                int // AMQP; publisher and consumer n use queue n modulo queues
	bindings              int // AMQP: of a topic exchange that feeds the queue; zero publishes to the queue itself
	persistent            bool
	kind                  string // type of the queues; "" is the broker's default
	perSecond             int    // messages a second, of a schedule; zero is a closed loop
	count                 int    // messages of a backlog, or queues to declare
	many                  int    // connections, subscriptions or retained messages
	clients               int    // who has the subscriptions
	qos                   byte   // MQTT
	inFlight              int    // MQTT: publishes that wait for their acknowledgement; zero is unconfirmed
	fan                   bool   // every consumer gets every message
	shared                bool   // MQTT: the consumers share one subscription
}

// copies is how often a message arrives.
func (w work) copies() int {
	if w.fan {
		return w.consumers
	}
	return 1
}

// The sizes of a closed loop, the same for every broker.
const (
	window      = 1000 // messages of a publisher between publish and receive
	perWrite    = 100  // messages of one write, at most
	unconfirmed = 100  // persistent work: messages of a publisher that wait for their confirm
	prefetch    = 500  // persistent work
	ackEvery    = 100  // persistent work: one acknowledgement for so many
)

// scale is how large the works are that are about size.
type scale struct{ backlog, connections, subscriptions, retained int }

// works are all that there are.
func works(of scale) []work {
	amqp := func(name, what string, size int, w work) work {
		w.name, w.what, w.protocol, w.size, w.measure = name, what, "amqp", size, throughput
		w.publishers, w.consumers, w.queues = max(w.publishers, 1), max(w.consumers, 1), max(w.queues, 1)
		return w
	}
	timed := func(w work) work {
		w.perSecond = 1000
		return w
	}
	mqtt := func(name, what string, size, publishers, consumers, queues int, w work) work {
		w.name, w.what, w.protocol, w.size, w.measure = name, what, "mqtt", size, throughput
		w.publishers, w.consumers, w.queues = publishers, consumers, queues
		return w
	}
	return []work{
		{name: "mqtt-qos0-64B", what: "QoS 0, 4 publishers to 4 subscribers", protocol: "mqtt", size: 64, publishers: 4, consumers: 4, queues: 4, measure: throughput},
		{name: "mqtt-qos0-1KB", what: "the same, 1 KB", protocol: "mqtt", size: 1024, publishers: 4, consumers: 4, queues: 4, measure: throughput},
		mqtt("mqtt-fan-in-64B", "QoS 0, 4 publishers to 1 subscriber", 64, 4, 1, 1, work{}),
		mqtt("mqtt-fan-out-64B", "QoS 0, 1 publisher to 100 subscribers", 64, 1, 100, 1, work{fan: true}),
		mqtt("mqtt-qos1-64B", "QoS 1, 4 publishers to 4 subscribers", 64, 4, 4, 4, work{qos: 1}),
		mqtt("mqtt-qos2-64B", "QoS 2, 4 publishers to 4 subscribers, 20 in flight", 64, 4, 4, 4, work{qos: 2, inFlight: 20}),
		mqtt("mqtt-qos1-sessions-256B", "QoS 1, 4 publishers to 4 persistent sessions", 256, 4, 4, 4, work{qos: 1, persistent: true}),
		mqtt("mqtt-share-64B", "QoS 1, 2 publishers to 4 subscribers that share", 64, 2, 4, 1, work{qos: 1, shared: true}),
		{name: "mqtt-2000-per-s", what: "QoS 0, 2,000 a second", protocol: "mqtt", size: 64, publishers: 1, consumers: 1, queues: 1, perSecond: 2000, measure: throughput},
		{name: "mqtt-offline", what: "QoS 1, 50,000 messages to a session that is away, then drained", protocol: "mqtt", size: 256,
			publishers: 1, consumers: 1, queues: 1, qos: 1, persistent: true, count: 50_000, measure: backlogged},
		{name: "mqtt-idle", what: fmt.Sprintf("%d connections with clean sessions that say nothing", of.connections), protocol: "mqtt", many: of.connections, measure: idle},
		{name: "mqtt-idle-session", what: "the same with a persistent session and one subscription each", protocol: "mqtt", many: of.connections, persistent: true, measure: idle},
		{name: "mqtt-subscriptions", what: fmt.Sprintf("%d subscriptions of 200 clients, a tenth of them with wildcards", of.subscriptions), protocol: "mqtt",
			many: of.subscriptions, clients: 200, size: 64, publishers: 1, consumers: 1, queues: 1, perSecond: 1000, measure: subscribed},
		{name: "mqtt-retained", what: fmt.Sprintf("%d retained messages, then a subscriber to all of them", of.retained), protocol: "mqtt",
			many: of.retained, size: 64, publishers: 1, consumers: 1, queues: 1, perSecond: 1000, measure: retained},
		amqp("amqp-transient-64B", "transient, auto-ack, 1 publisher 1 consumer", 64, work{}),
		amqp("amqp-transient-1KB", "the same, 1 KB", 1024, work{}),
		amqp("amqp-durable-256B", "persistent, confirms, manual ack, 1 publisher 1 consumer", 256, work{persistent: true}),
		amqp("amqp-quorum-256B", "the same with a queue of type quorum", 256, work{persistent: true, kind: "quorum"}),
		amqp("amqp-durable-4x4-256B", "persistent, confirms, 4 publishers 4 consumers on one queue", 256, work{persistent: true, publishers: 4, consumers: 4}),
		amqp("amqp-50-queues-64B", "50 queues, a publisher and a consumer each, transient", 64, work{publishers: 50, consumers: 50, queues: 50}),
		amqp("amqp-topic-1000-64B", "topic exchange with 1,000 bindings, of which each message matches one", 64, work{bindings: 1000}),
		timed(amqp("amqp-1000-per-s-durable", "1,000 a second, persistent with confirms", 256, work{persistent: true})),
		timed(amqp("amqp-1000-per-s-transient", "1,000 a second, transient", 64, work{})),
		{name: "amqp-declare-10000", what: "10,000 durable queues declared by 10 clients", protocol: "amqp", count: 10_000, publishers: 10, measure: declare},
		{name: "amqp-backlog", what: fmt.Sprintf("%d persistent messages without a consumer, then drained", of.backlog), protocol: "amqp", size: 256,
			publishers: 1, consumers: 1, queues: 1, persistent: true, count: of.backlog, measure: backlogged},
		{name: "amqp10-durable-64B", what: "unsettled, durable, 1 sender 1 receiver", protocol: amqp10Protocol, size: 64, publishers: 1, consumers: 1, queues: 1,
			persistent: true, measure: throughput},
		{name: "amqp10-settled-64B", what: "settled both ways, transient, 1 sender 1 receiver", protocol: amqp10Protocol, size: 64, publishers: 1, consumers: 1, queues: 1,
			measure: throughput},
		{name: "amqp10-selector", what: fmt.Sprintf("a selector that matches a tenth of a durable queue of %d messages", of.backlog), protocol: amqp10Protocol, size: 64,
			publishers: 1, queues: 1, persistent: true, count: of.backlog, measure: selected},
		{name: "amqp10-idle", what: fmt.Sprintf("%d connections with 2 sessions and 4 links that say nothing", quietConnections), protocol: amqp10Protocol, persistent: true, queues: 1,
			many: quietConnections, measure: quiet},
	}
}
