// Package auth answers two questions, here and nowhere else: who is this, and may they do that.
//
// An Authority holds users, permissions and topic policies, as the catalogue's changes bring them. Endpoints hand it the
// Credentials of a peer and get an Access, which they and the hub ask before every operation. An Access follows the
// changes: what was revoked is refused from then on.
//
// Answers hold until Authority.Generation changes, so that a publisher asks once per destination and not per message.
package auth

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/rate"
)

// Authority decides who may connect and what they may do. Its methods are safe for concurrent use.
type Authority struct {
	config     func() config.Config
	generation atomic.Uint64
	verifier   *verifier
	throttle   throttle
	failures   atomic.Uint64
	clients    clients
	guest      *rate.Account // of those who are the guest
	nobody     *rate.Account // of anonymous clients, unless they are a user

	scramSecret scramSecret
	guestKeys   guestKeys

	mu          sync.RWMutex // guards what follows; the values are immutable
	hosts       map[string]struct{}
	users       map[string]*user
	permissions map[permissionKey]*permission
	policies    map[string][]*policy // by virtual host, the ones that win first
}

type user struct {
	name string
	id   uint64 // of the catalogue: a user that was deleted and made again is another
	tags []string
	hash string
	// scram are keys of the same password, as object.ScramKeys writes them.
	scram []string
	// previous is the password of before, as long as it is right; nil if there is none.
	previous *previous
	clients  clientPatterns

	limits  object.UserLimits
	account *rate.Account // the same for as long as the user exists
	// verified is the proof of the password that was right last. It goes with the user when that changes.
	verified atomic.Pointer[proof]
}

// previous is a password that is right for some time after another took its place.
type previous struct {
	hash     string
	scram    []string
	until    time.Time
	verified atomic.Pointer[proof]
}

// former is the password of before if it is right at a time; nil otherwise, and for nobody.
func (u *user) former(now time.Time) *previous {
	if u == nil || u.previous == nil || !now.Before(u.previous.until) {
		return nil
	}
	return u.previous
}

type permissionKey struct{ host, user string }

// New makes an authority without users. It reads the configuration in force whenever it decides.
func New(config func() config.Config) *Authority {
	return &Authority{
		config:      config,
		verifier:    newVerifier(),
		throttle:    throttle{peers: make(map[peer]*failures)},
		scramSecret: newScramSecret(),
		clients:     clients{by: make(map[clientKey]*rate.Account)},
		guest:       rate.NewAccount(),
		nobody:      rate.NewAccount(),
		hosts:       make(map[string]struct{}),
		users:       make(map[string]*user),
		permissions: make(map[permissionKey]*permission),
		policies:    make(map[string][]*policy),
	}
}

// Generation changes whenever an answer of an Access may have changed.
func (a *Authority) Generation() uint64 { return a.generation.Load() }

// Update takes in a change of the catalogue. Changes come in the order of their revisions.
func (a *Authority) Update(c catalog.Change) {
	o := c.After
	if o == nil {
		o = c.Before
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o.Kind {
	case object.KindVirtualHost:
		set(a.hosts, o.Name, struct{}{}, c.After != nil)
	case object.KindUser:
		set(a.users, o.Name, newUser(o, a.users[o.Name]), c.After != nil)
	case object.KindPermission:
		set(a.permissions, permissionKey{o.VirtualHost, o.Name}, newPermission(o), c.After != nil)
	case object.KindTopicPolicy:
		a.setPolicy(o, c.After != nil)
	default:
		return
	}
	a.generation.Add(1)
}

func set[K comparable, V any](m map[K]V, k K, v V, there bool) {
	if there {
		m[k] = v
	} else {
		delete(m, k)
	}
}

func (a *Authority) setPolicy(o *object.Object, there bool) {
	list := slices.DeleteFunc(slices.Clone(a.policies[o.VirtualHost]), func(p *policy) bool { return p.name == o.Name })
	if there {
		p := newPolicy(o)
		at, _ := slices.BinarySearchFunc(list, p, (*policy).compare)
		list = slices.Insert(list, at, p)
	}
	set(a.policies, o.VirtualHost, list, len(list) > 0)
}

// newUser takes over from what the user was before, nil if it is new.
func newUser(o *object.Object, before *user) *user {
	s := decode[object.UserSpec](o)
	u := &user{name: o.Name, id: o.ID, tags: s.Tags, hash: s.PasswordHash, scram: s.Scram, limits: s.Limits, clients: newClientPatterns(s.ClientIDs, o.Name)}
	if p := s.Previous; p != nil {
		u.previous = &previous{hash: p.Hash, scram: p.Scram, until: time.Unix(p.Until, 0)}
	}
	if before != nil && before.id == o.ID {
		u.account = before.account
	} else {
		u.account = rate.NewAccount()
	}
	return u
}

// decode reads a spec that the catalogue has checked.
func decode[T any](o *object.Object) T {
	s, err := object.Decode[T](*o)
	if err != nil {
		panic(fmt.Sprintf("catalogue holds what it would refuse: %v", err))
	}
	return s
}

// permission is a PermissionSpec ready to be asked.
type permission struct {
	spec                   object.PermissionSpec
	configure, write, read expression
	topics                 []rule
}

type rule struct {
	filter             template
	publish, subscribe bool
}

func newPermission(o *object.Object) *permission {
	s := decode[object.PermissionSpec](o)
	p := &permission{spec: s, configure: compile(s.Configure), write: compile(s.Write), read: compile(s.Read)}
	for _, t := range s.Topics {
		p.topics = append(p.topics, rule{newTemplate(t.Filter), t.Publish, t.Subscribe})
	}
	return p
}

// everything is the permission of those whom no permission restricts.
var everything = &permission{configure: compile(".*"), write: compile(".*"), read: compile(".*")}

// expression is a regular expression over names; nil matches nothing.
type expression func(name string) bool

func compile(pattern string) expression {
	switch pattern {
	case "":
		return func(string) bool { return false }
	case ".*", "^.*$", "^.*", ".*$":
		return func(string) bool { return true }
	}
	return regexp.MustCompile(pattern).MatchString // the catalogue has compiled it before
}

// Verifications counts the passwords that were verified against a hash, which takes tens of milliseconds each.
func (a *Authority) Verifications() uint64 { return a.verifier.done.Load() }

// Failures counts logins that were refused since the start.
func (a *Authority) Failures() uint64 { return a.failures.Load() }

// Refresh says that the configuration changed: answers that were kept are asked for again.
func (a *Authority) Refresh() { a.generation.Add(1) }

// Denied is a refusal of something that an authenticated peer asked for.
type Denied struct {
	Verb        string // connect to, configure, write to, read from, publish to, subscribe to
	Resource    string // a name of what Verb is about
	User        string // empty for an anonymous peer
	VirtualHost string
	Why         string // a clause; empty when a permission is simply missing
}

func (d *Denied) Error() string {
	var b strings.Builder
	if d.User == "" {
		b.WriteString("an anonymous client")
	} else {
		fmt.Fprintf(&b, "user '%s'", d.User)
	}
	fmt.Fprintf(&b, " may not %s ", d.Verb)
	if d.Verb == verbConnect {
		fmt.Fprintf(&b, "vhost '%s'", d.VirtualHost)
	} else {
		fmt.Fprintf(&b, "'%s' in vhost '%s'", d.Resource, d.VirtualHost)
	}
	if d.Why != "" {
		b.WriteString(": " + d.Why)
	}
	return b.String()
}

const (
	verbConnect   = "connect to"
	verbConfigure = "configure"
	verbWrite     = "write to"
	verbRead      = "read from"
	verbPublish   = "publish to"
	verbSubscribe = "subscribe to"
)
