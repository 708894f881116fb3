package topology

import (
	"hash/maphash"
	"maps"
	"sync"
	"time"
	"unique"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/metrics"
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
// looked at together, since which of them has it (claim.go) depends on all of them.
//
// What else an object depends on makes it dirty too: the User that a Permission names, the Secrets of a User, the verdict
// on its namespace, and what it waits for in the broker.
type index struct {
	owner  string // in whose name objects in brokers are owned
	gather time.Duration

	mu      sync.Mutex // guards everything below, and all records and realms
	queue   workqueue.TypedRateLimitingInterface[reconcile.Request]
	records roster
	realms  map[types.NamespacedName]*realm
	// readers are the users who read a Secret, or whose binding it is; reads is the reverse.
	readers map[types.NamespacedName]map[*record]struct{}
	reads   map[*record][]types.NamespacedName
	// standing counts records by how they stand.
	standing map[metrics.Standing]int
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

	version   uint64 // resourceVersion
	signature uint64 // see signatureOf
	traits    unique.Handle[traits]
	epoch     uint8 // of the list that had it last
	settled   bool  // its status says that the broker has this generation
	resend    bool  // somebody touched the user in the broker: its password may be another
	told      bool  // its status says that there is no broker, or that it cannot be reached
	taken     bool  // a look is dealing with it
}

// traits are what many records have in common, which keep it once.
type traits struct {
	vhost       string
	incarnation string // of the broker's data that it was given to
	standing    metrics.Standing
	drift       v1alpha1.DriftPolicy
}

func (r *record) vhost() string { return r.traits.Value().vhost }

// moveTo says that a record lives in another virtual host.
func (r *record) moveTo(vhost string) {
	t := r.traits.Value()
	t.vhost = vhost
	r.traits = unique.Make(t)
}

func newIndex(owner string, gather time.Duration) *index {
	return &index{
		owner: owner, gather: gather, records: newRoster(), realms: make(map[types.NamespacedName]*realm),
		readers: make(map[types.NamespacedName]map[*record]struct{}), reads: make(map[*record][]types.NamespacedName),
		standing: make(map[metrics.Standing]int),
	}
}

// standings answers how many objects stand how.
func (x *index) standings() map[metrics.Standing]int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.standing)
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

// roster finds records by their id. It is a map by a hash of the id, which is half as large as one by the id itself.
type roster struct {
	hash   func(id) uint64
	byHash map[uint64]*record
	// beside are those whose hash another record has.
	beside map[id]*record
}

func newRoster() roster {
	seed := maphash.MakeSeed()
	hash := func(i id) uint64 { return maphash.Comparable(seed, i) }
	return roster{hash: hash, byHash: make(map[uint64]*record), beside: make(map[id]*record)}
}

func (s *roster) get(i id) *record {
	if r := s.byHash[s.hash(i)]; r != nil && r.id == i {
		return r
	}
	return s.beside[i]
}

// put enters a record whose id has none.
func (s *roster) put(r *record) {
	if h := s.hash(r.id); s.byHash[h] == nil {
		s.byHash[h] = r
	} else {
		s.beside[r.id] = r
	}
}

func (s *roster) drop(r *record) {
	if h := s.hash(r.id); s.byHash[h] == r {
		delete(s.byHash, h)
	} else {
		delete(s.beside, r.id)
	}
}

// all visits every record; those that it has visited may be dropped meanwhile.
func (s *roster) all(yield func(*record) bool) {
	for _, r := range s.byHash {
		if !yield(r) {
			return
		}
	}
	for _, r := range s.beside {
		if !yield(r) {
			return
		}
	}
}

func idOf(kind int, namespace, name string) id {
	return id{uint8(kind), unique.Make(namespace), name}
}

// put takes an object as the API server has it now. The object belongs to the index.
func (x *index) put(kind int, o v1alpha1.Topology, epoch uint8) error {
	if x.knows(kind, o, epoch) {
		return nil
	}
	k := &kinds[kind]
	w := wishOf(k, x.owner, o, x.usersOf(o))
	fresh := &record{
		id: idOf(kind, o.GetNamespace(), o.GetName()), version: versionOf(o), signature: signatureOf(o), epoch: epoch,
		settled: settled(o),
	}
	if w.known {
		fresh.key, fresh.wanted = w.Key.Sum(), w.sum
	}
	t := traits{vhost: w.VirtualHost, standing: metrics.StandingOf(string(k.name), o), drift: o.Managed().DriftPolicy}
	if a := o.Common().Applied; a != nil {
		t.incarnation = a.Incarnation
	}
	fresh.traits = unique.Make(t)
	broker, shown, secrets, user := brokerOf(o), shownBy(o), secretsOf(o), userOf(o)
	var err error
	if fresh.packed, err = pack(o); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.records.get(fresh.id)
	if r != nil && r.realm.key != broker {
		x.remove(r)
		r = nil
	}
	if r == nil {
		fresh.realm = x.realm(broker)
		x.add(fresh, shown)
		x.reading(fresh, secrets)
		fresh.realm.refer(fresh, user)
		return nil
	}
	r.epoch = epoch
	if fresh.version > r.version || fresh.version == 0 {
		x.update(r, fresh)
		x.reading(r, secrets)
		r.realm.refer(r, user)
	}
	return nil
}

// knows says whether the index has this version of an object already, or a newer one, as it has of what the operator itself
// wrote when the watch brings it.
func (x *index) knows(kind int, o v1alpha1.Topology, epoch uint8) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	r, version := x.records.get(idOf(kind, o.GetNamespace(), o.GetName())), versionOf(o)
	if r == nil || version == 0 || version > r.version || r.realm.key != brokerOf(o) {
		return false
	}
	r.epoch = epoch
	return true
}

// reading notes which Secrets a record reads.
func (x *index) reading(r *record, names []string) {
	for _, s := range x.reads[r] {
		if delete(x.readers[s], r); len(x.readers[s]) == 0 {
			delete(x.readers, s)
		}
	}
	delete(x.reads, r)
	for _, name := range names {
		s := types.NamespacedName{Namespace: r.namespace.Value(), Name: name}
		if x.readers[s] == nil {
			x.readers[s] = make(map[*record]struct{})
		}
		x.readers[s][r] = struct{}{}
		x.reads[r] = append(x.reads[r], s)
	}
}

// secretChanged makes the users dirty that depend on a Secret, and lets brokers be asked at once that are reached by it: an
// external one, or instance, whose own Secret it is then.
func (x *index) secretChanged(namespace, name, instance string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for r := range x.readers[types.NamespacedName{Namespace: namespace, Name: name}] {
		r.realm.touch(r)
		x.wake(r.realm.key)
	}
	for _, broker := range []string{connection.External(name), instance} {
		m := x.realms[types.NamespacedName{Namespace: namespace, Name: broker}]
		if m == nil {
			continue
		}
		m.urgent = true
		// What bindings say of the broker may have changed: all of its users are looked at, however many.
		m.touchAll(x, func(r *record) bool { return int(r.id.kind) == userKind })
		x.wake(m.key)
	}
}

// settled says whether a status says that the broker has the object as it is.
func settled(o v1alpha1.Topology) bool {
	st := o.Common()
	c := meta.FindStatusCondition(st.Conditions, condition.Ready)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == o.GetGeneration() &&
		meta.FindStatusCondition(st.Conditions, condition.Drifted) == nil &&
		controllerutil.ContainsFinalizer(o, Finalizer) && o.GetDeletionTimestamp().IsZero()
}

func (x *index) add(r *record, shown figures) {
	x.records.put(r)
	m := r.realm
	m.records[r.id.kind]++
	m.namespaces[r.namespace]++
	x.standing[r.traits.Value().standing]++
	m.arrived = time.Now()
	m.join(r)
	if shown != (figures{}) {
		m.depths[r] = &depth{shown: shown, now: shown}
	}
	if r.id.kind == uint8(userKind) {
		m.userChanged(userKey(r.namespace.Value(), r.name))
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
	x.stands(r.traits.Value().standing, -1)
	x.stands(fresh.traits.Value().standing, 1)
	vhost := r.vhost()
	if fresh.key != (object.Sum{}) && (r.key != fresh.key || vhost != fresh.vhost()) {
		m.part(r)
		vhost = fresh.vhost()
		r.moveTo(vhost)
		r.key, r.wanted = fresh.key, fresh.wanted
		m.join(r)
	}
	if fresh.key != (object.Sum{}) { // else it cannot be said now what it stands for, and it does what it did until somebody looks
		r.wanted = fresh.wanted
	}
	r.traits = fresh.traits
	r.moveTo(vhost)
	r.packed, r.version, r.signature = fresh.packed, fresh.version, fresh.signature
	r.settled = fresh.settled
	if changed {
		if r.id.kind == uint8(userKind) {
			m.userChanged(userKey(r.namespace.Value(), r.name))
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
	if r := x.records.get(idOf(kind, namespace, name)); r != nil {
		x.remove(r)
	}
}

// sweep forgets the objects that a list did not have.
func (x *index) sweep(kind int, namespace string, epoch uint8) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for r := range x.records.all {
		if int(r.id.kind) == kind && (namespace == "" || r.namespace.Value() == namespace) && r.epoch != epoch {
			x.remove(r)
		}
	}
}

func (x *index) remove(r *record) {
	x.records.drop(r)
	m := r.realm
	m.records[r.id.kind]--
	if m.namespaces[r.namespace]--; m.namespaces[r.namespace] == 0 {
		delete(m.namespaces, r.namespace)
		delete(m.verdicts, r.namespace.Value())
	}
	x.stands(r.traits.Value().standing, -1)
	x.reading(r, nil)
	m.part(r)
	m.forget(r)
	m.refer(r, object.Sum{})
	if r.id.kind == uint8(userKind) {
		m.userChanged(userKey(r.namespace.Value(), r.name))
	}
	if m.count() == 0 && m.state == absent {
		delete(x.realms, m.key)
	}
	x.wake(m.key)
}

// stands counts a record in or out.
func (x *index) stands(s metrics.Standing, by int) {
	if x.standing[s] += by; x.standing[s] == 0 {
		delete(x.standing, s)
	}
}

func (x *index) realm(key types.NamespacedName) *realm {
	m := x.realms[key]
	if m == nil {
		m = newRealm(key)
		x.realms[key] = m
	}
	return m
}

// userOf is the user that a permission names by its Kubernetes object, as userKey says; zero for none.
func userOf(o v1alpha1.Topology) object.Sum {
	if p, ok := o.(*v1alpha1.Permission); ok && p.Spec.UserRef != nil {
		return userKey(p.Namespace, p.Spec.UserRef.Name)
	}
	return object.Sum{}
}

// usersOf finds the user that a permission names by its Kubernetes object, if it lives in the same broker.
func (x *index) usersOf(o v1alpha1.Topology) map[types.NamespacedName]*v1alpha1.User {
	p, ok := o.(*v1alpha1.Permission)
	if !ok || p.Spec.UserRef == nil {
		return nil
	}
	x.mu.Lock()
	r := x.records.get(idOf(userKind, p.Namespace, p.Spec.UserRef.Name))
	x.mu.Unlock()
	if r == nil || r.realm.key != brokerOf(o) {
		return nil
	}
	u, err := x.object(r)
	if err != nil {
		return nil // it is looked at, and that says so
	}
	return map[types.NamespacedName]*v1alpha1.User{client.ObjectKeyFromObject(u): u.(*v1alpha1.User)}
}

// moved brings a record to the key that its object is found to have with the users that there are now; it answers whether
// that is another than the record had. Then it is looked at once more, together with those that stand for the same.
func (x *index) moved(r *record, o v1alpha1.Topology, users map[types.NamespacedName]*v1alpha1.User) bool {
	if userOf(o) == (object.Sum{}) {
		return false
	}
	w := wishOf(&kinds[r.id.kind], x.owner, o, users)
	if !w.known {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	key := w.Key.Sum()
	if r.key == key || x.records.get(r.id) != r {
		return false
	}
	m := r.realm
	m.part(r)
	r.moveTo(w.VirtualHost)
	r.key, r.wanted, r.taken = key, w.sum, false
	m.join(r)
	m.touch(r)
	return true
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
