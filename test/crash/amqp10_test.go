package crash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	client "github.com/turnstone-mq/turnstone/test/amqp10"
)

// TestAMQP10Kills kills the broker under senders and receivers of AMQP 1.0 that resume their links, and under transactions.
// Whatever a sender sent is there once when it has come to an end; every subscription gets it once; and a transaction has moved
// a message from its queue to two others, in different shards, or has done nothing. It ends earlier than the other tests.
func TestAMQP10Kills(t *testing.T) {
	b := newBroker(t)
	b.start()
	w := new(world)
	b.declarePairs()
	senders := []*tagged{
		{world: w, name: "pairs-0", address: "/exchanges/amq.direct/pair"}, {world: w, name: "pairs-1", address: "/exchanges/amq.direct/pair"},
		{world: w, name: "news", address: "/topic/crash-news"}, {world: w, name: "in", address: "/queues/crash-in"},
	}
	var readers []*resuming
	for i := range 2 {
		r := &resuming{world: w, name: fmt.Sprint("reader-", i), unsettled: make(map[string]*taken), times: make(map[uint64]int)}
		r.subscribe(t, b.amqp())
		readers = append(readers, r)
	}
	movers := []*mover{{world: w, name: "mover-0"}, {world: w, name: "mover-1"}, {world: w, name: "mover-2", acquires: true}, {world: w, name: "mover-3", acquires: true, settled: true}}
	rng := rand.New(rand.NewPCG(*seed, 3))
	began, killed := time.Now(), 0
	for ; killed < *kills && time.Since(began) < *duration*3/5 && !w.broken(); killed++ {
		var clients sync.WaitGroup
		for _, s := range senders {
			clients.Go(func() { s.run(b.amqp(), rng.Uint64(), false) })
		}
		for _, r := range readers {
			if rng.IntN(4) > 0 { // else it is away
				clients.Go(func() { r.run(b.amqp(), rng.Uint64(), 0) })
			}
		}
		for _, m := range movers {
			clients.Go(func() { m.run(b.amqp()) })
		}
		wait := time.NewTimer(time.Duration(rng.IntN(400)) * time.Millisecond)
		<-wait.C
		b.kill()
		clients.Wait()
		b.start()
	}
	var clients sync.WaitGroup
	for _, s := range senders { // what was begun is brought to an end
		clients.Go(func() { s.run(b.amqp(), 0, true) })
	}
	clients.Wait()
	for _, r := range readers {
		clients.Go(func() { r.run(b.amqp(), 0, senders[2].next) })
	}
	clients.Wait()
	for _, r := range readers {
		judge(t, r.name, r.times, senders[2].next)
	}
	for _, q := range []string{"crash-pair-a", "crash-pair-b"} {
		all := b.drained(q)
		for i, s := range senders[:2] {
			judge(t, q+" of "+s.name, all[uint32(i)], s.next)
		}
	}
	moved := 0
	in, left, right := b.drained("crash-in")[3], b.drained("crash-out-a")[3], b.drained("crash-out-b")[3]
	for n := range senders[3].next {
		if in[n]+left[n] != 1 || left[n] != right[n] {
			t.Errorf("message %d of the transactions is %d times where it was, %d and %d times where it went", n, in[n], left[n], right[n])
		}
		moved += left[n]
	}
	certain := 0
	for _, m := range movers {
		t.Logf("%s moved %d certainly", m.name, len(m.committed))
		for _, n := range m.committed {
			certain++
			if left[n] != 1 {
				t.Errorf("message %d was moved by a transaction that was committed, and is there %d times", n, left[n])
			}
		}
	}
	for _, f := range w.faults {
		t.Error(f)
	}
	resumed := 0
	for _, s := range senders {
		resumed += s.learned
	}
	t.Logf("%d kills in %v, %d and %d messages in pairs, %d of news, %d of %d moved, %d of them certainly; senders learned of %d deliveries by the map, receivers had %d resumed",
		killed, time.Since(began).Round(time.Second), senders[0].next, senders[1].next, senders[2].next, moved, senders[3].next, certain, resumed, readers[0].resumed+readers[1].resumed)
	if killed == 0 || certain == 0 || senders[2].next == 0 {
		t.Error("the test did too little")
	}
}

// judge says which numbers up to the last are not there exactly once.
func judge(t *testing.T, where string, times map[uint64]int, last uint64) {
	t.Helper()
	wrong := 0
	for n := range last {
		if times[n] == 1 {
			continue
		}
		if wrong++; wrong <= 10 {
			t.Errorf("%s: message %d is there %d times", where, n, times[n])
		}
	}
	if wrong > 10 {
		t.Errorf("%s: %d messages are not there once", where, wrong)
	}
}

// amqp is the address of the listener.
func (b *broker) amqp() string {
	u, err := url.Parse(b.url)
	if err != nil {
		b.Fatal(err)
	}
	return u.Host
}

func (b *broker) declarePairs() {
	b.Helper()
	ch, closed := channel(b.url)
	if ch == nil {
		b.Fatal("no connection")
	}
	defer closed()
	for _, q := range []string{"crash-pair-a", "crash-pair-b", "crash-in", "crash-out-a", "crash-out-b"} {
		if _, err := ch.QueueDeclare(q, true, false, false, false, nil); err != nil {
			b.Fatal(err)
		}
		if strings.HasPrefix(q, "crash-pair") {
			if err := ch.QueueBind(q, "pair", "amq.direct", false, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// drained takes everything out of a queue, and counts it by sender and number.
func (b *broker) drained(queue string) map[uint32]map[uint64]int {
	b.Helper()
	ch, closed := channel(b.url)
	if ch == nil {
		b.Fatal("no connection to drain the queues")
	}
	defer closed()
	all := make(map[uint32]map[uint64]int)
	for {
		d, ok, err := ch.Get(queue, true)
		if err != nil {
			b.Fatal(err)
		}
		if !ok {
			return all
		}
		from, n, err := decodeNumber(d.Body)
		if err != nil {
			b.Fatalf("queue %s: %v", queue, err)
		}
		if all[from] == nil {
			all[from] = make(map[uint64]int)
		}
		all[from][n]++
	}
}

func encodeNumber(from uint32, n uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, from), n)
}

func decodeNumber(b []byte) (from uint32, n uint64, err error) {
	if len(b) != 12 {
		return 0, 0, fmt.Errorf("a body of %d bytes", len(b))
	}
	return binary.BigEndian.Uint32(b), binary.BigEndian.Uint64(b[4:]), nil
}

// tagged is a sender whose link resumes, with its side of the terminus: what it sent and has not settled, by tag.
type tagged struct {
	world         *world
	name, address string
	next          uint64
	unsettled     map[string]uint64
	learned       int // deliveries of which the broker's map told the outcome
}

// number is what a sender is known by in its messages.
func (s *tagged) number() uint32 {
	return map[string]uint32{"pairs-0": 0, "pairs-1": 1, "news": 2, "in": 3}[s.name]
}

const mostUnsettled = 60

// run sends until the broker is gone; with finish, it only brings to an end what was begun.
func (s *tagged) run(address string, seed uint64, finish bool) {
	c, err := client.Dial(address, "crash")
	if err != nil {
		return
	}
	defer c.Close()
	ids := make(map[uint32]string)
	if s.unsettled == nil {
		s.unsettled = make(map[string]uint64)
	}
	if !s.attach(c, ids) {
		return
	}
	rng := rand.New(rand.NewPCG(seed, uint64(s.number())))
	for {
		for !finish && len(s.unsettled) < mostUnsettled {
			tag := fmt.Sprint(s.next)
			s.unsettled[tag] = s.next
			s.next++
			s.send(c, ids, tag, false)
			if rng.IntN(8) == 0 {
				break
			}
		}
		if finish && len(s.unsettled) == 0 {
			return
		}
		if c.Flush() != nil {
			return
		}
		for more := true; more; more = c.Buffered() {
			p, err := c.Next()
			if err != nil {
				return
			}
			s.take(c, ids, p)
		}
	}
}

// attach resumes the link, and brings up to date what both sides know.
func (s *tagged) attach(c *client.Client, ids map[uint32]string) bool {
	mine := make(map[string]frame.State)
	for tag := range s.unsettled {
		mine[tag] = frame.State{}
	}
	reply, err := c.Attach(&frame.Attach{Name: s.name, Role: frame.Sender, ReceiverSettleMode: frame.ReceiverSecond, Unsettled: client.Map(mine),
		Target: &frame.Target{Address: s.address, Durable: frame.DurabilityUnsettledState, ExpiryPolicy: frame.ExpireNever}})
	if err != nil {
		return false
	}
	theirs, err := client.States(reply.Unsettled)
	if err != nil || reply.Target == nil || reply.Target.Durable != frame.DurabilityUnsettledState || reply.IncompleteUnsettled {
		s.world.fault("sender %s is attached with %+v, %v", s.name, reply, err)
		return false
	}
	for tag := range theirs {
		if _, ok := s.unsettled[tag]; !ok {
			s.world.fault("sender %s: the broker has %s, which is settled", s.name, tag)
		}
	}
	for tag := range s.unsettled {
		state, known := theirs[tag]
		switch {
		case !known, state.Code == 0:
			s.send(c, ids, tag, known)
		case state.Code == frame.CodeAccepted:
			s.learned++
			delete(s.unsettled, tag)
			c.Transfer(frame.Transfer{DeliveryTag: []byte(tag), Resume: true, Settled: true, State: state})
		default:
			s.world.fault("sender %s: %s is %s", s.name, tag, state.Code)
		}
	}
	return true
}

func (s *tagged) send(c *client.Client, ids map[uint32]string, tag string, resume bool) {
	id := c.Transfer(frame.Transfer{DeliveryTag: []byte(tag), Resume: resume, Payload: client.Message(encodeNumber(s.number(), s.unsettled[tag]))})
	ids[id] = tag
}

func (s *tagged) take(c *client.Client, ids map[uint32]string, p frame.Performative) {
	switch p := p.(type) {
	case *frame.Flow:
	case *frame.Disposition:
		last := p.First
		if p.Last.Present {
			last = p.Last.Value
		}
		for id := p.First; id <= last; id++ {
			if p.State.Code != frame.CodeAccepted || p.Settled {
				s.world.fault("sender %s: %s is told %+v", s.name, ids[id], p)
			}
			delete(s.unsettled, ids[id])
			delete(ids, id)
		}
		c.Send(&frame.Disposition{Role: frame.Sender, First: p.First, Last: frame.Some(last), Settled: true, State: frame.Accepted})
	default:
		s.world.fault("sender %s: %v %+v", s.name, p.Descriptor(), p)
	}
}

// resuming is a durable subscription, with the client's side of it.
type resuming struct {
	world     *world
	name      string
	unsettled map[string]*taken // by tag
	times     map[uint64]int    // how often a message was taken
	resumed   int
}

// taken is a delivery that is not settled.
type taken struct {
	number  uint64
	decided bool // it is accepted
}

func (r *resuming) attach(c *client.Client) (*frame.Attach, error) {
	mine := make(map[string]frame.State)
	for tag, d := range r.unsettled {
		mine[tag] = frame.State{}
		if d.decided {
			mine[tag] = frame.Accepted
		}
	}
	return c.Attach(&frame.Attach{Name: r.name, Role: frame.Receiver, ReceiverSettleMode: frame.ReceiverSecond, Unsettled: client.Map(mine), Source: &frame.Source{
		Address: "crash-news", Capabilities: []string{"topic"}, Durable: frame.DurabilityUnsettledState, ExpiryPolicy: frame.ExpireNever,
	}})
}

func (r *resuming) subscribe(t *testing.T, address string) {
	t.Helper()
	c, err := client.Dial(address, "crash")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if a, err := r.attach(c); err != nil || a.Source == nil || a.Source.Durable != frame.DurabilityUnsettledState {
		t.Fatalf("attached with %+v, %v", a, err)
	}
}

// run takes messages until the broker is gone, or until it has those before a number.
func (r *resuming) run(address string, seed, until uint64) {
	c, err := client.Dial(address, "crash")
	if err != nil {
		return
	}
	defer c.Close()
	reply, err := r.attach(c)
	if err != nil {
		return
	}
	theirs, err := client.States(reply.Unsettled)
	if err != nil || reply.Source == nil {
		r.world.fault("receiver %s is attached with %+v, %v", r.name, reply, err)
		return
	}
	for tag := range r.unsettled {
		if _, ok := theirs[tag]; !ok { // the broker has settled it
			delete(r.unsettled, tag)
		}
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	ids := make(map[uint32]string)
	var late []uint32 // deliveries that are decided later
	count := uint32(0)
	c.Credit(0, count, 100)
	for r.missing(until) || len(r.unsettled) > 0 {
		if c.Flush() != nil {
			return
		}
		for more := true; more; more = c.Buffered() {
			p, err := c.Next()
			if err != nil {
				return
			}
			switch p := p.(type) {
			case *frame.Transfer:
				count++
				ids[p.DeliveryID.Value] = string(p.DeliveryTag)
				r.take(p, theirs)
				if seed != 0 && rng.IntN(5) == 0 {
					late = append(late, p.DeliveryID.Value)
				} else {
					r.decide(c, p.DeliveryID.Value, ids)
				}
			case *frame.Disposition:
				last := p.First
				if p.Last.Present {
					last = p.Last.Value
				}
				for id := p.First; id <= last; id++ {
					delete(r.unsettled, ids[id])
					delete(ids, id)
				}
			case *frame.Flow:
			default:
				r.world.fault("receiver %s: %v %+v", r.name, p.Descriptor(), p)
				return
			}
		}
		for len(late) > 20 {
			r.decide(c, late[0], ids)
			late = late[1:]
		}
		c.Credit(0, count, 100)
	}
}

func (r *resuming) missing(until uint64) bool {
	if until == 0 {
		return true
	}
	for n := range until {
		if r.times[n] == 0 {
			return true
		}
	}
	return false
}

// take notes a delivery: one that is resumed was taken when it came first.
func (r *resuming) take(p *frame.Transfer, theirs map[string]frame.State) {
	tag := string(p.DeliveryTag)
	if p.Resume {
		r.resumed++
		if r.unsettled[tag] == nil {
			r.world.fault("receiver %s: %x is resumed, which it does not have", r.name, tag)
		}
		return
	}
	body, err := client.Body(p.Payload)
	if err != nil {
		r.world.fault("receiver %s: %v", r.name, err)
		return
	}
	_, n, err := decodeNumber(body)
	if err != nil || r.unsettled[tag] != nil {
		r.world.fault("receiver %s: %x comes anew, %v", r.name, tag, err)
		return
	}
	if r.times[n]++; r.times[n] > 1 {
		r.world.fault("receiver %s: message %d comes %d times; in the broker's map: %v", r.name, n, r.times[n], theirs[tag])
	}
	r.unsettled[tag] = &taken{number: n}
}

func (r *resuming) decide(c *client.Client, id uint32, ids map[uint32]string) {
	if d := r.unsettled[ids[id]]; d != nil {
		d.decided = true
	}
	c.Send(&frame.Disposition{Role: frame.Receiver, First: id, State: frame.Accepted})
}

// mover moves messages from one queue to two others, each in a transaction. One that acquires takes them in it, too, and rolls back
// every fourth.
type mover struct {
	world     *world
	name      string
	acquires  bool
	settled   bool // it is sent settled deliveries
	committed []uint64
}

// The handles of its links.
const (
	coordinator = iota
	fromIn
	toA
	toB
)

func (m *mover) run(address string) {
	c, err := client.Dial(address, m.name)
	if err != nil {
		return
	}
	defer c.Close()
	mode := frame.SenderUnsettled
	if m.settled {
		mode = frame.SenderSettled
	}
	for _, a := range []*frame.Attach{
		{Name: "coordinator", Handle: coordinator, Role: frame.Sender, Coordinator: &frame.Coordinator{}},
		{Name: "in", Handle: fromIn, Role: frame.Receiver, SenderSettleMode: mode, Source: &frame.Source{Address: "/queues/crash-in", ExpiryPolicy: frame.ExpireSessionEnd}},
		{Name: "a", Handle: toA, Role: frame.Sender, Target: &frame.Target{Address: "/queues/crash-out-a", ExpiryPolicy: frame.ExpireSessionEnd}},
		{Name: "b", Handle: toB, Role: frame.Sender, Target: &frame.Target{Address: "/queues/crash-out-b", ExpiryPolicy: frame.ExpireSessionEnd}},
	} {
		if _, err := c.Attach(a); err != nil {
			return
		}
	}
	for count := uint32(0); ; count++ {
		fail := m.acquires && count%4 == 3
		n, err := m.move(c, count, fail)
		if err != nil {
			var told *refusedError
			if errors.As(err, &told) {
				m.world.fault("%s: %v", m.name, err)
			}
			return
		}
		if !fail {
			m.committed = append(m.committed, n)
		}
	}
}

// refusedError is an outcome that should have been another.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// move moves the message that is delivered after so many.
func (m *mover) move(c *client.Client, count uint32, fail bool) (n uint64, err error) {
	if !m.acquires {
		c.Credit(fromIn, count, 1)
		if err := c.Flush(); err != nil {
			return 0, err
		}
	}
	declare := func() (txn frame.Declared, err error) {
		state, err := m.ask(c, frame.Transfer{Handle: coordinator, DeliveryTag: []byte("d"), Payload: frame.AppendValue(nil, valueOf(new(frame.Declare).Append(nil)))})
		if err == nil {
			if err = txn.Decode(state); err != nil {
				err = &refusedError{err.Error()}
			}
		}
		return txn, err
	}
	var txn frame.Declared
	if m.acquires {
		if txn, err = declare(); err != nil {
			return 0, err
		}
		c.CreditIn(txn.TxnID, fromIn, count, 1)
		if err := c.Flush(); err != nil {
			return 0, err
		}
	}
	d, err := client.Expect[*frame.Transfer](c)
	if err != nil {
		return 0, err
	}
	if transactional := d.State.Code == frame.CodeTransactionalState; transactional != m.acquires || d.Settled != m.settled {
		return 0, &refusedError{fmt.Sprintf("transfer in state %v, settled %t", d.State.Code, d.Settled)}
	}
	body, err := client.Body(d.Payload)
	if err != nil {
		return 0, &refusedError{err.Error()}
	}
	if _, n, err = decodeNumber(body); err != nil {
		return 0, &refusedError{err.Error()}
	}
	if !m.acquires {
		if txn, err = declare(); err != nil {
			return 0, err
		}
	}
	in := (&frame.TransactionalState{TxnID: txn.TxnID}).State()
	for _, to := range []uint32{toA, toB} {
		if _, err := m.ask(c, frame.Transfer{Handle: to, DeliveryTag: []byte("m"), State: in, Payload: client.Message(body)}); err != nil {
			return 0, err
		}
	}
	accepted := (&frame.TransactionalState{TxnID: txn.TxnID, Outcome: frame.Accepted}).State()
	if !m.settled {
		c.Send(&frame.Disposition{Role: frame.Receiver, First: d.DeliveryID.Value, Settled: true, State: accepted})
	}
	discharge := frame.AppendValue(nil, valueOf((&frame.Discharge{TxnID: txn.TxnID, Fail: fail}).Append(nil)))
	outcome, err := m.ask(c, frame.Transfer{Handle: coordinator, DeliveryTag: []byte("c"), Payload: discharge})
	if err == nil && outcome.Code != frame.CodeAccepted {
		err = &refusedError{fmt.Sprintf("the discharge is %s", outcome.Code)}
	}
	return n, err
}

func valueOf(encoded []byte) frame.Value {
	v, _, err := frame.ReadValue(encoded, frame.Limits{Depth: 10, Elements: 100})
	if err != nil {
		panic(err)
	}
	return v
}

// ask sends a delivery and waits for its outcome.
func (m *mover) ask(c *client.Client, t frame.Transfer) (frame.State, error) {
	id := c.Transfer(t)
	if err := c.Flush(); err != nil {
		return frame.State{}, err
	}
	for {
		d, err := client.Expect[*frame.Disposition](c)
		if err != nil {
			return frame.State{}, err
		}
		if d.First == id && d.Role == frame.Receiver {
			return d.State, nil
		}
	}
}
