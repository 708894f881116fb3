package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// Schemes are the listeners that exist.
var Schemes = []string{"mqtt", "mqtts", "ws", "wss", "amqp", "amqps", "http", "https", "tcp", "tls", "unix"}

// Secure says whether a scheme needs the TLS files.
func Secure(scheme string) bool {
	return scheme == "mqtts" || scheme == "wss" || scheme == "amqps" || scheme == "https" || scheme == "tls"
}

// Validate says everything that is wrong, each with its key and what to write instead.
func (c Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DataDir == "" {
		wrong("dataDir: must name a directory")
	}
	if len(c.Listeners) == 0 {
		wrong("listeners: at least one is needed")
	}
	for _, l := range c.Listeners {
		u, err := ParseListener(l)
		if err != nil {
			errs = append(errs, fmt.Errorf("listeners: %w", err))
		} else if Secure(u.Scheme) && (c.TLS.CertFile == "" || c.TLS.KeyFile == "") {
			wrong("listeners: %s needs tls.certFile and tls.keyFile (--tls-cert and --tls-key)", l)
		}
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		wrong("tls: certFile and keyFile belong together")
	}
	if c.TLS.RequireClientCert && c.TLS.ClientCAFile == "" {
		wrong("tls.requireClientCert: needs tls.clientCAFile")
	}
	if c.TLS.AdminWithoutCert && !c.TLS.RequireClientCert {
		wrong("tls.adminWithoutCert: needs tls.requireClientCert, from which it excepts https listeners")
	}
	if c.TLS.CRLFile != "" && c.TLS.ClientCAFile == "" {
		wrong("tls.crlFile: needs tls.clientCAFile")
	}
	for _, n := range c.ProxyProtocol.TrustedNetworks {
		if _, err := netip.ParsePrefix(n); err != nil {
			wrong("proxyProtocol.trustedNetworks: %q is no network such as 10.0.0.0/8", n)
		}
	}
	if p := c.WebSocket.Path; p != "" && p[0] != '/' {
		wrong("webSocket.path: %q must begin with /", p)
	}
	for _, o := range c.WebSocket.Origins {
		if _, err := path.Match(o, ""); err != nil {
			wrong("webSocket.origins: %q is no pattern such as *.example.com", o)
		}
	}
	oneOf := func(key, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			wrong("%s: %q is not one of %v", key, value, allowed)
		}
	}
	oneOf("tls.minVersion", c.TLS.MinVersion, "1.2", "1.3")
	oneOf("log.format", c.Log.Format, "text", "json")
	oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf("auth.anonymous", c.Auth.Anonymous, "loopback", "always", "never")
	oneOf("auth.certificateName", c.Auth.CertificateName, "", CertificateCommonName, CertificateDNSName, CertificateEmail, CertificateURI)
	if n := c.Auth.ScramIterations; n != NoScram && (n < object.LeastScramIterations || n > object.MostScramIterations) {
		wrong("auth.scramIterations: %d is neither within %d and %d nor -1, which makes no keys for SCRAM", n, object.LeastScramIterations, object.MostScramIterations)
	}
	for i, u := range c.Auth.BootstrapUsers {
		if u.Name == "" {
			wrong("auth.bootstrapUsers[%d].name: must not be empty", i)
		}
		if u.PasswordFile == "" && u.Password == "" {
			wrong("auth.bootstrapUsers[%d].passwordFile: must name the file that holds the password", i)
		}
	}
	if c.MQTT.Exchange == "" {
		wrong("mqtt.exchange: must name a topic exchange")
	}
	within := func(key string, n, low, high int) {
		if n < low || n > high {
			wrong("%s: %d is not within %d and %d", key, n, low, high)
		}
	}
	within("mqtt.maxKeepAliveSeconds", c.MQTT.MaxKeepAliveSeconds, 0, math.MaxUint16)
	within("mqtt.maxSessionExpirySeconds", int(c.MQTT.MaxSessionExpirySeconds), 1, math.MaxUint32)
	oneOf("mqtt.sharedSubscriptions", c.MQTT.SharedSubscriptions, ShareRoundRobin, ShareSticky, ShareHashTopic, ShareHashClient)
	within("mqtt.sysIntervalSeconds", c.MQTT.SysIntervalSeconds, -1, 86400)
	if err := checkReference(c.MQTT.ServerReference); err != nil {
		wrong("mqtt.serverReference: %w", err)
	}
	if c.MQTT.ServerMoved && c.MQTT.ServerReference == "" {
		wrong("mqtt.serverMoved: needs mqtt.serverReference, which says where to")
	}
	within("limits.topicAliases", c.Limits.TopicAliases, 1, math.MaxUint16)
	within("amqp.heartbeatSeconds", c.AMQP.HeartbeatSeconds, 0, 65535)
	within("amqp.frameMaxBytes", c.AMQP.FrameMaxBytes, 4096, 16<<20)
	within("amqp.channelMax", c.AMQP.ChannelMax, 1, 65535)
	within("limits.inFlight", c.Limits.InFlight, 1, 32767)
	within("limits.packetBytes", c.Limits.PacketBytes, 1024, 268_435_460)
	within("drainSeconds", c.DrainSeconds, 0, 600)
	if d := c.Storage.Durability; !slices.Contains([]string{DurabilityAlways, DurabilityInterval, DurabilityNone}, d) {
		wrong("storage.durability: %q is not one of always, interval, none", d)
	}
	within("storage.syncIntervalMillis", c.Storage.SyncIntervalMillis, 1, 60_000)
	within("storage.shards", c.Storage.Shards, 1, 256)
	if c.Storage.SegmentBytes < 1<<20 || c.Storage.SegmentBytes > 1<<30 {
		wrong("storage.segmentBytes: %d is not within %d and %d", c.Storage.SegmentBytes, 1<<20, 1<<30)
	}
	if c.Limits.MessageBytes > c.Storage.SegmentBytes/2 {
		wrong("limits.messageBytes: %d is more than half of storage.segmentBytes, and a message must fit into a segment", c.Limits.MessageBytes)
	}
	if err := c.Limits.Rates.Client.Check(); err != nil {
		wrong("limits.rates.client.%w", err)
	}
	if err := c.Limits.Rates.User.Check(); err != nil {
		wrong("limits.rates.user.%w", err)
	}
	oneOf("limits.rates.onExcess", string(c.Limits.Rates.OnExcess), string(object.SlowDown), string(object.Drop), string(object.Disconnect))
	v := reflect.ValueOf(c.Limits)
	for i := range v.NumField() {
		if v.Field(i).CanInt() && v.Field(i).Int() <= 0 {
			wrong("limits.%s: must be greater than 0", jsonName(v.Type().Field(i)))
		}
	}
	return errors.Join(errs...)
}

// ParseListener reads a listener URL.
func ParseListener(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("listener %q: want SCHEME://HOST:PORT", raw)
	}
	if !slices.Contains(Schemes, u.Scheme) {
		return nil, fmt.Errorf("listener %q: scheme must be one of %v", raw, Schemes)
	}
	if u.Scheme == "unix" {
		if u.Host != "" || u.Path == "" {
			return nil, fmt.Errorf("listener %q: want unix:///PATH", raw)
		}
		return u, nil
	}
	_, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		return nil, fmt.Errorf("listener %q: want SCHEME://HOST:PORT", raw)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return nil, fmt.Errorf("listener %q: port %q is not a number from 0 to 65535", raw, port)
	}
	return u, nil
}

// longestReference is what still leaves room for a packet of clients that take small ones.
const longestReference = 1024 // bytes

// checkReference checks names of servers, with or without a port, as MQTT 5 §4.11 recommends to write them.
func checkReference(reference string) error {
	if reference == "" {
		return nil
	}
	if len(reference) > longestReference {
		return fmt.Errorf("must not be longer than %d bytes", longestReference)
	}
	for server := range strings.SplitSeq(reference, " ") {
		host, port, hasPort := strings.Cut(server, ":")
		if strings.HasPrefix(server, "[") {
			inside, rest, closed := strings.Cut(server[1:], "]")
			if a, err := netip.ParseAddr(inside); err != nil || !a.Is6() || !closed || rest != "" && rest[0] != ':' {
				return fmt.Errorf("%q must be [IPV6ADDRESS] or [IPV6ADDRESS]:PORT", server)
			}
			host, hasPort = "v6", rest != ""
			port = strings.TrimPrefix(rest, ":")
		}
		if !hostName.MatchString(host) {
			return fmt.Errorf("%q must be HOST or HOST:PORT; several are separated by one space", server)
		}
		if n, err := strconv.Atoi(port); hasPort && (err != nil || n < 1 || n > math.MaxUint16) {
			return fmt.Errorf("%q: port %q is not a number from 1 to 65535", server, port)
		}
	}
	return nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)
