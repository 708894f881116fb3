package topology

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

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
func (r *Reconciler) findExternal(key types.NamespacedName, s *scope) {
	if !r.index.named(s.realm) {
		r.streams.end(key)
		r.options.Connections.Drop(key)
		return
	}
	s.broker = &v1alpha1.MessageBroker{}
	s.broker.Namespace, s.broker.Name = key.Namespace, key.Name
}

// deleteByLast lets what is deleted go by the connection that there was before its connection Secret went or was spoilt, so
// that a Secret may be deleted together with what it is for; without one, it waits a while.
func (r *Reconciler) deleteByLast(ctx context.Context, s *scope, err error) {
	var bad *connection.SecretError
	if !errors.As(err, &bad) {
		return
	}
	if s.admin, s.incarnation = r.options.Connections.Last(s.realm.key), s.realm.incarnation; s.admin == nil {
		return
	}
	var going []*entry
	for _, e := range s.entries {
		if e.deleting && !e.planned && !e.decided && !e.released && e.failed == nil {
			going = append(going, e)
		}
	}
	if err := r.apply(ctx, s, going); err != nil {
		log.FromContext(ctx).Info("objects are not deleted by the connection that there was", "reason", err.Error())
	}
	s.admin = nil // it serves for nothing else
}

// unreachedText is what objects are told whose broker cannot be talked to.
func unreachedText(key types.NamespacedName, err error) string {
	var bad *connection.SecretError
	if errors.As(err, &bad) {
		return bad.Text
	}
	return fmt.Sprintf("%s does not answer: %v", brokerText(key), reasonOf(err))
}

// refusal is the reason of objects whose broker cannot be talked to.
func refusal(err error) string {
	var bad *connection.SecretError
	switch {
	case !errors.As(err, &bad):
	case bad.Missing:
		return condition.SecretNotFound
	default:
		return condition.InvalidConnection
	}
	var api *admin.Error
	if errors.As(err, &api) && (api.Status == http.StatusUnauthorized || api.Status == http.StatusForbidden) {
		return condition.CredentialsRejected
	}
	return condition.BrokerUnavailable
}

// certain says that asking a broker again soon helps nothing: its objects are told at once.
func certain(err error) bool {
	var bad *connection.SecretError
	return errors.As(err, &bad) || errors.Is(err, connection.ErrHibernated)
}

// tale is another when objects are to be told something else: not for every other text of an unreachable network.
func tale(err error) string {
	var bad *connection.SecretError
	switch {
	case errors.As(err, &bad):
		return bad.Text
	case errors.Is(err, connection.ErrHibernated):
		return connection.ErrHibernated.Error()
	}
	return refusal(err)
}
