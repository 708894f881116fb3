package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// scramHashes are the hashes of the mechanisms of SCRAM.
var scramHashes = map[string]scram.HashGeneratorFcn{
	object.ScramSHA256: sha256.New,
	object.ScramSHA512: sha512.New,
}

// ScramKeys are the stored forms of a password for every mechanism of SCRAM, with salts of their own, or with salts and
// iterations of other keys where there are any. Iterations of config.NoScram make none.
func ScramKeys(password string, iterations int, salts []string) ([]string, error) {
	if iterations == config.NoScram {
		return nil, nil
	}
	var entries []string
	for _, mechanism := range []string{object.ScramSHA256, object.ScramSHA512} {
		salt, times := make([]byte, saltBytes), iterations
		if like, ok := keysIn(salts, mechanism); ok {
			salt, times = like.Salt, like.Iterations
		} else if _, err := rand.Read(salt); err != nil {
			return nil, fmt.Errorf("make salt: %w", err)
		}
		k, err := deriveScram(mechanism, password, salt, times)
		if err != nil {
			return nil, err
		}
		entries = append(entries, k.String())
	}
	return entries, nil
}

func deriveScram(mechanism, password string, salt []byte, iterations int) (object.ScramKeys, error) {
	c, err := scramHashes[mechanism].NewClientUnprepped("", prepared(password), "")
	if err != nil {
		return object.ScramKeys{}, fmt.Errorf("derive keys of %s: %w", mechanism, err)
	}
	made, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return object.ScramKeys{}, fmt.Errorf("derive keys of %s: %w", mechanism, err)
	}
	return object.ScramKeys{Mechanism: mechanism, Iterations: iterations, Salt: salt, StoredKey: made.StoredKey, ServerKey: made.ServerKey}, nil
}

// prepared is a password as clients hash it: by SASLprep, or as it is where SASLprep has no answer, as with characters that
// are younger than its tables.
func prepared(password string) string {
	if p, err := stringprep.SASLprep.Prepare(password); err == nil && p != "" {
		return p
	}
	return password
}

// scramSecret makes keys for whoever has none. It is a secret of this process.
type scramSecret [32]byte

func newScramSecret() (s scramSecret) {
	rand.Read(s[:]) //nolint:errcheck // never fails
	return s
}

// imagine answers keys that nobody's password fits, the same at each call: whoever asks for the salt of a user that does
// not exist gets an answer like that of one that does.
func (s *scramSecret) imagine(mechanism, user string, iterations int) object.ScramKeys {
	if iterations == config.NoScram {
		iterations = config.Default().Auth.ScramIterations
	}
	hash := scramHashes[mechanism]
	of := func(what string) []byte {
		m := hmac.New(hash, s[:])
		fmt.Fprintf(m, "%s %s %s", what, mechanism, user)
		return m.Sum(nil)
	}
	return object.ScramKeys{Mechanism: mechanism, Iterations: iterations, Salt: of("salt")[:saltBytes], StoredKey: of("stored"), ServerKey: of("server")}
}

// keysFor are the user's keys for a mechanism.
func (u *user) keysFor(mechanism string) (object.ScramKeys, bool) {
	if u == nil {
		return object.ScramKeys{}, false
	}
	return keysIn(u.scram, mechanism)
}

// formerKeysFor are the keys of the password of before, if it is right at a time and has the salt of the present one.
func (u *user) formerKeysFor(mechanism string, now time.Time) (object.ScramKeys, bool) {
	p := u.former(now)
	present, has := u.keysFor(mechanism)
	if p == nil || !has {
		return object.ScramKeys{}, false
	}
	k, ok := keysIn(p.scram, mechanism)
	return k, ok && bytes.Equal(k.Salt, present.Salt) && k.Iterations == present.Iterations
}

// keysIn finds the keys for a mechanism.
func keysIn(entries []string, mechanism string) (object.ScramKeys, bool) {
	for _, entry := range entries {
		if strings.HasPrefix(entry, mechanism+"$") {
			k, err := object.ParseScramKeys(entry)
			if err != nil {
				panic(fmt.Sprintf("catalogue holds what it would refuse: %v", err))
			}
			return k, true
		}
	}
	return object.ScramKeys{}, false
}

// guestKeys are the keys of guest, who is no user of the catalogue. They are made when they are asked for first.
type guestKeys struct {
	mu   sync.Mutex
	made map[string]object.ScramKeys // guarded by mu; by mechanism
}

func (g *guestKeys) of(mechanism string, like object.ScramKeys) (object.ScramKeys, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if k, ok := g.made[mechanism]; ok {
		return k, nil
	}
	k, err := deriveScram(mechanism, GuestName, like.Salt, object.LeastScramIterations)
	if err != nil {
		return object.ScramKeys{}, err
	}
	if g.made == nil {
		g.made = make(map[string]object.ScramKeys)
	}
	g.made[mechanism] = k
	return k, nil
}

// scramSteps is the broker's side of SCRAM. [RFC 5802 §5]
type scramSteps struct {
	authority    *Authority
	mechanism    string
	naming       Naming
	conversation *scram.ServerConversation
	// former is the same conversation by the password of before; nil when that is not right any more.
	former *scram.ServerConversation
	nonce  string // of both

	answered    bool // the client's first message
	credentials Credentials
	keys        object.ScramKeys
	formerKeys  object.ScramKeys
	real        bool // the keys are those of a password
	refused     error
}

func newScramSteps(a *Authority, mechanism string, naming Naming, nonce scram.NonceGeneratorFcn) (*scramSteps, error) {
	s := &scramSteps{authority: a, mechanism: mechanism, naming: naming, nonce: rand.Text()}
	if nonce != nil {
		s.nonce = nonce()
	}
	var err error
	s.conversation, err = s.converse(s.lookUp)
	return s, err
}

// converse begins a conversation with keys that are looked up.
func (s *scramSteps) converse(lookUp scram.CredentialLookup) (*scram.ServerConversation, error) {
	server, err := scramHashes[s.mechanism].NewServer(lookUp)
	if err != nil {
		return nil, fmt.Errorf("begin %s: %w", s.mechanism, err)
	}
	server.WithNonceGenerator(func() string { return s.nonce })
	return server.NewConversation(), nil
}

func (s *scramSteps) step(_ context.Context, in []byte) (out []byte, access *Access, err error) {
	if !s.answered {
		out, err = s.first(in)
		s.answered = true
		return out, nil, err
	}
	return s.final(in)
}

// first answers the client's name and nonce with salt, iterations and a nonce.
func (s *scramSteps) first(in []byte) ([]byte, error) {
	out, err := s.conversation.Step(string(in))
	if s.refused != nil {
		return nil, s.refused
	}
	if err != nil {
		return nil, &Failure{Err: ErrMessage, Why: err.Error()}
	}
	switch s.conversation.AuthzID() {
	case "", s.conversation.Username(), s.credentials.User:
	default:
		return nil, &Failure{Err: ErrCredentials, Why: "client wants to act for another user"}
	}
	return []byte(out), s.alsoFormer(in)
}

// alsoFormer goes the same way with the password of before, whose answer is the same: which of the two the client has, its
// proof will say.
func (s *scramSteps) alsoFormer(in []byte) error {
	u, _ := s.authority.find(s.credentials.User)
	keys, ok := u.formerKeysFor(s.mechanism, time.Now())
	if !ok || !bytes.Equal(keys.Salt, s.keys.Salt) || keys.Iterations != s.keys.Iterations {
		return nil
	}
	former, err := s.converse(func(string) (scram.StoredCredentials, error) { return storedOf(keys), nil })
	if err != nil {
		return err
	}
	if _, err := former.Step(string(in)); err != nil {
		return &Failure{Err: ErrMessage, Why: err.Error()}
	}
	s.former, s.formerKeys = former, keys
	return nil
}

func storedOf(k object.ScramKeys) scram.StoredCredentials {
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(k.Salt), Iters: k.Iterations}, StoredKey: k.StoredKey, ServerKey: k.ServerKey,
	}
}

// lookUp is called for the name in the client's first message. It takes the same steps whether there is such a user and
// whether the user has keys.
func (s *scramSteps) lookUp(name string) (scram.StoredCredentials, error) {
	a := s.authority
	s.credentials, s.refused = s.naming(name)
	if s.refused != nil {
		return scram.StoredCredentials{}, s.refused
	}
	c := a.config()
	if a.throttle.closed(s.credentials.Peer, c.Limits.AuthFailuresPerMin, time.Now()) {
		s.refused = ErrThrottled
		return scram.StoredCredentials{}, s.refused
	}
	s.keys = a.scramSecret.imagine(s.mechanism, s.credentials.User, c.Auth.ScramIterations)
	u, alone := a.find(s.credentials.User)
	if k, ok := u.keysFor(s.mechanism); ok {
		s.keys, s.real = k, true
	} else if alone && s.guest() {
		if s.keys, s.refused = a.guestKeys.of(s.mechanism, s.keys); s.refused != nil {
			return scram.StoredCredentials{}, s.refused
		}
		s.real = true
	}
	return storedOf(s.keys), nil
}

// guest says whether the client may be guest as long as there is no user.
func (s *scramSteps) guest() bool {
	return s.credentials.User == GuestName && s.credentials.Peer.Unmap().IsLoopback()
}

// final verifies the client's proof and answers it with the broker's own.
func (s *scramSteps) final(in []byte) ([]byte, *Access, error) {
	a := s.authority
	if a.throttle.closed(s.credentials.Peer, a.config().Limits.AuthFailuresPerMin, time.Now()) {
		return nil, nil, ErrThrottled
	}
	out, err := s.conversation.Step(string(in))
	w, why := s.proven(err)
	if why != nil && s.former != nil {
		if out, err = s.former.Step(string(in)); err == nil && s.provenByFormer() {
			u, _ := a.find(s.credentials.User)
			w, why = who{kind: named, name: u.name, id: u.id}, nil
		}
	}
	if why != nil {
		a.throttle.failed(s.credentials.Peer, time.Now())
		return nil, nil, &Failure{Err: ErrCredentials, Why: why.Error()}
	}
	access, err := a.admit(w, s.credentials)
	return []byte(out), access, err
}

// provenByFormer says whether the client has shown to know the password of before, and that is still right.
func (s *scramSteps) provenByFormer() bool {
	u, _ := s.authority.find(s.credentials.User)
	k, ok := u.formerKeysFor(s.mechanism, time.Now())
	return ok && s.former.Valid() && subtle.ConstantTimeCompare(k.StoredKey, s.formerKeys.StoredKey) == 1
}

// proven says who the client has shown to be; err is the conversation's. The user is asked for again: the password may
// have changed since the first message.
func (s *scramSteps) proven(err error) (who, error) {
	u, alone := s.authority.find(s.credentials.User)
	present, has := u.keysFor(s.mechanism)
	switch {
	case s.real && err != nil:
		return who{}, err
	case u == nil && s.real && alone && s.guest():
		return who{kind: theGuest, name: GuestName, loopback: true}, nil
	case u == nil:
		return who{}, errors.New("there is no such user")
	case !has:
		return who{}, fmt.Errorf("user %q has no keys for %s, since its password came as a hash or auth.scramIterations was -1: set the password again", u.name, s.mechanism)
	case subtle.ConstantTimeCompare(present.StoredKey, s.keys.StoredKey) == 0:
		return who{}, errors.New("the password changed meanwhile")
	case !s.conversation.Valid():
		return who{}, errors.New("the proof is wrong")
	}
	return who{kind: named, name: u.name, id: u.id}, nil
}
