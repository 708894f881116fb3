package resource

import (
	"net/url"

	corev1 "k8s.io/api/core/v1"
)

// externalKeys are what a connection Secret may say of how clients reach its broker: it is passed on to users.
var externalKeys = []string{"host", "port", "ports", KeyCA}

// ExternalCredentialSecret describes how one user reaches a broker that the operator does not run, as far as its connection
// Secret says: the host is that of the admin API unless it names another.
func ExternalCredentialSecret(name, username, password string, connection *corev1.Secret) *corev1.Secret {
	s := &corev1.Secret{TypeMeta: typeMeta("v1", "Secret"), Type: "servicebinding.io/turnstone"}
	s.Name, s.Labels = name, map[string]string{LabelName: appName, LabelManagedBy: ManagedBy}
	s.Data = map[string][]byte{
		"type": []byte("turnstone"), "provider": []byte("turnstone"),
		KeyUsername: []byte(username), KeyPassword: []byte(password),
	}
	if u, err := url.Parse(string(connection.Data["url"])); err == nil {
		s.Data["host"] = []byte(u.Hostname())
	}
	for _, key := range externalKeys {
		if v, ok := connection.Data[key]; ok {
			s.Data[key] = v
		}
	}
	return s
}
