package connection

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// trust is by what a broker is known: its own authority, and what it may show beside that.
type trust struct {
	authority *corev1.Secret
	shown     shown
}

func (p *Pool) trust(ctx context.Context, b *v1alpha1.MessageBroker) (t trust, err error) {
	if t.authority, err = p.secret(ctx, b.Namespace, AuthoritySecret(b.Name)); err == nil {
		t.shown, err = p.shown(ctx, b)
	}
	return t, err
}

// TLS is for connections to a broker, to any of its listeners: they are verified as those to its admin API are.
func (p *Pool) TLS(ctx context.Context, b *v1alpha1.MessageBroker) (*tls.Config, error) {
	t, err := p.trust(ctx, b)
	if err != nil {
		return nil, err
	}
	return t.tls(serverName(b))
}

// version tells contents apart.
func (t trust) version() string {
	return fmt.Sprint(t.shown.version(), t.authority.UID, t.authority.ResourceVersion)
}

func (t trust) tls(serverName string) (*tls.Config, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(t.authority.Data[resource.KeyCA]) {
		return nil, fmt.Errorf("secret %s: key %s holds no certificate", t.authority.Name, resource.KeyCA)
	}
	return &tls.Config{
		ServerName: serverName, MinVersion: tls.VersionTLS13,
		// VerifyConnection does what is skipped, and knows certificates of other authorities.
		InsecureSkipVerify: true, VerifyConnection: t.shown.verifier(roots),
	}, nil
}

// shown is what a broker may show beside certificates of its own authority: certificates that users brought need not be
// for the name by which the operator connects, nor of an authority that it trusts. So it knows them one by one, the
// present one, and those of before, which the broker shows until it has read the present one.
type shown struct {
	certificates [][]byte // DER
	secret       *corev1.Secret
}

func (p *Pool) shown(ctx context.Context, b *v1alpha1.MessageBroker) (shown, error) {
	s := &corev1.Secret{}
	err := p.Reader.Get(ctx, types.NamespacedName{Namespace: b.Namespace, Name: resource.ServerSecret(b.Name)}, s)
	if apierrors.IsNotFound(err) {
		return shown{}, nil
	}
	if err != nil {
		return shown{}, fmt.Errorf("secret %s: %w", resource.ServerSecret(b.Name), err)
	}
	out := shown{secret: s}
	if block, _ := pem.Decode(s.Data[corev1.TLSCertKey]); block != nil && s.Annotations[resource.AnnotationSource] != "" {
		out.certificates = append(out.certificates, block.Bytes)
	}
	for block, rest := pem.Decode(s.Data[resource.KeyFormer]); block != nil; block, rest = pem.Decode(rest) {
		out.certificates = append(out.certificates, block.Bytes)
	}
	return out, nil
}

// version tells contents apart that matter.
func (s shown) version() string {
	if len(s.certificates) == 0 {
		return ""
	}
	return fmt.Sprint(s.secret.UID, s.secret.ResourceVersion)
}

// verifier takes a certificate that is known, or one of the roots for the server's name.
func (s shown) verifier(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(c tls.ConnectionState) error {
		if len(c.PeerCertificates) == 0 {
			return errors.New("the broker shows no certificate")
		}
		leaf, chain := c.PeerCertificates[0], x509.NewCertPool()
		for _, known := range s.certificates {
			if bytes.Equal(known, leaf.Raw) {
				return nil
			}
		}
		for _, between := range c.PeerCertificates[1:] {
			chain.AddCert(between)
		}
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: chain, DNSName: c.ServerName})
		return err
	}
}
