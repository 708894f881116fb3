package hub_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// willing opens a persistent session with a will for the topic w.
func (b *bench) willing(client, body string, delay time.Duration) *hub.Session {
	b.Helper()
	p := b.publisher(message.MQTT)
	r, err := p.Route([]byte("amq.topic"), []byte("w"))
	if err != nil {
		b.Fatal(err)
	}
	m := durable(body)
	m.Exchange, m.Key, m.Encoding, m.Owned, m.Publisher = r.Exchange, r.Key, message.MQTT, true, client
	w, err := p.NewWill(r, &m, delay, 0, 0)
	if err != nil {
		b.Fatal(err)
	}
	return b.back(client, w)
}

// back opens the persistent session of a client.
func (b *bench) back(client string, w *hub.Will) *hub.Session {
	b.Helper()
	s, _, err := b.host.OpenSession(context.Background(), hub.SessionOptions{
		ClientID: client, Expiry: 1_000_000, Access: b.access, Sink: newSink(), Origin: b.hub.NewOrigin(), Limit: 10, Will: w,
	})
	if err != nil {
		b.Fatal(err)
	}
	if s.HasWill() != (w != nil) {
		b.Fatalf("will %v, kept: %v", w, s.HasWill())
	}
	return s
}

// breaks ends the connection of a session without DISCONNECT.
func (b *bench) breaks(s *hub.Session) {
	b.Helper()
	if err := s.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	if err := s.Bequeath(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// heirs makes the queue in which wills are seen.
func (b *bench) heirs() {
	b.Helper()
	b.queue("heirs", object.QueueSpec{Durable: true})
	if err := b.host.Bind(context.Background(), b.access, hub.Binding{Source: "amq.topic", Destination: "heirs", Key: "w"}); err != nil {
		b.Fatal(err)
	}
}

// read takes what is in the queue of wills.
func (b *bench) read() []string {
	b.Helper()
	n := b.ready("heirs")
	s := newSink()
	c := b.consume("heirs", s, hub.ConsumerOptions{NoAck: true})
	s.wait(b.T, "the wills", func() bool { return len(s.bodies) >= n })
	c.Close()
	slices.Sort(s.bodies)
	return s.bodies
}

// loss takes the power away and opens what is left, with all that is done by itself done.
func (b *bench) loss(disk **vfs.Crash) *bench {
	b.Helper()
	time.Sleep(10 * time.Millisecond) // what was settled is written by then
	left := (*disk).PowerLoss(1)
	b.close()
	*disk = left
	again := open(b.T, left, small())
	synctest.Wait()
	return again
}

func TestWillsOutliveAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrash()
		b := open(t, disk, small())
		b.heirs()
		b.willing("at once", "at once", 0)
		b.willing("delayed", "delayed", time.Minute)
		b.willing("comes back", "comes back", time.Minute)
		if err := b.willing("left", "left", 0).TakeBackWill(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.breaks(b.willing("waits", "waits", time.Minute))
		b.breaks(b.willing("returned", "returned", time.Minute))
		b.back("returned", nil)
		b.willing("another", "first", time.Minute)
		b.willing("another", "second", time.Minute)
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := b.read(); !slices.Equal(got, want) {
				t.Errorf("%s: %q, wanted %q", when, got, want)
			}
		}
		time.Sleep(20 * time.Second)
		expect("before")
		b = b.loss(&disk)
		expect("at the start", "at once")
		time.Sleep(time.Second)
		b.back("comes back", nil)
		time.Sleep(39*time.Second - 20*time.Millisecond)
		expect("before the first is due")
		time.Sleep(20 * time.Millisecond)
		expect("when the first is due", "waits")
		b = b.loss(&disk) // the others have their time now
		time.Sleep(20 * time.Second)
		expect("when the others are due", "delayed", "second")
		time.Sleep(time.Hour)
		b = b.loss(&disk)
		expect("at the end")
		if n := b.hub.DelayedCount(); n != 0 {
			t.Errorf("%d messages wait", n)
		}
	})
}

func TestWillsComeWhenTheirSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMemory()
		b := open(t, fs, small())
		b.heirs()
		b.breaks(b.willing("a", "ended", time.Hour))
		if _, _, err := b.host.OpenSession(t.Context(), hub.SessionOptions{ClientID: "a", Clean: true, Access: b.access, Sink: newSink(), Limit: 1}); err != nil {
			t.Fatal(err)
		}
		b.willing("b", "displaced", 0)
		b.back("b", nil)
		b.willing("c", "displaced with a delay", time.Hour)
		b.back("c", nil)
		short := b.willing("d", "expired", time.Hour)
		if err := short.SetExpiry(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		b.breaks(short)
		synctest.Wait()
		if got, want := b.read(), []string{"displaced", "ended"}; !slices.Equal(got, want) {
			t.Errorf("%q, wanted %q", got, want)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if got, want := b.read(), []string{"expired"}; !slices.Equal(got, want) {
			t.Errorf("%q, wanted %q", got, want)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		b.close()
		b = open(t, fs, small())
		synctest.Wait()
		if got := b.read(); len(got) > 0 || b.hub.DelayedCount() != 0 {
			t.Errorf("later there are %q, and %d wait", got, b.hub.DelayedCount())
		}
	})
}

// TestWillsOfAStopAreThere: those without a delay are published before the hub is closed, the others wait on.
func TestWillsOfAStopAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMemory()
		b := open(t, fs, small())
		b.heirs()
		b.breaks(b.willing("a", "now", 0))
		b.breaks(b.willing("b", "later", time.Minute))
		b.close()
		b = open(t, fs, small())
		if got := b.read(); !slices.Equal(got, []string{"now"}) {
			t.Errorf("after the stop: %q", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := b.read(); !slices.Equal(got, []string{"later"}) {
			t.Errorf("after the delay: %q", got)
		}
	})
}

func TestWillsOutliveCheckpointsAndCleaning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMemory()
		b := open(t, fs, small())
		b.heirs()
		b.queue("busy", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": 10}})
		const count = 40
		for i := range count {
			s := b.willing(fmt.Sprint("c", i), fmt.Sprintf("%02d", i), 10*time.Hour)
			if i%2 == 0 {
				b.breaks(s)
			}
		}
		for round := range 2 {
			p := b.publisher(message.AMQP091)
			p.turnOver("busy")
			if n := b.hub.JournalSegments(); n > 12 {
				t.Errorf("round %d: %d segments", round, n)
			}
			b.close()
			b = open(t, fs, small())
			synctest.Wait()
			if n := b.hub.DelayedCount(); n != count { // those of connections as well, now
				t.Fatalf("round %d: %d wills wait", round, n)
			}
		}
		for i := range 10 {
			b.back(fmt.Sprint("c", i), nil)
		}
		time.Sleep(11 * time.Hour)
		synctest.Wait()
		if got := b.read(); len(got) != count-10 || got[0] != "10" {
			t.Errorf("%d wills: %q", len(got), got)
		}
	})
}

// TestWillsOutlivePowerLossOnce lets connections end in all ways while the power goes at any moment: a will whose connection broke
// comes once, one that was taken back never.
func TestWillsOutlivePowerLossOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewCrash()
		loss := lossOf(disk)
		next := 0
		for round := range uint64(40) {
			rng := rand.New(rand.NewPCG(round, 10))
			b := open(t, disk, small())
			b.heirs()
			b.read()
			loss.seed = rng.Uint64()
			loss.at.Store(1 + rng.Int64N(80))
			must, may := make(map[string]bool), make(map[string]bool)
			var left *vfs.Crash
			for left == nil {
				body := fmt.Sprint(next)
				next++
				may[body] = true
				s := b.willing(fmt.Sprint("c", next), body, time.Duration(rng.IntN(2))*time.Millisecond)
				back := rng.IntN(3) == 0
				if back {
					if err := s.TakeBackWill(context.Background()); err != nil {
						t.Fatal(err)
					}
					if err := s.Close(context.Background()); err != nil {
						t.Fatal(err)
					}
				} else {
					b.breaks(s)
				}
				time.Sleep(time.Duration(rng.IntN(2)) * time.Millisecond) // some are due now
				select {
				case left = <-loss.left:
				default:
					if back {
						delete(may, body)
					}
					must[body] = !back
				}
			}
			b.close()
			disk, loss = left, lossOf(left)
			b = open(t, disk, small())
			b.drainDelayed()
			b.close() // and with it the transactions end
			b = open(t, disk, small())
			b.drainDelayed()
			got := make(map[string]bool)
			for _, body := range b.read() {
				if got[body] || !may[body] {
					t.Fatalf("round %d: will %s comes twice: %v, or should not", round, body, got[body])
				}
				got[body] = true
			}
			for body, there := range must {
				if there && !got[body] {
					t.Fatalf("round %d: will %s is missing", round, body)
				}
			}
			b.close()
		}
	})
}
