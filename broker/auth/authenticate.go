package auth

import (
	"cmp"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/config"
)

// Credentials are what a peer says and shows of itself.
type Credentials struct {
	User, Password string
	// Certificate is the client's, verified by the listener (see PeerCertificate). Without a password it says who the
	// client is, as auth.certificateName has it.
	Certificate *x509.Certificate
	Anonymous   bool       // the peer gave no name
	Peer        netip.Addr // for loopback rules and for counting failures
	// VirtualHost is where the peer wants to be; empty for the admin API, which is about all of them.
	VirtualHost string
	ClientID    string // of MQTT
}

// The ways in which authentication fails. The texts are fit for a peer: they do not say which half was wrong.
var (
	ErrCredentials = errors.New("user name or password is wrong, or the certificate names no user")
	ErrAnonymous   = errors.New("clients without a user name are not admitted")
	ErrClientID    = errors.New("the user may not have this client id")
	ErrThrottled   = errors.New("too many failed logins from this address: wait a minute")
)

// GuestName is the user that exists, with itself as password and from this machine only, while there is no other.
const GuestName = "guest"

// anonymousName is the user whose permissions anonymous clients have, if there is such a user.
const anonymousName = "anonymous"

// Authenticate decides who a peer is and whether it may enter the virtual host. The error is one of the Err values, a
// *Denied, or that of ctx, which bounds the wait for a turn to verify the password.
func (a *Authority) Authenticate(ctx context.Context, c Credentials) (*Access, error) {
	w, err := a.identify(ctx, c)
	if err != nil {
		a.failures.Add(1)
		return nil, err
	}
	access, err := a.admit(w, c)
	if errors.Is(err, ErrClientID) {
		a.failures.Add(1)
	}
	return access, err
}

// admit lets somebody who is known into the virtual host.
func (a *Authority) admit(w who, c Credentials) (*Access, error) {
	if !a.mayBe(w, c.ClientID) {
		return nil, ErrClientID
	}
	access := &Access{authority: a, who: w, host: c.VirtualHost, clientID: c.ClientID, account: a.accountOf(w)}
	if err := access.enter(); err != nil {
		return nil, err
	}
	return access, nil
}

// identify takes the cheap ways first: a password that is known costs nothing, whoever else fails from that address.
func (a *Authority) identify(ctx context.Context, c Credentials) (who, error) {
	switch {
	case c.Password != "" && !c.Anonymous:
		return a.byPassword(ctx, c)
	case c.Certificate != nil:
		return a.byCertificate(c)
	case c.Anonymous:
		w := who{kind: anonymous, loopback: c.Peer.Unmap().IsLoopback()}
		if !a.standing(w) {
			return who{}, ErrAnonymous
		}
		return w, nil
	}
	return a.byPassword(ctx, c)
}

// AdmitsAnonymous says whether a peer may come in without a name now.
func (a *Authority) AdmitsAnonymous(peer netip.Addr) bool {
	return a.standing(who{kind: anonymous, loopback: peer.Unmap().IsLoopback()})
}

func (a *Authority) byPassword(ctx context.Context, c Credentials) (who, error) {
	u, alone := a.find(c.User)
	if a.verifier.known(u, c.Password) {
		return who{kind: named, name: u.name, id: u.id}, nil
	}
	limit := a.config().Limits.AuthFailuresPerMin
	if a.throttle.closed(c.Peer, limit, time.Now()) {
		return who{}, ErrThrottled
	}
	guest := alone && c.Peer.Unmap().IsLoopback()
	if guest && c.User == GuestName && subtle.ConstantTimeCompare([]byte(c.Password), []byte(GuestName)) == 1 {
		return who{kind: theGuest, name: GuestName, loopback: true}, nil
	}
	ok, err := a.verifier.verify(ctx, u, c.Password)
	if err != nil {
		return who{}, err
	}
	if !ok {
		a.throttle.failed(c.Peer, time.Now())
		return who{}, ErrCredentials
	}
	return who{kind: named, name: u.name, id: u.id}, nil
}

func (a *Authority) byCertificate(c Credentials) (who, error) {
	name := certificateName(c.Certificate, a.config().Auth.CertificateName)
	u, _ := a.find(name)
	if u == nil || c.User != "" && c.User != name {
		return who{}, ErrCredentials
	}
	return who{kind: named, name: u.name, id: u.id}, nil
}

// find answers the user of a name, nil if there is none, and whether there is no user at all.
func (a *Authority) find(name string) (u *user, none bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.users[name], len(a.users) == 0
}

// certificateName is the name of a certificate's bearer; empty if the certificate has no such name.
func certificateName(c *x509.Certificate, which string) string {
	first := func(names []string) string {
		if len(names) == 0 {
			return ""
		}
		return names[0]
	}
	switch which {
	case config.CertificateCommonName:
		return c.Subject.CommonName
	case config.CertificateDNSName:
		return first(c.DNSNames)
	case config.CertificateEmail:
		return first(c.EmailAddresses)
	case config.CertificateURI:
		if len(c.URIs) == 0 {
			return ""
		}
		return c.URIs[0].String()
	}
	return cmp.Or(c.Subject.CommonName, first(c.DNSNames), first(c.EmailAddresses))
}

// PeerCertificate is the client's certificate if a connection showed one that a known authority signed; nil otherwise.
func PeerCertificate(s tls.ConnectionState) *x509.Certificate {
	if len(s.VerifiedChains) == 0 || len(s.PeerCertificates) == 0 {
		return nil
	}
	return s.PeerCertificates[0]
}

// kind says by which rule a peer is in.
type kind uint8

const (
	named kind = iota + 1
	theGuest
	anonymous
)

// who is an authenticated peer.
type who struct {
	kind     kind
	name     string
	id       uint64 // of a named user
	loopback bool
}

// standing says whether the rule by which a peer came in still holds.
func (a *Authority) standing(w who) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.standingLocked(w)
}

func (a *Authority) standingLocked(w who) bool {
	switch w.kind {
	case named:
		u := a.users[w.name]
		return u != nil && u.id == w.id
	case theGuest:
		return len(a.users) == 0
	case anonymous:
		switch a.config().Auth.Anonymous {
		case "always":
			return true
		case "loopback":
			return w.loopback && len(a.users) == 0
		}
	}
	return false
}

func (a *Authority) tagsLocked(w who) []string {
	switch w.kind {
	case named:
		if u := a.users[w.name]; u != nil {
			return slices.Clone(u.tags)
		}
	case theGuest:
		return []string{catalog.TagAdministrator}
	}
	return nil
}

// permissionLocked is what rules a peer in a virtual host; nil if it may do nothing there.
func (a *Authority) permissionLocked(w who, host string) *permission {
	if _, ok := a.hosts[host]; !ok || !a.standingLocked(w) {
		return nil
	}
	switch w.kind {
	case named:
		return a.permissions[permissionKey{host, w.name}]
	case anonymous:
		if a.users[anonymousName] != nil {
			return a.permissions[permissionKey{host, anonymousName}]
		}
	}
	return everything
}

// throttle counts failed logins by address. Once an address failed too often, its attempts are refused unheard until
// the minute is over.
type throttle struct {
	mu    sync.Mutex
	peers map[peer]*failures
}

// peer is what counts as one address: an IPv4 address, or the /64 that one host of IPv6 has to itself.
type peer netip.Prefix

type failures struct {
	since time.Time
	count int
}

// mostPeers bounds the memory of the throttle. When it is reached, what is out of date goes, or else everything:
// whoever commands so many addresses is not held up by counting them.
const mostPeers = 1 << 16

func peerOf(a netip.Addr) peer {
	a = a.Unmap()
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits) // the zero address has a zero prefix
	return peer(p)
}

func (t *throttle) closed(a netip.Addr, limit int, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.peers[peerOf(a)]
	return f != nil && now.Sub(f.since) < time.Minute && f.count >= limit
}

func (t *throttle) failed(a netip.Addr, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := peerOf(a)
	f := t.peers[p]
	if f == nil || now.Sub(f.since) >= time.Minute {
		if f == nil && len(t.peers) >= mostPeers {
			t.sweepLocked(now)
		}
		f = &failures{since: now}
		t.peers[p] = f
	}
	f.count++
}

func (t *throttle) sweepLocked(now time.Time) {
	for p, f := range t.peers {
		if now.Sub(f.since) >= time.Minute {
			delete(t.peers, p)
		}
	}
	if len(t.peers) >= mostPeers {
		clear(t.peers)
	}
}
