package e2e_test

import (
	"context"
	"errors"
	"fmt"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
)

// publisher is a client that publishes: publish returns when the broker has confirmed the message.
type publisher interface {
	publish(ctx context.Context, body string) error
	close()
}

// protocols are how a publisher connects.
var protocols = map[string]func(listener, account) (publisher, error){"AMQP": publishAMQP, "MQTT": publishMQTT}

// amqpPublisher publishes persistent messages to the topic exchange; one that reaches no queue is not confirmed to the test.
type amqpPublisher struct {
	conn     *amqp.Connection
	channel  *amqp.Channel
	returned chan amqp.Return
}

func publishAMQP(l listener, who account) (publisher, error) {
	conn, err := l.amqp(who)
	if err != nil {
		return nil, err
	}
	p := &amqpPublisher{conn: conn, returned: make(chan amqp.Return, 1)}
	if p.channel, err = conn.Channel(); err == nil {
		err = p.channel.Confirm(false)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	p.channel.NotifyReturn(p.returned)
	return p, nil
}

func (p *amqpPublisher) publish(ctx context.Context, body string) error {
	confirm, err := p.channel.PublishWithDeferredConfirmWithContext(ctx, "amq.topic", "plant.amqp", true, false, amqp.Publishing{
		DeliveryMode: amqp.Persistent, Body: []byte(body),
	})
	if err != nil {
		return err
	}
	acked, err := confirm.WaitContext(ctx)
	if err == nil && !acked {
		err = errors.New("refused, or the connection ended before the confirm")
	}
	select {
	case r, ok := <-p.returned: // the broker returns a message before it confirms it
		if ok {
			return fmt.Errorf("returned: %d %s", r.ReplyCode, r.ReplyText)
		}
	default:
	}
	return err
}

func (p *amqpPublisher) close() { p.conn.Close() } //nolint:errcheck // it may have ended by itself

// mqttPublisher publishes with QoS 1.
type mqttPublisher struct{ client mqtt.Client }

func publishMQTT(l listener, who account) (publisher, error) {
	c, err := l.mqtt(who)
	return mqttPublisher{c}, err
}

func (p mqttPublisher) publish(ctx context.Context, body string) error {
	t := p.client.Publish("plant/mqtt", 1, false, body)
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p mqttPublisher) close() {
	const quiesceMillis = 0 // everything was confirmed
	p.client.Disconnect(quiesceMillis)
}
