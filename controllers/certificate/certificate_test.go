package certificate

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
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

func TestUsable(t *testing.T) {
	ca, server := pairs(t)
	for name, c := range map[string]struct {
		pair Pair
		at   time.Time
		want string
	}{
		"good":      {server, now, ""},
		"ended":     {server, now.Add(2 * serverLife), "the certificate ended at 2027-"},
		"other key": {Pair{server.Certificate, ca.Key}, now, "certificate and key are no pair: private key does not match public key"},
		"no PEM":    {Pair{[]byte("x"), server.Key}, now, "certificate and key are no pair: failed to find any PEM data in certificate input"},
	} {
		err := c.pair.Usable(c.at)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m := server.Missing([]string{names[0], "other", "127.0.0.1", "::1"}); !slices.Equal(m, []string{"other", "::1"}) {
		t.Errorf("missing %v", m)
	}
}

func TestFormerCertificatesAreFew(t *testing.T) {
	var text []byte
	var last Pair
	for range 2 * mostFormer {
		_, last = pairs(t)
		text = Former(last, text, now)
	}
	if n := bytes.Count(text, []byte("BEGIN CERTIFICATE")); n != mostFormer || !bytes.HasPrefix(text, last.Certificate) {
		t.Errorf("%d certificates in\n%s", n, text)
	}
	if again := Former(last, text, now); !bytes.Equal(again, text) {
		t.Errorf("it grew\n%s", again)
	}
	if late := Former(last, text, now.Add(2*serverLife)); bytes.Count(late, []byte("BEGIN CERTIFICATE")) != 1 {
		t.Errorf("certificates that ended must go\n%s", late)
	}
}

func TestAuthoritiesAndRevocations(t *testing.T) {
	ca, _ := pairs(t)
	parent, err := ca.Leaf()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ca.key()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}, parent, key)
	if err != nil {
		t.Fatal(err)
	}
	armored := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	if CheckAuthorities(ca.Certificate) != nil || CheckRevocations(der) != nil || CheckRevocations(armored) != nil {
		t.Error("good ones are refused")
	}
	if CheckAuthorities(ca.Key) == nil || CheckRevocations(ca.Certificate) == nil || CheckRevocations(nil) == nil || CheckRevocations(append(armored, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL"})...)) == nil {
		t.Error("bad ones are taken")
	}
}
