package e2e_test

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// endpoint is a broker as the service-binding Secret of its default user describes it.
type endpoint struct {
	mqttURL, amqpURL string
}

func defaultUser(ctx context.Context, broker string) (endpoint, error) {
	s, err := samples.secret(ctx, broker+"-default-user")
	return endpoint{mqttURL: s["mqtt_url"], amqpURL: s["amqp_url"]}, err
}

// reachable: both ports answer. A Service takes a moment to follow its pods.
func (e endpoint) reachable(ctx context.Context) error {
	for _, raw := range []string{e.mqttURL, e.amqpURL} {
		u, err := url.Parse(raw)
		if err != nil {
			return err
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (e endpoint) mqtt(topic string, args ...string) []string {
	return append([]string{"-L", strings.TrimSuffix(e.mqttURL, "/") + "/" + topic, "-q", "1"}, args...)
}

func (e endpoint) amqp(args ...string) []string { return append([]string{"--url", e.amqpURL}, args...) }

// publishMQTT publishes each line as a message with QoS 1; it returns when all are acknowledged.
func (e endpoint) publishMQTT(ctx context.Context, topic string, lines ...string) error {
	_, err := run(ctx, strings.Join(lines, "\n")+"\n", "mosquitto_pub", e.mqtt(topic, "-l")...)
	return err
}

// subscribeMQTT makes a persistent session that is subscribed when it returns; receiveMQTT reads from it.
func (e endpoint) subscribeMQTT(ctx context.Context, session, topic string) error {
	_, err := run(ctx, "", "mosquitto_sub", e.mqtt(topic, "-i", session, "-c", "-E")...)
	return err
}

func (e endpoint) receiveMQTT(ctx context.Context, session, topic string, n int) ([]string, error) {
	out, err := run(ctx, "", "mosquitto_sub", e.mqtt(topic, "-i", session, "-c", "-C", strconv.Itoa(n))...)
	return lines(out), err
}

// endSession ends a persistent session: a clean one of the same name replaces it.
func (e endpoint) endSession(ctx context.Context, session, topic string) error {
	_, err := run(ctx, "", "mosquitto_sub", e.mqtt(topic, "-i", session, "-E")...)
	return err
}

// publishAMQP publishes one persistent message.
func (e endpoint) publishAMQP(ctx context.Context, exchange, key, body string) error {
	_, err := run(ctx, "", "amqp-publish", e.amqp("--persistent", "--exchange", exchange, "--routing-key", key, "--body", body)...)
	return err
}

// consumeAMQP takes n messages from a queue, acknowledged one by one.
func (e endpoint) consumeAMQP(ctx context.Context, queue string, n int) ([]string, error) {
	out, err := run(ctx, "", "amqp-consume", e.amqp("--queue", queue, "--count", strconv.Itoa(n), "--", "sh", "-c", "cat; echo")...)
	return lines(out), err
}

func lines(out string) []string {
	if out == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n")
}
