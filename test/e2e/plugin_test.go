package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// turnstone runs the plugin as kubectl finds it, and answers all that it says and its exit code.
func (n namespace) turnstone(ctx context.Context, args ...string) (said string, code int, err error) {
	cmd := exec.CommandContext(ctx, "kubectl", append([]string{"turnstone", "--namespace", string(n)}, args...)...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return string(out), exit.ExitCode(), nil
	}
	return string(out), 0, err
}

// plugin asks and tells the broker what people do.
func plugin(p *plant) {
	// says runs the plugin; the exit code must be as expected.
	says := func(ctx SpecContext, code int, args ...string) string {
		GinkgoHelper()
		said, got, err := p.turnstone(ctx, args...)
		Expect(err).NotTo(HaveOccurred(), said)
		Expect(got).To(Equal(code), "kubectl turnstone %s: %s", strings.Join(args, " "), said)
		return said
	}

	Describe("kubectl turnstone", func() {
		It("status says how it does", func(ctx SpecContext) {
			said := says(ctx, 0, "status", p.broker, "-o", "wide")
			Expect(said).To(HavePrefix("MessageBroker plant/main: Ready\n"))
			Expect(said).To(MatchRegexp(`(?m)^  replicas +1 of 1 ready$`))
			Expect(said).To(MatchRegexp(`(?m)^  main-0 +true +Running +0 .* %s `, p.node))
			Expect(said).To(MatchRegexp(`(?m)^  User +1 +1 +0$`))
			Expect(said).NotTo(ContainSubstring("problems"))
		}, NodeTimeout(time.Minute))

		It("top shows its queues", func(ctx SpecContext) {
			said := says(ctx, 0, "top", p.broker, "--once", "--interval", "200ms")
			Expect(said).To(MatchRegexp(`(?m)^/ +events `))
		}, NodeTimeout(time.Minute))

		It("plan says what manifests would do, and does nothing", func(ctx SpecContext) {
			file := filepath.Join(GinkgoT().TempDir(), "queues.yaml")
			manifests := `
apiVersion: messaging.turnstone.dev/v1alpha1
kind: Queue
metadata: {name: fresh}
spec: {brokerRef: {name: main}}
---
apiVersion: messaging.turnstone.dev/v1alpha1
kind: Queue
metadata: {name: events}
spec: {brokerRef: {name: main}, durable: false}
`
			Expect(os.WriteFile(file, []byte(manifests), 0o600)).To(Succeed())
			said := says(ctx, 1, "plan", "-f", file)
			Expect(said).To(ContainSubstring("  +   queue/fresh\n"))
			Expect(said).To(ContainSubstring("  -/+ queue/events: recreate: "))
			Expect(said).To(ContainSubstring("plan: 1 to create, 1 to recreate"))
			Expect(p.field(ctx, "queue.messaging.turnstone.dev/fresh", "{.metadata.name}")).To(BeEmpty())
		}, NodeTimeout(time.Minute))

		It("diff finds nothing that differs", func(ctx SpecContext) {
			Expect(says(ctx, 0, "diff", p.broker)).To(HavePrefix("4 objects are as written"))
		}, NodeTimeout(time.Minute))

		It("export writes manifests for another broker", func(ctx SpecContext) {
			said := says(ctx, 0, "export", p.broker, "--to", "other")
			Expect(said).NotTo(ContainSubstring(p.who.password))
			taken, err := samples.apply(ctx, said, "apply", "--dry-run=server", "-o", "name", "-f", "-")
			Expect(err).NotTo(HaveOccurred())
			Expect(taken).To(ContainSubstring("queue.messaging.turnstone.dev/events\n"))
			Expect(taken).To(ContainSubstring("user.messaging.turnstone.dev/sensors\n"))
		}, NodeTimeout(time.Minute))

		It("can-i answers by the broker's rules", func(ctx SpecContext) {
			said := says(ctx, 0, "can-i", "publish", "plant/7", "--as", p.who.user)
			Expect(said).To(HavePrefix("yes\n"))
			Expect(said).To(ContainSubstring("amq.topic"))
			Expect(says(ctx, 1, "can-i", "configure", p.queue, "--as", p.who.user)).To(HavePrefix("no: "))
		}, NodeTimeout(time.Minute))

		It("pub and sub carry a message", func(ctx SpecContext) {
			Expect(says(ctx, 0, "pub", p.broker, "plant/plugin", "from the plugin")).To(Equal("published 1 message\n"))
			Expect(says(ctx, 0, "sub", p.broker, "--queue", p.queue, "--ack", "--count", "1", "--timeout", "30s", "-o", "raw")).To(Equal("from the plugin"))
		}, NodeTimeout(time.Minute))

		It("logs prints the broker's log for people", func(ctx SpecContext) {
			Expect(says(ctx, 0, "logs", p.broker, "--grep", "new TLS files are in force")).To(ContainSubstring("notAfter="))
		}, NodeTimeout(time.Minute))

		It("debug-bundle gathers everything but secrets", func(ctx SpecContext) {
			file := filepath.Join(GinkgoT().TempDir(), "bundle.tar.gz")
			Expect(says(ctx, 0, "debug-bundle", p.broker, "-o", file)).To(Equal(file + "\n"))
			content, err := untar(file)
			Expect(err).NotTo(HaveOccurred())
			for _, name := range []string{"README.txt", "broker.yaml", "objects/user.yaml", "kubernetes/pods.yaml", "kubernetes/events.txt", "logs/main-0.broker.log", "broker/queues.json", "broker/metrics.txt"} {
				Expect(content).To(HaveKeyWithValue(name, Not(BeEmpty())))
			}
			Expect(content).To(HaveKey(HavePrefix("operator/")), "the operator's log")
			admin, err := p.secret(ctx, p.broker+"-admin")
			Expect(err).NotTo(HaveOccurred())
			for name, text := range content {
				Expect(bytes.Contains(text, []byte(p.who.password))).To(BeFalse(), "%s has the user's password", name)
				Expect(bytes.Contains(text, []byte(admin["password"]))).To(BeFalse(), "%s has the administrator's password", name)
			}
		}, NodeTimeout(time.Minute))

		It("drain keeps clients out until undrain", func(ctx SpecContext) {
			Expect(says(ctx, 0, "drain", p.broker)).To(HaveSuffix("pod main-0: safe to stop\n"))
			_, err := protocols["MQTT"](p.to, p.who)
			Expect(err).To(HaveOccurred())
			_, err = p.kubectl(ctx, "wait", p.object(), "--for=condition=Ready=false", "--timeout=30s")
			Expect(err).NotTo(HaveOccurred())
			Expect(says(ctx, 1, "status", p.broker)).To(ContainSubstring("the broker is draining"))
			Expect(says(ctx, 0, "undrain", p.broker)).To(Equal("pod main-0: clients are let in\n"))
			p.becomesReady(ctx)
		}, NodeTimeout(2*time.Minute))
	})
}

// untar reads a .tar.gz, without the folder that everything is in.
func untar(file string) (map[string][]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	content := make(map[string][]byte)
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err == io.EOF {
			return content, nil
		}
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
		_, name, _ := strings.Cut(path.Clean(h.Name), "/")
		content[name] = text
	}
}
