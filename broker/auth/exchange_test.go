package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// scramMechanisms are those that a test runs for.
var scramMechanisms = []string{object.ScramSHA256, object.ScramSHA512}

// names is the naming of these tests: every name is a user of the virtual host "/".
func names(name string) (Credentials, error) {
	return Credentials{User: name, VirtualHost: "/", Peer: remote, ClientID: "c"}, nil
}

// dialogue is a client's side of SCRAM.
type dialogue struct {
	*scram.ClientConversation
	t testing.TB
}

func newDialogue(t testing.TB, mechanism, user, password, authzID string) *dialogue {
	t.Helper()
	c, err := scramHashes[mechanism].NewClient(user, password, authzID)
	if err != nil {
		t.Fatal(err)
	}
	return &dialogue{c.NewConversation(), t}
}

func (d *dialogue) say(challenge []byte) []byte {
	d.t.Helper()
	out, err := d.Step(string(challenge))
	if err != nil {
		d.t.Fatal(err)
	}
	return []byte(out)
}

// run runs an exchange to its end, and makes sure that the broker has proven itself too.
func (d *dialogue) run(e *Exchange) (*Access, error) {
	d.t.Helper()
	out, access, err := e.Step(context.Background(), d.say(nil))
	if err != nil || access != nil {
		return access, err
	}
	out, access, err = e.Step(context.Background(), d.say(out))
	if err == nil {
		d.say(out)
		if !d.Valid() {
			d.t.Error("the broker did not prove itself")
		}
	}
	return access, err
}

func (w *world) begin(mechanism string, naming Naming) *Exchange {
	w.t.Helper()
	e, err := w.Begin(mechanism, naming)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func (w *world) scram(mechanism, user, password string) (*Access, error) {
	w.t.Helper()
	return newDialogue(w.t, mechanism, user, password, "").run(w.begin(mechanism, names))
}

// TestExampleOfRFC7677 is the exchange of its §3.
func TestExampleOfRFC7677(t *testing.T) {
	const (
		keys        = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
		clientFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
		serverFirst = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
		clientFinal = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
		serverFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
	)
	stored, err := object.ParseScramKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	if made, err := deriveScram(object.ScramSHA256, "pencil", stored.Salt, 4096); err != nil || made.String() != keys {
		t.Errorf("keys of the password are %v, %v", made, err)
	}
	w := newWorld(t)
	hash, _ := quickHash("pencil")
	w.apply(wish(t, object.KindUser, "", "user", object.UserSpec{PasswordHash: hash, Scram: []string{keys}}))
	w.permit("user", anything)
	steps, err := newScramSteps(w.Authority, object.ScramSHA256, names, func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" })
	if err != nil {
		t.Fatal(err)
	}
	e := &Exchange{authority: w.Authority, steps: steps}
	out, access, err := e.Step(t.Context(), []byte(clientFirst))
	if string(out) != serverFirst || access != nil || err != nil {
		t.Fatalf("first answer %q, %v, %v", out, access, err)
	}
	out, access, err = e.Step(t.Context(), []byte(clientFinal))
	if string(out) != serverFinal || access == nil || err != nil {
		t.Fatalf("last answer %q, %v, %v", out, access, err)
	}
	if access.User() != "user" || access.VirtualHost() != "/" || access.ClientID() != "c" {
		t.Errorf("access is of %q in %q as %q", access.User(), access.VirtualHost(), access.ClientID())
	}
	if _, _, err := e.Step(t.Context(), []byte(clientFinal)); !errors.Is(err, ErrMessage) {
		t.Errorf("a step after the last: %v", err)
	}
}

func TestScram(t *testing.T) {
	for _, mechanism := range scramMechanisms {
		w := newWorld(t)
		if _, err := w.scram(mechanism, "guest", "guest"); !errors.Is(err, ErrCredentials) {
			t.Errorf("guest from elsewhere: %v", err)
		}
		here := func(name string) (Credentials, error) {
			c, err := names(name)
			c.Peer = local
			return c, err
		}
		guest, err := newDialogue(t, mechanism, "guest", "guest", "").run(w.begin(mechanism, here))
		if err != nil || !guest.Administrator() {
			t.Errorf("guest from here: %v", err)
		}
		w.user("ann", "a, =b ﬁ") // the last letter is two in SASLprep
		w.permit("ann", anything)
		w.user("bob", "b🐢") // which SASLprep does not know
		w.permit("bob", anything)
		w.user("loner", "l")
		w.user("nopass", "")
		hash, _ := quickHash("h")
		w.apply(wish(t, object.KindUser, "", "hashed", object.UserSpec{PasswordHash: hash}))
		w.permit("hashed", anything)
		w.user("com,ma=", "c")
		w.permit("com,ma=", anything)

		if !guest.Revoked() {
			t.Error("guest stayed when there was a user")
		}
		if _, err := newDialogue(t, mechanism, "guest", "guest", "").run(w.begin(mechanism, here)); !errors.Is(err, ErrCredentials) {
			t.Errorf("guest when there is a user: %v", err)
		}
		for _, good := range [][2]string{{"ann", "a, =b ﬁ"}, {"ann", "a, =b fi"}, {"com,ma=", "c"}} {
			if access, err := w.scram(mechanism, good[0], good[1]); err != nil || access.User() != good[0] {
				t.Errorf("%s %q: %v", mechanism, good, err)
			}
		}
		c, err := scramHashes[mechanism].NewClientUnprepped("bob", "b🐢", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (&dialogue{c.NewConversation(), t}).run(w.begin(mechanism, names)); err != nil {
			t.Errorf("a password that SASLprep refuses: %v", err)
		}
		failures := w.Failures()
		bad := map[[2]string]string{
			{"ann", "wrong"}: "proof", {"ann", "A, =b ﬁ"}: "proof", {"nobody", "x"}: "no such user",
			{"nopass", "x"}: "has no keys for " + mechanism, {"hashed", "h"}: "came as a hash",
		}
		for who, why := range bad {
			_, err := w.scram(mechanism, who[0], who[1])
			var failure *Failure
			if !errors.Is(err, ErrCredentials) || !errors.As(err, &failure) || !strings.Contains(failure.Why, why) || err.Error() != ErrCredentials.Error() {
				t.Errorf("%s %q: %v (%+v)", mechanism, who, err, failure)
			}
		}
		if n := w.Failures() - failures; n != uint64(len(bad)) {
			t.Errorf("%d failures were counted as %d", len(bad), n)
		}
		var denied *Denied
		if _, err := w.scram(mechanism, "loner", "l"); !errors.As(err, &denied) {
			t.Errorf("no permission: %v", err)
		}
		if w.Failures() != failures+uint64(len(bad)) {
			t.Error("a user without permission counts as a failed login")
		}
	}
}

func TestScramActsForNobodyElse(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "a")
	w.permit("ann", anything)
	prefixed := func(name string) (Credentials, error) {
		vhost, user, _ := strings.Cut(name, ":")
		return Credentials{User: user, VirtualHost: vhost, Peer: remote}, nil
	}
	for authzID, want := range map[string]error{"": nil, "ann": nil, "/:ann": nil, "bob": ErrCredentials, ":ann": ErrCredentials} {
		_, err := newDialogue(t, object.ScramSHA256, "/:ann", "a", authzID).run(w.begin(object.ScramSHA256, prefixed))
		if !errors.Is(err, want) {
			t.Errorf("authorization identity %q: %v", authzID, err)
		}
	}
}

// TestNobodyLooksLikeSomebody: until the proof, a user that does not exist, or has no keys, is answered as one that has.
func TestNobodyLooksLikeSomebody(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "a")
	w.user("keyless", "")
	for _, mechanism := range scramMechanisms {
		salts := make(map[string]string)
		for _, name := range []string{"ann", "keyless", "nobody", "noone", "ann", "keyless", "nobody"} {
			out, _, err := w.begin(mechanism, names).Step(t.Context(), newDialogue(t, mechanism, name, "x", "").say(nil))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			fields := strings.Split(string(out), ",")
			if len(fields) != 3 || len(fields[1]) != len("s=")+24 || fields[2] != "i=4096" {
				t.Errorf("%s is answered %q", name, out)
			}
			if before, ok := salts[name]; ok && before != fields[1] {
				t.Errorf("%s has the salts %s and %s", name, before, fields[1])
			}
			salts[name] = fields[1]
		}
		if len(salts) != 4 {
			t.Fatal(salts)
		}
		distinct := make(map[string]bool)
		for _, s := range salts {
			distinct[s] = true
		}
		if len(distinct) != 4 {
			t.Errorf("salts are not distinct: %v", salts)
		}
	}
	a, b := newScramSecret(), newScramSecret()
	if slices.Equal(a.imagine(object.ScramSHA256, "x", 4096).Salt, b.imagine(object.ScramSHA256, "x", 4096).Salt) {
		t.Error("the salt of nobody does not depend on the secret")
	}
	if n := a.imagine(object.ScramSHA256, "x", config.NoScram).Iterations; n != config.Default().Auth.ScramIterations {
		t.Errorf("%d iterations where none are made", n)
	}
}

func TestScramIsThrottled(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "a")
	w.permit("ann", anything)
	w.config.Limits.AuthFailuresPerMin = 3
	late := w.begin(object.ScramSHA256, names)
	client := newDialogue(t, object.ScramSHA256, "ann", "a", "")
	challenge, _, err := late.Step(t.Context(), client.say(nil))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := w.scram(scramMechanisms[i%2], "ann", "wrong"); !errors.Is(err, ErrCredentials) {
			t.Fatal(err)
		}
	}
	if _, err := w.scram(object.ScramSHA256, "ann", "a"); !errors.Is(err, ErrThrottled) {
		t.Errorf("first message after the limit: %v", err)
	}
	if _, _, err := late.Step(t.Context(), client.say(challenge)); !errors.Is(err, ErrThrottled) {
		t.Errorf("proof after the limit: %v", err)
	}
	if _, err := w.login(Credentials{User: "ann", Password: "other", VirtualHost: "/"}); !errors.Is(err, ErrThrottled) {
		t.Errorf("a password after failures of SCRAM: %v", err)
	}
}

func TestPasswordChangesBetweenTheSteps(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "a")
	w.permit("ann", anything)
	for change, want := range map[string]error{"tags": nil, "password": ErrCredentials, "user": ErrCredentials} {
		w.user("ann", "a")
		w.permit("ann", anything)
		e, client := w.begin(object.ScramSHA512, names), newDialogue(t, object.ScramSHA512, "ann", "a", "")
		challenge, _, err := e.Step(t.Context(), client.say(nil))
		if err != nil {
			t.Fatal(err)
		}
		switch change {
		case "tags":
			w.user("ann", "a", "monitoring")
		case "password":
			w.user("ann", "b")
		case "user":
			w.remove(object.KindUser, "", "ann")
		}
		if _, _, err := e.Step(t.Context(), client.say(challenge)); !errors.Is(err, want) {
			t.Errorf("%s changed: %v", change, err)
		}
	}
}

func TestPlainExchange(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "a")
	w.permit("ann", anything)
	for message, want := range map[string]error{
		"\x00ann\x00a": nil, "ann\x00ann\x00a": nil, "bob\x00ann\x00a": ErrCredentials, "\x00ann\x00b": ErrCredentials, "\x00bob\x00a": ErrCredentials,
		"\x00ann\x00": ErrCredentials, "": ErrMessage, "ann\x00a": ErrMessage, "\x00ann\x00a\x00": ErrMessage, "\x00ann\x00" + strings.Repeat("a", longestMessage): ErrMessage,
	} {
		_, access, err := w.begin(MechanismPlain, names).Step(t.Context(), []byte(message))
		if !errors.Is(err, want) || (access == nil) != (want != nil) {
			t.Errorf("%.40q: %v", message, err)
		}
	}
	wrong := errors.New("names nobody")
	e := w.begin(MechanismPlain, func(string) (Credentials, error) { return Credentials{}, wrong })
	if out, access, err := e.Step(t.Context(), nil); out == nil || len(out) > 0 || access != nil || err != nil {
		t.Errorf("without a first message: %q %v %v", out, access, err)
	}
	if _, _, err := e.Step(t.Context(), []byte("\x00ann\x00a")); !errors.Is(err, wrong) {
		t.Errorf("a name that is refused: %v", err)
	}
	if _, err := w.Begin("GSSAPI", names); !errors.Is(err, ErrMechanism) {
		t.Errorf("an unknown mechanism: %v", err)
	}
}

func TestNoKeysWhereTheyAreNotWanted(t *testing.T) {
	w := newWorld(t)
	w.config.Auth.ScramIterations = config.NoScram
	w.user("ann", "a")
	if n := len(w.users["ann"].scram); n != 0 {
		t.Errorf("%d keys", n)
	}
	w.config.Auth.ScramIterations = 5000
	w.user("ann", "a") // the same password again makes what is missing
	for _, mechanism := range scramMechanisms {
		if k, ok := w.users["ann"].keysFor(mechanism); !ok || k.Iterations != 5000 {
			t.Errorf("keys for %s: %v", mechanism, k)
		}
	}
}

// FuzzExchange sends any messages by any mechanism. Only who knows the password gets in.
func FuzzExchange(f *testing.F) {
	w := newWorld(f)
	w.user("ann", "a")
	w.permit("ann", anything)
	w.config.Limits.AuthFailuresPerMin = 1 << 40
	for i := range Mechanisms {
		f.Add(byte(i), []byte("n,,n=ann,r=abc"), []byte("c=biws,r=abc,p=AAAA"))
		f.Add(byte(i), []byte("y,a=ann,n=a=2Cb=3D,r=abc,m=x"), []byte("c=,r=,p="))
		f.Add(byte(i), []byte("p=tls-exporter,,n=ann,r=,"), []byte("\x00ann\x00b"))
	}
	f.Fuzz(func(t *testing.T, mechanism byte, first, last []byte) {
		e, err := w.Begin(Mechanisms[int(mechanism)%len(Mechanisms)], names)
		if err != nil {
			t.Fatal(err)
		}
		knows := strings.HasSuffix(string(first), "\x00ann\x00a") || strings.HasSuffix(string(last), "\x00ann\x00a")
		for _, in := range [][]byte{first, last, last} {
			out, access, err := e.Step(t.Context(), in)
			if access != nil && !knows {
				t.Fatalf("%q and %q let %s in", first, last, access.User())
			}
			if err != nil && (out != nil || access != nil) {
				t.Fatalf("an error and an answer: %q %v %v", out, access, err)
			}
		}
	})
}
