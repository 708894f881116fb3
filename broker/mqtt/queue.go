package mqtt

import (
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// A subscription to $queue/NAME consumes from a queue, beside whoever else does, AMQP clients included: each message goes
// to one of them. With QoS 1 a message is settled by PUBACK; what was not goes back to the queue when the connection or
// the subscription ends. With QoS 0 it is settled when it is sent.

// maxQueueQoS is the highest quality of service with which a client can consume from a queue: an item belongs to whoever
// takes it next, so that an exchange of QoS 2 could not be finished on another connection.
const maxQueueQoS = 1

// queueConsumer is a subscription to a queue. It is the consumer's sink.
type queueConsumer struct {
	connection *connection
	filter     string
	qos        uint8
	consumer   *hub.Consumer
}

// queueConsumers are those of a connection, by filter.
type queueConsumers struct {
	mu sync.Mutex
	by map[string]*queueConsumer // guarded by mu; the reader alone changes it
}

func (q *queueConsumers) put(filter string, c *queueConsumer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.by == nil {
		q.by = make(map[string]*queueConsumer)
	}
	q.by[filter] = c
}

func (q *queueConsumers) take(filter string) *queueConsumer {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.by[filter]
	delete(q.by, filter)
	return c
}

func (q *queueConsumers) all() []*queueConsumer {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Collect(maps.Values(q.by))
}

// loan is a delivery of a queue that waits for PUBACK.
type loan struct {
	from *queueConsumer
	tag  uint64
}

// consume begins to consume from a queue; deliveries come after resumeQueues. A subscription that is there is replaced.
func (c *connection) consume(filter, name string, qos uint8) error {
	c.leaveQueue(filter)
	q := &queueConsumer{connection: c, filter: filter, qos: min(qos, maxQueueQoS)}
	consumer, err := c.host.Consume(c.access, name, hub.ConsumerOptions{
		Tag: c.clientID, Sink: q, NoAck: q.qos == 0, Limit: c.inFlight, Flow: c.shareFlow(), Origin: c.origin,
	})
	if err != nil {
		return err
	}
	q.consumer = consumer
	c.queues.put(filter, q)
	return nil
}

// shareFlow makes the consumers of queues and that of the session keep to the client's receive maximum together.
// [MQTT5-3.3.4-9]
func (c *connection) shareFlow() *queue.Flow {
	if c.flow == nil {
		c.flow = new(queue.Flow)
		c.flow.SetLimit(c.inFlight)
		c.session.Share(c.flow)
	}
	return c.flow
}

// rejoinQueues consumes from the queues that the session subscribes to.
func (c *connection) rejoinQueues() {
	for _, s := range c.session.Subscriptions() {
		if kind, name, _ := topic.Parse(s.Filter); kind == topic.OfQueue {
			if err := c.consume(s.Filter, name, s.QoS); err != nil {
				c.log(slog.LevelWarn, "subscription to a queue is not in force", err)
			}
		}
	}
}

func (c *connection) resumeQueues() {
	for _, q := range c.queues.all() {
		q.consumer.Resume()
	}
}

func (c *connection) leaveQueues() {
	for _, q := range c.queues.all() {
		c.leaveQueue(q.filter)
	}
}

// leaveQueue ends a subscription to a queue, if it is one.
func (c *connection) leaveQueue(filter string) {
	q := c.queues.take(filter)
	if q == nil {
		return
	}
	q.consumer.Close()
	o := &c.outgoing
	o.mu.Lock()
	n := o.inflight.forget(q)
	o.mu.Unlock()
	c.giveFlow(n)
}

// giveFlow says that so many deliveries were settled.
func (c *connection) giveFlow(n int) {
	if c.flow != nil && n > 0 && c.flow.Give(n) {
		c.session.Resume()
		c.resumeQueues()
	}
}

// Deliver encodes deliveries of the queue. Those of QoS 0 are settled already: the queue holds back while there is no room.
func (q *queueConsumer) Deliver(_ *hub.Consumer, ds []queue.Delivery) bool {
	c, o := q.connection, &q.connection.outgoing
	o.mu.Lock()
	c.out.Append(func(dst []byte) []byte {
		for i := range ds {
			dst = q.append(dst, &ds[i])
		}
		return dst
	})
	o.mu.Unlock()
	return !c.out.Full()
}

// append writes a PUBLISH; outgoing is locked. One that is larger than the client takes counts as delivered, as MQTT has
// it, and one whose key is no topic name has the name of the queue.
func (q *queueConsumer) append(dst []byte, d *queue.Delivery) []byte {
	c, o := q.connection, &q.connection.outgoing
	if d.Message == nil {
		return dst // its body is lost; the journal has said so
	}
	m := *d.Message
	if topic.CheckName(m.Topic(), 0) != nil {
		m.Key = q.filter
	}
	var id uint16
	f := packet.PublishFlags{}
	if d.Tag != 0 {
		f.QoS = q.qos
		id = o.inflight.lend(loan{from: q, tag: d.Tag})
	}
	at := len(dst)
	dst = c.appendMessage(dst, f, id, &m, false)
	if len(dst) == at && id != 0 {
		o.inflight.takeLoan(id)
		tag := d.Tag
		c.tasks.Go(func() { q.consumer.Settle(queue.Accept, hub.Range{From: tag, To: tag}) }) // ends at once
	}
	return dst
}

// Cancelled says that the queue is gone. The subscription stays, and is in force again on the next connection if there is
// such a queue then.
func (q *queueConsumer) Cancelled(*hub.Consumer) {
	q.connection.log(slog.LevelInfo, "queue of a subscription is gone: "+q.filter, nil)
}

// settleLoans ends deliveries of queues.
func (c *connection) settleLoans() {
	for _, l := range c.returned {
		l.from.consumer.Settle(queue.Accept, hub.Range{From: l.tag, To: l.tag})
	}
	c.giveFlow(len(c.returned))
	c.returned = c.returned[:0]
}
