package mqtt_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xdg-go/scram"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// scramWords puts the messages of an exchange into the words of a packet: scram=USER:PASSWORD is the first one, scram the
// next.
func (p *peer) scramWords(w words) words {
	p.Helper()
	if !w.has("scram") {
		return w
	}
	if at := w.text("scram"); at != "" {
		colon := strings.LastIndexByte(at, ':')
		p.scramBegin(w.text("auth-method"), at[:colon], at[colon+1:])
	}
	kept := words{}
	for _, word := range w {
		if !strings.HasPrefix(word, "scram") {
			kept = append(kept, word)
		}
	}
	return append(kept, "auth-data="+p.message)
}

func (p *peer) scramBegin(mechanism, user, password string) {
	p.Helper()
	hash := map[string]scram.HashGeneratorFcn{object.ScramSHA256: scram.SHA256, object.ScramSHA512: scram.SHA512}[mechanism]
	c, err := hash.NewClient(user, password, "")
	if err != nil {
		p.Fatal(err)
	}
	p.scram = c.NewConversation()
	if p.message, err = p.scram.Step(""); err != nil {
		p.Fatal(err)
	}
}

// scramDescribed is the description of a packet with the broker's message of an exchange as a word, after the client has
// taken it in.
func (p *peer) scramDescribed(q packet.Packet, text string) string {
	p.Helper()
	var properties packet.Properties
	switch q := q.(type) {
	case *packet.Auth:
		properties = q.Properties
	case *packet.Connack:
		properties = q.Properties
	}
	data, ok := properties.Get(packet.AuthData)
	if !ok || p.scram == nil {
		return text
	}
	var err error
	if p.message, err = p.scram.Step(string(data.Bytes)); err != nil {
		p.Fatal(err)
	}
	word := "scram"
	if p.scram.Valid() {
		word = "scram=proven"
	}
	return strings.Replace(text, "auth-data="+string(data.Bytes), word, 1)
}

// TestAuthenticationHasTheDeadlineOfConnect: who begins an exchange and does not go on is gone when the time is over, and
// who authenticates itself again has as much.
func TestAuthenticationHasTheDeadlineOfConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		timeout := b.config.Limits.ConnectTimeout()
		b.user("ann", object.UserLimits{})
		first := func(p *peer, q packet.Packet) {
			p.scramBegin(object.ScramSHA256, "ann", "ann")
			properties := packet.Properties(nil).AppendText(packet.AuthMethod, object.ScramSHA256).AppendText(packet.AuthData, p.message)
			switch q := q.(type) {
			case *packet.Connect:
				q.Properties = properties
			case *packet.Auth:
				q.Properties = properties
			}
			p.send(q)
			p.expect("auth 18 auth-method=SCRAM-SHA-256 scram")
		}
		last := func(p *peer) {
			p.send(&packet.Auth{Reason: packet.ContinueAuthentication, Properties: packet.Properties(nil).AppendText(packet.AuthMethod, object.ScramSHA256).AppendText(packet.AuthData, p.message)})
		}
		slow := b.pipe("slow")
		slow.version = packet.V5
		first(slow, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "slow"})
		begun := time.Now()
		slow.expect("closed")
		if took := time.Since(begun); took > timeout {
			t.Errorf("it had %v, want %v", took, timeout)
		}

		again := b.pipe("again")
		again.version = packet.V5
		first(again, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "again"})
		last(again)
		again.expect("connack 00 auth-method=SCRAM-SHA-256 scram=proven")
		first(again, &packet.Auth{Reason: packet.Reauthenticate})
		<-time.After(timeout + time.Millisecond)
		last(again)
		again.expect("disconnect 87")
		again.expect("closed")
	})
}

// TestAuthenticationHasTheLimitsBeforeIt: an AUTH is as small as what comes before CONNACK, also after it.
func TestAuthenticationHasTheLimitsBeforeIt(t *testing.T) {
	b := newBroker(t)
	b.config.Limits.PreAuthPacketBytes = 1000
	b.hub.Reconfigure(b.config)
	b.user("ann", object.UserLimits{})
	method := packet.Properties(nil).AppendText(packet.AuthMethod, "PLAIN")
	large := append(method[:len(method):len(method)], packet.Properties(nil).AppendText(packet.AuthData, strings.Repeat("x", 1000))...)
	early := b.dial("early")
	early.version = packet.V5
	early.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "early", Properties: method})
	early.expect("auth 18 auth-method=PLAIN")
	early.send(&packet.Auth{Reason: packet.ContinueAuthentication, Properties: large})
	early.expect("connack 95")
	early.expect("closed")

	late := b.dial("late")
	late.version = packet.V5
	late.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "late", Properties: append(method[:len(method):len(method)], packet.Properties(nil).AppendText(packet.AuthData, "\x00ann\x00ann")...)})
	late.expect("connack 00 auth-method=PLAIN")
	late.send(&packet.Auth{Reason: packet.Reauthenticate, Properties: large})
	late.expect("disconnect 95")
	late.expect("closed")
}

// FuzzAuthentication sends anything after a CONNECT that begins an exchange.
func FuzzAuthentication(f *testing.F) {
	for _, method := range []string{object.ScramSHA256, object.ScramSHA512, "PLAIN"} {
		properties := packet.Properties(nil).AppendText(packet.AuthMethod, method)
		for _, reason := range []packet.ReasonCode{packet.ContinueAuthentication, packet.Reauthenticate, packet.Success} {
			q := packet.Auth{Reason: reason, Properties: append(properties[:len(properties):len(properties)], packet.Properties(nil).AppendText(packet.AuthData, "n,,n=ann,r=x")...)}
			f.Add(method, []byte("n,,n=ann,r=x"), q.Append(nil, packet.V5))
		}
		f.Add(method, []byte("\x00ann\x00ann"), (&packet.Disconnect{}).Append(nil, packet.V5))
	}
	b := newBroker(f)
	b.config.Limits.AuthFailuresPerMin = 1 << 40
	b.hub.Reconfigure(b.config)
	b.user("ann", object.UserLimits{})
	b.listen()
	f.Fuzz(func(t *testing.T, method string, data, input []byte) {
		if len(method) > 1000 || len(data) > 1000 {
			return
		}
		b.TB = t
		p := &peer{TB: t, Conn: b.connect(t), name: "fuzz", version: packet.V5}
		defer p.Close() //nolint:errcheck // the broker may have ended it
		p.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "fuzz", Properties: packet.Properties(nil).
			AppendText(packet.AuthMethod, method).AppendText(packet.AuthData, string(data))})
		p.write(input)
		p.Conn.(interface{ CloseWrite() error }).CloseWrite() //nolint:errcheck // the broker may have ended it
		if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, p.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection does not end")
		}
	})
}
