// Package resource builds the Kubernetes objects of a broker: pure functions of the MessageBroker and of what was made
// for it. Nothing here talks to an API; the golden files in testdata show what comes out.
package resource

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// Labels of everything that belongs to a broker.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelManagedBy = "app.kubernetes.io/managed-by"

	ManagedBy = "turnstone-operator"
	appName   = "turnstone"
)

// Ports of a broker.
const (
	PortMQTT  = 1883
	PortMQTTS = 8883
	PortAMQP  = 5672
	PortAMQPS = 5671
	PortAdmin = 15671
)

var ports = []struct {
	name   string
	number int32
}{{"mqtt", PortMQTT}, {"mqtts", PortMQTTS}, {"amqp", PortAMQP}, {"amqps", PortAMQPS}, {"https", PortAdmin}}

// The names of a broker's objects; the Service, the StatefulSet, the ConfigMap and the rest have its own.
func AdminSecret(broker string) string       { return broker + "-admin" }
func DefaultUserSecret(broker string) string { return broker + "-default-user" }
func AuthoritySecret(broker string) string   { return broker + "-ca" }
func ServerSecret(broker string) string      { return broker + "-tls" }
func NodesService(broker string) string      { return broker + "-nodes" }

// Host is the DNS name of a broker's Service inside the cluster.
func Host(broker types.NamespacedName) string {
	return fmt.Sprintf("%s.%s.svc", broker.Name, broker.Namespace)
}

// ServerNames are the names that the server certificate is for.
func ServerNames(b *v1alpha1.MessageBroker) []string {
	key := types.NamespacedName{Namespace: b.Namespace, Name: b.Name}
	nodes := types.NamespacedName{Namespace: b.Namespace, Name: NodesService(b.Name)}
	return []string{
		Host(key), Host(key) + ".cluster.local", b.Name + "." + b.Namespace, b.Name,
		"*." + Host(nodes), "*." + Host(nodes) + ".cluster.local",
		"localhost", "127.0.0.1", "::1",
	}
}

// Labels of a broker's objects.
func Labels(broker string) map[string]string {
	l := Selector(broker)
	l[LabelManagedBy] = ManagedBy
	return l
}

// Selector finds a broker's pods.
func Selector(broker string) map[string]string {
	return map[string]string{LabelName: appName, LabelInstance: broker}
}

func meta(b *v1alpha1.MessageBroker, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: b.Namespace, Name: name, Labels: Labels(b.Name)}
}

// Endpoints are the URLs of a broker's Service.
func Endpoints(b *v1alpha1.MessageBroker) *v1alpha1.Endpoints {
	url := func(scheme string, port int) string {
		return fmt.Sprintf("%s://%s:%d", scheme, Host(types.NamespacedName{Namespace: b.Namespace, Name: b.Name}), port)
	}
	return &v1alpha1.Endpoints{
		MQTT: url("mqtt", PortMQTT), MQTTS: url("mqtts", PortMQTTS),
		AMQP: url("amqp", PortAMQP), AMQPS: url("amqps", PortAMQPS), Admin: url("https", PortAdmin),
	}
}

// ClientService is where clients connect.
func ClientService(b *v1alpha1.MessageBroker) *corev1.Service {
	s := service(b, b.Name)
	s.Annotations = maps.Clone(b.Spec.Service.Annotations)
	s.Spec.Type = b.Spec.Service.Type
	return s
}

// HeadlessService gives each pod a name of its own, also while it is not ready.
func HeadlessService(b *v1alpha1.MessageBroker) *corev1.Service {
	s := service(b, NodesService(b.Name))
	s.Spec.ClusterIP = corev1.ClusterIPNone
	s.Spec.PublishNotReadyAddresses = true
	return s
}

func service(b *v1alpha1.MessageBroker, name string) *corev1.Service {
	s := &corev1.Service{TypeMeta: typeMeta("v1", "Service"), ObjectMeta: meta(b, name)}
	s.Spec.Selector = Selector(b.Name)
	for _, p := range ports {
		port := corev1.ServicePort{Name: p.name, Port: p.number, Protocol: corev1.ProtocolTCP}
		port.TargetPort.Type, port.TargetPort.StrVal = 1, p.name
		s.Spec.Ports = append(s.Spec.Ports, port)
	}
	return s
}

func typeMeta(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

// SelectorText is a label selector as kubectl writes it.
func SelectorText(broker string) string {
	return strings.Join([]string{LabelInstance + "=" + broker, LabelName + "=" + appName}, ",")
}
