// Package certificate makes the certificates of brokers: an authority for each broker and the server certificate that it
// signs. It is pure but for the random numbers: time is an argument, storage is the caller's.
package certificate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"
)

// How long certificates live. Each is renewed when a third of its life is left.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 90 * 24 * time.Hour
	clockSkew     = 5 * time.Minute
)

// Pair is a certificate and its key, in PEM.
type Pair struct{ Certificate, Key []byte }

// NewAuthority makes a self-signed authority.
func NewAuthority(name string, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make key of authority: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return sign(template, template, key, key)
}

// Issue makes a server certificate for DNS names and IP addresses, signed by the authority.
func (a Pair) Issue(names []string, now time.Time) (Pair, error) {
	parent, err := a.Leaf()
	if err != nil {
		return Pair{}, fmt.Errorf("authority: %w", err)
	}
	parentKey, err := a.key()
	if err != nil {
		return Pair{}, fmt.Errorf("authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make key of server: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: names[0]},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(serverLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	return sign(template, parent, key, parentKey)
}

// Leaf is the parsed certificate.
func (a Pair) Leaf() (*x509.Certificate, error) {
	block, _ := pem.Decode(a.Certificate)
	if block == nil {
		return nil, errors.New("certificate is no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// Due says whether the pair has to be replaced: a third of its life or less is left, or it is damaged.
func (a Pair) Due(now time.Time) bool {
	leaf, err := a.Leaf()
	if err != nil {
		return true
	}
	if key, err := a.key(); err != nil || !key.PublicKey.Equal(leaf.PublicKey) {
		return true
	}
	return now.After(a.renewal(leaf))
}

// Usable says why a pair that somebody else made cannot be shown; nil if it can.
func (a Pair) Usable(now time.Time) error {
	pair, err := tls.X509KeyPair(a.Certificate, a.Key)
	if err != nil {
		return fmt.Errorf("certificate and key are no pair: %s", strings.TrimPrefix(err.Error(), "tls: "))
	}
	if !now.Before(pair.Leaf.NotAfter) {
		return fmt.Errorf("the certificate ended at %s", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// IssuedBy says whether the certificate is signed by the authority.
func (a Pair) IssuedBy(authority Pair) bool {
	leaf, err := a.Leaf()
	if err != nil {
		return false
	}
	parent, err := authority.Leaf()
	return err == nil && leaf.CheckSignatureFrom(parent) == nil
}

// Missing are the names, DNS names and IP addresses, that the certificate is not for.
func (a Pair) Missing(names []string) (missing []string) {
	leaf, err := a.Leaf()
	if err != nil {
		return names
	}
	for _, n := range names {
		if leaf.VerifyHostname(n) != nil {
			missing = append(missing, n)
		}
	}
	return missing
}

// mostFormer bounds the certificates of before that are known again.
const mostFormer = 4

// Former puts the certificate that is replaced before those that were replaced earlier and still live, so that who knows
// the server by its certificate knows it until it shows the next one.
func Former(replaced Pair, before []byte, now time.Time) []byte {
	leaf, err := replaced.Leaf()
	if err != nil {
		return before
	}
	newest := Pair{Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})}
	out := []byte{}
	for n, rest := 0, Bundle(newest, before, now); n < mostFormer; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		out = append(out, pem.EncodeToMemory(block)...)
	}
	return out
}

// CheckAuthorities says why a text in PEM holds no certificates to trust.
func CheckAuthorities(text []byte) error {
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return errors.New("it holds no certificate in PEM form")
	}
	return nil
}

// CheckRevocations says why a text holds no revocation lists, in PEM form, or one in DER form.
func CheckRevocations(text []byte) error {
	lists := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		if _, err := x509.ParseRevocationList(block.Bytes); err != nil {
			return fmt.Errorf("it holds a revocation list that cannot be read: %w", err)
		}
		lists++
	}
	if lists > 0 {
		return nil
	}
	if _, err := x509.ParseRevocationList(text); err != nil {
		return errors.New("it holds no revocation list in PEM or DER form")
	}
	return nil
}

// Renewal is when the pair becomes due.
func (a Pair) Renewal() (time.Time, error) {
	leaf, err := a.Leaf()
	if err != nil {
		return time.Time{}, err
	}
	return a.renewal(leaf), nil
}

func (a Pair) renewal(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)
}

// Serves says whether the certificate is signed by the authority and for all the names.
func (a Pair) Serves(authority Pair, names []string) bool {
	leaf, err := a.Leaf()
	if err != nil || !a.IssuedBy(authority) {
		return false
	}
	for _, n := range names {
		ip := net.ParseIP(n)
		if ip == nil && !slices.Contains(leaf.DNSNames, n) || ip != nil && !slices.ContainsFunc(leaf.IPAddresses, ip.Equal) {
			return false
		}
	}
	return true
}

// Bundle puts the current authority before those of before that still live, so that a client that trusts the bundle
// knows the servers of the old authority until it ends.
func Bundle(current Pair, before []byte, now time.Time) []byte {
	out := bytes.Clone(current.Certificate)
	for rest := before; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out
		}
		whole := pem.EncodeToMemory(block)
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && now.Before(c.NotAfter) && !bytes.Contains(out, whole) {
			out = append(out, whole...)
		}
	}
}

func (a Pair) key() (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(a.Key)
	if block == nil {
		return nil, errors.New("key is no PEM")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse key: %w", err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key is a %T, not ECDSA", k)
	}
	return key, nil
}

func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (Pair, error) {
	const serialBits = 127
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return Pair{}, fmt.Errorf("make serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode key: %w", err)
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}, nil
}
