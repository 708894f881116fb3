package mqtt_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestScenarios plays the text files in testdata. Their lines are:
//
//	NAME > PACKET     the client sends; it connects with its first packet, and again after it was closed
//	NAME < PACKET     the client receives, as its next packet
//	NAME settled      what the client sent has been handed over, and it received nothing more
//	NAME closed       the broker closed the connection
//	NAME drops        the client closes its connection without DISCONNECT, and the broker has seen it
//	NAME version V    the client speaks 3.1, 3.1.1 or 5 from now on
//	restart           the broker stops and starts on the same data
//	restart watched   likewise; what the clients received before comes next
//	reference SERVER  mqtt.serverReference from now on; with the word moved, the broker has moved there
//	hashed NAME       a user whose password, which is its name, came as a hash
//	queue NAME FILTER a durable queue is bound to the exchange of MQTT with a filter
//	events KIND...    the virtual host has events of these kinds alone; of what they say, time, version, address and connection
//	                  are left out
//	policy NAME SPEC  a topic policy, as JSON without blanks
//	user NAME [LIMITS] a user with its name as password is made, and may publish and subscribe under ok/ alone
//
// Two lines are for bytes that are wrong. BYTES are hexadecimal digits and "text", and # is the remaining length of what
// follows; CODE is the reason code of the answer, or closed when the connection ends without one, as it does before
// version 5:
//
//	first V BYTES => CODE     a client of version V begins with them; CONNACK answers, and the connection ends
//	wrong V BYTES => CODE     a client of version V that is connected sends them; DISCONNECT answers, and it ends
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range strings.Split(string(data), "\n== ") {
			title, body, _ := strings.Cut(text, "\n")
			if i == 0 {
				continue // the file's comment
			}
			t.Run(strings.TrimSuffix(filepath.Base(f), ".txt")+"/"+strings.TrimSpace(title), func(t *testing.T) {
				(&scenario{broker: newBroker(t), peers: make(map[string]*peer)}).play(body)
			})
		}
	}
}

type scenario struct {
	*broker
	peers map[string]*peer
}

func (s *scenario) play(body string) {
	for line := range strings.Lines(body) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "//") {
			continue
		}
		s.Log(strings.TrimSpace(line))
		s.line(words)
	}
}

func (s *scenario) line(words []string) {
	s.Helper()
	switch words[0] {
	case "restart":
		s.stop()
		s.start()
		if len(words) == 1 {
			clear(s.peers)
		}
		return
	case "reference":
		s.config.MQTT.ServerReference, s.config.MQTT.ServerMoved = words[1], len(words) > 2
		s.hub.Reconfigure(s.config)
		return
	case "ids":
		s.allow(words[1], object.UserSpec{Password: words[1], ClientIDs: words[2:]})
		return
	case "hashed":
		s.hashed(words[1])
		return
	case "user":
		var limits object.UserLimits
		if len(words) > 2 {
			if err := json.Unmarshal([]byte(words[2]), &limits); err != nil {
				s.Fatal(err)
			}
		}
		s.user(words[1], limits)
		return
	case "events":
		s.events(words[1:])
		return
	case "queue":
		s.queue(words[1], words[2])
		return
	case "policy":
		s.apply(object.Object{Key: object.Key{Kind: object.KindTopicPolicy, VirtualHost: "/", Name: words[1]}, Spec: json.RawMessage(words[2])})
		return
	case "first", "wrong":
		s.refused(words[0], versions[words[1]], strings.Join(words[2:], " "))
		return
	}
	p := s.peers[words[0]]
	if p == nil {
		p = s.dial(words[0])
		s.peers[words[0]] = p
	}
	switch words[1] {
	case ">":
		p.write(p.parse(words[2:]))
	case "<":
		p.expect(strings.Join(words[2:], " "))
	case "settled":
		p.settle()
	case "closed":
		p.expect("closed")
		p.Close() //nolint:errcheck // done with it
		delete(s.peers, words[0])
	case "drops":
		s.drop(p)
		delete(s.peers, words[0])
	case "version":
		p.version = versions[words[2]]
	default:
		s.Fatalf("unknown line %q", words)
	}
}

var versions = map[string]packet.Version{"3.1": packet.V31, "3.1.1": packet.V311, "5": packet.V5}

// refused plays a line of bytes that are wrong; line is what follows the version.
func (s *scenario) refused(when string, v packet.Version, line string) {
	s.Helper()
	line, _, _ = strings.Cut(line, " //")
	text, code, found := strings.Cut(line, "=>")
	if code = strings.TrimSpace(code); !found || v == 0 {
		s.Fatalf("%q is no line of wrong bytes", line)
	}
	p := s.dial("client")
	defer p.Close() //nolint:errcheck // the broker has closed it
	p.version = v
	answer := "connack "
	if when == "wrong" {
		p.send(&packet.Connect{Version: v, ClientID: "wrong", CleanStart: true})
		p.expect("connack 00")
		answer = "disconnect "
	}
	p.write(s.bytes(text))
	if code != "closed" {
		p.expect(answer + code)
	}
	p.expect("closed")
}

// bytes reads what refused describes.
func (s *scenario) bytes(text string) (out []byte) {
	s.Helper()
	head, rest, sized := strings.Cut(text, " # ")
	for i, part := range strings.Split(head, `"`) {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			s.Fatalf("%q: %v", part, err)
		}
		out = append(out, b...)
	}
	if !sized {
		return out
	}
	body := s.bytes(rest)
	length := len(body)
	for ; length >= 0x80; length >>= 7 {
		out = append(out, byte(length)|0x80)
	}
	return append(append(out, byte(length)), body...)
}

// described are the properties that a scenario writes and sees, by their words. Others that the broker sends (its limits
// in CONNACK, reason strings) are tested elsewhere.
var described = []struct {
	id   packet.PropertyID
	word string
	kind byte // n: a number, t: a text
}{
	{packet.SessionExpiry, "session-expiry", 'n'}, {packet.MessageExpiry, "message-expiry", 'n'},
	{packet.PayloadFormat, "format", 'n'}, {packet.ContentType, "content-type", 't'},
	{packet.ResponseTopic, "response-topic", 't'}, {packet.CorrelationData, "correlation", 't'},
	{packet.SubscriptionID, "sub-id", 'n'}, {packet.TopicAlias, "alias", 'n'},
	{packet.WillDelay, "will-delay", 'n'}, {packet.ServerKeepAlive, "keep-alive", 'n'},
	{packet.AuthMethod, "auth-method", 't'}, {packet.AuthData, "auth-data", 't'},
	{packet.RequestProblemInfo, "problem", 'n'}, {packet.ReceiveMaximum, "receive-max", 'n'},
	{packet.TopicAliasMaximum, "alias-max", 'n'}, {packet.MaximumPacketSize, "max-packet", 'n'},
	{packet.ReasonString, "why", 't'}, {packet.ServerReference, "server", 't'},
}

// hidden are not shown: CONNACK has them always, or their text is for people.
func hidden(id packet.PropertyID) bool {
	return id == packet.ReceiveMaximum || id == packet.MaximumPacketSize || id == packet.TopicAliasMaximum || id == packet.ReasonString
}

func describeProperties(p packet.Properties) (s string) {
	for id, v := range p.All() {
		switch {
		case hidden(id):
		case id == packet.UserProperty:
			s += fmt.Sprintf(" user:%s=%s", v.Name, v.Text)
		case id == packet.AssignedClientID:
			s += " assigned"
		default:
			for _, d := range described {
				if d.id == id && d.kind == 'n' {
					s += fmt.Sprintf(" %s=%d", d.word, v.Number)
				} else if d.id == id {
					s += fmt.Sprintf(" %s=%s", d.word, v.Bytes)
				}
			}
		}
	}
	return s
}

func describeReason(r packet.ReasonCode) string {
	if r == packet.Success {
		return ""
	}
	return fmt.Sprintf(" %02x", byte(r))
}

func describeReasons(reasons []packet.ReasonCode) (s string) {
	for _, r := range reasons {
		s += fmt.Sprintf(" %02x", byte(r))
	}
	return s
}

// describeEvent is an event without what differs from run to run, its fields in the order of their names.
func describeEvent(payload []byte) string {
	var e map[string]any
	if err := json.Unmarshal(payload, &e); err != nil {
		return err.Error()
	}
	for _, name := range []string{"time", "version", "address", "connection"} {
		if e[name] == nil {
			return "no " + name
		}
		delete(e, name)
	}
	b, _ := json.Marshal(e)
	return string(b)
}

// describe is a packet as the scenarios write it.
func describe(p packet.Packet) string {
	switch p := p.(type) {
	case *packet.Connack:
		s := fmt.Sprintf("connack %02x", byte(p.Reason))
		if p.SessionPresent {
			s += " present"
		}
		return s + describeProperties(p.Properties)
	case *packet.Publish:
		topic := string(p.Topic)
		if topic == "" {
			topic = "-"
		}
		s := fmt.Sprintf("publish %s %q", topic, p.Payload)
		if strings.HasPrefix(topic, "$events/") {
			s = fmt.Sprintf("publish %s %s", topic, describeEvent(p.Payload))
		}
		if p.QoS > 0 {
			s += fmt.Sprintf(" qos=%d id=%d", p.QoS, p.PacketID)
		}
		if p.Retain {
			s += " retain"
		}
		if p.Dup {
			s += " dup"
		}
		return s + describeProperties(p.Properties)
	case *packet.Puback:
		return fmt.Sprintf("puback %d", p.PacketID) + describeReason(p.Reason)
	case *packet.Pubrec:
		return fmt.Sprintf("pubrec %d", p.PacketID) + describeReason(p.Reason)
	case *packet.Pubrel:
		return fmt.Sprintf("pubrel %d", p.PacketID) + describeReason(p.Reason)
	case *packet.Pubcomp:
		return fmt.Sprintf("pubcomp %d", p.PacketID) + describeReason(p.Reason)
	case *packet.Suback:
		return fmt.Sprintf("suback %d", p.PacketID) + describeReasons(p.Reasons)
	case *packet.Unsuback:
		return fmt.Sprintf("unsuback %d", p.PacketID) + describeReasons(p.Reasons)
	case *packet.Disconnect:
		return "disconnect" + describeReason(p.Reason) + describeProperties(p.Properties)
	case *packet.Auth:
		return "auth" + describeReason(p.Reason) + describeProperties(p.Properties)
	case *packet.Pingresp:
		return "pingresp"
	}
	return fmt.Sprintf("%T", p)
}

// words are those of a packet: the first says which, then there are values and key=value in any order.
type words []string

func (w words) key(name string) (string, bool) {
	for _, word := range w {
		if v, ok := strings.CutPrefix(word, name+"="); ok {
			return v, true
		}
		if word == name {
			return "", true
		}
	}
	return "", false
}

func (w words) has(name string) bool { _, ok := w.key(name); return ok }

func (w words) text(name string) string { v, _ := w.key(name); return v }

func (w words) number(name string) uint16 { n, _ := strconv.Atoi(w.text(name)); return uint16(n) }

// id is the first value.
func (w words) id() uint16 { n, _ := strconv.Atoi(w[1]); return uint16(n) }

func (w words) reason() packet.ReasonCode {
	n, _ := strconv.ParseUint(w.text("reason"), 16, 8)
	return packet.ReasonCode(n)
}

// properties are those whose words start with a prefix, in their order.
func (w words) properties(prefix string) (p packet.Properties) {
	for _, word := range w {
		word, ok := strings.CutPrefix(word, prefix)
		name, value, _ := strings.Cut(word, "=")
		if !ok {
			continue
		}
		if user, ok := strings.CutPrefix(name, "user:"); ok {
			p = p.AppendUser(user, value)
		}
		for _, d := range described {
			if d.word != name {
				continue
			}
			if d.kind == 'n' {
				n, _ := strconv.ParseUint(value, 10, 32)
				p = p.AppendNumber(d.id, uint32(n))
			} else {
				p = p.AppendText(d.id, strings.ReplaceAll(value, `\0`, "\x00"))
			}
		}
	}
	return p
}

// subscriptions are the words FILTER:QOS, with options behind: n for no-local, p for retain as published, and 0 to 2 for
// the retain handling.
func (w words) subscriptions() (subs []packet.Subscription) {
	for _, word := range w[1:] {
		at := strings.LastIndexByte(word, ':')
		if at <= 0 || strings.HasPrefix(word, "user:") {
			continue
		}
		s := packet.Subscription{Filter: word[:at], QoS: word[at+1] - '0'}
		for _, o := range word[at+2:] {
			switch o {
			case 'n':
				s.NoLocal = true
			case 'p':
				s.RetainAsPublished = true
			default:
				s.RetainHandling = byte(o - '0')
			}
		}
		subs = append(subs, s)
	}
	return subs
}

// parse makes the packet that a scenario describes.
func (p *peer) parse(w words) []byte {
	p.Helper()
	w = p.scramWords(w)
	var q packet.Packet
	switch w[0] {
	case "raw":
		b, err := hex.DecodeString(strings.Join(w[1:], ""))
		if err != nil {
			p.Fatal(err)
		}
		return b
	case "connect":
		q = p.parseConnect(w)
	case "publish":
		topic := w[1]
		if topic == "-" { // an alias stands for it
			topic = ""
		}
		q = &packet.Publish{
			Topic: []byte(topic), Payload: []byte(w.text("payload")), QoS: uint8(w.number("qos")), PacketID: w.number("id"),
			Retain: w.has("retain"), Dup: w.has("dup"), Properties: w.properties(""),
		}
	case "subscribe":
		q = &packet.Subscribe{PacketID: w.number("id"), Subscriptions: w.subscriptions(), Properties: w.properties("")}
	case "unsubscribe":
		u := &packet.Unsubscribe{PacketID: w.number("id")}
		for _, word := range w[1:] {
			if !strings.HasPrefix(word, "id=") {
				u.Filters = append(u.Filters, word)
			}
		}
		q = u
	case "puback":
		q = &packet.Puback{PacketID: w.id(), Reason: w.reason()}
	case "pubrec":
		q = &packet.Pubrec{PacketID: w.id(), Reason: w.reason()}
	case "pubrel":
		q = &packet.Pubrel{PacketID: w.id(), Reason: w.reason()}
	case "pubcomp":
		q = &packet.Pubcomp{PacketID: w.id(), Reason: w.reason()}
	case "pingreq":
		q = &packet.Pingreq{}
	case "auth":
		q = &packet.Auth{Reason: w.reason(), Properties: w.properties("")}
	case "disconnect":
		q = &packet.Disconnect{Reason: w.reason(), Properties: w.properties("")}
	default:
		p.Fatalf("unknown packet %q", w)
	}
	return q.Append(nil, p.version)
}

// parseConnect reads the properties of the will from words that begin with "will.".
func (p *peer) parseConnect(w words) packet.Packet {
	q := &packet.Connect{
		Version: p.version, ClientID: w.text("id"), CleanStart: w.has("clean"), KeepAlive: w.number("keepalive"),
		Properties: w.properties(""),
	}
	if w.has("user") {
		q.Username = []byte(w.text("user"))
	}
	if w.has("password") {
		q.Password = []byte(w.text("password"))
	}
	if w.has("will") {
		q.Will = &packet.Will{
			Topic: w.text("will"), Payload: []byte(w.text("payload")), QoS: uint8(w.number("qos")), Retain: w.has("retain"),
			Properties: w.properties("will."),
		}
	}
	return q
}
