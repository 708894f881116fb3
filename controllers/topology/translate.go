package topology

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// kind is what one Kubernetes kind supplies to the common reconciler.
type kind struct {
	name   object.Kind
	plural string // in URLs of the API
	sample v1alpha1.Topology
	list   client.ObjectList // of a watch
	// translate says what the broker should have for an object.
	translate func(o v1alpha1.Topology, s *scope) (object.Object, error)
}

// kinds are all kinds that live in a broker.
var kinds = []kind{
	{object.KindVirtualHost, "virtualhosts", &v1alpha1.VirtualHost{}, &v1alpha1.VirtualHostList{}, virtualHost},
	{object.KindUser, "users", &v1alpha1.User{}, &v1alpha1.UserList{}, user},
	{object.KindPermission, "permissions", &v1alpha1.Permission{}, &v1alpha1.PermissionList{}, permission},
	{object.KindTopicPolicy, "topicpolicies", &v1alpha1.TopicPolicy{}, &v1alpha1.TopicPolicyList{}, topicPolicy},
	{object.KindPolicy, "policies", &v1alpha1.Policy{}, &v1alpha1.PolicyList{}, policy},
	{object.KindOperatorPolicy, "operatorpolicies", &v1alpha1.OperatorPolicy{}, &v1alpha1.OperatorPolicyList{}, operatorPolicy},
	{object.KindExchange, "exchanges", &v1alpha1.Exchange{}, &v1alpha1.ExchangeList{}, exchange},
	{object.KindQueue, "queues", &v1alpha1.Queue{}, &v1alpha1.QueueList{}, queue},
	{object.KindBinding, "bindings", &v1alpha1.Binding{}, &v1alpha1.BindingList{}, binding},
}

func virtualHost(o v1alpha1.Topology, _ *scope) (object.Object, error) {
	s := o.(*v1alpha1.VirtualHost).Spec
	spec := object.VirtualHostSpec{Description: s.Description, MaxConnections: int(s.MaxConnections), MaxQueues: int(s.MaxQueues)}
	for _, e := range slices.Sorted(slices.Values(s.Events)) {
		spec.Events = append(spec.Events, object.EventKind(e))
	}
	return object.New(object.KindVirtualHost, "", o.NameInBroker(), spec)
}

func user(o v1alpha1.Topology, _ *scope) (object.Object, error) {
	s := o.(*v1alpha1.User).Spec
	spec := object.UserSpec{Tags: s.Tags, ClientIDs: slices.Sorted(slices.Values(s.ClientIDs))}
	if l := s.Limits; l != nil {
		spec.Limits = object.UserLimits{
			MaxConnections: int(l.MaxConnections), Client: rateOf(l.Client), User: rateOf(l.User), OnExcess: object.OnExcess(l.OnExcess),
		}
	}
	return object.New(object.KindUser, "", o.NameInBroker(), spec)
}

func rateOf(r *v1alpha1.Rate) object.Rate {
	if r == nil {
		return object.Rate{}
	}
	return object.Rate{
		MessagesPerSecond: float64(valueOf(r.MessagesPerSecond)), BytesPerSecond: float64(valueOf(r.BytesPerSecond)),
		ConnectsPerSecond: float64(valueOf(r.ConnectsPerSecond)),
	}
}

func permission(o v1alpha1.Topology, sc *scope) (object.Object, error) {
	p := o.(*v1alpha1.Permission)
	name := p.Spec.User
	if ref := p.Spec.UserRef; ref != nil {
		u := sc.users[types.NamespacedName{Namespace: p.Namespace, Name: ref.Name}]
		if u == nil {
			return object.Object{}, &missingError{fmt.Sprintf("User %q does not exist in namespace %q", ref.Name, p.Namespace), userKey(p.Namespace, ref.Name)}
		}
		name = u.NameInBroker()
	}
	spec := object.PermissionSpec{Configure: p.Spec.Configure, Write: p.Spec.Write, Read: p.Spec.Read}
	for _, r := range p.Spec.Topics {
		spec.Topics = append(spec.Topics, object.TopicRule{Filter: r.Filter, Publish: r.Publish, Subscribe: r.Subscribe})
	}
	return object.New(object.KindPermission, p.Spec.VHost, name, spec)
}

func topicPolicy(o v1alpha1.Topology, _ *scope) (object.Object, error) {
	s := o.(*v1alpha1.TopicPolicy).Spec
	spec := object.TopicPolicySpec{
		Priority: int(s.Priority), Filter: s.Filter, Publishers: s.Publishers, Subscribers: s.Subscribers, RetainAllowed: s.RetainAllowed,
		MessageExpirySeconds: valueOf(s.MessageExpirySeconds), MaxPayloadBytes: valueOf(s.MaxPayloadBytes),
		MaxMessagesPerSecond: float64(valueOf(s.MaxMessagesPerSecond)), MaxBytesPerSecond: float64(valueOf(s.MaxBytesPerSecond)),
		OnExcess: object.OnExcess(s.OnExcess),
	}
	if s.MaxQoS != nil {
		q := uint8(*s.MaxQoS)
		spec.MaxQoS = &q
	}
	if r := s.Rewrite; r != nil {
		spec.Rewrite = &object.TopicRewrite{To: r.To, Publish: r.Publish, Subscribe: r.Subscribe}
	}
	for _, a := range s.AutoSubscribe {
		spec.AutoSubscribe = append(spec.AutoSubscribe, object.AutoSubscription{
			Filter: a.Filter, QoS: uint8(a.QoS), NoLocal: a.NoLocal, RetainAsPublished: a.RetainAsPublished, RetainHandling: uint8(a.RetainHandling),
		})
	}
	if s.Queues != nil {
		spec.QueuePattern = s.Queues.Pattern
		spec.QueueArguments = object.Arguments{}
		settings(spec.QueueArguments, s.Queues.QueueSettings)
	}
	return object.New(object.KindTopicPolicy, s.VHost, o.NameInBroker(), spec)
}

func policy(o v1alpha1.Topology, _ *scope) (object.Object, error) {
	s := o.(*v1alpha1.Policy).Spec
	return policyObject(object.KindPolicy, o, s.VHost, s.Pattern, s.ApplyTo, s.Priority, s.Definition)
}

func operatorPolicy(o v1alpha1.Topology, _ *scope) (object.Object, error) {
	s := o.(*v1alpha1.OperatorPolicy).Spec
	return policyObject(object.KindOperatorPolicy, o, s.VHost, s.Pattern, s.ApplyTo, s.Priority, s.Definition)
}

func policyObject(kind object.Kind, o v1alpha1.Topology, vhost, pattern, applyTo string, priority int32, raw map[string]apiextensionsv1.JSON) (object.Object, error) {
	definition, err := rawArguments(raw)
	if err != nil {
		return object.Object{}, fmt.Errorf("definition: %w", err)
	}
	return object.New(kind, vhost, o.NameInBroker(), object.PolicySpec{Pattern: pattern, ApplyTo: object.ApplyTo(applyTo), Priority: int(priority), Definition: definition})
}

func exchange(o v1alpha1.Topology, _ *scope) (object.Object, error) {
	s := o.(*v1alpha1.Exchange).Spec
	arguments, err := rawArguments(s.Arguments)
	if err != nil {
		return object.Object{}, err
	}
	setValue(arguments, object.AlternateExchange, s.AlternateExchange)
	setValue(arguments, object.DelayedType, s.DelayedType)
	return object.New(object.KindExchange, s.VHost, o.NameInBroker(), object.ExchangeSpec{
		Type: s.Type, Durable: s.Durable == nil || *s.Durable, AutoDelete: s.AutoDelete, Internal: s.Internal, Arguments: arguments,
	})
}

func queue(o v1alpha1.Topology, _ *scope) (object.Object, error) {
	s := o.(*v1alpha1.Queue).Spec
	arguments, err := rawArguments(s.Arguments)
	if err != nil {
		return object.Object{}, err
	}
	settings(arguments, s.QueueSettings)
	return object.New(object.KindQueue, s.VHost, o.NameInBroker(), object.QueueSpec{
		Durable: s.Durable == nil || *s.Durable, AutoDelete: s.AutoDelete, Arguments: arguments,
	})
}

func binding(o v1alpha1.Topology, _ *scope) (object.Object, error) {
	s := o.(*v1alpha1.Binding).Spec
	arguments, err := rawArguments(s.Arguments)
	if err != nil {
		return object.Object{}, err
	}
	spec := object.BindingSpec{
		Source: s.Source, DestinationType: object.DestinationType(s.DestinationType), Destination: s.Destination,
		RoutingKey: s.RoutingKey, Arguments: arguments,
	}
	return object.New(object.KindBinding, s.VHost, spec.Name(), spec)
}

// defaultGroupBuckets is the default of the CRD, for manifests that no API server has seen.
const defaultGroupBuckets = int64(1024)

// settings writes the typed arguments of a queue; a typed one wins over a raw one of the same name.
func settings(a object.Arguments, s v1alpha1.QueueSettings) {
	millis := func(name string, d *metav1.Duration) {
		if d != nil {
			a[name] = int64(d.Duration / time.Millisecond)
		}
	}
	millis("x-message-ttl", s.MessageTTL)
	millis("x-expires", s.Expires)
	setValue(a, "x-max-length", s.MaxLength)
	setValue(a, "x-max-length-bytes", s.MaxLengthBytes)
	setValue(a, "x-delivery-limit", s.DeliveryLimit)
	if s.MaxPriority != nil {
		a["x-max-priority"] = int64(*s.MaxPriority)
	}
	setValue(a, "x-single-active-consumer", s.SingleActiveConsumer)
	setValue(a, "x-last-value-key", s.LastValueKey)
	if g := s.MessageGroups; g != nil {
		a["x-group-buckets"] = cmp.Or(g.Buckets, defaultGroupBuckets)
		setValue(a, "x-group-rebalance", g.Rebalance)
	}
	if s.Overflow != "" {
		a["x-overflow"] = s.Overflow
	}
	if d := s.DeadLetter; d != nil {
		a["x-dead-letter-exchange"] = d.Exchange
		setValue(a, "x-dead-letter-routing-key", d.RoutingKey)
	}
}

func setValue[T any](a object.Arguments, name string, v *T) {
	if v != nil {
		a[name] = *v
	}
}

func valueOf(v *int64) int64 {
	if v == nil {
		return 0
	}
	return *v
}

func rawArguments(raw map[string]apiextensionsv1.JSON) (object.Arguments, error) {
	b, err := json.Marshal(raw)
	if err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	a := object.Arguments{}
	if len(raw) == 0 {
		return a, nil
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	return a, nil
}

// missingError says that something in Kubernetes is missing to know what the broker should have.
type missingError struct {
	text string
	key  object.Sum // of it, see realm.waiting
}

func (e *missingError) Error() string { return e.text }
