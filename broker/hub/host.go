package hub

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/policy"
	"github.com/turnstone-mq/turnstone/broker/queue"
	"github.com/turnstone-mq/turnstone/broker/retain"
	"github.com/turnstone-mq/turnstone/broker/router"
)

// VirtualHost is one name space: exchanges, queues, sessions, retained messages.
//
// What is durable is an object of the catalogue and changes through Hub.Apply; what is not (exclusive and transient
// queues, transient exchanges and their bindings) lives here alone and ends with the process.
type VirtualHost struct {
	hub        *Hub
	name       string
	router     *router.Table[*Queue]
	policies   policy.Set
	retained   *retain.Store
	deliveries deliveryPool
	opening    keyedLock // by MQTT client id

	connections atomic.Int64 // that Enter let in
	deleted     atomic.Bool  // nothing is written for it any more
	delayed     atomic.Int64 // messages that wait for their time

	tells     atomic.Uint32 // the events that are published, as eventMask has them
	announcer *Announcer    // of events; publishEvents alone uses it
	announced atomic.Int64  // retained messages of the broker's own, which do not count against the limit

	mu       sync.RWMutex
	queues   map[string]*Queue
	sessions map[string]*mqttSession
	senders  map[string]*senderState

	sharing   sync.Mutex
	groups    map[string]*group       // guarded by sharing; shared subscriptions, by $share/NAME/FILTER
	exclusive map[string]*mqttSession // guarded by sharing; who has an exclusive subscription, by its filter
}

func (h *Hub) newHost(name string) *VirtualHost {
	return &VirtualHost{
		hub:      h,
		name:     name,
		router:   router.New[*Queue](),
		retained: retain.New(),
		queues:   make(map[string]*Queue),
		sessions: make(map[string]*mqttSession),
		senders:  make(map[string]*senderState),
		groups:   make(map[string]*group),

		exclusive: make(map[string]*mqttSession),
	}
}

// Name is the virtual host's name.
func (v *VirtualHost) Name() string { return v.name }

// ExchangeDeclaration is a wish for an exchange. With Passive, only whether it exists is asked.
type ExchangeDeclaration struct {
	Name    string
	Spec    object.ExchangeSpec
	Passive bool
}

// DeclareExchange makes sure that an exchange exists as declared. The error says which property differs if it does not.
func (v *VirtualHost) DeclareExchange(ctx context.Context, access *auth.Access, d ExchangeDeclaration) error {
	spec, ok := v.router.Exchange(d.Name)
	if d.Passive {
		if !ok {
			return errorf(NotFound, "no exchange '%s' in vhost '%s'", d.Name, v.name)
		}
		return nil
	}
	if err := access.Configure(d.Name); err != nil {
		return err
	}
	if ok {
		return equivalentExchange(d, spec, v.name)
	}
	if err := mayDivert(access, d); err != nil {
		return err
	}
	if strings.HasPrefix(d.Name, "amq.") {
		return errorf(Refused, "exchange name '%s' contains reserved prefix 'amq.*'", d.Name)
	}
	if d.Spec.Durable {
		return v.hub.want(ctx, object.KindExchange, v.name, d.Name, d.Spec)
	}
	if err := catalog.CheckExchange(d.Spec); err != nil {
		return &Error{Code: Precondition, Text: err.Error()}
	}
	if err := v.router.Declare(d.Name, d.Spec); err != nil {
		return routerError(err)
	}
	v.followExchange(d.Name, d.Spec)
	return nil
}

// mayDivert: who names an alternate exchange takes messages from the one and gives them to the other.
func mayDivert(access *auth.Access, d ExchangeDeclaration) error {
	alternate, ok, err := d.Spec.Arguments.Text("alternate-exchange")
	if err != nil {
		return &Error{Code: Precondition, Text: err.Error()}
	}
	if !ok {
		return nil
	}
	if err := access.Read(d.Name); err != nil {
		return err
	}
	return access.Write(alternate)
}

// Exchange is what an exchange was declared with, if there is one of the name.
func (v *VirtualHost) Exchange(name string) (spec object.ExchangeSpec, ok bool) {
	return v.router.Exchange(name)
}

// HasExchange says whether there is an exchange of a name.
func (v *VirtualHost) HasExchange(name string) bool {
	_, ok := v.router.Exchange(name)
	return ok
}

// ExchangeType is the type of an exchange; empty when there is none of that name.
func (v *VirtualHost) ExchangeType(name string) string {
	spec, _ := v.router.Exchange(name)
	return spec.Type
}

func equivalentExchange(d ExchangeDeclaration, spec object.ExchangeSpec, vhost string) error {
	differ := func(field string, want, have any) error {
		return errorf(Precondition, "inequivalent arg '%s' for exchange '%s' in vhost '%s': received '%v' but current is '%v'", field, d.Name, vhost, want, have)
	}
	switch {
	case d.Spec.Type != spec.Type:
		return differ("type", d.Spec.Type, spec.Type)
	case d.Spec.Durable != spec.Durable:
		return differ("durable", d.Spec.Durable, spec.Durable)
	case d.Spec.AutoDelete != spec.AutoDelete:
		return differ("auto_delete", d.Spec.AutoDelete, spec.AutoDelete)
	case d.Spec.Internal != spec.Internal:
		return differ("internal", d.Spec.Internal, spec.Internal)
	}
	if name, ok := d.Spec.Arguments.Differ(spec.Arguments); ok {
		return errorf(Precondition, "inequivalent arg '%s' for exchange '%s' in vhost '%s': %s", name, d.Name, vhost, object.Mismatch(name, d.Spec.Arguments, spec.Arguments))
	}
	return nil
}

// DeleteExchange removes an exchange and its bindings. One that does not exist is no error.
func (v *VirtualHost) DeleteExchange(ctx context.Context, access *auth.Access, name string, ifUnused bool) error {
	if err := access.Configure(name); err != nil {
		return err
	}
	spec, ok := v.router.Exchange(name)
	if !ok {
		return nil
	}
	if name == "" || strings.HasPrefix(name, "amq.") {
		return errorf(Refused, "deletion of system exchange '%s' in vhost '%s' not allowed", name, v.name)
	}
	if ifUnused && v.router.InUse(name) {
		return errorf(Precondition, "exchange '%s' in vhost '%s' in use", name, v.name)
	}
	if spec.Durable {
		return v.hub.unwant(ctx, object.KindExchange, v.name, name, deletionOf(ifUnused, false))
	}
	return routerError(v.router.Delete(name, ifUnused))
}

func deletionOf(ifUnused, ifEmpty bool) object.Deletion {
	switch {
	case ifEmpty:
		return object.DeleteIfEmpty
	case ifUnused:
		return object.DeleteIfUnused
	}
	return object.DeleteAlways
}

// QueueDeclaration is a wish for a queue. An empty name asks for one to be made.
type QueueDeclaration struct {
	Name      string
	Spec      object.QueueSpec
	Exclusive bool
	Passive   bool
	Origin    uint64 // the connection that declares
	Gone      func() // of a transient queue that is made: called when it was removed. It must not call the hub
}

// DeclareQueue makes sure that a queue exists as declared and answers it.
func (v *VirtualHost) DeclareQueue(ctx context.Context, access *auth.Access, d QueueDeclaration) (*Queue, error) {
	if d.Name != "" {
		q, err := v.queueFor(d.Name, d.Origin)
		if err == nil && (d.Passive || q.equivalent(d) == nil) {
			q.lease.use()
			return q, v.mayDeclare(access, d)
		}
		if err == nil {
			return nil, q.equivalent(d)
		}
		if d.Passive || CodeOf(err) != NotFound {
			return nil, err
		}
		if strings.HasPrefix(d.Name, "amq.") {
			return nil, errorf(Refused, "queue name '%s' contains reserved prefix 'amq.*'", d.Name)
		}
	} else {
		d.Name = "amq.gen-" + randomName()
	}
	if err := v.mayDeclare(access, d); err != nil {
		return nil, err
	}
	if d.Spec.Durable && !d.Exclusive {
		if err := v.hub.want(ctx, object.KindQueue, v.name, d.Name, d.Spec); err != nil {
			return nil, err
		}
		return v.queueFor(d.Name, d.Origin)
	}
	return v.addTransient(d)
}

func (v *VirtualHost) mayDeclare(access *auth.Access, d QueueDeclaration) error {
	if d.Passive {
		return nil
	}
	return access.Configure(d.Name)
}

func (v *VirtualHost) addTransient(d QueueDeclaration) (*Queue, error) {
	if err := v.hub.checkQueue(d.Spec); err != nil {
		return nil, err
	}
	q := v.newQueue(d.Name, d.Spec)
	q.gone = d.Gone
	if d.Exclusive {
		q.exclusive = d.Origin
	}
	v.mu.Lock()
	if old := v.queues[d.Name]; old != nil { // another connection was faster
		v.mu.Unlock()
		return old.declaredAgain(d)
	}
	v.queues[d.Name] = q
	v.mu.Unlock()
	v.router.AddQueue(d.Name, q)
	return q, nil
}

// declaredAgain answers the queue to a declaration of its name.
func (q *Queue) declaredAgain(d QueueDeclaration) (*Queue, error) {
	if q.exclusive != 0 && q.exclusive != d.Origin {
		return nil, locked(q.name, q.host.name)
	}
	if err := q.equivalent(d); err != nil {
		return nil, err
	}
	return q, nil
}

func randomName() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (v *VirtualHost) newQueue(name string, spec object.QueueSpec) *Queue {
	q := &Queue{host: v, name: name, spec: spec, auto: spec.AutoDelete}
	a := q.arguments()
	q.state = queue.New(queueOptions(a))
	q.obey(a)
	return q
}

// obey brings what the queue does beside its state to its arguments; its owner calls it.
func (q *Queue) obey(a object.Arguments) {
	q.deadLetter = newDeadLetter(q.host, a)
	q.setTimeout(a)
	q.keying = keyingOf(a)
	q.durability = q.host.hub.durability(a)
	ms, _, _ := a.Int("x-expires")
	q.lease.set(q, time.Duration(ms)*time.Millisecond)
}

// arguments are what the queue's own come to with the policies that apply to it; those of topic policies are defaults.
func (q *Queue) arguments() object.Arguments { return q.applied().Arguments }

func (q *Queue) applied() policy.Applied {
	defaults := q.host.hub.authority.QueueArguments(q.host.name, q.name)
	return q.host.policies.Queue(q.name, q.spec.Arguments, defaults)
}

// followPolicies brings live queues and exchanges to what policies say now. How many priorities a queue has is settled
// when it is made.
func (v *VirtualHost) followPolicies() {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, q := range v.queues {
		q.later(func(q *Queue, now int64) {
			a := q.arguments()
			q.state.Configure(queueOptions(a))
			q.obey(a)
			q.state.Pump(now)
		})
	}
	for _, x := range v.router.Exchanges() {
		v.followExchange(x.Name, x.Spec)
	}
}

// followExchange gives an exchange the alternate that a policy says it has.
func (v *VirtualHost) followExchange(name string, spec object.ExchangeSpec) {
	if name == "" {
		return // the default exchange has none, whatever is said
	}
	alternate, _, _ := v.policies.Exchange(name, spec.Arguments).Arguments.Text(object.AlternateExchange)
	v.router.SetAlternate(name, alternate)
}

// equivalent compares a declaration with the queue. RabbitMQ's rules and texts.
func (q *Queue) equivalent(d QueueDeclaration) error {
	differ := func(field string, want, have any) error {
		return errorf(Precondition, "inequivalent arg '%s' for queue '%s' in vhost '%s': received '%v' but current is '%v'", field, q.name, q.host.name, want, have)
	}
	switch {
	case d.Exclusive != (q.exclusive != 0):
		return locked(q.name, q.host.name)
	case d.Spec.Durable != q.spec.Durable:
		return differ("durable", d.Spec.Durable, q.spec.Durable)
	case d.Spec.AutoDelete != q.spec.AutoDelete:
		return differ("auto_delete", d.Spec.AutoDelete, q.spec.AutoDelete)
	}
	if name, ok := d.Spec.Arguments.Differ(q.spec.Arguments); ok {
		return errorf(Precondition, "inequivalent arg '%s' for queue '%s' in vhost '%s': %s", name, q.name, q.host.name, object.Mismatch(name, d.Spec.Arguments, q.spec.Arguments))
	}
	return nil
}

func locked(queue, vhost string) error {
	return errorf(Locked, "cannot obtain exclusive access to locked queue '%s' in vhost '%s'. It could be originally declared on another connection "+
		"or the exclusive property value does not match that of the original declaration.", queue, vhost)
}

// Queue finds a queue that the connection may use.
func (v *VirtualHost) Queue(name string, origin uint64) (*Queue, error) {
	return v.queueFor(name, origin)
}

func (v *VirtualHost) queueFor(name string, origin uint64) (*Queue, error) {
	v.mu.RLock()
	q := v.queues[name]
	v.mu.RUnlock()
	if q == nil {
		return nil, errorf(NotFound, "no queue '%s' in vhost '%s'", name, v.name)
	}
	if q.exclusive != 0 && q.exclusive != origin {
		return nil, locked(name, v.name)
	}
	return q, nil
}

// Queues lists the queues, sorted by name; those of MQTT sessions are among them.
func (v *VirtualHost) Queues() []*Queue {
	v.mu.RLock()
	out := make([]*Queue, 0, len(v.queues)+len(v.sessions))
	for _, q := range v.queues {
		out = append(out, q)
	}
	for _, s := range v.sessions {
		out = append(out, s.queue)
	}
	v.mu.RUnlock()
	slices.SortFunc(out, func(a, b *Queue) int { return strings.Compare(a.name, b.name) })
	return out
}

// routerError turns an error of the router into one of the hub.
func routerError(err error) error {
	var e *router.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		codes := map[router.Code]Code{router.NotFound: NotFound, router.Reserved: Refused, router.Inequivalent: Precondition, router.InUse: Precondition, router.UnknownType: Invalid, router.BadArgument: Precondition}
		return &Error{Code: codes[e.Code], Text: e.Error()}
	}
	return err
}
