package queue

import (
	"math"
	"strings"
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
	leave := func(text string) Remark {
		return func(old []byte) []byte { return append(old[:len(old):len(old)], text...) }
	}
	take := func() (notes []string) {
		q.Pump(0)
		q.Take(func(_ *Consumer, ds []Delivery) {
			for _, d := range ds {
				notes = append(notes, string(d.Note))
			}
		})
		return notes
	}
	q.SettleNoted(q.consumer, 1, 1, Release, leave("a"))
	if got := take(); len(got) != 1 || got[0] != "a" || q.Held() != before+1 {
		t.Errorf("notes %q, %d bytes", got, q.Held()-before)
	}
	q.SettleNoted(q.consumer, 3, 3, Fail, leave("b"))
	if got := take(); len(got) != 1 || got[0] != "ab" {
		t.Errorf("notes %q", got)
	}
	q.SettleNoted(q.consumer, 4, 4, Release, leave(string(make([]byte, mostNote))))
	if got := take(); len(got) != 1 || got[0] != "ab" {
		t.Errorf("notes %q", got)
	}
	q.Settle(q.consumer, 0, 9, Accept)
	if q.Held() != 0 || len(q.notes) != 0 {
		t.Errorf("%d bytes, %d notes are left", q.Held(), len(q.notes))
	}
}

// TestNotesOfDurableItems: the log is told of a note with the return, and the note stays until the log has the settlement.
func TestNotesOfDurableItems(t *testing.T) {
	q := New(Options{})
	c := q.Join(ConsumerOptions{})
	size := uint32(1)
	for range 3 {
		q.Enqueue(0, Item{Durable: true, Size: size, Message: &message.Message{Owned: true}})
	}
	text := strings.Repeat("a", 600)
	q.SettleNoted(c, 1, 2, Release, func([]byte) []byte { return []byte(text) })
	q.Settle(c, 3, 3, Fail)
	if r := q.Returned(1000); len(r) != 2 || r[0].ID != 1 || r[0].Count != 0 || string(r[1].Note) != text {
		t.Errorf("returned %+v", r)
	}
	if r := q.Returned(1000); len(r) != 1 || r[0].ID != 3 || r[0].Count != 1 || r[0].Note != nil || q.Returning() {
		t.Errorf("returned %+v", r)
	}
	notes := func() (n int) {
		q.EachNote(func(uint64, []byte) { n++ })
		return n
	}
	q.Pump(0)
	q.Settle(c, 0, 9, Accept)
	if gone, _ := q.Take(func(*Consumer, []Delivery) {}); len(gone) != 3 || notes() != 2 {
		t.Errorf("%d are gone, with %d notes", len(gone), notes())
	}
	q.Restore(0, Item{ID: 1, Durable: true, Size: size}) // the log could not be written
	for _, id := range []uint64{2, 3} {
		q.Forget(id)
	}
	var note []byte
	q.Pump(0)
	q.Take(func(_ *Consumer, ds []Delivery) { note = ds[0].Note })
	if string(note) != text || notes() != 1 || q.Held() != int64(len(text)) {
		t.Errorf("note %q, %d notes, %d bytes", note, notes(), q.Held())
	}
}

// TestWaits finds items wherever they wait, packed or not.
func TestWaits(t *testing.T) {
	q := New(Options{MaxPriority: 1})
	const count = 5 * pageItems
	for i := range uint64(count) {
		q.Enqueue(0, Item{Durable: true, Priority: uint8(i % 2), Message: &message.Message{Owned: true}})
	}
	for id := uint64(1); id <= count; id += 3 {
		q.Remove(id, id, func(*Item) {})
	}
	for id := range uint64(count + 2) {
		if want := id > 0 && id <= count && id%3 != 1; q.Waits(id) != want {
			t.Errorf("item %d: waits %t", id, !want)
		}
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
