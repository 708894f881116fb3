package messages

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// AMQP is a client of AMQP 0-9-1 with one channel, until Close.
type AMQP struct {
	conn     *amqp.Connection
	channel  *amqp.Channel
	returned chan amqp.Return
	consumed <-chan amqp.Delivery
	ack      bool
	closed   chan *amqp.Error
}

// DialAMQP connects.
func DialAMQP(ctx context.Context, e Endpoint) (*AMQP, error) {
	socket, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	vhost := e.VHost
	if vhost == "" {
		vhost = "/"
	}
	const heartbeat = 30 * time.Second
	c := amqp.Config{SASL: []amqp.Authentication{&amqp.PlainAuth{Username: e.Username, Password: e.Password}}, Vhost: vhost, Heartbeat: heartbeat, Properties: amqp.Table{"connection_name": "kubectl-turnstone"}}
	conn, err := amqp.Open(socket, c)
	if err != nil {
		socket.Close() //nolint:errcheck // it failed already
		return nil, fmt.Errorf("connect as user %q to virtual host %q: %w", e.Username, vhost, err)
	}
	a := &AMQP{conn: conn}
	if a.channel, err = conn.Channel(); err != nil {
		conn.Close() //nolint:errcheck // it failed already
		return nil, err
	}
	a.closed = a.channel.NotifyClose(make(chan *amqp.Error, 1))
	return a, nil
}

// Close ends the connection. Messages that were looked at and not acknowledged go back to their queue.
func (a *AMQP) Close() {
	a.conn.Close() //nolint:errcheck // it ends in either case
}

// Publish publishes, and waits until the broker has confirmed.
func (a *AMQP) Publish(ctx context.Context, msg Message) (unrouted bool, err error) {
	if a.returned == nil {
		if err := a.channel.Confirm(false); err != nil {
			return false, err
		}
		a.returned = a.channel.NotifyReturn(make(chan amqp.Return, 1))
	}
	p := amqp.Publishing{ContentType: msg.Type, ReplyTo: msg.ReplyTo, CorrelationId: string(msg.Correlated), Body: msg.Body, Headers: amqp.Table{}, DeliveryMode: amqp.Transient}
	if msg.Persistent {
		p.DeliveryMode = amqp.Persistent
	}
	if msg.Expiry > 0 {
		p.Expiration = strconv.FormatInt(msg.Expiry.Milliseconds(), 10)
	}
	for _, h := range msg.Headers {
		p.Headers[h.Name] = h.Value
	}
	const mandatory = true
	confirm, err := a.channel.PublishWithDeferredConfirmWithContext(ctx, msg.Exchange, msg.Key, mandatory, false, p)
	if err != nil {
		return false, err
	}
	ok, err := a.confirmed(ctx, confirm)
	switch {
	case err != nil:
		return false, err
	case !ok:
		return false, errors.New("broker did not take the message (nack): its queue is full, or it cannot store it now")
	}
	select { // a return comes before the confirm
	case <-a.returned:
		return true, nil
	default:
		return false, nil
	}
}

// confirmed waits for the broker's word, or for its reason to close the channel.
func (a *AMQP) confirmed(ctx context.Context, c *amqp.DeferredConfirmation) (bool, error) {
	select {
	case <-c.Done():
		return c.Acked(), nil
	case err := <-a.closed:
		return false, closedBy(err)
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func closedBy(err *amqp.Error) error {
	if err == nil {
		return errors.New("broker closed the channel")
	}
	return fmt.Errorf("broker closed the channel: %s", err.Reason)
}

// Peek looks at up to n messages of a queue, which stay in it: those that were looked at are marked as redelivered.
func (a *AMQP) Peek(queue string, n int, fn func(Message) error) (seen int, err error) {
	for seen < n {
		d, ok, err := a.channel.Get(queue, false)
		if err != nil {
			return seen, err
		}
		if !ok {
			return seen, nil
		}
		if err := fn(received(d)); err != nil {
			return seen, err
		}
		seen++
	}
	return seen, nil
}

// Consume begins to take messages out of a queue; they come with Next, which acknowledges the one before.
func (a *AMQP) Consume(queue string) (err error) {
	a.ack = true
	if err = a.channel.Qos(1, 0, false); err != nil {
		return err
	}
	a.consumed, err = a.channel.Consume(queue, "", false, false, false, false, nil)
	return err
}

// Listen binds a queue of its own to an exchange; what comes from there comes with Next.
func (a *AMQP) Listen(exchange string, keys []string) error {
	q, err := a.channel.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := a.channel.QueueBind(q.Name, key, exchange, false, nil); err != nil {
			return err
		}
	}
	a.consumed, err = a.channel.Consume(q.Name, "", true, true, false, false, nil)
	return err
}

// Next is the next message. Done is called when it has been dealt with.
func (a *AMQP) Next(ctx context.Context) (msg Message, done func() error, err error) {
	select {
	case d, ok := <-a.consumed:
		if !ok {
			return Message{}, nil, closedBy(<-a.closed)
		}
		done = func() error { return nil }
		if a.ack {
			done = func() error { return d.Ack(false) }
		}
		return received(d), done, nil
	case <-ctx.Done():
		return Message{}, nil, ctx.Err()
	}
}

func received(d amqp.Delivery) Message {
	msg := Message{Time: time.Now(), Exchange: d.Exchange, Key: d.RoutingKey, Body: d.Body}
	add := func(name, value string) {
		if value != "" {
			msg.Properties = append(msg.Properties, Property{name, value})
		}
	}
	switch d.DeliveryMode {
	case amqp.Persistent:
		add("deliveryMode", "persistent")
	case amqp.Transient:
		add("deliveryMode", "transient")
	}
	if d.Redelivered {
		add("redelivered", "true")
	}
	if d.Priority > 0 {
		add("priority", strconv.Itoa(int(d.Priority)))
	}
	add("contentType", d.ContentType)
	add("contentEncoding", d.ContentEncoding)
	add("correlationId", d.CorrelationId)
	add("replyTo", d.ReplyTo)
	add("expiration", d.Expiration)
	add("messageId", d.MessageId)
	if !d.Timestamp.IsZero() {
		add("timestamp", d.Timestamp.UTC().Format(time.RFC3339))
	}
	add("type", d.Type)
	add("userId", d.UserId)
	add("appId", d.AppId)
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		value := d.Headers[name]
		if b, ok := value.([]byte); ok {
			value = bytesText(b)
		}
		add("header."+name, fmt.Sprint(value))
	}
	return msg
}
