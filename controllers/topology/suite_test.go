package topology_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/admin"
	adminclient "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/auth"
	brokerconfig "github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/topology"
)

var (
	restConfig *rest.Config
	all        = runtime.NewScheme()
	api        client.Client // of a user: not the operator's
)

func TestTopology(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Topology")
}

var _ = BeforeSuite(func() {
	ctrl.SetLogger(GinkgoLogr)
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	var err error
	restConfig, err = env.Start()
	DeferCleanup(env.Stop) // also when the start failed half-way
	Expect(err).NotTo(HaveOccurred())
	restConfig.QPS = -1 // the tests' own calls and the operator's are not to wait for one another
	Expect(scheme.AddToScheme(all)).To(Succeed())
	Expect(v1alpha1.AddToScheme(all)).To(Succeed())
	api, err = client.New(restConfig, client.Options{Scheme: all})
	Expect(err).NotTo(HaveOccurred())
})

// authority is a certificate authority with a certificate for one broker.
type authority struct {
	pem  []byte
	leaf tls.Certificate
}

func newAuthority(name string) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	Expect(err).NotTo(HaveOccurred())
	return authority{
		pem:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		leaf: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}
}

// broker is a real hub behind its real admin API, with the Kubernetes objects that the operator makes for a broker.
type broker struct {
	namespace, name string
	authority       authority
	disk            *vfs.Memory

	mu     sync.Mutex
	hub    *hub.Hub
	server *httptest.Server
	admin  *admin.Server

	traffic sync.Mutex     // guards what follows, and is held by nobody who waits for calls to end
	serves  http.Handler   // what calls go to
	calls   map[string]int // of the admin API, by path
	broken  bool           // it answers every call with an error
}

// ServeHTTP counts a call and hands it to the admin API.
func (b *broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.traffic.Lock()
	if b.calls == nil {
		b.calls = make(map[string]int)
	}
	b.calls[r.URL.Path]++
	to, broken := b.serves, b.broken
	b.traffic.Unlock()
	if broken {
		http.Error(w, `{"error":"broken"}`, http.StatusInternalServerError)
		return
	}
	to.ServeHTTP(w, r)
}

// called is how often a path of the admin API was called; an empty one is all of them.
func (b *broker) called(path string) (n int) {
	b.traffic.Lock()
	defer b.traffic.Unlock()
	for p, of := range b.calls {
		if path == "" || p == path {
			n += of
		}
	}
	return n
}

func (b *broker) breaks(broken bool) {
	b.traffic.Lock()
	b.broken = broken
	b.traffic.Unlock()
	if broken {
		b.server.CloseClientConnections()
	}
}

// running finds brokers by their namespace.
var running sync.Map

func newBroker(ctx context.Context) *broker {
	GinkgoHelper()
	b := makeBroker(ctx)
	DeferCleanup(b.stop)
	return b
}

// makeBroker makes a broker that the caller stops.
func makeBroker(ctx context.Context) *broker {
	ns := &corev1.Namespace{}
	ns.GenerateName = "topology-"
	Expect(api.Create(ctx, ns)).To(Succeed())
	b := &broker{namespace: ns.Name, name: "broker", disk: vfs.NewMemory()}
	b.authority = newAuthority(b.name + "." + b.namespace + ".svc")
	mb := &v1alpha1.MessageBroker{}
	mb.Namespace, mb.Name = b.namespace, b.name
	Expect(api.Create(ctx, mb)).To(Succeed())
	b.secret(ctx, connection.AdminSecret(b.name), map[string]string{"username": "admin", "password": "secret"})
	b.secret(ctx, connection.AuthoritySecret(b.name), map[string]string{"ca.crt": string(b.authority.pem)})
	b.start()
	running.Store(b.namespace, b)
	return b
}

func (b *broker) secret(ctx context.Context, name string, data map[string]string) {
	s := &corev1.Secret{StringData: data}
	s.Namespace, s.Name = b.namespace, name
	s.Labels = map[string]string{"app.kubernetes.io/managed-by": "turnstone-operator"}
	Expect(api.Create(ctx, s)).To(Succeed())
}

func (b *broker) start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := brokerconfig.Default()
	c.Storage.SegmentBytes, c.Storage.Shards, c.Limits.MessageBytes = 4<<20, 2, 1<<20
	var err error
	b.hub, err = hub.Open(hub.Options{Config: c, FS: b.disk, Dir: "data", Incarnation: rand.Text()})
	Expect(err).NotTo(HaveOccurred())
	admins, err := object.New(object.KindUser, "", "admin", object.UserSpec{Password: "secret", Tags: []string{"administrator"}})
	Expect(err).NotTo(HaveOccurred())
	_, err = b.hub.Apply(context.Background(), "", []object.Change{{Object: admins}}, hub.ApplyOptions{})
	Expect(err).NotTo(HaveOccurred())
	nothing := http.NotFoundHandler()
	b.admin = admin.New(admin.Options{
		Hub: b.hub, Version: "test", Logger: slog.New(slog.NewTextHandler(GinkgoWriter, nil)),
		Connections: func() []adminclient.ConnectionState { return nil }, Pending: func() ([]string, string, error) { return nil, "", nil }, Storage: func() (int64, int64) { return 0, 0 },
		Problems: func() []string { return nil }, Metrics: nothing, QueueMetrics: nothing,
	})
	b.traffic.Lock()
	b.serves = b.admin
	b.traffic.Unlock()
	b.server = httptest.NewUnstartedServer(b)
	b.server.TLS = &tls.Config{Certificates: []tls.Certificate{b.authority.leaf}}
	b.server.StartTLS()
}

func (b *broker) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hub == nil {
		return
	}
	b.admin.Stop()
	b.server.CloseClientConnections()
	b.server.Close()
	Expect(b.hub.Close(context.Background())).To(Succeed())
	b.hub = nil
}

func (b *broker) url() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.server.URL
}

// objects are the names of what the broker has of a kind.
func (b *broker) objects(kind object.Kind) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	list, _ := b.hub.Objects("", kind)
	names := []string{}
	for _, o := range list {
		names = append(names, o.Name)
	}
	return names
}

// operator is a running manager with the topology reconciler alone.
type operator struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// startOperator runs the reconciler until the test ends or stop is called; wrap may put something between it and the API.
func startOperator(wrap func(client.WithWatch) client.Client) *operator {
	return serving{wrap: wrap}.start()
}

// serving is how an operator serves: in whose name, one namespace or all of them, and through what.
type serving struct {
	owner, namespace string
	queueWrites      float64 // see topology.Options.QueueStatusWrites
	wrap             func(client.WithWatch) client.Client
}

func (v serving) start() *operator {
	ctx, cancel := context.WithCancel(context.Background())
	skip := true
	var caches cache.Options
	var namespaces []string
	if v.namespace != "" {
		namespaces = []string{v.namespace}
		caches.DefaultNamespaces = map[string]cache.Config{v.namespace: {}}
	}
	m, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme: all, Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &skip}, Cache: caches,
		NewClient: func(c *rest.Config, o client.Options) (client.Client, error) {
			w, err := client.NewWithWatch(c, o)
			if err != nil || v.wrap == nil {
				return w, err
			}
			return v.wrap(w), nil
		},
	})
	Expect(err).NotTo(HaveOccurred())
	var live client.Reader = m.GetAPIReader()
	if v.wrap != nil {
		live = m.GetClient() // so that its calls go through what is between
	}
	pool := &connection.Pool{Reader: m.GetClient(), Live: live, Address: func(mb *v1alpha1.MessageBroker) string {
		if b, ok := running.Load(mb.Namespace); ok {
			return b.(*broker).url()
		}
		return "https://127.0.0.1:1"
	}}
	Expect(topology.SetupWithManager(ctx, m, topology.Options{
		Connections: pool, Gather: 20 * time.Millisecond, Refresh: 2 * time.Second, Owner: v.owner, Namespaces: namespaces, QueueStatusWrites: v.queueWrites,
	})).To(Succeed())
	o := &operator{cancel: cancel, ended: make(chan struct{})}
	go func() { // ends when the test cancels
		defer GinkgoRecover()
		defer close(o.ended)
		Expect(m.Start(ctx)).To(Succeed())
	}()
	DeferCleanup(o.stop)
	return o
}

func (o *operator) stop() {
	o.cancel()
	Eventually(o.ended, time.Minute).Should(BeClosed())
}

func newDisk() *vfs.Memory { return vfs.NewMemory() }

// administrator is the access of the broker's administrator, with every permission in "/".
func administrator(ctx context.Context, b *broker) *auth.Access {
	GinkgoHelper()
	p, err := object.New(object.KindPermission, "/", "admin", object.PermissionSpec{Configure: ".*", Write: ".*", Read: ".*"})
	Expect(err).NotTo(HaveOccurred())
	_, err = b.hub.Apply(ctx, "", []object.Change{{Object: p}}, hub.ApplyOptions{})
	Expect(err).NotTo(HaveOccurred())
	a, err := b.hub.Authority().Authenticate(ctx, auth.Credentials{User: "admin", Password: "secret", VirtualHost: "/"})
	Expect(err).NotTo(HaveOccurred())
	return a
}
