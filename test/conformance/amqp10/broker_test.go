package amqp10_test

import (
	"context"
	"os"
	"testing"

	"github.com/Azure/go-amqp"

	broker "github.com/turnstone-mq/turnstone/test/conformance/process"
)

// patience bounds what a test waits for.
const patience = broker.Patience

func TestMain(m *testing.M) { os.Exit(broker.Main(m)) }

// process is a broker that runs.
type process struct{ *broker.Process }

// start runs a broker on a new data directory, with AMQP, MQTT and WebSocket.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return &process{broker.Start(t, []string{"amqp", "mqtt", "ws"}, args...)}
}

func (p *process) restart()                     { p.Helper(); p.Restart() }
func (p *process) address(scheme string) string { p.Helper(); return p.Address(scheme) }
func (p *process) soon() context.Context        { return p.Soon() }

// session connects with go-amqp and begins a session.
func (p *process) session() (*amqp.Conn, *amqp.Session) {
	p.Helper()
	conn, err := amqp.Dial(p.soon(), "amqp://"+p.address("amqp"), &amqp.ConnOptions{SASLType: amqp.SASLTypePlain("guest", "guest"), ContainerID: "conformance"})
	check(p, err)
	p.Cleanup(func() { conn.Close() }) //nolint:errcheck // may be closed
	s, err := conn.NewSession(p.soon(), nil)
	check(p, err)
	return conn, s
}

func must[V any](v V, err error) V { return broker.Must(v, err) }

func check(t testing.TB, err error) { t.Helper(); broker.Check(t, err) }

func receive[V any](t testing.TB, what string, from <-chan V) V {
	t.Helper()
	return broker.Receive(t, what, from)
}
