package object

import (
	"errors"
	"fmt"
	"slices"
)

// Rate is what may come in a second. Zero says nothing, -1 is as much as one likes.
type Rate struct {
	MessagesPerSecond float64 `json:"messagesPerSecond,omitempty"` // that are published
	BytesPerSecond    float64 `json:"bytesPerSecond,omitempty"`    // of their payloads
	ConnectsPerSecond float64 `json:"connectsPerSecond,omitempty"` // connections that begin
}

// Unlimited is the rate of those who have none, where a default says otherwise.
const Unlimited = -1

// Check says what is wrong with a rate.
func (r Rate) Check() error {
	for _, f := range []struct {
		name  string
		value float64
	}{{"messagesPerSecond", r.MessagesPerSecond}, {"bytesPerSecond", r.BytesPerSecond}, {"connectsPerSecond", r.ConnectsPerSecond}} {
		if f.value < 0 && f.value != Unlimited {
			return fmt.Errorf("%s: %v is neither a rate nor -1, which is unlimited", f.name, f.value)
		}
	}
	return nil
}

// Or is the rate with what it does not say taken from another one.
func (r Rate) Or(o Rate) Rate {
	or := func(a, b float64) float64 {
		if a == 0 {
			return b
		}
		return a
	}
	return Rate{
		MessagesPerSecond: or(r.MessagesPerSecond, o.MessagesPerSecond),
		BytesPerSecond:    or(r.BytesPerSecond, o.BytesPerSecond),
		ConnectsPerSecond: or(r.ConnectsPerSecond, o.ConnectsPerSecond),
	}
}

// OnExcess says what happens to a publisher that is over its rate.
type OnExcess string

// What can happen.
const (
	SlowDown   OnExcess = "slow-down"  // it is not listened to for a while
	Drop       OnExcess = "drop"       // its messages are dropped, those of which it can be told with an answer
	Disconnect OnExcess = "disconnect" // its connection ends
)

// Excesses lists them.
var Excesses = []OnExcess{SlowDown, Drop, Disconnect}

// Check says what is wrong with the word; none is right.
func (e OnExcess) Check() error {
	if e != "" && !slices.Contains(Excesses, e) {
		return fmt.Errorf("onExcess: %q is not one of %v", e, Excesses)
	}
	return nil
}

// UserLimits are those of one user. What they do not say is as the broker's configuration has it.
type UserLimits struct {
	// MaxConnections bounds open connections; zero is unlimited.
	MaxConnections int `json:"maxConnections,omitempty"`
	// Client is the rate of each of the user's clients, User that of all of them together.
	Client Rate `json:"client,omitzero"`
	User   Rate `json:"user,omitzero"`
	// OnExcess says what happens to those who publish more; connections beyond a rate are always refused.
	OnExcess OnExcess `json:"onExcess,omitempty"`
}

// Check says what is wrong with the limits.
func (l UserLimits) Check() error {
	if l.MaxConnections < 0 {
		return errors.New("maxConnections must not be negative; zero is unlimited")
	}
	if err := l.Client.Check(); err != nil {
		return fmt.Errorf("client.%w", err)
	}
	if err := l.User.Check(); err != nil {
		return fmt.Errorf("user.%w", err)
	}
	return l.OnExcess.Check()
}
