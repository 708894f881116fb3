package broker

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/turnstone-mq/turnstone/controllers/certificate"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// certificates keeps an authority and a server certificate that do not end soon. The broker reads changed files again, so
// a renewal restarts nothing.
func certificates(ctx context.Context, s *scope) (wait, error) {
	if err := s.keepAuthority(ctx); err != nil {
		return wait{}, err
	}
	server, err := s.keepServer(ctx)
	if err != nil {
		return wait{}, err
	}
	if s.renewal, err = server.Renewal(); err != nil {
		return wait{}, err
	}
	leaf, err := server.Leaf()
	if err != nil {
		return wait{}, err
	}
	s.expires = leaf.NotAfter
	return wait{}, nil
}

func (s *scope) keepAuthority(ctx context.Context) error {
	wanted := resource.Authority(s.broker, certificate.Pair{}, nil)
	old, err := s.secret(ctx, wanted)
	if err != nil {
		return err
	}
	s.authority, s.bundle = resource.Pair(old), old.Data[resource.KeyCA]
	if s.authority.Due(s.now) {
		if s.authority, err = certificate.NewAuthority(fmt.Sprintf("turnstone %s", s.key()), s.now); err != nil {
			return err
		}
	}
	s.bundle = certificate.Bundle(s.authority, s.bundle, s.now)
	return s.keep(ctx, old, resource.Authority(s.broker, s.authority, s.bundle))
}

func (s *scope) keepServer(ctx context.Context) (certificate.Pair, error) {
	wanted := resource.Server(s.broker, certificate.Pair{}, nil)
	old, err := s.secret(ctx, wanted)
	if err != nil {
		return certificate.Pair{}, err
	}
	names, server := resource.ServerNames(s.broker), resource.Pair(old)
	if server.Due(s.now) || !server.Serves(s.authority, names) {
		if server, err = s.authority.Issue(names, s.now); err != nil {
			return certificate.Pair{}, err
		}
	}
	return server, s.keep(ctx, old, resource.Server(s.broker, server, s.bundle))
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
