package topology

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// scope is one look at everything that belongs to one broker.
type scope struct {
	broker  *v1alpha1.MessageBroker // nil when there is none
	owner   string                  // in whose name the operator owns objects of the broker
	admin   *admin.Client
	entries []*entry
	users   map[types.NamespacedName]*v1alpha1.User // by the name of the Kubernetes object

	incarnation string
	revision    uint64
	pending     bool // something will be right later: look again soon
}

// entry is one Kubernetes object, what the broker should have for it, and what became of that.
type entry struct {
	kind   kind
	object v1alpha1.Topology
	before client.Object // as it was read

	wanted object.Object
	secret secret // of a user

	state     condition.State
	decided   bool // state is final for this look
	deleting  bool
	released  bool   // its finalizer may go
	asked     bool   // it takes part in the batch to the broker
	planned   bool   // it says what it would do, and does nothing
	foreign   bool   // its namespace is not allowed: it may take away what is its own
	follows   *entry // it has what this one shares
	vanished  bool   // it was gone before it was held
	plan      *v1alpha1.Plan
	messages  int64
	consumers int64
}

// DefaultOwner is in whose name the operator owns objects of a broker, unless it is told another one.
const DefaultOwner = "turnstone-operator"

func (e *entry) ref() string {
	return e.object.GetNamespace() + "/" + e.object.GetName()
}

func (e *entry) decide(s condition.State) { e.state, e.decided = s, true }

// load reads all objects that name the broker. They are shared with the cache: nothing changes them but copies.
func (r *Reconciler) load(ctx context.Context, key client.ObjectKey, s *scope) error {
	s.users = make(map[types.NamespacedName]*v1alpha1.User)
	for _, k := range kinds {
		list := k.list()
		if err := r.List(ctx, list, client.MatchingFields{brokerIndex: key.String()}); err != nil {
			return fmt.Errorf("list %s objects of broker %s: %w", k.name, key.Name, err)
		}
		for _, o := range k.items(list) {
			if u, ok := o.(*v1alpha1.User); ok {
				s.users[client.ObjectKeyFromObject(u)] = u
			}
			s.entries = append(s.entries, &entry{
				kind: k, object: o, before: o.DeepCopyObject().(client.Object), deleting: !o.GetDeletionTimestamp().IsZero(),
				planned: isPlanned(o),
			})
		}
	}
	return nil
}

// translate fills in what the broker should have, and decides about objects for which that cannot be said. Of two
// objects that stand for the same thing one has it.
func (s *scope) translate() {
	slices.SortStableFunc(s.entries, (*entry).compare)
	for _, e := range s.entries {
		if e.decided {
			continue
		}
		var err error
		if e.wanted, err = e.kind.translate(e.object, s); err != nil {
			e.untranslatable(err)
			continue
		}
		e.wanted.Owner, e.wanted.Ref = s.owner, e.ref()
	}
	s.claim()
}

// compare orders entries by age. Timestamps tell seconds apart; of two from the same second the one that was first to be
// Ready counts as older, and one that was told that it is not stays so.
func (e *entry) compare(o *entry) int {
	return cmp.Or(
		e.object.GetCreationTimestamp().Compare(o.object.GetCreationTimestamp().Time),
		cmp.Compare(e.standing(), o.standing()),
		strings.Compare(string(e.object.GetUID()), string(o.object.GetUID())),
	)
}

// standing is lower for an object that has what it stands for, and higher for one that another has it instead of.
func (e *entry) standing() int {
	c := meta.FindStatusCondition(e.object.Common().Conditions, condition.Ready)
	switch {
	case c == nil:
		return 0
	case c.Status == metav1.ConditionTrue:
		return -1
	case c.Reason == condition.ResourceConflict:
		return 1
	}
	return 0
}

func (e *entry) untranslatable(err error) {
	if _, missing := err.(*missingError); missing {
		e.decide(condition.Waiting(condition.Missing, err.Error()))
	} else {
		e.decide(condition.Stuck(condition.Invalid, err.Error()))
	}
	e.released = e.deleting // what the broker never had for it need not be deleted
}
