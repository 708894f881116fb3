package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// restart measures a start of the operator over objects of which none changed: half of them queues, half bindings. An
// operator makes the first of each kind; the others are copies of them, put into etcd and into the broker, since making
// them all through the API is what create measures.
func restart(ctx context.Context, b *bench, o options) error {
	const ns = "bench"
	p, op, err := b.one(ctx, ns)
	if err != nil {
		return err
	}
	watched := newEyes()
	if err := watched.watch(ctx, b.config, "queues", "bindings"); err != nil {
		op.end()
		return err
	}
	first := []client.Object{newQueue(ns, "queue-000000"), newBinding(ns, "binding-000000", "amq.topic", "queue-000000", "plant.000000.#")}
	err = b.createAll(ctx, first)
	if err == nil {
		err = watched.wait(ctx, len(first))
	}
	if err == nil {
		err = op.calm(ctx)
	}
	op.end()
	if err != nil {
		return err
	}
	if err := b.copies(ctx, p, ns, o.objects/2); err != nil {
		return err
	}
	if err := b.settled(ctx, ns, o.objects/2); err != nil {
		return err
	}
	return b.startOver(ctx, p, ns, o)
}

// copies makes n queues and bindings like the first.
func (b *bench) copies(ctx context.Context, p *broker, ns string, n int) error {
	for _, plural := range []string{"queue", "binding"} {
		key := fmt.Sprintf("/registry/messaging.turnstone.dev/%ss/%s/%s-", plural, ns, plural)
		stored, err := b.etcdGet(key + "000000")
		if err != nil {
			return err
		}
		var o struct {
			Metadata struct{ UID string }
		}
		if err := json.Unmarshal(stored, &o); err != nil {
			return fmt.Errorf("what etcd has of a %s: %w", plural, err)
		}
		const batch = 100 // etcd takes 128 in a transaction
		for from := 1; from < n; from += batch {
			puts := make(map[string]string)
			for i := from; i < min(n, from+batch); i++ {
				number := fmt.Sprintf("%06d", i)
				puts[key+number] = strings.NewReplacer("000000", number, o.Metadata.UID, string(uuid.NewUUID())).Replace(string(stored))
			}
			if err := b.etcdPut(puts); err != nil {
				return err
			}
		}
	}
	for from := 1; from < n; from += 5000 {
		r := admin.ApplyRequest{Owner: "turnstone-operator"}
		for i := from; i < min(n, from+5000); i++ {
			name := fmt.Sprintf("queue-%06d", i)
			q, err := object.New(object.KindQueue, "/", name, object.QueueSpec{Durable: true})
			if err != nil {
				return err
			}
			bound := object.BindingSpec{Source: "amq.topic", DestinationType: object.DestinationQueue, Destination: name, RoutingKey: fmt.Sprintf("plant.%06d.#", i)}
			bind, err := object.New(object.KindBinding, "/", bound.Name(), bound)
			if err != nil {
				return err
			}
			q.Ref, bind.Ref = ns+"/"+name, fmt.Sprintf("%s/binding-%06d", ns, i)
			r.Changes = append(r.Changes, object.Change{Object: q}, object.Change{Object: bind})
		}
		done, err := p.client.Apply(ctx, r)
		if err != nil {
			return err
		}
		for _, x := range done.Results {
			if x.Outcome != object.Created {
				return fmt.Errorf("%s: %s %s", x.Key, x.Outcome, x.Message)
			}
		}
	}
	return nil
}

// settled waits until kube-apiserver has read the copies: what is measured is a start of the operator, beside an API server that knows
// its objects.
func (b *bench) settled(ctx context.Context, ns string, n int) error {
	for _, o := range []client.Object{newQueue(ns, fmt.Sprintf("queue-%06d", n-1)), newBinding(ns, fmt.Sprintf("binding-%06d", n-1), "", "", "")} {
		for {
			err := b.api.Get(ctx, client.ObjectKeyFromObject(o), o, &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}})
			if err == nil {
				break
			}
			if !apierrors.IsNotFound(err) {
				return err
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// startOver starts the operator and looks when it is done, and what it costs.
func (b *bench) startOver(ctx context.Context, p *broker, ns string, o options) error {
	b.proxy.reset()
	begin := time.Now()
	op, err := b.start()
	if err != nil {
		return err
	}
	defer op.end()
	// It follows the broker's changes from when it has compared everything.
	at, err := b.proxy.since(ctx, "GET /v1/watch")
	if err != nil {
		return err
	}
	cpu := op.cpu()
	b.add("60 s", seconds(at.Sub(begin)), "restart over %d objects of one broker, half Queues, half Bindings: consistent (%.1f s of CPU)", o.objects, cpu)

	q := newQueue(ns, "sentinel")
	begin = time.Now()
	if err := b.api.Create(ctx, q); err != nil {
		return err
	}
	for key := client.ObjectKeyFromObject(q); len(q.Status.Conditions) == 0; {
		if err := b.api.Get(ctx, key, q); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.add("1 s", seconds(time.Since(begin)), "one object created then is Ready")
	if err := b.changed(ctx, p, ns); err != nil {
		return err
	}
	const settle = 45 * time.Second // the digests are compared and the queues read once more
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	calls, err := op.calls()
	if err != nil {
		return err
	}
	// The queue and the policy cost a finalizer and a status each, the change of the policy another status.
	const ours = 5
	b.add("0", fmt.Sprint(calls["PATCH"]+calls["POST"]+calls["PUT"]-ours), "writes of the operator because of the restart")
	_, which := b.proxy.counts()
	now, peak := op.memory()
	b.add("100 MB", fmt.Sprintf("%.0f MB", peak), "memory of the operator over them at most (%.0f MB in the end, %.0f MB of it heap; calls to the broker: %s)", now, op.heap(), which)
	return nil
}

// changed changes an object and looks when the broker has it so.
func (b *bench) changed(ctx context.Context, p *broker, ns string) error {
	limit := int64(10)
	tp := &v1alpha1.TopicPolicy{Spec: v1alpha1.TopicPolicySpec{BrokerRef: toBroker, Filter: "plant/#", MaxPayloadBytes: &limit}}
	place(tp, ns, "policy")
	if err := b.api.Create(ctx, tp); err != nil {
		return err
	}
	is := func(want int64) (time.Duration, error) {
		begin := time.Now()
		for ctx.Err() == nil {
			list, err := p.client.Objects(ctx, "turnstone-operator", object.KindTopicPolicy)
			if err != nil {
				return 0, err
			}
			for _, o := range list.Objects {
				spec, err := object.Decode[object.TopicPolicySpec](o)
				if err == nil && spec.MaxPayloadBytes == want {
					return time.Since(begin), nil
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
		return 0, ctx.Err()
	}
	if _, err := is(limit); err != nil {
		return err
	}
	if err := b.api.Get(ctx, client.ObjectKeyFromObject(tp), tp); err != nil {
		return err
	}
	before := tp.DeepCopy()
	limit = 20
	tp.Spec.MaxPayloadBytes = &limit
	if err := b.api.Patch(ctx, tp, client.MergeFrom(before)); err != nil {
		return err
	}
	took, err := is(limit)
	if err != nil {
		return err
	}
	b.add("1 s", seconds(took), "one object changed then is applied")
	return nil
}

// etcd is asked through its gateway of JSON.
func (b *bench) etcd(path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	u := *b.env.ControlPlane.Etcd.URL
	u.Path = path
	resp, err := http.Post(u.String(), "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd %s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func (b *bench) etcdGet(key string) ([]byte, error) {
	var out struct{ KVs []struct{ Value []byte } }
	if err := b.etcd("/v3/kv/range", map[string][]byte{"key": []byte(key)}, &out); err != nil {
		return nil, err
	}
	if len(out.KVs) != 1 {
		return nil, fmt.Errorf("etcd has no %s", key)
	}
	return out.KVs[0].Value, nil
}

func (b *bench) etcdPut(puts map[string]string) error {
	type put struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	type operation struct {
		Put put `json:"requestPut"`
	}
	var all []operation
	for k, v := range puts {
		encode := base64.StdEncoding.EncodeToString
		all = append(all, operation{put{encode([]byte(k)), encode([]byte(v))}})
	}
	var out struct{ Succeeded bool }
	return b.etcd("/v3/kv/txn", map[string]any{"success": all}, &out)
}
