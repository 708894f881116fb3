package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// The cost of a new hash: 19 MiB and two passes, which OWASP asks for at least. Stored hashes say their own cost.
const (
	costMemory  = 19 << 10 // KiB
	costTime    = 2
	costThreads = 1
	saltBytes   = 16
	hashBytes   = 32
)

// What a stored hash may cost, since a request may bring one.
const (
	mostMemory = 256 << 10 // KiB
	mostTime   = 16
	mostBytes  = 128 // of salt and of hash
)

// Hash is the stored form of a password: $argon2id$v=19$m=19456,t=2,p=1$salt$hash.
func Hash(password string) (string, error) {
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("make salt: %w", err)
	}
	e := encoded{memory: costMemory, time: costTime, threads: costThreads, salt: salt}
	e.hash = e.sum(password, hashBytes)
	return e.String(), nil
}

// Verify says whether a stored form is that of a password. With argon2id it takes its time, and costMemory of memory; the
// forms of RabbitMQ, which come with its definitions, take neither.
func Verify(hash, password string) bool {
	for begin, sum := range rabbits {
		if encoded, ok := strings.CutPrefix(hash, begin); ok {
			return verifyRabbit(encoded, password, sum)
		}
	}
	e, err := parse(hash)
	if err != nil {
		return false
	}
	return subtle.ConstantTimeCompare(e.sum(password, len(e.hash)), e.hash) == 1
}

// rabbits are RabbitMQ's ways to store a password.
var rabbits = map[string]func([]byte) []byte{
	object.HashRabbitSHA256: func(b []byte) []byte { s := sha256.Sum256(b); return s[:] },
	object.HashRabbitSHA512: func(b []byte) []byte { s := sha512.Sum512(b); return s[:] },
}

const rabbitSalt = 4 // bytes

func verifyRabbit(encoded, password string, sum func([]byte) []byte) bool {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) < rabbitSalt {
		return false
	}
	salted := append(raw[:rabbitSalt:rabbitSalt], password...)
	return subtle.ConstantTimeCompare(sum(salted), raw[rabbitSalt:]) == 1
}

type encoded struct {
	memory, time uint32
	threads      uint8
	salt, hash   []byte
}

func (e encoded) sum(password string, n int) []byte {
	return argon2.IDKey([]byte(password), e.salt, e.time, e.memory, e.threads, uint32(n))
}

func (e encoded) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, e.memory, e.time, e.threads, b64.EncodeToString(e.salt), b64.EncodeToString(e.hash))
}

var errForm = errors.New("password hash does not have the form $argon2id$v=19$m=…,t=…,p=…$salt$hash")

func parse(s string) (e encoded, err error) {
	part := strings.Split(s, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return e, errForm
	}
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &e.memory, &e.time, &e.threads); err != nil {
		return e, errForm
	}
	if e.memory < 8 || e.memory > mostMemory || e.time < 1 || e.time > mostTime || e.threads < 1 {
		return e, fmt.Errorf("password hash with m=%d,t=%d,p=%d is outside what is accepted", e.memory, e.time, e.threads)
	}
	b64 := base64.RawStdEncoding
	if e.salt, err = b64.DecodeString(part[4]); err != nil || len(e.salt) > mostBytes {
		return e, errForm
	}
	if e.hash, err = b64.DecodeString(part[5]); err != nil || len(e.hash) < 16 || len(e.hash) > mostBytes {
		return e, errForm
	}
	return e, nil
}

// proof stands for a user and a password that were verified: a MAC under a key that this process made and tells nobody.
type proof [sha256.Size]byte

// verifier verifies passwords against hashes, a few at a time, and knows again what it verified before.
type verifier struct {
	key   [32]byte
	decoy string // a hash of no password, for users who do not exist
	slots chan struct{}
	done  atomic.Uint64 // verifications
}

func newVerifier() *verifier {
	v := &verifier{slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)))}
	random := make([]byte, saltBytes+hashBytes)
	rand.Read(v.key[:]) //nolint:errcheck // never fails
	rand.Read(random)   //nolint:errcheck // never fails
	v.decoy = encoded{costMemory, costTime, costThreads, random[:saltBytes], random[saltBytes:]}.String()
	return v
}

func (v *verifier) proofOf(user, password string) proof {
	m := hmac.New(sha256.New, v.key[:])
	fmt.Fprintf(m, "%d:%s%s", len(user), user, password)
	return proof(m.Sum(nil))
}

// known says whether the password is one that was right last, the present or the former one, without much work.
func (v *verifier) known(u *user, password string) bool {
	if u == nil {
		return false
	}
	slots := []*atomic.Pointer[proof]{&u.verified}
	if p := u.former(time.Now()); p != nil {
		slots = append(slots, &p.verified)
	}
	for _, s := range slots {
		right := s.Load()
		if right == nil {
			continue
		}
		if got := v.proofOf(u.name, password); hmac.Equal(got[:], right[:]) {
			return true
		}
	}
	return false
}

// verify takes the same steps whether there is such a user, whether the user has a password, and whether it is right; of
// a user whose former password is right too, a wrong one takes twice as long. It waits for its turn until ctx ends.
func (v *verifier) verify(ctx context.Context, u *user, password string) (bool, error) {
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return false, fmt.Errorf("wait to verify a password: %w", ctx.Err())
	}
	if u == nil || u.hash == "" {
		return v.verifyHash(v.decoy, nil, u, password), nil
	}
	if v.verifyHash(u.hash, &u.verified, u, password) {
		return true, nil
	}
	p := u.former(time.Now())
	return p != nil && v.verifyHash(p.hash, &p.verified, u, password), nil
}

// verifyHash verifies a password and, if it is right, keeps its proof.
func (v *verifier) verifyHash(hash string, keep *atomic.Pointer[proof], u *user, password string) bool {
	ok := Verify(hash, password)
	v.done.Add(1)
	if ok && keep != nil {
		p := v.proofOf(u.name, password)
		keep.Store(&p)
	}
	return ok && keep != nil
}
