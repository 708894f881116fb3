package mqtt

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/xdg-go/scram"
)

// mechanism is a method of authentication with the hash of its client side.
type mechanism struct {
	name string
	hash scram.HashGeneratorFcn
}

var mechanisms = []mechanism{{"SCRAM-SHA-256", scram.SHA256}, {"SCRAM-SHA-512", scram.SHA512}}

// prover is a client's side of an exchange; it is paho's Auther.
type prover struct {
	t            *testing.T
	method       string
	conversation *scram.ClientConversation
	asked        int
}

func (m mechanism) prover(t *testing.T, user, password string) *prover {
	t.Helper()
	client, err := m.hash.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	return &prover{t: t, method: m.name, conversation: client.NewConversation()}
}

// next is the client's next message. A challenge that is none fails the test.
func (p *prover) next(challenge []byte) *paho.AuthProperties {
	text, err := p.conversation.Step(string(challenge))
	if err != nil {
		p.t.Errorf("challenge %q: %v", challenge, err)
	}
	return &paho.AuthProperties{AuthMethod: p.method, AuthData: []byte(text)}
}

func (p *prover) Authenticate(a *paho.Auth) *paho.Auth {
	p.asked++
	if a.ReasonCode != 0x18 || a.Properties.AuthMethod != p.method { // [MQTT5-4.12.0-2], [MQTT5-4.12.0-5]
		p.t.Errorf("AUTH with reason %#x and method %q", a.ReasonCode, a.Properties.AuthMethod)
	}
	return &paho.Auth{ReasonCode: 0x18, Properties: p.next(a.Properties.AuthData)}
}

func (p *prover) Authenticated() {}

// with makes a client authenticate itself in an exchange when it connects.
func (p *prover) with(connect *paho.Connect, config *paho.ClientConfig) {
	config.AuthHandler = p
	first := p.next(nil)
	connect.Properties.AuthMethod, connect.Properties.AuthData = first.AuthMethod, first.AuthData
}

// connectProven connects and expects that the broker proves itself too.
func (b *broker) connectProven(t *testing.T, id string, m mechanism, user, password string, change func(*paho.Connect)) *client5 {
	t.Helper()
	p := m.prover(t, user, password)
	c := b.connect5(t, id, func(connect *paho.Connect, config *paho.ClientConfig) {
		p.with(connect, config)
		if change != nil {
			change(connect)
		}
	})
	if c.ack.Properties.AuthMethod != m.name { // [MQTT5-4.12.0-5]
		t.Errorf("CONNACK has the method %q", c.ack.Properties.AuthMethod)
	}
	p.next(c.ack.Properties.AuthData)
	if !p.conversation.Valid() || p.asked != 1 {
		t.Errorf("%s: proven %v after %d AUTHs", m.name, p.conversation.Valid(), p.asked)
	}
	return c
}

// refusedProof connects and answers the reason code with which it is refused.
func (b *broker) refusedProof(t *testing.T, id string, p *prover) byte {
	t.Helper()
	c, err := b.tryConnect5(t, id, p.with)
	if err == nil || c.ack == nil {
		t.Fatalf("%s as %q: %v", p.method, id, err)
	}
	if c.ack.Properties.AuthData != nil {
		t.Errorf("%s: a refusal with data", p.method)
	}
	return c.ack.ReasonCode
}

func TestEnhancedAuthentication(t *testing.T) {
	b := start(t, "--user", "ann:pencil, =ﬁn")
	for _, m := range mechanisms {
		c := b.connectProven(t, "c", m, "ann", "pencil, =fin", nil)
		c.subscribe(paho.SubscribeOptions{Topic: "a", QoS: 1}, 0)
		if r := c.publish(&paho.Publish{Topic: "a", QoS: 1, Payload: []byte("x")}); r != 0 {
			t.Errorf("%s: publish %#x", m.name, r)
		}
		c.next()
		b.connectProven(t, "placed", m, "/:ann", "pencil, =fin", nil)

		for user, password := range map[string]string{"ann": "wrong", "nobody": "pencil, =fin", "nowhere:ann": "pencil, =fin"} {
			p := m.prover(t, user, password)
			if r := b.refusedProof(t, "d", p); r != 0x87 || p.asked != 1 { // [MQTT5-4.12.0-4]
				t.Errorf("%s as %s: reason %#x after %d AUTHs", m.name, user, r, p.asked)
			}
		}
	}
	p := mechanisms[0].prover(t, "ann", "pencil, =fin")
	p.method = "SCRAM-SHA-1"
	if r := b.refusedProof(t, "d", p); r != 0x8c { // [MQTT5-4.12.0-1]
		t.Errorf("another method: reason %#x", r)
	}
	plain := b.connect5(t, "plain", func(connect *paho.Connect, _ *paho.ClientConfig) {
		connect.Username, connect.UsernameFlag, connect.Password, connect.PasswordFlag = "ann", true, []byte("pencil, =ﬁn"), true
	})
	if plain.ack.Properties.AuthMethod != "" { // [MQTT5-4.12.0-6]
		t.Error("CONNACK has a method that CONNECT had not")
	}
}

func TestReauthentication(t *testing.T) {
	b := start(t, "--user", "ann:pencil")
	for _, m := range mechanisms {
		again := &again{mechanism: m}
		p := m.prover(t, "ann", "pencil")
		c := b.connect5(t, "c", func(connect *paho.Connect, config *paho.ClientConfig) {
			p.with(connect, config)
			again.current.Store(p)
			config.AuthHandler = again
		})
		c.subscribe(paho.SubscribeOptions{Topic: "a", QoS: 1}, 0)
		for range 3 {
			r, err := again.run(t, c, "pencil")
			if err != nil || !r.Success || r.ReasonCode != 0 {
				t.Fatalf("%s: %+v, %v", m.name, r, err)
			}
			if r := c.publish(&paho.Publish{Topic: "a", QoS: 1}); r != 0 {
				t.Errorf("publish afterwards: %#x", r)
			}
			c.next()
		}
		r, err := again.run(t, c, "wrong")
		if err != nil || r.Success || r.ReasonCode != 0x87 { // [MQTT5-4.12.1-2]
			t.Errorf("%s with a wrong password: %+v, %v", m.name, r, err)
		}
		select {
		case <-c.Done():
		case <-time.After(patience):
			t.Error("the connection goes on")
		}
	}
}

// again is an Auther whose exchanges follow one another.
type again struct {
	mechanism
	current atomic.Pointer[prover]
}

func (a *again) Authenticate(challenge *paho.Auth) *paho.Auth {
	return a.current.Load().Authenticate(challenge)
}

func (a *again) Authenticated() {}

func (a *again) run(t *testing.T, c *client5, password string) (*paho.AuthResponse, error) {
	t.Helper()
	p := a.prover(t, "ann", password)
	a.current.Store(p)
	return c.Authenticate(c.context(), &paho.Auth{ReasonCode: 0x19, Properties: p.next(nil)}) // [MQTT5-4.12.1-1]
}

// TestTakeoverByProof: who proves who he is takes the session over, who does not leaves it alone.
func TestTakeoverByProof(t *testing.T) {
	b := start(t, "--user", "ann:pencil")
	lasting := func(connect *paho.Connect) {
		connect.CleanStart, connect.Properties.SessionExpiryInterval = false, new(uint32(60))
	}
	first := b.connectProven(t, "one", mechanisms[0], "ann", "pencil", lasting)
	first.subscribe(paho.SubscribeOptions{Topic: "a", QoS: 1}, 0)
	if r := b.refusedProof(t, "one", mechanisms[1].prover(t, "ann", "wrong")); r != 0x87 {
		t.Errorf("a wrong password: %#x", r)
	}
	if r := first.publish(&paho.Publish{Topic: "a", QoS: 1}); r != 0 {
		t.Errorf("the session did not stay with its owner: %#x", r)
	}
	first.next()
	second := b.connectProven(t, "one", mechanisms[1], "ann", "pencil", lasting)
	if !second.ack.SessionPresent {
		t.Error("the session was not there")
	}
	if d := first.end(); d.ReasonCode != 0x8e {
		t.Errorf("the first connection ended with %#x", d.ReasonCode)
	}
	second.publish(&paho.Publish{Topic: "a", QoS: 1})
	second.next()
}

// end waits for the broker's DISCONNECT.
func (c *client5) end() *paho.Disconnect {
	c.t.Helper()
	select {
	case d := <-c.ended:
		return d
	case <-time.After(patience):
		c.t.Fatal("no DISCONNECT")
	}
	return nil
}

// TestServerReference: clients are sent elsewhere when the broker has moved, which it learns while it runs, and when it stops.
func TestServerReference(t *testing.T) {
	file := filepath.Join(t.TempDir(), "turnstone.yaml")
	write := func(text string) {
		t.Helper()
		err := os.WriteFile(file+".new", []byte(text), 0o600)
		if err := errors.Join(err, os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	write("mqtt: {serverReference: 'other.example:1883 [::1]:1883'}\n")
	b := start(t, "--config", file)
	c := b.connect5(t, "c", nil)
	write("mqtt: {serverReference: 'third.example', serverMoved: true}\n")
	if d := c.end(); d.ReasonCode != 0x9d || d.Properties.ServerReference != "third.example" {
		t.Errorf("DISCONNECT %#x to %q", d.ReasonCode, d.Properties.ServerReference)
	}
	refused, err := b.tryConnect5(t, "d", nil)
	if err == nil || refused.ack == nil || refused.ack.ReasonCode != 0x9d || refused.ack.Properties.ServerReference != "third.example" {
		t.Errorf("CONNACK %+v, %v", refused.ack, err)
	}
	write("mqtt: {serverReference: 'other.example:1883 [::1]:1883'}\n")
	for begin := time.Now(); ; {
		if c, err = b.tryConnect5(t, "e", nil); err == nil {
			break
		}
		if time.Since(begin) > patience {
			t.Fatalf("the broker is back and refuses: %v", err)
		}
	}
	b.stop()
	if d := c.end(); d.ReasonCode != 0x9c || d.Properties.ServerReference != "other.example:1883 [::1]:1883" {
		t.Errorf("DISCONNECT %#x to %q", d.ReasonCode, d.Properties.ServerReference)
	}
}
