package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
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

	authority certificate.Pair // by certificates
	bundle    []byte
	renewal   time.Time
	expires   time.Time
	config    config.Config // by configuration
	pods      *appsv1.StatefulSet
	health    *adminapi.Health // nil: not asked, or it did not answer

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

// Intervals of looking again where no event tells.
const (
	healthyEvery = time.Minute
	refusedEvery = time.Minute
	waitingEvery = 2 * time.Second
)

func newScope(r *Reconciler, b *v1alpha1.MessageBroker) *scope {
	return &scope{Reconciler: r, broker: b, now: r.Now()}
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
	s.state, s.after = condition.OK(condition.Available, "the broker serves"), healthyEvery
	return nil
}
