package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// brokers measures many brokers at once, first all of them well, then with one that takes connections and says nothing.
func brokers(ctx context.Context, b *bench, o options) error {
	op, err := b.start()
	if err != nil {
		return err
	}
	defer op.end()
	names := make([]string, o.brokers)
	for i := range names {
		names[i] = fmt.Sprintf("bench-%02d", i)
		if err := b.namespace(ctx, names[i]); err != nil {
			return err
		}
		if err := b.declare(ctx, names[i]); err != nil {
			return err
		}
	}
	for _, n := range names[1:] {
		if _, err := b.serve(ctx, n); err != nil {
			return err
		}
	}
	lost := names[0]
	if _, err := b.serve(ctx, lost); err != nil {
		return err
	}
	well, err := b.round(ctx, names, "well", len(names))
	if err != nil {
		return err
	}
	b.proxy.silence(host(lost))
	b.brokers[len(b.brokers)-1].end() // what is on its way breaks, new connections hang
	ill, err := b.round(ctx, names, "ill", len(names)-1)
	if err != nil {
		return err
	}
	b.add("not delayed", seconds(ill), "%d brokers, 10 Queues created in each, one broker does not answer: the others' all Ready (%s when it does)", o.brokers, seconds(well))
	return b.quiet(ctx, op)
}

// round creates ten queues in each namespace and waits for those of so many brokers.
func (b *bench) round(ctx context.Context, names []string, prefix string, answer int) (time.Duration, error) {
	const each = 10
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := newEyes()
	if err := watched.watch(watching, b.config, "queues"); err != nil {
		return 0, err
	}
	const settle = 2 * time.Second
	time.Sleep(settle) // the watch tells of those that there are
	watched.mu.Lock()
	there := len(watched.ready)
	watched.mu.Unlock()
	var all []client.Object
	for i := range each {
		for _, n := range names {
			all = append(all, newQueue(n, fmt.Sprintf("%s-%d", prefix, i)))
		}
	}
	begin := time.Now()
	if err := b.createAll(ctx, all); err != nil {
		return 0, err
	}
	if err := watched.wait(ctx, there+answer*each); err != nil {
		return 0, err
	}
	return time.Since(begin), nil
}

// quiet looks what the operator does about a broker that does not answer, once everybody was told.
func (b *bench) quiet(ctx context.Context, op *operator) error {
	const settle = 30 * time.Second
	pause := func() error {
		select {
		case <-time.After(settle):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := pause(); err != nil {
		return err
	}
	before, err := op.calls()
	if err != nil {
		return err
	}
	if err := pause(); err != nil {
		return err
	}
	after, err := op.calls()
	if err != nil {
		return err
	}
	b.add("0", fmt.Sprint(after["PATCH"]+after["POST"]-before["PATCH"]-before["POST"]), "writes in half a minute because of the broker that still does not answer")
	return nil
}
