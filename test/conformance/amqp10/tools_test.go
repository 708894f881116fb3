package amqp10_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
)

// python is the interpreter for which Debian's packages are.
const python = "/usr/bin/python3"

// TestProton: what users of python3-qpid-proton do.
func TestProton(t *testing.T) {
	if err := exec.Command(python, "-c", "import proton").Run(); err != nil {
		t.Skip("python3-qpid-proton is not installed: it is a package of Debian, which hack/test installs")
	}
	p := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "testdata/proton_scenarios.py", p.address("amqp")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := strings.Count(string(out), "ok "); got != 10 {
		t.Errorf("%d scenarios of 10:\n%s", got, out)
	}
}
