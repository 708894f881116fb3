package certificate

import (
	"bytes"
	"crypto/x509"
	"testing"
	"time"
)

var (
	now   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	names = []string{"broker.default.svc", "127.0.0.1"}
)

func TestServerCertificateIsTrusted(t *testing.T) {
	ca, server := pairs(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.Certificate)
	leaf, err := server.Leaf()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: n, Roots: pool, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	if !server.Serves(ca, names) || server.Serves(ca, append(names, "other.svc")) {
		t.Error("Serves must follow the names")
	}
	other, err := NewAuthority("other", now)
	if err != nil {
		t.Fatal(err)
	}
	if server.Serves(other, names) {
		t.Error("Serves takes a foreign authority")
	}
}

func TestDue(t *testing.T) {
	ca, server := pairs(t)
	for _, c := range []struct {
		after      time.Duration
		ca, server bool
	}{{0, false, false}, {59 * 24 * time.Hour, false, false}, {61 * 24 * time.Hour, false, true}, {7 * 365 * 24 * time.Hour, true, true}} {
		if at := now.Add(c.after); ca.Due(at) != c.ca || server.Due(at) != c.server {
			t.Errorf("after %v: authority due %v, server due %v", c.after, ca.Due(at), server.Due(at))
		}
	}
	if !(Pair{server.Certificate, ca.Key}).Due(now) || !(Pair{}).Due(now) {
		t.Error("a damaged pair must be due")
	}
	renewal, err := server.Renewal()
	if err != nil || server.Due(renewal) || !server.Due(renewal.Add(time.Second)) {
		t.Errorf("renewal %v, %v", renewal, err)
	}
}

func TestBundleKeepsAuthoritiesThatLive(t *testing.T) {
	old, _ := pairs(t)
	next, err := NewAuthority("next", now)
	if err != nil {
		t.Fatal(err)
	}
	both := Bundle(next, Bundle(old, nil, now), now)
	if !bytes.Equal(both, append(bytes.Clone(next.Certificate), old.Certificate...)) {
		t.Errorf("bundle\n%s", both)
	}
	if again := Bundle(next, both, now); !bytes.Equal(again, both) {
		t.Errorf("a bundle must not grow\n%s", again)
	}
	if late := Bundle(next, both, now.Add(2*authorityLife)); !bytes.Equal(late, next.Certificate) {
		t.Errorf("an authority that ended must go\n%s", late)
	}
}

func pairs(t *testing.T) (ca, server Pair) {
	t.Helper()
	ca, err := NewAuthority("broker", now)
	if err != nil {
		t.Fatal(err)
	}
	server, err = ca.Issue(names, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca, server
}
