package e2e_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// outOfService is what an administrator says of a node that has no power: Kubernetes then lets its pods go at once, and
// StatefulSets start them elsewhere. Without it nobody knows whether the former pod still writes to the volume.
const outOfService = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"

// crash loses the node that the broker runs on.
func crash(p *plant) {
	const ready = `{.status.conditions[?(@.type=="Ready")]`
	It("comes back on another node when its own loses power, with every confirmed message", func(ctx SpecContext) {
		first, err := p.field(ctx, p.pod(), "{.metadata.uid}")
		Expect(err).NotTo(HaveOccurred())
		load := startLoad("crash", p.to, p.who, insist)
		load.goOn(ctx, 100)
		DeferCleanup(func(ctx SpecContext) { // wherever the test ended
			Expect(returnPower(ctx, p.node)).To(Succeed())
			_, err := p.kubectl(ctx, "wait", "node/"+p.node, "--for=condition=Ready", "--timeout=60s")
			Expect(err).NotTo(HaveOccurred())
		}, NodeTimeout(2*time.Minute))
		Expect(losePower(ctx, p.node)).To(Succeed())

		By("saying what is wrong")
		Eventually(ctx, p.field).WithArguments(p.object(), ready+".status}").WithTimeout(90 * time.Second).Should(Equal("False"))
		Eventually(ctx, p.field).WithArguments(p.object(), ready+".message}").Should(ContainSubstring("pod main-0: node %s does not answer", p.node))
		Eventually(ctx, p.field).WithArguments("queue.messaging.turnstone.dev/"+p.queue, ready+".reason}").Should(Equal("BrokerUnavailable"))

		By("going elsewhere")
		_, err = p.kubectl(ctx, "taint", "node", p.node, outOfService)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func(ctx SpecContext) {
			_, err := p.kubectl(ctx, "taint", "node", p.node, outOfService+"-")
			Expect(err).NotTo(HaveOccurred())
		}, NodeTimeout(time.Minute))
		Eventually(ctx, p.running).WithTimeout(120 * time.Second).ShouldNot(Or(BeEmpty(), HavePrefix(first)))
		Eventually(ctx, p.waitingFor).WithTimeout(90 * time.Second).Should(BeEmpty())
		Expect(p.field(ctx, p.pod(), "{.spec.nodeName}")).NotTo(Equal(p.node))

		By("serving again")
		load.goOn(ctx, 100)
		load.stop()
		p.takeAll(ctx, load.ledger)
	}, NodeTimeout(5*time.Minute))
}
