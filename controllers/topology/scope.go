package topology

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// scope is one look at what changed in one broker or for it.
type scope struct {
	realm   *realm
	broker  *v1alpha1.MessageBroker // nil when there is none
	owner   string                  // in whose name the operator owns objects of the broker
	admin   *admin.Client
	entries []*entry
	users   map[types.NamespacedName]*v1alpha1.User // by the name of the Kubernetes object

	incarnation string
	revision    uint64
}

// entry is one Kubernetes object, what the broker should have for it, and what became of that.
type entry struct {
	kind   kind
	object v1alpha1.Topology
	before client.Object // as it was read

	record *record
	wanted object.Object
	sum    object.Sum // of wanted
	// found is what the broker has instead, nil for nothing or when it is not known; drift says how it differs.
	found *object.Object
	drift string
	// missing is what is missing in Kubernetes, as a key of realm.waiting; resend says to send a password that is known already.
	missing object.Sum
	resend  bool
	secret  secret // of a user

	state     condition.State
	decided   bool // state is final for this look
	deleting  bool
	released  bool   // its finalizer may go
	postponed bool   // nothing is said of it yet: the next look deals with it
	failed    error  // of a call of the Kubernetes API: it is tried again
	unreached bool   // it was told that its broker cannot be reached
	planned   bool   // it says what it would do, and does nothing
	foreign   bool   // its namespace is not allowed: it may take away what is its own
	follows   *entry // it has what this one shares
	left      *entry // this one is deleted, and leaves what it stands for to that one
	instead   string // of what the broker has in place of what is deleted: nobody else is there to delete it
	vanished  bool   // it was gone before it was held
	plan      *v1alpha1.Plan
}

// DefaultOwner is in whose name the operator owns objects of a broker, unless it is told another one.
const DefaultOwner = "turnstone-operator"

func (e *entry) ref() string {
	return e.object.GetNamespace() + "/" + e.object.GetName()
}

func (e *entry) decide(s condition.State) { e.state, e.decided = s, true }

// load takes the objects that changed, and those that stand for the same things.
func (r *Reconciler) load(ctx context.Context, s *scope) {
	s.users = make(map[types.NamespacedName]*v1alpha1.User)
	for _, record := range r.index.take(s.realm, time.Now()) {
		o, err := r.index.object(record)
		if err != nil {
			log.FromContext(ctx).Error(err, "this object is left alone: that is a mistake in the operator")
			continue
		}
		maps.Copy(s.users, r.index.usersOf(o))
		if r.index.moved(record, o, s.users) {
			continue // it comes in the next look, with those that stand for the same
		}
		s.entries = append(s.entries, &entry{
			kind: kinds[record.id.kind], object: o, before: o.DeepCopyObject().(client.Object), deleting: !o.GetDeletionTimestamp().IsZero(), record: record,
			planned: isPlanned(o),
		})
	}
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
		if e.sum, err = e.wanted.Sum(); err != nil {
			e.untranslatable(err)
		}
	}
	s.claim()
}

// compare orders entries by age. Timestamps tell seconds apart; of two from the same second the one that was first to be
// Ready counts as older, and one that was told that it is not stays so. Of those that share, it is the one that the broker was
// given.
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
	case c.Status == metav1.ConditionTrue && e.object.Common().Applied != nil:
		return -2
	case c.Status == metav1.ConditionTrue:
		return -1
	case c.Reason == condition.ResourceConflict:
		return 1
	}
	return 0
}

func (e *entry) untranslatable(err error) {
	if m, missing := err.(*missingError); missing {
		e.missing = m.key
		e.decide(condition.Waiting(condition.Missing, err.Error()))
	} else {
		e.decide(condition.Stuck(condition.Invalid, err.Error()))
	}
	e.released = e.deleting // what the broker never had for it need not be deleted
}
