package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MessageBrokerSpec is the wanted state of a broker.
type MessageBrokerSpec struct {
	// Replicas is how many pods serve: 1, or 0, which hibernates the broker: no pod runs, and its data is kept.
	// +kubebuilder:default=1
	// +kubebuilder:validation:XValidation:rule="self == 0 || self == 1",message="replicas must be 1, or 0 to hibernate: a broker of several pods is not supported yet"
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
	// Image of the broker; unset, the operator's default.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Image string `json:"image,omitempty"`
	// ImagePullPolicy as in a container.
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	// +optional
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// ImagePullSecrets are Secrets in the namespace to pull the image with.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	ImagePullSecrets []LocalReference `json:"imagePullSecrets,omitempty"`
	// Resources of the broker's container; unset, 100m CPU and 256Mi of memory are requested and nothing is limited.
	// +optional
	Resources *Resources `json:"resources,omitempty"`
	// Storage is the volume that holds messages and metadata.
	// +kubebuilder:default={}
	// +optional
	Storage Storage `json:"storage,omitzero"`
	// Service is how clients reach the broker.
	// +kubebuilder:default={}
	// +optional
	Service Service `json:"service,omitzero"`
	// WebSocket serves MQTT over WebSocket, on ports 8083 and, with TLS, 8084. Setting and removing it restarts the pod.
	// +optional
	WebSocket *WebSocket `json:"webSocket,omitempty"`
	// TLS says which certificate the broker shows, and what it asks of clients' certificates. Unset, an authority of the
	// broker's own issues a certificate.
	// +optional
	TLS *TLS `json:"tls,omitempty"`
	// Configuration of the broker; unset keys have the broker's defaults.
	// +optional
	Configuration *Configuration `json:"configuration,omitempty"`
	// NodeSelector as in a pod.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Tolerations as in a pod.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// PriorityClassName as in a pod.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// Affinity as in a pod.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// TopologySpreadConstraints as in a pod.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// PodTemplate is a strategic merge patch of the pod's template: environment, volumes, sidecars, labels and what else has no
	// field of its own. The broker's container is called broker. What would give the pod rights on its node or of another
	// service account, or change what the broker runs and where it finds its files, is refused.
	// +kubebuilder:validation:Type=object
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	// +optional
	PodTemplate *apiextensionsv1.JSON `json:"podTemplate,omitempty"`
	// AllowedNamespaces are those, beside the broker's own, whose objects may live in the broker; unset, there are none.
	// +optional
	AllowedNamespaces *AllowedNamespaces `json:"allowedNamespaces,omitempty"`
}

// AllowedNamespaces chooses namespaces: those that are named, and those whose labels are selected.
// +kubebuilder:validation:XValidation:rule="has(self.names) || has(self.selector)",message="allowedNamespaces needs names or a selector; an empty selector {} allows every namespace"
type AllowedNamespaces struct {
	// Names of namespaces.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Names []string `json:"names,omitempty"`
	// Selector looks at the labels of Namespaces; an empty one allows all. An operator that may see single namespaces only
	// cannot read labels: there, names have to be given.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// Resources are the requests and limits of a container.
type Resources struct {
	// +optional
	Requests corev1.ResourceList `json:"requests,omitempty"`
	// +optional
	Limits corev1.ResourceList `json:"limits,omitempty"`
}

// Storage describes the broker's volume.
// +kubebuilder:validation:XValidation:rule="!has(self.size) || !has(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",message="storage.size cannot shrink: volumes only grow; make another broker and move what is in this one"
// +kubebuilder:validation:XValidation:rule="(has(self.storageClassName) ? [self.storageClassName] : []) == (has(oldSelf.storageClassName) ? [oldSelf.storageClassName] : [])",message="storage.storageClassName cannot be changed: the volume stays where it was made"
type Storage struct {
	// Size of the volume. It may grow where the storage class allows it, and never shrinks.
	// +kubebuilder:default="10Gi"
	// +kubebuilder:validation:XValidation:rule="quantity(self).compareTo(quantity('512Mi')) >= 0",message="storage.size must be at least 512Mi: the journal needs room for its segments"
	// +optional
	Size resource.Quantity `json:"size,omitzero"`
	// StorageClassName of the volume; unset, the cluster's default class.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	StorageClassName *string `json:"storageClassName,omitempty"`
	// DeletionPolicy says what becomes of the volume, and of the credentials that belong to what is on it, when the
	// MessageBroker is deleted. Retained, a MessageBroker of the same name takes them up again.
	// +kubebuilder:default=Retain
	// +kubebuilder:validation:Enum=Retain;Delete
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// Service describes the Service for clients.
// +kubebuilder:validation:XValidation:rule="self.type == 'LoadBalancer' || !(has(self.loadBalancerClass) || has(self.loadBalancerSourceRanges))",message="loadBalancerClass and loadBalancerSourceRanges need type LoadBalancer"
// +kubebuilder:validation:XValidation:rule="self.type != 'ClusterIP' || !(has(self.nodePorts) || has(self.externalTrafficPolicy))",message="nodePorts and externalTrafficPolicy need type NodePort or LoadBalancer"
// +kubebuilder:validation:XValidation:rule="!has(self.ipFamilies) || self.ipFamilies.size() < 2 || has(self.ipFamilyPolicy) && self.ipFamilyPolicy != 'SingleStack'",message="two ipFamilies need ipFamilyPolicy PreferDualStack or RequireDualStack"
type Service struct {
	// Type of the Service.
	// +kubebuilder:default=ClusterIP
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	// +optional
	Type corev1.ServiceType `json:"type,omitempty"`
	// Annotations of the Service, such as those that load balancers read.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// LoadBalancerClass chooses the implementation; it cannot be changed while the type is LoadBalancer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	// +optional
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`
	// LoadBalancerSourceRanges are the networks from which the load balancer takes clients, such as 10.0.0.0/8.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="must be a network such as 10.0.0.0/8 or fd00::/8"
	// +listType=set
	// +optional
	LoadBalancerSourceRanges []string `json:"loadBalancerSourceRanges,omitempty"`
	// ExternalTrafficPolicy Local keeps the addresses of clients, which then reach only the node of the pod.
	// +kubebuilder:validation:Enum=Cluster;Local
	// +optional
	ExternalTrafficPolicy corev1.ServiceExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`
	// NodePorts are fixed ports of nodes; those that are unset are given by the cluster.
	// +optional
	NodePorts *NodePorts `json:"nodePorts,omitempty"`
	// IPFamilies of the Services, the first one primary. The broker itself listens on all.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:Enum=IPv4;IPv6
	// +listType=set
	// +optional
	IPFamilies []corev1.IPFamily `json:"ipFamilies,omitempty"`
	// IPFamilyPolicy of the Services.
	// +kubebuilder:validation:Enum=SingleStack;PreferDualStack;RequireDualStack
	// +optional
	IPFamilyPolicy *corev1.IPFamilyPolicy `json:"ipFamilyPolicy,omitempty"`
}

// NodePorts are ports of the cluster's nodes. Which there can be is a setting of the cluster.
type NodePorts struct {
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	MQTT int32 `json:"mqtt,omitempty"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	MQTTS int32 `json:"mqtts,omitempty"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	AMQP int32 `json:"amqp,omitempty"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	AMQPS int32 `json:"amqps,omitempty"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Admin int32 `json:"admin,omitempty"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	WS int32 `json:"ws,omitempty"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	WSS int32 `json:"wss,omitempty"`
}

// WebSocket says how MQTT over WebSocket is reached.
type WebSocket struct {
	// Path that requests must have; unset, any will do. Changing it restarts the pod.
	// +kubebuilder:validation:Pattern=`^/[^?#\s]*$`
	// +kubebuilder:validation:MaxLength=255
	// +optional
	Path string `json:"path,omitempty"`
	// Origins of pages that may connect, such as *.example.com; none is all. Changing it restarts the pod.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	// +optional
	Origins []string `json:"origins,omitempty"`
	// Ingress leads there from outside of the cluster.
	// +optional
	Ingress *Ingress `json:"ingress,omitempty"`
	// Gateway leads there by an HTTPRoute of the Gateway API.
	// +optional
	Gateway *Gateway `json:"gateway,omitempty"`
}

// Ingress describes the Ingress of the WebSocket listener.
type Ingress struct {
	// ClassName of the controller; unset, the cluster's default.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ClassName *string `json:"className,omitempty"`
	// Host that clients name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host"`
	// TLSSecretRef names the Secret with the certificate that the Ingress shows; unset, it serves without TLS.
	// +optional
	TLSSecretRef *LocalReference `json:"tlsSecretRef,omitempty"`
	// Annotations of the Ingress, such as timeouts.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Gateway describes the HTTPRoute of the WebSocket listener.
type Gateway struct {
	// ParentRefs are the Gateways to attach to.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	ParentRefs []GatewayReference `json:"parentRefs"`
	// Hostnames that clients name; none is all of the Gateway.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	Hostnames []string `json:"hostnames,omitempty"`
}

// GatewayReference names a Gateway.
type GatewayReference struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Namespace of the Gateway; unset, that of the MessageBroker.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// SectionName is a listener of the Gateway; unset, all.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	SectionName string `json:"sectionName,omitempty"`
}

// TLS says which certificate the broker shows. Whatever its source, a renewal takes effect without a restart; one that
// cannot be used leaves in use what is.
// +kubebuilder:validation:XValidation:rule="!(has(self.secretRef) && has(self.issuerRef))",message="secretRef and issuerRef exclude one another: a certificate has one source"
// +kubebuilder:validation:XValidation:rule="!(has(self.secretRef) && has(self.dnsNames))",message="dnsNames are for certificates that are issued: the one of secretRef has its names already"
type TLS struct {
	// SecretRef names a Secret of type kubernetes.io/tls with tls.crt and tls.key, and, if clients do not trust its authority
	// anyway, ca.crt.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`
	// IssuerRef names an issuer of cert-manager, by which a Certificate is made. Until it has issued one, the broker's own
	// authority does.
	// +optional
	IssuerRef *IssuerReference `json:"issuerRef,omitempty"`
	// DNSNames are names of the certificate: beside those of the Services, when the broker's own authority issues it, and in
	// their place, when an issuer does, since public ones refuse names of a cluster.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^(\*\.)?[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?$`
	// +listType=set
	// +optional
	DNSNames []string `json:"dnsNames,omitempty"`
	// ClientAuthentication says what is asked of clients' certificates; unset, nothing.
	// +optional
	ClientAuthentication *ClientAuthentication `json:"clientAuthentication,omitempty"`
}

// IssuerReference names an issuer of cert-manager.
type IssuerReference struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Kind is Issuer, ClusterIssuer, or that of an external issuer.
	// +kubebuilder:default=Issuer
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Kind string `json:"kind,omitempty"`
	// Group of the kind.
	// +kubebuilder:default=cert-manager.io
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Group string `json:"group,omitempty"`
}

// ClientAuthentication says what is asked of clients' certificates. Changing it restarts the pod; changing what is in its
// Secrets does not.
type ClientAuthentication struct {
	// Mode Optional takes clients without a certificate, who need a password; Required refuses them on every port but that of
	// the admin API, where probes have none.
	// +kubebuilder:default=Optional
	// +kubebuilder:validation:Enum=Optional;Required
	// +optional
	Mode ClientAuthenticationMode `json:"mode,omitempty"`
	// CASecretRef is where the authorities of clients are, in PEM.
	CASecretRef CAReference `json:"caSecretRef"`
	// CRLSecretRef is where revocation lists of those authorities are, in PEM or DER.
	// +optional
	CRLSecretRef *CRLReference `json:"crlSecretRef,omitempty"`
	// UserFrom says which name in a certificate is the user, the first of its kind; unset, the first of CommonName, DNSName and
	// Email that there is. It takes effect without a restart.
	// +kubebuilder:validation:Enum=CommonName;DNSName;Email;URI
	// +optional
	UserFrom string `json:"userFrom,omitempty"`
}

// ClientAuthenticationMode says whether clients must show a certificate.
type ClientAuthenticationMode string

// The modes.
const (
	ClientsMayAuthenticate  ClientAuthenticationMode = "Optional"
	ClientsMustAuthenticate ClientAuthenticationMode = "Required"
)

// CAReference names a key of a Secret in the namespace.
type CAReference struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in it.
	// +kubebuilder:default=ca.crt
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Key string `json:"key,omitempty"`
}

// CRLReference names a key of a Secret in the namespace.
type CRLReference struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in it.
	// +kubebuilder:default=ca.crl
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Key string `json:"key,omitempty"`
}

// Configuration holds the keys of the broker's configuration that are the user's to choose. A key takes effect without a
// restart unless it says otherwise.
type Configuration struct {
	// LogLevel of the broker.
	// +kubebuilder:validation:Enum=debug;info;warn;error
	// +optional
	LogLevel string `json:"logLevel,omitempty"`
	// DrainSeconds bounds a graceful stop.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=600
	// +optional
	DrainSeconds *int `json:"drainSeconds,omitempty"`
	// MinTLSVersion that clients may speak. Changing it restarts the pod.
	// +kubebuilder:validation:Enum="1.2";"1.3"
	// +optional
	MinTLSVersion string `json:"minTLSVersion,omitempty"`
	// Anonymous admits clients without a name.
	// +optional
	Anonymous bool `json:"anonymous,omitempty"`
	// ScramIterations is how often the hash of a password is iterated for SCRAM, of passwords that are set from now on; -1
	// makes no keys for SCRAM.
	// +kubebuilder:validation:Maximum=10000000
	// +kubebuilder:validation:XValidation:rule="self == -1 || self >= 4096",message="must be 4096 at least, or -1"
	// +optional
	ScramIterations *int `json:"scramIterations,omitempty"`
	// Durability says when stored messages are confirmed, where their queue does not say: after the fsync, or, with interval
	// and none, after the write, so that a crash of the machine may lose the newest. Changing it restarts the pod.
	// +kubebuilder:validation:Enum=always;interval;none
	// +optional
	Durability string `json:"durability,omitempty"`
	// SyncIntervalMillis within which an fsync follows with durability interval. Changing it restarts the pod.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=60000
	// +optional
	SyncIntervalMillis *int `json:"syncIntervalMillis,omitempty"`
	// MQTT holds what is particular to MQTT.
	// +optional
	MQTT *MQTTConfiguration `json:"mqtt,omitempty"`
	// AMQP holds what is proposed to AMQP clients.
	// +optional
	AMQP *AMQPConfiguration `json:"amqp,omitempty"`
	// Limits bound what clients can make the broker hold.
	// +optional
	Limits *Limits `json:"limits,omitempty"`
}

// MQTTConfiguration is what is particular to MQTT.
// +kubebuilder:validation:XValidation:rule="!has(self.serverMoved) || !self.serverMoved || has(self.serverReference)",message="serverMoved needs serverReference, which says where to"
type MQTTConfiguration struct {
	// Exchange is the topic exchange through which MQTT publishes and subscribes. Changing it restarts the pod.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +optional
	Exchange string `json:"exchange,omitempty"`
	// MaxKeepAliveSeconds bounds the keep alive of clients of version 5, also of those that ask for none; 0 does not.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +optional
	MaxKeepAliveSeconds *int `json:"maxKeepAliveSeconds,omitempty"`
	// MaxSessionExpirySeconds bounds how long a session outlives its connection; 4294967295 does not.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	MaxSessionExpirySeconds *int64 `json:"maxSessionExpirySeconds,omitempty"`
	// SharedSubscriptions says which member of a shared subscription gets a message: one after the other among those with
	// room, one until it has no room, or by a hash of topic or publisher.
	// +kubebuilder:validation:Enum=round-robin;sticky;hash-topic;hash-client
	// +optional
	SharedSubscriptions string `json:"sharedSubscriptions,omitempty"`
	// SysIntervalSeconds is how often the topics $SYS/broker/… of the virtual host "/" are brought up to date; -1 is never.
	// +kubebuilder:validation:Minimum=-1
	// +kubebuilder:validation:Maximum=86400
	// +optional
	SysIntervalSeconds *int `json:"sysIntervalSeconds,omitempty"`
	// ServerReference is where clients of version 5 are sent when the broker stops, such as "other.example:1883"; several
	// are separated by spaces.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[^ ]+( [^ ]+)*$`
	// +optional
	ServerReference string `json:"serverReference,omitempty"`
	// ServerMoved sends all clients to serverReference for good: those that are connected, and those that connect.
	// +optional
	ServerMoved bool `json:"serverMoved,omitempty"`
}

// AMQPConfiguration is proposed to AMQP clients when they connect.
type AMQPConfiguration struct {
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +optional
	HeartbeatSeconds *int `json:"heartbeatSeconds,omitempty"`
	// +kubebuilder:validation:Minimum=4096
	// +kubebuilder:validation:Maximum=16777216
	// +optional
	FrameMaxBytes *int `json:"frameMaxBytes,omitempty"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	ChannelMax *int `json:"channelMax,omitempty"`
}

// Limits are the bounds of the broker's configuration, each a positive number.
type Limits struct {
	// Connections that may be open at once.
	// +kubebuilder:validation:Minimum=1
	// +optional
	Connections *int64 `json:"connections,omitempty"`
	// ConnectTimeoutMillis until a client must be authenticated.
	// +kubebuilder:validation:Minimum=1
	// +optional
	ConnectTimeoutMillis *int64 `json:"connectTimeoutMillis,omitempty"`
	// PacketBytes of one MQTT packet.
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=268435460
	// +optional
	PacketBytes *int64 `json:"packetBytes,omitempty"`
	// MessageBytes of one message's body.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=33554432
	// +optional
	MessageBytes *int64 `json:"messageBytes,omitempty"`
	// Subscriptions of one MQTT session.
	// +kubebuilder:validation:Minimum=1
	// +optional
	Subscriptions *int64 `json:"subscriptions,omitempty"`
	// TopicLevels of a topic, words of a routing key.
	// +kubebuilder:validation:Minimum=1
	// +optional
	TopicLevels *int64 `json:"topicLevels,omitempty"`
	// TopicAliases of one MQTT connection, in each direction.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	TopicAliases *int64 `json:"topicAliases,omitempty"`
	// InFlight messages of one MQTT session that wait for their acknowledgement, in each direction.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32767
	// +optional
	InFlight *int64 `json:"inFlight,omitempty"`
	// SessionQueueMessages that wait for one MQTT session; the oldest goes first.
	// +kubebuilder:validation:Minimum=1
	// +optional
	SessionQueueMessages *int64 `json:"sessionQueueMessages,omitempty"`
	// SessionQueueBytes that wait for one MQTT session.
	// +kubebuilder:validation:Minimum=1
	// +optional
	SessionQueueBytes *int64 `json:"sessionQueueBytes,omitempty"`
	// Channels of one AMQP connection.
	// +kubebuilder:validation:Minimum=1
	// +optional
	Channels *int64 `json:"channels,omitempty"`
	// ConsumersPerChannel of AMQP.
	// +kubebuilder:validation:Minimum=1
	// +optional
	ConsumersPerChannel *int64 `json:"consumersPerChannel,omitempty"`
	// UnackedPerChannel of AMQP.
	// +kubebuilder:validation:Minimum=1
	// +optional
	UnackedPerChannel *int64 `json:"unackedPerChannel,omitempty"`
	// SuspendedLinks of AMQP 1.0 that may outlive their connections, of one virtual host.
	// +kubebuilder:validation:Minimum=1
	// +optional
	SuspendedLinks *int64 `json:"suspendedLinks,omitempty"`
	// SuspendedLinksPerUser of AMQP 1.0 that may outlive their connections, of one user in one virtual host.
	// +kubebuilder:validation:Minimum=1
	// +optional
	SuspendedLinksPerUser *int64 `json:"suspendedLinksPerUser,omitempty"`
	// UnsettledPerLink is how many deliveries of one sender of AMQP 1.0 the broker remembers until the sender has settled them.
	// +kubebuilder:validation:Minimum=1
	// +optional
	UnsettledPerLink *int64 `json:"unsettledPerLink,omitempty"`
	// ConsumerTimeoutMillis that a consumer of AMQP may hold a delivery, where its queue does not say, and that a
	// transaction of AMQP 1.0 may be open.
	// +kubebuilder:validation:Minimum=1
	// +optional
	ConsumerTimeoutMillis *int64 `json:"consumerTimeoutMillis,omitempty"`
	// OutboxBytes that wait to be written to one connection.
	// +kubebuilder:validation:Minimum=1
	// +optional
	OutboxBytes *int64 `json:"outboxBytes,omitempty"`
	// RetainedMessages of one virtual host.
	// +kubebuilder:validation:Minimum=1
	// +optional
	RetainedMessages *int64 `json:"retainedMessages,omitempty"`
	// DelayedMessages of one virtual host, that wait for the time at which they are to be delivered.
	// +kubebuilder:validation:Minimum=1
	// +optional
	DelayedMessages *int64 `json:"delayedMessages,omitempty"`
	// BodyCacheBytes are bodies of durable messages that are kept in memory.
	// +kubebuilder:validation:Minimum=1
	// +optional
	BodyCacheBytes *int64 `json:"bodyCacheBytes,omitempty"`
	// AuthFailuresPerMinute of one peer address; more are refused unheard.
	// +kubebuilder:validation:Minimum=1
	// +optional
	AuthFailuresPerMinute *int64 `json:"authFailuresPerMinute,omitempty"`
	// Rates of what clients send, where their user has none of its own.
	// +optional
	Rates *Rates `json:"rates,omitempty"`
}

// MessageBrokerStatus is the observed state of a broker.
type MessageBrokerStatus struct {
	// ObservedGeneration is the generation that the conditions are about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Ready, Reconciling and Stalled, and while they have something to say CertificateReady,
	// ConfigurationPending, StorageExpanding, RouteReady and Paused.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Replicas is how many pods there are, ReadyReplicas how many serve.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// +optional
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`
	// Selector finds the pods.
	// +optional
	Selector string `json:"selector,omitempty"`
	// Version that the broker says it is.
	// +optional
	Version string `json:"version,omitempty"`
	// Endpoints are how clients in the cluster reach the broker.
	// +optional
	Endpoints *Endpoints `json:"endpoints,omitempty"`
	// Binding names the Secret of the default user, as the Service Binding specification says.
	// +optional
	Binding *LocalReference `json:"binding,omitempty"`
	// AdminSecret names the Secret of the administrator.
	// +optional
	AdminSecret *LocalReference `json:"adminSecret,omitempty"`
	// CertificateExpires is when the server certificate ends; it is renewed before.
	// +optional
	CertificateExpires *metav1.Time `json:"certificateExpires,omitempty"`
	// CertificateSerial is its serial number, in hexadecimal digits.
	// +optional
	CertificateSerial string `json:"certificateSerial,omitempty"`
	// Configuration is how far the configuration has come.
	// +optional
	Configuration *ConfigurationStatus `json:"configuration,omitempty"`
	// Usage is what the broker holds. It is written when it changed noticeably.
	// +optional
	Usage *Usage `json:"usage,omitempty"`
}

// ConfigurationStatus compares the configuration that the broker has with the one that it should have.
type ConfigurationStatus struct {
	// Wanted and InForce identify the two, all keys of them; they are equal when there is nothing left to do.
	Wanted string `json:"wanted"`
	// +optional
	InForce string `json:"inForce,omitempty"`
	// Pending are the keys in which they differ.
	// +listType=set
	// +optional
	Pending []string `json:"pending,omitempty"`
}

// Usage is what a broker holds.
type Usage struct {
	// Connections that are authenticated.
	Connections int64 `json:"connections"`
	// Queues, those of MQTT sessions included.
	Queues int64 `json:"queues"`
	// Messages in queues, delivered and not settled ones included.
	Messages int64 `json:"messages"`
	// StorageUsed and StorageSize are of the broker's volume.
	// +optional
	StorageUsed *resource.Quantity `json:"storageUsed,omitempty"`
	// +optional
	StorageSize *resource.Quantity `json:"storageSize,omitempty"`
}

// Endpoints are URLs without credentials.
type Endpoints struct {
	MQTT  string `json:"mqtt"`
	MQTTS string `json:"mqtts"`
	AMQP  string `json:"amqp"`
	AMQPS string `json:"amqps"`
	Admin string `json:"admin"`
	// WS and WSS are set when spec.webSocket is.
	// +optional
	WS string `json:"ws,omitempty"`
	// +optional
	WSS string `json:"wss,omitempty"`
	// External are the URLs from outside of the cluster that are known: those of the load balancer once it has an address, and that
	// of spec.webSocket.ingress. Those of node ports begin with any node's address.
	// +optional
	// +listType=atomic
	External []string `json:"external,omitempty"`
}

// MessageBroker is a message broker for MQTT and AMQP.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=mb,categories=turnstone
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Connections",type=integer,JSONPath=`.status.usage.connections`
// +kubebuilder:printcolumn:name="Messages",type=integer,JSONPath=`.status.usage.messages`
// +kubebuilder:printcolumn:name="Used",type=string,JSONPath=`.status.usage.storageUsed`,priority=1
// +kubebuilder:printcolumn:name="Certificate",type=string,JSONPath=`.status.certificateExpires`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="the name of a MessageBroker must be a DNS label of at most 40 characters that begins with a letter: it names the Services and pods"
type MessageBroker struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +kubebuilder:default={}
	// +optional
	Spec MessageBrokerSpec `json:"spec,omitzero"`
	// +kubebuilder:default={"observedGeneration":-1}
	// +optional
	Status MessageBrokerStatus `json:"status,omitzero"`
}

// MessageBrokerList is a list of MessageBrokers.
// +kubebuilder:object:root=true
type MessageBrokerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MessageBroker `json:"items"`
}

// Hibernates says whether the broker is to keep its data and run no pod.
func (b *MessageBroker) Hibernates() bool { return b.Spec.Replicas != nil && *b.Spec.Replicas == 0 }

// AnnotationPaused, with the value "true", has the operator write nothing for a MessageBroker but that it is paused.
const AnnotationPaused = "messaging.turnstone.dev/paused"
