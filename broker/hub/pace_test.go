package hub_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// paced is a publisher of MQTT with a pace, of which messages with QoS 0 may be dropped.
type paced struct {
	*bench
	*hub.Publisher
}

func (b *bench) paced(user, client string) *paced {
	a := b.login(user, client, "/")
	losable := func(m *message.Message) bool { return m.QoS == 0 }
	pace := b.hub.NewPace(hub.PaceOptions{Access: a, Losable: losable})
	return &paced{b, b.host.NewPublisher(hub.PublisherOptions{Access: a, Encoding: message.MQTT, Pace: pace})}
}

// send publishes messages of 10 bytes and answers how many were taken, how long the flush took, and the last error.
func (p *paced) send(n int, topic string, qos uint8) (taken int, took time.Duration, err error) {
	p.Helper()
	began := time.Now()
	for range n {
		r, e := p.Route([]byte("amq.topic"), []byte(topic))
		if e != nil {
			p.Fatal(e)
		}
		m := message.Message{Exchange: r.Exchange, Key: r.Key, Encoding: message.MQTT, QoS: qos, Payload: []byte("0123456789")}
		if _, e := p.Publish(r, &m, nil, 0); e != nil {
			err = e
		} else {
			taken++
		}
	}
	p.Flush()
	return taken, time.Since(began), err
}

func (p *paced) expect(n int, topic string, qos uint8, want string) {
	p.Helper()
	taken, took, err := p.send(n, topic, qos)
	got := fmt.Sprintf("%d in %v", taken, took.Round(time.Millisecond))
	if err != nil {
		got += fmt.Sprintf(", code %d: %v", hub.CodeOf(err), err)
	}
	if got != want {
		p.Errorf("%d of QoS %d to %s: %s\nwant %s", n, qos, topic, got, want)
	}
}

// inTime runs a test of a hub in a bubble with its own time.
func inTime(t *testing.T, test func(b *bench)) {
	synctest.Test(t, func(t *testing.T) { test(open(t, vfs.NewMemory(), small())) })
}

func TestSlowDown(t *testing.T) {
	inTime(t, func(b *bench) {
		b.user("ann", object.UserLimits{Client: object.Rate{MessagesPerSecond: 10}})
		p := b.paced("ann", "a")
		p.expect(10, "x", 0, "10 in 0s")
		p.expect(10, "x", 1, "10 in 1s")
		p.expect(25, "x", 0, "25 in 2.5s")
		b.paced("ann", "b").expect(10, "x", 0, "10 in 0s")  // each client has its own
		b.paced("ann", "a").expect(5, "x", 0, "5 in 500ms") // and finds it again
		if n := b.hub.Stats().RateSlowed.Load(); n != 3 {
			b.Errorf("%d waits are counted, want 3", n)
		}
	})
}

func TestNobodyWaitsWhenTheConnectionEnds(t *testing.T) {
	inTime(t, func(b *bench) {
		b.user("ann", object.UserLimits{Client: object.Rate{MessagesPerSecond: 1}})
		p, ended := b.paced("ann", "a"), make(chan struct{})
		pace := b.hub.NewPace(hub.PaceOptions{Access: b.login("ann", "a", "/")})
		p.Publisher = b.host.NewPublisher(hub.PublisherOptions{Access: b.login("ann", "a", "/"), Encoding: message.MQTT, Pace: pace, Ended: ended})
		time.AfterFunc(2*time.Second, func() { close(ended) })
		p.expect(10, "x", 0, "10 in 2s")
		p.expect(10, "x", 0, "10 in 0s")
		p.Unpaced() // as for a will
		p.expect(1, "x", 1, "1 in 0s")
	})
}

func TestDropAndDisconnect(t *testing.T) {
	inTime(t, func(b *bench) {
		b.user("ann", object.UserLimits{Client: object.Rate{MessagesPerSecond: 10}, OnExcess: object.Drop})
		b.user("bob", object.UserLimits{Client: object.Rate{BytesPerSecond: 50}, OnExcess: object.Disconnect})
		ann, bob := b.paced("ann", "a"), b.paced("bob", "b")
		ann.expect(12, "x", 0, fmt.Sprintf("10 in 0s, code %d: the client publishes more than 10 messages per second", hub.TooFast))
		ann.expect(10, "x", 1, "10 in 1s") // they cannot be dropped
		bob.expect(6, "x", 1, fmt.Sprintf("5 in 0s, code %d: the client publishes more than 50 bytes per second", hub.Excess))
		s := b.hub.Stats()
		if s.RateDropped.Load() != 2 || s.RateEnded.Load() != 1 || s.RateSlowed.Load() != 1 {
			b.Errorf("%d dropped, %d ended, %d slowed down, want 2, 1, 1", s.RateDropped.Load(), s.RateEnded.Load(), s.RateSlowed.Load())
		}
	})
}

func TestUserRateIsShared(t *testing.T) {
	inTime(t, func(b *bench) {
		b.user("ann", object.UserLimits{
			Client: object.Rate{MessagesPerSecond: 8}, User: object.Rate{MessagesPerSecond: 10, BytesPerSecond: 1000}, OnExcess: object.Drop,
		})
		one, two := b.paced("ann", "1"), b.paced("ann", "2")
		one.expect(9, "x", 0, fmt.Sprintf("8 in 0s, code %d: the client publishes more than 8 messages per second", hub.TooFast))
		two.expect(9, "x", 0, fmt.Sprintf("2 in 0s, code %d: user 'ann' publishes more than 10 messages or 1000 bytes per second", hub.TooFast))
		time.Sleep(100 * time.Millisecond)
		// What the user's rate refused cost the second client nothing: its 6 left are enough for the one that the user has.
		two.expect(6, "x", 0, fmt.Sprintf("1 in 0s, code %d: user 'ann' publishes more than 10 messages or 1000 bytes per second", hub.TooFast))
	})
}

func TestRatesOfTopicPolicies(t *testing.T) {
	inTime(t, func(b *bench) {
		b.user("ann", object.UserLimits{})
		policy := func(name string, s object.TopicPolicySpec) {
			o, err := object.New(object.KindTopicPolicy, "/", name, s)
			if err != nil {
				b.Fatal(err)
			}
			if r, err := b.hub.Apply(b.Context(), "", []object.Change{{Object: o}}, hub.ApplyOptions{}); err != nil || r[0].Outcome == object.Refused {
				b.Fatal(r, err)
			}
		}
		policy("slow", object.TopicPolicySpec{Filter: "slow/#", MaxMessagesPerSecond: 10})
		policy("lossy", object.TopicPolicySpec{Filter: "lossy/#", MaxMessagesPerSecond: 20, OnExcess: object.Drop})
		p := b.paced("ann", "a")
		p.expect(30, "slow/a", 0, "30 in 2s")
		p.expect(21, "lossy/a", 0, fmt.Sprintf("20 in 0s, code %d: the client publishes more than 20 messages per second to topics of policy 'lossy'", hub.TooFast))
		p.expect(100, "free", 0, "100 in 0s")
	})
}

func TestRatesChangeUnderAConnection(t *testing.T) {
	inTime(t, func(b *bench) {
		b.user("ann", object.UserLimits{Client: object.Rate{MessagesPerSecond: 1}})
		p := b.paced("ann", "a")
		time.AfterFunc(10500*time.Millisecond, func() { b.user("ann", object.UserLimits{Client: object.Rate{MessagesPerSecond: 100}}) })
		p.expect(101, "x", 0, "101 in 11s") // 100 seconds, had the rate not changed
		p.expect(10, "x", 0, "10 in 100ms")
		c := b.hub.Config()
		c.Limits.Rates.Client.MessagesPerSecond, c.Limits.Rates.OnExcess = 5, object.Drop
		b.hub.Reconfigure(c)
		b.user("ann", object.UserLimits{Client: object.Rate{MessagesPerSecond: object.Unlimited}})
		p.expect(1000, "x", 0, "1000 in 0s")
		b.user("ann", object.UserLimits{}) // as the configuration has it
		time.Sleep(time.Minute)
		p.expect(6, "x", 0, fmt.Sprintf("5 in 0s, code %d: the client publishes more than 5 messages per second", hub.TooFast))
	})
}
