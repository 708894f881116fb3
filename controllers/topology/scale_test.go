package topology_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

func queueNamed(namespace, name string) *v1alpha1.Queue {
	return &v1alpha1.Queue{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.QueueSpec{BrokerRef: v1alpha1.BrokerReference{Name: "broker"}}}
}

// manyQueues makes n of them and waits until all are Ready.
func manyQueues(ctx context.Context, namespace string, n int) {
	GinkgoHelper()
	for i := range n {
		create(ctx, queueNamed(namespace, fmt.Sprintf("q%03d", i)))
	}
	Eventually(func(g Gomega) int { return readyQueues(ctx, g, namespace) }, time.Minute, 50*time.Millisecond).Should(Equal(n))
}

var _ = Describe("Many objects", func() {
	It("cost a finalizer and a status each, in any order, and few calls to the broker", func(ctx SpecContext) {
		b := newBroker(ctx)
		var writes atomic.Int64
		startOperator(func(c client.WithWatch) client.Client { return counting(c, b.namespace, &writes) })
		const n = 150
		for i := range n { // what a binding needs comes after it
			binding := &v1alpha1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: fmt.Sprintf("b%03d", i)},
				Spec: v1alpha1.BindingSpec{BrokerRef: v1alpha1.BrokerReference{Name: "broker"}, Source: "amq.topic", Destination: fmt.Sprintf("q%03d", i)}}
			create(ctx, binding)
		}
		manyQueues(ctx, b.namespace, n)
		Eventually(func() []string { return b.objects(object.KindBinding) }, patience).Should(HaveLen(n))
		Eventually(writes.Load, patience).Should(BeNumerically(">=", 4*n))
		Consistently(writes.Load, 500*time.Millisecond).Should(BeNumerically("==", 4*n), "one finalizer and one status each")
		Expect(b.called("")).To(BeNumerically("<", n))
	})

	It("do not make one that changes cost more", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		manyQueues(ctx, b.namespace, 200)
		applies, lists := b.called("/v1/apply"), b.called("/v1/objects")
		begin := time.Now()
		one := queueNamed(b.namespace, "one")
		create(ctx, one)
		expectReason(ctx, condition.Synced, one)
		AddReportEntry("one among 200", time.Since(begin).String())
		Expect(b.called("/v1/apply")).To(Equal(applies + 1))
		Expect(b.called("/v1/objects")).To(Equal(lists))
	})

	It("wait for nobody else's broker", func(ctx SpecContext) {
		b, other := newBroker(ctx), newBroker(ctx)
		other.stop()
		hung := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		l, err := net.Listen("tcp", "127.0.0.1:0") // who connects is never accepted
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(l.Close)
		hung.URL = "https://" + l.Addr().String()
		other.server = hung
		var writes atomic.Int64
		startOperator(func(c client.WithWatch) client.Client { return counting(c, b.namespace, &writes) })
		lost := queueNamed(other.namespace, "lost")
		create(ctx, lost)
		begin := time.Now()
		manyQueues(ctx, b.namespace, 20)
		Expect(time.Since(begin)).To(BeNumerically("<", 10*time.Second))
	})

	It("are told once that their broker does not answer, and it is asked once a second at most", func(ctx SpecContext) {
		b := newBroker(ctx)
		var writes atomic.Int64
		startOperator(func(c client.WithWatch) client.Client { return counting(c, b.namespace, &writes) })
		manyQueues(ctx, b.namespace, 50)
		writes.Store(0)
		b.breaks(true)
		q := queueNamed(b.namespace, "q000")
		expectReason(ctx, condition.BrokerUnavailable, q)
		Eventually(func(g Gomega) int { return readyQueues(ctx, g, b.namespace) }, patience).Should(BeZero())
		Eventually(writes.Load, patience).Should(BeNumerically("==", 50))
		calls := b.called("")
		Consistently(writes.Load, 3*time.Second).Should(BeNumerically("==", 50))
		Expect(b.called("") - calls).To(BeNumerically("<=", 4))
		b.breaks(false)
		Eventually(func(g Gomega) int { return readyQueues(ctx, g, b.namespace) }, patience).Should(Equal(50))
		Expect(writes.Load()).To(BeNumerically("==", 100))
		Expect(eventsOf(ctx, b.namespace, condition.Synced)()).To(BeEmpty(), "the broker's own event says it")
	})

	It("show zeros before anything happens", func(ctx SpecContext) {
		ns := newNamespace(ctx, "zeros")
		q := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"brokerRef": map[string]any{"name": "none"}}}}
		q.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Queue"))
		q.SetNamespace(ns)
		q.SetName("q")
		Expect(api.Create(ctx, q)).To(Succeed())
		Expect(api.Get(ctx, client.ObjectKeyFromObject(q), q)).To(Succeed())
		Expect(q.Object["status"]).To(And(HaveKeyWithValue("messages", int64(0)), HaveKeyWithValue("consumers", int64(0)),
			HaveKeyWithValue("publishRate", int64(0)), HaveKeyWithValue("deliverRate", int64(0))), "columns of kubectl get are not empty")
	})

	It("show what happens in queues within a budget", func(ctx SpecContext) {
		b := newBroker(ctx)
		var writes atomic.Int64
		serving{queueWrites: 2, wrap: func(c client.WithWatch) client.Client { return counting(c, b.namespace, &writes) }}.start()
		const n = 12
		manyQueues(ctx, b.namespace, n)
		v, err := b.hub.VirtualHost("/")
		Expect(err).NotTo(HaveOccurred())
		for i := range n {
			put(ctx, b, v, fmt.Sprintf("q%03d", i))
		}
		writes.Store(0)
		begin := time.Now()
		Eventually(func(g Gomega) (shown int) {
			list := &v1alpha1.QueueList{}
			g.Expect(api.List(ctx, list, client.InNamespace(b.namespace))).To(Succeed())
			for _, q := range list.Items {
				if q.Status.Messages == 1 {
					shown++
				}
			}
			return shown
		}, time.Minute, 50*time.Millisecond).Should(Equal(n))
		most := 2 + 2*int64(time.Since(begin)/time.Second+1)
		Expect(writes.Load()).To(BeNumerically("<=", most), "two a second, and two that were saved")
		Expect(time.Since(begin)).To(BeNumerically(">", 4*time.Second))
	})
})
