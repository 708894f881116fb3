package broker

import (
	"context"
	"crypto/rand"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// credentials keeps the Secrets of the administrator and of the default user. Their passwords are made once: the broker
// took them over when its volume was new, and clients hold them.
func credentials(ctx context.Context, s *scope) (wait, error) {
	for _, u := range []struct{ secret, name string }{
		{resource.AdminSecret(s.broker.Name), resource.AdminUser},
		{resource.DefaultUserSecret(s.broker.Name), resource.DefaultUser},
	} {
		if err := s.keepCredential(ctx, u.secret, u.name); err != nil {
			return wait{}, err
		}
	}
	return wait{}, nil
}

func (s *scope) keepCredential(ctx context.Context, secret, user string) error {
	build := func(password string) *corev1.Secret {
		return resource.CredentialSecret(s.key(), secret, user, password, s.bundle)
	}
	old, err := s.secret(ctx, build(""))
	if err != nil {
		return err
	}
	password := string(old.Data[resource.KeyPassword])
	if password == "" {
		password = rand.Text()
	}
	return s.keep(ctx, old, build(password))
}

func (s *scope) createRetained(ctx context.Context, wanted *corev1.Secret) error {
	if s.broker.Spec.Storage.DeletionPolicy == v1alpha1.DeletionDelete {
		s.own(wanted)
	}
	if err := s.Client.Create(ctx, wanted, Owner); err != nil {
		return fmt.Errorf("create %s: %w", describe(wanted), err)
	}
	return nil
}
