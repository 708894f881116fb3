package e2e_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// expansion lets the volume grow. Its storage class has a driver that makes the file system larger while it is in use
// (hack/localcluster/growing), so what the broker sees is what it has.
func expansion(p *plant) {
	It("gets a larger volume under load: not one publish fails, and nothing restarts", func(ctx SpecContext) {
		const claim, size, bytes = "pvc/data-main-0", "2Gi", 2 << 30
		admin := adminAPI(ctx, p.namespace, p.broker)
		Expect(admin.Overview(ctx)).To(HaveField("StorageSize", BeNumerically("==", bytes/2)))
		process, err := p.running(ctx)
		Expect(err).NotTo(HaveOccurred())
		load := startLoad("expansion", p.to, p.who, note)
		load.goOn(ctx, 5)

		_, err = p.kubectl(ctx, "patch", p.object(), "--type=merge", "-p", `{"spec":{"storage":{"size":"`+size+`"}}}`)
		Expect(err).NotTo(HaveOccurred())
		_, err = p.kubectl(ctx, "wait", claim, "--for=jsonpath={.status.capacity.storage}="+size, "--timeout=60s")
		Expect(err).NotTo(HaveOccurred())
		Expect(admin.Overview(ctx)).To(HaveField("StorageSize", BeNumerically("==", bytes)), "of the file system")
		Eventually(ctx, p.field).WithArguments("statefulset/"+p.broker, "{.spec.volumeClaimTemplates[0].spec.resources.requests.storage}").Should(Equal(size))
		Eventually(ctx, p.waitingFor).Should(BeEmpty())
		Eventually(ctx, p.field).WithArguments(p.object(), `{.status.conditions[?(@.type=="StorageExpanding")]}`).Should(BeEmpty())
		Eventually(ctx, p.field).WithArguments(p.object(), "{.status.usage.storageSize}").WithTimeout(90 * time.Second).Should(Equal(size))
		load.goOn(ctx, 5)

		load.stop()
		Expect(load.failures()).To(BeEmpty())
		Expect(p.running(ctx)).To(Equal(process), "no restart")
		p.takeAll(ctx, load.ledger)
	}, NodeTimeout(4*time.Minute))
}
