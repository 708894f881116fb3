// Package messages publishes and receives messages as any client does, over MQTT 5 or AMQP 0-9-1, and writes what it received for
// people and for programs. It knows nothing of Kubernetes: who uses it says where the broker is.
package messages

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Endpoint is where and as whom a client connects.
type Endpoint struct {
	Address  string      // HOST:PORT
	TLS      *tls.Config // nil is without
	Username string
	Password string
	VHost    string
}

func (e Endpoint) dial(ctx context.Context) (net.Conn, error) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if e.TLS == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", e.Address)
	}
	return (&tls.Dialer{Config: e.TLS}).DialContext(ctx, "tcp", e.Address)
}

// Property is a property or header of a message.
type Property struct{ Name, Value string }

// Message is one that is published, or that was received.
type Message struct {
	Time       time.Time // when it was received
	Topic      string    // of MQTT
	Exchange   string    // of AMQP, with Key
	Key        string
	QoS        byte
	Retain     bool
	Persistent bool
	Type       string
	Expiry     time.Duration
	ReplyTo    string
	Correlated []byte
	Headers    []Property
	Properties []Property // of a received message, as they are shown
	Body       []byte
}

// Confirmed is what the broker said of a message that was published.
type Confirmed struct {
	Messages int
	Unrouted int // of which nobody wanted
}

// Format is how a received message is written.
type Format string

// The formats. Text is for people, JSON has a line for each message, Raw has the bodies alone, one after the other.
const (
	Text Format = "text"
	JSON Format = "json"
	Raw  Format = "raw"
)

// Write writes a received message.
func (m Message) Write(w io.Writer, f Format) error {
	switch f {
	case Raw:
		_, err := w.Write(m.Body)
		return err
	case JSON:
		return json.NewEncoder(w).Encode(m.object())
	}
	_, err := w.Write(m.text())
	return err
}

// object is a message in JSON: a body that is no text is in base64.
func (m Message) object() any {
	properties := make(map[string]string, len(m.Properties))
	for _, p := range m.Properties {
		properties[p.Name] = p.Value
	}
	out := struct {
		Time       time.Time         `json:"time"`
		Topic      string            `json:"topic,omitempty"`
		Exchange   *string           `json:"exchange,omitempty"`
		Key        *string           `json:"routingKey,omitempty"`
		Properties map[string]string `json:"properties,omitempty"`
		Body       *string           `json:"body,omitempty"`
		Base64     string            `json:"bodyBase64,omitempty"`
	}{Time: m.Time, Topic: m.Topic, Properties: properties}
	if m.Topic == "" {
		out.Exchange, out.Key = &m.Exchange, &m.Key
	}
	if utf8.Valid(m.Body) {
		body := string(m.Body)
		out.Body = &body
	} else {
		out.Base64 = base64.StdEncoding.EncodeToString(m.Body)
	}
	return out
}

// text is a line that says what it is, and the body: as it is when it is text, else in hexadecimal.
func (m Message) text() []byte {
	var b bytes.Buffer
	where := printable(m.Topic)
	if m.Topic == "" {
		where = printable(m.Exchange) + " → " + printable(m.Key)
	}
	fmt.Fprintf(&b, "%s %s", m.Time.UTC().Format("15:04:05.000"), where)
	for _, p := range m.Properties {
		fmt.Fprintf(&b, " %s=%s", printable(p.Name), printable(p.Value))
	}
	fmt.Fprintf(&b, " (%d bytes)\n", len(m.Body))
	switch {
	case len(m.Body) == 0:
	case isText(m.Body):
		b.Write(m.Body)
		if !bytes.HasSuffix(m.Body, []byte("\n")) {
			b.WriteByte('\n')
		}
	default:
		b.WriteString(hex.Dump(m.Body))
	}
	return b.Bytes()
}

// isText says that a terminal shows a body as it is.
func isText(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0
	})
}

// printable is a text on one line, in quotes when it has spaces or anything that a terminal would not show.
func printable(s string) string {
	if s != "" && isText([]byte(s)) && !strings.ContainsAny(s, " \t\n\"") {
		return s
	}
	return strconv.Quote(s)
}
