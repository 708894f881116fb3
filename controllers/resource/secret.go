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

// CredentialSecret describes how one user reaches a broker.
func CredentialSecret(broker types.NamespacedName, name, username, password string, ca []byte) *corev1.Secret {
	host := Host(broker)

	address := func(scheme string, port int, path string) []byte {
		return fmt.Appendf(nil, "%s://%s:%s@%s:%d%s", scheme, url.PathEscape(username), url.PathEscape(password), host, port, path)
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
	return s
}

// Authority holds the broker's certificate authority; ca.crt is what to trust, which may be more than the current one.
func Authority(b *v1alpha1.MessageBroker, pair certificate.Pair, bundle []byte) *corev1.Secret {
	return tlsSecret(b, AuthoritySecret(b.Name), pair, bundle)
}

// Server holds the certificate that the broker shows.
func Server(b *v1alpha1.MessageBroker, pair certificate.Pair, bundle []byte) *corev1.Secret {
	return tlsSecret(b, ServerSecret(b.Name), pair, bundle)
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
