package amqp091

import (
	"sync"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/queue"
)

// channel is one channel of a connection.
type channel struct {
	conn   *connection
	number uint16

	// Owned by the reader.
	publisher  *hub.Publisher
	last       last
	content    content
	message    message.Message // scratch of publish
	attributes attributes      // scratch of publish
	confirming bool
	// transaction is what waits for tx.commit; nil before tx.select.
	transaction *transaction
	published   uint64      // messages since confirm.select
	lastQueue   string      // declared last: what an empty queue name stands for
	prefetch    int         // of consumers to come; zero is no limit
	shared      *queue.Flow // of all consumers; nil before it is needed
	consumers   map[string]*consumer
	getters     map[string]*consumer // of basic.get, by queue
	leaving     map[*consumer]struct{}
	replies     *consumer      // of direct replies; the last one that was
	generated   int            // consumer tags that were made up
	settling    []*consumer    // with deliveries settled since the last flush
	taken       []settledRange // scratch of settle
	touched     bool           // in conn.touched
	ending      bool           // channel.close was sent: everything but its answer is passed over

	confirmed uint64 // guarded by the order of the publisher's confirmations

	mu      sync.Mutex
	unacked unacked     // guarded by mu
	full    []*consumer // guarded by mu; they hold back because too much is unacknowledged
	scratch []byte      // guarded by mu
	closed  bool        // guarded by mu; nothing is sent any more
}

func newChannel(c *connection, number uint16) *channel {
	ch := &channel{
		conn:      c,
		number:    number,
		consumers: make(map[string]*consumer),
		getters:   make(map[string]*consumer),
		leaving:   make(map[*consumer]struct{}),
	}
	ch.publisher = c.host.NewPublisher(hub.PublisherOptions{Access: c.access, Origin: c.origin, Encoding: message.AMQP091, Confirmed: ch.confirm, Ended: c.end.Done(), Pace: c.pace})
	return ch
}

// handle handles one frame of the channel.
func (ch *channel) handle(f frame.Frame) error {
	switch {
	case ch.ending:
		return ch.handleEnding(f)
	case f.Type == frame.TypeHeader:
		return ch.contentHeader(f.Payload)
	case f.Type == frame.TypeBody:
		return ch.contentBody(f.Payload)
	case ch.content.awaited():
		return errorf(frame.UnexpectedFrame, "expected content %s, got a %s frame instead", ch.content.next(), f.Type)
	}
	id, args, err := frame.CutID(f.Payload)
	if err != nil {
		return err
	}
	switch id { // without the allocation that decode needs
	case frame.BasicPublishID:
		return ch.publish(f)
	case frame.BasicAckID:
		var m frame.BasicAck
		if err := m.Decode(args); err != nil {
			return err
		}
		return ch.ack(&m)
	}
	m, err := decode(id, args)
	if err != nil {
		return err
	}
	return ch.handleMethod(m)
}

// handleMethod handles what is not worth a batch; what was collected before it goes first, so that it is seen.
func (ch *channel) handleMethod(m frame.Method) error {
	switch m := m.(type) {
	case *frame.BasicNack:
		return ch.nack(m)
	case *frame.BasicReject:
		return ch.reject(m)
	}
	ch.conn.flush()
	switch m := m.(type) {
	case *frame.ChannelClose:
		ch.end(&frame.ChannelCloseOk{})
		ch.remove()
		return nil
	case *frame.ChannelFlow:
		return ch.flow(m)
	case *frame.ChannelFlowOk:
		return nil
	case *frame.ChannelOpen:
		return errorf(frame.ChannelError, "second 'channel.open' seen")
	case *frame.AccessRequest:
		ch.send(&frame.AccessRequestOk{Ticket: 1}) // tickets are gone from 0-9-1; RabbitMQ answers so too
		return nil
	case *frame.ConfirmSelect:
		if ch.transaction != nil {
			return errorf(frame.PreconditionFailed, "cannot switch from tx to confirm mode")
		}
		ch.confirming = true
		ch.reply(m.NoWait, &frame.ConfirmSelectOk{})
		return nil
	case *frame.TxSelect:
		return ch.selectTx()
	case *frame.TxCommit:
		return ch.commitTx()
	case *frame.TxRollback:
		return ch.rollbackTx()
	}
	switch m.ID().Class() {
	case frame.ExchangeDeclareID.Class():
		return ch.handleExchange(m)
	case frame.QueueDeclareID.Class():
		return ch.handleQueue(m)
	case frame.ClassBasic:
		return ch.handleBasic(m)
	}
	return errorf(frame.CommandInvalid, "%v on channel %d", m.ID(), ch.number)
}

func (ch *channel) handleBasic(m frame.Method) error {
	switch m := m.(type) {
	case *frame.BasicQos:
		return ch.qos(m)
	case *frame.BasicConsume:
		return ch.consume(m)
	case *frame.BasicCancel:
		return ch.cancel(m)
	case *frame.BasicCancelOk:
		return nil // nobody waits for it
	case *frame.BasicGet:
		return ch.get(m)
	case *frame.BasicRecover:
		if err := ch.recover(m.Requeue); err != nil {
			return err
		}
		ch.send(&frame.BasicRecoverOk{})
		return nil
	case *frame.BasicRecoverAsync:
		return ch.recover(m.Requeue)
	}
	return errorf(frame.CommandInvalid, "%v on channel %d", m.ID(), ch.number)
}

// flow stops the deliveries to all consumers of the channel, or lets them go on. basic.get is not concerned. §1.5.2.3
func (ch *channel) flow(m *frame.ChannelFlow) error {
	if m.Active {
		if ch.shared != nil {
			ch.shared.Start()
			ch.resumeAll()
		}
	} else {
		ch.share().Stop()
		for _, s := range ch.consumers {
			s.hub.Share(ch.shared) // returns when nothing more is on its way
		}
	}
	ch.send(&frame.ChannelFlowOk{Active: m.Active})
	return nil
}

// share is what the channel's consumers have in common.
func (ch *channel) share() *queue.Flow {
	if ch.shared == nil {
		ch.shared = &queue.Flow{}
		ch.mu.Lock()
		ch.unacked.returned = 0
		ch.mu.Unlock()
		for _, s := range ch.consumers {
			s.hub.Share(ch.shared)
		}
		for s := range ch.leaving {
			s.hub.Share(ch.shared)
		}
	}
	return ch.shared
}

func (ch *channel) resumeAll() {
	for _, s := range ch.consumers {
		s.hub.Resume()
	}
}

func (ch *channel) send(m frame.Method) { ch.conn.send(ch.number, m) }

// reply sends the answer to a synchronous method unless the client does not wait for it.
func (ch *channel) reply(noWait bool, m frame.Method) {
	if !noWait {
		ch.send(m)
	}
}

// touch notes that the channel has something to flush.
func (ch *channel) touch() {
	if !ch.touched {
		ch.touched = true
		ch.conn.touched = append(ch.conn.touched, ch)
	}
}

// flush hands over what was settled and published.
func (ch *channel) flush() {
	ch.touched = false
	ch.flushSettled()
	if ch.transaction != nil {
		ch.hold()
		return
	}
	ch.publisher.HandOver()
}

// fail closes the channel for a reason. §1.5.2.5
func (ch *channel) fail(e *Error) {
	ch.conn.flush()
	ch.ending = true
	ch.end(&frame.ChannelClose{ReplyCode: uint16(e.Code), ReplyText: e.replyText(), ClassID: e.Method.Class(), MethodID: e.Method.Method()})
}

// handleEnding looks for the end of a channel that the broker closed and passes everything else over.
func (ch *channel) handleEnding(f frame.Frame) error {
	if f.Type != frame.TypeMethod {
		return nil
	}
	switch id, _, _ := frame.CutID(f.Payload); id {
	case frame.ChannelCloseID:
		ch.send(&frame.ChannelCloseOk{})
		ch.remove()
	case frame.ChannelCloseOkID:
		ch.remove()
	}
	return nil
}

func (ch *channel) remove() {
	ch.conn.channelsMu.Lock()
	delete(ch.conn.channels, ch.number)
	ch.conn.channelsMu.Unlock()
	ch.conn.current = nil
	ch.conn.numbers.Add(-1)
}

// end ends the consumers, so that what they hold is back in its queues before last, if there is one, tells the client.
// Nothing of the channel is sent after last. It may be called twice.
func (ch *channel) end(last frame.Method) {
	ch.mu.Lock()
	again := ch.closed
	ch.closed = true
	ch.mu.Unlock()
	if again {
		return
	}
	ch.content.reset()
	for _, s := range ch.consumers {
		s.hub.Close()
	}
	for _, s := range ch.getters {
		s.hub.Close()
	}
	for s := range ch.leaving {
		s.hub.Close()
	}
	clear(ch.consumers)
	clear(ch.getters)
	clear(ch.leaving)
	if last != nil {
		ch.send(last)
	}
}
