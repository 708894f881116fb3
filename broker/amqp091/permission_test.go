package amqp091_test

import (
	"errors"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func (b *broker) apply(objects ...object.Object) {
	b.Helper()
	var changes []object.Change
	for _, o := range objects {
		changes = append(changes, object.Change{Object: o})
	}
	results, err := b.hub.Apply(b.Context(), "test", changes, hub.ApplyOptions{})
	check(b, err)
	for _, r := range results {
		if r.Outcome == object.Refused {
			b.Fatalf("%+v", r)
		}
	}
}

func TestPermissions(t *testing.T) {
	b := start(t, defaults())
	b.apply(
		must(object.New(object.KindUser, "", "app", object.UserSpec{Password: "pw"})),
		must(object.New(object.KindPermission, "/", "app", object.PermissionSpec{Configure: "^app", Write: "^app", Read: "^app"})),
		must(object.New(object.KindExchange, "/", "closed", object.ExchangeSpec{Type: "fanout", Durable: true})),
		must(object.New(object.KindQueue, "/", "closed", object.QueueSpec{Durable: true})),
	)
	conn, err := amqp.Dial("amqp://app:pw@" + b.address + "/")
	check(t, err)
	for _, x := range []struct {
		name, text string
		do         func(ch *amqp.Channel) error
	}{
		{"declare", "ACCESS_REFUSED - configure access to 'other' in vhost '/' refused for user 'app'", func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("other", false, false, false, false, nil)
			return err
		}},
		{"consume", "ACCESS_REFUSED - read access to 'closed' in vhost '/' refused for user 'app'", func(ch *amqp.Channel) error {
			_, err := ch.Consume("closed", "", true, false, false, false, nil)
			return err
		}},
		{"get", "ACCESS_REFUSED - read access to 'closed'", func(ch *amqp.Channel) error {
			_, _, err := ch.Get("closed", true)
			return err
		}},
		{"purge", "ACCESS_REFUSED - read access to 'closed'", func(ch *amqp.Channel) error {
			_, err := ch.QueuePurge("closed", false)
			return err
		}},
		{"delete", "ACCESS_REFUSED - configure access to 'closed'", func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete("closed", false, false, false)
			return err
		}},
		{"publish", "ACCESS_REFUSED - write access to 'closed'", func(ch *amqp.Channel) error {
			closed := ch.NotifyClose(make(chan *amqp.Error, 1))
			check(t, ch.PublishWithContext(t.Context(), "closed", "", false, false, amqp.Publishing{}))
			return receive(t, "channel.close", closed)
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			ch := must(conn.Channel())
			var e *amqp.Error
			if err := x.do(ch); !errors.As(err, &e) || e.Code != 403 || !strings.HasPrefix(e.Reason, x.text) {
				t.Errorf("got %v, want %s", err, x.text)
			}
		})
	}
	ch := must(conn.Channel())
	must(ch.QueueDeclare("app.q", false, false, false, false, nil))
}

// TestRevoked: the connection of a user who is deleted ends.
func TestRevoked(t *testing.T) {
	t.Parallel()
	b := start(t, defaults())
	user := must(object.New(object.KindUser, "", "app", object.UserSpec{Password: "pw"}))
	b.apply(user, must(object.New(object.KindPermission, "/", "app", object.PermissionSpec{Configure: ".*", Write: ".*", Read: ".*"})))
	conn, err := amqp.Dial("amqp://app:pw@" + b.address + "/")
	check(t, err)
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	_, err = b.hub.Apply(t.Context(), "test", []object.Change{{Object: user, Delete: object.DeleteAlways}}, hub.ApplyOptions{})
	check(t, err)
	if e := receive(t, "connection.close", closed); e.Code != 320 {
		t.Errorf("closed with %v", e)
	}
}
