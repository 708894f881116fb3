package amqp091_test

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// tool runs one of the Debian package amqp-tools against the broker. Its URLs name the virtual host "" when they end in a slash.
func (p *process) tool(input, name string, args ...string) string {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, append([]string{"--url", strings.TrimSuffix(p.url(), "/")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestAmqpTools(t *testing.T) {
	for _, name := range []string{"amqp-declare-queue", "amqp-publish", "amqp-get", "amqp-consume", "amqp-delete-queue"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed: it is in Debian's package amqp-tools, which hack/test installs", name)
		}
	}
	p := start(t)
	if got := p.tool("", "amqp-declare-queue", "-d", "-q", "tools"); got != "tools\n" {
		t.Errorf("declared %q", got)
	}
	p.tool("", "amqp-publish", "-r", "tools", "-p", "-C", "text/plain", "-b", "first")
	p.tool("second", "amqp-publish", "-r", "tools", "-p")
	if got := p.tool("", "amqp-get", "-q", "tools"); got != "first" {
		t.Errorf("amqp-get printed %q", got)
	}
	if got := p.tool("", "amqp-consume", "-q", "tools", "-c", "1", "cat"); got != "second" {
		t.Errorf("amqp-consume printed %q", got)
	}
	if got := p.tool("", "amqp-delete-queue", "-q", "tools"); got != "0\n" {
		t.Errorf("amqp-delete-queue printed %q", got)
	}
}

// python is the interpreter for which Debian's packages are.
const python = "/usr/bin/python3"

// TestPika: what users of python3-pika do.
func TestPika(t *testing.T) {
	if err := exec.Command(python, "-c", "import pika").Run(); err != nil {
		t.Skip("python3-pika is not installed: it is a package of Debian, which hack/test installs")
	}
	p := start(t)
	_, port, err := net.SplitHostPort(p.address("amqp"))
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "testdata/pika_scenarios.py", port).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := strings.Count(string(out), "ok "); got != 9 {
		t.Errorf("%d scenarios of 9:\n%s", got, out)
	}
}
