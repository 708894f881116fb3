// Package resource builds the Kubernetes objects of a broker: pure functions of the MessageBroker and of what was made
// for it. Nothing here talks to an API; the golden files in testdata show what comes out.
package resource

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
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
	PortWS    = 8083
	PortWSS   = 8084
)

// port is a listener, and the port of the Services and of the container that leads to it.
type port struct {
	name   string // the scheme of the listener
	number int32
	node   func(*v1alpha1.NodePorts) int32
}

var ports = []port{
	{"mqtt", PortMQTT, func(n *v1alpha1.NodePorts) int32 { return n.MQTT }},
	{"mqtts", PortMQTTS, func(n *v1alpha1.NodePorts) int32 { return n.MQTTS }},
	{"amqp", PortAMQP, func(n *v1alpha1.NodePorts) int32 { return n.AMQP }},
	{"amqps", PortAMQPS, func(n *v1alpha1.NodePorts) int32 { return n.AMQPS }},
	{"https", PortAdmin, func(n *v1alpha1.NodePorts) int32 { return n.Admin }},
}

var webSocketPorts = []port{
	{"ws", PortWS, func(n *v1alpha1.NodePorts) int32 { return n.WS }},
	{"wss", PortWSS, func(n *v1alpha1.NodePorts) int32 { return n.WSS }},
}

// portsOf are the ports that a broker has.
func portsOf(b *v1alpha1.MessageBroker) []port {
	if b.Spec.WebSocket == nil {
		return ports
	}
	return slices.Concat(ports, webSocketPorts)
}

// The names of a broker's objects; the Service, the StatefulSet, the ConfigMap and the rest have its own.
func AdminSecret(broker string) string       { return broker + "-admin" }
func DefaultUserSecret(broker string) string { return broker + "-default-user" }
func AuthoritySecret(broker string) string   { return broker + "-ca" }
func ServerSecret(broker string) string      { return broker + "-tls" }
func NodesService(broker string) string      { return broker + "-nodes" }
func IssuedSecret(broker string) string      { return broker + "-issued" }
func RouteName(broker string) string         { return broker + "-ws" }

// Host is the DNS name of a broker's Service inside the cluster.
func Host(broker types.NamespacedName) string {
	return fmt.Sprintf("%s.%s.svc", broker.Name, broker.Namespace)
}

// ServerNames are the names that the server certificate is for.
func ServerNames(b *v1alpha1.MessageBroker) []string {
	key := types.NamespacedName{Namespace: b.Namespace, Name: b.Name}
	nodes := types.NamespacedName{Namespace: b.Namespace, Name: NodesService(b.Name)}
	names := []string{
		Host(key), Host(key) + ".cluster.local", b.Name + "." + b.Namespace, b.Name,
		"*." + Host(nodes), "*." + Host(nodes) + ".cluster.local",
		"localhost", "127.0.0.1", "::1",
	}
	if t := b.Spec.TLS; t != nil {
		names = append(names, t.DNSNames...)
	}
	return names
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
	e := &v1alpha1.Endpoints{
		MQTT: url("mqtt", PortMQTT), MQTTS: url("mqtts", PortMQTTS),
		AMQP: url("amqp", PortAMQP), AMQPS: url("amqps", PortAMQPS), Admin: url("https", PortAdmin),
	}
	if w := b.Spec.WebSocket; w != nil {
		e.WS, e.WSS = url("ws", PortWS)+w.Path, url("wss", PortWSS)+w.Path
	}
	return e
}

// External are the URLs by which a broker is reached from outside: those of its load balancer's addresses, and of its Ingress.
func External(b *v1alpha1.MessageBroker, addresses []corev1.LoadBalancerIngress) (urls []string) {
	w := b.Spec.WebSocket
	for _, a := range addresses {
		host := cmp.Or(a.Hostname, a.IP)
		for _, p := range portsOf(b) {
			url := p.name + "://" + net.JoinHostPort(host, strconv.Itoa(int(p.number)))
			if w != nil && (p.number == PortWS || p.number == PortWSS) {
				url += w.Path
			}
			urls = append(urls, url)
		}
	}
	if w == nil || w.Ingress == nil || w.Ingress.Host == "" {
		return urls
	}
	scheme := "ws"
	if w.Ingress.TLSSecretRef != nil {
		scheme = "wss"
	}
	return append(urls, scheme+"://"+w.Ingress.Host+webSocketPath(b))
}

// ClientService is where clients connect.
func ClientService(b *v1alpha1.MessageBroker) *corev1.Service {
	s := service(b, b.Name)
	c := b.Spec.Service
	s.Annotations = maps.Clone(c.Annotations)
	s.Spec.Type = c.Type
	s.Spec.LoadBalancerClass = c.LoadBalancerClass
	s.Spec.LoadBalancerSourceRanges = c.LoadBalancerSourceRanges
	s.Spec.ExternalTrafficPolicy = c.ExternalTrafficPolicy
	if c.NodePorts != nil {
		for i, p := range portsOf(b) {
			s.Spec.Ports[i].NodePort = p.node(c.NodePorts)
		}
	}
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
	s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = b.Spec.Service.IPFamilies, b.Spec.Service.IPFamilyPolicy
	for _, p := range portsOf(b) {
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
