package hub

import (
	"context"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// passwords is the slow work of a plan, done before the plan holds up everybody else: what hashing and verifying gave.
// What is not in it, since the user changed meanwhile, is worked out when it is asked for.
type passwords struct {
	iterations int                   // of SCRAM
	hashes     map[string][]string   // by password: each is taken once, so that no two users share a salt
	keys       map[string][][]string // of SCRAM, likewise, by password and salts
	right      map[[2]string]bool    // by hash and password
}

// preparePasswords hashes and verifies the passwords that changes bring. It ends early with ctx.
func (h *Hub) preparePasswords(ctx context.Context, changes []object.Change) *passwords {
	p := &passwords{
		iterations: h.Config().Auth.ScramIterations,
		hashes:     make(map[string][]string), keys: make(map[string][][]string), right: make(map[[2]string]bool),
	}
	for _, c := range changes {
		if c.Kind != object.KindUser || c.Delete != "" || ctx.Err() != nil {
			continue
		}
		wanted, err := object.Decode[object.UserSpec](c.Object)
		if err != nil || wanted.Password == "" {
			continue // the plan says what is wrong
		}
		if err := p.prepare(h.user(c.Key), wanted); err != nil {
			return p // the plan meets the error again
		}
	}
	return p
}

// prepare works out what the plan will ask for when it gives a user a password.
func (p *passwords) prepare(present, wanted object.UserSpec) error {
	password := wanted.Password
	known := present.PasswordHash != "" && p.verify(present.PasswordHash, password)
	if !known {
		made, err := auth.Hash(password)
		if err != nil {
			return err
		}
		p.hashes[password] = append(p.hashes[password], made)
	}
	if known && len(present.Scram) > 0 {
		return nil
	}
	var salts []string
	if !known {
		salts = wanted.SaltsOf(present)
	}
	keys, err := auth.ScramKeys(password, p.iterations, salts)
	if err != nil {
		return err
	}
	of := keysOf(password, salts)
	p.keys[of] = append(p.keys[of], keys)
	return nil
}

// user is what is stored of a user; nothing if there is no such user.
func (h *Hub) user(k object.Key) object.UserSpec {
	h.meta.mu.RLock()
	o, ok := h.meta.state.Get(k)
	h.meta.mu.RUnlock()
	if !ok {
		return object.UserSpec{}
	}
	spec, err := object.Decode[object.UserSpec](o)
	if err != nil {
		panic("catalogue holds what it would refuse: " + err.Error())
	}
	return spec
}

func (p *passwords) hash(password string) (string, error) {
	made := p.hashes[password]
	if len(made) == 0 {
		return auth.Hash(password)
	}
	p.hashes[password] = made[1:]
	return made[0], nil
}

// keysOf names the keys of a password with given salts.
func keysOf(password string, salts []string) string {
	return strings.Join(append([]string{password}, salts...), "\x00")
}

func (p *passwords) scramKeys(password string, salts []string) ([]string, error) {
	of := keysOf(password, salts)
	made := p.keys[of]
	if len(made) == 0 {
		return auth.ScramKeys(password, p.iterations, salts)
	}
	p.keys[of] = made[1:]
	return made[0], nil
}

func (p *passwords) verify(hash, password string) bool {
	k := [2]string{hash, password}
	right, ok := p.right[k]
	if !ok {
		right = auth.Verify(hash, password)
		p.right[k] = right
	}
	return right
}
