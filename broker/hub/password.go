package hub

import (
	"context"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// passwords is the slow work of a plan, done before the plan holds up everybody else: what hashing and verifying gave.
// What is not in it, since the user changed meanwhile, is worked out when it is asked for.
type passwords struct {
	hashes map[string][]string // by password: each is taken once, so that no two users share a salt
	right  map[[2]string]bool  // by hash and password
}

// preparePasswords hashes and verifies the passwords that changes bring. It ends early with ctx.
func (h *Hub) preparePasswords(ctx context.Context, changes []object.Change) *passwords {
	p := &passwords{hashes: make(map[string][]string), right: make(map[[2]string]bool)}
	for _, c := range changes {
		if c.Kind != object.KindUser || c.Delete != "" || ctx.Err() != nil {
			continue
		}
		wanted, err := object.Decode[object.UserSpec](c.Object)
		if err != nil || wanted.Password == "" {
			continue // the plan says what is wrong
		}
		present := h.passwordHash(c.Key)
		if present != "" && p.verify(present, wanted.Password) {
			continue
		}
		made, err := auth.Hash(wanted.Password)
		if err != nil {
			return p // the plan meets the error again
		}
		p.hashes[wanted.Password] = append(p.hashes[wanted.Password], made)
	}
	return p
}

func (h *Hub) passwordHash(user object.Key) string {
	h.meta.mu.RLock()
	o, ok := h.meta.state.Get(user)
	h.meta.mu.RUnlock()
	if !ok {
		return ""
	}
	spec, err := object.Decode[object.UserSpec](o)
	if err != nil {
		panic("catalogue holds what it would refuse: " + err.Error())
	}
	return spec.PasswordHash
}

func (p *passwords) hash(password string) (string, error) {
	made := p.hashes[password]
	if len(made) == 0 {
		return auth.Hash(password)
	}
	p.hashes[password] = made[1:]
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
