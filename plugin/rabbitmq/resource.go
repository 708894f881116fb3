package rabbitmq

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/topology"
	"github.com/turnstone-mq/turnstone/plugin/manifest"
)

// group is that of RabbitMQ's operators.
const group = "rabbitmq.com"

// IsResource says whether a document is a resource of RabbitMQ's operators.
func IsResource(d manifest.Document) bool {
	g, _, _ := strings.Cut(d.APIVersion, "/")
	return g == group
}

// metadata is what is kept of a resource's.
type metadata struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// reference names the RabbitmqCluster.
type reference struct {
	Name             string    `json:"name,omitempty"`
	Namespace        string    `json:"namespace,omitempty"`
	ConnectionSecret *struct{} `json:"connectionSecret,omitempty"`
}

type local struct {
	Name string `json:"name"`
}

type queueSpec struct {
	Name           string                `json:"name"`
	VHost          string                `json:"vhost,omitempty"`
	Type           string                `json:"type,omitempty"`
	Durable        *bool                 `json:"durable,omitempty"`
	AutoDelete     bool                  `json:"autoDelete,omitempty"`
	DeleteIfEmpty  bool                  `json:"deleteIfEmpty,omitempty"`
	DeleteIfUnused bool                  `json:"deleteIfUnused,omitempty"`
	Arguments      *runtime.RawExtension `json:"arguments,omitempty"`
	DeletionPolicy string                `json:"deletionPolicy,omitempty"`
	Cluster        reference             `json:"rabbitmqClusterReference"`
}

type exchangeSpec struct {
	Name           string                `json:"name"`
	VHost          string                `json:"vhost,omitempty"`
	Type           string                `json:"type,omitempty"`
	Durable        *bool                 `json:"durable,omitempty"`
	AutoDelete     bool                  `json:"autoDelete,omitempty"`
	Arguments      *runtime.RawExtension `json:"arguments,omitempty"`
	DeletionPolicy string                `json:"deletionPolicy,omitempty"`
	Cluster        reference             `json:"rabbitmqClusterReference"`
}

type bindingSpec struct {
	VHost           string                `json:"vhost,omitempty"`
	Source          string                `json:"source,omitempty"`
	Destination     string                `json:"destination,omitempty"`
	DestinationType string                `json:"destinationType,omitempty"`
	RoutingKey      string                `json:"routingKey,omitempty"`
	Arguments       *runtime.RawExtension `json:"arguments,omitempty"`
	Cluster         reference             `json:"rabbitmqClusterReference"`
}

type vhostSpec struct {
	Name             string   `json:"name"`
	Tracing          bool     `json:"tracing,omitempty"`
	Tags             []string `json:"tags,omitempty"`
	DefaultQueueType string   `json:"defaultQueueType,omitempty"`
	Limits           *struct {
		Connections *int32 `json:"connections,omitempty"`
		Queues      *int32 `json:"queues,omitempty"`
	} `json:"limits,omitempty"`
	DeletionPolicy string    `json:"deletionPolicy,omitempty"`
	Cluster        reference `json:"rabbitmqClusterReference"`
}

type userSpec struct {
	Tags              []string `json:"tags,omitempty"`
	ImportCredentials *local   `json:"importCredentialsSecret,omitempty"`
	Limits            *struct {
		Connections *int32 `json:"connections,omitempty"`
		Channels    *int32 `json:"channels,omitempty"`
	} `json:"limits,omitempty"`
	Cluster reference `json:"rabbitmqClusterReference"`
}

type permissionSpec struct {
	VHost       string `json:"vhost"`
	User        string `json:"user,omitempty"`
	UserRef     *local `json:"userReference,omitempty"`
	Permissions struct {
		Configure string `json:"configure,omitempty"`
		Write     string `json:"write,omitempty"`
		Read      string `json:"read,omitempty"`
	} `json:"permissions"`
	Cluster reference `json:"rabbitmqClusterReference"`
}

type policySpec struct {
	Name       string                `json:"name"`
	VHost      string                `json:"vhost,omitempty"`
	Pattern    string                `json:"pattern"`
	ApplyTo    string                `json:"applyTo,omitempty"`
	Priority   int32                 `json:"priority,omitempty"`
	Definition *runtime.RawExtension `json:"definition"`
	Cluster    reference             `json:"rabbitmqClusterReference"`
}

// untranslated are the kinds that stand for something that is not here.
var untranslated = map[string]string{
	"TopicPermission":   "regular expressions over topics are not supported: say it in spec.topics of the Permission, by MQTT topic filters",
	"Federation":        "there is no federation here",
	"Shovel":            "there are no shovels here",
	"SchemaReplication": "there is no replication of schemas here",
	"SuperStream":       "streams do not exist",
	"RabbitmqCluster":   "a cluster of RabbitMQ is not translated: write a MessageBroker (config/samples/broker.yaml), and give its name with --broker",
}

// Resources translates resources of RabbitMQ's messaging topology operator. Names in Kubernetes, labels and namespaces stay. Without
// a broker in the target, the MessageBroker is called as the RabbitmqCluster was.
func Resources(docs []manifest.Document, t manifest.Target) Result {
	var r Result
	for _, d := range docs {
		at := fmt.Sprintf("%s %s %s", d.At, d.Kind, d.Name)
		if !IsResource(d) {
			r.skip(at, "%s is not an API of RabbitMQ", d.APIVersion)
			continue
		}
		o, err := (&translation{at: at, target: t, result: &r}).translate(d)
		if err == nil && o != nil {
			_, err = topology.Translate(o, map[string]*v1alpha1.User{userRefOf(o): {}})
		}
		if err != nil {
			r.skip(at, "%v", err)
			continue
		}
		if o != nil {
			r.Objects = append(r.Objects, o)
		}
	}
	return r
}

func userRefOf(o v1alpha1.Topology) string {
	if p, ok := o.(*v1alpha1.Permission); ok && p.Spec.UserRef != nil {
		return p.Spec.UserRef.Name
	}
	return ""
}

// translation is that of one resource.
type translation struct {
	at     string
	target manifest.Target
	result *Result
	meta   metadata
}

func (t *translation) skip(field, format string, args ...any) {
	t.result.skip(t.at+" "+field, format, args...)
}

func (t *translation) translate(d manifest.Document) (v1alpha1.Topology, error) {
	if why, ok := untranslated[d.Kind]; ok {
		return nil, errors.New(why)
	}
	switch d.Kind {
	case "Queue":
		return read(t, d, t.queue)
	case "Exchange":
		return read(t, d, t.exchange)
	case "Binding":
		return read(t, d, t.binding)
	case "Vhost":
		return read(t, d, t.virtualHost)
	case "User":
		return read(t, d, t.user)
	case "Permission":
		return read(t, d, t.permission)
	case "Policy":
		return read(t, d, t.policy)
	case "OperatorPolicy":
		return read(t, d, t.operatorPolicy)
	}
	return nil, fmt.Errorf("kind %s is not known", d.Kind)
}

// read decodes a resource, tells of fields that are not known, and finishes what f makes of it.
func read[S any](t *translation, d manifest.Document, f func(S) (v1alpha1.Topology, reference, error)) (v1alpha1.Topology, error) {
	var resource struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Metadata   metadata        `json:"metadata"`
		Spec       json.RawMessage `json:"spec"`
	}
	if err := yaml.Unmarshal(d.JSON, &resource); err != nil {
		return nil, err
	}
	if resource.Metadata.Name == "" {
		return nil, errors.New("it has no metadata.name")
	}
	var spec S
	if err := json.Unmarshal(resource.Spec, &spec); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	t.meta = resource.Metadata
	for _, field := range unknown(resource.Spec, spec) {
		t.skip("spec."+field, "the field is not known")
	}
	o, cluster, err := f(spec)
	if err != nil {
		return nil, err
	}
	return o, t.finish(o, d.Kind, cluster)
}

// unknown are the fields of a JSON object that a type does not have.
func unknown(text json.RawMessage, v any) []string {
	var has map[string]json.RawMessage
	if json.Unmarshal(text, &has) != nil {
		return nil
	}
	known := fieldsOf(v)
	var out []string
	for name := range has {
		if !slices.Contains(known, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// finish gives an object its metadata and its broker.
func (t *translation) finish(o v1alpha1.Topology, kind string, cluster reference) error {
	if kind == "Vhost" {
		kind = string(object.KindVirtualHost)
	}
	o.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	o.SetName(t.meta.Name)
	o.SetLabels(t.meta.Labels)
	namespace := t.meta.Namespace
	if t.target.Namespace != "" {
		namespace = t.target.Namespace
	}
	o.SetNamespace(namespace)
	broker := t.target.Broker
	switch {
	case broker != "":
	case cluster.Name != "":
		broker = cluster.Name
	default:
		return errors.New("it names no RabbitmqCluster: say --broker")
	}
	if cluster.Namespace != "" && cluster.Namespace != namespace {
		t.skip("spec.rabbitmqClusterReference.namespace", "an object lives in the namespace of its MessageBroker: apply it there")
	}
	manifest.Place(o, broker)
	manifest.Default(o)
	return nil
}

// nameIn is a name in the broker, unset where it is that of the Kubernetes object.
func (t *translation) nameIn(name string) string {
	if name == t.meta.Name {
		return ""
	}
	return name
}

func arguments(raw *runtime.RawExtension) (object.Arguments, error) {
	if raw == nil || len(raw.Raw) == 0 {
		return nil, nil
	}
	var a object.Arguments
	err := json.Unmarshal(raw.Raw, &a)
	return a, err
}

// deletion translates the deletion policy; RabbitMQ's has delete and retain.
func deletion(policy string) v1alpha1.DeletionPolicy {
	if policy == "retain" {
		return v1alpha1.DeletionRetain
	}
	return ""
}
