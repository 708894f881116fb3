// Package cluster is how the kubectl plugin reaches things: the Kubernetes API by the flags that kubectl has, a broker's objects and
// pods in it, and the ports of those pods. What is done with them is decided by package plugin.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// Scheme knows the kinds of Kubernetes and ours.
var Scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			panic(fmt.Sprintf("scheme: %v", err)) // two types of one name
		}
	}
	return s
}()

// Cluster is a Kubernetes as its user sees it. It is safe for concurrent use.
type Cluster struct {
	Client    client.Client
	Clientset kubernetes.Interface
	Namespace string // that the flags or the kubeconfig say

	config *rest.Config
}

// New reads the flags and the kubeconfig. It does not connect.
func New(flags genericclioptions.RESTClientGetter) (*Cluster, error) {
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w (name one with --kubeconfig or KUBECONFIG, or a context with --context)", err)
	}
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 50, 100 // a person waits
	return From(config, namespace)
}

// From makes a Cluster of a configuration.
func From(config *rest.Config, namespace string) (*Cluster, error) {
	c, err := client.New(config, client.Options{Scheme: Scheme})
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	return &Cluster{Client: c, Clientset: set, Namespace: namespace, config: config}, nil
}

// Explain adds what to do to an error of the Kubernetes API.
func Explain(err error) error {
	var dial *net.OpError
	var broken *url.Error
	switch {
	case err == nil:
		return nil
	case meta.IsNoMatchError(err):
		return fmt.Errorf("%w: Turnstone's kinds are not installed in this cluster: install the chart turnstone-operator, or choose another --context", err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: ask for a Role with that verb, or use another --context", err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: log in to the cluster again", err)
	case errors.As(err, &dial), errors.As(err, &broken):
		return fmt.Errorf("%w: is the cluster of this --context up?", err)
	}
	return err
}

// Broker reads a MessageBroker. One that does not exist is an error that names those that do.
func (c *Cluster) Broker(ctx context.Context, name string) (*v1alpha1.MessageBroker, error) {
	b := &v1alpha1.MessageBroker{}
	err := c.Client.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, b)
	if !apierrors.IsNotFound(err) {
		return b, Explain(err)
	}
	there, listErr := c.Brokers(ctx, c.Namespace)
	if listErr != nil || len(there) == 0 {
		return nil, fmt.Errorf("there is no MessageBroker in namespace %q: name its namespace with -n", c.Namespace)
	}
	var names []string
	for _, b := range there {
		names = append(names, b.Name)
	}
	return nil, fmt.Errorf("MessageBroker %q does not exist in namespace %q; there is %s", name, c.Namespace, strings.Join(names, ", "))
}

// Brokers lists those of a namespace, or of all with an empty one.
func (c *Cluster) Brokers(ctx context.Context, namespace string) ([]v1alpha1.MessageBroker, error) {
	list := &v1alpha1.MessageBrokerList{}
	if err := c.Client.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, Explain(err)
	}
	return list.Items, nil
}

// Topology lists what lives in brokers of a namespace, in the order of object.Kinds and names; of one broker if it is named.
func (c *Cluster) Topology(ctx context.Context, namespace, broker string) ([]v1alpha1.Topology, error) {
	var out []v1alpha1.Topology
	for _, kind := range object.Kinds {
		list, err := Scheme.New(v1alpha1.GroupVersion.WithKind(string(kind) + "List"))
		if err != nil {
			return nil, err // a kind without a type: a mistake of ours
		}
		const page = 1000
		more := &client.ListOptions{Namespace: namespace, Limit: page}
		for {
			if err := c.Client.List(ctx, list.(client.ObjectList), more); err != nil {
				return nil, fmt.Errorf("list %s: %w", kind, Explain(err))
			}
			if err := meta.EachListItem(list, func(o runtime.Object) error {
				if t := o.DeepCopyObject().(v1alpha1.Topology); broker == "" || t.BrokerName() == broker {
					t.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(string(kind)))
					out = append(out, t)
				}
				return nil
			}); err != nil {
				return nil, err
			}
			if more.Continue = list.(client.ObjectList).GetContinue(); more.Continue == "" {
				break
			}
		}
	}
	return out, nil
}

// Pods lists a broker's pods by name.
func (c *Cluster) Pods(ctx context.Context, b *v1alpha1.MessageBroker) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	if err := c.Client.List(ctx, list, client.InNamespace(b.Namespace), client.MatchingLabels(resource.Selector(b.Name))); err != nil {
		return nil, fmt.Errorf("list pods: %w", Explain(err))
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return list.Items, nil
}

// Running is the pods that can be talked to, ready ones first.
func Running(pods []corev1.Pod) []corev1.Pod {
	out := slices.DeleteFunc(slices.Clone(pods), func(p corev1.Pod) bool {
		return p.Status.Phase != corev1.PodRunning
	})
	slices.SortStableFunc(out, func(a, b corev1.Pod) int {
		return rank(a) - rank(b)
	})
	return out
}

func rank(p corev1.Pod) int {
	switch {
	case !p.DeletionTimestamp.IsZero():
		return 2
	case !Ready(p):
		return 1
	}
	return 0
}

// Ready says whether a pod serves.
func Ready(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// WhyNotRunning says why none of a broker's pods can be talked to.
func WhyNotRunning(b *v1alpha1.MessageBroker, pods []corev1.Pod) error {
	for _, p := range pods {
		if problems := resource.Problems(&p); len(problems) > 0 {
			return fmt.Errorf("no pod of MessageBroker %q runs: pod %s: %s", b.Name, p.Name, strings.Join(problems, "; "))
		}
	}
	return fmt.Errorf("no pod of MessageBroker %q runs: kubectl turnstone status %s says why", b.Name, b.Name)
}
