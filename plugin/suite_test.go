package plugin

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metrics "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/server"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/resource"
	"github.com/turnstone-mq/turnstone/controllers/topology"
	"github.com/turnstone-mq/turnstone/plugin/cluster"
)

var (
	restConfig *rest.Config
	api        kube.Client
	kubeconfig string
)

// patience bounds what a test waits for.
const patience = 30 * time.Second

func TestPlugin(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "kubectl plugin")
}

var _ = BeforeSuite(func() {
	ctrl.SetLogger(GinkgoLogr)
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	var err error
	restConfig, err = env.Start()
	DeferCleanup(env.Stop) // also when the start failed half-way
	Expect(err).NotTo(HaveOccurred())
	restConfig.QPS = -1
	api, err = kube.New(restConfig, kube.Options{Scheme: cluster.Scheme})
	Expect(err).NotTo(HaveOccurred())
	kubeconfig = filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(os.WriteFile(kubeconfig, env.KubeConfig, 0o600)).To(Succeed())
})

// broker is a real broker with TLS listeners, and the Kubernetes objects that the operator makes for one.
type broker struct {
	namespace string
	admin     *admin.Client
	url       string // of the admin API
	mqtts     string
	amqps     string
	log       *lines
}

// brokerName is that of every broker: namespaces tell them apart.
const brokerName = "broker"

func newBroker(ctx context.Context) *broker {
	GinkgoHelper()
	ns := &corev1.Namespace{}
	ns.GenerateName = "plugin-"
	Expect(api.Create(ctx, ns)).To(Succeed())
	b := &broker{namespace: ns.Name, log: &lines{}}
	mb := &v1alpha1.MessageBroker{}
	mb.Namespace, mb.Name = b.namespace, brokerName
	Expect(api.Create(ctx, mb)).To(Succeed())
	dir := GinkgoT().TempDir()
	ca := certificate(dir, brokerName+"."+b.namespace+".svc")
	b.secret(ctx, connection.AdminSecret(brokerName), map[string]string{"username": "admin", "password": "admin-secret-value"})
	b.secret(ctx, resource.DefaultUserSecret(brokerName), map[string]string{"username": "default", "password": "default-secret-value"})
	b.secret(ctx, connection.AuthoritySecret(brokerName), map[string]string{"ca.crt": ca})
	b.serve(dir)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca))
	var err error
	b.admin, err = admin.New(admin.Options{
		URL: b.url, User: "admin", Password: "admin-secret-value", TLS: &tls.Config{RootCAs: roots, ServerName: brokerName + "." + b.namespace + ".svc"},
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(b.admin.Close)
	return b
}

func (b *broker) secret(ctx context.Context, name string, data map[string]string) {
	GinkgoHelper()
	s := &corev1.Secret{StringData: data}
	s.Namespace, s.Name = b.namespace, name
	s.Labels = resource.Labels(brokerName)
	Expect(api.Create(ctx, s)).To(Succeed())
}

// certificate writes one for a host, and its key, into a folder, and answers what to trust.
func certificate(dir, host string) string {
	GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{host},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	Expect(err).NotTo(HaveOccurred())
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	Expect(err).NotTo(HaveOccurred())
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	Expect(os.WriteFile(filepath.Join(dir, "tls.crt"), cert, 0o600)).To(Succeed())
	Expect(os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600)).To(Succeed())
	return string(cert)
}

// serve runs the broker until the test ends.
func (b *broker) serve(dir string) {
	GinkgoHelper()
	c := config.Default()
	c.DataDir = filepath.Join(dir, "data")
	c.Listeners = []string{"https://127.0.0.1:0", "mqtts://127.0.0.1:0", "amqps://127.0.0.1:0"}
	c.TLS.CertFile, c.TLS.KeyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	c.Log.Format = "json"
	c.Storage.SegmentBytes, c.Storage.Shards, c.Limits.MessageBytes = 4<<20, 2, 1<<20
	c.Auth.ScramIterations = 4096
	c.Auth.BootstrapUsers = []config.BootstrapUser{{Name: "admin", Password: "admin-secret-value", Tags: []string{"administrator"}}, {Name: "default", Password: "default-secret-value"}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { // ends with the test
		ended <- server.Run(ctx, server.Options{Config: c, Version: "1.2.3", LogTo: b.log, Fatal: func() { panic("journal failed") }})
	}()
	DeferCleanup(func() {
		cancel()
		Eventually(ended).Should(Receive(BeNil()))
	})
	Eventually(func() map[string]any { return b.log.find("ready") }).ShouldNot(BeNil())
	ready := b.log.find("ready")
	b.url, b.mqtts, b.amqps = "https://"+ready["https"].(string), "mqtts://"+ready["mqtts"].(string), "amqps://"+ready["amqps"].(string)
}

// lines is a log in JSON.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	GinkgoWriter.Write(b) //nolint:errcheck // kept for a failure
	return l.text.Write(b)
}

func (l *lines) find(message string) map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.text.Bytes()) {
		var fields map[string]any
		if json.Unmarshal(line, &fields) == nil && fields["msg"] == message {
			return fields
		}
	}
	return nil
}

// startOperator keeps what lives in the brokers as Kubernetes says.
func startOperator(brokers ...*broker) {
	GinkgoHelper()
	ctx, cancel := context.WithCancel(context.Background())
	skip := true
	m, err := ctrl.NewManager(restConfig, ctrl.Options{Scheme: cluster.Scheme, Metrics: metrics.Options{BindAddress: "0"}, Controller: ctrlconfig.Controller{SkipNameValidation: &skip}})
	Expect(err).NotTo(HaveOccurred())
	pool := &connection.Pool{Reader: m.GetClient(), Address: func(mb *v1alpha1.MessageBroker) string {
		for _, b := range brokers {
			if b.namespace == mb.Namespace {
				return b.url
			}
		}
		return "https://127.0.0.1:1"
	}}
	Expect(topology.SetupWithManager(ctx, m, topology.Options{Connections: pool, Gather: 20 * time.Millisecond, Refresh: 2 * time.Second})).To(Succeed())
	ended := make(chan struct{})
	go func() { // ends when the test does
		defer GinkgoRecover()
		defer close(ended)
		Expect(m.Start(ctx)).To(Succeed())
	}()
	DeferCleanup(func() {
		cancel()
		Eventually(ended, time.Minute).Should(BeClosed())
	})
}

// result is what a command did.
type result struct {
	code     int
	out, err string
}

// run runs a command in a namespace, as a user would.
func run(ctx context.Context, namespace string, in io.Reader, args ...string) result {
	GinkgoHelper()
	var out, errs bytes.Buffer
	if in == nil {
		in = bytes.NewReader(nil)
	}
	args = append(args, "--kubeconfig", kubeconfig)
	if namespace != "" {
		args = append(args, "-n", namespace)
	}
	code := Run(ctx, args, Streams{In: in, Out: &out, Err: &errs}, Version{"1.2.3", "abc"})
	return result{code, out.String(), errs.String()}
}

// ask runs a command that talks to the admin API.
func (b *broker) ask(ctx context.Context, args ...string) result {
	GinkgoHelper()
	return run(ctx, b.namespace, nil, append(args, "--address", b.url)...)
}

// apply creates or replaces the objects of manifests, as kubectl apply would.
func apply(ctx context.Context, namespace, text string) {
	GinkgoHelper()
	for _, o := range parse(namespace, text) {
		there := o.DeepCopyObject().(kube.Object)
		if api.Get(ctx, kube.ObjectKeyFromObject(o), there) == nil {
			o.SetResourceVersion(there.GetResourceVersion())
			o.SetFinalizers(there.GetFinalizers())
			Expect(api.Update(ctx, o)).To(Succeed())
			continue
		}
		Expect(api.Create(ctx, o)).To(Succeed())
	}
}
