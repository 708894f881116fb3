package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// What config/samples holds: a queue that is bound to the MQTT exchange, and the topic that reaches it.
const (
	broker = "broker"
	queue  = "orders"
	topic  = "orders/new"
	// samples is the namespace that they are applied to, since they name none.
	samples = namespace("default")
)

var _ = Describe("config/samples", Ordered, func() {
	var user endpoint

	BeforeAll(func(ctx SpecContext) {
		_, err := samples.kubectl(ctx, "apply", "-k", "../../config/samples")
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(time.Minute))

	It("becomes Ready", func(ctx SpecContext) {
		Eventually(ctx, samples.waitingFor).WithTimeout(2 * time.Minute).Should(BeEmpty())
		var err error
		user, err = defaultUser(ctx, broker)
		Expect(err).NotTo(HaveOccurred())
		Eventually(ctx, user.reachable).Should(Succeed())
	}, NodeTimeout(3*time.Minute))

	It("can be exported and applied again where it is", func(ctx SpecContext) {
		said, code, err := samples.turnstone(ctx, "export", broker)
		Expect(err).NotTo(HaveOccurred())
		Expect(code).To(BeZero(), said)
		_, err = samples.apply(ctx, said, "apply", "--dry-run=server", "-f", "-")
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(time.Minute))

	It("carries a message from MQTT to AMQP", func(ctx SpecContext) {
		Expect(user.publishMQTT(ctx, topic, "from MQTT")).To(Succeed())
		Expect(user.consumeAMQP(ctx, queue, 1)).To(Equal([]string{"from MQTT"}))
	}, NodeTimeout(time.Minute))

	It("carries a message from AMQP to MQTT", func(ctx SpecContext) {
		const session, subject = "e2e", "e2e/greetings"
		Expect(user.subscribeMQTT(ctx, session, subject)).To(Succeed())
		Expect(user.publishAMQP(ctx, "amq.topic", "e2e.greetings", "from AMQP")).To(Succeed())
		Expect(user.receiveMQTT(ctx, session, subject, 1)).To(Equal([]string{"from AMQP"}))
		Expect(user.endSession(ctx, session, subject)).To(Succeed())
	}, NodeTimeout(time.Minute))

	It("keeps the messages of a durable queue when the broker's pod is killed", func(ctx SpecContext) {
		const messages = 500
		sent := make([]string, messages)
		for i := range sent {
			sent[i] = fmt.Sprintf("message %d", i)
		}
		Expect(user.publishMQTT(ctx, topic, sent...)).To(Succeed())

		pod, err := podUID(ctx)
		Expect(err).NotTo(HaveOccurred())
		_, err = samples.kubectl(ctx, "delete", "pod", broker+"-0", "--grace-period=0", "--force")
		Expect(err).NotTo(HaveOccurred())
		Eventually(ctx, podUID).ShouldNot(Or(Equal(pod), BeEmpty()))
		Eventually(ctx, podReady).Should(Equal("True"))
		Eventually(ctx, samples.waitingFor).Should(BeEmpty())

		Expect(user.consumeAMQP(ctx, queue, messages)).To(Equal(sent))
	}, NodeTimeout(3*time.Minute))

	It("restores a queue that was deleted behind the operator's back, within 5 s", func(ctx SpecContext) {
		admin := adminAPI(ctx, samples, broker)
		before := storedQueue(ctx, admin)
		answer, err := admin.Apply(ctx, client.ApplyRequest{Owner: before.Owner, Changes: []object.Change{{
			Object: object.Object{Key: before.Key}, Delete: object.DeleteAlways,
		}}})
		Expect(err).NotTo(HaveOccurred())
		Expect(answer.Results).To(HaveExactElements(HaveField("Outcome", object.Deleted)))

		Eventually(func() (object.Object, error) { return findQueue(ctx, admin) }).WithTimeout(5 * time.Second).WithPolling(50 * time.Millisecond).
			Should(And(HaveField("Spec", MatchJSON(before.Spec)), HaveField("Owner", before.Owner), HaveField("ID", Not(Equal(before.ID)))))

		// Its binding went with it and has to come back too.
		Eventually(func() error {
			if err := user.publishMQTT(ctx, topic, "after the drift"); err != nil {
				return err
			}
			_, err := user.consumeAMQP(ctx, queue, 1)
			return err
		}).WithTimeout(5 * time.Second).Should(Succeed())
	}, NodeTimeout(time.Minute))

	It("is gone when everything is deleted, in any order", func(ctx SpecContext) {
		all, err := samples.resources(ctx)
		Expect(err).NotTo(HaveOccurred())
		seed := uint64(GinkgoRandomSeed())
		rand.New(rand.NewPCG(seed, seed)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		GinkgoWriter.Printf("seed %d: %v\n", seed, all)
		for _, r := range all {
			_, err := samples.kubectl(ctx, "delete", strings.ToLower(r.Kind)+".messaging.turnstone.dev", r.Metadata.Name, "--wait=false")
			Expect(err).NotTo(HaveOccurred())
		}
		Eventually(ctx, samples.resources).WithTimeout(90*time.Second).Should(BeEmpty(), "seed %d, order %v", seed, all)
		Eventually(ctx, podUID).Should(BeEmpty())
	}, NodeTimeout(3*time.Minute))
})

// podUID identifies the broker's pod; it is empty while there is none.
func podUID(ctx context.Context) (string, error) { return podField(ctx, "{.metadata.uid}") }

func podReady(ctx context.Context) (string, error) {
	return podField(ctx, `{.status.conditions[?(@.type=="Ready")].status}`)
}

func podField(ctx context.Context, path string) (string, error) {
	return samples.field(ctx, "pod/"+broker+"-0", path)
}

func storedQueue(ctx SpecContext, admin *client.Client) object.Object {
	GinkgoHelper()
	q, err := findQueue(ctx, admin)
	Expect(err).NotTo(HaveOccurred())
	return q
}

func findQueue(ctx context.Context, admin *client.Client) (object.Object, error) {
	list, err := admin.Objects(ctx, "", object.KindQueue)
	if err != nil {
		return object.Object{}, err
	}
	i := slices.IndexFunc(list.Objects, func(o object.Object) bool { return o.VirtualHost == "/" && o.Name == queue })
	if i < 0 {
		return object.Object{}, fmt.Errorf("queue %s is not among the %d queues", queue, len(list.Objects))
	}
	return list.Objects[i], nil
}
