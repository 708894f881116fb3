package topology

import (
	"sync"
	"time"
	"unique"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// index is all objects, by broker, with what each broker is known to have for them, so that a look is about those objects
// alone for which something changed:
//
//   - An object that changed in Kubernetes is dirty until a look has dealt with it.
//   - What a broker has (record.have) is known from the results of applying, from the change stream, and from lists. An
//     object is dirty when that becomes another than what is wanted.
//   - The sum of what a broker has is compared with the broker's own digest (verify.go). When they are equal, all of it is
//     known, whatever is wanted: a difference that a driftPolicy leaves as it is costs nothing.
//
// The state of a key (have, at) is kept by the first of the records that stand for it; two that stand for one thing are
// looked at together.
type index struct {
	gather time.Duration

	mu      sync.Mutex // guards everything below, and all records and realms
	queue   workqueue.TypedRateLimitingInterface[reconcile.Request]
	records map[id]*record
	realms  map[types.NamespacedName]*realm
}

// id names an object in Kubernetes. Namespaces are few: each is one text in memory.
type id struct {
	kind      uint8 // in kinds
	namespace unique.Handle[string]
	name      string
}

// record is one object. It is kept small: there may be hundreds of thousands.
type record struct {
	id
	realm  *realm
	packed string
	key    object.Sum // of what it stands for in the broker; zero when that cannot be said
	wanted object.Sum
	next   *record // stands for the same

	have object.Sum // what the broker has under the key that is ours; zero is nothing
	at   uint64     // the revision of the broker that this is known of

	version     uint64 // resourceVersion
	signature   uint64 // see signatureOf
	incarnation unique.Handle[string]
	vhost       unique.Handle[string]
	epoch       uint8 // of the list that had it last
	drift       v1alpha1.DriftPolicy
	settled     bool // its status says that the broker has this generation
	resend      bool // somebody touched the user in the broker: its password may be another
	told        bool // its status says that there is no broker, or that it does not answer
	taken       bool // a look is dealing with it
}

func newIndex(gather time.Duration) *index {
	return &index{gather: gather, records: make(map[id]*record), realms: make(map[types.NamespacedName]*realm)}
}

// wakes says through which queue looks are asked for, and asks for those that are due.
func (x *index) wakes(q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.queue = q
	for _, m := range x.realms {
		x.wake(m.key)
	}
}

// wake asks for a look at a broker, after changes had time to gather.
func (x *index) wake(key types.NamespacedName) {
	if x.queue != nil {
		x.queue.AddAfter(reconcile.Request{NamespacedName: key}, x.gather)
	}
}

func idOf(kind int, namespace, name string) id {
	return id{uint8(kind), unique.Make(namespace), name}
}

// put takes an object as the API server has it now. The object belongs to the index.
func (x *index) put(kind int, o v1alpha1.Topology, epoch uint8) error {
	k := &kinds[kind]
	w := wishOf(k, o, x.usersOf(o))
	fresh := &record{
		id: idOf(kind, o.GetNamespace(), o.GetName()), version: versionOf(o), signature: signatureOf(o), epoch: epoch,
		drift: o.Managed().DriftPolicy, settled: settled(o), vhost: unique.Make(w.VirtualHost), incarnation: unique.Make(""),
	}
	if w.known {
		fresh.key, fresh.wanted = w.Key.Sum(), w.sum
	}
	if a := o.Common().Applied; a != nil {
		fresh.incarnation = unique.Make(a.Incarnation)
	}
	broker, shown := brokerOf(o), shownBy(o)
	var err error
	if fresh.packed, err = pack(o); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.records[fresh.id]
	if r != nil && r.realm.key != broker {
		x.remove(r)
		r = nil
	}
	if r == nil {
		fresh.realm = x.realm(broker)
		x.add(fresh, shown)
		return nil
	}
	r.epoch = epoch
	if fresh.version > r.version || fresh.version == 0 {
		x.update(r, fresh)
	}
	return nil
}

// settled says whether a status says that the broker has the object as it is.
func settled(o v1alpha1.Topology) bool {
	st := o.Common()
	c := meta.FindStatusCondition(st.Conditions, condition.Ready)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == o.GetGeneration() &&
		meta.FindStatusCondition(st.Conditions, condition.Drifted) == nil &&
		controllerutil.ContainsFinalizer(o, Finalizer) && o.GetDeletionTimestamp().IsZero()
}

// brokerOf names the broker in which an object lives.
func brokerOf(o v1alpha1.Topology) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.BrokerName()}
}

func (x *index) add(r *record, shown figures) {
	x.records[r.id] = r
	m := r.realm
	m.records[r.id.kind]++
	m.arrived = time.Now()
	m.join(r)
	if shown != (figures{}) {
		m.depths[r] = &depth{shown: shown, now: shown}
	}
	if r.id.kind == uint8(userKind) {
		m.appeared(userKey(r.namespace.Value(), r.name))
	}
	// What is settled is looked at only when the broker turns out to have something else. Passwords are no part of that.
	if !r.settled || r.id.kind == uint8(userKind) || m.state != reachable && m.state != unknown || m.verified && m.have(r) != r.wanted {
		m.touch(r)
	}
	x.wake(m.key)
}

// update brings a record to what the API server has now.
func (x *index) update(r, fresh *record) {
	m := r.realm
	changed := r.signature != fresh.signature
	if r.key != fresh.key || r.vhost != fresh.vhost {
		m.part(r)
		r.key, r.vhost, r.wanted = fresh.key, fresh.vhost, fresh.wanted
		m.join(r)
	}
	r.packed, r.wanted, r.version, r.signature = fresh.packed, fresh.wanted, fresh.version, fresh.signature
	r.incarnation, r.drift, r.settled = fresh.incarnation, fresh.drift, fresh.settled
	if changed {
		if r.id.kind == uint8(userKind) {
			m.appeared(userKey(r.namespace.Value(), r.name))
		}
		delete(m.retries, r)
		m.touch(r)
		x.wake(m.key)
	}
}

// wrote takes an object that the operator itself wrote, before the watch brings it; one that the watch brought meanwhile is
// newer.
func (x *index) wrote(r *record, o v1alpha1.Topology) error {
	x.mu.Lock()
	epoch := r.epoch
	x.mu.Unlock()
	return x.put(int(r.id.kind), o.DeepCopyObject().(v1alpha1.Topology), epoch)
}

// drop forgets an object that is gone.
func (x *index) drop(kind int, namespace, name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if r := x.records[idOf(kind, namespace, name)]; r != nil {
		x.remove(r)
	}
}

// sweep forgets the objects that a list did not have.
func (x *index) sweep(kind int, namespace string, epoch uint8) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, r := range x.records {
		if int(i.kind) == kind && (namespace == "" || i.namespace.Value() == namespace) && r.epoch != epoch {
			x.remove(r)
		}
	}
}

func (x *index) remove(r *record) {
	delete(x.records, r.id)
	m := r.realm
	m.records[r.id.kind]--
	m.part(r)
	m.forget(r)
	if m.count() == 0 && m.state == absent {
		delete(x.realms, m.key)
	}
	x.wake(m.key)
}

func (x *index) realm(key types.NamespacedName) *realm {
	m := x.realms[key]
	if m == nil {
		m = newRealm(key)
		x.realms[key] = m
	}
	return m
}

// usersOf finds the user that a permission names by its Kubernetes object.
func (x *index) usersOf(o v1alpha1.Topology) map[string]*v1alpha1.User {
	p, ok := o.(*v1alpha1.Permission)
	if !ok || p.Spec.UserRef == nil {
		return nil
	}
	x.mu.Lock()
	r := x.records[idOf(userKind, p.Namespace, p.Spec.UserRef.Name)]
	x.mu.Unlock()
	if r == nil {
		return nil
	}
	u, err := x.object(r)
	if err != nil {
		return nil // it is looked at, and that says so
	}
	return map[string]*v1alpha1.User{u.GetName(): u.(*v1alpha1.User)}
}

// object unpacks a record.
func (x *index) object(r *record) (v1alpha1.Topology, error) {
	x.mu.Lock()
	still := *r
	x.mu.Unlock()
	return still.unpack()
}

// userKey is what a permission waits for that names a user by its Kubernetes object.
func userKey(namespace, name string) object.Sum {
	return object.Key{Kind: "User by reference", VirtualHost: namespace, Name: name}.Sum()
}
