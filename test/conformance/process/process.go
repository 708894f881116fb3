// Package process builds the broker and runs it for tests from outside, which know its command line and its ports. Tests of a
// protocol put clients beside it.
package process

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Patience bounds what a test waits for.
const Patience = 20 * time.Second

var binary string

// Main builds the broker and runs the tests of a package: for TestMain.
func Main(m *testing.M) int {
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

// Process is a broker that runs.
type Process struct {
	*testing.T
	cmd   *exec.Cmd
	args  []string
	ready map[string]any
	ended chan struct{}
}

// Start runs a broker on a new data directory, with listeners of some schemes on ports of its choice, until the test ends.
func Start(t *testing.T, schemes []string, args ...string) *Process {
	t.Helper()
	p := &Process{T: t, args: []string{"serve", "--log-format", "json", "--data", t.TempDir()}}
	for _, s := range schemes {
		p.args = append(p.args, "--listen", s+"://127.0.0.1:0")
	}
	p.args = append(p.args, args...)
	p.Begin()
	t.Cleanup(func() {
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-p.ended
	})
	return p
}

// Begin starts a process and waits until it is ready; Start has called it.
func (p *Process) Begin() {
	p.Helper()
	p.cmd = exec.Command(binary, p.args...)
	log, err := p.cmd.StderrPipe()
	Check(p, err)
	Check(p, p.cmd.Start())
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
	p.ready = Receive(p, "the line ready", ready)
}

// Restart kills the process as a crash does and starts another one on the same data.
func (p *Process) Restart() {
	p.Helper()
	Check(p, p.cmd.Process.Kill())
	<-p.ended
	p.Begin()
}

// Stop asks the process to end and answers its exit code; Begin starts another one on the same data.
func (p *Process) Stop() int {
	p.Helper()
	Check(p, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.ended:
	case <-time.After(Patience):
		p.Fatalf("the broker does not stop within %v", Patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Address is where the broker listens for a scheme.
func (p *Process) Address(scheme string) string {
	p.Helper()
	a, ok := p.ready[scheme].(string)
	if !ok {
		p.Fatalf("the line ready has no address of %s: %v", scheme, p.ready)
	}
	return a
}

// Soon is a context that ends when a test has waited for too long.
func (p *Process) Soon() context.Context {
	ctx, cancel := context.WithTimeout(p.Context(), Patience)
	p.Cleanup(cancel)
	return ctx
}

// Must is a value that cannot fail to be there.
func Must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

// Check ends the test with an error.
func Check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Receive waits for a value.
func Receive[V any](t testing.TB, what string, from <-chan V) V {
	t.Helper()
	select {
	case v, ok := <-from:
		if !ok {
			t.Fatalf("%s: the channel was closed", what)
		}
		return v
	case <-time.After(Patience):
		t.Fatalf("%s did not come within %v", what, Patience)
	}
	panic("unreachable")
}
