package hub

import (
	"sync"

	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// deadLetter sends what died in a queue to its dead-letter exchange. An item of a durable queue is settled only when the
// exchange's queues have it: a crash in between sends it twice, never loses it.
type deadLetter struct {
	host     *VirtualHost
	exchange string
	key      string // replaces the message's own key if hasKey
	hasKey   bool

	mu      sync.Mutex
	waiting []funeral // guarded by mu
	working bool      // guarded by mu: a goroutine publishes
}

type funeral struct {
	queue *Queue
	dead  queue.Dead
}

// newDeadLetter reads a queue's arguments; nil when dead messages are gone.
func newDeadLetter(v *VirtualHost, a object.Arguments) *deadLetter {
	exchange, ok, _ := a.Text("x-dead-letter-exchange")
	if !ok {
		return nil
	}
	d := &deadLetter{host: v, exchange: exchange}
	d.key, d.hasKey, _ = a.Text("x-dead-letter-routing-key")
	return d
}

// publish takes dead items; it does not wait, because shards call it.
func (d *deadLetter) publish(q *Queue, dead []queue.Dead) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range dead {
		d.waiting = append(d.waiting, funeral{queue: q, dead: dead[i]})
	}
	if !d.working {
		d.working = true
		d.host.hub.running.Go(d.work) // ends when nothing waits
	}
}

// batch is how many dead items go at once.
const deadLetterBatch = 256

func (d *deadLetter) work() {
	for {
		d.mu.Lock()
		batch := d.waiting[:min(len(d.waiting), deadLetterBatch)]
		d.waiting = d.waiting[len(batch):]
		if len(batch) == 0 {
			d.working, d.waiting = false, nil
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		d.send(batch)
	}
}

// send publishes a batch and waits until it is where it was routed to; then its items are settled. Messages that go
// nowhere, because the exchange is missing or routes to no queue, are gone, as in RabbitMQ.
func (d *deadLetter) send(batch []funeral) {
	done := make(chan Confirmation, 1)
	for _, e := range message.Encodings {
		p := d.host.NewPublisher(PublisherOptions{Access: internal, Encoding: e, Confirmed: func(c Confirmation) { done <- c }})
		sent := false
		for i := range batch {
			dead := d.message(&batch[i])
			m := dead.Message
			if m == nil || m.Encoding != e {
				continue
			}
			p.skip = dead.Cycle
			r, err := p.RouteAlso([]byte(d.exchange), []byte(m.Key), dead.Also)
			if err != nil {
				continue
			}
			if _, err := p.Publish(r, m, dead.Attributes, uint64(i+1)); err == nil {
				sent = true
				d.host.hub.stats.DeadLettered.add(1)
			}
		}
		if sent {
			p.Flush()
			<-done // comes also when the hub stops
		}
	}
	d.settle(batch)
}

// message is what goes to the exchange for a dead item; none when its body is lost.
func (d *deadLetter) message(f *funeral) (dead Dead) {
	m := f.dead.Message
	if m == nil {
		m = f.queue.body(f.dead.Ref)
	}
	if m == nil {
		return Dead{}
	}
	death := Death{Rekeyed: d.hasKey, Queue: f.queue.name, Exchange: m.Exchange, RoutingKey: m.RoutingKey(), Reason: f.dead.Why.String(), At: d.host.hub.now(), Note: f.dead.Note}
	dead.Message = m
	if d.host.hub.deadLetter != nil {
		dead = d.host.hub.deadLetter(m, death)
	}
	c := *dead.Message
	c.Exchange, c.Expiry, c.Retain = d.exchange, 0, false
	if d.hasKey {
		c.Key = d.key
		if c.Encoding == message.MQTT {
			c.Key = topic.Swap(d.key)
		}
	}
	dead.Message = &c
	return dead
}

func (d *deadLetter) settle(batch []funeral) {
	for i := range batch {
		it := batch[i].dead.Item
		if !it.Durable {
			continue
		}
		batch[i].queue.later(func(q *Queue, _ int64) {
			delete(q.dying, it.ID)
			q.shard.settled(q, []queue.Item{it})
		})
	}
}

// body reads a message that only the journal holds.
func (q *Queue) body(ref queue.Ref) (m *message.Message) {
	q.do(func(q *Queue, _ int64) {
		ds := []queue.Delivery{{Item: queue.Item{Ref: ref}}}
		q.shard.load(q, ds)
		m = ds[0].Message
	})
	return m
}
