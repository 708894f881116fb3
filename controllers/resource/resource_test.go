package resource

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/certificate"
)

var update = flag.Bool("update", false, "write the golden files")

// The golden files are also a promise: when the pod template of one changes, every broker restarts at the next upgrade.
func TestGolden(t *testing.T) {
	for name, b := range map[string]*v1alpha1.MessageBroker{"default": broker(), "chosen": chosen()} {
		t.Run(name, func(t *testing.T) {
			c, err := Config(b)
			if err != nil {
				t.Fatal(err)
			}
			m, err := ConfigMap(b, c)
			if err != nil {
				t.Fatal(err)
			}
			pair := certificate.Pair{Certificate: []byte("certificate"), Key: []byte("key")}
			set, err := StatefulSet(b, "registry.example/turnstone:1", c)
			if err != nil {
				t.Fatal(err)
			}
			key := types.NamespacedName{Namespace: b.Namespace, Name: b.Name}
			compare(t, name+".yaml", m, ServiceAccount(b), NetworkPolicy(b), PodDisruptionBudget(b),
				HeadlessService(b), ClientService(b), set,
				Authority(b, pair, []byte("bundle")), Server(b, Shown{Pair: pair, CA: []byte("bundle")}),
				CredentialSecret(key, DefaultUserSecret(b.Name), DefaultUser, "p/w", []byte("bundle")))
		})
	}
}

func compare(t *testing.T, file string, objects ...any) {
	t.Helper()
	var got bytes.Buffer
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString("---\n")
		got.Write(text)
	}
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s differs (run with -update and look at the difference); got\n%s", path, got.Bytes())
	}
}

// Every limit that users can set is a key of the broker's configuration, and so reaches the broker.
func TestChosenKeysAreKeysOfTheBroker(t *testing.T) {
	for _, pair := range []struct{ ours, theirs any }{{v1alpha1.Limits{}, config.Limits{}}, {v1alpha1.AMQPConfiguration{}, config.AMQP{}}, {v1alpha1.MQTTConfiguration{}, config.MQTT{}}, {v1alpha1.Rates{}, config.Rates{}}, {v1alpha1.Rate{}, object.Rate{}}} {
		keys := map[string]bool{}
		for f := range reflect.TypeOf(pair.theirs).Fields() {
			keys[jsonName(f)] = true
		}
		for f := range reflect.TypeOf(pair.ours).Fields() {
			if !keys[jsonName(f)] {
				t.Errorf("%T has no key %q", pair.theirs, jsonName(f))
			}
		}
	}
}

func TestConfigThatTheBrokerRefuses(t *testing.T) {
	b := chosen()
	b.Spec.Configuration.Limits.MessageBytes = new(int64(1 << 40))
	if _, err := Config(b); err == nil || !strings.Contains(err.Error(), "limits.messageBytes") {
		t.Errorf("error %v", err)
	}
}

// A key that takes effect live must not restart the pod; another must.
func TestPodRestartsOnlyForKeysThatNeedIt(t *testing.T) {
	template := func(change func(*v1alpha1.Configuration)) corev1.PodTemplateSpec {
		b := chosen()
		change(b.Spec.Configuration)
		c, err := Config(b)
		if err != nil {
			t.Fatal(err)
		}
		set, err := StatefulSet(b, "image", c)
		if err != nil {
			t.Fatal(err)
		}
		return set.Spec.Template
	}
	before := template(func(*v1alpha1.Configuration) {})
	live := template(func(c *v1alpha1.Configuration) { c.LogLevel, c.Limits.Connections = "warn", new(int64(7)) })
	restart := template(func(c *v1alpha1.Configuration) { c.MQTT = &v1alpha1.MQTTConfiguration{Exchange: "other"} })
	if !reflect.DeepEqual(before, live) || reflect.DeepEqual(before, restart) {
		t.Error("the template must change with mqtt.exchange, and not with logLevel and limits")
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// broker is one that chose nothing, with the defaults of the CRD.
func broker() *v1alpha1.MessageBroker {
	b := &v1alpha1.MessageBroker{}
	b.Namespace, b.Name = "default", "broker"
	b.Spec.Replicas = new(int32(1))
	b.Spec.Storage = v1alpha1.Storage{Size: apiresource.MustParse("10Gi"), DeletionPolicy: v1alpha1.DeletionRetain}
	b.Spec.Service.Type = corev1.ServiceTypeClusterIP
	return b
}

// chosen is one that chose everything.
func chosen() *v1alpha1.MessageBroker {
	b := broker()
	b.Spec.Image, b.Spec.ImagePullPolicy = "registry.example/other:2", corev1.PullAlways
	b.Spec.ImagePullSecrets = []v1alpha1.LocalReference{{Name: "registry"}}
	b.Spec.Resources = &v1alpha1.Resources{
		Requests: corev1.ResourceList{corev1.ResourceCPU: apiresource.MustParse("2")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: apiresource.MustParse("4Gi")},
	}
	b.Spec.Storage = v1alpha1.Storage{Size: apiresource.MustParse("20Gi"), StorageClassName: new("fast"), DeletionPolicy: v1alpha1.DeletionDelete}
	b.Spec.Service = v1alpha1.Service{Type: corev1.ServiceTypeLoadBalancer, Annotations: map[string]string{"load-balancer": "internal"}}
	b.Spec.NodeSelector = map[string]string{"disk": "nvme"}
	b.Spec.Tolerations = []corev1.Toleration{{Key: "messaging", Operator: corev1.TolerationOpExists}}
	b.Spec.PriorityClassName = "high"
	b.Spec.Configuration = &v1alpha1.Configuration{
		LogLevel: "debug", DrainSeconds: new(20), MinTLSVersion: "1.3", Anonymous: true, ScramIterations: new(5000),
		MQTT: &v1alpha1.MQTTConfiguration{Exchange: "mqtt", MaxKeepAliveSeconds: new(600), SharedSubscriptions: "sticky", ServerReference: "other.example:1883"},
		AMQP: &v1alpha1.AMQPConfiguration{HeartbeatSeconds: new(30)},
		Limits: &v1alpha1.Limits{
			Connections: new(int64(1000)),
			Rates: &v1alpha1.Rates{
				Client: &v1alpha1.Rate{MessagesPerSecond: new(int64(50))}, User: &v1alpha1.Rate{ConnectsPerSecond: new(int64(10))}, OnExcess: "drop",
			},
		},
	}
	return b
}

// asked is one whose every way in and every certificate was chosen, which the golden files of before do not show.
func asked() *v1alpha1.MessageBroker {
	b := broker()
	b.Spec.Service = v1alpha1.Service{
		Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: new("example.com/internal"), LoadBalancerSourceRanges: []string{"10.0.0.0/8"},
		ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, NodePorts: &v1alpha1.NodePorts{MQTT: 31883, WSS: 30084},
		IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}, IPFamilyPolicy: new(corev1.IPFamilyPolicyPreferDualStack),
	}
	b.Spec.WebSocket = &v1alpha1.WebSocket{
		Path: "/mqtt", Origins: []string{"*.example.com"},
		Ingress: &v1alpha1.Ingress{ClassName: new("nginx"), Host: "mqtt.example.com", TLSSecretRef: &v1alpha1.LocalReference{Name: "web"}, Annotations: map[string]string{"timeout": "1h"}},
		Gateway: &v1alpha1.Gateway{ParentRefs: []v1alpha1.GatewayReference{{Name: "public", Namespace: "gateways", SectionName: "https"}}, Hostnames: []string{"mqtt.example.com"}},
	}
	b.Spec.TLS = &v1alpha1.TLS{
		IssuerRef: &v1alpha1.IssuerReference{Name: "public", Kind: "ClusterIssuer", Group: "cert-manager.io"}, DNSNames: []string{"mqtt.example.com"},
		ClientAuthentication: &v1alpha1.ClientAuthentication{
			Mode: v1alpha1.ClientsMustAuthenticate, CASecretRef: v1alpha1.CAReference{Name: "devices", Key: "ca.crt"},
			CRLSecretRef: &v1alpha1.CRLReference{Name: "devices", Key: "ca.crl"}, UserFrom: "DNSName",
		},
	}
	b.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "kubernetes.io/hostname"}}}}
	b.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "topology.kubernetes.io/zone", WhenUnsatisfiable: corev1.DoNotSchedule}}
	b.Spec.PodTemplate = &apiextensionsv1.JSON{Raw: []byte(`{"metadata":{"labels":{"team":"plant"}},"spec":{
		"containers":[{"name":"broker","env":[{"name":"GOMEMLIMIT","value":"1GiB"}],"volumeMounts":[{"name":"extra","mountPath":"/extra"}]},
			{"name":"exporter","image":"registry.example/exporter:1","ports":[{"containerPort":9000}]}],
		"volumes":[{"name":"extra","emptyDir":{}}],"runtimeClassName":"gvisor","terminationGracePeriodSeconds":60}}`)}
	return b
}

func TestGoldenOfWaysIn(t *testing.T) {
	b := asked()
	c, err := Config(b)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ConfigMap(b, c)
	if err != nil {
		t.Fatal(err)
	}
	set, err := StatefulSet(b, "registry.example/turnstone:1", c)
	if err != nil {
		t.Fatal(err)
	}
	shown := Shown{
		Pair: certificate.Pair{Certificate: []byte("certificate"), Key: []byte("key")}, Source: CertificateSource(b), Former: []byte("former"),
		ClientCA: []byte("client authority"), ClientCRL: []byte("revoked"),
	}
	compare(t, "asked.yaml", m, NetworkPolicy(b), HeadlessService(b), ClientService(b), set, Server(b, shown),
		Certificate(b, *b.Spec.TLS.IssuerRef).Object, Ingress(b, *b.Spec.WebSocket.Ingress), HTTPRoute(b, *b.Spec.WebSocket.Gateway).Object, Endpoints(b))
	if back := ReadShown(Server(b, shown)); !reflect.DeepEqual(back, shown) {
		t.Errorf("read back %+v", back)
	}
}
