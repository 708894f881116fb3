package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
)

// The ports for clients with TLS.
const (
	portMQTTS = "8883"
	portAMQPS = "5671"
)

// account is who a client says it is.
type account struct{ user, password string }

// listener is where clients of a broker connect with TLS, and whom they trust there.
type listener struct {
	host  string
	roots *x509.CertPool
}

func (l listener) tls() *tls.Config { return &tls.Config{RootCAs: l.roots, ServerName: l.host} }

// serial is that of the certificate which a new connection to a port is shown, verified as a client does.
func (l listener) serial(ctx context.Context, port string) (string, error) {
	d := tls.Dialer{Config: l.tls()}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(l.host, port))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return fmt.Sprintf("%X", conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber), nil
}

// How soon clients notice a machine without power; a slow one is not taken for that.
const (
	dialPatience = 10 * time.Second
	heartbeat    = 10 * time.Second
)

func (l listener) amqp(who account) (*amqp.Connection, error) {
	return amqp.DialConfig("amqps://"+net.JoinHostPort(l.host, portAMQPS), amqp.Config{
		Vhost: "/", SASL: []amqp.Authentication{&amqp.PlainAuth{Username: who.user, Password: who.password}},
		TLSClientConfig: l.tls(), Heartbeat: heartbeat, Dial: amqp.DefaultDial(dialPatience),
	})
}

func (l listener) mqtt(who account) (mqtt.Client, error) {
	const version311 = 4 // otherwise it tries 3.1 after a refusal, and hides why it was refused
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("mqtts://" + net.JoinHostPort(l.host, portMQTTS)).
		SetUsername(who.user).SetPassword(who.password).SetTLSConfig(l.tls()).SetCleanSession(true).SetProtocolVersion(version311).
		SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(dialPatience).SetKeepAlive(heartbeat).SetPingTimeout(heartbeat))
	t := c.Connect()
	t.Wait() // as long as the timeout of connecting lets it
	return c, t.Error()
}
