package topology

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// mostFound is how many objects of a broker are kept to say what differs.
const mostFound = 4096

// bucketsAtOnce is how many buckets of a kind are listed in one call: a list of everything would not be small.
const bucketsAtOnce = 32

// verify compares what the broker has with what is known of it: one call when that is right.
func (r *Reconciler) verify(ctx context.Context, s *scope) error {
	m := s.realm
	if r.index.verified(m) && time.Now().Before(m.verifyAt) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	digests, err := s.admin.Digest(ctx, s.owner)
	if err != nil {
		return err
	}
	s.revision = digests.Revision
	r.index.begin(m, digests.Incarnation)
	s.incarnation = digests.Incarnation
	for i, d := range r.index.differing(m, digests) {
		if !d {
			continue
		}
		if err := r.sift(ctx, s, i, digests.Kinds[kinds[i].name]); err != nil {
			return err
		}
	}
	m.verifyAt = time.Now().Add(r.options.Refresh)
	r.index.mu.Lock()
	defer r.index.mu.Unlock()
	m.verified = true
	// No digest knows of passwords, nor of their bindings.
	m.touchAll(r.index, func(u *record) bool { return int(u.id.kind) == userKind && !u.taken })
	return nil
}

func (x *index) verified(m *realm) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return m.verified
}

// begin makes a broker's data known. What is known of other data is forgotten: then the broker has what the objects say that
// it was given, and nothing else, until it is seen to have something different.
func (x *index) begin(m *realm, incarnation string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if m.incarnation == incarnation {
		return
	}
	m.incarnation, m.verified = incarnation, false
	clear(m.strays)
	clear(m.found)
	clear(m.total)
	for r := range x.records.all {
		if r.realm != m {
			continue
		}
		r.have, r.at = object.Sum{}, 0
		given := r.traits.Value().incarnation
		if m.byKey[r.key] == r && r.next == nil && r.settled && (given == incarnation || given == "") {
			m.learn(int(r.id.kind), r.key, r.wanted, 0)
		} else {
			m.touch(r)
		}
	}
}

// differing says of which kinds the broker has something else than is known.
func (x *index) differing(m *realm, d admin.Digests) []bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make([]bool, len(kinds))
	for i, t := range m.total {
		out[i] = d.Kinds[kinds[i].name] != admin.Digest{Count: t.count, Digest: t.sum.String()}
	}
	return out
}

// sift finds what a broker has of a kind, without listing what is known already.
func (r *Reconciler) sift(ctx context.Context, s *scope, kind int, d admin.Digest) error {
	if d.Count == 0 {
		r.index.listed(s.realm, kind, nil, admin.ObjectList{Revision: s.revision})
		return nil
	}
	digests, err := s.admin.BucketDigests(ctx, s.owner, kinds[kind].name)
	if err != nil {
		return err
	}
	if len(digests.Buckets) != object.Buckets {
		return fmt.Errorf("broker answered %d buckets of %s objects, there are %d: it is of another version", len(digests.Buckets), kinds[kind].name, object.Buckets)
	}
	buckets := r.index.buckets(s.realm, kind)
	var differing []int
	for i, t := range buckets {
		if digests.Buckets[i] != (admin.Digest{Count: t.count, Digest: t.sum.String()}) {
			differing = append(differing, i)
		}
	}
	for len(differing) > 0 {
		n := min(len(differing), bucketsAtOnce)
		list, err := s.admin.ObjectsIn(ctx, s.owner, kinds[kind].name, differing[:n])
		if err != nil {
			return err
		}
		if list.Incarnation != s.incarnation {
			return fmt.Errorf("broker began anew while it was looked at")
		}
		r.index.listed(s.realm, kind, differing[:n], list)
		differing = differing[n:]
	}
	return nil
}

// buckets are the sums of what a broker is known to have of a kind.
func (x *index) buckets(m *realm, kind int) []tally {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make([]tally, object.Buckets)
	add := func(key, have object.Sum) {
		if have != (object.Sum{}) {
			t := &out[key.Bucket()]
			t.count, t.sum = t.count+1, t.sum.Add(have)
		}
	}
	for key, r := range m.byKey {
		if int(r.id.kind) == kind {
			add(key, r.have)
		}
	}
	for key, s := range m.strays {
		if int(s.kind) == kind {
			add(key, s.have)
		}
	}
	return out
}

// listed takes a list of the objects in some buckets of a kind; no buckets are all.
func (x *index) listed(m *realm, kind int, buckets []int, list admin.ObjectList) {
	in := make([]bool, object.Buckets)
	for i := range in {
		in[i] = buckets == nil
	}
	for _, b := range buckets {
		in[b] = true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	there := make(map[object.Sum]bool, len(list.Objects))
	for _, o := range list.Objects {
		sum, err := o.Sum()
		if err != nil {
			continue // of a newer broker: it stays different
		}
		key := o.Key.Sum()
		there[key] = true
		x.saw(m, kind, key, sum, list.Revision, &o)
	}
	var missing []object.Sum
	for key, r := range m.byKey {
		if int(r.id.kind) == kind && in[key.Bucket()] && !there[key] {
			missing = append(missing, key)
		}
	}
	for key, s := range m.strays {
		if int(s.kind) == kind && in[key.Bucket()] && !there[key] {
			missing = append(missing, key)
		}
	}
	for _, key := range missing {
		x.saw(m, kind, key, object.Sum{}, list.Revision, nil)
	}
}

// saw takes what a broker has under a key, and makes those dirty who want something else. The object is nil when there is
// none; have is zero then, and when it is not ours.
func (x *index) saw(m *realm, kind int, key, have object.Sum, at uint64, o *object.Object) {
	first := m.byKey[key]
	if first != nil && at < first.at {
		return // older than what is known
	}
	known := first != nil && first.have == have
	m.learn(kind, key, have, at)
	if first == nil || have == first.wanted && (known || first.taken) {
		return // nothing new, or what the look that is on its way has just applied
	}
	delete(m.found, key)
	if have != first.wanted && o != nil && len(m.found) < mostFound {
		kept := *o
		kept.Spec = append([]byte(nil), o.Spec...)
		m.found[key] = kept
	}
	asWished := have == first.wanted && first.next == nil && first.settled
	ignored := first.next == nil && first.settled && first.traits.Value().drift == v1alpha1.DriftIgnore
	if !asWished && !ignored {
		m.touch(first)
	}
}

// observe takes a change of a broker's metadata.
func (x *index) observe(m *realm, e admin.Event) {
	o := e.Object
	kind := kindIndex(o.Kind)
	if kind < 0 {
		return
	}
	key := o.Key.Sum()
	var have object.Sum
	if !e.Deleted && o.Owner == x.owner {
		var err error
		if have, err = o.Sum(); err != nil {
			return
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !e.Deleted {
		m.appeared(key)
	} else {
		o = nil
	}
	if first := m.byKey[key]; first != nil && kind == userKind && !first.taken && e.Revision > first.at && have == first.have && have == first.wanted {
		first.resend = true // only its password can have changed
		m.touch(first)
	}
	x.saw(m, kind, key, have, e.Revision, o)
	for _, d := range m.dirty {
		if len(d) > 0 {
			x.wakeNow(m)
			return
		}
	}
}

// result takes what became of a change that was applied.
func (x *index) result(m *realm, e *entry, result object.Result, revision uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	at := result.Revision
	have := e.sum
	switch result.Outcome {
	case object.Created, object.Updated:
		m.appeared(e.wanted.Key.Sum())
	case object.Unchanged:
		if e.deleting {
			have, at = object.Sum{}, revision
		}
	case object.Deleted:
		have = object.Sum{}
	default:
		return
	}
	m.learn(int(e.record.id.kind), e.wanted.Key.Sum(), have, at)
	delete(m.found, e.wanted.Key.Sum())
}

// kindIndex is where a kind is in kinds; -1 if it is of no object that lives in Kubernetes.
func kindIndex(k object.Kind) int {
	for i := range kinds {
		if kinds[i].name == k {
			return i
		}
	}
	return -1
}

// userKind is where users are in kinds.
var userKind = kindIndex(object.KindUser)

// needs are the keys of what the broker must have before it takes an object.
func needs(o object.Object) []object.Sum {
	var out []object.Sum
	add := func(k object.Kind, vhost, name string) {
		out = append(out, object.Key{Kind: k, VirtualHost: vhost, Name: name}.Sum())
	}
	if o.VirtualHost != "" {
		add(object.KindVirtualHost, "", o.VirtualHost)
	}
	switch o.Kind {
	case object.KindPermission:
		add(object.KindUser, "", o.Name)
	case object.KindBinding:
		b, err := object.Decode[object.BindingSpec](o)
		if err != nil {
			return out
		}
		add(object.KindExchange, o.VirtualHost, b.Source)
		if b.DestinationType == object.DestinationExchange {
			add(object.KindExchange, o.VirtualHost, b.Destination)
		} else {
			add(object.KindQueue, o.VirtualHost, b.Destination)
		}
	}
	return out
}

// namesIn shortens a list of differences to what a person reads.
func namesIn(parts []string) string {
	const most = 8
	if len(parts) > most {
		parts = append(parts[:most:most], fmt.Sprintf("and %d more", len(parts)-most))
	}
	return strings.Join(parts, "; ")
}
