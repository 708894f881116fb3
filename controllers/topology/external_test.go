package topology_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// connection makes a connection Secret for the broker in another namespace.
func (b *broker) connection(ctx context.Context, namespace, name string) *corev1.Secret {
	GinkgoHelper()
	s := &corev1.Secret{ObjectMeta: in(namespace, name), StringData: map[string]string{
		"url": b.url(), "username": "admin", "password": "secret", "ca.crt": string(b.authority.pem),
	}}
	Expect(api.Create(ctx, s)).To(Succeed())
	return s
}

var _ = Describe("A broker that a Secret names", func() {
	It("has what the objects say", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		namespace := newNamespace(ctx, "guest")
		s := b.connection(ctx, namespace, "there")
		objects := samples(namespace)
		for _, o := range objects {
			retarget(o, v1alpha1.BrokerReference{ConnectionSecret: &v1alpha1.LocalReference{Name: "there"}})
		}
		create(ctx, objects...)
		expectReason(ctx, condition.Synced, objects...)
		Expect(b.objects(object.KindBinding)).To(HaveLen(1))
		secret := &corev1.Secret{}
		Expect(api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "app-user-credentials"}, secret)).To(Succeed())
		Expect(string(secret.Data["host"])).To(Equal("127.0.0.1"))

		// The Secret goes before what it is for: that is deleted all the same.
		Expect(api.Delete(ctx, s)).To(Succeed())
		expectReason(ctx, condition.SecretNotFound, objects...)
		remove(ctx, objects...)
		expectGone(ctx, objects...)
		Expect(b.objects(object.KindVirtualHost)).To(ConsistOf("/"))
	})

	It("is not reached by a Secret that is wrong, and the condition says why", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		namespace := newNamespace(ctx, "guest")
		s := b.connection(ctx, namespace, "there")
		q := &v1alpha1.Queue{ObjectMeta: in(namespace, "q"), Spec: v1alpha1.QueueSpec{BrokerRef: v1alpha1.BrokerReference{ConnectionSecret: &v1alpha1.LocalReference{Name: "there"}}}}
		create(ctx, q)
		expectReason(ctx, condition.Synced, q)
		good := s.DeepCopy().Data
		if good == nil {
			Expect(api.Get(ctx, client.ObjectKeyFromObject(s), s)).To(Succeed())
			good = s.DeepCopy().Data
		}
		for _, c := range []struct{ key, value, reason, text string }{
			{"url", "", condition.InvalidConnection, "key url is missing or empty: write https://HOST:PORT"},
			{"url", "amqp://host", condition.InvalidConnection, "key url must be https://HOST:PORT"},
			{"url", "https://a:b@host:1", condition.InvalidConnection, "a user goes into the keys username and password"},
			{"password", "", condition.InvalidConnection, "one of them is missing or empty"},
			{"token", "t", condition.InvalidConnection, "must have exactly one of"},
			{"ca.crt", "x", condition.InvalidConnection, "key ca.crt holds no certificate in PEM"},
			{"tls.crt", "x", condition.InvalidConnection, "must have exactly one of"},
			{"password", "wrong", condition.CredentialsRejected, "does not answer"},
			{"url", "https://127.0.0.1:1", condition.BrokerUnavailable, `the broker of connection Secret "there" does not answer`},
		} {
			change(ctx, s, func(s *corev1.Secret) {
				s.Data = map[string][]byte{}
				for k, v := range good {
					s.Data[k] = v
				}
				if s.Data[c.key] = []byte(c.value); c.value == "" {
					delete(s.Data, c.key)
				}
			})
			Eventually(func() string { return reason2(ctx, q) }, patience).Should(And(HavePrefix(c.reason+" "), ContainSubstring(c.text)), "%s %s", c.key, c.value)
		}
		change(ctx, s, func(s *corev1.Secret) { s.Data = good })
		expectReason(ctx, condition.Synced, q)
	})

	It("that answers 500 is asked seldom, and is one reason", func(ctx SpecContext) {
		var calls atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			http.Error(w, "it hurts", http.StatusInternalServerError)
		}))
		DeferCleanup(server.Close)
		namespace := newNamespace(ctx, "guest")
		s := &corev1.Secret{ObjectMeta: in(namespace, "there"), StringData: map[string]string{"url": server.URL, "token": "t"}}
		Expect(api.Create(ctx, s)).To(Succeed())
		startOperator(nil)
		var objects []v1alpha1.Topology
		for i := range 20 {
			objects = append(objects, &v1alpha1.Queue{ObjectMeta: in(namespace, fmt.Sprintf("q%d", i)), Spec: v1alpha1.QueueSpec{BrokerRef: v1alpha1.BrokerReference{ConnectionSecret: &v1alpha1.LocalReference{Name: "there"}}}})
		}
		create(ctx, objects...)
		expectReason(ctx, condition.BrokerUnavailable, objects...)
		Expect(sentence(ctx, objects[0])).To(Equal(`the broker of connection Secret "there" does not answer: HTTP 500 without a sentence: this is no admin API of Turnstone, or something stands before it`))
		before, start := calls.Load(), time.Now()
		Consistently(func() float64 {
			return float64(calls.Load()-before) - time.Since(start).Seconds()
		}, "5s").Should(BeNumerically("<=", 1), "calls beyond one a second")
	})
})

// reason2 is reason and message of the Ready condition.
func reason2(ctx context.Context, o v1alpha1.Topology) string {
	GinkgoHelper()
	var r string
	Eventually(func(g Gomega) { r = reason(ctx, o)(g) }, patience).Should(Succeed())
	return r + " " + sentence(ctx, o)
}

// retarget lets an object live in another broker.
func retarget(o v1alpha1.Topology, ref v1alpha1.BrokerReference) {
	switch o := o.(type) {
	case *v1alpha1.VirtualHost:
		o.Spec.BrokerRef = ref
	case *v1alpha1.User:
		o.Spec.BrokerRef = ref
	case *v1alpha1.Permission:
		o.Spec.BrokerRef = ref
	case *v1alpha1.TopicPolicy:
		o.Spec.BrokerRef = ref
	case *v1alpha1.Policy:
		o.Spec.BrokerRef = ref
	case *v1alpha1.OperatorPolicy:
		o.Spec.BrokerRef = ref
	case *v1alpha1.Exchange:
		o.Spec.BrokerRef = ref
	case *v1alpha1.Queue:
		o.Spec.BrokerRef = ref
	case *v1alpha1.Binding:
		o.Spec.BrokerRef = ref
	}
}
