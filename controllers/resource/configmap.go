package resource

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/config"
)

// Where the pod finds things.
const (
	configDir      = "/etc/turnstone/config"
	tlsDir         = "/etc/turnstone/tls"
	adminDir       = "/etc/turnstone/admin"
	defaultUserDir = "/etc/turnstone/default-user"
	volumeDir      = "/var/lib/turnstone"
	// The volume's own directory may hold lost+found, and belongs to root.
	dataDir = volumeDir + "/data"
)

// ConfigFile is the key of the ConfigMap.
const ConfigFile = "turnstone.yaml"

// Config is the broker's configuration. It is an error when the broker would refuse it.
func Config(b *v1alpha1.MessageBroker) (config.Config, error) {
	c := config.Default()
	c.DataDir = dataDir
	c.Listeners = nil
	for _, p := range portsOf(b) {
		c.Listeners = append(c.Listeners, fmt.Sprintf("%s://:%d", p.name, p.number))
	}
	c.TLS.CertFile, c.TLS.KeyFile = tlsDir+"/"+corev1.TLSCertKey, tlsDir+"/"+corev1.TLSPrivateKeyKey
	c.Log.Format = "json"
	c.Auth.Anonymous = "never"
	c.Auth.BootstrapUsers = []config.BootstrapUser{
		{Name: AdminUser, PasswordFile: adminDir + "/" + KeyPassword, Tags: []string{"administrator"}},
		{Name: DefaultUser, PasswordFile: defaultUserDir + "/" + KeyPassword},
	}
	if w := b.Spec.WebSocket; w != nil {
		c.WebSocket = config.WebSocket{Path: w.Path, Origins: w.Origins}
	}
	askClients(&c, b.Spec.TLS)
	if err := choose(&c, b.Spec.Configuration); err != nil {
		return config.Config{}, err
	}
	return c, c.Validate()
}

// certificateNames are the broker's words for the names in a certificate.
var certificateNames = map[string]string{
	"CommonName": config.CertificateCommonName, "DNSName": config.CertificateDNSName, "Email": config.CertificateEmail, "URI": config.CertificateURI,
}

// askClients says what is asked of clients' certificates.
func askClients(c *config.Config, t *v1alpha1.TLS) {
	if t == nil || t.ClientAuthentication == nil {
		return
	}
	a := t.ClientAuthentication
	c.TLS.ClientCAFile = tlsDir + "/" + KeyClientCA
	if a.CRLSecretRef != nil {
		c.TLS.CRLFile = tlsDir + "/" + KeyClientCRL
	}
	must := a.Mode == v1alpha1.ClientsMustAuthenticate
	c.TLS.RequireClientCert, c.TLS.AdminWithoutCert = must, must
	c.Auth.CertificateName = certificateNames[a.UserFrom]
}

// choose puts the user's keys over the defaults.
func choose(c *config.Config, u *v1alpha1.Configuration) error {
	if u == nil {
		return nil
	}
	if u.LogLevel != "" {
		c.Log.Level = u.LogLevel
	}
	if u.DrainSeconds != nil {
		c.DrainSeconds = *u.DrainSeconds
	}
	if u.MinTLSVersion != "" {
		c.TLS.MinVersion = u.MinTLSVersion
	}
	if u.Anonymous {
		c.Auth.Anonymous = "always"
	}
	if u.ScramIterations != nil {
		c.Auth.ScramIterations = *u.ScramIterations
	}
	if u.Durability != "" {
		c.Storage.Durability = u.Durability
	}
	if u.SyncIntervalMillis != nil {
		c.Storage.SyncIntervalMillis = *u.SyncIntervalMillis
	}
	if err := overlay(&c.MQTT, u.MQTT); err != nil {
		return fmt.Errorf("configuration.mqtt: %w", err)
	}
	if err := overlay(&c.AMQP, u.AMQP); err != nil {
		return fmt.Errorf("configuration.amqp: %w", err)
	}
	if err := overlay(&c.Limits, u.Limits); err != nil {
		return fmt.Errorf("configuration.limits: %w", err)
	}
	return nil
}

// overlay sets the fields of to that are set in from; the two have the same JSON names, which a test compares.
func overlay(to, from any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

// ConfigMap holds the broker's configuration.
func ConfigMap(b *v1alpha1.MessageBroker, c config.Config) (*corev1.ConfigMap, error) {
	text, err := c.Render()
	if err != nil {
		return nil, fmt.Errorf("render configuration: %w", err)
	}
	return &corev1.ConfigMap{
		TypeMeta: typeMeta("v1", "ConfigMap"), ObjectMeta: meta(b, b.Name),
		Data: map[string]string{ConfigFile: string(text)},
	}, nil
}
