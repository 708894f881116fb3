package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/certificate"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// certificates keeps an authority, and in the Secret that the pod mounts the certificate of the source that the spec
// names. The broker reads changed files again, so a renewal restarts nothing. What cannot be used never gets there.
func certificates(ctx context.Context, s *scope) (wait, error) {
	if err := s.keepAuthority(ctx); err != nil {
		return wait{}, err
	}
	old, err := s.secret(ctx, resource.Server(s.broker, resource.Shown{}))
	if err != nil {
		return wait{}, err
	}
	was := resource.ReadShown(old)
	next, err := s.certificate(ctx, was)
	if err != nil {
		return wait{}, err
	}
	if w, err := s.clientAuthorities(ctx, was, &next); w.reason != "" || err != nil {
		return w, err
	}
	if err := s.keep(ctx, old, resource.Server(s.broker, next)); err != nil {
		return wait{}, err
	}
	return wait{}, s.showing(next)
}

// showing tells the status, and when to look again, of the certificate in use.
func (s *scope) showing(next resource.Shown) error {
	leaf, err := next.Leaf()
	if err != nil {
		return err
	}
	s.bundle, s.expires, s.serial = next.CA, leaf.NotAfter, serialText(leaf.SerialNumber)
	if s.now.Before(leaf.NotAfter) { // of one that ended nothing is to be waited for
		s.renewal = leaf.NotAfter
	}
	if next.Source == "" {
		s.renewal, err = next.Renewal()
	}
	return err
}

func serialText(n *big.Int) string { return fmt.Sprintf("%X", n) }

func (s *scope) keepAuthority(ctx context.Context) error {
	wanted := resource.Authority(s.broker, certificate.Pair{}, nil)
	old, err := s.secret(ctx, wanted)
	if err != nil {
		return err
	}
	s.authority, s.trusted = resource.Pair(old), old.Data[resource.KeyCA]
	if s.authority.Due(s.now) {
		if s.authority, err = certificate.NewAuthority(fmt.Sprintf("turnstone %s", s.key()), s.now); err != nil {
			return err
		}
	}
	s.trusted = certificate.Bundle(s.authority, s.trusted, s.now)
	return s.keep(ctx, old, resource.Authority(s.broker, s.authority, s.trusted))
}

// certificate is what to show next. As long as the source that the spec names gives nothing that can be used, that is
// what was shown before, or what the broker's own authority issues.
func (s *scope) certificate(ctx context.Context, was resource.Shown) (next resource.Shown, err error) {
	source := resource.CertificateSource(s.broker)
	if err := s.dropCertificate(ctx); err != nil {
		return next, err
	}
	var no *trouble
	switch t := s.broker.Spec.TLS; {
	case source == "":
		next, err = s.ownCertificate(was)
		s.clear(condition.CertificateReady)
	case t.SecretRef != nil:
		next, no, err = s.givenCertificate(ctx, t.SecretRef.Name)
	default:
		next, no, err = s.issuedCertificate(ctx, *t.IssuerRef)
	}
	if err != nil {
		return next, err
	}
	switch {
	case no != nil:
		s.note(condition.CertificateReady, metav1.ConditionFalse, no.reason, no.message)
		s.again(no.after)
		if was.Source != source {
			s.hold(no)
		}
		next = was
		if was.Source == "" || was.Usable(time.Time{}) != nil {
			next, err = s.ownCertificate(was)
		}
	case source != "":
		next.Source = source
		s.note(condition.CertificateReady, metav1.ConditionTrue, condition.InUse, s.inUse(next))
	}
	next.Former = was.Former
	if len(was.Certificate) > 0 && !bytes.Equal(was.Certificate, next.Certificate) && !was.IssuedBy(s.authority) {
		next.Former = certificate.Former(was.Pair, was.Former, s.now)
	}
	return next, err
}

// inUse says of a certificate that users brought what they may want to know.
func (s *scope) inUse(next resource.Shown) string {
	text := fmt.Sprintf("the certificate of %s is shown", next.Source)
	if host := resource.Host(s.key()); len(next.Missing([]string{host})) > 0 {
		text += fmt.Sprintf("; it is not for %s, so clients that connect by that name and verify it refuse it", host)
	}
	return text
}

// ownCertificate is one of the broker's own authority, the present one as long as it will do.
func (s *scope) ownCertificate(was resource.Shown) (resource.Shown, error) {
	names, own := resource.ServerNames(s.broker), was.Pair
	if own.Due(s.now) || !own.Serves(s.authority, names) {
		var err error
		if own, err = s.authority.Issue(names, s.now); err != nil {
			return resource.Shown{}, err
		}
	}
	return resource.Shown{Pair: own, CA: s.trusted}, nil
}

// givenCertificate reads the Secret that a user brought.
func (s *scope) givenCertificate(ctx context.Context, name string) (resource.Shown, *trouble, error) {
	secret, no, err := s.foreignSecret(ctx, name)
	if no != nil || err != nil {
		return resource.Shown{}, no, err
	}
	next, no := s.usable(secret, fmt.Sprintf("Secret %q", name), "put a certificate and its key, in PEM, into tls.crt and tls.key")
	return next, no, nil
}

// usable takes the certificate of a Secret.
func (s *scope) usable(secret *corev1.Secret, whose, remedy string) (resource.Shown, *trouble) {
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(secret.Data[key]) == 0 {
			return resource.Shown{}, &trouble{condition.SecretNotFound, fmt.Sprintf("%s has no key %q, or it is empty: %s", whose, key, remedy), true, lookEvery}
		}
	}
	next := resource.Shown{Pair: resource.Pair(secret), CA: secret.Data[resource.KeyCA]}
	if err := next.Usable(s.now); err != nil {
		return next, &trouble{condition.CertificateUnusable, fmt.Sprintf("%s: %v: %s", whose, err, remedy), true, lookEvery}
	}
	if len(next.CA) > 0 {
		if err := certificate.CheckAuthorities(next.CA); err != nil {
			return next, &trouble{condition.CertificateUnusable, fmt.Sprintf("%s: key %q: %v: %s", whose, resource.KeyCA, err, "put the authority there, or leave it out"), true, lookEvery}
		}
	}
	return next, nil
}

// foreignSecret reads a Secret that is not the operator's.
func (s *scope) foreignSecret(ctx context.Context, name string) (*corev1.Secret, *trouble, error) {
	secret := &corev1.Secret{}
	err := s.Live.Get(ctx, types.NamespacedName{Namespace: s.broker.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return nil, &trouble{condition.SecretNotFound, fmt.Sprintf("Secret %q does not exist in namespace %q: create it", name, s.broker.Namespace), false, lookEvery}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("get Secret %s: %w", name, err)
	}
	return secret, nil, nil
}

// clientAuthorities puts beside the certificate what clients' certificates are verified by. What cannot be used leaves in
// use what is; where nothing is yet the broker waits, since it would not ask clients for what it is told to.
func (s *scope) clientAuthorities(ctx context.Context, was resource.Shown, next *resource.Shown) (wait, error) {
	next.ClientCA, next.ClientCRL = nil, nil
	t := s.broker.Spec.TLS
	if t == nil || t.ClientAuthentication == nil {
		return wait{}, nil
	}
	a := t.ClientAuthentication
	parts := []clientPart{{a.CASecretRef.Name, a.CASecretRef.Key, certificate.CheckAuthorities, was.ClientCA, &next.ClientCA}}
	if a.CRLSecretRef != nil {
		parts = append(parts, clientPart{a.CRLSecretRef.Name, a.CRLSecretRef.Key, certificate.CheckRevocations, was.ClientCRL, &next.ClientCRL})
	}
	for _, p := range parts {
		no, err := p.read(ctx, s)
		if err != nil {
			return wait{}, err
		}
		if no == nil {
			continue
		}
		s.note(condition.CertificateReady, metav1.ConditionFalse, no.reason, no.message)
		s.again(no.after)
		if *p.to = p.was; len(p.was) > 0 {
			continue
		}
		return wait{no.reason, no.message, no.after}, nil
	}
	return wait{}, nil
}

// clientPart is one key of a Secret by which clients are verified.
type clientPart struct {
	secret, key string
	check       func([]byte) error
	was         []byte
	to          *[]byte
}

func (p clientPart) read(ctx context.Context, s *scope) (*trouble, error) {
	secret, no, err := s.foreignSecret(ctx, p.secret)
	if no != nil || err != nil {
		return no, err
	}
	content := secret.Data[p.key]
	if len(content) == 0 {
		return &trouble{condition.SecretNotFound, fmt.Sprintf("Secret %q has no key %q, or it is empty: spec.tls.clientAuthentication reads it", p.secret, p.key), true, lookEvery}, nil
	}
	if err := p.check(content); err != nil {
		return &trouble{condition.ClientCAUnusable, fmt.Sprintf("Secret %q, key %q: %v", p.secret, p.key, err), true, lookEvery}, nil
	}
	*p.to = content
	return nil, nil
}

// issuedCertificate asks an issuer of cert-manager, and reads what it answered. Whatever goes wrong there holds up nothing
// that serves.
func (s *scope) issuedCertificate(ctx context.Context, issuer v1alpha1.IssuerReference) (resource.Shown, *trouble, error) {
	wanted := resource.Certificate(s.broker, issuer)
	if err := s.apply(ctx, wanted); err != nil {
		return resource.Shown{}, s.kindMissing(ctx, err, condition.CertManagerMissing, "install cert-manager, or name a Secret in spec.tls.secretRef"), ctx.Err()
	}
	secret := &corev1.Secret{}
	err := s.Live.Get(ctx, types.NamespacedName{Namespace: s.broker.Namespace, Name: resource.IssuedSecret(s.broker.Name)}, secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return resource.Shown{}, nil, fmt.Errorf("get Secret %s: %w", resource.IssuedSecret(s.broker.Name), err)
	}
	whose := fmt.Sprintf("%s %q", issuer.Kind, issuer.Name)
	if len(secret.Data[corev1.TLSCertKey]) == 0 {
		said := ""
		if o, found, err := s.observe(ctx, wanted); err == nil && found {
			said = readyMessage(o)
		}
		return resource.Shown{}, &trouble{condition.IssuerPending, fmt.Sprintf(
			"%s has not issued a certificate%s: look at Certificate %s/%s and its CertificateRequest, and whether the issuer exists", whose, said, s.broker.Namespace, s.broker.Name), false, lookEvery}, nil
	}
	next, no := s.usable(secret, fmt.Sprintf("Secret %q of %s", secret.Name, whose), "delete it, and cert-manager makes it anew")
	return next, no, nil
}

// kindMissing is what a failed call for a kind means that the cluster may not have.
func (s *scope) kindMissing(_ context.Context, err error, reason, remedy string) *trouble {
	var no *refusal
	switch {
	case noSuchKind(err):
		return &trouble{reason, "the cluster does not know the kind: " + remedy, true, refusedEvery}
	case errors.As(err, &no):
		return &trouble{no.reason, no.message, true, refusedEvery}
	}
	return &trouble{condition.ReconcileFailed, err.Error(), false, lookEvery}
}

// dropCertificate deletes the Certificate of a spec that named an issuer, once it does not.
func (s *scope) dropCertificate(ctx context.Context) error {
	if t := s.broker.Spec.TLS; t != nil && t.IssuerRef != nil || !s.noteIsOld(condition.CertificateReady) {
		return nil
	}
	return s.remove(ctx, resource.Foreign(s.broker, resource.CertificateKind, s.broker.Name))
}

// secret reads a Secret of ours; it is empty if there is none.
func (s *scope) secret(ctx context.Context, wanted *corev1.Secret) (*corev1.Secret, error) {
	o, found, err := s.observe(ctx, wanted)
	if err != nil || !found {
		return &corev1.Secret{}, err
	}
	return o.(*corev1.Secret), nil
}

// keep writes a Secret with generated content. One that was not seen is created and never applied: behind an old cache
// an apply would replace what is in use.
func (s *scope) keep(ctx context.Context, old, wanted *corev1.Secret) error {
	if old.UID == "" {
		return s.createRetained(ctx, wanted)
	}
	return s.applyRetained(ctx, wanted)
}

// referenced are the Secrets of users that a broker reads.
func referenced(b *v1alpha1.MessageBroker) (names []string) {
	t := b.Spec.TLS
	if t == nil {
		return nil
	}
	if t.SecretRef != nil {
		names = append(names, t.SecretRef.Name)
	}
	if a := t.ClientAuthentication; a != nil {
		names = append(names, a.CASecretRef.Name)
		if a.CRLSecretRef != nil {
			names = append(names, a.CRLSecretRef.Name)
		}
	}
	return names
}

func trimmed(s string) string { return strings.TrimRight(strings.TrimSpace(s), ".") }
