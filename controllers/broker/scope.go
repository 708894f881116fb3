package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	adminapi "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/controllers/certificate"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// scope is one run of the steps over one broker: what was wanted, what was seen and made. Each step reads what those
// before it left; the status is computed from it alone.
type scope struct {
	*Reconciler
	broker *v1alpha1.MessageBroker
	now    time.Time

	authority  certificate.Pair // by certificates
	trusted    []byte           // the authority, and those of before that still live
	bundle     []byte           // what clients trust the shown certificate by
	renewal    time.Time
	expires    time.Time
	serial     string
	config     config.Config        // by configuration
	restarting []string             // keys of it that restart the pod
	text       string               // the configuration file
	content    string               // identifies it
	size       apiresource.Quantity // of the volume, by volumes
	recreating bool                 // the StatefulSet is deleted, and made again by a later look
	external   []string             // URLs from outside; those of the status until services finds others
	pods       *appsv1.StatefulSet
	health     *adminapi.Health // nil: not asked, or it did not answer
	inForce    *v1alpha1.ConfigurationStatus
	usage      *v1alpha1.Usage

	notes map[string]*metav1.Condition // by type, beside those of state; nil takes one away, others stay as they are
	held  *trouble                     // why the broker is not Ready although all steps went on
	soon  time.Duration                // when to look again at the latest; zero is not earlier than after

	state condition.State
	after time.Duration // when to look again; zero is when an event comes
}

// wait is why a step is not done yet and when to look again; zero if it is done.
type wait struct {
	reason, message string
	after           time.Duration
}

// refusal is an error that stays until somebody changes the spec or the cluster: it is no use to try again soon.
type refusal struct{ reason, message string }

func (r *refusal) Error() string { return r.message }

// trouble is what is wrong beside the steps: they go on, and it is told.
type trouble struct {
	reason, message string
	stuck           bool // waiting does not help: somebody has to change something
	after           time.Duration
}

// note puts a condition beside those of state; clear takes it away.
func (s *scope) note(kind string, status metav1.ConditionStatus, reason, message string) {
	s.notes[kind] = &metav1.Condition{Type: kind, Status: status, ObservedGeneration: s.broker.Generation, Reason: reason, Message: message}
}

func (s *scope) clear(kind string) {
	if _, ok := s.notes[kind]; !ok {
		s.notes[kind] = nil
	}
}

// noteIsOld says whether the status has a condition that is about an earlier spec.
func (s *scope) noteIsOld(kind string) bool {
	c := meta.FindStatusCondition(s.broker.Status.Conditions, kind)
	return c != nil && c.ObservedGeneration < s.broker.Generation
}

// hold keeps the broker from being Ready. The first trouble counts.
func (s *scope) hold(t *trouble) {
	if s.held == nil {
		s.held = t
	}
}

// again asks for a look within a time.
func (s *scope) again(within time.Duration) {
	if within > 0 && (s.soon == 0 || within < s.soon) {
		s.soon = within
	}
}

// Intervals of looking again where no event tells.
const (
	healthyEvery = time.Minute
	refusedEvery = time.Minute
	waitingEvery = 2 * time.Second
	lookEvery    = 10 * time.Second // at what others have to bring; their events come before, where there are any
)

func newScope(r *Reconciler, b *v1alpha1.MessageBroker) *scope {
	s := &scope{Reconciler: r, broker: b, now: r.Now(), notes: map[string]*metav1.Condition{}}
	if e := b.Status.Endpoints; e != nil {
		s.external = e.External
	}
	return s
}

func (s *scope) key() types.NamespacedName {
	return types.NamespacedName{Namespace: s.broker.Namespace, Name: s.broker.Name}
}

// run runs steps until one fails or has to wait. The error is worth an immediate retry.
func (s *scope) run(ctx context.Context, steps []step) error {
	for _, st := range steps {
		w, err := st.run(ctx, s)
		var no *refusal
		switch {
		case errors.As(err, &no):
			s.state, s.after = condition.Stuck(no.reason, no.message), refusedEvery
			return nil
		case err != nil:
			s.state = condition.Waiting(condition.ReconcileFailed, fmt.Sprintf("%s: %v", st.name, err))
			return fmt.Errorf("%s: %w", st.name, err)
		case w.reason != "":
			s.state, s.after = condition.Waiting(w.reason, w.message), w.after
			return nil
		}
	}
	s.after = healthyEvery
	switch no := s.held; {
	case no != nil && no.stuck:
		s.state = condition.Stuck(no.reason, no.message)
	case no != nil:
		s.state = condition.Waiting(no.reason, no.message)
	case s.hibernates():
		s.state = condition.OK(condition.Hibernated, "no pod runs, as spec.replicas says; the data is kept")
	default:
		s.state = condition.OK(condition.Available, "the broker serves")
	}
	return nil
}

// hibernates says whether no pod is to run.
func (s *scope) hibernates() bool { return s.broker.Hibernates() }
