package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/topology"
	"github.com/turnstone-mq/turnstone/plugin/cluster"
	"github.com/turnstone-mq/turnstone/plugin/difference"
	"github.com/turnstone-mq/turnstone/plugin/manifest"
)

// action is what would become of an object.
type action string

// The actions.
const (
	actionCreate    action = "create"
	actionUpdate    action = "update"
	actionRecreate  action = "recreate" // it has to be deleted and made again, by whoever applies the manifests
	actionUnchanged action = "unchanged"
	actionWait      action = "wait" // for something that is not there yet
	actionRefused   action = "refused"
)

// signs stand before the actions.
var signs = map[action]string{actionCreate: "+", actionUpdate: "~", actionRecreate: "-/+", actionUnchanged: "=", actionWait: "?", actionRefused: "!",
	actionDelete: "-", actionRetain: "=", actionBlock: "!"}

// planned is what applying one manifest would do.
type planned struct {
	Broker  string             `json:"broker"`
	Kind    string             `json:"kind"`
	Name    string             `json:"name"`
	Object  string             `json:"object,omitempty"` // in the broker
	Action  action             `json:"action"`
	Fields  []difference.Field `json:"fields,omitempty"`
	Message string             `json:"message,omitempty"`
	// MessagesLost is how many messages wait in what would be recreated or deleted.
	MessagesLost int `json:"messagesLost,omitempty"`

	wanted object.Object
	source v1alpha1.Topology
}

func (r planned) title() string { return strings.ToLower(r.Kind) + "/" + r.Name }

// planner plans the manifests of all brokers.
type planner struct {
	*plugin
	cluster   *cluster.Cluster
	local     bool // do not ask the API server
	deletes   bool // what deleting the manifests would do
	forbidden bool // it does not let us ask
	rows      []*planned
}

func (p *plugin) planCommand() *cobra.Command {
	var output format
	var files []string
	var recursive, local, deletes bool
	c := &cobra.Command{
		Use:   "plan -f FILE|DIR|- [flags]",
		Short: "Say what applying manifests would do in the brokers, and change nothing",
		Long: "Say what applying manifests would do in the brokers: what would be created, updated field by field, recreated, and how many messages\n" +
			"that would lose. The API server checks the manifests (a dry run), and the broker says what would become of them (a dry run of its\n" +
			"admin API). With --delete, what `kubectl delete` of the manifests would do: what is deleted in the brokers, with how many messages, what stays\n" +
			"there, and what would block. Exit code 1 when something would be refused, would block or has to be recreated.",
		Example: "  kubectl turnstone plan -f topology/\n  helm template chart | kubectl turnstone plan -f -\n  kubectl turnstone plan --delete -f topology/",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usagef("name manifests with -f FILE, -f DIR or -f -")
			}
			if deletes && local {
				return usagef("--client is about manifests that are applied: leave it out with --delete")
			}
			docs, err := manifest.Read(files, recursive, p.In)
			if err != nil {
				return usageError{err}
			}
			k, err := p.connect()
			if err != nil {
				return err
			}
			return (&planner{plugin: p, cluster: k, local: local, deletes: deletes}).run(c.Context(), docs, output)
		},
	}
	output.addFormat(c, formatWide, formatJSON, formatYAML)
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "`FILE`, directory, or - for standard input; repeats")
	c.Flags().BoolVarP(&recursive, "recursive", "R", false, "also what lies in directories below")
	c.Flags().BoolVar(&local, "client", false, "do not ask the API server whether it takes the manifests")
	c.Flags().BoolVar(&deletes, "delete", false, "say what deleting the manifests would do")
	p.addAddress(c)
	return c
}

func (p *planner) run(ctx context.Context, docs []manifest.Document, output format) error {
	if err := p.load(docs); err != nil {
		return usageError{err}
	}
	ask := p.applied
	if p.deletes {
		ask = p.deleted
	}
	if err := ask(ctx); err != nil {
		return err
	}
	ok := !p.blocked()
	if done, err := output.structured(p.Out, p.rows); done || err != nil {
		return answer(ok, err)
	}
	p.print(p.Out, output == formatWide)
	return answer(ok, nil)
}

// applied says what applying the manifests would do.
func (p *planner) applied(ctx context.Context) error {
	for _, r := range p.rows {
		if err := p.admit(ctx, r); err != nil {
			return err
		}
	}
	if p.forbidden {
		fmt.Fprintln(p.Err, "note: the API server does not let you change these kinds, so that it was not asked whether it takes the manifests")
	}
	for _, key := range p.brokers() {
		if err := p.planBroker(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// load takes the objects that live in brokers, and says what is passed over.
func (p *planner) load(docs []manifest.Document) error {
	var others []string
	for _, d := range docs {
		o, err := d.Topology(cluster.Scheme, p.cluster.Namespace)
		if err != nil {
			return err
		}
		if o == nil {
			others = append(others, d.Kind+" "+d.Name)
			continue
		}
		manifest.Default(o)
		p.rows = append(p.rows, &planned{Broker: o.GetNamespace() + "/" + o.BrokerName(), Kind: d.Kind, Name: o.GetName(), source: o})
	}
	if len(others) > 0 {
		fmt.Fprintf(p.Err, "note: %s live in no broker and are not planned: %s\n", plural(len(others), "object", "objects"), strings.Join(others, ", "))
	}
	if len(p.rows) == 0 {
		return errors.New("the manifests hold nothing that lives in a broker")
	}
	return nil
}

// admit asks the API server whether it takes a manifest, which fills in defaults as well.
func (p *planner) admit(ctx context.Context, r *planned) error {
	if p.local || p.forbidden {
		return nil
	}
	live := r.source.DeepCopyObject().(client.Object)
	err := p.cluster.Client.Get(ctx, client.ObjectKeyFromObject(r.source), live)
	tried := r.source.DeepCopyObject().(v1alpha1.Topology)
	switch {
	case apierrors.IsNotFound(err):
		err = p.cluster.Client.Create(ctx, tried, client.DryRunAll)
	case err == nil:
		tried.SetResourceVersion(live.GetResourceVersion())
		tried.SetFinalizers(live.GetFinalizers())
		tried.SetOwnerReferences(live.GetOwnerReferences())
		err = p.cluster.Client.Update(ctx, tried, client.DryRunAll)
	}
	switch {
	case err == nil:
		tried.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(r.Kind))
		r.source = tried
	case apierrors.IsForbidden(err):
		p.forbidden = true
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		r.refuse(invalid(err))
	case apierrors.IsNotFound(err):
		r.refuse(fmt.Sprintf("namespace %q does not exist", r.source.GetNamespace()))
	default:
		return cluster.Explain(err)
	}
	return nil
}

// immutable is in the sentence of every rule that says so.
const immutable = "cannot be changed: delete the object and make another"

func (r *planned) refuse(why string) {
	r.Action, r.Message = actionRefused, why
	if strings.Contains(why, immutable) {
		r.Action = actionRecreate
	}
}

// invalidValue is what the API server puts before the sentence of a rule.
var invalidValue = regexp.MustCompile(`^Invalid value: (?:"(?:[^"\\]|\\.)*": |[^ :]+: )?`)

// invalid is what the API server says is wrong, without what it is about.
func invalid(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		return err.Error()
	}
	var out []string
	for _, c := range status.Status().Details.Causes {
		text := invalidValue.ReplaceAllString(c.Message, "")
		if c.Field != "" && c.Field != "<nil>" && !strings.Contains(text, immutable) {
			text = c.Field + ": " + text
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), "; ")
}

func (p *planner) brokers() []client.ObjectKey {
	var out []client.ObjectKey
	for _, r := range p.rows {
		k := client.ObjectKey{Namespace: r.source.GetNamespace(), Name: r.source.BrokerName()}
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

func (p *planner) of(key client.ObjectKey) []*planned {
	return slices.DeleteFunc(slices.Clone(p.rows), func(r *planned) bool { return r.Broker != key.Namespace+"/"+key.Name })
}

func (p *planner) planBroker(ctx context.Context, key client.ObjectKey) error {
	return p.onBroker(ctx, key, actionWait, p.of(key), ask)
}

// onBroker has a broker asked about its rows; without is what becomes of them when there is no such broker. The users that the
// rows may name are those there and those among manifests.
func (p *planner) onBroker(ctx context.Context, key client.ObjectKey, without action, manifests []*planned,
	ask func(context.Context, *cluster.Admin, []*planned, map[string]*v1alpha1.User) error) error {
	rows := p.of(key)
	b := &v1alpha1.MessageBroker{}
	err := p.cluster.Client.Get(ctx, key, b)
	if apierrors.IsNotFound(err) {
		for _, r := range rows {
			if r.Action == "" {
				r.Action, r.Message = without, fmt.Sprintf("MessageBroker %q does not exist in namespace %q", key.Name, key.Namespace)
			}
		}
		return nil
	}
	if err != nil {
		return cluster.Explain(err)
	}
	a, err := p.cluster.Admin(ctx, b, p.address)
	if err != nil {
		return err
	}
	defer a.Close()
	users, err := p.users(ctx, key, manifests)
	if err != nil {
		return err
	}
	return ask(ctx, a, rows, users)
}

// users are those that permissions may name: the ones in the manifests, and those that are there.
func (p *planner) users(ctx context.Context, key client.ObjectKey, rows []*planned) (map[string]*v1alpha1.User, error) {
	list := &v1alpha1.UserList{}
	if err := p.cluster.Client.List(ctx, list, client.InNamespace(key.Namespace)); err != nil {
		return nil, cluster.Explain(err)
	}
	out := make(map[string]*v1alpha1.User)
	for i, u := range list.Items {
		if u.BrokerName() == key.Name {
			out[u.Name] = &list.Items[i]
		}
	}
	for _, r := range rows {
		if u, ok := r.source.(*v1alpha1.User); ok {
			out[u.Name] = u
		}
	}
	return out, nil
}

// ask has the broker say what would become of the rows, and compares with what it has.
func ask(ctx context.Context, a *cluster.Admin, rows []*planned, users map[string]*v1alpha1.User) error {
	request := admin.ApplyRequest{Owner: topology.DefaultOwner}
	var asked []*planned
	for _, r := range rows {
		var err error
		r.wanted, err = topology.Translate(r.source, users)
		if err != nil && r.Action == "" {
			r.Action, r.Message = actionWait, err.Error()
		}
		if err != nil {
			continue
		}
		r.Object = r.wanted.Key.String()
		if r.Action == "" {
			asked = append(asked, r)
			request.Changes = append(request.Changes, object.Change{Object: r.wanted})
		}
	}
	answer, err := a.Plan(ctx, request)
	if err != nil {
		return err
	}
	if len(answer.Results) != len(asked) {
		return fmt.Errorf("broker answered %d results for %d changes", len(answer.Results), len(asked))
	}
	for i, r := range asked {
		r.take(answer.Results[i])
	}
	return compare(ctx, a, rows)
}

// take makes an action of the broker's answer.
func (r *planned) take(res object.Result) {
	r.Message = res.Message
	switch res.Outcome {
	case object.Created:
		r.Action = actionCreate
	case object.Updated:
		r.Action = actionUpdate
	case object.Unchanged:
		r.Action = actionUnchanged
	default:
		r.Action = actionRefused
		if res.Reason == object.ReasonMissing {
			r.Action = actionWait
		}
	}
}

// compare says in which fields what is there differs from what is wanted, and what would be lost.
func compare(ctx context.Context, a *cluster.Admin, rows []*planned) error {
	there, err := a.Objects(ctx, "", "")
	if err != nil {
		return err
	}
	queues, err := a.Queues(ctx, "")
	if err != nil {
		return err
	}
	has := byKey(there.Objects)
	for _, r := range rows {
		o, ok := has[r.wanted.Key]
		if !ok || r.Action == actionUnchanged {
			continue
		}
		if r.Fields, err = differences(o, r.wanted); err != nil {
			return err
		}
		switch {
		case r.Action != actionRecreate:
		case len(r.Fields) == 0: // such as 60s for 1m, or a user by its name for one by its object
			r.Action = actionRefused
			r.Message += "; it says the same as what is there: write it as it is in Kubernetes"
		default:
			r.MessagesLost = waiting(queues, r.wanted.Key)
		}
		if r.Action == actionUpdate && len(r.Fields) == 0 {
			r.Message = ownerChange(o)
		}
	}
	return nil
}

func byKey(objects []object.Object) map[object.Key]object.Object {
	out := make(map[object.Key]object.Object, len(objects))
	for _, o := range objects {
		out[o.Key] = o
	}
	return out
}

// ownerChange is what an update without a field changes.
func ownerChange(o object.Object) string {
	if o.Owner == "" {
		return "taken over from nobody"
	}
	return "stands for " + o.Ref + " until now"
}

// differences are the fields in which what is there differs from what is wanted.
func differences(there, wanted object.Object) ([]difference.Field, error) {
	from, err := there.Canonical()
	if err != nil {
		return nil, err
	}
	to, err := wanted.Canonical()
	if err != nil {
		return nil, err
	}
	return difference.Of(from, to)
}

// waiting is how many messages a queue holds.
func waiting(queues []admin.QueueState, k object.Key) int {
	for _, q := range queues {
		if k.Kind == object.KindQueue && q.VirtualHost == k.VirtualHost && q.Name == k.Name {
			return q.Ready + q.Unacked
		}
	}
	return 0
}

func (p *planner) print(w io.Writer, wide bool) {
	broker := ""
	for _, key := range p.brokers() {
		for _, r := range p.of(key) {
			if r.Broker != broker {
				broker = r.Broker
				fmt.Fprintf(w, "MessageBroker %s\n", broker)
			}
			if r.Action != actionUnchanged || wide {
				r.print(w, wide)
			}
		}
	}
	fmt.Fprintln(w, p.summary())
}

func (r *planned) print(w io.Writer, wide bool) {
	fmt.Fprintf(w, "  %-3s %s", signs[r.Action], visible(r.title()))
	if wide && r.Object != "" {
		fmt.Fprintf(w, " (%s)", visible(r.Object))
	}
	switch r.Action {
	case actionCreate, actionUpdate, actionUnchanged, actionDelete:
		if r.Message != "" {
			fmt.Fprintf(w, ": %s", visible(r.Message))
		}
	default:
		fmt.Fprintf(w, ": %s: %s", r.Action, visible(r.Message))
	}
	if r.MessagesLost > 0 {
		fmt.Fprintf(w, "; %s would be lost", plural(r.MessagesLost, "message", "messages"))
	}
	fmt.Fprintln(w)
	for _, f := range r.Fields {
		fmt.Fprintf(w, "        %s\n", visible(f.String()))
	}
}

func (p *planner) summary() string {
	count := make(map[action]int)
	lost := 0
	for _, r := range p.rows {
		count[r.Action]++
		lost += r.MessagesLost
	}
	var parts []string
	for _, a := range []struct {
		action action
		text   string
	}{
		{actionCreate, "to create"}, {actionUpdate, "to update"}, {actionRecreate, "to recreate"}, {actionWait, "to wait"},
		{actionDelete, "to delete"}, {actionRetain, "retained"}, {actionBlock, "blocked"},
		{actionRefused, "refused"}, {actionUnchanged, "unchanged"},
	} {
		if n := count[a.action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, a.text))
		}
	}
	text := "plan: " + strings.Join(parts, ", ")
	if lost > 0 {
		text += "; " + plural(lost, "message", "messages") + " would be lost"
	}
	return text
}
