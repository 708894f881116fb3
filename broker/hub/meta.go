package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/router"
)

// meta is the metadata group: the catalogue and its log. One change at a time is planned against the state, written,
// and applied when it is durable. It is the Machine of its group.
type meta struct {
	waiting applications
	change  sync.Mutex // held from plan to apply
	group   *cluster.Group
	loop    *cluster.Loop
	leads   chan struct{} // closed when the group takes proposals

	mu    sync.RWMutex // guards state; taken for writing only to apply
	state *catalog.State
}

func (m *meta) revision() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.Revision()
}

// metaProposal is one change on its way through the log.
type metaProposal struct {
	applied []catalog.Change
	done    chan error
}

// metaCommand begins an entry of the metadata log: a command of package catalog follows.
const metaCommand byte = 1

// Apply applies an entry.
func (m *meta) Apply(e cluster.Entry, proposed any) {
	if e.Data[0] != metaCommand {
		panic(fmt.Sprintf("metadata entry %d is of kind %d: it was written by a newer version", e.Index, e.Data[0]))
	}
	m.mu.Lock()
	applied, err := m.state.Apply(e.Data[1:])
	m.mu.Unlock()
	if err != nil {
		panic(fmt.Sprintf("metadata entry %d: %v", e.Index, err)) // the plan that made it would have failed
	}
	if p, ok := proposed.(*metaProposal); ok {
		p.applied = applied
		p.done <- nil
	}
}

// Dropped tells who waits that the change was not made.
func (m *meta) Dropped(proposed any, err error) { proposed.(*metaProposal).done <- err }

// Restore reads what Capture wrote.
func (m *meta) Restore(_ *cluster.Group, r *cluster.CheckpointReader) error {
	encoded := r.Block()
	if err := r.Err(); err != nil {
		return err
	}
	return m.state.Restore(encoded)
}

// Capture takes the whole catalogue.
func (m *meta) Capture() func(*cluster.CheckpointWriter) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	encoded := m.state.Snapshot()
	return func(w *cluster.CheckpointWriter) error {
		w.Block(encoded)
		return nil
	}
}

var _ cluster.Machine = (*meta)(nil)

// ApplyOptions of Apply.
type ApplyOptions struct {
	DryRun bool // plan, and change nothing
}

// Apply brings objects to their wanted state as one change of the metadata, and answers what became of each, in the order
// of changes. When it returns, the change is durable and in force. The error is for what concerns all of them.
func (h *Hub) Apply(ctx context.Context, owner string, changes []object.Change, o ApplyOptions) ([]object.Result, error) {
	return h.apply(&application{ctx: ctx, owner: owner, changes: changes, dryRun: o.DryRun, passwords: h.preparePasswords(ctx, changes)})
}

func (h *Hub) apply(a *application) ([]object.Result, error) {
	h.meta.waiting.add(a)
	h.meta.change.Lock()
	defer h.meta.change.Unlock()
	for !a.done {
		h.applyTogether(h.meta.waiting.take())
	}
	return a.results, a.err
}

// application is one call of Apply. Once it waits, it belongs to whoever holds meta.change.
type application struct {
	ctx       context.Context
	owner     string
	changes   []object.Change
	dryRun    bool
	passwords *passwords
	queue     *Queue // that alone is to be deleted, and nothing that has its name now; nil where names count

	done    bool
	results []object.Result
	err     error
}

func (a *application) end(results []object.Result, err error) {
	a.results, a.err, a.done = results, err, true
}

// alone says that the application cannot share an entry of the log with those before it: it deletes, and what goes with
// what it deletes must be there; or nothing is to come of it.
func (a *application) alone() bool {
	return a.dryRun || slices.ContainsFunc(a.changes, func(c object.Change) bool { return c.Delete != "" })
}

// applications are those that wait for their turn, so that whoever comes first makes one entry of the log for all.
type applications struct {
	mu   sync.Mutex
	list []*application // guarded by mu
}

func (w *applications) add(a *application) {
	w.mu.Lock()
	w.list = append(w.list, a)
	w.mu.Unlock()
}

// mostTogether is how many changes share an entry, unless one application has more.
const mostTogether = 1000

// take takes the applications that go together now.
func (w *applications) take() []*application {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, changes := 1, len(w.list[0].changes)
	if !w.list[0].alone() {
		for n < len(w.list) && !w.list[n].alone() && changes+len(w.list[n].changes) <= mostTogether {
			changes += len(w.list[n].changes)
			n++
		}
	}
	together := slices.Clone(w.list[:n])
	w.list = slices.Delete(w.list, 0, n)
	return together
}

// applyTogether makes one entry of the log for applications, brings it into force, and ends them.
func (h *Hub) applyTogether(all []*application) {
	if h.stopping() {
		for _, a := range all {
			a.end(nil, ErrClosed)
		}
		return
	}
	if q := all[0].queue; q != nil && !q.host.has(q) {
		all[0].end([]object.Result{{Outcome: object.Unchanged}}, nil)
		return
	}
	f := h.freezeForDeletion(all[0]) // only the first may delete
	results, command, err := h.planTogether(all, f.kept)
	var applied []catalog.Change
	if err == nil && command != nil && !all[0].dryRun {
		applied, err = h.commit(all[0].ctx, append([]byte{metaCommand}, command...))
	}
	f.thaw(applied)
	for i, a := range all {
		switch {
		case err != nil:
			a.end(nil, err)
		case i == 0:
			a.end(f.answer(h, a.changes, results[0]), nil)
		default:
			a.end(results[i], nil)
		}
	}
}

// planTogether plans applications on top of one another; first are the changes of the first one that are left to plan.
func (h *Hub) planTogether(all []*application, first []object.Change) (results [][]object.Result, command []byte, err error) {
	h.meta.mu.RLock()
	defer h.meta.mu.RUnlock()
	var own *passwords // of the application at hand
	d := h.meta.state.Draft(catalog.Passwords{
		Hash:   func(password string) (string, error) { return own.hash(password) },
		Keys:   func(password string, salts []string) ([]string, error) { return own.scramKeys(password, salts) },
		Now:    time.Now,
		Verify: func(hash, password string) bool { return own.verify(hash, password) },
	})
	if all[0].dryRun { // which is alone
		d.Explain()
	}
	for i, a := range all {
		own = a.passwords
		changes := a.changes
		if i == 0 {
			changes = first
		}
		r, err := d.Plan(a.owner, changes)
		if err != nil {
			return nil, nil, err
		}
		results = append(results, r)
	}
	command, err = d.Command()
	return results, command, err
}

func (h *Hub) stopping() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.closed
}

// commit writes an entry of the metadata log, and brings what it says into force when it is applied.
func (h *Hub) commit(ctx context.Context, entry []byte) ([]catalog.Change, error) {
	p := &metaProposal{done: make(chan error, 1)}
	if !h.meta.loop.Do(func(g *cluster.Group) {
		if err := g.Propose(cluster.Proposal{Data: entry, Essential: true, Tag: p}); err != nil {
			p.done <- err
		}
	}) {
		return nil, ErrClosed
	}
	if err := <-p.done; err != nil {
		return nil, errorf(Unavailable, "change could not be stored: %v", err)
	}
	for _, c := range p.applied {
		h.install(ctx, c)
	}
	h.watches.add(p.applied)
	return p.applied, nil
}

// install brings the running broker to what a change of the catalogue says.
func (h *Hub) install(ctx context.Context, c catalog.Change) {
	if err := h.installChange(ctx, c); err != nil {
		// The catalogue checked the change: what is left are races with transient objects of the same name.
		h.logger.Error("metadata change is not in force", "revision", c.Revision, "error", err)
	}
	h.authority.Update(c)
	h.afterPolicy(c)
}

// afterPolicy lets live queues and exchanges follow a policy that changed.
func (h *Hub) afterPolicy(c catalog.Change) {
	o := c.After
	if o == nil {
		o = c.Before
	}
	switch o.Kind {
	case object.KindTopicPolicy, object.KindPolicy, object.KindOperatorPolicy:
	default:
		return
	}
	v, err := h.VirtualHost(o.VirtualHost)
	if err != nil {
		return // it went with its virtual host
	}
	if o.Kind != object.KindTopicPolicy {
		v.policies.Update(*o, c.After != nil)
	}
	v.followPolicies()
}

func (h *Hub) installChange(ctx context.Context, c catalog.Change) error {
	o := c.After
	if o == nil {
		o = c.Before
	}
	switch o.Kind {
	case object.KindVirtualHost:
		return h.installHost(c)
	case object.KindUser, object.KindPermission:
		return nil // package auth reads them
	}
	v, err := h.VirtualHost(o.VirtualHost)
	if err != nil {
		if c.After == nil {
			return nil // it went with its virtual host
		}
		return err
	}
	switch o.Kind {
	case object.KindExchange:
		return v.installExchange(c, o)
	case object.KindQueue:
		return v.installQueue(c, o)
	case object.KindBinding:
		return v.installBinding(c, o)
	case object.KindTopicPolicy, object.KindPolicy, object.KindOperatorPolicy:
		return nil // see afterPolicy
	}
	return nil
}

func (h *Hub) installHost(c catalog.Change) error {
	if c.After == nil {
		return h.removeHost(c.Before.Name)
	}
	spec, err := object.Decode[object.VirtualHostSpec](*c.After)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.hosts[c.After.Name]
	if v == nil {
		v = h.newHost(c.After.Name)
		h.hosts[c.After.Name] = v
	}
	v.tells.Store(eventMask(spec.Events...))
	return nil
}

// removeHost takes a virtual host away. When it returns, what the log has of it is nobody's.
func (h *Hub) removeHost(name string) error {
	h.mu.Lock()
	v := h.hosts[name]
	delete(h.hosts, name)
	h.mu.Unlock()
	if v == nil {
		return nil
	}
	err := v.disown()() // the next one of the name waits for meta.change, as everything that changes the metadata
	h.running.Go(v.end) // ends when its queues and sessions are gone
	return err
}

// end removes all that a deleted virtual host holds.
func (v *VirtualHost) end() {
	v.mu.RLock()
	var queues []*Queue
	var sessions []*mqttSession
	for _, q := range v.queues {
		queues = append(queues, q)
	}
	for _, s := range v.sessions {
		sessions = append(sessions, s)
	}
	senders := slices.Collect(maps.Values(v.senders))
	v.mu.RUnlock()
	v.hub.fleeting.drop(v)
	for _, q := range queues {
		v.remove(q)
	}
	for _, s := range senders {
		if err := s.end(context.Background()); err != nil && !errors.Is(err, ErrClosed) {
			v.hub.logger.Warn("sender of a deleted virtual host was not forgotten", "vhost", v.name, "sender", s.name, "error", err)
		}
	}
	for _, s := range sessions {
		s.displace()
		if err := s.end(context.Background()); err != nil && !errors.Is(err, ErrClosed) {
			v.hub.logger.Warn("session of a deleted virtual host was not ended", "vhost", v.name, "client", s.clientID, "error", err)
		}
	}
}

func (v *VirtualHost) installExchange(c catalog.Change, o *object.Object) error {
	spec, err := object.Decode[object.ExchangeSpec](*o)
	if err != nil {
		return err
	}
	if c.After == nil {
		if err := v.router.Delete(o.Name, false); !errors.Is(err, router.ErrNoExchange) {
			return err
		}
		return nil // it went with its last binding
	}
	if c.Before != nil {
		return nil
	}
	if err := v.router.Declare(o.Name, spec); err != nil {
		return err
	}
	v.followExchange(o.Name, spec)
	return nil
}

func (v *VirtualHost) installQueue(c catalog.Change, o *object.Object) error {
	spec, err := object.Decode[object.QueueSpec](*o)
	if err != nil {
		return err
	}
	v.mu.RLock()
	q := v.queues[o.Name]
	v.mu.RUnlock()
	switch {
	case c.After == nil && q != nil && q.id == c.Before.ID:
		v.remove(q)
	case c.After != nil && q == nil:
		v.addDeclared(o, spec)
	case c.After != nil && c.Before == nil:
		return fmt.Errorf("queue %q in vhost %q exists as a transient queue of a client", o.Name, v.name)
	}
	return nil
}

// addDeclared makes the running queue of an object.
func (v *VirtualHost) addDeclared(o *object.Object, spec object.QueueSpec) *Queue {
	q := v.newQueue(o.Name, spec)
	q.declared = true
	if spec.Durable {
		q.id, q.durable = o.ID, true
		q.shard = v.hub.shardFor(v.name, o.Name)
		q.shard.adopt(q)
	} else {
		q.id = o.ID
	}
	v.mu.Lock()
	v.queues[o.Name] = q
	v.mu.Unlock()
	v.router.AddQueue(o.Name, q)
	return q
}

func (v *VirtualHost) installBinding(c catalog.Change, o *object.Object) error {
	b, err := object.Decode[object.BindingSpec](*o)
	if err != nil {
		return err
	}
	if b.DestinationType == object.DestinationExchange {
		if c.After == nil {
			_, gone := v.router.UnbindExchange(b.Source, b.Destination, b.RoutingKey, b.Arguments)
			v.unbound(gone)
			return nil
		}
		_, err := v.router.BindExchange(b.Source, b.Destination, b.RoutingKey, b.Arguments)
		return err
	}
	v.mu.RLock()
	q := v.queues[b.Destination]
	v.mu.RUnlock()
	switch {
	case q == nil && c.After == nil:
		return nil // the queue took its bindings with it
	case q == nil:
		return fmt.Errorf("binding of missing queue %q", b.Destination)
	case c.After == nil:
		_, gone := v.router.Unbind(b.Source, q, b.RoutingKey, b.Arguments)
		v.unbound(gone)
		return nil
	}
	_, err = v.router.Bind(b.Source, q, b.RoutingKey, b.Arguments)
	return err
}

// want applies one wish of a client; the object then has no owner.
func (h *Hub) want(ctx context.Context, kind object.Kind, vhost, name string, spec any) error {
	o, err := object.New(kind, vhost, name, spec)
	if err != nil {
		return err
	}
	return h.one(ctx, object.Change{Object: o})
}

// unwant deletes one object at the wish of a client.
func (h *Hub) unwant(ctx context.Context, kind object.Kind, vhost, name string, d object.Deletion) error {
	return h.one(ctx, deletion(kind, vhost, name, d))
}

func deletion(kind object.Kind, vhost, name string, d object.Deletion) object.Change {
	o := object.Object{Key: object.Key{Kind: kind, VirtualHost: vhost, Name: name}, Spec: json.RawMessage("{}")}
	return object.Change{Object: o, Delete: d}
}

// unwantQueue deletes the object of a queue, and not one that has its name afterwards.
func (h *Hub) unwantQueue(ctx context.Context, q *Queue) error {
	results, err := h.apply(&application{
		ctx: ctx, owner: clientOwner, queue: q, changes: []object.Change{deletion(object.KindQueue, q.host.name, q.name, object.DeleteAlways)},
	})
	return outcome(results, err)
}

func (h *Hub) one(ctx context.Context, c object.Change) error {
	return outcome(h.Apply(ctx, clientOwner, []object.Change{c}, ApplyOptions{}))
}

// outcome is the error that an application of one change comes to.
func outcome(results []object.Result, err error) error {
	if err != nil {
		return err
	}
	r := results[0]
	if r.Outcome != object.Refused && r.Outcome != object.Conflict {
		return nil
	}
	codes := map[object.Reason]Code{
		object.ReasonMissing: NotFound, object.ReasonInequivalent: Precondition, object.ReasonNotEmpty: Precondition,
		object.ReasonInUse: Precondition, object.ReasonProtected: Refused, object.ReasonInvalid: Precondition,
		object.ReasonUnavailable: Unavailable, object.ReasonOwned: Precondition, object.ReasonDiffers: Precondition,
	}
	return &Error{Code: codes[r.Reason], Text: strings.TrimSuffix(r.Message, ".")}
}

// clientOwner makes changes on behalf of clients: what they declare has no owner, and they may delete what they may
// configure, whoever owns it; its owner will see that in the change stream.
const clientOwner = catalog.Anyone

// checkQueue validates the arguments of a queue that is no object.
func (h *Hub) checkQueue(spec object.QueueSpec) error {
	if err := catalog.CheckQueue(spec); err != nil {
		return &Error{Code: Precondition, Text: err.Error()}
	}
	return nil
}

// Objects lists objects of the catalogue with the revision that the list shows; an empty owner or kind means all.
func (h *Hub) Objects(owner string, kind object.Kind) ([]object.Object, uint64) {
	h.meta.mu.RLock()
	defer h.meta.mu.RUnlock()
	return h.meta.state.List(owner, kind), h.meta.state.Revision()
}

// ObjectsIn lists an owner's objects of one kind that are in some of its buckets.
func (h *Hub) ObjectsIn(owner string, kind object.Kind, buckets map[int]bool) ([]object.Object, uint64) {
	h.meta.mu.RLock()
	defer h.meta.mu.RUnlock()
	in := func(k object.Key) bool { return buckets[k.Bucket()] }
	return h.meta.state.Select(owner, kind, in), h.meta.state.Revision()
}

// Digests are the digests of an owner's objects by kind, with the revision that they show.
func (h *Hub) Digests(owner string) (map[object.Kind]catalog.Digest, uint64, error) {
	h.meta.mu.RLock()
	defer h.meta.mu.RUnlock()
	d, err := h.meta.state.Digests(owner)
	return d, h.meta.state.Revision(), err
}

// BucketDigests are the digests of an owner's objects of one kind by bucket, with the revision that they show.
func (h *Hub) BucketDigests(owner string, kind object.Kind) ([]catalog.Digest, uint64, error) {
	h.meta.mu.RLock()
	defer h.meta.mu.RUnlock()
	d, err := h.meta.state.BucketDigests(owner, kind)
	return d, h.meta.state.Revision(), err
}
