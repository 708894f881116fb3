package hub_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func TestVirtualHostBoundsConnections(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	set := func(limit int) {
		t.Helper()
		o, err := object.New(object.KindVirtualHost, "", "few", object.VirtualHostSpec{MaxConnections: limit})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := b.hub.Apply(context.Background(), "", []object.Change{{Object: o}}, hub.ApplyOptions{}); err != nil || r[0].Outcome == object.Refused {
			t.Fatalf("apply: %v %v", r, err)
		}
	}
	set(1)
	access := b.login("guest", "", "few")
	v, err := b.hub.Enter(access)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.hub.Enter(access); hub.CodeOf(err) != hub.TooMany {
		t.Errorf("over the limit: %v", err)
	}
	v.Leave(access)
	if _, err := b.hub.Enter(access); err != nil {
		t.Errorf("after one left: %v", err)
	}
	set(0)
	if _, err := b.hub.Enter(access); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

// login authenticates a user whose password is its name.
func (b *bench) login(user, clientID, vhost string) *auth.Access {
	b.Helper()
	a, err := b.hub.Authority().Authenticate(context.Background(), auth.Credentials{
		User: user, Password: user, Peer: netip.MustParseAddr("127.0.0.1"), VirtualHost: vhost, ClientID: clientID,
	})
	if err != nil {
		b.Fatal(err)
	}
	return a
}

// user makes a user, whose password is its name and who may do everything in the virtual host "/", or changes its limits.
func (b *bench) user(name string, l object.UserLimits) {
	b.Helper()
	user, err := object.New(object.KindUser, "", name, object.UserSpec{Password: name, Limits: l})
	if err != nil {
		b.Fatal(err)
	}
	permission, err := object.New(object.KindPermission, "/", name, object.PermissionSpec{Configure: ".*", Write: ".*", Read: ".*"})
	if err != nil {
		b.Fatal(err)
	}
	results, err := b.hub.Apply(context.Background(), "", []object.Change{{Object: user}, {Object: permission}}, hub.ApplyOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range results {
		if r.Outcome == object.Refused {
			b.Fatal(r.Message)
		}
	}
}

func TestUserBoundsConnections(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	b.user("ann", object.UserLimits{MaxConnections: 1})
	b.user("bob", object.UserLimits{})
	ann, again := b.login("ann", "a", "/"), b.login("ann", "b", "/")
	v, err := b.hub.Enter(ann)
	if err != nil {
		t.Fatal(err)
	}
	want := "connection refused for user 'ann': user connection limit (1) is reached"
	if _, err := b.hub.Enter(again); hub.CodeOf(err) != hub.TooMany || err.Error() != want {
		t.Errorf("over the limit: %v, want %s", err, want)
	}
	if n := b.hub.Stats().UserFull.Load(); n != 1 {
		t.Errorf("%d refusals are counted", n)
	}
	if _, err := b.hub.Enter(b.login("bob", "", "/")); err != nil {
		t.Errorf("another user: %v", err)
	}
	b.user("ann", object.UserLimits{MaxConnections: 2}) // another limit, the same connections
	if _, err := b.hub.Enter(again); err != nil {
		t.Errorf("with a higher limit: %v", err)
	}
	v.Leave(ann)
	b.user("ann", object.UserLimits{MaxConnections: 1})
	if _, err := b.hub.Enter(ann); hub.CodeOf(err) != hub.TooMany {
		t.Errorf("one is there already: %v", err)
	}
}

// A client that connects again while its connection is still there takes its place.
func TestTakingOverNeedsNoPlace(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	b.user("ann", object.UserLimits{MaxConnections: 1})
	b.user("bob", object.UserLimits{MaxConnections: 1})
	ann := b.login("ann", "sensor", "/")
	if _, err := b.hub.Enter(ann); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.host.OpenSession(t.Context(), hub.SessionOptions{ClientID: "sensor", Access: ann, Sink: &sink{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.hub.Enter(ann); err != nil {
		t.Errorf("the same client: %v", err)
	}
	if _, err := b.hub.Enter(b.login("ann", "other", "/")); hub.CodeOf(err) != hub.TooMany {
		t.Errorf("another client: %v", err)
	}
}

func TestRatesOfConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := small()
		c.Limits.Rates.Client.ConnectsPerSecond = 1
		b := open(t, vfs.NewMemory(), c)
		b.user("ann", object.UserLimits{User: object.Rate{ConnectsPerSecond: 3}})
		b.user("bridge", object.UserLimits{Client: object.Rate{ConnectsPerSecond: object.Unlimited}})
		enter := func(user, client string) string {
			t.Helper()
			a := b.login(user, client, "/")
			v, err := b.hub.Enter(a)
			if err == nil {
				v.Leave(a)
				return "in"
			}
			if hub.CodeOf(err) != hub.TooFast {
				t.Errorf("%s of %s: %v", client, user, err)
			}
			return err.Error()
		}
		expect := func(got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		expect(enter("ann", "1"), "in")
		expect(enter("ann", "1"), "client '1' connects more than 1 times per second")
		expect(enter("ann", "2"), "in")
		expect(enter("ann", "3"), "in")
		expect(enter("ann", "4"), "user 'ann' connects more than 3 times per second")
		expect(enter("bridge", "1"), "in")
		expect(enter("bridge", "1"), "in")
		time.Sleep(time.Second)
		expect(enter("ann", "1"), "in")
		if n := b.hub.Stats().ConnectsRefused.Load(); n != 2 {
			t.Errorf("%d refusals are counted, want 2", n)
		}
	})
}
