package amqp10_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// python is the interpreter for which Debian's packages are.
const python = "/usr/bin/python3"

// scenarios runs a program with the broker's address, which prints "ok NAME" for each of so many scenarios.
func (p *process) scenarios(count int, name string, args ...string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), 3*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, append(args, p.address("amqp"))...).CombinedOutput()
	if err != nil {
		p.Fatalf("%v\n%s", err, out)
	}
	if got := strings.Count(string(out), "ok "); got != count {
		p.Errorf("%d scenarios of %d:\n%s", got, count, out)
	}
}

// TestProton: what users of python3-qpid-proton do.
func TestProton(t *testing.T) {
	if err := exec.Command(python, "-c", "import proton").Run(); err != nil {
		t.Skip("python3-qpid-proton is not installed: it is a package of Debian, which hack/test installs")
	}
	start(t).scenarios(10, python, "testdata/proton_scenarios.py")
}

// TestRhea: what users of rhea do, the client of Node.js.
func TestRhea(t *testing.T) {
	if _, err := os.Stat("rhea/node_modules"); err != nil {
		t.Skip("rhea is not installed: hack/test installs it with npm")
	}
	start(t).scenarios(11, "node", "rhea/scenario.js")
}
