package topology_test

import (
	"context"
	"fmt"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/topology"
)

// apply applies one object in the broker, past the operator.
func (b *broker) apply(ctx context.Context, owner string, kind object.Kind, vhost, name string, spec any, adopt object.Adoption) {
	GinkgoHelper()
	o, err := object.New(kind, vhost, name, spec)
	Expect(err).NotTo(HaveOccurred())
	o.Ref = "made/by-hand"
	results, err := b.hub.Apply(ctx, owner, []object.Change{{Object: o, Adopt: adopt}}, hub.ApplyOptions{})
	Expect(err).NotTo(HaveOccurred())
	Expect(results[0].Outcome).To(BeElementOf(object.Created, object.Updated), results[0].Message)
}

// has is who owns an object in the broker, for whom, and what it is like; "nothing" when it is not there.
func (b *broker) has(kind object.Kind, name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	list, _ := b.hub.Objects("", kind)
	for _, o := range list {
		if o.Name == name {
			return fmt.Sprintf("%s %s %s", o.Owner, o.Ref, o.Spec)
		}
	}
	return "nothing"
}

// sentence is the message of the Ready condition.
func sentence(ctx context.Context, o v1alpha1.Topology) string {
	GinkgoHelper()
	fresh := o.DeepCopyObject().(v1alpha1.Topology)
	Expect(api.Get(ctx, client.ObjectKeyFromObject(o), fresh)).To(Succeed())
	c := meta.FindStatusCondition(fresh.Common().Conditions, condition.Ready)
	Expect(c).NotTo(BeNil())
	return c.Message
}

// newNamespace makes one with a label.
func newNamespace(ctx context.Context, label string) string {
	GinkgoHelper()
	ns := &corev1.Namespace{}
	ns.GenerateName, ns.Labels = "topology-", map[string]string{"team": label}
	Expect(api.Create(ctx, ns)).To(Succeed())
	return ns.Name
}

// change edits an object as it is now.
func change[T client.Object](ctx context.Context, o T, edit func(T)) {
	GinkgoHelper()
	Eventually(func() error {
		if err := api.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		edit(o)
		return api.Update(ctx, o)
	}, patience).Should(Succeed())
}

func remove(ctx context.Context, objects ...v1alpha1.Topology) {
	GinkgoHelper()
	for _, o := range objects {
		Expect(api.Delete(ctx, o)).To(Succeed())
	}
}

func expectGone(ctx context.Context, objects ...v1alpha1.Topology) {
	GinkgoHelper()
	for _, o := range objects {
		Eventually(gone(ctx, o), patience).Should(BeTrue(), "%T %s", o, o.GetName())
	}
}

var toBroker = v1alpha1.BrokerReference{Name: "broker"}

func in(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func definition(length string) map[string]apiextensionsv1.JSON {
	return map[string]apiextensionsv1.JSON{"max-length": {Raw: []byte(length)}}
}

func newPolicy(namespace, name, inBroker, length string) *v1alpha1.Policy {
	return &v1alpha1.Policy{ObjectMeta: in(namespace, name), Spec: v1alpha1.PolicySpec{BrokerRef: toBroker, Name: inBroker, Pattern: "^q", Definition: definition(length)}}
}

var shared = v1alpha1.Management{OwnershipPolicy: v1alpha1.OwnershipShared}

var _ = Describe("Ownership", func() {
	It("is counted when it is Shared, and the last one takes the thing along", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		var all []*v1alpha1.Policy
		for _, name := range []string{"one", "two", "three"} {
			p := newPolicy(b.namespace, name, "common", "5")
			p.Spec.Management = shared
			create(ctx, p)
			expectReason(ctx, condition.Synced, p)
			all = append(all, p)
		}
		Expect(sentence(ctx, all[1])).To(Equal("shared with Policy " + b.namespace + "/one"))

		other := newPolicy(b.namespace, "other", "common", "6")
		other.Spec.Management = shared
		alone := newPolicy(b.namespace, "alone", "common", "5")
		create(ctx, other, alone)
		expectReason(ctx, condition.ResourceConflict, other, alone)
		Expect(sentence(ctx, other)).To(And(ContainSubstring("Policy "+b.namespace+"/one shares the same"), ContainSubstring("definition.max-length is 5 there and 6 here")))
		Expect(sentence(ctx, alone)).To(ContainSubstring("is older and Shared: set spec.ownershipPolicy: Shared here too, or delete one of the two"))
		remove(ctx, alone)
		expectGone(ctx, alone)

		// The oldest goes: the next one has it, and nothing happens to what is in the broker.
		remove(ctx, all[0])
		expectGone(ctx, all[0])
		Eventually(func() string { return b.has(object.KindPolicy, "common") }, patience).Should(Or(ContainSubstring(b.namespace+"/two "), ContainSubstring(b.namespace+"/three ")))
		expectReason(ctx, condition.Synced, all[1], all[2])
		remove(ctx, all[2])
		expectGone(ctx, all[2])
		Expect(b.has(object.KindPolicy, "common")).To(ContainSubstring(`"max-length":5`))
		remove(ctx, all[1])
		expectGone(ctx, all[1])
		expectReason(ctx, condition.Synced, other) // whose turn it is
		Expect(b.has(object.KindPolicy, "common")).To(ContainSubstring(`"max-length":6`))
		remove(ctx, other)
		expectGone(ctx, other)
		Expect(b.has(object.KindPolicy, "common")).To(Equal("nothing"))
	})

	It("is not mixed", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		alone := newPolicy(b.namespace, "alone", "common", "5")
		create(ctx, alone)
		expectReason(ctx, condition.Synced, alone)
		sharing := newPolicy(b.namespace, "sharing", "common", "5")
		sharing.Spec.Management = shared
		create(ctx, sharing)
		expectReason(ctx, condition.ResourceConflict, sharing)
		Expect(sentence(ctx, sharing)).To(ContainSubstring("is older and Exclusive: set spec.ownershipPolicy: Shared there too, or delete one of the two"))
		change(ctx, alone, func(p *v1alpha1.Policy) { p.Spec.OwnershipPolicy = v1alpha1.OwnershipShared })
		expectReason(ctx, condition.Synced, alone, sharing)
	})

	It("of a shared user needs the same password", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		b.secret(ctx, "same", map[string]string{"password": "pw", "other": "else"})
		user := func(name, key string) *v1alpha1.User {
			return &v1alpha1.User{ObjectMeta: in(b.namespace, name), Spec: v1alpha1.UserSpec{BrokerRef: toBroker, Name: "app", Management: shared, PasswordSecretRef: &v1alpha1.PasswordReference{Name: "same", Key: key}}}
		}
		one, two, three, four := user("one", "password"), user("two", "password"), user("three", "other"), user("four", "none")
		create(ctx, one)
		expectReason(ctx, condition.Synced, one)
		create(ctx, two, three, four)
		expectReason(ctx, condition.Synced, two)
		expectReason(ctx, condition.ResourceConflict, three)
		Expect(sentence(ctx, three)).To(ContainSubstring("has another password: name Secrets with the same password"))
		expectReason(ctx, condition.SecretNotFound, four)
	})

	It("is taken over when it is equal, or when asked for", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		policy := func(length int) object.PolicySpec {
			return object.PolicySpec{Pattern: "^q", Definition: object.Arguments{"max-length": length}}
		}
		b.apply(ctx, "", object.KindPolicy, "/", "equal", policy(5), "")
		b.apply(ctx, "", object.KindPolicy, "/", "different", policy(7), "")
		b.apply(ctx, "somebody", object.KindPolicy, "/", "owned", policy(7), "")
		b.apply(ctx, "somebody", object.KindQueue, "/", "stiff", object.QueueSpec{}, "")
		equal, different, owned := newPolicy(b.namespace, "equal", "", "5"), newPolicy(b.namespace, "different", "", "5"), newPolicy(b.namespace, "owned", "", "5")
		stiff := &v1alpha1.Queue{ObjectMeta: in(b.namespace, "stiff"), Spec: v1alpha1.QueueSpec{BrokerRef: toBroker, Management: v1alpha1.Management{Adopt: true}}}
		create(ctx, equal, different, owned, stiff)
		expectReason(ctx, condition.Synced, equal)
		expectReason(ctx, condition.ResourceConflict, different, owned)
		expectReason(ctx, condition.Inequivalent, stiff)
		Expect(sentence(ctx, different)).To(And(ContainSubstring("definition.max-length is 7 and would be 5"), ContainSubstring("spec.adopt: true takes it over")))
		Expect(sentence(ctx, owned)).To(And(ContainSubstring(`belongs to "somebody" (made/by-hand)`), ContainSubstring("spec.adopt: true takes it over")))
		Expect(sentence(ctx, stiff)).To(ContainSubstring("wanted true but it is false, and cannot be changed in place: delete it first, or write what it is"))
		Expect(b.has(object.KindQueue, "stiff")).To(HavePrefix("somebody made/by-hand"), "nothing is lost")
		for _, p := range []*v1alpha1.Policy{different, owned} {
			change(ctx, p, func(p *v1alpha1.Policy) { p.Spec.Adopt = true })
			expectReason(ctx, condition.Synced, p)
			Expect(b.has(object.KindPolicy, p.Name)).To(Equal("turnstone-operator " + b.namespace + "/" + p.Name + ` {"pattern":"^q","applyTo":"all","definition":{"max-length":5}}`))
		}

		// Somebody takes it back, and keeps it until the object changes.
		b.apply(ctx, "somebody", object.KindPolicy, "/", "owned", policy(8), object.AdoptAny)
		expectReason(ctx, condition.ResourceConflict, owned)
		Expect(sentence(ctx, owned)).To(ContainSubstring("it was taken over from this object"))
		Consistently(func() string { return b.has(object.KindPolicy, "owned") }, "1s").Should(HavePrefix("somebody"))
		change(ctx, owned, func(p *v1alpha1.Policy) { p.Spec.Priority = 1 })
		expectReason(ctx, condition.Synced, owned)

		// Its deletion leaves what another one has.
		b.apply(ctx, "somebody", object.KindPolicy, "/", "owned", policy(8), object.AdoptAny)
		remove(ctx, owned)
		expectGone(ctx, owned)
		Expect(b.has(object.KindPolicy, "owned")).To(HavePrefix("somebody"))
	})

	It("is of one operator", func(ctx SpecContext) {
		b := newBroker(ctx)
		serving{namespace: b.namespace}.start()
		ours := newPolicy(b.namespace, "ours", "", "5")
		create(ctx, ours)
		expectReason(ctx, condition.Synced, ours)

		// A second operator, of another owner, with objects of its own in another namespace.
		elsewhere := newNamespace(ctx, "elsewhere")
		b.connection(ctx, elsewhere, "there")
		serving{owner: "second-operator", namespace: elsewhere}.start()
		theirs := newPolicy(elsewhere, "theirs", "ours", "5")
		theirs.Spec.BrokerRef = v1alpha1.BrokerReference{ConnectionSecret: &v1alpha1.LocalReference{Name: "there"}}
		create(ctx, theirs)
		expectReason(ctx, condition.ResourceConflict, theirs)
		Expect(b.has(object.KindPolicy, "ours")).To(HavePrefix("turnstone-operator " + b.namespace + "/ours"))
		remove(ctx, theirs)
		expectGone(ctx, theirs)
		Expect(b.has(object.KindPolicy, "ours")).To(HavePrefix("turnstone-operator " + b.namespace + "/ours"))
	})
})

// refusals lets writes of the operator fail that are chosen by the subresource and the object.
type refusals struct {
	mu     sync.Mutex
	refuse func(sub string, o client.Object) bool
}

func (f *refusals) of(refuse func(sub string, o client.Object) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

func (f *refusals) answer(sub string, o client.Object) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil && f.refuse(sub, o) {
		return errInjected
	}
	return nil
}

func (f *refusals) between(c client.WithWatch) client.Client {
	return interceptor.NewClient(c, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := f.answer("", o); err != nil {
				return err
			}
			return c.Patch(ctx, o, p, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := f.answer(sub, o); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	})
}

var _ = Describe("What an object had, and another one is to have,", func() {
	var (
		b      *broker
		guest  string
		has    *v1alpha1.Policy // until its namespace is not allowed any more
		heir   *v1alpha1.Policy
		writes *refusals
	)
	BeforeEach(func(ctx SpecContext) {
		b, guest, writes = newBroker(ctx), newNamespace(ctx, "guest"), &refusals{}
		startOperator(writes.between)
		mb := &v1alpha1.MessageBroker{ObjectMeta: in(b.namespace, b.name)}
		change(ctx, mb, func(mb *v1alpha1.MessageBroker) {
			mb.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Names: []string{guest}}
		})
		has, heir = newPolicy(guest, "has", "common", "5"), newPolicy(b.namespace, "heir", "common", "5")
		has.Spec.BrokerRef.Namespace = b.namespace
		create(ctx, has)
		expectReason(ctx, condition.Synced, has)
		create(ctx, heir)
		expectReason(ctx, condition.ResourceConflict, heir)
	})
	// handOver takes the namespace of the one away, so that the other is to have it.
	handOver := func(ctx context.Context) {
		GinkgoHelper()
		mb := &v1alpha1.MessageBroker{ObjectMeta: in(b.namespace, b.name)}
		change(ctx, mb, func(mb *v1alpha1.MessageBroker) { mb.Spec.AllowedNamespaces = nil })
	}
	is := func() string { return b.has(object.KindPolicy, "common") }
	held := func(ctx context.Context) func() []string {
		return func() []string {
			p := &v1alpha1.Policy{}
			Expect(api.Get(ctx, client.ObjectKeyFromObject(heir), p)).To(Succeed())
			return p.Finalizers
		}
	}

	It("goes with the one that had it when the other cannot be held and goes", func(ctx SpecContext) {
		failed := make(chan struct{}, 1)
		writes.of(func(sub string, o client.Object) bool {
			refused := sub == "" && o.GetName() == heir.Name
			if refused {
				select {
				case failed <- struct{}{}:
				default:
				}
			}
			return refused
		})
		handOver(ctx)
		Eventually(failed, patience).Should(Receive())
		remove(ctx, has)
		Consistently(gone(ctx, has), "500ms").Should(BeFalse(), "nobody else holds what the broker has")
		Expect(is()).To(ContainSubstring(guest + "/has"))
		remove(ctx, heir)
		expectGone(ctx, heir, has)
		Expect(is()).To(Equal("nothing"))
	})

	It("goes with the other when the broker did not answer in between", func(ctx SpecContext) {
		b.breaks(true)
		handOver(ctx)
		Eventually(held(ctx), patience).ShouldNot(BeEmpty())
		remove(ctx, has)
		expectGone(ctx, has)
		Expect(is()).To(ContainSubstring(guest+"/has"), "the broker does not know yet")
		remove(ctx, heir)
		b.breaks(false)
		expectGone(ctx, heir)
		Expect(is()).To(Equal("nothing"))
	})

	It("goes with the other when that could not be told", func(ctx SpecContext) {
		writes.of(func(sub string, o client.Object) bool { return sub == "status" && o.GetName() == heir.Name })
		handOver(ctx)
		Eventually(is, patience).Should(ContainSubstring(b.namespace + "/heir"))
		remove(ctx, has)
		expectGone(ctx, has)
		remove(ctx, heir)
		expectGone(ctx, heir)
		Expect(is()).To(Equal("nothing"))
	})

	It("goes with the other while the one that had it cannot be let go", func(ctx SpecContext) {
		writes.of(func(sub string, o client.Object) bool { return sub == "" && o.GetName() == has.Name })
		handOver(ctx)
		expectReason(ctx, condition.Synced, heir)
		remove(ctx, has)
		remove(ctx, heir)
		expectGone(ctx, heir)
		Expect(is()).To(Equal("nothing"))
		Expect(gone(ctx, has)()).To(BeFalse())
		writes.of(nil)
		expectGone(ctx, has)
	})

	It("stays with the other however the one that had it goes", func(ctx SpecContext) {
		handOver(ctx)
		expectReason(ctx, condition.Synced, heir)
		remove(ctx, has)
		expectGone(ctx, has)
		Expect(is()).To(ContainSubstring(b.namespace + "/heir"))
	})
})

var _ = Describe("What the broker has for an object that is no more", func() {
	// known is a policy that the broker knows by another object: it changed hands, and calls failed since then.
	known := func(ctx context.Context, b *broker, ref string) *v1alpha1.Policy {
		GinkgoHelper()
		p := newPolicy(b.namespace, "left", "", "5")
		p.Spec.DriftPolicy = v1alpha1.DriftIgnore
		create(ctx, p)
		expectReason(ctx, condition.Synced, p)
		o, err := object.New(object.KindPolicy, "/", "left", object.PolicySpec{Pattern: "^q", Definition: object.Arguments{"max-length": 5}})
		Expect(err).NotTo(HaveOccurred())
		o.Ref = ref
		results, err := b.hub.Apply(ctx, topology.DefaultOwner, []object.Change{{Object: o}}, hub.ApplyOptions{})
		Expect(err).NotTo(HaveOccurred())
		Expect(results[0].Outcome).To(Equal(object.Updated))
		return p
	}

	It("goes with the last one that stands for it", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		p := known(ctx, b, b.namespace+"/ghost")
		remove(ctx, p)
		expectGone(ctx, p)
		Expect(b.has(object.KindPolicy, "left")).To(Equal("nothing"))
	})

	It("stays when an operator of other namespaces may know it", func(ctx SpecContext) {
		b := newBroker(ctx)
		serving{namespace: b.namespace}.start()
		p := known(ctx, b, "elsewhere/ghost")
		remove(ctx, p)
		expectGone(ctx, p)
		Expect(b.has(object.KindPolicy, "left")).To(HavePrefix(topology.DefaultOwner + " elsewhere/ghost"))
	})

	It("stays when the object is there, and lives elsewhere", func(ctx SpecContext) {
		b, other := newBroker(ctx), newBroker(ctx)
		startOperator(nil)
		there := newPolicy(other.namespace, "left", "", "5")
		create(ctx, there)
		expectReason(ctx, condition.Synced, there)
		p := known(ctx, b, other.namespace+"/left")
		remove(ctx, p)
		expectGone(ctx, p)
		Expect(b.has(object.KindPolicy, "left")).To(HavePrefix(topology.DefaultOwner + " " + other.namespace + "/left"))
	})
})

var _ = Describe("Objects of other namespaces", func() {
	It("live in a broker that allows them, by name or by label", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(nil)
		guest := newNamespace(ctx, "red")
		ref := v1alpha1.BrokerReference{Name: "broker", Namespace: b.namespace}
		q := &v1alpha1.Queue{ObjectMeta: in(guest, "q"), Spec: v1alpha1.QueueSpec{BrokerRef: ref, Name: "common"}}
		user := &v1alpha1.User{ObjectMeta: in(guest, "app"), Spec: v1alpha1.UserSpec{BrokerRef: ref}}
		permission := &v1alpha1.Permission{ObjectMeta: in(guest, "app"), Spec: v1alpha1.PermissionSpec{BrokerRef: ref, UserRef: &v1alpha1.LocalReference{Name: "app"}, Read: ".*"}}
		create(ctx, q, user, permission)
		expectReason(ctx, condition.NamespaceNotAllowed, q, user, permission)
		Expect(sentence(ctx, q)).To(ContainSubstring("its spec.allowedNamespaces has to name or select it"))
		Expect(b.objects(object.KindQueue)).To(BeEmpty())

		mb := &v1alpha1.MessageBroker{ObjectMeta: in(b.namespace, b.name)}
		allow := func(a *v1alpha1.AllowedNamespaces) {
			change(ctx, mb, func(mb *v1alpha1.MessageBroker) { mb.Spec.AllowedNamespaces = a })
		}
		allow(&v1alpha1.AllowedNamespaces{Names: []string{guest}})
		expectReason(ctx, condition.Synced, q, user, permission)
		secret := &corev1.Secret{}
		Expect(api.Get(ctx, client.ObjectKey{Namespace: guest, Name: "app-user-credentials"}, secret)).To(Succeed())
		Expect(string(secret.Data["host"])).To(Equal("broker." + b.namespace + ".svc"))

		// Of two namespaces for one thing, the older has it.
		younger := &v1alpha1.Queue{ObjectMeta: in(b.namespace, "younger"), Spec: v1alpha1.QueueSpec{BrokerRef: toBroker, Name: "common"}}
		create(ctx, younger)
		expectReason(ctx, condition.ResourceConflict, younger)
		Expect(sentence(ctx, younger)).To(HavePrefix("Queue " + guest + "/q stands for the same"))

		// By label, whose change is noticed.
		allow(&v1alpha1.AllowedNamespaces{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "blue"}}})
		expectReason(ctx, condition.NamespaceNotAllowed, q)
		Expect(sentence(ctx, q)).To(ContainSubstring("selector (team=blue)"))
		expectReason(ctx, condition.Synced, younger)
		ns := &corev1.Namespace{}
		ns.Name = guest
		remove(ctx, younger)
		expectGone(ctx, younger)
		change(ctx, ns, func(n *corev1.Namespace) { n.Labels["team"] = "blue" })
		expectReason(ctx, condition.Synced, q, user, permission)
		change(ctx, ns, func(n *corev1.Namespace) { n.Labels["team"] = "red" })
		expectReason(ctx, condition.NamespaceNotAllowed, q, user, permission)

		// What is not allowed any more may take away its own, and nothing else.
		create(ctx, &v1alpha1.Queue{ObjectMeta: in(b.namespace, "taken"), Spec: v1alpha1.QueueSpec{BrokerRef: toBroker, Name: "common"}})
		Eventually(func() string { return b.has(object.KindQueue, "common") }, patience).Should(ContainSubstring(b.namespace + "/taken"))
		remove(ctx, q, permission, user)
		expectGone(ctx, q, permission, user)
		Expect(b.has(object.KindQueue, "common")).To(ContainSubstring(b.namespace + "/taken"))
		Expect(b.has(object.KindUser, "app")).To(Equal("nothing"))
	})
})
