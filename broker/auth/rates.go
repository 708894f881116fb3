package auth

import (
	"sync"

	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/rate"
)

// Rates are what a peer's messages and connections may come to in a second; the zero value limits nothing.
type Rates struct {
	Client   object.Rate // of the client alone
	User     object.Rate // of all who are the same user
	OnExcess object.OnExcess
}

// Rates are those of the peer now: its user's own, and for what these do not say the configuration's.
func (a *Access) Rates() Rates {
	own, c := a.userLimits(), a.authority.config().Limits.Rates
	r := Rates{Client: own.Client.Or(c.Client), User: own.User.Or(c.User), OnExcess: own.OnExcess}
	if r.OnExcess == "" {
		r.OnExcess = c.OnExcess
	}
	return r
}

// MaxConnections is how many connections the peer's user may have at a time; zero is any number.
func (a *Access) MaxConnections() int { return a.userLimits().MaxConnections }

func (a *Access) userLimits() object.UserLimits {
	a.authority.mu.RLock()
	defer a.authority.mu.RUnlock()
	if u := a.authority.userLocked(a.who); u != nil {
		return u.limits
	}
	return object.UserLimits{}
}

// userLocked is the user of the catalogue that a peer is; anonymous clients are the user of that name, if there is one.
func (a *Authority) userLocked(w who) *user {
	switch w.kind {
	case named:
		if u := a.users[w.name]; u != nil && u.id == w.id {
			return u
		}
	case anonymous:
		return a.users[anonymousName]
	}
	return nil
}

// Account is the one that the peer shares with all who are the same user. It is the same from the beginning of the
// connection to its end.
func (a *Access) Account() *rate.Account { return a.account }

// ClientAccount is that of the peer alone. An MQTT client finds its account again when it connects again.
func (a *Access) ClientAccount() *rate.Account {
	if a.clientID == "" {
		return rate.NewAccount()
	}
	return a.authority.clients.account(clientKey{a.host, a.who.name, a.clientID})
}

// accountOf is the account of a user, which lives as long as that. Guest and anonymous clients without such a user have
// one each.
func (a *Authority) accountOf(w who) *rate.Account {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if u := a.userLocked(w); u != nil {
		return u.account
	}
	if w.kind == theGuest {
		return a.guest
	}
	return a.nobody
}

// Connections is how many connections a user has, in all virtual hosts.
func (a *Authority) Connections(name string) int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if u := a.users[name]; u != nil {
		return u.account.Connections()
	}
	return 0
}

// clientKey names an MQTT client. The user is part of it, so that nobody uses up what another one may.
type clientKey struct{ host, user, clientID string }

// clients are the accounts of MQTT clients.
type clients struct {
	mu sync.Mutex
	by map[clientKey]*rate.Account // guarded by mu
}

// mostClients bounds how many accounts are kept for clients that may connect again. When it is reached, those of clients
// that have been silent go, or else all: who holds an account goes on with it.
const mostClients = 1 << 16

func (c *clients) account(k clientKey) *rate.Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.by[k]
	if a == nil {
		if len(c.by) >= mostClients {
			c.sweepLocked()
		}
		a = rate.NewAccount()
		c.by[k] = a
	}
	return a
}

// sweepLocked makes room, so much that the next sweep is far.
func (c *clients) sweepLocked() {
	for k, a := range c.by {
		if a.Idle() {
			delete(c.by, k)
		}
	}
	if len(c.by) > mostClients/2 {
		clear(c.by)
	}
}
