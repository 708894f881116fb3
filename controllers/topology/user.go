package topology

import (
	"context"
	"crypto/rand"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// CredentialsSecret names the Secret that is made for a user without one.
func CredentialsSecret(user string) string { return user + "-user-credentials" }

// passwords reads, or makes, the password of every user. One whose Secret is missing waits for it.
func (r *Reconciler) passwords(ctx context.Context, s *scope) {
	if s.broker == nil {
		return
	}
	for _, e := range s.entries {
		u, ok := e.object.(*v1alpha1.User)
		if !ok || e.decided || e.deleting {
			continue
		}
		e.failed = r.password(ctx, s, e, u)
	}
}

func (r *Reconciler) password(ctx context.Context, s *scope, e *entry, u *v1alpha1.User) error {
	ref := u.Spec.PasswordSecretRef
	if ref == nil {
		return r.ownPassword(ctx, s, e, u)
	}
	secret := &corev1.Secret{}
	err := r.live.Get(ctx, types.NamespacedName{Namespace: u.Namespace, Name: ref.Name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		e.decide(condition.Waiting(condition.SecretNotFound, fmt.Sprintf("Secret %q does not exist in namespace %q", ref.Name, u.Namespace)))
	case err != nil:
		return fmt.Errorf("get Secret %s of User %s: %w", ref.Name, e.ref(), err)
	case len(secret.Data[ref.Key]) == 0:
		e.decide(condition.Waiting(condition.SecretNotFound, fmt.Sprintf("Secret %q has no key %q, or it is empty", ref.Name, ref.Key)))
	default:
		e.takePassword(secret, ref.Key)
	}
	return nil
}

func (e *entry) takePassword(s *corev1.Secret, key string) {
	e.password = string(s.Data[key])
	e.passwordVersion = fmt.Sprintf("%s/%s", s.UID, s.ResourceVersion)
}

// ownPassword reads the Secret that the operator made for a user, or makes it. It is never changed afterwards.
func (r *Reconciler) ownPassword(ctx context.Context, s *scope, e *entry, u *v1alpha1.User) error {
	secret := &corev1.Secret{}
	key := types.NamespacedName{Namespace: u.Namespace, Name: CredentialsSecret(u.Name)}
	err := r.Get(ctx, key, secret)
	if apierrors.IsNotFound(err) {
		secret, err = r.makeCredentials(ctx, s.broker, u, key)
	}
	if apierrors.IsNotFound(err) { // the broker is new and has no Secrets yet
		e.decide(condition.Waiting(condition.BrokerUnavailable, err.Error()))
		return nil
	}
	if apierrors.IsAlreadyExists(err) {
		e.decide(condition.Stuck(condition.SecretNotFound, fmt.Sprintf("Secret %q exists and is not the operator's: delete it, or name it in spec.passwordSecretRef", key.Name)))
		return nil
	}
	if err != nil {
		return fmt.Errorf("credentials of User %s: %w", e.ref(), err)
	}
	e.takePassword(secret, "password")
	return nil
}

// makeCredentials makes the Secret of a user, with what the broker's own Secrets say of how to connect.
func (r *Reconciler) makeCredentials(ctx context.Context, b *v1alpha1.MessageBroker, u *v1alpha1.User, key types.NamespacedName) (*corev1.Secret, error) {
	var admin corev1.Secret
	if err := r.Get(ctx, types.NamespacedName{Namespace: b.Namespace, Name: resource.AdminSecret(b.Name)}, &admin); err != nil {
		return nil, fmt.Errorf("the broker's authority: %w", err)
	}
	secret := resource.CredentialSecret(client.ObjectKeyFromObject(b), key.Name, u.NameInBroker(), rand.Text(), admin.Data[resource.KeyCA])
	secret.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "User", Name: u.Name, UID: u.UID, Controller: new(true),
	}}
	return secret, r.Create(ctx, secret)
}
