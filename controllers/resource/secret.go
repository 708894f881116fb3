package resource

import (
	"fmt"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/certificate"
)

// The keys of credential Secrets, those of the Service Binding specification and more.
const (
	KeyUsername = "username"
	KeyPassword = "password"
	KeyCA       = "ca.crt"
)

// The users that every broker has from its first hour.
const (
	AdminUser   = "admin"
	DefaultUser = "default"
)

// CredentialSecret describes how one user reaches a broker. Without a password it says the rest.
func CredentialSecret(broker types.NamespacedName, name, username, password string, ca []byte) *corev1.Secret {
	host := Host(broker)
	login := url.PathEscape(username)
	if password != "" {
		login += ":" + url.PathEscape(password)
	}
	address := func(scheme string, port int, path string) []byte {
		return fmt.Appendf(nil, "%s://%s@%s:%d%s", scheme, login, host, port, path)
	}
	s := &corev1.Secret{TypeMeta: typeMeta("v1", "Secret"), Type: "servicebinding.io/turnstone"}
	s.Namespace, s.Name, s.Labels = broker.Namespace, name, Labels(broker.Name)
	s.Data = map[string][]byte{
		"type": []byte("turnstone"), "provider": []byte("turnstone"),
		"host": []byte(host), "port": []byte(strconv.Itoa(PortAMQP)),
		"ports":     fmt.Appendf(nil, "mqtt=%d,mqtts=%d,amqp=%d,amqps=%d,https=%d", PortMQTT, PortMQTTS, PortAMQP, PortAMQPS, PortAdmin),
		KeyUsername: []byte(username), KeyPassword: []byte(password), KeyCA: ca,
		"mqtt_url": address("mqtt", PortMQTT, ""), "mqtts_url": address("mqtts", PortMQTTS, ""),
		"amqp_url": address("amqp", PortAMQP, "/%2F"), "amqps_url": address("amqps", PortAMQPS, "/%2F"),
	}
	for _, key := range []string{KeyPassword, KeyCA} {
		if len(s.Data[key]) == 0 {
			delete(s.Data, key)
		}
	}
	return s
}

// Authority holds the broker's certificate authority; ca.crt is what to trust, which may be more than the current one.
func Authority(b *v1alpha1.MessageBroker, pair certificate.Pair, bundle []byte) *corev1.Secret {
	return tlsSecret(b, AuthoritySecret(b.Name), pair, bundle)
}

// Keys of the Secret of the server certificate, beside those of every kubernetes.io/tls.
const (
	KeyClientCA  = "client-ca.crt"
	KeyClientCRL = "client.crl"
	// KeyFormer holds certificates of before, by which the operator knows the broker until it shows the next one.
	KeyFormer = "former.crt"
)

// AnnotationSource says where the certificate comes from; it is not there when the broker's own authority made it.
const AnnotationSource = "messaging.turnstone.dev/certificate-source"

// Shown is what the Secret of the server certificate holds: what the broker shows, and what it asks clients for.
type Shown struct {
	certificate.Pair
	// CA is what clients trust; empty if they do so anyway.
	CA []byte
	// Source is as AnnotationSource says.
	Source   string
	Former   []byte
	ClientCA []byte
	// ClientCRL are revocation lists of ClientCA.
	ClientCRL []byte
}

// Server holds the certificate that the broker shows. The pod mounts it, wherever the certificate comes from.
func Server(b *v1alpha1.MessageBroker, s Shown) *corev1.Secret {
	o := tlsSecret(b, ServerSecret(b.Name), s.Pair, s.CA)
	for key, content := range map[string][]byte{KeyFormer: s.Former, KeyClientCA: s.ClientCA, KeyClientCRL: s.ClientCRL} {
		if len(content) > 0 {
			o.Data[key] = content
		}
	}
	if len(s.CA) == 0 {
		delete(o.Data, KeyCA)
	}
	if s.Source != "" {
		o.Annotations = map[string]string{AnnotationSource: s.Source}
	}
	return o
}

// ReadShown reads what Server wrote.
func ReadShown(s *corev1.Secret) Shown {
	return Shown{
		Pair: Pair(s), CA: s.Data[KeyCA], Source: s.Annotations[AnnotationSource], Former: s.Data[KeyFormer],
		ClientCA: s.Data[KeyClientCA], ClientCRL: s.Data[KeyClientCRL],
	}
}

func tlsSecret(b *v1alpha1.MessageBroker, name string, pair certificate.Pair, bundle []byte) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta: typeMeta("v1", "Secret"), ObjectMeta: meta(b, name), Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key, KeyCA: bundle},
	}
}

// Pair reads what tlsSecret wrote.
func Pair(s *corev1.Secret) certificate.Pair {
	return certificate.Pair{Certificate: s.Data[corev1.TLSCertKey], Key: s.Data[corev1.TLSPrivateKeyKey]}
}
