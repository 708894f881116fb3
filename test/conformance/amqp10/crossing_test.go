package amqp10_test

import (
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/eclipse/paho.golang/paho"
	amqp091 "github.com/rabbitmq/amqp091-go"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/crossings.txt as it is now")

// crossing is a client that publishes a message with all that its protocol knows, and says what it received.
type crossing struct {
	name    string
	publish func()
	receive func() seen
}

// seen is what a client sees of a message, in its own protocol's words.
type seen []string

func (s *seen) add(name string, value any) { *s = append(*s, fmt.Sprintf("%s: %v", name, value)) }

// TestCrossings: what becomes of every property in all nine directions between MQTT 5, AMQP 0-9-1 and AMQP 1.0, with the clients
// that users have. testdata/crossings.txt is what docs/mapping.md says of these messages; -args -rewrite writes it anew.
// 3 §3.2.1, 3 §3.2.3 to 3 §3.2.6
func TestCrossings(t *testing.T) {
	p := start(t)
	clients := []crossing{p.crossingMQTT(), p.crossingAMQP091(), p.crossingAMQP10()}
	var got strings.Builder
	for _, from := range clients {
		from.publish()
		for _, to := range clients {
			fmt.Fprintf(&got, "== %s to %s\n", from.name, to.name)
			s := to.receive()
			slices.Sort(s)
			for _, line := range s {
				fmt.Fprintln(&got, line)
			}
		}
	}
	const file = "testdata/crossings.txt"
	if *rewrite {
		check(t, os.WriteFile(file, []byte(got.String()), 0o600))
		return
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
}

// lives is what is left of an hour.
func lives(left time.Duration) string {
	if left <= 0 || left > time.Hour {
		return left.String()
	}
	return "an hour or less"
}

// crossingKey is the routing key of all, and the topic in MQTT.
const (
	crossingKey   = "plant.1.temp"
	crossingTopic = "plant/1/temp"
)

func (p *process) crossingMQTT() crossing {
	p.Helper()
	conn, err := net.Dial("tcp", p.address("mqtt"))
	check(p, err)
	came := make(chan *paho.Publish, 10)
	c := paho.NewClient(paho.ClientConfig{Conn: conn, PacketTimeout: patience, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(r paho.PublishReceived) (bool, error) { came <- r.Packet; return true, nil },
	}})
	must(c.Connect(p.soon(), &paho.Connect{ClientID: "crossing", CleanStart: true, KeepAlive: 60}))
	p.Cleanup(func() { c.Disconnect(&paho.Disconnect{}) }) //nolint:errcheck // at the end
	must(c.Subscribe(p.soon(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: crossingTopic, QoS: 1}}}))
	expiry, text := uint32(3600), byte(1)
	publish := func() {
		must(c.Publish(p.soon(), &paho.Publish{Topic: crossingTopic, QoS: 1, Payload: []byte("from MQTT"), Properties: &paho.PublishProperties{
			ContentType: "text/plain", CorrelationData: []byte("c-1"), ResponseTopic: "plant/answers", MessageExpiry: &expiry, PayloadFormat: &text,
			User: paho.UserProperties{{Key: "color", Value: "red"}, {Key: "n", Value: "5"}, {Key: "x-own", Value: "mark"}, {Key: "list", Value: "a"}, {Key: "list", Value: "b"}, {Key: "x-amqp-message-id", Value: "m-1"}},
		}}))
	}
	return crossing{"MQTT 5", publish, func() (s seen) {
		m := receive(p, "message over MQTT", came)
		s.add("topic", m.Topic)
		s.add("payload", string(m.Payload))
		s.add("qos", m.QoS)
		s.add("content type", m.Properties.ContentType)
		s.add("correlation data", string(m.Properties.CorrelationData))
		s.add("response topic", m.Properties.ResponseTopic)
		if m.Properties.MessageExpiry != nil {
			s.add("message expiry", lives(time.Duration(*m.Properties.MessageExpiry)*time.Second))
		}
		if m.Properties.PayloadFormat != nil {
			s.add("payload format", *m.Properties.PayloadFormat)
		}
		for _, u := range m.Properties.User {
			s.add("user property "+u.Key, u.Value)
		}
		return s
	}}
}

func (p *process) crossingAMQP091() crossing {
	p.Helper()
	conn, err := amqp091.Dial("amqp://guest:guest@" + p.address("amqp") + "/")
	check(p, err)
	p.Cleanup(func() { conn.Close() }) //nolint:errcheck // at the end
	ch := must(conn.Channel())
	q := must(ch.QueueDeclare("", false, true, true, false, nil))
	check(p, ch.QueueBind(q.Name, crossingKey, "amq.topic", false, nil))
	came := must(ch.Consume(q.Name, "", true, false, false, false, nil))
	publish := func() {
		check(p, ch.PublishWithContext(p.soon(), "amq.topic", crossingKey, false, false, amqp091.Publishing{
			DeliveryMode: 2, Priority: 6, ContentType: "text/plain", ContentEncoding: "identity", CorrelationId: "c-1", ReplyTo: "answers", Expiration: "3600000",
			MessageId: "m-1", Timestamp: time.Unix(1e9, 0), Type: "reading", UserId: "guest", AppId: "gauge", Body: []byte("from AMQP 0-9-1"),
			Headers: amqp091.Table{"color": "red", "n": int32(5), "x-own": "mark", "list": []any{"a", "b"}, "table": amqp091.Table{"k": "v"}, "none": nil},
		}))
	}
	return crossing{"AMQP 0-9-1", publish, func() (s seen) {
		m := receive(p, "message over AMQP 0-9-1", came)
		s.add("exchange", m.Exchange)
		s.add("routing key", m.RoutingKey)
		s.add("body", string(m.Body))
		s.add("delivery mode", m.DeliveryMode)
		s.add("priority", m.Priority)
		for name, v := range map[string]string{"content type": m.ContentType, "content encoding": m.ContentEncoding, "correlation id": m.CorrelationId, "reply to": m.ReplyTo,
			"message id": m.MessageId, "type": m.Type, "user id": m.UserId, "app id": m.AppId} {
			if v != "" {
				s.add(name, v)
			}
		}
		if m.Expiration != "" {
			left, err := time.ParseDuration(m.Expiration + "ms")
			check(p, err)
			s.add("expiration", lives(left))
		}
		if !m.Timestamp.IsZero() {
			s.add("timestamp", m.Timestamp.Unix())
		}
		for k, v := range m.Headers {
			s.add("header "+k, fmt.Sprintf("%T %v", v, v))
		}
		return s
	}}
}

func (p *process) crossingAMQP10() crossing {
	p.Helper()
	_, session := p.session()
	topic := []string{"topic"}
	r := must(session.NewReceiver(p.soon(), crossingKey, &amqp.ReceiverOptions{SourceCapabilities: topic, Credit: 10}))
	sender := must(session.NewSender(p.soon(), crossingKey, &amqp.SenderOptions{TargetCapabilities: topic}))
	publish := func() {
		m := amqp.NewMessage([]byte("from AMQP 1.0"))
		m.Header = &amqp.MessageHeader{Durable: true, Priority: 6, TTL: time.Hour}
		created, sequence := time.Unix(1e9, 0), uint32(3)
		m.Properties = &amqp.MessageProperties{
			MessageID: "m-1", UserID: []byte("guest"), Subject: new("reading"), ReplyTo: new("/queues/answers"), CorrelationID: "c-1", ContentType: new("text/plain"),
			ContentEncoding: new("identity"), CreationTime: &created, GroupID: new("g"), GroupSequence: &sequence, ReplyToGroupID: new("rg"),
		}
		m.Annotations = amqp.Annotations{"x-own": "mark"}
		m.ApplicationProperties = map[string]any{"color": "red", "n": int32(5), "none": nil}
		m.Footer = amqp.Annotations{"sum": "1"}
		check(p, sender.Send(p.soon(), m, nil))
	}
	return crossing{"AMQP 1.0", publish, func() (s seen) {
		m := must(r.Receive(p.soon(), nil))
		check(p, r.AcceptMessage(p.soon(), m))
		s.add("durable", m.Header.Durable)
		s.add("priority", m.Header.Priority)
		if m.Header.TTL > 0 {
			s.add("ttl", lives(m.Header.TTL))
		}
		if len(m.Data) > 0 {
			s.add("data", string(m.GetData()))
		} else {
			s.add("value", fmt.Sprintf("%T %v", m.Value, m.Value))
		}
		s = append(s, properties(m.Properties)...)
		for k, v := range m.Annotations {
			s.add(fmt.Sprint("annotation ", k), fmt.Sprintf("%T %v", v, v))
		}
		for k, v := range m.ApplicationProperties {
			s.add("application property "+k, fmt.Sprintf("%T %v", v, v))
		}
		for k, v := range m.Footer {
			s.add(fmt.Sprint("footer ", k), v)
		}
		return s
	}}
}

func properties(m *amqp.MessageProperties) (s seen) {
	if m == nil {
		return nil
	}
	if m.MessageID != nil {
		s.add("message-id", fmt.Sprintf("%T %v", m.MessageID, m.MessageID))
	}
	if m.CorrelationID != nil {
		s.add("correlation-id", fmt.Sprintf("%T %v", m.CorrelationID, m.CorrelationID))
	}
	if m.UserID != nil {
		s.add("user-id", string(m.UserID))
	}
	for name, v := range map[string]*string{"to": m.To, "subject": m.Subject, "reply-to": m.ReplyTo, "content-type": m.ContentType, "content-encoding": m.ContentEncoding,
		"group-id": m.GroupID, "reply-to-group-id": m.ReplyToGroupID} {
		if v != nil {
			s.add(name, *v)
		}
	}
	if m.CreationTime != nil {
		s.add("creation-time", m.CreationTime.Unix())
	}
	if m.GroupSequence != nil {
		s.add("group-sequence", *m.GroupSequence)
	}
	return s
}
