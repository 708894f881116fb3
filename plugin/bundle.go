package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/resource"
	"github.com/turnstone-mq/turnstone/controllers/topology"
	"github.com/turnstone-mq/turnstone/plugin/bundle"
	"github.com/turnstone-mq/turnstone/plugin/cluster"
)

// collector gathers what goes into a debug bundle.
type collector struct {
	*plugin
	file  string
	lines int64
	since time.Duration

	cluster *cluster.Cluster
	broker  *v1alpha1.MessageBroker
	bundle  *bundle.Bundle
	pods    []corev1.Pod
	users   []*v1alpha1.User
	missing []string // what could not be gathered, and why
	later   []entry  // files, held until all secrets are known
}

type entry struct {
	name    string
	content []byte
}

func (p *plugin) bundleCommand() *cobra.Command {
	d := &collector{plugin: p}
	c := &cobra.Command{
		Use:   "debug-bundle BROKER [flags]",
		Short: "Gather what is needed to understand a problem, without secrets, into one file",
		Long: "Gather what is needed to understand a problem with a broker into a .tar.gz: its objects, pods, events and logs, the operator's logs, and of\n" +
			"the broker itself its configuration in force, queues, connections, metrics and goroutines. No contents of Secrets, no values of\n" +
			"environment variables and of foreign annotations, and nothing that is the value of a Secret of the broker or looks like a password, a\n" +
			"hash, a key or a token. Messages are not in it; names of queues, topics, clients and addresses are.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.brokerArgument,
		RunE: func(c *cobra.Command, args []string) error { return d.run(c.Context(), args[0]) },
	}
	f := c.Flags()
	f.StringVarP(&d.file, "output", "o", "", "`FILE`, or - for standard output (default turnstone-BROKER-TIME.tar.gz)")
	f.Int64Var(&d.lines, "log-lines", 20_000, "how many last lines of each log")
	f.DurationVar(&d.since, "since", 0, "only logs younger than this, such as 24h")
	p.addAddress(c)
	return c
}

func (d *collector) run(ctx context.Context, name string) (err error) {
	if d.cluster, err = d.connect(); err != nil {
		return err
	}
	if d.broker, err = d.cluster.Broker(ctx, name); err != nil {
		return err
	}
	now := time.Now().UTC()
	folder := fmt.Sprintf("turnstone-%s-%s", name, now.Format("20060102-150405"))
	if d.file == "" {
		d.file = folder + ".tar.gz"
	}
	out := d.Out
	if d.file != "-" {
		const private = 0o600
		f, err := os.OpenFile(d.file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, private)
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	}
	d.bundle = bundle.New(out, folder, now)
	d.gather(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.write(now); err != nil {
		return err
	}
	for _, m := range d.missing {
		fmt.Fprintf(d.Err, "note: not in the bundle: %s\n", visible(m))
	}
	if d.file != "-" {
		fmt.Fprintln(d.Out, d.file)
	}
	return nil
}

// gather goes on after what fails: a bundle is for when things do not work.
func (d *collector) gather(ctx context.Context) {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"objects", d.objects}, {"secrets", d.secrets}, {"Kubernetes objects", d.resources}, {"events", d.events},
		{"logs of the broker", d.logs}, {"logs of the operator", d.operator}, {"the broker's own state", d.live},
	} {
		if err := step.do(ctx); err != nil {
			d.miss(step.what, err)
		}
	}
}

func (d *collector) miss(what string, err error) {
	d.missing = append(d.missing, fmt.Sprintf("%s: %v", what, cluster.ExplainAdmin(err)))
}

func (d *collector) add(name string, content []byte) { d.later = append(d.later, entry{name, content}) }

// write writes all files, now that what is secret is known.
func (d *collector) write(now time.Time) error {
	d.add("README.txt", d.readme(now))
	slices.SortFunc(d.later, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for _, e := range d.later {
		if err := d.bundle.Add(e.name, e.content); err != nil {
			return err
		}
	}
	return d.bundle.Close()
}

func (d *collector) readme(now time.Time) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Debug bundle of MessageBroker %s/%s, made at %s.\n\n", d.broker.Namespace, d.broker.Name, now.Format(time.RFC3339))
	fmt.Fprintf(&b, "Where something secret stood, or might have, stands %s.\n\nFiles:\n", bundle.Removed)
	for _, e := range d.later {
		fmt.Fprintf(&b, "  %s\n", e.name)
	}
	if len(d.missing) > 0 {
		fmt.Fprintf(&b, "\nNot gathered:\n")
		for _, m := range d.missing {
			fmt.Fprintf(&b, "  %s\n", m)
		}
	}
	return b.Bytes()
}

// manifests adds objects as one file.
func (d *collector) manifests(name string, objects ...runtime.Object) error {
	text, err := d.bundle.Manifests(objects)
	if err == nil && len(objects) > 0 {
		d.add(name, text)
	}
	return err
}

func (d *collector) objects(ctx context.Context) error {
	b := d.broker.DeepCopy()
	b.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MessageBroker"))
	if err := d.manifests("broker.yaml", b); err != nil {
		return err
	}
	objects, err := d.cluster.Topology(ctx, d.broker.Namespace, d.broker.Name)
	if err != nil {
		return err
	}
	byKind := make(map[string][]runtime.Object)
	for _, o := range objects {
		kind := o.GetObjectKind().GroupVersionKind().Kind
		byKind[kind] = append(byKind[kind], o)
		if u, ok := o.(*v1alpha1.User); ok {
			d.users = append(d.users, u)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		if err := d.manifests("objects/"+strings.ToLower(kind)+".yaml", byKind[kind]...); err != nil {
			return err
		}
	}
	return nil
}

// public are the keys of Secrets that hold nothing secret.
var public = []string{resource.KeyUsername, resource.KeyCA, corev1.TLSCertKey, "type", "provider", "host", "port", "ports"}

// secrets lists names and keys of the broker's Secrets, and makes their values known as secret.
func (d *collector) secrets(ctx context.Context) error {
	name := d.broker.Name
	wanted := []string{resource.AdminSecret(name), resource.DefaultUserSecret(name), resource.AuthoritySecret(name), resource.ServerSecret(name)}
	for _, u := range d.users {
		wanted = append(wanted, topology.CredentialsSecret(u.Name))
		if r := u.Spec.PasswordSecretRef; r != nil {
			wanted = append(wanted, r.Name)
		}
	}
	list := &corev1.SecretList{}
	if err := d.cluster.Client.List(ctx, list, kube.InNamespace(d.broker.Namespace)); err != nil {
		return fmt.Errorf("their values are known to be secret only by what they look like: %w", cluster.Explain(err))
	}
	var text bytes.Buffer
	for _, s := range list.Items {
		if !slices.Contains(wanted, s.Name) && s.Labels[resource.LabelInstance] != name {
			continue
		}
		fmt.Fprintf(&text, "%s (%s): %s\n", s.Name, s.Type, strings.Join(slices.Sorted(maps.Keys(s.Data)), ", "))
		for key, value := range s.Data {
			if !slices.Contains(public, key) {
				d.bundle.Know(value)
			}
		}
	}
	d.add("kubernetes/secrets.txt", text.Bytes())
	return nil
}

// resources are what the operator makes of a MessageBroker.
func (d *collector) resources(ctx context.Context) (err error) {
	if d.pods, err = d.cluster.Pods(ctx, d.broker); err != nil {
		return err
	}
	for name, list := range map[string]kube.ObjectList{
		"pods": &corev1.PodList{}, "statefulsets": &appsv1.StatefulSetList{}, "services": &corev1.ServiceList{}, "configmaps": &corev1.ConfigMapList{},
		"persistentvolumeclaims": &corev1.PersistentVolumeClaimList{}, "networkpolicies": &networkingv1.NetworkPolicyList{},
		"poddisruptionbudgets": &policyv1.PodDisruptionBudgetList{},
	} {
		if err := d.cluster.Client.List(ctx, list, kube.InNamespace(d.broker.Namespace), kube.MatchingLabels(resource.Selector(d.broker.Name))); err != nil {
			d.miss(name, cluster.Explain(err))
			continue
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return err
		}
		if err := d.manifests("kubernetes/"+name+".yaml", items...); err != nil {
			return err
		}
	}
	return nil
}

func (d *collector) events(ctx context.Context) error {
	list := &corev1.EventList{}
	if err := d.cluster.Client.List(ctx, list, kube.InNamespace(d.broker.Namespace)); err != nil {
		return cluster.Explain(err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Event) int { return eventTime(a).Compare(eventTime(b)) })
	var text bytes.Buffer
	for _, e := range list.Items {
		o := e.InvolvedObject
		if !d.concerns(o) {
			continue
		}
		fmt.Fprintf(&text, "%s %s %s/%s %s: %s (%s)\n", eventTime(e).UTC().Format(time.RFC3339), e.Type, o.Kind, o.Name, e.Reason, e.Message, plural(int(max(e.Count, 1)), "time", "times"))
	}
	d.add("kubernetes/events.txt", text.Bytes())
	return nil
}

// concerns says whether an object is the broker's: ours by its kind, the others by their name, which begins with the broker's.
func (d *collector) concerns(o corev1.ObjectReference) bool {
	return strings.HasPrefix(o.APIVersion, v1alpha1.GroupVersion.Group+"/") ||
		o.Name == d.broker.Name || strings.HasPrefix(o.Name, d.broker.Name+"-") || strings.HasPrefix(o.Name, "data-"+d.broker.Name+"-")
}

func eventTime(e corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

func (d *collector) logs(ctx context.Context) error {
	for _, pod := range d.pods {
		d.podLogs(ctx, pod, "logs/"+pod.Name)
	}
	return nil
}

// podLogs adds the logs of a pod's containers, before the last restart too.
func (d *collector) podLogs(ctx context.Context, pod corev1.Pod, name string) {
	for _, s := range pod.Status.ContainerStatuses {
		d.containerLog(ctx, pod, s.Name, false, fmt.Sprintf("%s.%s.log", name, s.Name))
		if s.RestartCount > 0 {
			d.containerLog(ctx, pod, s.Name, true, fmt.Sprintf("%s.%s.previous.log", name, s.Name))
		}
	}
}

func (d *collector) containerLog(ctx context.Context, pod corev1.Pod, container string, previous bool, name string) {
	const most = 32 << 20
	o := &corev1.PodLogOptions{Container: container, Previous: previous, TailLines: &d.lines, LimitBytes: new(int64(most))}
	if d.since > 0 {
		o.SinceSeconds = new(int64(max(d.since/time.Second, 1)))
	}
	stream, err := d.cluster.Clientset.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, o).Stream(ctx)
	if err != nil {
		d.miss(name, cluster.Explain(err))
		return
	}
	defer stream.Close()
	text, err := io.ReadAll(io.LimitReader(stream, most))
	if err != nil {
		d.miss(name, err)
	}
	d.add(name, text)
}

func (d *collector) operator(ctx context.Context) error {
	list := &corev1.PodList{}
	if err := d.cluster.Client.List(ctx, list, kube.MatchingLabels{resource.LabelName: "turnstone-operator"}); err != nil {
		return cluster.Explain(err)
	}
	for _, pod := range list.Items {
		d.podLogs(ctx, pod, "operator/"+pod.Name)
	}
	return nil
}

// live is what the broker says of itself.
func (d *collector) live(ctx context.Context) error {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a, err := d.cluster.Admin(ctx, d.broker, d.address)
	if err != nil {
		return err
	}
	defer a.Close()
	encoded := func(v any, err error) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		return json.MarshalIndent(v, "", "  ")
	}
	for name, ask := range map[string]func() ([]byte, error){
		"ready.json":         func() ([]byte, error) { return encoded(a.Ready(ctx)) },
		"safe-to-stop.json":  func() ([]byte, error) { return encoded(a.SafeToStop(ctx)) },
		"config.json":        func() ([]byte, error) { return encoded(a.Config(ctx)) },
		"queues.json":        func() ([]byte, error) { return encoded(a.Queues(ctx, "")) },
		"connections.json":   func() ([]byte, error) { return encoded(a.Connections(ctx)) },
		"objects.json":       func() ([]byte, error) { return encoded(a.Objects(ctx, "", "")) },
		"digests.json":       func() ([]byte, error) { return encoded(a.Digest(ctx, topology.DefaultOwner)) },
		"metrics.txt":        func() ([]byte, error) { return a.Metrics(ctx, false) },
		"metrics-queues.txt": func() ([]byte, error) { return a.Metrics(ctx, true) },
		"goroutines.txt":     func() ([]byte, error) { return a.Goroutines(ctx) },
	} {
		text, err := ask()
		if err != nil {
			d.miss("broker/"+name, err)
			continue
		}
		d.add("broker/"+name, text)
	}
	return nil
}
