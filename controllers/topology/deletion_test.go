package topology_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/connection"
)

var (
	seeds     = flag.Uint64("deletion.seeds", 40, "how many random orders of deletion are tried; hack/test tries 200")
	firstSeed = flag.Uint64("deletion.seed", 1, "the first of them")
)

var _ = Describe("Deletion in random order", func() {
	It("ends, takes what it may, and leaves what it must", func(ctx SpecContext) {
		startOperator(nil)
		const atOnce = 16
		next := make(chan uint64)
		var workers sync.WaitGroup
		for range atOnce {
			workers.Go(func() { // ends when next is closed
				defer GinkgoRecover()
				for seed := range next {
					newDemolition(ctx, seed).run()
				}
			})
		}
		for seed := *firstSeed; seed < *firstSeed+*seeds && !CurrentSpecReport().Failed(); seed++ {
			next <- seed
		}
		close(next)
		workers.Wait()
	}, SpecTimeout(10*time.Minute))
})

// demolition is one random order: a small topology, which is deleted while this and that happens to its broker.
type demolition struct {
	ctx     context.Context
	g       Gomega
	seed    uint64
	rand    *rand.Rand
	broker  *broker
	objects []v1alpha1.Topology
}

func newDemolition(ctx context.Context, seed uint64) *demolition {
	d := &demolition{ctx: ctx, seed: seed, rand: rand.New(rand.NewPCG(seed, 1))}
	d.g = NewGomega(func(text string, _ ...int) {
		Fail(fmt.Sprintf("seed %d (-args -deletion.seed %d -deletion.seeds 1): %s", seed, seed, text))
	})
	return d
}

func (d *demolition) run() {
	d.broker = makeBroker(d.ctx)
	defer d.broker.stop()
	d.build()
	d.fill()
	brokerGoes := d.rand.IntN(4) == 0
	d.demolish(brokerGoes)
	d.end(brokerGoes)
	if !brokerGoes {
		d.look()
	}
}

// build makes the samples and more, each with some deletion policy that its kind has.
func (d *demolition) build() {
	d.objects = samples(d.broker.namespace)
	ns := d.broker.namespace
	for _, name := range []string{"full-1", "full-2"} {
		d.objects = append(d.objects, &v1alpha1.Queue{ObjectMeta: in(ns, name), Spec: v1alpha1.QueueSpec{BrokerRef: toBroker}})
	}
	for _, name := range []string{"one", "two"} {
		p := newPolicy(ns, name, "common", "2")
		p.Spec.Pattern, p.Spec.Management = "^full", shared
		d.objects = append(d.objects, p)
	}
	d.objects = append(d.objects,
		&v1alpha1.Binding{ObjectMeta: in(ns, "full-1"), Spec: v1alpha1.BindingSpec{BrokerRef: toBroker, Source: "amq.topic", Destination: "full-1", RoutingKey: "#"}},
		&v1alpha1.Exchange{ObjectMeta: in(ns, "behind"), Spec: v1alpha1.ExchangeSpec{BrokerRef: toBroker, VHost: "tenant", Type: "fanout"}},
		&v1alpha1.Binding{ObjectMeta: in(ns, "behind"), Spec: v1alpha1.BindingSpec{BrokerRef: toBroker, VHost: "tenant", Source: "events", Destination: "behind", DestinationType: "exchange"}},
	)
	for _, o := range d.objects {
		d.choosePolicy(o)
		d.g.Expect(api.Create(d.ctx, o)).To(Succeed())
	}
	d.g.Eventually(func(g Gomega) {
		for _, o := range d.objects {
			g.Expect(reason(d.ctx, o)(g)).To(Equal("Synced"), "%T %s", o, o.GetName())
		}
	}, time.Minute, 50*time.Millisecond).Should(Succeed())
}

func (d *demolition) choosePolicy(o v1alpha1.Topology) {
	pick := func(to *v1alpha1.DeletionPolicy, more ...v1alpha1.DeletionPolicy) {
		all := append([]v1alpha1.DeletionPolicy{v1alpha1.DeletionDelete, v1alpha1.DeletionDelete, v1alpha1.DeletionRetain}, more...)
		*to = all[d.rand.IntN(len(all))]
	}
	switch o := o.(type) {
	case *v1alpha1.VirtualHost:
		pick(&o.Spec.DeletionPolicy, v1alpha1.DeletionDeleteIfEmpty, v1alpha1.DeletionDeleteIfUnused)
	case *v1alpha1.User:
		pick(&o.Spec.DeletionPolicy, v1alpha1.DeletionDeleteIfUnused)
	case *v1alpha1.Policy:
		pick(&o.Spec.DeletionPolicy, v1alpha1.DeletionDeleteIfUnused)
	case *v1alpha1.Exchange:
		pick(&o.Spec.DeletionPolicy, v1alpha1.DeletionDeleteIfUnused)
	case *v1alpha1.Queue:
		pick(&o.Spec.DeletionPolicy, v1alpha1.DeletionDeleteIfEmpty, v1alpha1.DeletionDeleteIfEmpty, v1alpha1.DeletionDeleteIfUnused)
	case *v1alpha1.Binding:
		pick(&o.Spec.DeletionPolicy)
	}
}

// fill puts more into queues than their policy lets them hold.
func (d *demolition) fill() {
	v, err := d.broker.hub.VirtualHost("/")
	d.g.Expect(err).NotTo(HaveOccurred())
	for range 3 {
		put(d.ctx, d.broker, v, "full-1")
	}
	if d.rand.IntN(2) == 0 {
		put(d.ctx, d.broker, v, "full-2")
	}
}

// demolish deletes everything, and perhaps the MessageBroker and its Secrets somewhere in between, after it may have
// stopped to answer; or it restarts it.
func (d *demolition) demolish(brokerGoes bool) {
	var steps []func()
	for _, o := range d.objects {
		steps = append(steps, func() { d.g.Expect(api.Delete(d.ctx, o)).To(Succeed()) })
	}
	d.rand.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	insert := func(f func()) {
		i := d.rand.IntN(len(steps) + 1)
		steps = append(steps[:i], append([]func(){f}, steps[i:]...)...)
	}
	switch {
	case brokerGoes:
		insert(func() {
			d.g.Expect(api.Delete(d.ctx, &v1alpha1.MessageBroker{ObjectMeta: in(d.broker.namespace, d.broker.name)})).To(Succeed())
		})
		for _, secret := range []string{connection.AdminSecret(d.broker.name), connection.AuthoritySecret(d.broker.name)} {
			insert(func() {
				d.g.Expect(api.Delete(d.ctx, &corev1.Secret{ObjectMeta: in(d.broker.namespace, secret)})).To(Succeed())
			})
		}
		if d.rand.IntN(2) == 0 {
			insert(d.broker.stop)
		}
	case d.rand.IntN(4) == 0:
		insert(func() { d.broker.stop(); d.broker.start() })
	}
	for len(steps) > 0 { // some at a time, so that looks come in between, or not
		n := min(1+d.rand.IntN(5), len(steps))
		for _, step := range steps[:n] {
			step()
		}
		steps = steps[n:]
		if d.rand.IntN(2) == 0 {
			time.Sleep(time.Duration(d.rand.IntN(40)) * time.Millisecond) // is part of the order, and waits for nothing
		}
	}
}

// end waits until all are gone, and does about blocked ones what their condition says.
func (d *demolition) end(brokerGoes bool) {
	start := time.Now()
	d.g.Eventually(func(g Gomega) {
		var left []string
		for _, o := range d.objects {
			fresh := o.DeepCopyObject().(v1alpha1.Topology)
			err := api.Get(d.ctx, client.ObjectKeyFromObject(o), fresh)
			if apierrors.IsNotFound(err) {
				continue
			}
			g.Expect(err).NotTo(HaveOccurred())
			if !brokerGoes && time.Since(start) > 200*time.Millisecond {
				d.unblock(g, fresh)
			}
			left = append(left, fmt.Sprintf("%T %s %s %v", o, o.GetName(), fresh.Deletion(), fresh.Common().Conditions))
		}
		g.Expect(left).To(BeEmpty())
	}, time.Minute, 50*time.Millisecond).Should(Succeed())
}

func (d *demolition) unblock(g Gomega, o v1alpha1.Topology) {
	if reason(d.ctx, o)(g) != "DeletionBlocked" {
		return
	}
	switch o := o.(type) {
	case *v1alpha1.Queue:
		if v, err := d.broker.hub.VirtualHost(o.Spec.VHost); err == nil && d.rand.IntN(2) == 0 {
			if q, err := v.Queue(o.Name, 0); err == nil {
				q.Purge()
				return
			}
		}
		o.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	case *v1alpha1.VirtualHost:
		o.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	case *v1alpha1.Exchange:
		o.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	case *v1alpha1.Policy:
		o.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	}
	err := api.Update(d.ctx, o)
	g.Expect(err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err)).To(BeTrue(), "%v", err)
}

// look compares what is left in the broker with what the objects said.
func (d *demolition) look() {
	for _, o := range d.objects {
		var kind object.Kind
		switch o.(type) {
		case *v1alpha1.Queue:
			kind = object.KindQueue
		case *v1alpha1.User:
			kind = object.KindUser
		default:
			continue // goes with others, or is shared
		}
		has := d.broker.has(kind, o.GetName())
		retained := o.Deletion() == v1alpha1.DeletionRetain
		if q, ok := o.(*v1alpha1.Queue); ok && q.Spec.VHost == "tenant" {
			retained = retained && d.broker.has(object.KindVirtualHost, "tenant") != "nothing"
		}
		if retained {
			d.g.Expect(has).NotTo(Equal("nothing"), "%s %s was to be retained", kind, o.GetName())
		} else {
			d.g.Expect(has).To(Equal("nothing"), "%s %s was to go", kind, o.GetName())
		}
	}
}
