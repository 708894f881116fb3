package amqp10_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/Azure/go-amqp"
	"github.com/xdg-go/scram"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// user creates a user who may do everything in the virtual host "/".
func (b *broker) user(name, password string, p object.PermissionSpec) {
	b.Helper()
	hash, err := auth.Hash(password)
	check(b, err)
	keys, err := auth.ScramKeys(password, object.LeastScramIterations, nil)
	check(b, err)
	b.apply(object.KindUser, "", name, object.UserSpec{PasswordHash: hash, Scram: keys})
	b.apply(object.KindPermission, "/", name, p)
}

var everything = object.PermissionSpec{Configure: ".*", Write: ".*", Read: ".*"}

// TestProtocolHeaders: what is not known is answered with what is, and the connection ends. 2 §2.2, 5 §5.3.2
func TestProtocolHeaders(t *testing.T) {
	b := start(t, defaults())
	for _, raw := range []string{"AMQP\x00\x01\x00\x01", "AMQP\x00\x02\x00\x00", "AMQP\x02\x01\x00\x00", "AMQP\x03\x02\x00\x00", "AMQP\x07\x01\x00\x00", "GET / HTTP/1.1"} {
		p := b.dial()
		p.write([]byte(raw))
		p.expectHeader(frame.ProtocolSASL)
		p.gone()
	}
	b.user("ann", "secret", everything) // nobody is anonymous any more
	p := b.dial()
	p.header(frame.ProtocolAMQP)
	p.expectHeader(frame.ProtocolSASL)
	p.gone()
}

// sasl goes as far as the mechanisms.
func (p *peer) sasl() []string {
	p.Helper()
	p.header(frame.ProtocolSASL)
	p.expectHeader(frame.ProtocolSASL)
	return expect[*frame.SASLMechanisms](p).Mechanisms
}

// TestSASLPlain: 5 §5.3.3, 5 §5.3.3.1, 5 §5.3.3.2, 5 §5.3.3.5, 5 §5.3.3.6
func TestSASLPlain(t *testing.T) {
	b := start(t, defaults())
	b.user("ann", "secret", everything)
	p := b.dial()
	if got := strings.Join(p.sasl(), " "); got != "SCRAM-SHA-512 SCRAM-SHA-256 PLAIN" {
		t.Errorf("mechanisms %s", got)
	}
	p.send(0, &frame.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00ann\x00wrong")})
	if o := expect[*frame.SASLOutcome](p); o.Code != frame.SASLAuthenticationFail {
		t.Errorf("outcome %v", o.Code)
	}
	p.gone()
	conn, _ := b.clientWith(&amqp.ConnOptions{SASLType: amqp.SASLTypePlain("ann", "secret"), ContainerID: "me"})
	states := b.endpoint.Connections()
	if len(states) != 1 || states[0].User != "ann" || states[0].Protocol != "AMQP 1.0" || states[0].Channels != 1 || states[0].VirtualHost != "/" {
		t.Errorf("connections %+v", states)
	}
	if conn.Properties()["product"] != "Turnstone" {
		t.Errorf("properties %v", conn.Properties())
	}
	if s := b.endpoint.Stats(); s.Refused.Load() != 1 || s.Opened.Load() != 1 {
		t.Errorf("%d refused, %d opened", s.Refused.Load(), s.Opened.Load())
	}
}

// TestSASLScram: 5 §5.3.3.3, 5 §5.3.3.4
func TestSASLScram(t *testing.T) {
	b := start(t, defaults())
	b.user("ann", "secret", everything)
	for mechanism, hash := range map[string]scram.HashGeneratorFcn{"SCRAM-SHA-256": scram.SHA256, "SCRAM-SHA-512": scram.SHA512} {
		for _, password := range []string{"secret", "wrong"} {
			client, err := hash.NewClient("ann", password, "")
			check(t, err)
			c := client.NewConversation()
			p := b.dial()
			p.sasl()
			first, err := c.Step("")
			check(t, err)
			p.send(0, &frame.SASLInit{Mechanism: mechanism, InitialResponse: []byte(first)})
			proof, err := c.Step(string(expect[*frame.SASLChallenge](p).Challenge))
			check(t, err)
			p.send(0, &frame.SASLResponse{Response: []byte(proof)})
			o := expect[*frame.SASLOutcome](p)
			if password == "wrong" {
				if o.Code != frame.SASLAuthenticationFail {
					t.Errorf("%s with a wrong password: %v", mechanism, o.Code)
				}
				p.gone()
				continue
			}
			if _, err := c.Step(string(o.AdditionalData)); err != nil || o.Code != frame.SASLOk || !c.Valid() {
				t.Errorf("%s: %v, %v", mechanism, o.Code, err)
			}
			p.header(frame.ProtocolAMQP)
			p.expectHeader(frame.ProtocolAMQP)
			p.send(0, &frame.Open{ContainerID: "c", MaxFrameSize: 512})
			expect[*frame.Open](p)
		}
	}
}

// TestSASLAnonymous: while there is no user, a client on this machine needs no name.
func TestSASLAnonymous(t *testing.T) {
	b := start(t, defaults())
	b.queue("q", nil)
	_, s := b.clientWith(&amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()})
	check(t, must(s.NewSender(soon(t), "/queues/q", nil)).Send(soon(t), amqp.NewMessage(nil), nil))
	_, s = b.clientWith(nil) // and no SASL at all
	check(t, must(s.NewSender(soon(t), "/queues/q", nil)).Send(soon(t), amqp.NewMessage(nil), nil))
	b.user("ann", "secret", everything)
	p := b.dial()
	for _, m := range p.sasl() {
		if m == "ANONYMOUS" {
			t.Error("ANONYMOUS is offered")
		}
	}
	p.send(0, &frame.SASLInit{Mechanism: "ANONYMOUS"})
	if o := expect[*frame.SASLOutcome](p); o.Code != frame.SASLAuthenticationFail {
		t.Errorf("outcome %v", o.Code)
	}
	p.gone()
}

// TestBeforeAuthentication: what is not to come yet cuts the connection. 2 §2.4.7, 5 §5.3.1
func TestBeforeAuthentication(t *testing.T) {
	b := start(t, defaults())
	for name, send := range map[string]func(*peer){
		"AMQP frame":    func(p *peer) { p.send(0, &frame.Open{ContainerID: "c", MaxFrameSize: 512}) },
		"empty frame":   func(p *peer) { p.write(frame.AppendHeartbeat(nil)) },
		"response":      func(p *peer) { p.send(0, &frame.SASLResponse{Response: []byte("x")}) },
		"malformed":     func(p *peer) { p.write([]byte{0, 0, 0, 9, 2, 1, 0, 0, 0x40}) },
		"frame of 1 GB": func(p *peer) { p.write([]byte{0x40, 0, 0, 0, 2, 1, 0, 0}) },
		"zero-width array": func(p *peer) {
			p.write([]byte{0, 0, 0, 23, 2, 1, 0, 0, 0, 0x53, 0x41, 0xc0, 11, 1, 0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff})
		},
		"EXTERNAL over TCP": func(p *peer) {
			p.send(0, &frame.SASLInit{Mechanism: "EXTERNAL", InitialResponse: []byte("ann")})
			expect[*frame.SASLOutcome](p)
		},
		"unknown mechanism": func(p *peer) { p.send(0, &frame.SASLInit{Mechanism: "MAGIC"}); expect[*frame.SASLOutcome](p) },
		"PLAIN without data": func(p *peer) {
			p.send(0, &frame.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("x")})
			expect[*frame.SASLOutcome](p)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.dial()
			p.TB = t
			p.sasl()
			send(p)
			p.gone()
		})
	}
}

// TestOpen: what is negotiated, and what is refused, with an open before the close.
// 2 §2.4.1, 2 §2.7.1, 2 §2.7.9, 2 §2.4.3, 2 §2.8.15/unauthorized-access
func TestOpen(t *testing.T) {
	b := start(t, defaults())
	p := b.dial()
	p.header(frame.ProtocolAMQP)
	p.expectHeader(frame.ProtocolAMQP)
	p.send(0, &frame.Open{ContainerID: "c", MaxFrameSize: 1 << 30, ChannelMax: 5, IdleTimeout: 30_000, Hostname: "localhost"})
	o := expect[*frame.Open](p)
	if o.MaxFrameSize != 128<<10 || o.ChannelMax != 2046 || o.IdleTimeout != 60_000 || o.ContainerID != "turnstone-test" {
		t.Errorf("open %+v", o)
	}
	for _, c := range []string{"ANONYMOUS-RELAY", "SHARED-SUBS", "DELAYED_DELIVERY"} {
		if !slices.Contains(o.OfferedCapabilities, c) {
			t.Errorf("capability %s is not offered: %v", c, o.OfferedCapabilities)
		}
	}
	p.send(0, &frame.Close{})
	if c := expect[*frame.Close](p); c.Error != nil {
		t.Errorf("close %+v", c.Error)
	}
	p.gone()
	for _, x := range []struct {
		open      frame.Open
		condition frame.Condition
	}{
		{frame.Open{ContainerID: "c", MaxFrameSize: 512, Hostname: "vhost:nowhere"}, frame.UnauthorizedAccess},
		{frame.Open{ContainerID: "c", MaxFrameSize: 512, IdleTimeout: 10}, frame.NotAllowed},
		{frame.Open{ContainerID: "c", MaxFrameSize: 100}, frame.InvalidField},
	} {
		p := b.dial()
		p.header(frame.ProtocolAMQP)
		p.expectHeader(frame.ProtocolAMQP)
		p.send(0, &x.open)
		expect[*frame.Open](p)
		if c := expect[*frame.Close](p); c.Error == nil || c.Error.Condition != x.condition {
			t.Errorf("%+v: close %+v", x.open, c.Error)
		}
		p.send(0, &frame.Close{})
		p.gone()
	}
}

// TestVirtualHost: the hostname names it, as in RabbitMQ 4.
func TestVirtualHost(t *testing.T) {
	b := start(t, defaults())
	b.apply(object.KindVirtualHost, "", "tenant", object.VirtualHostSpec{})
	b.clientWith(&amqp.ConnOptions{SASLType: amqp.SASLTypePlain("guest", "guest"), HostName: "vhost:tenant"})
	if s := b.endpoint.Connections(); len(s) != 1 || s[0].VirtualHost != "tenant" {
		t.Errorf("connections %+v", s)
	}
}

// TestConnectionErrors: what closes the connection, and with which condition.
// 2 §2.3.1, 2 §2.4.3, 2 §2.4.7, 2 §2.5.1, 2 §2.7.2, 2 §2.8.15/not-allowed, 2 §2.8.15/not-implemented, 2 §2.8.15/decode-error, 2 §2.8.16/framing-error
func TestConnectionErrors(t *testing.T) {
	b := start(t, defaults())
	for name, x := range map[string]struct {
		send      func(*peer)
		condition frame.Condition
	}{
		"begin twice":        {func(p *peer) { p.send(0, &frame.Begin{HandleMax: 1}) }, frame.NotAllowed},
		"channel too high":   {func(p *peer) { p.send(11, &frame.Begin{HandleMax: 1}) }, frame.FramingError},
		"no session":         {func(p *peer) { p.send(3, &frame.Flow{}) }, frame.NotAllowed},
		"second open":        {func(p *peer) { p.send(0, &frame.Open{ContainerID: "c", MaxFrameSize: 512}) }, frame.NotAllowed},
		"handle too high":    {func(p *peer) { p.send(0, &frame.Attach{Name: "l", Handle: 10_000, Role: frame.Receiver}) }, frame.FramingError},
		"SASL afterwards":    {func(p *peer) { p.send(0, &frame.SASLInit{Mechanism: "PLAIN"}) }, frame.NotAllowed},
		"frame too large":    {func(p *peer) { p.write([]byte{0, 3, 0, 0, 2, 0, 0, 0}) }, frame.FramingError},
		"no performative":    {func(p *peer) { p.write([]byte{0, 0, 0, 9, 2, 0, 0, 0, 0x40}) }, frame.DecodeError},
		"unknown descriptor": {func(p *peer) { p.write([]byte{0, 0, 0, 12, 2, 0, 0, 0, 0, 0x53, 0x99, 0x45}) }, frame.NotImplemented},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.open()
			p.TB = t
			x.send(p)
			if c := expect[*frame.Close](p); c.Error == nil || c.Error.Condition != x.condition || c.Error.Description == "" {
				t.Errorf("close %+v", c.Error)
			}
			p.send(0, &frame.Close{})
			p.gone()
		})
	}
}

// TestShutdown: the broker says that it stops. 2 §2.8.16/forced
func TestShutdown(t *testing.T) {
	b := start(t, defaults())
	p := b.open()
	go b.endpoint.Shutdown(soon(t)) //nolint:errcheck // the connection tells
	if c := expect[*frame.Close](p); c.Error == nil || c.Error.Condition != frame.ConnectionForced {
		t.Errorf("close %+v", c.Error)
	}
	p.send(0, &frame.Close{})
	p.gone()
}

// TestRevoked: a user who goes loses the connection. 2 §2.8.16/forced
func TestRevoked(t *testing.T) {
	b := start(t, defaults())
	p := b.open() // as an anonymous client
	b.user("ann", "secret", everything)
	if c := expect[*frame.Close](p); c.Error == nil || c.Error.Condition != frame.ConnectionForced {
		t.Errorf("close %+v", c.Error)
	}
}
