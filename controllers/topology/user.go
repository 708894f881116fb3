package topology

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// CredentialsSecret names the Secret that is made for a user without one.
func CredentialsSecret(user string) string { return user + "-user-credentials" }

// passwords reads, or makes, the password of every user. One whose Secret is missing waits for it.
func (r *Reconciler) passwords(ctx context.Context, s *scope) error {
	if s.broker == nil {
		return nil
	}
	for _, e := range s.entries {
		u, ok := e.object.(*v1alpha1.User)
		if !ok || e.decided || e.deleting {
			continue
		}
		if err := r.password(ctx, s, e, u); err != nil {
			return err
		}
	}
	return nil
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
		s.pending = true
	case err != nil:
		return fmt.Errorf("get Secret %s of User %s: %w", ref.Name, e.ref(), err)
	case len(secret.Data[ref.Key]) == 0:
		e.decide(condition.Waiting(condition.SecretNotFound, fmt.Sprintf("Secret %q has no key %q, or it is empty", ref.Name, ref.Key)))
		s.pending = true
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

func (r *Reconciler) makeCredentials(ctx context.Context, b *v1alpha1.MessageBroker, u *v1alpha1.User, key types.NamespacedName) (*corev1.Secret, error) {
	name, password := u.NameInBroker(), rand.Text()
	host := fmt.Sprintf("%s.%s.svc", b.Name, b.Namespace)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{
			"app.kubernetes.io/managed-by": "turnstone-operator", "app.kubernetes.io/instance": b.Name,
		}},
		Type: "servicebinding.io/turnstone",
		StringData: map[string]string{
			"type": "turnstone", "provider": "turnstone", "host": host, "port": "5672",
			"username": name, "password": password,
			"mqtt_url": connectionURL("mqtt", name, password, host, 1883), "amqp_url": connectionURL("amqp", name, password, host, 5672),
		},
	}
	if err := controllerutil.SetControllerReference(u, secret, r.Scheme()); err != nil {
		return nil, err
	}
	if err := r.Create(ctx, secret); err != nil {
		return nil, err
	}
	secret.Data = map[string][]byte{"password": []byte(password)}
	return secret, nil
}

func connectionURL(scheme, user, password, host string, port int) string {
	u := url.URL{Scheme: scheme, User: url.UserPassword(user, password), Host: fmt.Sprintf("%s:%d", host, port)}
	return u.String()
}
