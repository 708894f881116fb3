// Package mqtt tests a broker process from the outside: with the clients that users have, and with bytes that no client
// would send. It builds the broker, and starts one for each test on ports that the system picks.
package mqtt

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

var program string // the broker that TestMain built

func TestMain(m *testing.M) {
	os.Exit(build(m))
}

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "turnstone")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system's temporary directory
	program = filepath.Join(dir, "turnstone")
	out, err := exec.Command("go", "build", "-o", program, "../../../broker").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build the broker: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// broker is one process.
type broker struct {
	t         *testing.T
	data      string
	flags     []string // more of the command line
	command   *exec.Cmd
	addresses map[string]string // by scheme
	ended     chan struct{}     // closed when its output has ended
}

func start(t *testing.T, flags ...string) *broker {
	b := &broker{t: t, data: t.TempDir(), flags: flags}
	b.start()
	t.Cleanup(b.kill)
	return b
}

// startWith starts a broker with a configuration, as YAML.
func startWith(t *testing.T, text string) *broker {
	t.Helper()
	file := filepath.Join(t.TempDir(), "broker.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, "--config", file)
}

// start runs the process and waits until it says that it is ready.
func (b *broker) start() {
	b.t.Helper()
	b.command = exec.Command(program, append([]string{"serve", "--data", b.data, "--log-format", "json",
		"--listen", "mqtt://127.0.0.1:0", "--listen", "ws://127.0.0.1:0", "--listen", "http://127.0.0.1:0"}, b.flags...)...)
	log, err := b.command.StderrPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.command.Start(); err != nil {
		b.t.Fatal(err)
	}
	ready := make(chan map[string]string, 1)
	b.ended = make(chan struct{})
	go func() { // ends with the process
		defer close(b.ended)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var line map[string]any
			if json.Unmarshal(lines.Bytes(), &line) == nil && line["msg"] == "ready" {
				ready <- map[string]string{"mqtt": fmt.Sprint(line["mqtt"]), "ws": fmt.Sprint(line["ws"]), "http": fmt.Sprint(line["http"])}
			}
			if line["level"] != "DEBUG" {
				fmt.Fprintln(b.t.Output(), lines.Text())
			}
		}
	}()
	select {
	case b.addresses = <-ready:
	case <-b.ended:
		b.t.Fatalf("broker ended: %v", b.command.Wait())
	case <-time.After(patience):
		b.t.Fatal("broker is not ready")
	}
}

// kill ends the process without a warning.
func (b *broker) kill() {
	if b.command.ProcessState != nil {
		return
	}
	b.command.Process.Kill() //nolint:errcheck // it may have ended
	<-b.ended
	b.command.Wait() //nolint:errcheck // it was killed
}

// stop asks the process to end, which it does in time and without complaint.
func (b *broker) stop() {
	b.t.Helper()
	begin := time.Now()
	if err := b.command.Process.Signal(syscall.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	<-b.ended
	if err := b.command.Wait(); err != nil {
		b.t.Errorf("broker ended with %v", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		b.t.Errorf("broker took %v to end", took)
	}
}

func (b *broker) url(scheme string) string {
	u := scheme + "://" + b.addresses[scheme]
	if scheme == "ws" {
		u += "/mqtt"
	}
	return strings.Replace(u, "mqtt://", "tcp://", 1)
}
