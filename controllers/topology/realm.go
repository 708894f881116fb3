package topology

import (
	"cmp"
	"slices"
	"time"
	"unique"

	"k8s.io/apimachinery/pkg/types"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// realm is what is known of one broker and of the objects that name it. The index's lock guards it, but for what belongs to
// the look: there is never more than one look at a broker at a time.
type realm struct {
	key     types.NamespacedName
	records []int // how many, by kind
	byKey   map[object.Sum]*record
	// strays are what the broker has in our name and no object stands for.
	strays map[object.Sum]stray
	// total is the sum of what the broker has in our name, by kind.
	total []tally
	// living counts the records by where they live.
	living map[place]int
	// namespaces counts them by namespace; verdicts says why a namespace is not allowed, empty if it is.
	namespaces map[unique.Handle[string]]int
	verdicts   map[string]string
	// referring are permissions by the user whose Kubernetes object they name; refers is the reverse.
	referring map[object.Sum]map[*record]struct{}
	refers    map[*record]object.Sum

	dirty   []map[*record]struct{} // by kind, so that what depends comes later
	retries map[*record]retry
	// waiting are records by what the broker must have first; waits is the reverse.
	waiting map[object.Sum]map[*record]struct{}
	waits   map[*record][]object.Sum
	// found is what the broker has for keys whose drift is to be told, as far as it is known; at most mostFound.
	found  map[object.Sum]object.Object
	depths map[*record]*depth
	// measuring says that the queues of the broker are being read, figures that they were and nobody has looked at that yet.
	measuring, figures bool

	arrived     time.Time // when an object that was new came last
	verified    bool      // have of every record is what the broker had, and the stream brings changes
	incarnation string    // of the broker's data; empty as long as it was never asked
	outlook     string    // of its MessageBroker
	urgent      bool      // something changed that may let it answer: it is asked again without delay

	look
}

// look is the part of a realm that belongs to the look at its broker, but for state, which the index reads under its lock.
type look struct {
	state    reachability
	since    time.Time // when the broker stopped answering
	failures int       // in a row
	next     time.Time // when it is asked again
	err      error     // what it failed with
	tale     string    // what its objects were told of that, see tale
	verifyAt time.Time // when the digests are compared again
	depthsAt time.Time // when the queues are read again
	changing []*record // queues, those that changed most first, whose depth is to be written
}

// reachability is how a broker was found.
type reachability uint8

const (
	unknown reachability = iota
	reachable
	unreachable // it does not answer, for long enough to say so
	absent      // there is no MessageBroker
)

// place is a virtual host, and the namespace of those who live there.
type place struct {
	vhost     string
	namespace unique.Handle[string]
}

type tally struct {
	count int
	sum   object.Sum
}

type stray struct {
	kind uint8
	have object.Sum
	at   uint64
}

type retry struct {
	at       time.Time
	failures int
}

func newRealm(key types.NamespacedName) *realm {
	m := &realm{
		key: key, records: make([]int, len(kinds)), byKey: make(map[object.Sum]*record), strays: make(map[object.Sum]stray), total: make([]tally, len(kinds)),
		living: make(map[place]int), namespaces: make(map[unique.Handle[string]]int), verdicts: make(map[string]string),
		referring: make(map[object.Sum]map[*record]struct{}), refers: make(map[*record]object.Sum), dirty: make([]map[*record]struct{}, len(kinds)), retries: make(map[*record]retry),
		waiting: make(map[object.Sum]map[*record]struct{}), waits: make(map[*record][]object.Sum),
		found: make(map[object.Sum]object.Object), depths: make(map[*record]*depth),
	}
	for i := range m.dirty {
		m.dirty[i] = make(map[*record]struct{})
	}
	return m
}

// count is how many objects name the broker.
func (m *realm) count() (n int) {
	for _, of := range m.records {
		n += of
	}
	return n
}

// join enters a record under its key, part takes it out.
func (m *realm) join(r *record) {
	m.living[place{r.vhost(), r.namespace}]++
	if r.key == (object.Sum{}) {
		return
	}
	first := m.byKey[r.key]
	if first != nil {
		r.next, first.next = first.next, r
		m.touch(first)
		m.touch(r)
		return
	}
	m.byKey[r.key] = r
	if s, ok := m.strays[r.key]; ok {
		delete(m.strays, r.key)
		r.have, r.at = s.have, s.at
	}
}

func (m *realm) part(r *record) {
	in := place{r.vhost(), r.namespace}
	if m.living[in]--; m.living[in] == 0 {
		delete(m.living, in)
		m.emptied(in.vhost)
	}
	if r.key == (object.Sum{}) {
		return
	}
	first := m.byKey[r.key]
	switch {
	case first != r:
		before := first
		for before.next != r {
			before = before.next
		}
		before.next = r.next
		m.touch(first)
	case r.next != nil:
		r.next.have, r.next.at = r.have, r.at
		m.byKey[r.key] = r.next
		m.touch(r.next)
	default:
		delete(m.byKey, r.key)
		if r.have != (object.Sum{}) {
			m.strays[r.key] = stray{r.id.kind, r.have, r.at}
		}
	}
	r.next, r.have, r.at = nil, object.Sum{}, 0
}

// have is what the broker has in our name under a record's key.
func (m *realm) have(r *record) object.Sum {
	if first := m.byKey[r.key]; first != nil {
		return first.have
	}
	return object.Sum{}
}

// learn notes what the broker has under a key as of a revision; it knows nothing of what is older than what is known.
func (m *realm) learn(kind int, key, have object.Sum, at uint64) {
	first := m.byKey[key]
	var before stray
	if first != nil {
		before = stray{have: first.have, at: first.at}
	} else {
		before = m.strays[key]
	}
	if at < before.at {
		return
	}
	t, none := &m.total[kind], object.Sum{}
	if before.have != none {
		t.count, t.sum = t.count-1, t.sum.Sub(before.have)
	}
	if have != none {
		t.count, t.sum = t.count+1, t.sum.Add(have)
	}
	switch {
	case first != nil:
		first.have, first.at = have, at
	case have != none:
		m.strays[key] = stray{uint8(kind), have, at}
	default:
		delete(m.strays, key)
	}
}

// touch makes a record dirty, and the others that stand for the same.
func (m *realm) touch(r *record) {
	m.dirty[r.id.kind][r] = struct{}{}
	if r.key == (object.Sum{}) {
		return
	}
	for o := m.byKey[r.key]; o != nil; o = o.next {
		m.dirty[o.id.kind][o] = struct{}{}
	}
}

// forget takes a record out of what concerns looks.
func (m *realm) forget(r *record) {
	delete(m.dirty[r.id.kind], r)
	delete(m.retries, r)
	delete(m.depths, r)
	m.awaitNothing(r)
}

// await makes a record dirty when the broker has one of some keys.
func (m *realm) await(r *record, keys []object.Sum) {
	m.awaitNothing(r)
	for _, k := range keys {
		if m.waiting[k] == nil {
			m.waiting[k] = make(map[*record]struct{})
		}
		m.waiting[k][r] = struct{}{}
	}
	if len(keys) > 0 {
		m.waits[r] = keys
	}
}

func (m *realm) awaitNothing(r *record) {
	for _, k := range m.waits[r] {
		if delete(m.waiting[k], r); len(m.waiting[k]) == 0 {
			delete(m.waiting, k)
		}
	}
	delete(m.waits, r)
}

// appeared wakes the records that wait for a key.
func (m *realm) appeared(key object.Sum) {
	for r := range m.waiting[key] {
		delete(m.retries, r)
		m.touch(r)
	}
}

// emptied looks again at a virtual host whose deletion may have waited for what lived in it.
func (m *realm) emptied(vhost string) {
	first := m.byKey[object.Key{Kind: object.KindVirtualHost, Name: vhost}.Sum()]
	if first != nil && !first.settled {
		delete(m.retries, first)
		m.touch(first)
	}
}

// refer notes the user that a permission names, zero for none.
func (m *realm) refer(r *record, user object.Sum) {
	was, none := m.refers[r], object.Sum{}
	if was == user {
		return
	}
	if delete(m.referring[was], r); len(m.referring[was]) == 0 {
		delete(m.referring, was)
	}
	delete(m.refers, r)
	if user == none {
		return
	}
	if m.referring[user] == nil {
		m.referring[user] = make(map[*record]struct{})
	}
	m.referring[user][r], m.refers[r] = struct{}{}, user
}

// userChanged looks again at the permissions that name a user, which came, changed or went.
func (m *realm) userChanged(user object.Sum) {
	for r := range m.referring[user] {
		delete(m.retries, r)
		m.touch(r)
	}
}

// touchAll makes every record dirty that is chosen.
func (m *realm) touchAll(x *index, chosen func(*record) bool) {
	for r := range x.records.all {
		if r.realm == m && chosen(r) {
			m.touch(r)
		}
	}
}

// mostAtOnce is how many objects a look deals with; the others are dealt with in the next one, at once.
const mostAtOnce = 1000

// take answers the records that a look is to deal with, in order of dependency, and makes them clean. Those that stand for
// one thing come together.
func (x *index) take(m *realm, now time.Time) []*record {
	x.mu.Lock()
	defer x.mu.Unlock()
	for r, t := range m.retries {
		if !t.at.After(now) {
			m.touch(r)
		}
	}
	var taken []*record
	for _, dirty := range m.dirty {
		for r := range dirty {
			if len(taken) >= mostAtOnce {
				return taken
			}
			for o := range m.group(r) {
				delete(dirty, o)
				o.taken = true
				taken = append(taken, o)
			}
		}
	}
	return taken
}

// group answers the records that stand for the same as r.
func (m *realm) group(r *record) func(yield func(*record) bool) {
	return func(yield func(*record) bool) {
		first := m.byKey[r.key]
		if r.key == (object.Sum{}) || first == nil {
			yield(r)
			return
		}
		for o := first; o != nil; o = o.next {
			if !yield(o) {
				return
			}
		}
	}
}

// Records that could not be made right are looked at again, each time later.
const (
	firstRetry = time.Second
	lastRetry  = 10 * time.Second
)

// later puts a record off, each time for longer.
func (m *realm) later(r *record, now time.Time) {
	n := m.retries[r].failures + 1
	m.again(r, now.Add(backoff(n)), n)
}

// again says when a record is looked at again: at the end of a second, so that all those of a broker whose time it is come
// together, and the broker is asked about them once a second at most, however many there are.
func (m *realm) again(r *record, at time.Time, failures int) {
	m.retries[r] = retry{at.Truncate(time.Second).Add(time.Second), failures}
}

// backoff is how long to wait after so many failures in a row.
func backoff(failures int) time.Duration {
	return min(firstRetry<<min(failures-1, 10), lastRetry)
}

// backlog says whether there are records that no look has dealt with yet.
func (m *realm) backlog() bool {
	return slices.ContainsFunc(m.dirty, func(d map[*record]struct{}) bool { return len(d) > 0 })
}

// due answers when a look is to come: zero for never.
func (x *index) due(m *realm, now time.Time) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	const atOnce = time.Millisecond
	if m.backlog() && (m.failures == 0 || m.state == unreachable) {
		return atOnce // also while the broker does not answer: there is something to tell
	}
	var next []time.Time
	for _, t := range m.retries {
		next = append(next, t.at)
	}
	if m.failures > 0 {
		next = append(next, m.next)
	} else if m.state == reachable {
		next = append(next, m.verifyAt, m.depthsAt)
	}
	if len(next) == 0 {
		return 0
	}
	soonest := slices.MinFunc(next, func(a, b time.Time) int { return cmp.Compare(a.UnixNano(), b.UnixNano()) })
	return max(soonest.Sub(now), atOnce)
}
