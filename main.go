// Command turnstone-operator runs brokers on Kubernetes: it reconciles MessageBrokers and what lives inside them.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/broker"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/foreign"
	"github.com/turnstone-mq/turnstone/controllers/metrics"
	"github.com/turnstone-mq/turnstone/controllers/resource"
	"github.com/turnstone-mq/turnstone/controllers/topology"
)

// version and commit are set by the linker.
var version, commit = "unknown", "unknown"

// options are the flags.
type options struct {
	brokerImage, namespaces, logLevel, metrics, health string
	brokerProxy                                        string
	leaderElection                                     bool
	leaderNamespace, owner                             string
	patience                                           time.Duration
	workers                                            int
	queueStatusWrites                                  float64
}

func main() {
	o := parse()
	if err := run(ctrl.SetupSignalHandler(), o); err != nil {
		fmt.Fprintln(os.Stderr, "turnstone-operator:", err)
		os.Exit(1)
	}
}

func parse() options {
	var o options
	flag.StringVar(&o.brokerImage, "broker-image", "", "image of MessageBrokers that name none (required)")
	flag.StringVar(&o.namespaces, "namespaces", "", "namespaces to serve, with commas between; all if empty")
	flag.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	flag.StringVar(&o.metrics, "metrics-address", ":8080", "where /metrics is served; 0 for nowhere")
	flag.StringVar(&o.health, "health-address", ":8081", "where /healthz and /readyz are served")
	flag.StringVar(&o.brokerProxy, "broker-proxy", "", "URL of an HTTP proxy to brokers, for an operator that runs outside of the cluster")
	flag.BoolVar(&o.leaderElection, "leader-election", true, "work only while this replica is the leader")
	flag.StringVar(&o.leaderNamespace, "leader-election-namespace", "", "where the lease is; the pod's own namespace if empty")
	flag.DurationVar(&o.patience, "deletion-patience", 5*time.Minute, "how long a deletion waits for a broker that does not answer")
	flag.StringVar(&o.owner, "owner", topology.DefaultOwner, "in whose name objects inside brokers are owned; operators that serve the same broker each need another")
	flag.IntVar(&o.workers, "workers", 8, "half of how many writes to the API server are on their way at once")
	flag.Float64Var(&o.queueStatusWrites, "queue-status-writes", 10, "statuses of Queues written in a second because depth, consumers or rates changed")
	printVersion := flag.Bool("version", false, "print version and commit")
	flag.Parse()
	if *printVersion {
		fmt.Println("turnstone-operator", version, commit)
		os.Exit(0)
	}
	return o
}

func run(ctx context.Context, o options) error {
	if o.brokerImage == "" {
		return fmt.Errorf("--broker-image must name the image of brokers")
	}
	if o.workers < 1 || o.queueStatusWrites <= 0 {
		return fmt.Errorf("--workers must be 1 or more and --queue-status-writes more than 0")
	}
	topology.TuneMemory()
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	m, err := newManager(config, o)
	if err != nil {
		return err
	}
	if err := addControllers(ctx, m, o); err != nil {
		return err
	}
	return m.Start(ctx)
}

func newManager(config *rest.Config, o options) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	config.DisableCompression = true // a list of many objects costs the API server a third more when it is compressed
	config.QPS = -1                  // the API server's own fairness bounds us better than a number
	config.UserAgent = "turnstone-operator/" + version
	config.Wrap(metrics.Kubernetes)
	metrics.Build(version, commit)
	m, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                  scheme,
		Cache:                   caches(o.namespaces),
		Metrics:                 metricsserver.Options{BindAddress: o.metrics},
		HealthProbeBindAddress:  o.health,
		LeaderElection:          o.leaderElection,
		LeaderElectionID:        "turnstone-operator",
		LeaderElectionNamespace: o.leaderNamespace,
		// Safe because the process ends when the manager does.
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, err
	}
	if err := m.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, err
	}
	return m, m.AddReadyzCheck("ping", healthz.Ping)
}

// caches hold our own objects only, without what nobody reads: the operator's memory does not grow with the cluster.
func caches(namespaces string) cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{resource.LabelManagedBy: resource.ManagedBy})}
	o := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: ours, &corev1.ConfigMap{}: ours, &corev1.Service{}: ours, &corev1.ServiceAccount{}: ours,
			&appsv1.StatefulSet{}: ours, &networkingv1.NetworkPolicy{}: ours, &policyv1.PodDisruptionBudget{}: ours,
		},
	}
	for _, n := range list(namespaces) {
		if o.DefaultNamespaces == nil {
			o.DefaultNamespaces = map[string]cache.Config{}
		}
		o.DefaultNamespaces[n] = cache.Config{}
	}
	return o
}

// list splits a text with commas.
func list(text string) (out []string) {
	for n := range strings.SplitSeq(text, ",") {
		if n = strings.TrimSpace(n); n != "" {
			out = append(out, n)
		}
	}
	return out
}

func addControllers(ctx context.Context, m ctrl.Manager, o options) error {
	connections := &connection.Pool{Reader: m.GetClient(), Live: m.GetAPIReader()}
	secrets, err := foreign.New(m, caches(o.namespaces).DefaultNamespaces)
	if err != nil {
		return err
	}
	if o.brokerProxy != "" {
		proxy, err := url.Parse(o.brokerProxy)
		if err != nil || proxy.Host == "" {
			return fmt.Errorf("--broker-proxy=%q: want http://HOST:PORT", o.brokerProxy)
		}
		connections.Proxy = proxy
	}
	brokers := &broker.Reconciler{
		Client: m.GetClient(), Live: m.GetAPIReader(), Scheme: m.GetScheme(), Events: m.GetEventRecorder("turnstone-operator"),
		Image: o.brokerImage, Connections: connections, Foreign: secrets, Now: time.Now,
	}
	if err := brokers.Setup(ctx, m); err != nil {
		return fmt.Errorf("controller of MessageBroker: %w", err)
	}
	lives := topology.Options{
		Connections: connections, Foreign: secrets, ReleaseAfter: o.patience, Concurrency: o.workers, Owner: o.owner,
		QueueStatusWrites: o.queueStatusWrites, Namespaces: list(o.namespaces),
	}
	if err := topology.SetupWithManager(ctx, m, lives); err != nil {
		return fmt.Errorf("controller of what lives in brokers: %w", err)
	}
	return metrics.Objects(m)
}
