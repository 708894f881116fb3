package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/object"
)

var (
	local  = netip.MustParseAddr("127.0.0.1")
	remote = netip.MustParseAddr("192.0.2.7")
)

// world is an authority fed by a catalogue, as the hub does it.
type world struct {
	t       testing.TB
	config  config.Config
	catalog *catalog.State
	*Authority
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, config: config.Default(), catalog: catalog.New()}
	w.config.Auth.ScramIterations = object.LeastScramIterations
	w.Authority = New(func() config.Config { return w.config })
	w.apply(wish(t, object.KindVirtualHost, "", "/", object.VirtualHostSpec{}))
	return w
}

func (w *world) apply(changes ...object.Change) {
	w.t.Helper()
	p, err := w.catalog.Plan("", changes, catalog.Passwords{Hash: quickHash, Keys: w.keys, Verify: Verify, Now: time.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range p.Results {
		if r.Outcome == object.Refused || r.Outcome == object.Conflict {
			w.t.Fatalf("%s: %s", r.Key, r.Message)
		}
	}
	if p.Command == nil {
		return
	}
	applied, err := w.catalog.Apply(p.Command)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range applied {
		w.Update(c)
	}
}

func (w *world) keys(password string, salts []string) ([]string, error) {
	return ScramKeys(password, w.config.Auth.ScramIterations, salts)
}

// quickHash is a stored form that costs little to verify.
func quickHash(password string) (string, error) {
	e := encoded{memory: 8, time: 1, threads: 1, salt: []byte("salt of the test")}
	e.hash = e.sum(password, hashBytes)
	return e.String(), nil
}

func wish(t testing.TB, kind object.Kind, vhost, name string, spec any) object.Change {
	t.Helper()
	o, err := object.New(kind, vhost, name, spec)
	if err != nil {
		t.Fatal(err)
	}
	return object.Change{Object: o}
}

func (w *world) user(name, password string, tags ...string) {
	w.t.Helper()
	w.apply(wish(w.t, object.KindUser, "", name, object.UserSpec{Password: password, Tags: tags}))
}

func (w *world) permit(name string, p object.PermissionSpec) {
	w.t.Helper()
	w.apply(wish(w.t, object.KindPermission, "/", name, p))
}

func (w *world) remove(kind object.Kind, vhost, name string) {
	w.t.Helper()
	w.apply(object.Change{Object: object.Object{Key: object.Key{Kind: kind, VirtualHost: vhost, Name: name}}, Delete: object.DeleteAlways})
}

func (w *world) login(c Credentials) (*Access, error) {
	if !c.Peer.IsValid() {
		c.Peer = remote
	}
	return w.Authenticate(context.Background(), c)
}

func (w *world) mustLogin(c Credentials) *Access {
	w.t.Helper()
	a, err := w.login(c)
	if err != nil {
		w.t.Fatalf("login of %+v: %v", c, err)
	}
	return a
}

var anything = object.PermissionSpec{Configure: ".*", Write: ".*", Read: ".*"}

func TestWhoMayComeIn(t *testing.T) {
	w := newWorld(t)
	cert := func(cn string, dns ...string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: cn}, DNSNames: dns}
	}
	check := func(name string, c Credentials, want error) {
		t.Helper()
		_, err := w.login(c)
		if want == nil && err != nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, wanted %v", name, err, want)
		}
	}
	guest := Credentials{User: "guest", Password: "guest", VirtualHost: "/"}
	nobody := Credentials{Anonymous: true, VirtualHost: "/"}
	from := func(c Credentials, a netip.Addr) Credentials { c.Peer = a; return c }

	check("guest from here, before any user", from(guest, local), nil)
	check("guest from IPv6 loopback", from(guest, netip.MustParseAddr("::1")), nil)
	check("guest from mapped loopback", from(guest, netip.MustParseAddr("::ffff:127.0.0.1")), nil)
	check("guest from elsewhere", from(guest, remote), ErrCredentials)
	check("guest with another password", from(Credentials{User: "guest", Password: "x"}, local), ErrCredentials)
	check("anonymous from here", from(nobody, local), nil)
	check("anonymous from elsewhere", from(nobody, remote), ErrAnonymous)

	w.user("root", "secret", catalog.TagAdministrator)
	check("guest once there is a user", from(guest, local), ErrCredentials)
	check("anonymous once there is a user", from(nobody, local), ErrAnonymous)
	check("a user", Credentials{User: "root", Password: "secret"}, nil)
	check("again, known", Credentials{User: "root", Password: "secret"}, nil)
	check("a wrong password", Credentials{User: "root", Password: "Secret"}, ErrCredentials)
	check("no password", Credentials{User: "root"}, ErrCredentials)
	check("nobody's name", Credentials{User: "toor", Password: "secret"}, ErrCredentials)
	check("a certificate", Credentials{Certificate: cert("root")}, nil)
	check("a certificate by its DNS name", Credentials{Certificate: cert("", "root", "other")}, nil)
	check("a certificate of nobody", Credentials{Certificate: cert("toor")}, ErrCredentials)
	check("a certificate without names", Credentials{Certificate: cert("")}, ErrCredentials)
	check("a certificate of another", Credentials{User: "toor", Certificate: cert("root")}, ErrCredentials)
	many := cert("root", "other")
	many.EmailAddresses, many.URIs = []string{"toor@example"}, []*url.URL{{Scheme: "spiffe", Host: "root"}}
	w.user("spiffe://root", "secret")
	for which, user := range map[string]string{"": "root", "common-name": "root", "dns-name": "", "email": "", "uri": "spiffe://root"} {
		w.config.Auth.CertificateName = which
		a, err := w.login(Credentials{Certificate: many})
		if user == "" && !errors.Is(err, ErrCredentials) || user != "" && (err != nil || a.User() != user) {
			t.Errorf("a certificate by %q: %v, %v", which, a, err)
		}
	}
	w.config.Auth.CertificateName = ""
	check("a password beside a certificate", Credentials{User: "root", Password: "no", Certificate: cert("root")}, ErrCredentials)

	w.user("robot", "")
	check("a user without a password", Credentials{User: "robot"}, ErrCredentials)
	check("the same with a certificate", Credentials{Certificate: cert("robot")}, nil)

	w.user("root", "changed", catalog.TagAdministrator)
	check("the former password", Credentials{User: "root", Password: "secret"}, ErrCredentials)
	check("the new password", Credentials{User: "root", Password: "changed"}, nil)

	w.config.Auth.Anonymous = "always"
	check("anonymous, always", from(nobody, remote), nil)
	w.config.Auth.Anonymous = "never"
	check("anonymous, never", from(nobody, local), ErrAnonymous)
}

func TestVirtualHostNeedsPermission(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "a")
	var denied *Denied
	for _, host := range []string{"/", "elsewhere"} {
		if _, err := w.login(Credentials{User: "ann", Password: "a", VirtualHost: host}); !errors.As(err, &denied) {
			t.Errorf("vhost %q without permission: %v", host, err)
		}
	}
	if want := "user 'ann' may not connect to vhost 'elsewhere': it does not exist"; denied == nil || denied.Error() != want {
		t.Errorf("%v, wanted %q", denied, want)
	}
	w.permit("ann", anything)
	a := w.mustLogin(Credentials{User: "ann", Password: "a", VirtualHost: "/", ClientID: "c1"})
	if a.User() != "ann" || a.VirtualHost() != "/" || a.ClientID() != "c1" || a.Administrator() || len(a.Tags()) > 0 {
		t.Errorf("access is %q %q %q %v", a.User(), a.VirtualHost(), a.ClientID(), a.Tags())
	}
}

func TestAccessFollowsChanges(t *testing.T) {
	w := newWorld(t)
	guest := w.mustLogin(Credentials{User: "guest", Password: "guest", Peer: local, VirtualHost: "/"})
	anonymous := w.mustLogin(Credentials{Anonymous: true, Peer: local, VirtualHost: "/"})
	if !guest.Administrator() || anonymous.Administrator() || anonymous.User() != "" {
		t.Fatal("guest must be administrator, anonymous clients must not")
	}
	before := w.Generation()
	w.user("ann", "a")
	if w.Generation() == before {
		t.Error("a first user did not change the generation")
	}
	for name, a := range map[string]*Access{"guest": guest, "anonymous": anonymous} {
		if !a.Revoked() || a.Write("x") == nil || a.Publish("t") == nil || a.Subscribe("t") == nil || len(a.Tags()) > 0 {
			t.Errorf("%s kept its access after the first user came", name)
		}
	}
	w.permit("ann", anything)
	ann := w.mustLogin(Credentials{User: "ann", Password: "a", VirtualHost: "/"})
	if err := ann.Write("x"); err != nil || ann.Revoked() {
		t.Fatalf("write: %v", err)
	}
	w.permit("ann", object.PermissionSpec{Read: ".*"})
	if ann.Write("x") == nil || ann.Read("x") != nil || ann.Revoked() {
		t.Error("a narrowed permission is not in force")
	}
	w.remove(object.KindPermission, "/", "ann")
	if !ann.Revoked() || ann.Read("x") == nil {
		t.Error("a removed permission is not in force")
	}
	w.permit("ann", anything)
	w.remove(object.KindUser, "", "ann")
	w.user("ann", "a")
	w.permit("ann", anything)
	if !ann.Revoked() || ann.Read("x") == nil {
		t.Error("access outlived its user, who was made again")
	}
	again := w.mustLogin(Credentials{User: "ann", Password: "a", VirtualHost: "/"})
	w.remove(object.KindVirtualHost, "", "/")
	if !again.Revoked() || again.Read("x") == nil {
		t.Error("access outlived its virtual host")
	}
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "a")
	w.permit("ann", object.PermissionSpec{Configure: "^own-", Write: "^(own-.*|amq\\.default)$", Read: ""})
	a := w.mustLogin(Credentials{User: "ann", Password: "a", VirtualHost: "/"})
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"configure own", a.Configure("own-q"), ""},
		{"configure other", a.Configure("q-own-"), "user 'ann' may not configure 'q-own-' in vhost '/'"},
		{"write own", a.Write("own-x"), ""},
		{"write default exchange", a.Write(""), ""},
		{"write other", a.Write("x"), "user 'ann' may not write to 'x' in vhost '/'"},
		{"read with an empty expression", a.Read("own-q"), "user 'ann' may not read from 'own-q' in vhost '/'"},
		{"read nothing's name", a.Read(""), "user 'ann' may not read from 'amq.default' in vhost '/'"},
	} {
		if text := textOf(c.err); text != c.want {
			t.Errorf("%s: %q, wanted %q", c.name, text, c.want)
		}
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAnonymousUsersPermissions(t *testing.T) {
	w := newWorld(t)
	w.config.Auth.Anonymous = "always"
	a := w.mustLogin(Credentials{Anonymous: true, VirtualHost: "/"})
	w.user("root", "r", catalog.TagAdministrator)
	if a.Revoked() || a.Write("x") != nil {
		t.Error("anonymous clients lost what they may always do")
	}
	w.user("anonymous", "")
	if !a.Revoked() {
		t.Error("the user anonymous has no permission, but anonymous clients stay")
	}
	w.permit("anonymous", object.PermissionSpec{Read: "^public$"})
	if a.Revoked() || a.Write("x") == nil || a.Read("public") != nil {
		t.Error("the permission of the user anonymous is not that of anonymous clients")
	}
}

func TestTopicRules(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "a")
	w.user("a+b/c", "a")
	rules := anything
	rules.Topics = []object.TopicRule{
		{Filter: "public/#", Publish: true, Subscribe: true},
		{Filter: "home/%u/#", Publish: true, Subscribe: true},
		{Filter: "device/+/%c/state", Publish: true},
		{Filter: "news/+", Subscribe: true},
	}
	w.permit("ann", rules)
	w.permit("a+b/c", rules)
	ann := w.mustLogin(Credentials{User: "ann", Password: "a", VirtualHost: "/", ClientID: "c#1"})
	deep := w.mustLogin(Credentials{User: "ann", Password: "a", VirtualHost: "/", ClientID: "c/d"})
	odd := w.mustLogin(Credentials{User: "a+b/c", Password: "a", VirtualHost: "/"})
	for _, c := range []struct {
		who                *Access
		topic              string
		publish, subscribe bool
	}{
		{ann, "public", true, true},
		{ann, "public/a/b", true, true},
		{ann, "public/#", true, true},
		{ann, "public/+/x", true, true},
		{ann, "publicity", false, false},
		{ann, "+/a", false, false},
		{ann, "#", false, false},
		{ann, "home/ann", true, true},
		{ann, "home/ann/x/y", true, true},
		{ann, "home/bob/x", false, false},
		{ann, "home/+/x", false, false},
		{ann, "home/#", false, false},
		{ann, "device/7/c#1/state", true, false},
		{ann, "device/7/c1/state", false, false},
		{ann, "device/7/8/c#1/state", false, false},
		{ann, "news/a", false, true},
		{ann, "news/+", false, true},
		{ann, "news/*", false, true},
		{ann, "news/#", false, false},
		{ann, "news", false, false},
		{deep, "device/7/c/d/state", false, false},
		{deep, "home/ann/x", true, true},
		{odd, "home/a+b/c/x", true, true},
		{odd, "home/axb/c/x", false, false},
		{odd, "device/7//state", false, false},
	} {
		if err := c.who.Publish(c.topic); (err == nil) != c.publish {
			t.Errorf("%s: publish to %q: %v", c.who.User(), c.topic, err)
		}
		if err := c.who.Subscribe(c.topic); (err == nil) != c.subscribe {
			t.Errorf("%s: subscribe to %q: %v", c.who.User(), c.topic, err)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestTopicPolicies(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"ann", "bob"} {
		w.user(name, name)
		w.permit(name, anything)
	}
	policy := func(name string, s object.TopicPolicySpec) {
		w.apply(wish(t, object.KindTopicPolicy, "/", name, s))
	}
	policy("all", object.TopicPolicySpec{Filter: "#", MaxQoS: ptr(uint8(1)), MaxPayloadBytes: 1000})
	policy("secret", object.TopicPolicySpec{
		Priority: 10, Filter: "secret/#", Publishers: []string{"ann"}, Subscribers: []string{"ann"},
		RetainAllowed: ptr(false), MessageExpirySeconds: 60, MaxMessagesPerSecond: 2.5, MaxBytesPerSecond: 100,
	})
	policy("secret-too", object.TopicPolicySpec{Priority: 10, Filter: "secret/+", MaxPayloadBytes: 1})
	policy("open", object.TopicPolicySpec{Priority: 20, Filter: "secret/open/#"})
	policy("low", object.TopicPolicySpec{Priority: 20, Filter: "low/+/x", MaxQoS: ptr(uint8(0))})
	policy("queues", object.TopicPolicySpec{Priority: 5, QueuePattern: "^q", QueueArguments: object.Arguments{"x-max-length": int64(5)}})
	ann := w.mustLogin(Credentials{User: "ann", Password: "ann", VirtualHost: "/"})
	bob := w.mustLogin(Credentials{User: "bob", Password: "bob", VirtualHost: "/"})

	secret := PublishLimits{RetainForbidden: true, MessageExpiryMillis: 60_000, MaxMessagesPerSecond: 2.5, MaxBytesPerSecond: 100, Policy: "secret"}
	for topic, want := range map[string]PublishLimits{"x": {MaxPayloadBytes: 1000, Policy: "all"}, "secret/a": secret, "secret/open/a": {Policy: "open"}, "$SYS/x": {}} {
		if got := ann.PublishLimits(topic); got != want {
			t.Errorf("limits of %q: %+v, wanted %+v", topic, got, want)
		}
	}
	for filter, want := range map[string]uint8{"x": 1, "low/a/x": 0, "low/+/x": 0, "low/#": 0, "#": 0, "low/a/y": 1, "secret/open/#": 2, "secret/#": 2} {
		if got := ann.SubscribeLimits(filter).MaxQoS; got != want {
			t.Errorf("highest QoS of %q: %d, wanted %d", filter, got, want)
		}
	}
	for filter, bobs := range map[string]bool{"x": true, "secret/a": false, "secret/#": false, "+/a": false, "*/a": false, "#": false, "secret/open/#": true, "secret/open": true, "low/#": true} {
		if err := ann.Subscribe(filter); err != nil {
			t.Errorf("ann and %q: %v", filter, err)
		}
		if err := bob.Subscribe(filter); (err == nil) != bobs {
			t.Errorf("bob and %q: %v", filter, err)
		}
	}
	if ann.Publish("secret/a") != nil || bob.Publish("secret/open") != nil {
		t.Error("publishers whom policies let pass are refused")
	}
	want := "user 'bob' may not publish to 'secret/a' in vhost '/': topic policy 'secret' does not name it among its publishers"
	if got := textOf(bob.Publish("secret/a")); got != want {
		t.Errorf("%q, wanted %q", got, want)
	}
	if got := fmt.Sprint(w.QueueArguments("/", "q1"), w.QueueArguments("/", "r")); got != "map[x-max-length:5] map[]" {
		t.Errorf("queue arguments %s", got)
	}
	w.remove(object.KindTopicPolicy, "/", "secret")
	if err := bob.Publish("secret/a"); err != nil {
		t.Errorf("after the policy is gone: %v", err)
	}
}

func TestPasswords(t *testing.T) {
	h, err := Hash("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") || !Verify(h, "correct horse") || Verify(h, "correct hors") {
		t.Errorf("hash %q", h)
	}
	if again, err := Hash("correct horse"); err != nil || again == h {
		t.Errorf("two hashes of a password are the same: %v", err)
	}
	// Of the reference implementation: password "password", salt "somesalt".
	const vector = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if !Verify(vector, "password") {
		t.Error("the reference hash is not verified")
	}
	for _, bad := range []string{
		"", "plain", "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=8,t=4000000,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=8,t=1,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$", "$argon2id$v=19$m=8,t=1,p=1$!$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
	} {
		if _, err := parse(bad); err == nil || Verify(bad, "") {
			t.Errorf("%q is taken for a hash", bad)
		}
	}
}

// TestSameWork: a login that fails takes one verification, of the same cost, whether the user exists or not, and one
// that is known takes none.
func TestSameWork(t *testing.T) {
	w := newWorld(t)
	w.apply(wish(t, object.KindUser, "", "root", object.UserSpec{PasswordHash: w.verifier.decoy}))
	decoy, err := parse(w.verifier.decoy)
	if err != nil || decoy.memory != costMemory || decoy.time != costTime || decoy.threads != costThreads {
		t.Fatalf("the decoy costs %+v (%v), not what a new hash costs", decoy, err)
	}
	count := func(c Credentials) int {
		before := w.verifier.done.Load()
		w.login(c) //nolint:errcheck // only the work counts
		return int(w.verifier.done.Load() - before)
	}
	for name, c := range map[string]Credentials{
		"wrong password": {User: "root", Password: "x"}, "no such user": {User: "toor", Password: "x"},
		"no password": {User: "root"}, "no name": {Password: "x"},
	} {
		if n := count(c); n != 1 {
			t.Errorf("%s: %d verifications, wanted 1", name, n)
		}
	}
	w.user("ann", "a")
	good := Credentials{User: "ann", Password: "a"}
	if first, second := count(good), count(good); first != 1 || second != 0 {
		t.Errorf("a good password took %d verifications, then %d; wanted 1, then 0", first, second)
	}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.config.Limits.AuthFailuresPerMin = 3
		w.user("ann", "a")
		bad, good := Credentials{User: "ann", Password: "x"}, Credentials{User: "ann", Password: "a"}
		for range 3 {
			if _, err := w.login(bad); !errors.Is(err, ErrCredentials) {
				t.Fatalf("before the limit: %v", err)
			}
		}
		if _, err := w.login(good); !errors.Is(err, ErrThrottled) {
			t.Errorf("at the limit: %v", err)
		}
		elsewhere := good
		elsewhere.Peer = local
		w.mustLogin(elsewhere)
		w.mustLogin(good) // it is known now, and costs nothing
		if _, err := w.login(bad); !errors.Is(err, ErrThrottled) {
			t.Errorf("at the limit: %v", err)
		}
		time.Sleep(time.Minute) // of the bubble's clock
		if _, err := w.login(bad); !errors.Is(err, ErrCredentials) {
			t.Errorf("a minute later: %v", err)
		}
	})
}

func TestThrottleIsBounded(t *testing.T) {
	h := throttle{peers: make(map[peer]*failures)}
	at := time.Now()
	address := netip.MustParseAddr("10.0.0.0")
	for range mostPeers + 10 {
		h.failed(address, at)
		address = address.Next()
	}
	if n := len(h.peers); n > mostPeers {
		t.Errorf("%d addresses are kept, more than %d", n, mostPeers)
	}
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:2")
	if peerOf(a) != peerOf(b) || peerOf(a) == peerOf(netip.MustParseAddr("2001:db8:0:1::1")) {
		t.Error("IPv6 addresses do not count by /64")
	}
}

func TestVerificationWaitsNoLongerThanItsContext(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "a")
	for range cap(w.verifier.slots) {
		w.verifier.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.Authenticate(ctx, Credentials{User: "ann", Password: "a", Peer: remote}); !errors.Is(err, context.Canceled) {
		t.Errorf("with every slot taken: %v", err)
	}
}

func TestPeerCertificateMustBeVerified(t *testing.T) {
	c := &x509.Certificate{}
	shown := tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
	if PeerCertificate(shown) != nil {
		t.Error("a certificate that nobody verified counts")
	}
	shown.VerifiedChains = [][]*x509.Certificate{{c}}
	if PeerCertificate(shown) != c {
		t.Error("a verified certificate does not count")
	}
}

func BenchmarkKnownPassword(b *testing.B) {
	w := newWorld(new(testing.T))
	w.user("ann", "a")
	c := Credentials{User: "ann", Password: "a", Peer: remote}
	w.mustLogin(c)
	b.ReportAllocs()
	for b.Loop() {
		w.mustLogin(c)
	}
}

func TestRenames(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "ann")
	w.permit("ann", anything)
	policy := func(name string, priority int, filter, to string) {
		w.apply(wish(t, object.KindTopicPolicy, "/", name, object.TopicPolicySpec{
			Priority: priority, Filter: filter, Rewrite: &object.TopicRewrite{To: to, Publish: true, Subscribe: true},
		}))
	}
	policy("deep", 0, "x/+/y/+/#", "z/{2}/{1}/{#}")
	policy("first", 1, "x/1/#", "one/{#}")
	w.apply(wish(t, object.KindTopicPolicy, "/", "limits", object.TopicPolicySpec{Priority: 9, Filter: "#", MaxPayloadBytes: 5}))
	policy("all", -1, "own/%u/#", "u/%u/c-%c/{#}")
	policy("same", 0, "s/+", "s/{1}/{1}")
	ann := w.mustLogin(Credentials{User: "ann", Password: "ann", VirtualHost: "/", ClientID: "c"})
	for _, c := range []struct{ name, topic, filter string }{
		{"x/a/y/b", "z/b/a", "z/b/a"},
		{"x/a/y/b/c/d", "z/b/a/c/d", "z/b/a/c/d"},
		{"x/a/y/b/", "z/b/a/", "z/b/a/"},
		{"x//y//", "z///", "z///"},
		{"x/1/y/b", "one/y/b", "one/y/b"},
		{"x/a/y", "x/a/y", "x/a/y"},
		{"x/+/y/+/#", "", "z/+/+/#"},
		{"x/+/y/b/+", "", "z/b/+/+"},
		{"x/#", "", "x/#"},
		{"#", "", "#"},
		{"own/ann/1", "u/ann/c-c/1", "u/ann/c-c/1"},
		{"own/ann", "u/ann/c-c", "u/ann/c-c"},
		{"own/bob/1", "own/bob/1", "own/bob/1"},
		{"s/+", "", "s/+/+"},
		{"$x/1", "$x/1", "$x/1"},
	} {
		if c.topic != "" {
			if got, err := ann.RenameTopic(c.name); got != c.topic || err != nil {
				t.Errorf("topic %q became %q, %v; wanted %q", c.name, got, err, c.topic)
			}
		}
		if got, err := ann.RenameFilter(c.name); got != c.filter || err != nil {
			t.Errorf("filter %q became %q, %v; wanted %q", c.name, got, err, c.filter)
		}
	}
	wild := w.mustLogin(Credentials{User: "ann", Password: "ann", VirtualHost: "/", ClientID: "+"})
	if got, err := wild.RenameTopic("own/ann/1"); err == nil {
		t.Errorf("a name with a wildcard became part of %q", got)
	}
	amqp := w.mustLogin(Credentials{User: "ann", Password: "ann", VirtualHost: "/"})
	if got, err := amqp.RenameTopic("own/ann/1"); got != "own/ann/1" || err != nil {
		t.Errorf("without a client id: %q, %v", got, err)
	}
}

func TestAutoSubscriptions(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"ann", "b+b"} {
		w.user(name, name)
		w.permit(name, anything)
	}
	policy := func(name string, priority int, users []string, subs ...object.AutoSubscription) {
		w.apply(wish(t, object.KindTopicPolicy, "/", name, object.TopicPolicySpec{Priority: priority, Subscribers: users, AutoSubscribe: subs}))
	}
	policy("a", 0, nil, object.AutoSubscription{Filter: "to/%c/%u"}, object.AutoSubscription{Filter: "all/+"})
	policy("b", 1, []string{"ann"}, object.AutoSubscription{Filter: "all/+", QoS: 2}, object.AutoSubscription{Filter: "$share/%u/x", RetainHandling: 2})
	for user, want := range map[string]string{
		"ann": "[{all/+ 2 false false 0} {$share/ann/x 0 false false 2} {to/c/ann 0 false false 0}]",
		"b+b": "[{all/+ 0 false false 0}]",
	} {
		a := w.mustLogin(Credentials{User: user, Password: user, VirtualHost: "/", ClientID: "c"})
		if got := fmt.Sprint(a.AutoSubscriptions()); got != want {
			t.Errorf("%s: %s, wanted %s", user, got, want)
		}
	}
}
