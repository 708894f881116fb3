package connection

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
)

// A broker that no MessageBroker stands for is known by its connection Secret: by the name External(secret), which no
// object of Kubernetes can have, in the Secret's namespace.
const external = "secret/"

// External is the name under which the broker of a connection Secret is known.
func External(secret string) string { return external + secret }

// SecretOf is the connection Secret of such a name; ok is false for the name of a MessageBroker.
func SecretOf(broker string) (secret string, ok bool) { return strings.CutPrefix(broker, external) }

// The keys of a connection Secret.
const (
	KeyURL      = "url"
	KeyUsername = "username"
	KeyPassword = "password"
	KeyToken    = "token"
	KeyCA       = "ca.crt"
)

// SecretError says what is wrong with a connection Secret.
type SecretError struct {
	Missing bool // there is none
	Text    string
}

func (e *SecretError) Error() string { return e.Text }

// NoSecret says that there is no such connection Secret.
func NoSecret(namespace, name string) *SecretError {
	return &SecretError{Missing: true, Text: fmt.Sprintf("connection Secret %q does not exist in namespace %q: make it, with the keys url, username and password", name, namespace)}
}

// toExternal answers the client of a broker by its connection Secret, which is read anew each time.
func (p *Pool) toExternal(ctx context.Context, broker types.NamespacedName, secret string) (*admin.Client, error) {
	s := &corev1.Secret{}
	err := p.Live.Get(ctx, types.NamespacedName{Namespace: broker.Namespace, Name: secret}, s)
	if apierrors.IsNotFound(err) {
		return nil, NoSecret(broker.Namespace, secret)
	}
	if err != nil {
		return nil, fmt.Errorf("connection secret %s: %w", secret, err)
	}
	return p.known(broker, fmt.Sprint(s.UID, s.ResourceVersion), func() (admin.Options, error) {
		o, err := connectionOptions(s)
		if err != nil {
			return o, &SecretError{Text: fmt.Sprintf("connection Secret %q: %v", secret, err)}
		}
		return o, nil
	})
}

// connectionOptions reads a connection Secret.
func connectionOptions(s *corev1.Secret) (admin.Options, error) {
	text := func(key string) string { return strings.TrimSpace(string(s.Data[key])) }
	o := admin.Options{URL: text(KeyURL), User: text(KeyUsername), Password: string(s.Data[KeyPassword]), Token: text(KeyToken)}
	u, err := url.Parse(o.URL)
	switch {
	case o.URL == "":
		return o, fmt.Errorf("key %s is missing or empty: write https://HOST:PORT of the broker's admin API", KeyURL)
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return o, fmt.Errorf("key %s must be https://HOST:PORT of the broker's admin API, not %q", KeyURL, printable(u, err))
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return o, fmt.Errorf("key %s must be an address alone: a user goes into the keys %s and %s", KeyURL, KeyUsername, KeyPassword)
	}
	return o, credentials(s, &o, u.Scheme == "https")
}

// printable is an address as it may stand in a message: without what could be a password.
func printable(u *url.URL, err error) string {
	if err != nil {
		return "(unreadable)"
	}
	return u.Redacted()
}

// credentials reads as whom to connect, and whom to trust.
func credentials(s *corev1.Secret, o *admin.Options, secure bool) error {
	certificate, key := s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
	byPassword, byToken, byCertificate := o.User != "" || o.Password != "", o.Token != "", len(certificate) > 0 || len(key) > 0
	ways := 0
	for _, has := range []bool{byPassword, byToken, byCertificate} {
		if has {
			ways++
		}
	}
	switch {
	case ways != 1:
		return fmt.Errorf("must have exactly one of %s and %s, %s, or %s and %s", KeyUsername, KeyPassword, KeyToken, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	case byPassword && (o.User == "" || o.Password == ""):
		return fmt.Errorf("keys %s and %s go together: one of them is missing or empty", KeyUsername, KeyPassword)
	case byCertificate && !secure:
		return fmt.Errorf("key %s: a client certificate needs an https address", KeyURL)
	}
	if !secure {
		return nil
	}
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := s.Data[KeyCA]; len(ca) > 0 {
		o.TLS.RootCAs = x509.NewCertPool()
		if !o.TLS.RootCAs.AppendCertsFromPEM(ca) {
			return fmt.Errorf("key %s holds no certificate in PEM", KeyCA)
		}
	}
	if byCertificate {
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return fmt.Errorf("keys %s and %s: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
		}
		o.TLS.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// Last is the client that a broker had last, nil for none: what its Secret said once may serve to delete what is left, when
// the Secret went first.
func (p *Pool) Last(broker types.NamespacedName) *admin.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clients[broker].client
}
