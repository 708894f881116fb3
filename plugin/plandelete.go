package plugin

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/topology"
	"github.com/turnstone-mq/turnstone/plugin/cluster"
)

// The actions of deletions.
const (
	actionDelete action = "delete"
	actionRetain action = "retain" // its deletionPolicy leaves it in the broker
	actionBlock  action = "block"  // the deletion waits for something
)

// deleted says what deleting the objects of the manifests would do in the brokers.
func (p *planner) deleted(ctx context.Context) error {
	for _, r := range p.rows {
		if err := p.find(ctx, r); err != nil {
			return err
		}
	}
	for _, key := range p.brokers() {
		if err := p.deletedIn(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// find takes the object as it is in Kubernetes: its own deletionPolicy counts, not what the manifest says.
func (p *planner) find(ctx context.Context, r *planned) error {
	there := r.source.DeepCopyObject().(v1alpha1.Topology)
	err := p.cluster.Client.Get(ctx, client.ObjectKeyFromObject(r.source), there)
	switch {
	case apierrors.IsNotFound(err):
		r.Action, r.Message = actionUnchanged, "it is not in Kubernetes"
	case err != nil:
		return cluster.Explain(err)
	default:
		there.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(r.Kind))
		r.source, r.Broker = there, there.GetNamespace()+"/"+there.BrokerName()
	}
	return nil
}

func (p *planner) deletedIn(ctx context.Context, key client.ObjectKey) error {
	return p.onBroker(ctx, key, actionRetain, nil, askDeletion)
}

// askDeletion has the broker say what would become of the deletions, all of them together.
func askDeletion(ctx context.Context, a *cluster.Admin, rows []*planned, users map[string]*v1alpha1.User) error {
	request := admin.ApplyRequest{Owner: topology.DefaultOwner}
	var asked []*planned
	for _, r := range rows {
		if r.Action != "" {
			continue
		}
		var err error
		if r.wanted, err = topology.Translate(r.source, users); err != nil {
			r.Action, r.Message = actionRetain, "the broker has nothing for it: "+err.Error()
			continue
		}
		r.Object = r.wanted.Key.String()
		how, deletes := topology.Deletion(r.source)
		if !deletes {
			r.Action, r.Message = actionRetain, "left in the broker, as spec.deletionPolicy says"
			continue
		}
		asked = append(asked, r)
		request.Changes = append(request.Changes, object.Change{Object: r.wanted, Delete: how})
	}
	if len(asked) == 0 {
		return nil
	}
	answer, err := a.Plan(ctx, request)
	if err != nil {
		return err
	}
	if len(answer.Results) != len(asked) {
		return fmt.Errorf("broker answered %d results for %d changes", len(answer.Results), len(asked))
	}
	for i, r := range asked {
		r.takeDeletion(answer.Results[i])
	}
	return nil
}

// takeDeletion makes an action of the broker's answer.
func (r *planned) takeDeletion(res object.Result) {
	r.Message = res.Message
	switch res.Outcome {
	case object.Deleted:
		r.Action, r.MessagesLost, r.Message = actionDelete, res.Messages, taken(res.Toll)
	case object.Unchanged:
		r.Action, r.Message = actionUnchanged, "the broker does not have it"
	case object.Conflict:
		r.Action = actionRetain // it is somebody else's
	default:
		r.Action = actionBlock
	}
}

// taken says what goes along with something, beside messages.
func taken(t object.Toll) string {
	var parts []string
	for _, x := range []struct {
		n         int
		one, many string
	}{{t.Bindings, "binding", "bindings"}, {t.Consumers, "consumer", "consumers"}, {t.Connections, "connection", "connections"}} {
		if x.n > 0 {
			parts = append(parts, plural(x.n, x.one, x.many))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "takes along " + enumerate(parts)
}

// enumerate is "a, b and c".
func enumerate(parts []string) string {
	last := len(parts) - 1
	if last == 0 {
		return parts[0]
	}
	text := ""
	for i, part := range parts[:last] {
		if i > 0 {
			text += ", "
		}
		text += part
	}
	return text + " and " + parts[last]
}

// blocked says whether a row is a reason to answer no.
func (p *planner) blocked() bool {
	return slices.ContainsFunc(p.rows, func(r *planned) bool {
		return r.Action == actionRefused || r.Action == actionRecreate || r.Action == actionBlock
	})
}
