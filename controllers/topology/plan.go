package topology

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// planSize is how many changes are planned in one call: so many that what belongs together is planned together.
const planSize = 10_000

// isPlanned says that an object is to say what it would do, and to do nothing. Whoever sets the annotation to something
// odd wants a plan more likely than not, and a plan can be carried out later.
func isPlanned(o client.Object) bool {
	v, ok := o.GetAnnotations()[v1alpha1.PlanAnnotation]
	return ok && v != "false"
}

// unplannable takes deletions in namespaces that are being deleted out of their plan: nothing there can wait for somebody
// to look. What is in the broker stays there, since nobody said that it may go.
func (r *Reconciler) unplannable(ctx context.Context, s *scope) {
	for _, e := range s.entries {
		if !e.planned || !e.deleting {
			continue
		}
		ends, err := r.terminating(ctx, e.object.GetNamespace())
		if e.failed = err; err == nil && ends {
			e.planned, e.released = false, true
			e.decide(condition.Waiting(condition.Pending, "left in the broker"))
			r.event(e, corev1.EventTypeWarning, "Abandoned", fmt.Sprintf("it was under plan when its namespace was deleted: %s is left in the broker, if it is there", e.kind.name))
		}
	}
}

// apart takes the entries under plan out of those that differ.
func apart(differing []*entry) (doing, planned []*entry) {
	for _, e := range differing {
		if e.planned {
			planned = append(planned, e)
		} else {
			doing = append(doing, e)
		}
	}
	return doing, planned
}

// propose asks the broker what would become of entries, as if they were sent together.
func (r *Reconciler) propose(ctx context.Context, s *scope, planned []*entry) error {
	slices.SortFunc(planned, inOrder)
	for chunk := range slices.Chunk(planned, planSize) {
		if err := r.ask(ctx, s, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) ask(ctx context.Context, s *scope, planned []*entry) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, asked, err := s.request(planned)
	if err != nil || len(asked) == 0 {
		return err
	}
	response, err := s.admin.Plan(ctx, request)
	if err != nil {
		return err
	}
	if len(response.Results) != len(asked) {
		return fmt.Errorf("broker planned %d results for %d changes", len(response.Results), len(asked))
	}
	var heirs []*entry
	for i, e := range asked {
		if r.inherit(s, e, response.Results[i]) {
			heirs = append(heirs, e)
			continue
		}
		e.proposed(response.Results[i])
	}
	if len(heirs) > 0 {
		return r.ask(ctx, s, heirs)
	}
	return nil
}

// request is what the broker is asked to do for entries, and those among them for which it is asked.
func (s *scope) request(batch []*entry) (request admin.ApplyRequest, asked []*entry, err error) {
	request.Owner = s.owner
	for _, e := range batch {
		c, ask, err := e.change()
		if err != nil {
			return request, nil, err
		}
		if ask {
			asked = append(asked, e)
			request.Changes = append(request.Changes, c)
		}
	}
	return request, asked, nil
}

// proposed decides by what would become of a change.
func (e *entry) proposed(r object.Result) {
	e.plan = planOf(e, r)
	switch {
	case e.plan.Action != v1alpha1.PlanNone && e.plan.Action != v1alpha1.PlanRecreate:
		e.decide(condition.Waiting(condition.Planned, fmt.Sprintf("under plan: it would %s, see status.plan; remove the annotation %s to carry it out", e.plan.Action, v1alpha1.PlanAnnotation)))
	case r.Outcome == object.Unchanged && e.deleting:
		e.decide(condition.Waiting(condition.Planned, "under plan: its deletion would do nothing in the broker; remove the annotation to let it go"))
	default:
		e.outcome(r)
	}
}

// planOf is what a result of a dry run says.
func planOf(e *entry, r object.Result) *v1alpha1.Plan {
	p := &v1alpha1.Plan{
		Action: v1alpha1.PlanNone, Message: r.Message,
		MessagesLost: int64(r.Messages), ConsumersCut: int64(r.Consumers), BindingsLost: int64(r.Bindings), ConnectionsCut: int64(r.Connections),
	}
	switch {
	case r.Outcome == object.Created:
		p.Action = v1alpha1.PlanCreate
	case r.Outcome == object.Deleted:
		p.Action = v1alpha1.PlanDelete
	case r.Outcome == object.Updated && r.Adopted:
		p.Action = v1alpha1.PlanAdopt
	case r.Outcome == object.Updated:
		p.Action = v1alpha1.PlanUpdate
		if len(r.Differences) == 0 {
			p.Message = "the broker would note that it stands for this object"
		}
	case r.Reason == object.ReasonInequivalent:
		p.Action = v1alpha1.PlanRecreate
	case r.Outcome == object.Unchanged && e.deleting:
		p.Message = "the broker does not have it"
	}
	const most = 256 // as the schema says
	for _, d := range r.Differences[:min(len(r.Differences), most)] {
		p.Changes = append(p.Changes, v1alpha1.PlannedChange{Field: d.Field, Old: d.Old, New: d.New})
	}
	return p
}

// keepPlanned holds what is deleted under plan, as long as there is a broker, and gives those a plan for which the broker
// was not asked.
func (s *scope) keepPlanned() {
	for _, e := range s.entries {
		if !e.planned {
			continue
		}
		if s.broker != nil {
			e.released = false
		}
		if e.plan == nil {
			e.plan = &v1alpha1.Plan{Action: v1alpha1.PlanNone, Message: e.state.Message}
		}
	}
}
