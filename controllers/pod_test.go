package controllers_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	brokerconfig "github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/server"
)

// pod is a real broker in this process that was started from a MessageBroker's StatefulSet, as a kubelet would: its
// volumes are folders of a temporary one.
type pod struct {
	root   string
	admin  string            // host and port of the admin API
	listen map[string]string // host and port by scheme
	stop   func()            // idempotent; returns when the broker ended
}

// pods are the addresses of the running brokers, by MessageBroker.
type pods struct {
	mu      sync.Mutex
	address map[client.ObjectKey]string
}

// unreachable is an address where nobody listens: port 1 of loopback is reserved.
const unreachable = "127.0.0.1:1"

func (p *pods) url(b *v1alpha1.MessageBroker) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.address[client.ObjectKeyFromObject(b)]; ok {
		return "https://" + a
	}
	return "https://" + unreachable
}

func (p *pods) set(b *v1alpha1.MessageBroker, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.address == nil {
		p.address = map[client.ObjectKey]string{}
	}
	p.address[client.ObjectKeyFromObject(b)] = address
}

// start runs the pod of a broker and says so in the StatefulSet's status. It ends with the test.
func (p *pods) start(ctx context.Context, b *v1alpha1.MessageBroker) *pod {
	GinkgoHelper()
	return p.startIn(ctx, b, GinkgoT().TempDir())
}

func (p *pods) startIn(ctx context.Context, b *v1alpha1.MessageBroker, root string) *pod {
	GinkgoHelper()
	set := &appsv1.StatefulSet{}
	Expect(api.Get(ctx, client.ObjectKeyFromObject(b), set)).To(Succeed())
	started := &pod{root: root}
	started.mount(ctx, set)
	started.run()
	p.set(b, started.admin)
	ready(ctx, set)
	return started
}

// ready writes the status that the StatefulSet controller would.
func ready(ctx context.Context, set *appsv1.StatefulSet) {
	GinkgoHelper()
	before := set.DeepCopy()
	set.Status = appsv1.StatefulSetStatus{ObservedGeneration: set.Generation, Replicas: 1, ReadyReplicas: 1, UpdatedReplicas: 1}
	Expect(api.Status().Patch(ctx, set, client.MergeFrom(before))).To(Succeed())
}

// mount writes what the container would find.
func (p *pod) mount(ctx context.Context, set *appsv1.StatefulSet) {
	GinkgoHelper()
	spec := set.Spec.Template.Spec
	sources := map[string]map[string][]byte{}
	for _, v := range spec.Volumes {
		sources[v.Name] = content(ctx, set.Namespace, v)
	}
	for _, m := range brokerOf(spec).VolumeMounts {
		folder := filepath.Join(p.root, m.MountPath)
		Expect(os.MkdirAll(folder, 0o700)).To(Succeed())
		for name, text := range sources[m.Name] {
			Expect(os.WriteFile(filepath.Join(folder, name), text, 0o600)).To(Succeed())
		}
	}
}

func content(ctx context.Context, namespace string, v corev1.Volume) map[string][]byte {
	GinkgoHelper()
	out := map[string][]byte{}
	switch {
	case v.Secret != nil:
		s := &corev1.Secret{}
		Expect(api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v.Secret.SecretName}, s)).To(Succeed())
		for _, i := range v.Secret.Items {
			Expect(s.Data).To(HaveKey(i.Key))
			out[i.Path] = s.Data[i.Key]
		}
	case v.ConfigMap != nil:
		m := &corev1.ConfigMap{}
		Expect(api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v.ConfigMap.Name}, m)).To(Succeed())
		for name, text := range m.Data {
			out[name] = []byte(text)
		}
	}
	return out
}

// run serves with the mounted configuration, on ports of its own.
func (p *pod) run() {
	GinkgoHelper()
	file := filepath.Join(p.root, "etc/turnstone/config/turnstone.yaml")
	c, err := brokerconfig.Load(file)
	Expect(err).NotTo(HaveOccurred())
	c = p.local(c)
	ctx, cancel := context.WithCancel(context.Background())
	log, write := io.Pipe()
	ended := make(chan error, 1)
	go func() { // ends when cancel is called
		err := server.Run(ctx, server.Options{Config: c, ConfigFile: file, Override: p.local, Version: "test", LogTo: write, Fatal: func() { panic("the journal cannot go on") }})
		write.Close()
		ended <- err
	}()
	p.stop = sync.OnceFunc(func() { cancel(); <-ended })
	DeferCleanup(p.stop)
	p.listen = awaitReady(log)
	p.admin = p.listen["https"]
}

// local puts a configuration into the folder of the pod, on ports of its own.
func (p *pod) local(c brokerconfig.Config) brokerconfig.Config {
	c.Listeners = slices.Clone(c.Listeners)
	for i, l := range c.Listeners {
		scheme, _, _ := strings.Cut(l, "://")
		c.Listeners[i] = scheme + "://127.0.0.1:0"
	}
	for _, file := range []*string{&c.DataDir, &c.TLS.CertFile, &c.TLS.KeyFile, &c.TLS.ClientCAFile, &c.TLS.CRLFile} {
		if *file != "" {
			*file = filepath.Join(p.root, *file)
		}
	}
	c.Auth.BootstrapUsers = slices.Clone(c.Auth.BootstrapUsers)
	for i := range c.Auth.BootstrapUsers {
		c.Auth.BootstrapUsers[i].PasswordFile = filepath.Join(p.root, c.Auth.BootstrapUsers[i].PasswordFile)
	}
	return c
}

// sync brings changed volumes to the pod that runs, as a kubelet does.
func (p *pod) sync(ctx context.Context, b *v1alpha1.MessageBroker) {
	GinkgoHelper()
	set := &appsv1.StatefulSet{}
	Expect(api.Get(ctx, client.ObjectKeyFromObject(b), set)).To(Succeed())
	p.mount(ctx, set)
}

// restart runs the present template of the pod.
func (p *pods) restart(ctx context.Context, b *v1alpha1.MessageBroker, running *pod) *pod {
	GinkgoHelper()
	running.stop()
	return p.startIn(ctx, b, running.root)
}

// awaitReady reads the log up to the line that says where the broker listens, and then forgets the rest.
func awaitReady(log io.Reader) map[string]string {
	GinkgoHelper()
	lines := bufio.NewScanner(log)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		line := map[string]any{}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line["msg"] == "ready" {
			go io.Copy(io.Discard, log) //nolint:errcheck // ends when the broker closes its log
			listen := map[string]string{}
			for _, scheme := range brokerconfig.Schemes {
				if address, ok := line[scheme].(string); ok {
					listen[scheme] = address
				}
			}
			return listen
		}
	}
	Fail("the broker ended before it was ready: " + strings.Join(said, "\n"))
	return nil
}

func brokerOf(spec corev1.PodSpec) corev1.Container {
	GinkgoHelper()
	for _, c := range spec.Containers {
		if c.Name == "broker" {
			return c
		}
	}
	Fail("the pod has no container called broker")
	return corev1.Container{}
}
