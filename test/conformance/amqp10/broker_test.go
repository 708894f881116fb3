package amqp10_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
)

// patience bounds what a test waits for.
const patience = 20 * time.Second

var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "turnstone-conformance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	binary = filepath.Join(dir, "turnstone")
	build := exec.Command("go", "build", "-o", binary, "github.com/turnstone-mq/turnstone/broker")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the broker: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// process is a broker that runs.
type process struct {
	*testing.T
	cmd   *exec.Cmd
	args  []string
	ready map[string]any
	ended chan struct{}
}

// start runs a broker on a new data directory, with AMQP and MQTT on ports of its choice.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{T: t, args: append([]string{"serve", "--log-format", "json", "--data", t.TempDir(),
		"--listen", "amqp://127.0.0.1:0", "--listen", "mqtt://127.0.0.1:0", "--listen", "ws://127.0.0.1:0"}, args...)}
	p.begin()
	t.Cleanup(func() {
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-p.ended
	})
	return p
}

func (p *process) begin() {
	p.Helper()
	p.cmd = exec.Command(binary, p.args...)
	log, err := p.cmd.StderrPipe()
	check(p, err)
	check(p, p.cmd.Start())
	ready := make(chan map[string]any, 1)
	p.ended = make(chan struct{})
	cmd, ended := p.cmd, p.ended
	go func() { // ends with the process
		for s := bufio.NewScanner(log); s.Scan(); {
			var line map[string]any
			if json.Unmarshal(s.Bytes(), &line) == nil && line["msg"] == "ready" {
				ready <- line
			}
		}
		cmd.Wait() //nolint:errcheck // how it ended is the test's business
		close(ended)
	}()
	p.ready = receive(p, "the line ready", ready)
}

// restart kills the process as a crash does and starts another one on the same data.
func (p *process) restart() {
	p.Helper()
	check(p, p.cmd.Process.Kill())
	<-p.ended
	p.begin()
}

func (p *process) address(scheme string) string {
	p.Helper()
	a, ok := p.ready[scheme].(string)
	if !ok {
		p.Fatalf("the line ready has no address of %s: %v", scheme, p.ready)
	}
	return a
}

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

// soon is a context that ends when a test has waited for too long.
func (p *process) soon() context.Context {
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	p.Cleanup(cancel)
	return ctx
}

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func receive[V any](t testing.TB, what string, from <-chan V) V {
	t.Helper()
	select {
	case v, ok := <-from:
		if !ok {
			t.Fatalf("%s: the channel was closed", what)
		}
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come within %v", what, patience)
	}
	panic("unreachable")
}
