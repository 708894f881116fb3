package amqp091

import (
	"fmt"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// consumer takes messages of one queue for one channel; it is the hub's Sink. Those of basic.get have no tag.
type consumer struct {
	channel *channel
	tag     string
	noAck   bool
	hub     *hub.Consumer // set before its first delivery, immutable

	// Owned by the reader.
	settled  [outcomes][]hub.Range // since the last flush
	settling bool                  // in channel.settling

	unsettled int  // guarded by channel.mu
	announced bool // guarded by channel.mu; the client knows of it
	gone      bool // guarded by channel.mu; its queue is
}

// outcomes is how many there are that AMQP 0-9-1 has a word for.
const outcomes = int(queue.Release) + 1

func (ch *channel) qos(m *frame.BasicQos) error {
	if m.PrefetchSize != 0 {
		return notImplemented("prefetch_size!=0 (%d)", m.PrefetchSize)
	}
	if m.Global { // RabbitMQ's meaning: of the channel together, beside what each consumer may have
		ch.share().SetLimit(int(m.PrefetchCount))
		ch.resumeAll()
	} else {
		ch.prefetch = int(m.PrefetchCount)
	}
	ch.send(&frame.BasicQosOk{})
	return nil
}

func (ch *channel) consume(m *frame.BasicConsume) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	arguments, err := ch.arguments(m.Arguments)
	if err != nil {
		return err
	}
	priority, _, err := arguments.Int("x-priority")
	if err != nil {
		return errorf(frame.PreconditionFailed, "invalid arg 'x-priority': %v", err)
	}
	if err := ch.admitConsumer(m); err != nil {
		return err
	}
	s := &consumer{channel: ch, tag: m.ConsumerTag, noAck: m.NoAck}
	most := ch.conn.config.Limits.UnackedPerChannel
	limit := most
	if ch.prefetch > 0 {
		limit = min(ch.prefetch, most)
	}
	o := hub.ConsumerOptions{Tag: s.tag, Sink: s, NoAck: m.NoAck, Exclusive: m.Exclusive, Limit: limit, Priority: int(priority), Flow: ch.shared, Origin: ch.conn.origin}
	if name == replyTo {
		err = ch.consumeReplies(s, o)
	} else {
		s.hub, err = ch.conn.host.Consume(ch.conn.access, name, o)
	}
	if err != nil {
		return err
	}
	if !ch.announce(s, m.NoWait) {
		return errorf(frame.NotFound, "no queue '%s' in vhost '%s'", name, ch.conn.host.Name())
	}
	ch.consumers[s.tag] = s
	s.hub.Resume()
	return nil
}

// admitConsumer gives a consumer a tag if it has none, and says whether the channel has room for it.
func (ch *channel) admitConsumer(m *frame.BasicConsume) error {
	for m.ConsumerTag == "" {
		ch.generated++
		if tag := fmt.Sprintf("amq.ctag-%d.%d.%d", ch.conn.origin, ch.number, ch.generated); ch.consumers[tag] == nil {
			m.ConsumerTag = tag
		}
	}
	if old := ch.consumers[m.ConsumerTag]; old != nil {
		if !ch.isGone(old) {
			return errorf(frame.NotAllowed, "attempt to reuse consumer tag '%s'", m.ConsumerTag)
		}
		ch.drop(old)
	}
	if most := ch.conn.config.Limits.ConsumersPerChannel; len(ch.consumers) >= most {
		ch.dropGone()
		if len(ch.consumers) >= most {
			return errorf(frame.NotAllowed, "reached the maximum of %d consumers per channel", most)
		}
	}
	return nil
}

// announce tells the client of its consumer; false: the queue went before that could be.
func (ch *channel) announce(s *consumer, noWait bool) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if s.gone {
		return false
	}
	s.announced = true
	ch.reply(noWait, &frame.BasicConsumeOk{ConsumerTag: s.tag})
	return true
}

func (ch *channel) isGone(s *consumer) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return s.gone
}

func (ch *channel) dropGone() {
	for _, s := range ch.consumers {
		if ch.isGone(s) {
			ch.drop(s)
		}
	}
}

// drop forgets a consumer that gets no more deliveries. It stays with the hub until what it holds is settled.
func (ch *channel) drop(s *consumer) {
	if ch.consumers[s.tag] == s {
		delete(ch.consumers, s.tag)
	}
	ch.leaving[s] = struct{}{}
	ch.leaveIfSettled(s)
}

func (ch *channel) leaveIfSettled(s *consumer) {
	ch.mu.Lock()
	holds := s.unsettled > 0
	ch.mu.Unlock()
	if !holds {
		s.hub.Close()
		delete(ch.leaving, s)
	}
}

func (ch *channel) cancel(m *frame.BasicCancel) error {
	if s := ch.consumers[m.ConsumerTag]; s != nil {
		s.hub.Stop()
		ch.drop(s)
	}
	ch.reply(m.NoWait, &frame.BasicCancelOk{ConsumerTag: m.ConsumerTag}) // also for one that does not exist, as in RabbitMQ
	return nil
}

// Deliver encodes deliveries into the connection's outbox. The lock is held over both, the tags and the frames, so that
// tags rise on the wire.
func (s *consumer) Deliver(_ *hub.Consumer, ds []queue.Delivery) bool {
	ch := s.channel
	ch.mu.Lock()
	if ch.closed {
		ch.mu.Unlock()
		return false // what must be settled goes back to the queue when the consumer is closed
	}
	ch.conn.out.Append(func(dst []byte) []byte {
		for i := range ds {
			dst = ch.appendDelivery(dst, s, &ds[i])
		}
		return dst
	})
	if ch.unacked.live >= ch.conn.config.Limits.UnackedPerChannel {
		ch.full = append(ch.full, s)
		ch.mu.Unlock()
		return false
	}
	ch.mu.Unlock()
	return ch.conn.room.For(s.hub, ch.conn.out)
}

func (ch *channel) appendDelivery(dst []byte, s *consumer, d *queue.Delivery) []byte {
	m := d.Message
	key, p := ch.envelope(d)
	deliver := frame.BasicDeliver{ConsumerTag: s.tag, DeliveryTag: ch.nextTag(s, d), Redelivered: d.Returned, Exchange: m.Exchange, RoutingKey: key}
	dst = frame.AppendDeliver(dst, ch.number, &deliver)
	return frame.AppendContent(dst, ch.number, p, mapping.Payload(m), ch.conn.frameMax)
}

// envelope is the routing key and the properties of a delivery, valid until the next one; ch.mu is held.
func (ch *channel) envelope(d *queue.Delivery) (key string, p frame.Properties) {
	key, p, ch.scratch = mapping.AMQP091(d.Message, ch.scratch, ch.conn.frameMax)
	if d.Count > 0 {
		p = counted(p, d.Count)
	}
	return key, p
}

// nextTag numbers a delivery; ch.mu is held.
func (ch *channel) nextTag(s *consumer, d *queue.Delivery) uint64 {
	if s.noAck {
		return ch.unacked.skip()
	}
	return ch.unacked.add(s, d.Tag, ch.conn.endpoint.seconds.Load())
}

// Cancelled tells the client that its consumer is gone with its queue.
func (s *consumer) Cancelled(*hub.Consumer) {
	ch := s.channel
	ch.mu.Lock()
	defer ch.mu.Unlock()
	s.gone = true
	if s.announced && !ch.closed && ch.conn.notify {
		ch.send(&frame.BasicCancel{ConsumerTag: s.tag, NoWait: true})
	}
}

func (ch *channel) get(m *frame.BasicGet) error {
	ch.conn.room.Await(ch.conn.out, &ch.conn.end, nil)
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	s, err := ch.getter(name, m.NoAck)
	if err != nil {
		return err
	}
	d, remaining, ok := s.hub.Get()
	if !ok || d.Message == nil {
		ch.send(&frame.BasicGetEmpty{})
		return nil
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.conn.out.Append(func(dst []byte) []byte {
		key, p := ch.envelope(&d)
		dst = frame.AppendMethod(dst, ch.number, &frame.BasicGetOk{
			DeliveryTag: ch.nextTag(s, &d), Redelivered: d.Returned, Exchange: d.Message.Exchange, RoutingKey: key, MessageCount: uint32(remaining),
		})
		return frame.AppendContent(dst, ch.number, p, mapping.Payload(d.Message), ch.conn.frameMax)
	})
	return nil
}

// getter is the consumer by which the channel gets messages of a queue. It is kept for the next basic.get as long as the
// name means the same queue.
func (ch *channel) getter(name string, noAck bool) (*consumer, error) {
	q, err := ch.conn.host.Queue(name, ch.conn.origin)
	if err != nil {
		return nil, err
	}
	if err := ch.conn.access.Read(name); err != nil {
		return nil, err
	}
	if s := ch.getters[name]; s != nil {
		if s.hub.Queue() == q && s.noAck == noAck {
			return s, nil
		}
		delete(ch.getters, name)
		ch.drop(s)
	}
	if len(ch.getters) >= ch.conn.config.Limits.ConsumersPerChannel {
		for other, s := range ch.getters {
			delete(ch.getters, other)
			ch.drop(s)
			break
		}
	}
	s := &consumer{channel: ch, noAck: noAck}
	s.hub, err = ch.conn.host.Consume(ch.conn.access, name, hub.ConsumerOptions{Sink: s, NoAck: noAck, Passive: true, Origin: ch.conn.origin})
	if err != nil {
		return nil, err
	}
	ch.getters[name] = s
	return s, nil
}

func (ch *channel) ack(m *frame.BasicAck) error {
	return ch.settle(m.DeliveryTag, m.Multiple, queue.Accept)
}

func (ch *channel) nack(m *frame.BasicNack) error {
	return ch.settle(m.DeliveryTag, m.Multiple, refusal(m.Requeue))
}

func (ch *channel) reject(m *frame.BasicReject) error {
	return ch.settle(m.DeliveryTag, false, refusal(m.Requeue))
}

func refusal(requeue bool) queue.Outcome {
	if requeue {
		return queue.Requeue
	}
	return queue.Reject
}

// settle ends deliveries; the hub is told with the next flush, in ranges.
func (ch *channel) settle(tag uint64, multiple bool, o queue.Outcome) error {
	if ch.transaction != nil {
		return ch.settleLater(settlement{tag: tag, multiple: multiple, outcome: o})
	}
	ch.mu.Lock()
	taken, ok := ch.unacked.take(tag, multiple, ch.taken[:0])
	ch.mu.Unlock()
	if !ok {
		return errorf(frame.PreconditionFailed, "unknown delivery tag %d", tag)
	}
	for _, t := range taken {
		t.consumer.note(o, t.Range)
	}
	clear(taken)
	ch.taken = taken[:0]
	ch.touch()
	return nil
}

// note collects a range for the next flush, joined to the one before where they touch.
func (s *consumer) note(o queue.Outcome, r hub.Range) {
	if !s.settling {
		s.settling = true
		s.channel.settling = append(s.channel.settling, s)
	}
	if n := len(s.settled[o]); n > 0 && s.settled[o][n-1].To+1 == r.From {
		s.settled[o][n-1].To = r.To
		return
	}
	s.settled[o] = append(s.settled[o], r)
}

func (ch *channel) flushSettled() {
	if len(ch.settling) == 0 {
		return
	}
	for _, s := range ch.settling {
		for o := range s.settled {
			if len(s.settled[o]) > 0 {
				s.hub.Settle(queue.Outcome(o), s.settled[o]...)
				s.settled[o] = s.settled[o][:0]
			}
		}
	}
	ch.settledAll()
}

// settledAll follows when the hub knows what was settled.
func (ch *channel) settledAll() {
	for i, s := range ch.settling {
		ch.settling[i] = nil
		s.settling = false
		if _, leaving := ch.leaving[s]; leaving {
			ch.leaveIfSettled(s)
		}
	}
	ch.settling = ch.settling[:0]
	ch.resumeFull()
	ch.giveBack()
}

// giveBack makes room in what the consumers share for what was settled.
func (ch *channel) giveBack() {
	if ch.shared == nil {
		return
	}
	ch.mu.Lock()
	n := ch.unacked.returned
	ch.unacked.returned = 0
	ch.mu.Unlock()
	if ch.shared.Give(n) {
		ch.resumeAll()
	}
}

// resumeFull lets consumers go on that held back because too much was unacknowledged.
func (ch *channel) resumeFull() {
	ch.mu.Lock()
	var list []*consumer
	if ch.unacked.live < ch.conn.config.Limits.UnackedPerChannel {
		list, ch.full = ch.full, nil
	}
	ch.mu.Unlock()
	for _, s := range list {
		s.hub.Resume()
	}
}

// recover gives everything unacknowledged back to its queues. §1.8.3.15
func (ch *channel) recover(requeue bool) error {
	if !requeue {
		return notImplemented("requeue=false")
	}
	if err := ch.settle(0, true, queue.Requeue); err != nil {
		return err
	}
	ch.conn.flush()
	return nil
}
