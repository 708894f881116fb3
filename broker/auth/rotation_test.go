package auth

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestRotation: during the overlap both passwords are right, by every mechanism and known again at no cost; then the new
// one alone is. A rotation without an overlap ends the old one at once.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.user("ann", "one")
		w.permit("ann", anything)
		rotate := func(password string, overlap int64) {
			t.Helper()
			w.apply(wish(t, object.KindUser, "", "ann", object.UserSpec{Password: password, OverlapSeconds: overlap}))
		}
		check := func(when, password string, right bool) {
			t.Helper()
			_, err := w.login(Credentials{User: "ann", Password: password, VirtualHost: "/"})
			if right && err != nil || !right && !errors.Is(err, ErrCredentials) {
				t.Errorf("%s, %q by password: %v", when, password, err)
			}
			for _, m := range scramMechanisms {
				_, err := w.scram(m, "ann", password)
				if right && err != nil || !right && !errors.Is(err, ErrCredentials) {
					t.Errorf("%s, %q by %s: %v", when, password, m, err)
				}
			}
		}
		check("before", "one", true)
		rotate("two", 60)
		for range 2 {
			check("during the overlap", "one", true)
			check("during the overlap", "two", true)
		}
		if n := w.Verifications(); n != 4 { // one before, then the old one against both hashes, and the new one
			t.Errorf("%d verifications, wanted 4: what was right is known again", n)
		}
		check("during the overlap", "three", false)
		time.Sleep(61 * time.Second)
		check("after it", "one", false)
		check("after it", "two", true)
		rotate("three", 0)
		check("without an overlap", "two", false)
		check("without an overlap", "three", true)

		// The password of before is over between the two messages of an exchange.
		rotate("four", 60)
		late := newDialogue(t, object.ScramSHA256, "ann", "three", "")
		e := w.begin(object.ScramSHA256, names)
		out, _, err := e.Step(t.Context(), late.say(nil))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second)
		if _, _, err := e.Step(t.Context(), late.say(out)); !errors.Is(err, ErrCredentials) {
			t.Errorf("a password whose time ended in the exchange: %v", err)
		}
	})
}

func TestClientIDPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, id string
		want        bool
	}{
		{"*", "", true}, {"*", "any/thing", true}, {"a", "a", true}, {"a", "ab", false}, {"a*", "abc", true}, {"*c", "abc", true},
		{"a*c", "ac", true}, {"a*c", "a", false}, {"aa*aa", "aaa", false}, {"a*b*c", "a-b-b-c", true}, {"a*b*c", "acb", false},
		{"%u", "u*r", true}, {"%u", "user", false}, {"%u-*", "u*r-1", true}, {"%u-*", "u*r", false}, {"x%uy%u", "xu*ryu*r", true},
		{"%c", "%c", true}, {"**", "x", true},
	} {
		if got := newClientPatterns([]string{c.pattern}, "u*r").admit(c.id); got != c.want {
			t.Errorf("%q and %q: %v", c.pattern, c.id, got)
		}
	}
	if !newClientPatterns(nil, "u").admit("x") || newClientPatterns([]string{"a", "b"}, "u").admit("c") || !newClientPatterns([]string{"a", "b"}, "u").admit("b") {
		t.Error("no pattern is any, and of several one is enough")
	}
}

// TestClientIDs: they hold for every way in, and for anonymous clients that are a user.
func TestClientIDs(t *testing.T) {
	w := newWorld(t)
	w.config.Auth.Anonymous = "always"
	for name, patterns := range map[string][]string{"ann": {"%u", "pump-*"}, anonymousName: {"guest-*"}} {
		w.apply(wish(t, object.KindUser, "", name, object.UserSpec{Password: "pw", ClientIDs: patterns}))
		w.permit(name, anything)
	}
	before := w.Failures()
	for _, c := range []struct {
		credentials Credentials
		want        error
	}{
		{Credentials{User: "ann", Password: "pw", ClientID: "ann"}, nil},
		{Credentials{User: "ann", Password: "pw", ClientID: "pump-7"}, nil},
		{Credentials{User: "ann", Password: "pw", ClientID: "bob"}, ErrClientID},
		{Credentials{User: "ann", Password: "pw"}, nil}, // AMQP
		{Credentials{Anonymous: true, ClientID: "guest-1"}, nil},
		{Credentials{Anonymous: true, ClientID: "ann"}, ErrClientID},
	} {
		c.credentials.VirtualHost = "/"
		if _, err := w.login(c.credentials); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, wanted %v", c.credentials, err, c.want)
		}
	}
	if _, err := w.scram(object.ScramSHA256, "ann", "pw"); !errors.Is(err, ErrClientID) {
		t.Errorf("by SCRAM with client id c: %v", err)
	}
	if n := w.Failures() - before; n != 3 {
		t.Errorf("%d failures are counted, wanted 3", n)
	}
}
