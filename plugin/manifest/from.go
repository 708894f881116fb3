package manifest

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// from makes the Kubernetes object that stands for an object of a broker, without its metadata, its broker and its name. It is
// the reverse of the operator's translation.
func from(o object.Object) (v1alpha1.Topology, error) {
	switch o.Kind {
	case object.KindVirtualHost:
		return make1(o, virtualHost)
	case object.KindUser:
		return make1(o, user)
	case object.KindPermission:
		return make1(o, permission)
	case object.KindTopicPolicy:
		return make1(o, topicPolicy)
	case object.KindPolicy:
		return make1(o, policy)
	case object.KindOperatorPolicy:
		return make1(o, operatorPolicy)
	case object.KindExchange:
		return make1(o, exchange)
	case object.KindQueue:
		return make1(o, queue)
	case object.KindBinding:
		return make1(o, binding)
	}
	return nil, fmt.Errorf("kind %q has no Kubernetes object", o.Kind)
}

func make1[S any](o object.Object, f func(object.Object, S) (v1alpha1.Topology, error)) (v1alpha1.Topology, error) {
	spec, err := object.Decode[S](o)
	if err != nil {
		return nil, err
	}
	return f(o, spec)
}

func virtualHost(_ object.Object, s object.VirtualHostSpec) (v1alpha1.Topology, error) {
	out := &v1alpha1.VirtualHost{Spec: v1alpha1.VirtualHostSpec{Description: s.Description, MaxConnections: int32(s.MaxConnections), MaxQueues: int32(s.MaxQueues)}}
	if s.MaxConnections > math.MaxInt32 || s.MaxQueues > math.MaxInt32 {
		return nil, fmt.Errorf("a limit is over %d", math.MaxInt32)
	}
	for _, e := range s.Events {
		out.Spec.Events = append(out.Spec.Events, string(e))
	}
	return out, nil
}

func user(_ object.Object, s object.UserSpec) (v1alpha1.Topology, error) {
	out := &v1alpha1.User{Spec: v1alpha1.UserSpec{Tags: s.Tags, ClientIDs: s.ClientIDs}}
	if s.Limits == (object.UserLimits{}) {
		return out, nil
	}
	if s.Limits.MaxConnections > math.MaxInt32 {
		return nil, fmt.Errorf("limits.maxConnections is over %d", math.MaxInt32)
	}
	l := &v1alpha1.UserLimits{MaxConnections: int32(s.Limits.MaxConnections)}
	l.OnExcess = string(s.Limits.OnExcess)
	var err error
	if l.Client, err = rate(s.Limits.Client); err != nil {
		return nil, fmt.Errorf("limits.client.%w", err)
	}
	if l.User, err = rate(s.Limits.User); err != nil {
		return nil, fmt.Errorf("limits.user.%w", err)
	}
	out.Spec.Limits = l
	return out, nil
}

func rate(r object.Rate) (*v1alpha1.Rate, error) {
	if r == (object.Rate{}) {
		return nil, nil
	}
	out := &v1alpha1.Rate{}
	for _, f := range []struct {
		name string
		from float64
		to   **int64
	}{
		{"messagesPerSecond", r.MessagesPerSecond, &out.MessagesPerSecond}, {"bytesPerSecond", r.BytesPerSecond, &out.BytesPerSecond},
		{"connectsPerSecond", r.ConnectsPerSecond, &out.ConnectsPerSecond},
	} {
		var err error
		if *f.to, err = whole(f.from); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return out, nil
}

// whole is a number that a Kubernetes object can say; none for zero.
func whole(f float64) (*int64, error) {
	if f == 0 {
		return nil, nil
	}
	if f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
		return nil, fmt.Errorf("%v is not a whole number, and nothing else can be written", f)
	}
	return new(int64(f)), nil
}

func permission(o object.Object, s object.PermissionSpec) (v1alpha1.Topology, error) {
	out := &v1alpha1.Permission{Spec: v1alpha1.PermissionSpec{VHost: o.VirtualHost, User: o.Name, Configure: s.Configure, Write: s.Write, Read: s.Read}}
	for _, t := range s.Topics {
		out.Spec.Topics = append(out.Spec.Topics, v1alpha1.TopicRule{Filter: t.Filter, Publish: t.Publish, Subscribe: t.Subscribe})
	}
	return out, nil
}

func topicPolicy(o object.Object, s object.TopicPolicySpec) (v1alpha1.Topology, error) {
	out := &v1alpha1.TopicPolicy{Spec: v1alpha1.TopicPolicySpec{
		VHost: o.VirtualHost, Priority: int32(s.Priority), Filter: s.Filter, Publishers: s.Publishers, Subscribers: s.Subscribers,
		RetainAllowed: s.RetainAllowed, OnExcess: string(s.OnExcess),
	}}
	if s.MaxQoS != nil {
		out.Spec.MaxQoS = new(int32(*s.MaxQoS))
	}
	if s.MessageExpirySeconds != 0 {
		out.Spec.MessageExpirySeconds = &s.MessageExpirySeconds
	}
	if s.MaxPayloadBytes != 0 {
		out.Spec.MaxPayloadBytes = &s.MaxPayloadBytes
	}
	var err error
	if out.Spec.MaxMessagesPerSecond, err = whole(s.MaxMessagesPerSecond); err != nil {
		return nil, fmt.Errorf("maxMessagesPerSecond: %w", err)
	}
	if out.Spec.MaxBytesPerSecond, err = whole(s.MaxBytesPerSecond); err != nil {
		return nil, fmt.Errorf("maxBytesPerSecond: %w", err)
	}
	if r := s.Rewrite; r != nil {
		out.Spec.Rewrite = &v1alpha1.TopicRewrite{To: r.To, Publish: r.Publish, Subscribe: r.Subscribe}
	}
	for _, a := range s.AutoSubscribe {
		out.Spec.AutoSubscribe = append(out.Spec.AutoSubscribe, v1alpha1.AutoSubscription{
			Filter: a.Filter, QoS: int32(a.QoS), NoLocal: a.NoLocal, RetainAsPublished: a.RetainAsPublished, RetainHandling: int32(a.RetainHandling),
		})
	}
	if s.QueuePattern != "" {
		typed, rest := queueSettings(s.QueueArguments)
		if len(rest) > 0 {
			return nil, fmt.Errorf("queues: arguments %v have no field", names(rest))
		}
		out.Spec.Queues = &v1alpha1.QueuePolicy{Pattern: s.QueuePattern, QueueSettings: typed}
	}
	return out, nil
}

func policy(o object.Object, s object.PolicySpec) (v1alpha1.Topology, error) {
	definition, err := Raw(s.Definition)
	if s.ApplyTo == "" {
		s.ApplyTo = object.ApplyToAll
	}
	return &v1alpha1.Policy{Spec: v1alpha1.PolicySpec{
		VHost: o.VirtualHost, Pattern: s.Pattern, ApplyTo: string(s.ApplyTo), Priority: int32(s.Priority), Definition: definition,
	}}, err
}

func operatorPolicy(o object.Object, s object.PolicySpec) (v1alpha1.Topology, error) {
	definition, err := Raw(s.Definition)
	if s.ApplyTo == "" || s.ApplyTo == object.ApplyToAll {
		s.ApplyTo = object.ApplyToQueues // what it limits are queues
	}
	return &v1alpha1.OperatorPolicy{Spec: v1alpha1.OperatorPolicySpec{
		VHost: o.VirtualHost, Pattern: s.Pattern, ApplyTo: string(s.ApplyTo), Priority: int32(s.Priority), Definition: definition,
	}}, err
}

func exchange(o object.Object, s object.ExchangeSpec) (v1alpha1.Topology, error) {
	out, err := Exchange(s)
	out.Spec.VHost = o.VirtualHost
	return out, err
}

// Exchange makes an exchange of the spec that it has in a broker.
func Exchange(s object.ExchangeSpec) (*v1alpha1.Exchange, error) {
	out := &v1alpha1.Exchange{Spec: v1alpha1.ExchangeSpec{Type: s.Type, Durable: unlessTrue(s.Durable), AutoDelete: s.AutoDelete, Internal: s.Internal}}
	rest := clone(s.Arguments)
	out.Spec.AlternateExchange = takeText(rest, object.AlternateExchange)
	out.Spec.DelayedType = takeText(rest, object.DelayedType)
	var err error
	out.Spec.Arguments, err = Raw(rest)
	return out, err
}

func queue(o object.Object, s object.QueueSpec) (v1alpha1.Topology, error) {
	out, err := Queue(s)
	out.Spec.VHost = o.VirtualHost
	return out, err
}

// Queue makes a queue of the spec that it has in a broker.
func Queue(s object.QueueSpec) (*v1alpha1.Queue, error) {
	typed, rest := queueSettings(s.Arguments)
	arguments, err := Raw(rest)
	return &v1alpha1.Queue{Spec: v1alpha1.QueueSpec{
		Durable: unlessTrue(s.Durable), AutoDelete: s.AutoDelete, QueueSettings: typed, Arguments: arguments,
	}}, err
}

func binding(o object.Object, s object.BindingSpec) (v1alpha1.Topology, error) {
	arguments, err := Raw(s.Arguments)
	return &v1alpha1.Binding{Spec: v1alpha1.BindingSpec{
		VHost: o.VirtualHost, Source: s.Source, Destination: s.Destination, DestinationType: string(s.DestinationType), RoutingKey: s.RoutingKey, Arguments: arguments,
	}}, err
}

// unlessTrue leaves out what is the default.
func unlessTrue(b bool) *bool {
	if b {
		return nil
	}
	return &b
}

// queueSettings takes the arguments of a queue that have a field, with values that the field can have; the rest stays.
func queueSettings(a object.Arguments) (s v1alpha1.QueueSettings, rest object.Arguments) {
	rest = clone(a)
	const longest = int64(1193 * time.Hour / time.Millisecond)
	s.MessageTTL = millis(takeInt(rest, "x-message-ttl", 0, longest))
	s.Expires = millis(takeInt(rest, "x-expires", 1, longest))
	s.MaxLength = takeInt(rest, "x-max-length", 0, math.MaxInt64)
	s.MaxLengthBytes = takeInt(rest, "x-max-length-bytes", 0, math.MaxInt64)
	s.DeliveryLimit = takeInt(rest, "x-delivery-limit", -1, math.MaxUint32)
	if p := takeInt(rest, "x-max-priority", 1, math.MaxUint8); p != nil {
		s.MaxPriority = new(int32(*p))
	}
	if b, ok := rest["x-single-active-consumer"].(bool); ok {
		s.SingleActiveConsumer = &b
		delete(rest, "x-single-active-consumer")
	}
	if k := takeText(rest, "x-last-value-key"); k != nil && *k != "" {
		s.LastValueKey = k
	}
	if n := takeInt(rest, "x-group-buckets", 1, object.MaxGroupBuckets); n != nil {
		s.MessageGroups = &v1alpha1.MessageGroups{Buckets: *n}
		if b, ok := rest["x-group-rebalance"].(bool); ok {
			s.MessageGroups.Rebalance = &b
			delete(rest, "x-group-rebalance")
		}
	}
	overflows := []any{"drop-head", "reject-publish", "reject-publish-dlx"}
	if o := rest["x-overflow"]; slices.Contains(overflows, o) && (s.MaxLength != nil || s.MaxLengthBytes != nil) {
		s.Overflow = o.(string)
		delete(rest, "x-overflow")
	}
	if x := takeText(rest, "x-dead-letter-exchange"); x != nil {
		s.DeadLetter = &v1alpha1.DeadLetter{Exchange: *x, RoutingKey: takeText(rest, "x-dead-letter-routing-key")}
	}
	return s, rest
}

func takeInt(a object.Arguments, name string, least, most int64) *int64 {
	n, ok := a[name].(int64)
	if !ok || n < least || n > most {
		return nil
	}
	delete(a, name)
	return &n
}

func takeText(a object.Arguments, name string) *string {
	const longest = 255
	s, ok := a[name].(string)
	if !ok || len(s) > longest {
		return nil
	}
	delete(a, name)
	return &s
}

func millis(n *int64) *metav1.Duration {
	if n == nil {
		return nil
	}
	return &metav1.Duration{Duration: time.Duration(*n) * time.Millisecond}
}

func clone(a object.Arguments) object.Arguments {
	out := make(object.Arguments, len(a))
	for k, v := range a {
		out[k] = v
	}
	return out
}

func names(a object.Arguments) []string {
	var out []string
	for k := range a {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Raw is arguments as a Kubernetes object has them.
func Raw(a object.Arguments) (map[string]apiextensionsv1.JSON, error) {
	if len(a) == 0 {
		return nil, nil
	}
	out := make(map[string]apiextensionsv1.JSON, len(a))
	for k, v := range a {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("argument %q: %w", k, err)
		}
		out[k] = apiextensionsv1.JSON{Raw: b}
	}
	return out, nil
}
