package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// The chart and its release.
const (
	chart   = "../../charts/turnstone-operator"
	release = "turnstone-operator"
)

func helm(ctx context.Context, args ...string) (string, error) {
	return run(ctx, "", "tool", append([]string{"helm", "--namespace", string(operatorSpace)}, args...)...)
}

// reinstallation removes everything that can be removed, and installs it again.
func reinstallation(p *plant) {
	It("finds its data again after everything but the volume was removed and installed again", func(ctx SpecContext) {
		load := startLoad("reinstallation", p.to, p.who, note)
		load.goOn(ctx, 10)
		load.stop()
		Expect(load.failures()).To(BeEmpty())
		volume, err := p.field(ctx, "pvc/data-main-0", "{.spec.volumeName}")
		Expect(err).NotTo(HaveOccurred())

		By("removing the brokers, the chart and the CRDs")
		_, err = p.kubectl(ctx, "delete", "turnstone", "--all", "--timeout=90s")
		Expect(err).NotTo(HaveOccurred())
		_, err = p.kubectl(ctx, "wait", p.pod(), "--for=delete", "--timeout=60s")
		Expect(err).NotTo(HaveOccurred())
		values, err := helm(ctx, "get", "values", release, "-o", "yaml")
		Expect(err).NotTo(HaveOccurred())
		kept := filepath.Join(GinkgoT().TempDir(), "values.yaml")
		Expect(os.WriteFile(kept, []byte(values), 0o600)).To(Succeed())
		_, err = helm(ctx, "uninstall", release, "--wait", "--timeout", "60s")
		Expect(err).NotTo(HaveOccurred())
		_, err = p.kubectl(ctx, "delete", "-f", chart+"/crds", "--timeout=60s")
		Expect(err).NotTo(HaveOccurred())
		Expect(p.field(ctx, "pvc/data-main-0", "{.status.phase} {.spec.volumeName}")).To(Equal("Bound " + volume))

		By("installing them again")
		_, err = helm(ctx, "install", release, chart, "-f", kept, "--wait", "--timeout", "90s")
		Expect(err).NotTo(HaveOccurred())
		p.applyManifests(ctx)
		p.becomesReady(ctx)
		Expect(p.takeAll(ctx, load.ledger).repeated()).To(BeEmpty())
	}, NodeTimeout(5*time.Minute))
}
