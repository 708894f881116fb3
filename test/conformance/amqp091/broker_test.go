package amqp091_test

import (
	"os"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	broker "github.com/turnstone-mq/turnstone/test/conformance/process"
)

// patience bounds what a test waits for.
const patience = broker.Patience

func TestMain(m *testing.M) { os.Exit(broker.Main(m)) }

// process is a broker that runs.
type process struct{ *broker.Process }

// start runs a broker on a new data directory, with AMQP and MQTT.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return &process{broker.Start(t, []string{"amqp", "mqtt"}, args...)}
}

func (p *process) restart()                     { p.Helper(); p.Restart() }
func (p *process) address(scheme string) string { p.Helper(); return p.Address(scheme) }
func (p *process) url() string                  { return "amqp://guest:guest@" + p.address("amqp") + "/" }

// channel opens a connection and a channel.
func (p *process) channel() (*amqp.Connection, *amqp.Channel) {
	p.Helper()
	conn, err := amqp.Dial(p.url())
	check(p, err)
	p.Cleanup(func() { conn.Close() }) //nolint:errcheck // may be closed
	ch, err := conn.Channel()
	check(p, err)
	return conn, ch
}

func check(t testing.TB, err error) { t.Helper(); broker.Check(t, err) }

func receive[V any](t testing.TB, what string, from <-chan V) V {
	t.Helper()
	return broker.Receive(t, what, from)
}
