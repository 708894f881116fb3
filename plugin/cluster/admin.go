package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// Admin is a client of a broker's admin API, as its administrator, until Close.
type Admin struct {
	*admin.Client
	Pod string // that is talked to; empty with an address

	tunnel *Tunnel
}

// Close ends it, and the tunnel that it uses.
func (a *Admin) Close() {
	a.Client.Close()
	if a.tunnel != nil {
		a.tunnel.Close()
	}
}

// Admin reaches the admin API of a broker: at an address if there is one, else at one of its pods.
func (c *Cluster) Admin(ctx context.Context, b *v1alpha1.MessageBroker, address string) (*Admin, error) {
	if address != "" {
		return c.adminAt(ctx, b, address)
	}
	pods, err := c.Pods(ctx, b)
	if err != nil {
		return nil, err
	}
	running := Running(pods)
	if len(running) == 0 {
		return nil, WhyNotRunning(b, pods)
	}
	return c.AdminOf(ctx, b, running[0])
}

// AdminOf reaches the admin API of one pod.
func (c *Cluster) AdminOf(ctx context.Context, b *v1alpha1.MessageBroker, pod corev1.Pod) (*Admin, error) {
	t, err := c.Forward(ctx, pod, connection.AdminPort)
	if err != nil {
		return nil, err
	}
	a, err := c.adminAt(ctx, b, "https://"+t.Address)
	if err != nil {
		t.Close()
		return nil, err
	}
	a.Pod, a.tunnel = pod.Name, t
	return a, nil
}

func (c *Cluster) adminAt(ctx context.Context, b *v1alpha1.MessageBroker, address string) (*Admin, error) {
	pool := &connection.Pool{Reader: c.Client, Address: func(*v1alpha1.MessageBroker) string { return address }}
	a, err := pool.To(ctx, b)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%w: the operator makes it for each MessageBroker; does it run?", err)
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("%w: the plugin talks to the broker as its administrator, whose password is there", err)
	case err != nil:
		return nil, Explain(err)
	}
	return &Admin{Client: a}, nil
}

// ExplainAdmin adds what to do to an error of the admin API.
func ExplainAdmin(err error) error {
	var answer *admin.Error
	var unknown x509.UnknownAuthorityError
	var wrong x509.HostnameError
	switch {
	case errors.As(err, &answer) && answer.Status == http.StatusUnauthorized:
		return fmt.Errorf("%w: the broker has another password than the Secret of its administrator", err)
	case errors.As(err, &answer) && answer.Status == http.StatusNotFound:
		return fmt.Errorf("%w: the broker is older than this plugin", err)
	case errors.As(err, &unknown), errors.As(err, &wrong):
		return fmt.Errorf("%w: who answers at the address is not this broker", err)
	}
	return err
}

// Credentials are those of a client.
type Credentials struct {
	Username, Password string
	TLS                *tls.Config // that trusts the broker, by the name that its certificate has
}

// Credentials reads the Secret of a user; with an empty name, that of the broker's default user.
func (c *Cluster) Credentials(ctx context.Context, b *v1alpha1.MessageBroker, secret string) (Credentials, error) {
	if secret == "" {
		secret = resource.DefaultUserSecret(b.Name)
	}
	s := &corev1.Secret{}
	if err := c.Client.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: secret}, s); err != nil {
		return Credentials{}, fmt.Errorf("secret %s: %w", secret, Explain(err))
	}
	user, password := string(s.Data[resource.KeyUsername]), string(s.Data[resource.KeyPassword])
	if user == "" || password == "" {
		return Credentials{}, fmt.Errorf("secret %s has no keys %s and %s: name another one with --secret", secret, resource.KeyUsername, resource.KeyPassword)
	}
	t, err := c.trust(ctx, b)
	return Credentials{Username: user, Password: password, TLS: t}, err
}

// trust verifies that the peer is the broker, as the admin API's client does.
func (c *Cluster) trust(ctx context.Context, b *v1alpha1.MessageBroker) (*tls.Config, error) {
	t, err := (&connection.Pool{Reader: c.Client}).TLS(ctx, b)
	if err != nil {
		return nil, Explain(err)
	}
	t.MinVersion = tls.VersionTLS12 // who ends TLS at an --address may know no more
	return t, nil
}
