package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// place names an object of the bench.
func place(o client.Object, namespace, name string) {
	o.SetNamespace(namespace)
	o.SetName(name)
}

var toBroker = v1alpha1.BrokerReference{Name: "broker"}

func newQueue(namespace, name string) *v1alpha1.Queue {
	q := &v1alpha1.Queue{Spec: v1alpha1.QueueSpec{BrokerRef: toBroker}}
	place(q, namespace, name)
	return q
}

func newExchange(namespace, name string) *v1alpha1.Exchange {
	x := &v1alpha1.Exchange{Spec: v1alpha1.ExchangeSpec{BrokerRef: toBroker, Type: "topic"}}
	place(x, namespace, name)
	return x
}

func newBinding(namespace, name, source, destination, key string) *v1alpha1.Binding {
	b := &v1alpha1.Binding{Spec: v1alpha1.BindingSpec{BrokerRef: toBroker, Source: source, Destination: destination, RoutingKey: key}}
	place(b, namespace, name)
	return b
}

// topology is many objects of one broker, as a directory of files has them: by kind.
func topology(o options, namespace string) (all []client.Object) {
	for i := range o.queues {
		all = append(all, newQueue(namespace, fmt.Sprintf("queue-%05d", i)))
	}
	for i := range o.exchanges {
		all = append(all, newExchange(namespace, fmt.Sprintf("exchange-%04d", i)))
	}
	for i := range o.bindings {
		all = append(all, newBinding(namespace, fmt.Sprintf("binding-%05d", i), fmt.Sprintf("exchange-%04d", i%o.exchanges),
			fmt.Sprintf("queue-%05d", i%o.queues), fmt.Sprintf("plant.%d.#", i)))
	}
	return all
}

// createAll creates objects, some at a time.
func (b *bench) createAll(ctx context.Context, all []client.Object) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, o := range all {
		g.Go(func() error { return b.api.Create(ctx, o) }) // ends with its call
	}
	return g.Wait()
}

// create measures how long many objects take to be Ready, and then drift.
func create(ctx context.Context, b *bench, o options) error {
	const ns = "bench"
	p, op, err := b.one(ctx, ns)
	if err != nil {
		return err
	}
	defer op.end()
	watched := newEyes()
	if err := watched.watch(ctx, b.config, "queues", "exchanges", "bindings"); err != nil {
		return err
	}
	before, err := op.calls()
	if err != nil {
		return err
	}
	b.proxy.reset()
	all := topology(o, ns)
	cpu, begin := op.cpu(), time.Now()
	if err := b.createAll(ctx, all); err != nil {
		return err
	}
	created := time.Since(begin)
	if err := watched.wait(ctx, len(all)); err != nil {
		calls, which := op.calls()
		return fmt.Errorf("%w; the operator called Kubernetes %v %v", err, calls, which)
	}
	first, last, writes := watched.span()
	calls, which := b.proxy.counts()
	after, err := op.calls()
	if err != nil {
		return err
	}
	cpu = op.cpu() - cpu
	_, peak := op.memory()
	made := fmt.Sprintf("%d Queues, %d Exchanges and %d Bindings created at once", o.queues, o.exchanges, o.bindings)
	b.add("120 s", seconds(last.Sub(begin)), "%s: all Ready (creating them took %s of it)", made, seconds(created))
	b.add("2 s", seconds(first.Sub(begin)), "the first of them Ready")
	b.add("1", fmt.Sprint(writes), "writes of a status at most")
	b.add("400", fmt.Sprint(calls), "calls to the broker (%s)", which)
	operator := 0
	for m, n := range after {
		operator += n - before[m]
	}
	b.add("3", fmt.Sprintf("%.2f", 1+float64(operator)/float64(len(all))), "calls of the Kubernetes API per object, that which creates it included")
	b.add("", fmt.Sprintf("%.1f s", cpu), "CPU of the operator for them")
	b.add("", fmt.Sprintf("%.0f MB", peak), "memory of the operator at most")
	return drift(ctx, b, p, ns, o)
}

// one starts the operator and one broker.
func (b *bench) one(ctx context.Context, namespace string) (*broker, *operator, error) {
	if err := b.namespace(ctx, namespace); err != nil {
		return nil, nil, err
	}
	op, err := b.start()
	if err != nil {
		return nil, nil, err
	}
	if err = b.declare(ctx, namespace); err != nil {
		op.end()
		return nil, nil, err
	}
	p, err := b.serve(ctx, namespace)
	if err != nil {
		op.end()
		return nil, nil, err
	}
	return p, op, nil
}

// drift deletes queues behind the operator's back, with their bindings, and looks when each is back.
func drift(ctx context.Context, b *bench, p *broker, ns string, o options) error {
	digests, err := p.client.Digest(ctx, "turnstone-operator")
	if err != nil {
		return err
	}
	want := digests.Kinds
	var took []time.Duration
	const times = 50
	for i := range times {
		key := object.Key{Kind: object.KindQueue, VirtualHost: "/", Name: fmt.Sprintf("queue-%05d", i*37%o.queues)}
		begin := time.Now()
		gone := admin.ApplyRequest{Owner: "*", Changes: []object.Change{{Object: object.Object{Key: key}, Delete: object.DeleteAlways}}}
		if r, err := p.client.Apply(ctx, gone); err != nil || r.Results[0].Outcome != object.Deleted {
			return fmt.Errorf("delete %s: %+v %v", key, r.Results, err)
		}
		for {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			now, err := p.client.Digest(ctx, "turnstone-operator")
			if err != nil {
				return err
			}
			if now.Kinds[object.KindQueue] == want[object.KindQueue] && now.Kinds[object.KindBinding] == want[object.KindBinding] {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.add("1 s", seconds(took[times/2]), "a queue deleted in the broker is back with its bindings, median of %d (slowest %s)", times, seconds(took[times-1]))
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
