package topology_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

var _ = Describe("Input that the schema cannot see through", func() {
	It("is a condition with a sentence that says what to change", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		raw := func(name, value string) map[string]apiextensionsv1.JSON {
			return map[string]apiextensionsv1.JSON{name: {Raw: []byte(value)}}
		}
		for _, c := range []struct {
			o        v1alpha1.Topology
			reason   string
			sentence string
		}{
			{&v1alpha1.Policy{ObjectMeta: in(b.namespace, "key"), Spec: v1alpha1.PolicySpec{BrokerRef: toBroker, Pattern: "a", Definition: raw("max-lenght", "1")}},
				condition.Invalid, `definition: "max-lenght" is not supported; there are`},
			{&v1alpha1.Policy{ObjectMeta: in(b.namespace, "value"), Spec: v1alpha1.PolicySpec{BrokerRef: toBroker, Pattern: "a", Definition: raw("max-length", `"many"`)}},
				condition.Invalid, "must be a whole number, not many"},
			{&v1alpha1.Queue{ObjectMeta: in(b.namespace, "argument"), Spec: v1alpha1.QueueSpec{BrokerRef: toBroker, Arguments: raw("x-max-lenght", "1")}},
				condition.Invalid, `argument "x-max-lenght" is not supported; there are`},
			{&v1alpha1.Exchange{ObjectMeta: in(b.namespace, "argument"), Spec: v1alpha1.ExchangeSpec{BrokerRef: toBroker, Arguments: raw("x-later", `"topic"`)}},
				condition.Invalid, `argument "x-later" of exchanges is not supported: leave it out`},
			{&v1alpha1.Binding{ObjectMeta: in(b.namespace, "match"), Spec: v1alpha1.BindingSpec{BrokerRef: toBroker, Source: "amq.headers", Destination: "amq.fanout", DestinationType: "exchange", Arguments: raw("x-match", `"some"`)}},
				condition.Invalid, `argument "x-match": "some" does not exist; there are`},
			{&v1alpha1.Binding{ObjectMeta: in(b.namespace, "early"), Spec: v1alpha1.BindingSpec{BrokerRef: toBroker, Source: "amq.topic", Destination: "nowhere"}},
				condition.Missing, `refers to Queue "nowhere" in vhost "/", which does not exist: create it first`},
			{&v1alpha1.Queue{ObjectMeta: in(b.namespace, "host"), Spec: v1alpha1.QueueSpec{BrokerRef: toBroker, VHost: "nowhere"}},
				condition.Missing, `refers to VirtualHost "nowhere", which does not exist`},
			{&v1alpha1.Permission{ObjectMeta: in(b.namespace, "who"), Spec: v1alpha1.PermissionSpec{BrokerRef: toBroker, UserRef: &v1alpha1.LocalReference{Name: "nobody"}}},
				condition.Missing, `User "nobody" does not exist in namespace`},
			{&v1alpha1.User{ObjectMeta: in(b.namespace, "secretless"), Spec: v1alpha1.UserSpec{BrokerRef: toBroker, PasswordSecretRef: &v1alpha1.PasswordReference{Name: "broker-admin", Key: "pasword"}}},
				condition.SecretNotFound, `Secret "broker-admin" has no key "pasword", or it is empty`},
			{&v1alpha1.TopicPolicy{ObjectMeta: in(b.namespace, "rewrite"), Spec: v1alpha1.TopicPolicySpec{BrokerRef: toBroker, Filter: "a/+", Rewrite: &v1alpha1.TopicRewrite{To: "b/{2}", Publish: true}}},
				condition.Invalid, "rewrite.to"},
		} {
			create(ctx, c.o)
			expectReason(ctx, c.reason, c.o)
			Expect(sentence(ctx, c.o)).To(ContainSubstring(c.sentence), "%T %s", c.o, c.o.GetName())
			remove(ctx, c.o)
			expectGone(ctx, c.o)
		}
	})
})
