package topology

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/connection"
)

// brokerOf is the broker in which an object lives: a MessageBroker, or a name made by connection.External. It is the key of
// a look, of its worker and of its change stream.
func brokerOf(o client.Object) types.NamespacedName {
	ref := o.(v1alpha1.Topology).Reference()
	key := types.NamespacedName{Namespace: o.GetNamespace(), Name: ref.Name}
	switch {
	case ref.ConnectionSecret != nil:
		key.Name = connection.External(ref.ConnectionSecret.Name)
	case ref.Namespace != "":
		key.Namespace = ref.Namespace
	}
	return key
}

// brokerText names a broker for people.
func brokerText(key types.NamespacedName) string {
	if secret, ok := connection.SecretOf(key.Name); ok {
		return fmt.Sprintf("the broker of connection Secret %q", secret)
	}
	return fmt.Sprintf("MessageBroker %q", key.Name)
}

// findExternal stands a MessageBroker in for a broker that only a Secret names. One without objects is forgotten.
func (r *Reconciler) findExternal(ctx context.Context, key types.NamespacedName, s *scope) error {
	if len(s.entries) == 0 {
		r.streams.end(key)
		r.options.Connections.Drop(key)
		return nil
	}
	s.broker = &v1alpha1.MessageBroker{}
	s.broker.Namespace, s.broker.Name = key.Namespace, key.Name
	c, err := r.options.Connections.To(ctx, s.broker)
	var bad *connection.SecretError
	if errors.As(err, &bad) {
		r.withoutSecret(s, bad, r.options.Connections.Last(key))
		return nil
	}
	s.admin = c
	return err
}

// withoutSecret decides about objects whose connection Secret is missing or wrong. What is deleted goes by the connection
// that there was before, so that a Secret may be deleted together with what it is for; without one, it waits a while.
func (r *Reconciler) withoutSecret(s *scope, bad *connection.SecretError, last *admin.Client) {
	s.pending, s.admin = true, last
	reason := condition.InvalidConnection
	if bad.Missing {
		reason = condition.SecretNotFound
	}
	for _, e := range s.entries {
		if e.deleting && last != nil {
			continue
		}
		e.decide(condition.Waiting(reason, bad.Text))
		r.abandonLate(e)
	}
}

// connect makes sure that the look has a client.
func (r *Reconciler) connect(ctx context.Context, s *scope) (err error) {
	if s.admin == nil {
		s.admin, err = r.options.Connections.To(ctx, s.broker)
	}
	return err
}

// refusal is the reason of objects whose broker cannot be talked to.
func refusal(err error) string {
	var api *admin.Error
	if errors.As(err, &api) && (api.Status == http.StatusUnauthorized || api.Status == http.StatusForbidden) {
		return condition.CredentialsRejected
	}
	return condition.BrokerUnavailable
}
