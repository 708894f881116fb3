package queue

import (
	"math"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/message"
)

// credited is a queue with a consumer that counts its credit, and what became of it.
type credited struct {
	*Queue
	consumer *Consumer
	got      int
	answers  []Credit
}

func newCredited(o ConsumerOptions) *credited {
	q := &credited{Queue: New(Options{})}
	o.Credited = true
	q.consumer = q.Join(o)
	return q
}

func (q *credited) publish(n int) {
	for range n {
		q.Enqueue(0, Item{Message: &message.Message{Owned: true}})
	}
	q.after()
}

func (q *credited) grant(upTo uint32, drain, ask bool) {
	q.Grant(q.consumer, upTo, drain, ask)
	q.Pump(0)
	q.after()
}

func (q *credited) after() {
	for more := true; more; more = q.More(0) {
		q.Take(func(_ *Consumer, ds []Delivery) { q.got += len(ds) })
	}
	q.Answers(func(_ *Consumer, s Credit) { q.answers = append(q.answers, s) })
}

func (q *credited) expect(t *testing.T, got int, answers ...Credit) {
	t.Helper()
	if q.got != got || len(q.answers) != len(answers) {
		t.Fatalf("%d deliveries, answers %+v; want %d, %+v", q.got, q.answers, got, answers)
	}
	for i, a := range answers {
		if q.answers[i] != a {
			t.Errorf("answer %+v, want %+v", q.answers[i], a)
		}
	}
	q.got, q.answers = 0, nil
}

func TestCreditBoundsDeliveries(t *testing.T) {
	for _, noAck := range []bool{false, true} {
		q := newCredited(ConsumerOptions{NoAck: noAck})
		q.publish(5)
		q.expect(t, 0)
		q.grant(3, false, false)
		q.expect(t, 3)
		q.grant(3, false, true)
		q.expect(t, 0, Credit{Given: 3, Available: 2})
		q.grant(7, false, true)
		q.expect(t, 2, Credit{Given: 5, Left: 2})
		q.grant(4, false, true) // a grant of before, or credit that is taken back
		q.expect(t, 0, Credit{Given: 5})
		q.publish(1)
		q.expect(t, 0)
	}
}

func TestDrain(t *testing.T) {
	q := newCredited(ConsumerOptions{})
	q.publish(2)
	q.grant(10, true, false)
	q.expect(t, 2, Credit{Given: 10, LetGo: 8, Drain: true})
	q.publish(1)
	q.expect(t, 0)
	q.grant(11, true, false)
	q.expect(t, 1, Credit{Given: 11, Drain: true})
}

// TestDrainWaitsForRoom: what waits is delivered before the rest of the credit is let go.
func TestDrainWaitsForRoom(t *testing.T) {
	q := newCredited(ConsumerOptions{})
	q.publish(2)
	q.consumer.Pause(true)
	q.grant(5, true, false)
	q.expect(t, 0)
	q.consumer.Pause(false)
	q.Pump(0)
	q.after()
	q.expect(t, 2, Credit{Given: 5, LetGo: 3, Drain: true})
}

func TestCreditWraps(t *testing.T) {
	q := newCredited(ConsumerOptions{})
	q.consumer.credit.given = math.MaxUint32 - 1
	q.grant(3, false, false)
	q.publish(9)
	q.expect(t, 5)
}

// TestNotes: what a consumer leaves on a message is there for the next one, and goes with the message.
func TestNotes(t *testing.T) {
	q := newCredited(ConsumerOptions{})
	q.publish(2)
	q.grant(10, false, false)
	before := q.Held()
	take := func() (notes []string) {
		q.Pump(0)
		q.Take(func(_ *Consumer, ds []Delivery) {
			for _, d := range ds {
				notes = append(notes, string(d.Note))
			}
		})
		return notes
	}
	q.SettleNoted(q.consumer, 1, 1, Release, []byte("a"))
	if got := take(); len(got) != 1 || got[0] != "a" || q.Held() != before+1 {
		t.Errorf("notes %q, %d bytes", got, q.Held()-before)
	}
	q.SettleNoted(q.consumer, 3, 3, Fail, []byte("b"))
	if got := take(); len(got) != 1 || got[0] != "ab" {
		t.Errorf("notes %q", got)
	}
	q.SettleNoted(q.consumer, 4, 4, Release, make([]byte, mostNote))
	if got := take(); len(got) != 1 || got[0] != "ab" {
		t.Errorf("notes %q", got)
	}
	q.Settle(q.consumer, 0, 9, Accept)
	if q.Held() != 0 || len(q.notes) != 0 {
		t.Errorf("%d bytes, %d notes are left", q.Held(), len(q.notes))
	}
}

// TestFailCounts: what failed counts, whether the queue counts or not.
func TestFailCounts(t *testing.T) {
	q := newCredited(ConsumerOptions{})
	q.publish(1)
	q.grant(10, false, false)
	for tag, o := range []Outcome{Requeue, Fail, Release, Fail} {
		q.Settle(q.consumer, uint64(tag+1), uint64(tag+1), o)
		q.Pump(0)
		var last Delivery
		q.Take(func(_ *Consumer, ds []Delivery) { last = ds[0] })
		if want := []uint32{0, 1, 1, 2}[tag]; last.Count != want || !last.Returned {
			t.Errorf("after %d the count is %d, want %d", o, last.Count, want)
		}
	}
}

// TestDrainOfAConsumerThatSelects waits with the answer until everything was looked at.
func TestDrainOfAConsumerThatSelects(t *testing.T) {
	q := newCredited(ConsumerOptions{Filter: func(it *Item) bool { return it.ID%1000 == 0 }})
	q.publish(3 * mostExamined)
	q.grant(10, true, false)
	q.expect(t, 2)
	for q.Examining() {
		q.Examine(0)
		q.after()
	}
	q.expect(t, 4, Credit{Given: 10, LetGo: 4, Available: 3*mostExamined - 6, Drain: true})
}
