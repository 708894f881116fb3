// Package object holds the declarative objects of a broker: virtual hosts, exchanges, queues, bindings, users,
// permissions and policies, as the admin API takes them, the catalogue stores them and the operator sends them.
//
// It is a leaf: plain data with JSON tags, equality and digests. It knows nothing of how an object is served.
package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Kind names one kind of object, spelled as in the JSON of the admin API and as the Kubernetes kind.
type Kind string

// The kinds, in the order in which they can be applied: an object depends only on kinds before its own.
const (
	KindVirtualHost    Kind = "VirtualHost"
	KindUser           Kind = "User"
	KindPermission     Kind = "Permission"
	KindTopicPolicy    Kind = "TopicPolicy"
	KindPolicy         Kind = "Policy"
	KindOperatorPolicy Kind = "OperatorPolicy"
	KindExchange       Kind = "Exchange"
	KindQueue          Kind = "Queue"
	KindBinding        Kind = "Binding"
)

// Kinds lists every kind in dependency order.
var Kinds = []Kind{KindVirtualHost, KindUser, KindPermission, KindTopicPolicy, KindPolicy, KindOperatorPolicy, KindExchange, KindQueue, KindBinding}

// Rank is the place of a kind in dependency order; kinds that do not exist rank last.
func (k Kind) Rank() int {
	for i, o := range Kinds {
		if o == k {
			return i
		}
	}
	return len(Kinds)
}

// Key identifies an object inside one broker. VirtualHost is empty for kinds that do not live in one (VirtualHost, User).
// The name of a Permission is its user; the name of a Binding is BindingSpec.Name.
type Key struct {
	Kind        Kind   `json:"kind"`
	VirtualHost string `json:"vhost,omitempty"`
	Name        string `json:"name"`
}

func (k Key) String() string {
	if k.VirtualHost == "" {
		return fmt.Sprintf("%s %q", k.Kind, k.Name)
	}
	return fmt.Sprintf("%s %q in vhost %q", k.Kind, k.Name, k.VirtualHost)
}

// Compare orders keys by dependency rank, virtual host and name.
func (k Key) Compare(o Key) int {
	if d := k.Kind.Rank() - o.Kind.Rank(); d != 0 {
		return d
	}
	if d := strings.Compare(k.VirtualHost, o.VirtualHost); d != 0 {
		return d
	}
	return strings.Compare(k.Name, o.Name)
}

// Object is one object with who owns it. Spec is the JSON of the kind's spec type (VirtualHostSpec, …).
type Object struct {
	Key
	// Owner is who manages the object, empty when a client declared it. The operator uses one owner for all its objects.
	Owner string `json:"owner,omitempty"`
	// Ref says for which of the owner's resources the object stands, such as "namespace/name".
	Ref  string          `json:"ref,omitempty"`
	Spec json.RawMessage `json:"spec"`
	// Revision is the revision of the broker's metadata that wrote the object last; zero in a request.
	Revision uint64 `json:"revision,omitempty"`
	// ID is given at creation and never reused: an object that was deleted and made again has another. Zero in a request.
	ID uint64 `json:"id,omitempty"`
}

// DefaultVirtualHost is the one that every broker has from its first start.
const DefaultVirtualHost = "/"

// VirtualHostSpec is a name space with limits of its own.
type VirtualHostSpec struct {
	Description string `json:"description,omitempty"`
	// MaxConnections bounds open connections, MaxQueues bounds queues; zero is unlimited.
	MaxConnections int `json:"maxConnections,omitempty"`
	MaxQueues      int `json:"maxQueues,omitempty"`
	// Events are those of clients that the broker publishes in the virtual host, on topics below $events/; none is none.
	Events []EventKind `json:"events,omitempty"`
}

// EventKind is what can happen to a client.
type EventKind string

// What can happen.
const (
	EventConnected    EventKind = "connected"
	EventDisconnected EventKind = "disconnected"
	EventSubscribed   EventKind = "subscribed"
	EventUnsubscribed EventKind = "unsubscribed"
)

// EventKinds lists them.
var EventKinds = []EventKind{EventConnected, EventDisconnected, EventSubscribed, EventUnsubscribed}

// ExchangeSpec is an AMQP exchange.
type ExchangeSpec struct {
	Type       string    `json:"type"` // direct, topic, fanout, headers
	Durable    bool      `json:"durable"`
	AutoDelete bool      `json:"autoDelete,omitempty"`
	Internal   bool      `json:"internal,omitempty"`
	Arguments  Arguments `json:"arguments,omitempty"`
}

// QueueSpec is an AMQP queue. Exclusive queues belong to a connection and are never objects.
type QueueSpec struct {
	Durable    bool      `json:"durable"`
	AutoDelete bool      `json:"autoDelete,omitempty"`
	Arguments  Arguments `json:"arguments,omitempty"`
}

// DestinationType says what a binding feeds.
type DestinationType string

// The destinations of a binding.
const (
	DestinationQueue    DestinationType = "queue"
	DestinationExchange DestinationType = "exchange"
)

// BindingSpec binds an exchange (Source) to a queue or an exchange. RoutingKey is in AMQP form (dots).
type BindingSpec struct {
	Source          string          `json:"source"`
	DestinationType DestinationType `json:"destinationType"`
	Destination     string          `json:"destination"`
	RoutingKey      string          `json:"routingKey,omitempty"`
	Arguments       Arguments       `json:"arguments,omitempty"`
}

// Name is the binding's identity, since a binding has no name of its own: every field that tells two bindings apart.
func (b BindingSpec) Name() string {
	n := fmt.Sprintf("%s|%s|%s|%s", escape(b.Source), b.DestinationType, escape(b.Destination), escape(b.RoutingKey))
	if len(b.Arguments) > 0 {
		n += "|" + string(b.Arguments.canonical())
	}
	return n
}

var escaper = strings.NewReplacer(`\`, `\\`, `|`, `\|`)

func escape(s string) string { return escaper.Replace(s) }

// UserSpec is somebody who may connect. Password is accepted in a request and never stored or answered; PasswordHash is
// what is stored, in the form of package auth, and Scram beside it: keys of the same password, at most one entry for each
// mechanism, in the form of ScramKeys. None of them takes part in digests and comparisons of specs.
type UserSpec struct {
	Password     string   `json:"password,omitempty"`
	PasswordHash string   `json:"passwordHash,omitempty"`
	Scram        []string `json:"scram,omitempty"`
	// OverlapSeconds, in a request, is how long the password of before is right beside a new one.
	OverlapSeconds int64 `json:"overlapSeconds,omitempty"`
	// Previous is what is stored of the password of before while it is right. The broker alone writes it.
	Previous *PreviousPassword `json:"previous,omitempty"`
	Tags     []string          `json:"tags,omitempty"` // administrator, monitoring, management, policymaker
	// Limits of the user's connections and of what comes over them.
	Limits UserLimits `json:"limits,omitzero"`
	// ClientIDs are patterns of the MQTT client ids that the user may have; none is any.
	ClientIDs []string `json:"clientIds,omitempty"`
}

// PreviousPassword is a password that is right for some time after another took its place.
type PreviousPassword struct {
	Hash  string   `json:"hash"`
	Scram []string `json:"scram,omitempty"`
	Until int64    `json:"until"` // seconds since 1970
}

// PermissionSpec says what a user may do in a virtual host: regular expressions over names, as in RabbitMQ
// (anchored only where they say so; empty matches nothing), and topic rules beside them.
type PermissionSpec struct {
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
	// Topics restrict publishing and subscribing by MQTT topic filter (AMQP routing keys are seen as topics).
	// None means that the three expressions alone decide; otherwise a topic needs a rule that allows it.
	Topics []TopicRule `json:"topics,omitempty"`
}

// TopicRule allows topics. %u stands for the user's name and %c for the MQTT client id; what they expand to is literal.
type TopicRule struct {
	Filter    string `json:"filter"`
	Publish   bool   `json:"publish,omitempty"`
	Subscribe bool   `json:"subscribe,omitempty"`
}

// TopicPolicySpec limits what happens on topics that match Filter and queues whose name matches QueuePattern, renames
// topics, and subscribes clients.
// Where several policies match, the highest Priority wins, then the smaller name.
type TopicPolicySpec struct {
	Priority int `json:"priority,omitempty"`
	// Filter is an MQTT topic filter; it covers AMQP routing keys of topic exchanges as well (dots are slashes there).
	Filter string `json:"filter,omitempty"`
	// Publishers and Subscribers are users who may; empty means everybody whom permissions allow.
	Publishers  []string `json:"publishers,omitempty"`
	Subscribers []string `json:"subscribers,omitempty"`
	// MaxQoS lowers what SUBSCRIBE is granted; RetainAllowed false drops the retain flag of a publish.
	MaxQoS        *uint8 `json:"maxQoS,omitempty"`
	RetainAllowed *bool  `json:"retainAllowed,omitempty"`
	// MessageExpirySeconds is the longest time a message lives; MaxPayloadBytes refuses larger ones.
	MessageExpirySeconds int64 `json:"messageExpirySeconds,omitempty"`
	MaxPayloadBytes      int64 `json:"maxPayloadBytes,omitempty"`
	// MaxMessagesPerSecond and MaxBytesPerSecond hold each publishing connection to a rate; zero is unlimited. OnExcess says
	// how, slow-down when it is empty.
	MaxMessagesPerSecond float64  `json:"maxMessagesPerSecond,omitempty"`
	MaxBytesPerSecond    float64  `json:"maxBytesPerSecond,omitempty"`
	OnExcess             OnExcess `json:"onExcess,omitempty"`
	// QueuePattern is a regular expression over queue names; QueueArguments are used where the queue did not set them.
	QueuePattern   string    `json:"queuePattern,omitempty"`
	QueueArguments Arguments `json:"queueArguments,omitempty"`
	// Rewrite gives topics that match Filter another name, for MQTT clients.
	Rewrite *TopicRewrite `json:"rewrite,omitempty"`
	// AutoSubscribe are what MQTT clients are subscribed to when they connect; all of the virtual host, or Subscribers.
	AutoSubscribe []AutoSubscription `json:"autoSubscribe,omitempty"`
}

// New makes an object of a spec.
func New(kind Kind, vhost, name string, spec any) (Object, error) {
	raw, err := json.Marshal(spec)
	if err != nil {
		return Object{}, fmt.Errorf("encode spec of %s %q: %w", kind, name, err)
	}
	return Object{Key: Key{Kind: kind, VirtualHost: vhost, Name: name}, Spec: raw}, nil
}

// Decode reads the object's spec into the spec type T of its kind and refuses fields that T does not have.
func Decode[T any](o Object) (T, error) {
	var spec T
	d := json.NewDecoder(bytes.NewReader(o.Spec))
	d.DisallowUnknownFields()
	if err := d.Decode(&spec); err != nil {
		return spec, fmt.Errorf("spec of %s: %w", o.Key, err)
	}
	return spec, nil
}
