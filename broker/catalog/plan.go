package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// Plan is what would become of a list of changes.
type Plan struct {
	Results []object.Result // one per change, in the order of the request
	Command []byte          // for Apply; nil when nothing changes
}

// Passwords are the ways from a password to what is stored of it.
type Passwords struct {
	Hash func(password string) (string, error) // makes the stored form
	// Keys makes the keys of SCRAM, with the salts of others where there are any; none where they are not wanted.
	Keys   func(password string, salts []string) ([]string, error)
	Verify func(hash, password string) bool // says whether a stored form is that of a password
	Now    func() time.Time
}

// draft is the state as it will be, step by step: the present state and what the plan changed so far.
type draft struct {
	*State
	owner    string
	with     Passwords
	changed  map[object.Key]*object.Object // nil: deleted
	queues   map[string]int                // count by virtual host
	admins   map[string]struct{}
	steps    []step
	revision uint64
	explain  bool // answer what changes, field by field
}

// Plan decides what becomes of changes that owner wishes. Deletions come first, in reverse order of dependency, then
// what is wanted, in order of dependency; a change that is refused does not hold up the others. The error is about none
// of the changes: the password could not be hashed.
func (s *State) Plan(owner string, changes []object.Change, with Passwords) (Plan, error) {
	d := s.Draft(with)
	results, err := d.Plan(owner, changes)
	if err != nil {
		return Plan{}, err
	}
	b, err := d.Command()
	return Plan{Results: results, Command: b}, err
}

// Draft is the state as it would be after several lists of changes, which become one command. The state must not change
// as long as the draft is used.
type Draft struct{ draft }

// Draft begins a draft in which nothing is changed yet.
func (s *State) Draft(with Passwords) *Draft {
	return &Draft{draft{
		State: s, with: with,
		changed:  make(map[object.Key]*object.Object),
		queues:   maps.Clone(s.queues),
		admins:   maps.Clone(s.admins),
		revision: s.revision,
	}}
}

// Explain makes results say what changes, field by field.
func (d *Draft) Explain() { d.explain = true }

// Plan adds a list of changes to the draft; see State.Plan. Only the first list may delete. An error leaves the draft
// with what it had before it, and perhaps a part of the list: it is of no use any more.
func (d *Draft) Plan(owner string, changes []object.Change) ([]object.Result, error) {
	d.owner = owner
	results := make([]object.Result, len(changes))
	seen := make(map[object.Key]bool, len(changes))
	normal := make([]object.Change, len(changes))
	order := make([]int, 0, len(changes))
	for i, c := range changes {
		named, err := nameBinding(c)
		normal[i] = named
		switch {
		case err != nil:
			results[i] = refused(named.Key, object.ReasonInvalid, "%v", err)
		case seen[named.Key]:
			results[i] = refused(named.Key, object.ReasonInvalid, "%s is named twice in one request: name it once", named.Key)
		default:
			seen[named.Key] = true
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return inOrder(normal[a], normal[b]) })
	for _, i := range order {
		r, err := d.change(normal[i])
		if err != nil {
			return nil, err
		}
		results[i] = r
	}
	return results, nil
}

// Command is what Apply makes the draft true by; nil when it changes nothing.
func (d *Draft) Command() ([]byte, error) {
	if len(d.steps) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(command{d.steps})
	if err != nil {
		return nil, fmt.Errorf("encode catalogue command: %w", err)
	}
	return b, nil
}

// inOrder: deletions before wishes; deletions from what depends to what is depended on, wishes the other way.
func inOrder(a, b object.Change) int {
	switch {
	case a.Delete != "" && b.Delete != "":
		return b.Key.Compare(a.Key)
	case a.Delete != "":
		return -1
	case b.Delete != "":
		return 1
	}
	return a.Key.Compare(b.Key)
}

// nameBinding gives a binding its name, which its spec says.
func nameBinding(c object.Change) (object.Change, error) {
	if c.Kind != object.KindBinding || c.Delete != "" && c.Name != "" {
		return c, nil
	}
	spec, err := object.Decode[object.BindingSpec](c.Object)
	if err != nil {
		return c, err
	}
	if c.Name != "" && c.Name != spec.Name() {
		return c, fmt.Errorf("the name of this binding follows from its spec: it is %q, or leave it empty", spec.Name())
	}
	c.Name = spec.Name()
	return c, nil
}

func refused(k object.Key, reason object.Reason, format string, args ...any) object.Result {
	return object.Result{Key: k, Outcome: object.Refused, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func conflict(o *object.Object) object.Result {
	r := object.Result{Key: o.Key, Outcome: object.Conflict, Reason: object.ReasonOwned, Owner: o.Owner, Ref: o.Ref, Revision: o.Revision}
	if o.Owner == "" {
		r.Message = fmt.Sprintf("%s has no owner, so it is not yours to delete: delete it with an empty owner, or apply it first", o.Key)
		return r
	}
	r.Message = fmt.Sprintf("%s belongs to %q: change it there, or delete it there first", o.Key, o.Owner)
	if o.Ref != "" {
		r.Message = fmt.Sprintf("%s belongs to %q (%s): change it there, or delete it there first", o.Key, o.Owner, o.Ref)
	}
	return r
}

func (d *draft) get(k object.Key) *object.Object {
	if o, ok := d.changed[k]; ok {
		return o
	}
	return d.objects[k]
}

func (d *draft) change(c object.Change) (object.Result, error) {
	if c.Delete != "" {
		return d.remove(c), nil
	}
	return d.want(c)
}

// remove plans a deletion. What has a part in the object goes with it, whoever owns that.
func (d *draft) remove(c object.Change) object.Result {
	if err := c.Delete.Check(c.Kind); err != nil {
		return refused(c.Key, object.ReasonInvalid, "%v", err)
	}
	if c.Adopt != "" {
		return refused(c.Key, object.ReasonInvalid, "adopt is for what is wanted: leave it out of a deletion")
	}
	if c.Kind == object.KindExchange && BuiltIn(c.Name) {
		return refused(c.Key, object.ReasonProtected, "%s is built in and cannot be deleted", c.Key)
	}
	before := d.objects[c.Key]
	if before == nil {
		return object.Result{Key: c.Key, Outcome: object.Unchanged}
	}
	if d.owner != Anyone && (before.Owner != d.owner || c.Ref != "" && c.Ref != before.Ref) {
		return conflict(before)
	}
	if d.get(c.Key) == nil { // it went with something that this plan deleted
		return object.Result{Key: c.Key, Outcome: object.Deleted, Revision: d.revision}
	}
	if c.Kind == object.KindExchange && c.Delete == object.DeleteIfUnused {
		if n := d.outOf(c.Key); n > 0 {
			r := refused(c.Key, object.ReasonInUse, "%s has %d bindings: delete them first", c.Key, n)
			r.Bindings = n
			return r
		}
	}
	if administrates(before) && len(d.admins) == 1 {
		return refused(c.Key, object.ReasonProtected, "user %q is the last administrator: make another one first", c.Name)
	}
	bindings := d.bindings(c.Key)
	d.cascade(c.Key)
	return object.Result{Key: c.Key, Outcome: object.Deleted, Revision: d.revision, Toll: object.Toll{Bindings: bindings}}
}

// outOf is how many bindings begin at an exchange.
func (d *draft) outOf(exchange object.Key) (n int) {
	for k := range d.children[exchange] {
		if o := d.get(k); o != nil && k.Kind == object.KindBinding && stored[object.BindingSpec](o).Source == exchange.Name {
			n++
		}
	}
	return n
}

// bindings is how many bindings go with an object.
func (d *draft) bindings(of object.Key) (n int) {
	for k := range d.children[of] {
		if k.Kind == object.KindBinding && d.get(k) != nil {
			n++
		}
	}
	return n
}

// cascade deletes an object after all that refers to it.
func (d *draft) cascade(k object.Key) {
	children := slices.SortedFunc(maps.Keys(d.children[k]), func(a, b object.Key) int { return b.Compare(a) })
	for _, child := range children {
		if d.get(child) != nil {
			d.cascade(child)
		}
	}
	o := d.get(k)
	d.changed[k] = nil
	d.steps = append(d.steps, step{Delete: &k})
	d.revision++
	if o.Kind == object.KindQueue {
		d.queues[o.VirtualHost]--
	}
	if o.Kind == object.KindUser {
		delete(d.admins, o.Name)
	}
}

// want plans that an object is as written.
func (d *draft) want(c object.Change) (object.Result, error) {
	o := c.Object
	if reason, err := checkKey(o.Key, d.owner); err != nil {
		return refused(o.Key, reason, "%v", err), nil
	}
	if len(d.owner) > longestName || len(o.Ref) > longestRef {
		return refused(o.Key, object.ReasonInvalid, "owner must not be longer than %d bytes, ref not longer than %d", longestName, longestRef), nil
	}
	if !slices.Contains([]object.Adoption{"", object.AdoptUnowned, object.AdoptAny}, c.Adopt) {
		return refused(o.Key, object.ReasonInvalid, "adopt %q does not exist; there are %s and %s", c.Adopt, object.AdoptUnowned, object.AdoptAny), nil
	}
	if len(o.Spec) == 0 {
		o.Spec = json.RawMessage("{}")
	}
	wanted, err := check(o)
	if err != nil {
		return refused(o.Key, object.ReasonInvalid, "%v", err), nil
	}
	for _, p := range parents(&wanted) {
		if d.get(p) == nil {
			return refused(o.Key, object.ReasonMissing, "%s refers to %s, which does not exist: create it first, or in the same request", o.Key, p), nil
		}
	}
	if err := d.checkWeight(&wanted); err != nil {
		return refused(o.Key, object.ReasonInvalid, "%v", err), nil
	}
	before := d.get(o.Key)
	if before == nil {
		return d.create(wanted)
	}
	return d.update(before, wanted, c.Adopt)
}

// checkWeight: the key of a binding to a consistent-hash exchange is a weight.
func (d *draft) checkWeight(o *object.Object) error {
	if o.Kind != object.KindBinding {
		return nil
	}
	b := stored[object.BindingSpec](o)
	x := d.get(object.Key{Kind: object.KindExchange, VirtualHost: o.VirtualHost, Name: b.Source})
	if x == nil || stored[object.ExchangeSpec](x).Type != object.ExchangeConsistentHash {
		return nil
	}
	_, err := object.Weight(b.RoutingKey)
	return err
}

func (d *draft) create(o object.Object) (object.Result, error) {
	if d.owner != Anyone {
		o.Owner = d.owner
	}
	if r, ok := d.room(o.Key); !ok {
		return r, nil
	}
	if o.Kind == object.KindUser {
		if err := d.setPassword(&o, object.UserSpec{}); err != nil {
			return object.Result{}, err
		}
	}
	d.put(o)
	return object.Result{Key: o.Key, Outcome: object.Created, Revision: d.revision, Differences: d.explained(nil, o)}, nil
}

// room says whether a virtual host may have one more queue.
func (d *draft) room(k object.Key) (object.Result, bool) {
	if k.Kind != object.KindQueue {
		return object.Result{}, true
	}
	limit := stored[object.VirtualHostSpec](d.get(object.Key{Kind: object.KindVirtualHost, Name: k.VirtualHost})).MaxQueues
	if limit == 0 || d.queues[k.VirtualHost] < limit {
		return object.Result{}, true
	}
	return refused(k, object.ReasonUnavailable, "vhost %q has %d queues, as many as its maxQueues allows: delete one or raise maxQueues", k.VirtualHost, limit), false
}

func (d *draft) update(before *object.Object, wanted object.Object, how object.Adoption) (object.Result, error) {
	wanted.Owner = d.owner
	if d.owner == Anyone {
		wanted.Owner, wanted.Ref = before.Owner, before.Ref
	}
	adopted := before.Owner != wanted.Owner
	if adopted && before.Owner != "" && how != object.AdoptAny {
		return conflict(before), nil
	}
	if err := inequivalent(before, wanted); err != nil {
		r := refused(wanted.Key, object.ReasonInequivalent, "%v", err)
		r.Differences, r.Bindings = d.explained(before, wanted), d.bindings(wanted.Key)
		return r, nil
	}
	if wanted.Kind == object.KindUser {
		if err := d.setPassword(&wanted, stored[object.UserSpec](before)); err != nil {
			return object.Result{}, err
		}
	}
	if adopted && how == "" && !pristine(before) {
		if differ := differences(before, wanted); len(differ) > 0 {
			return differs(before, differ), nil
		}
	}
	if administrates(before) && !administrates(&wanted) && len(d.admins) == 1 {
		return refused(wanted.Key, object.ReasonProtected, "user %q is the last administrator and must keep the tag %q: make another one first", wanted.Name, TagAdministrator), nil
	}
	if string(before.Spec) == string(wanted.Spec) && !adopted && before.Ref == wanted.Ref {
		return object.Result{Key: wanted.Key, Outcome: object.Unchanged, Revision: before.Revision}, nil
	}
	d.put(wanted)
	return object.Result{Key: wanted.Key, Outcome: object.Updated, Revision: d.revision, Adopted: adopted, Differences: d.explained(before, wanted)}, nil
}

// setPassword replaces the password in a user's spec by what is stored of it: what is there if it is of the same password,
// or if the spec says nothing of a password. Keys never outlive the hash that they belong to.
func (d *draft) setPassword(o *object.Object, present object.UserSpec) (err error) {
	u := stored[object.UserSpec](o)
	switch {
	case u.Password != "" && present.PasswordHash != "" && d.with.Verify(present.PasswordHash, u.Password):
		u.PasswordHash, u.Scram = present.PasswordHash, present.Scram
		if len(u.Scram) == 0 { // it came as a hash, or before there were keys
			u.Scram, err = d.with.Keys(u.Password, nil)
		}
	case u.Password != "":
		if u.PasswordHash, err = d.with.Hash(u.Password); err == nil {
			u.Scram, err = d.with.Keys(u.Password, u.SaltsOf(present))
		}
	case len(u.Scram) == 0 && (u.PasswordHash == "" || u.PasswordHash == present.PasswordHash):
		u.PasswordHash, u.Scram = present.PasswordHash, present.Scram
	}
	if err != nil {
		return fmt.Errorf("hash password of user %q: %w", o.Name, err)
	}
	u.Previous = d.previous(u, present)
	u.Password, u.OverlapSeconds = "", 0
	o.Spec = encode(u)
	return nil
}

// previous is which password of before stays right: the one that is replaced, for the overlap, or, when none is, the one
// that still is.
func (d *draft) previous(u, present object.UserSpec) *object.PreviousPassword {
	now := d.with.Now()
	switch before := present.Previous; {
	case u.PasswordHash != present.PasswordHash && present.PasswordHash != "" && u.OverlapSeconds > 0:
		return &object.PreviousPassword{Hash: present.PasswordHash, Scram: present.Scram, Until: now.Unix() + u.OverlapSeconds}
	case u.PasswordHash == present.PasswordHash && before != nil && now.Unix() < before.Until:
		return before
	}
	return nil
}

func (d *draft) put(o object.Object) {
	if d.get(o.Key) == nil && o.Kind == object.KindQueue {
		d.queues[o.VirtualHost]++
	}
	d.changed[o.Key] = &o
	d.steps = append(d.steps, step{Put: &o})
	d.revision++
	if o.Kind != object.KindUser {
		return
	}
	delete(d.admins, o.Name)
	if administrates(&o) {
		d.admins[o.Name] = struct{}{}
	}
}
