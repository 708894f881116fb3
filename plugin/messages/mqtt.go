package messages

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// MQTT is a client of MQTT 5, until Close.
type MQTT struct {
	client   *paho.Client
	received chan Message
	ended    chan error // the first reason for which the connection ended
}

// keepAliveSeconds is how often a client says that it is there.
const keepAliveSeconds = 30

// DialMQTT connects.
func DialMQTT(ctx context.Context, e Endpoint) (*MQTT, error) {
	conn, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	const held = 64 // messages that wait for who reads them; then the connection waits
	m := &MQTT{received: make(chan Message, held), ended: make(chan error, 1)}
	m.client = paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(conn),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			m.take(p.Packet)
			return true, nil
		}},
		OnServerDisconnect: func(d *paho.Disconnect) { m.end(fmt.Errorf("broker ended the connection: %s", disconnectText(d))) },
		OnClientError:      func(err error) { m.end(fmt.Errorf("connection broke: %w", err)) },
	})
	user := e.Username
	if e.VHost != "" && e.VHost != "/" {
		user = e.VHost + ":" + user
	}
	ack, err := m.client.Connect(ctx, &paho.Connect{
		ClientID: "kubectl-turnstone-" + rand.Text()[:8], CleanStart: true, KeepAlive: keepAliveSeconds,
		Username: user, UsernameFlag: true, Password: []byte(e.Password), PasswordFlag: true,
	})
	if err != nil {
		conn.Close() //nolint:errcheck // it failed already
		if ack != nil && ack.Properties != nil && ack.Properties.ReasonString != "" {
			return nil, fmt.Errorf("broker refused the connection: %s", ack.Properties.ReasonString)
		}
		return nil, fmt.Errorf("connect as user %q: %w", user, err)
	}
	return m, nil
}

func disconnectText(d *paho.Disconnect) string {
	if d.Properties != nil && d.Properties.ReasonString != "" {
		return d.Properties.ReasonString
	}
	return fmt.Sprintf("reason 0x%02X", d.ReasonCode)
}

func (m *MQTT) end(err error) {
	select {
	case m.ended <- err:
	default:
	}
}

// Close ends the connection in order.
func (m *MQTT) Close() {
	m.client.Disconnect(&paho.Disconnect{}) //nolint:errcheck // it ends in either case
}

// Publish publishes, and waits until the broker has it as its quality of service says.
func (m *MQTT) Publish(ctx context.Context, msg Message) (unrouted bool, err error) {
	p := &paho.Publish{Topic: msg.Topic, QoS: msg.QoS, Retain: msg.Retain, Payload: msg.Body, Properties: &paho.PublishProperties{
		ContentType: msg.Type, ResponseTopic: msg.ReplyTo, CorrelationData: msg.Correlated,
	}}
	if msg.Expiry > 0 {
		seconds := uint32(max(msg.Expiry/time.Second, 1))
		p.Properties.MessageExpiry = &seconds
	}
	for _, h := range msg.Headers {
		p.Properties.User.Add(h.Name, h.Value)
	}
	ack, err := m.client.Publish(ctx, p)
	if err != nil {
		select {
		case why := <-m.ended:
			return false, why
		default:
		}
		if ack != nil && ack.Properties != nil && ack.Properties.ReasonString != "" {
			return false, errors.New(ack.Properties.ReasonString)
		}
		return false, err
	}
	return ack != nil && msg.QoS > 0 && ack.ReasonCode == packets.PubackNoMatchingSubscribers, nil
}

// Subscribe subscribes to filters; messages come with Next.
func (m *MQTT) Subscribe(ctx context.Context, filters []string, qos byte) error {
	s := &paho.Subscribe{}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: qos, RetainAsPublished: true})
	}
	ack, err := m.client.Subscribe(ctx, s)
	if err != nil && ack != nil && ack.Properties != nil && ack.Properties.ReasonString != "" {
		return errors.New(ack.Properties.ReasonString)
	}
	return err
}

// Next is the next message, in their order.
func (m *MQTT) Next(ctx context.Context) (Message, error) {
	select {
	case msg := <-m.received:
		return msg, nil
	case err := <-m.ended:
		return Message{}, err
	case <-ctx.Done():
		return Message{}, ctx.Err()
	}
}

// take hands a message over, also when who reads is slow: the connection is not read from meanwhile.
func (m *MQTT) take(p *paho.Publish) {
	msg := Message{Time: time.Now(), Topic: p.Topic, QoS: p.QoS, Retain: p.Retain, Body: p.Payload}
	add := func(name, value string) { msg.Properties = append(msg.Properties, Property{name, value}) }
	add("qos", strconv.Itoa(int(p.QoS)))
	if p.Retain {
		add("retain", "true")
	}
	if q := p.Properties; q != nil {
		if q.ContentType != "" {
			add("contentType", q.ContentType)
		}
		if q.ResponseTopic != "" {
			add("responseTopic", q.ResponseTopic)
		}
		if q.CorrelationData != nil {
			add("correlationData", bytesText(q.CorrelationData))
		}
		if q.MessageExpiry != nil {
			add("messageExpiry", strconv.FormatUint(uint64(*q.MessageExpiry), 10)+"s")
		}
		for _, u := range q.User {
			add("user."+u.Key, u.Value)
		}
	}
	select {
	case m.received <- msg:
	case <-m.client.Done():
	}
}

func bytesText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return "0x" + hex.EncodeToString(b)
}
