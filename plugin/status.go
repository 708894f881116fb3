package plugin

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
	"github.com/turnstone-mq/turnstone/plugin/cluster"
)

// brokerStatus is what status says of one broker.
type brokerStatus struct {
	Namespace          string              `json:"namespace"`
	Name               string              `json:"name"`
	Ready              bool                `json:"ready"`
	Version            string              `json:"version,omitempty"`
	Replicas           int32               `json:"replicas"`
	ReadyReplicas      int32               `json:"readyReplicas"`
	Conditions         []metav1.Condition  `json:"conditions,omitempty"`
	Endpoints          *v1alpha1.Endpoints `json:"endpoints,omitempty"`
	CertificateExpires *metav1.Time        `json:"certificateExpires,omitempty"`
	Live               *liveStatus         `json:"live,omitempty"`
	Pods               []podStatus         `json:"pods,omitempty"`
	Kinds              []kindStatus        `json:"kinds,omitempty"`
	NotReady           []objectStatus      `json:"notReady,omitempty"`
	Problems           []string            `json:"problems,omitempty"`
}

// liveStatus is what the broker says of itself.
type liveStatus struct {
	Pod         string   `json:"pod,omitempty"`
	Connections int      `json:"connections"`
	Queues      int      `json:"queues"`
	Ready       int      `json:"ready"`
	Unacked     int      `json:"unacked"`
	Bytes       int64    `json:"bytes"`
	SafeToStop  bool     `json:"safeToStop"`
	Draining    bool     `json:"draining"`
	ConfigHash  string   `json:"configHash"`
	Pending     []string `json:"pendingConfiguration,omitempty"`
}

type podStatus struct {
	Name     string      `json:"name"`
	Phase    string      `json:"phase"`
	Ready    bool        `json:"ready"`
	Restarts int32       `json:"restarts"`
	Node     string      `json:"node,omitempty"`
	IP       string      `json:"ip,omitempty"`
	Created  metav1.Time `json:"created"`
}

type kindStatus struct {
	Kind  string `json:"kind"`
	Total int    `json:"total"`
	Ready int    `json:"ready"`
}

type objectStatus struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

func (p *plugin) statusCommand() *cobra.Command {
	var output format
	var all bool
	live := true
	c := &cobra.Command{
		Use:   "status [BROKER] [flags]",
		Short: "Say how brokers do, and which of their objects are not ready",
		Long: "Say how a broker does: its pods and conditions, what it says of itself, its objects by kind, and those that are not ready with the\n" +
			"reason. Without a name, all brokers of the namespace. Exit code 1 when something is not ready.",
		Example: "  kubectl turnstone status\n  kubectl turnstone status broker -o wide\n  kubectl turnstone status -A -o json",
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: p.brokerArgument,
		RunE: func(c *cobra.Command, args []string) error { return p.status(c.Context(), args, all, live, output) },
	}
	output.addFormat(c, formatWide, formatJSON, formatYAML)
	c.Flags().BoolVarP(&all, "all-namespaces", "A", false, "the brokers of all namespaces")
	c.Flags().BoolVar(&live, "live", true, "ask the brokers themselves, too")
	p.addAddress(c)
	return c
}

func (p *plugin) status(ctx context.Context, args []string, all, live bool, output format) error {
	if all && len(args) > 0 {
		return usagef("name a broker, or say --all-namespaces")
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	brokers, err := p.chosen(ctx, c, args, all)
	if err != nil {
		return err
	}
	var list []brokerStatus
	ready := true
	for i := range brokers {
		s, err := p.statusOf(ctx, c, &brokers[i], live)
		if err != nil {
			return err
		}
		ready = ready && s.Ready && len(s.NotReady) == 0
		list = append(list, s)
	}
	if done, err := output.structured(p.Out, list); done || err != nil {
		return answer(ready, err)
	}
	for i, s := range list {
		if i > 0 {
			fmt.Fprintln(p.Out)
		}
		if err := s.print(p.Out, output == formatWide, time.Now()); err != nil {
			return err
		}
	}
	return answer(ready, nil)
}

// answer is how a command ends that answers yes or no.
func answer(yes bool, err error) error {
	if err == nil && !yes {
		return errNo
	}
	return err
}

func (p *plugin) chosen(ctx context.Context, c *cluster.Cluster, args []string, all bool) ([]v1alpha1.MessageBroker, error) {
	if len(args) > 0 {
		b, err := c.Broker(ctx, args[0])
		if err != nil {
			return nil, err
		}
		return []v1alpha1.MessageBroker{*b}, nil
	}
	namespace, where := c.Namespace, fmt.Sprintf("in namespace %q: name its namespace with -n, or say -A", c.Namespace)
	if all {
		namespace, where = "", "in this cluster: kubectl apply one (config/samples/broker.yaml is an example)"
	}
	list, err := c.Brokers(ctx, namespace)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("there is no MessageBroker %s", where)
	}
	return list, err
}

func (p *plugin) statusOf(ctx context.Context, c *cluster.Cluster, b *v1alpha1.MessageBroker, live bool) (brokerStatus, error) {
	s := brokerStatus{
		Namespace: b.Namespace, Name: b.Name, Ready: condition.IsReady(b.Status.Conditions), Version: b.Status.Version,
		Replicas: b.Status.Replicas, ReadyReplicas: b.Status.ReadyReplicas, Conditions: b.Status.Conditions,
		Endpoints: b.Status.Endpoints, CertificateExpires: b.Status.CertificateExpires,
	}
	if b.Status.ObservedGeneration != b.Generation {
		s.Problems = append(s.Problems, "the operator has not looked at the newest generation yet: does it run?")
	}
	pods, err := c.Pods(ctx, b)
	if err != nil {
		return s, err
	}
	for _, pod := range pods {
		s.addPod(pod)
	}
	objects, err := c.Topology(ctx, b.Namespace, b.Name)
	if err != nil {
		return s, err
	}
	for _, o := range objects {
		s.addObject(o)
	}
	if live {
		s.addLive(ctx, p, c, b, pods)
	}
	return s, nil
}

func (s *brokerStatus) addPod(pod corev1.Pod) {
	out := podStatus{
		Name: pod.Name, Phase: string(pod.Status.Phase), Ready: cluster.Ready(pod), Node: pod.Spec.NodeName, IP: pod.Status.PodIP, Created: pod.CreationTimestamp,
	}
	for _, c := range pod.Status.ContainerStatuses {
		out.Restarts += c.RestartCount
	}
	s.Pods = append(s.Pods, out)
	for _, problem := range resource.Problems(&pod) {
		s.Problems = append(s.Problems, fmt.Sprintf("pod %s: %s", pod.Name, problem))
	}
}

func (s *brokerStatus) addObject(o v1alpha1.Topology) {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if n := len(s.Kinds); n == 0 || s.Kinds[n-1].Kind != kind {
		s.Kinds = append(s.Kinds, kindStatus{Kind: kind})
	}
	count := &s.Kinds[len(s.Kinds)-1]
	count.Total++
	ready := meta.FindStatusCondition(o.Common().Conditions, condition.Ready)
	switch {
	case ready == nil:
		s.NotReady = append(s.NotReady, objectStatus{kind, o.GetName(), "Unknown", "the operator has not looked at it yet"})
	case ready.Status != metav1.ConditionTrue:
		s.NotReady = append(s.NotReady, objectStatus{kind, o.GetName(), ready.Reason, ready.Message})
	case ready.ObservedGeneration != o.GetGeneration():
		s.NotReady = append(s.NotReady, objectStatus{kind, o.GetName(), "Outdated", "the operator has not looked at the newest generation yet"})
	default:
		count.Ready++
	}
}

// addLive asks the broker, for a short time only: status is for when things do not work, too.
func (s *brokerStatus) addLive(ctx context.Context, p *plugin, c *cluster.Cluster, b *v1alpha1.MessageBroker, pods []corev1.Pod) {
	const patience = 5 * time.Second
	if p.address == "" && len(cluster.Running(pods)) == 0 {
		s.Problems = append(s.Problems, "no pod runs")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	live, problems, err := askLive(ctx, p, c, b)
	if ctx.Err() != nil {
		s.Problems = append(s.Problems, fmt.Sprintf("the broker does not answer within %s", patience))
		return
	}
	if err != nil {
		s.Problems = append(s.Problems, fmt.Sprintf("the broker was not asked: %v", cluster.ExplainAdmin(err)))
		return
	}
	s.Live = live
	s.Problems = append(s.Problems, problems...)
}

func askLive(ctx context.Context, p *plugin, c *cluster.Cluster, b *v1alpha1.MessageBroker) (*liveStatus, []string, error) {
	a, err := c.Admin(ctx, b, p.address)
	if err != nil {
		return nil, nil, err
	}
	defer a.Close()
	stop, err := a.SafeToStop(ctx)
	if err != nil {
		return nil, nil, err
	}
	queues, err := a.Queues(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	config, err := a.Config(ctx)
	if err != nil {
		return nil, nil, err
	}
	out := &liveStatus{
		Pod: a.Pod, Connections: stop.Connections, Queues: len(queues), SafeToStop: stop.Safe, Draining: stop.Draining,
		ConfigHash: config.Hash, Pending: config.Pending,
	}
	for _, q := range queues {
		out.Ready, out.Unacked, out.Bytes = out.Ready+q.Ready, out.Unacked+q.Unacked, out.Bytes+q.Bytes
	}
	problems := stop.Reasons
	if stop.Draining {
		problems = append(problems, fmt.Sprintf("the broker is draining: kubectl turnstone undrain %s lets clients in again", b.Name))
	}
	if config.Problem != "" {
		problems = append(problems, "the configuration file was not taken over: "+config.Problem)
	}
	return out, problems, nil
}

func (s *brokerStatus) print(w io.Writer, wide bool, now time.Time) error {
	ready := meta.FindStatusCondition(s.Conditions, condition.Ready)
	state := "not looked at yet"
	switch {
	case s.Ready:
		state = "Ready"
	case ready != nil:
		state = strings.TrimSuffix(fmt.Sprintf("not Ready: %s: %s", ready.Reason, ready.Message), ": ")
	}
	fmt.Fprintf(w, "MessageBroker %s/%s: %s\n", s.Namespace, s.Name, visible(state))
	s.printFacts(w, wide, now)
	if err := s.printPods(w, wide, now); err != nil {
		return err
	}
	if err := s.printObjects(w); err != nil {
		return err
	}
	if len(s.Problems) > 0 {
		fmt.Fprintln(w, "\nproblems")
		for _, problem := range s.Problems {
			fmt.Fprintf(w, "  - %s\n", visible(problem))
		}
	}
	return nil
}

func (s *brokerStatus) printFacts(w io.Writer, wide bool, now time.Time) {
	fact := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "  %-13s%s\n", name, visible(text))
		}
	}
	fact("version", s.Version)
	fact("replicas", fmt.Sprintf("%d of %d ready", s.ReadyReplicas, s.Replicas))
	if s.CertificateExpires != nil {
		fact("certificate", "expires in "+age(now, s.CertificateExpires.Time))
	}
	if l := s.Live; l != nil {
		fact("connections", strconv.Itoa(l.Connections))
		fact("queues", fmt.Sprintf("%d with %s ready, %d unacknowledged, %s", l.Queues, plural(l.Ready, "message", "messages"), l.Unacked, bytesText(l.Bytes)))
		fact("pending", strings.Join(l.Pending, ", "))
	}
	if e := s.Endpoints; e != nil {
		fact("endpoints", e.MQTTS+"  "+e.AMQPS)
		if wide {
			fact("", e.MQTT+"  "+e.AMQP+"  "+e.Admin)
		}
	}
	if wide {
		for _, c := range s.Conditions {
			fact("condition", fmt.Sprintf("%s=%s %s %s, since %s", c.Type, c.Status, c.Reason, c.Message, age(c.LastTransitionTime.Time, now)))
		}
		if s.Live != nil {
			fact("config hash", s.Live.ConfigHash)
		}
	}
}

func (s *brokerStatus) printPods(w io.Writer, wide bool, now time.Time) error {
	if len(s.Pods) == 0 {
		return nil
	}
	header := []string{"POD", "READY", "STATUS", "RESTARTS", "AGE"}
	if wide {
		header = append(header, "NODE", "IP")
	}
	var rows [][]string
	for _, pod := range s.Pods {
		row := []string{pod.Name, strconv.FormatBool(pod.Ready), pod.Phase, strconv.Itoa(int(pod.Restarts)), age(pod.Created.Time, now)}
		if wide {
			row = append(row, pod.Node, pod.IP)
		}
		rows = append(rows, row)
	}
	fmt.Fprintln(w)
	return table(w, "  ", header, rows)
}

func (s *brokerStatus) printObjects(w io.Writer) error {
	if len(s.Kinds) == 0 {
		return nil
	}
	var rows [][]string
	for _, k := range s.Kinds {
		rows = append(rows, []string{k.Kind, strconv.Itoa(k.Total), strconv.Itoa(k.Ready), strconv.Itoa(k.Total - k.Ready)})
	}
	fmt.Fprintln(w)
	if err := table(w, "  ", []string{"KIND", "OBJECTS", "READY", "NOT READY"}, rows); err != nil || len(s.NotReady) == 0 {
		return err
	}
	rows = nil
	for _, o := range s.NotReady {
		rows = append(rows, []string{strings.ToLower(o.Kind) + "/" + o.Name, o.Reason, o.Message})
	}
	fmt.Fprintln(w)
	return table(w, "  ", []string{"NOT READY", "REASON", "MESSAGE"}, rows)
}

// bytesText is a number of bytes for people.
func bytesText(n int64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/step, 0
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB"}
	for f >= step && unit < len(units)-1 {
		f, unit = f/step, unit+1
	}
	return fmt.Sprintf("%.1f %s", f, units[unit])
}
