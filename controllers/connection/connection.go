// Package connection gives controllers the admin clients of brokers: one per broker, made anew when its credentials or
// its authority change.
package connection

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/controllers/metrics"
)

// AdminPort is the port of the admin API on the Service of a broker.
const AdminPort = 15671

// AdminSecret and AuthoritySecret name the Secrets that hold a broker's administrator and its certificate authority.
func AdminSecret(broker string) string     { return broker + "-admin" }
func AuthoritySecret(broker string) string { return broker + "-ca" }

// Pool holds the clients. Its methods are safe for concurrent use.
type Pool struct {
	// Reader reads the Secrets of MessageBrokers; Live reads connection Secrets, which are not the operator's and in no cache.
	Reader, Live client.Reader
	// Address is the URL of a broker's admin API; nil is its Service.
	Address func(*v1alpha1.MessageBroker) string
	// Proxy is an HTTP proxy to go through, for an operator outside of the brokers' network; nil is none.
	Proxy *url.URL
	// Wrap goes around the HTTP of every client, inside of what counts calls; nil is nothing.
	Wrap func(http.RoundTripper) http.RoundTripper

	mu      sync.Mutex
	clients map[types.NamespacedName]entry
}

type entry struct {
	client  *admin.Client
	version string // of the Secrets and the address
}

// ErrHibernated is that a broker runs no pod, because its spec says so.
var ErrHibernated = errors.New("it is Hibernated: spec.replicas is 0")

// To answers the client of a broker, which is a MessageBroker or has a name that External made. It does not connect.
func (p *Pool) To(ctx context.Context, b *v1alpha1.MessageBroker) (*admin.Client, error) {
	name := client.ObjectKeyFromObject(b)
	if secret, ok := SecretOf(b.Name); ok {
		return p.toExternal(ctx, name, secret)
	}
	if b.Hibernates() {
		p.Drop(name)
		return nil, ErrHibernated
	}
	credentials, err := p.secret(ctx, b.Namespace, AdminSecret(b.Name))
	if err != nil {
		return nil, err
	}
	trusted, err := p.trust(ctx, b)
	if err != nil {
		return nil, err
	}
	address := p.address(b)
	version := fmt.Sprint(address, trusted.version(), credentials.UID, credentials.ResourceVersion)
	return p.known(name, version, func() (admin.Options, error) {
		t, err := trusted.tls(serverName(b))
		return admin.Options{URL: address, User: string(credentials.Data["username"]), Password: string(credentials.Data["password"]), TLS: t}, err
	})
}

// known answers the client that a broker has, and makes another one when what it is made of has another version.
func (p *Pool) known(name types.NamespacedName, version string, options func() (admin.Options, error)) (*admin.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.clients[name]; ok && e.version == version {
		return e.client, nil
	}
	o, err := options()
	if err != nil {
		return nil, err
	}
	o.Wrap, o.Proxy = p.counted, p.Proxy
	c, err := admin.New(o)
	if err != nil {
		return nil, err
	}
	p.dropLocked(name)
	if p.clients == nil {
		p.clients = make(map[types.NamespacedName]entry)
	}
	p.clients[name] = entry{client: c, version: version}
	return c, nil
}

func (p *Pool) counted(next http.RoundTripper) http.RoundTripper {
	if p.Wrap != nil {
		next = p.Wrap(next)
	}
	return metrics.Admin(next)
}

func (p *Pool) secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	s := &corev1.Secret{}
	if err := p.Reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, s); err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	return s, nil
}

func (p *Pool) address(b *v1alpha1.MessageBroker) string {
	if p.Address != nil {
		return p.Address(b)
	}
	return fmt.Sprintf("https://%s:%d", serverName(b), AdminPort)
}

func serverName(b *v1alpha1.MessageBroker) string {
	return fmt.Sprintf("%s.%s.svc", b.Name, b.Namespace)
}

// Drop forgets the client of a broker that is gone.
func (p *Pool) Drop(name types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropLocked(name)
}

func (p *Pool) dropLocked(name types.NamespacedName) {
	if e, ok := p.clients[name]; ok {
		e.client.Close()
		delete(p.clients, name)
	}
}
