// Package config holds the one configuration of the broker: its fields, defaults, file format, validation, and which keys
// change while the broker runs. The operator renders the same struct into the broker's ConfigMap.
package config

import (
	"fmt"
	"math"
	"os"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// Config is the whole configuration. The zero value of each field means its default (see Default); keys tagged
// `live:"true"` take effect on reload, the others at the next start. A key that needs a restart and was not in the first
// release is tagged `hash:"set"`: unset, it does not change Hash, so that an upgrade restarts nobody.
type Config struct {
	// DataDir holds the journal and the identity of this broker. One broker at a time.
	DataDir string `json:"dataDir,omitempty"`
	// Listeners are URLs: mqtt://HOST:PORT, mqtts, ws, wss, amqp, amqps, http, https (admin API and metrics), and tcp, tls and
	// unix:///PATH, which serve MQTT and AMQP by what a client sends first. Port 0 picks one.
	Listeners []string `json:"listeners,omitempty"`
	TLS       TLS      `json:"tls,omitzero"`
	// ProxyProtocol says whose word on the client's address counts.
	ProxyProtocol ProxyProtocol `json:"proxyProtocol,omitzero"`
	WebSocket     WebSocket     `json:"webSocket,omitzero"`
	Log           Log           `json:"log,omitzero"`
	Auth          Auth          `json:"auth,omitzero"`
	MQTT          MQTT          `json:"mqtt,omitzero"`
	AMQP          AMQP          `json:"amqp,omitzero"`
	Limits        Limits        `json:"limits,omitzero" live:"true"`
	Storage       Storage       `json:"storage,omitzero"`
	// Definitions is a file of RabbitMQ's definitions.json that is brought into force at every start.
	Definitions string `json:"definitions,omitempty"`
	// DrainSeconds bounds a graceful stop.
	DrainSeconds int `json:"drainSeconds,omitempty" live:"true"`
}

// TLS names the files that serve every mqtts, wss, amqps and https listener. They are read again when they change.
type TLS struct {
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
	// ClientCAFile holds the authorities of client certificates. A client that shows one must show a valid one;
	// RequireClientCert refuses those that show none.
	ClientCAFile      string `json:"clientCAFile,omitempty"`
	RequireClientCert bool   `json:"requireClientCert,omitempty"`
	// AdminWithoutCert lets clients of https listeners show no certificate although others must: probes have none, and who
	// calls the admin API has a password.
	AdminWithoutCert bool `json:"adminWithoutCert,omitempty" hash:"set"`
	// CRLFile holds revocation lists, in PEM or DER form, of those authorities. A certificate whose authority has one in the
	// file must not be on it.
	CRLFile string `json:"crlFile,omitempty"`
	// MinVersion is 1.2 or 1.3.
	MinVersion string `json:"minVersion,omitempty"`
}

// ProxyProtocol is version 1 or 2 of the protocol of that name.
type ProxyProtocol struct {
	// TrustedNetworks are those of load balancers, such as 10.0.0.0/8: a connection from there may begin with a header that
	// says whose it is. From elsewhere a header is malformed.
	TrustedNetworks []string `json:"trustedNetworks,omitempty"`
}

// WebSocket configures the listeners ws and wss.
type WebSocket struct {
	// Path that requests must have, such as /mqtt; empty is any.
	Path string `json:"path,omitempty"`
	// Origins of pages that may connect, such as *.example.com; none is all. Clients that are no browsers send no origin.
	Origins []string `json:"origins,omitempty"`
}

// Log says how the broker logs to standard error.
type Log struct {
	Format string `json:"format,omitempty"`            // text or json
	Level  string `json:"level,omitempty" live:"true"` // debug, info, warn, error
}

// Auth says who may connect before any user exists, and what exists from the start.
type Auth struct {
	// Anonymous admits clients without a name: "loopback" (only from this machine and only while no user was created),
	// "always" or "never".
	Anonymous string `json:"anonymous,omitempty" live:"true"`
	// ScramIterations is how often the hash of a password is iterated for SCRAM, of passwords that are set from now on: from
	// 4096 to 10000000; -1 makes no keys for SCRAM.
	ScramIterations int `json:"scramIterations,omitempty" live:"true"`
	// CertificateName says which name in a client's certificate is its user: common-name, dns-name, email, uri, each the first
	// of its kind; empty is the first of common-name, dns-name and email that there is.
	CertificateName string `json:"certificateName,omitempty" live:"true"`
	// BootstrapUsers are made when the data directory is new, with the password in a file; they end guest and anonymous access.
	BootstrapUsers []BootstrapUser `json:"bootstrapUsers,omitempty"`
}

// The names in a certificate that can be its user's.
const (
	CertificateCommonName = "common-name"
	CertificateDNSName    = "dns-name"
	CertificateEmail      = "email"
	CertificateURI        = "uri"
)

// NoScram is the value of ScramIterations that makes no keys.
const NoScram = -1

// scramIterations is four times what RFC 7677 asks for at least. The client pays for it, at every connection unless it
// keeps the salted password, and among the clients are microcontrollers: with the hundreds of thousands of iterations that
// are right where a server pays, they would not be in before the connect timeout. What it means for keys that are stolen is
// in docs/operations.md.
const scramIterations = 16384

// BootstrapUser is a user of the first hour. Password comes from the flag --user and is never written to a file.
type BootstrapUser struct {
	Name         string   `json:"name"`
	PasswordFile string   `json:"passwordFile,omitempty"`
	Password     string   `json:"-"`
	Tags         []string `json:"tags,omitempty"`
	// VirtualHosts are those in which the user may do everything; the default is "/".
	VirtualHosts []string `json:"virtualHosts,omitempty"`
}

// MQTT configures the MQTT endpoint.
type MQTT struct {
	// Exchange is the topic exchange through which MQTT publishes and subscribes.
	Exchange string `json:"exchange,omitempty"`
	// MaxKeepAliveSeconds bounds the keep alive of clients of version 5, also of those that ask for none; 0 does not.
	MaxKeepAliveSeconds int `json:"maxKeepAliveSeconds,omitempty" live:"true"`
	// MaxSessionExpirySeconds bounds how long a session outlives its connection; 4294967295 does not. Sessions of versions
	// 3.1 and 3.1.1 that are not clean have this expiry.
	MaxSessionExpirySeconds int64 `json:"maxSessionExpirySeconds,omitempty" live:"true"`
	// SharedSubscriptions says which member of a shared subscription gets a message: "round-robin" among those with room,
	// "sticky" is one until it has no room, "hash-topic" and "hash-client" by topic or publisher.
	SharedSubscriptions string `json:"sharedSubscriptions,omitempty" live:"true"`
	// SysIntervalSeconds is how often the topics $SYS/broker/… of the virtual host "/" are brought up to date; -1 is never.
	SysIntervalSeconds int `json:"sysIntervalSeconds,omitempty" live:"true"`
	// ServerReference is where clients of version 5 are sent when the broker stops, such as "other.example:1883"; several
	// are separated by spaces.
	ServerReference string `json:"serverReference,omitempty" live:"true"`
	// ServerMoved sends all clients there for good: those that are connected, and those that connect.
	ServerMoved bool `json:"serverMoved,omitempty" live:"true"`
}

// The ways to share a subscription.
const (
	ShareRoundRobin = "round-robin"
	ShareSticky     = "sticky"
	ShareHashTopic  = "hash-topic"
	ShareHashClient = "hash-client"
)

// AMQP configures the AMQP endpoints.
type AMQP struct {
	HeartbeatSeconds int `json:"heartbeatSeconds,omitempty" live:"true"` // proposed in tune
	FrameMaxBytes    int `json:"frameMaxBytes,omitempty" live:"true"`
	ChannelMax       int `json:"channelMax,omitempty" live:"true"`
}

// Limits bound what peers can make the broker hold. Each has a metric when it is hit and the protocol's own error.
type Limits struct {
	Connections           int   `json:"connections,omitempty"`
	ConnectTimeoutMillis  int   `json:"connectTimeoutMillis,omitempty"`  // until a peer is authenticated
	PreAuthPacketBytes    int   `json:"preAuthPacketBytes,omitempty"`    // one packet or frame before that
	PacketBytes           int   `json:"packetBytes,omitempty"`           // one MQTT packet after it
	MessageBytes          int64 `json:"messageBytes,omitempty"`          // one message body
	Subscriptions         int   `json:"subscriptions,omitempty"`         // per MQTT session
	TopicLevels           int   `json:"topicLevels,omitempty"`           // levels of a topic, words of a key
	TopicAliases          int   `json:"topicAliases,omitempty"`          // per MQTT connection, in each direction
	InFlight              int   `json:"inFlight,omitempty"`              // unacknowledged messages per MQTT session, in each direction
	SessionQueueMessages  int   `json:"sessionQueueMessages,omitempty"`  // waiting messages per MQTT session; the oldest goes first
	SessionQueueBytes     int64 `json:"sessionQueueBytes,omitempty"`     //
	Channels              int   `json:"channels,omitempty"`              // per AMQP connection
	ConsumersPerChannel   int   `json:"consumersPerChannel,omitempty"`   //
	UnackedPerChannel     int   `json:"unackedPerChannel,omitempty"`     //
	SuspendedLinks        int   `json:"suspendedLinks,omitempty"`        // links and dynamic nodes of AMQP 1.0 that may outlive their connections, per virtual host
	SuspendedLinksPerUser int   `json:"suspendedLinksPerUser,omitempty"` // per virtual host and user
	UnsettledPerLink      int   `json:"unsettledPerLink,omitempty"`      // deliveries that a sender of AMQP 1.0 has not settled, while the broker remembers them
	ConsumerTimeoutMillis int64 `json:"consumerTimeoutMillis,omitempty"` // that a consumer of AMQP may hold a delivery, and that a transaction of AMQP 1.0 may be open
	OutboxBytes           int   `json:"outboxBytes,omitempty"`           // waiting to be written to one connection
	TableDepth            int   `json:"tableDepth,omitempty"`            // nested AMQP tables and arrays
	TableEntries          int   `json:"tableEntries,omitempty"`          //
	RetainedMessages      int   `json:"retainedMessages,omitempty"`      // per virtual host
	DelayedMessages       int   `json:"delayedMessages,omitempty"`       // that wait for their time, per virtual host
	BodyCacheBytes        int64 `json:"bodyCacheBytes,omitempty"`        // bodies of durable messages kept in memory
	MemoryBytes           int64 `json:"memoryBytes,omitempty"`           // transient messages in queues; publishers wait beyond
	ShardInboxBytes       int64 `json:"shardInboxBytes,omitempty"`       // publishes waiting for one shard
	AuthFailuresPerMin    int   `json:"authFailuresPerMinute,omitempty"` // per peer address; more are refused unheard
	Rates                 Rates `json:"rates,omitzero"`
}

// Rates hold clients to so much a second, where their user's own limits do not say otherwise. Zero is unlimited.
type Rates struct {
	// Client is the rate of each client, which is an MQTT client id or a connection of AMQP; User that of all connections
	// of a user together.
	Client object.Rate `json:"client,omitzero"`
	User   object.Rate `json:"user,omitzero"`
	// OnExcess says what happens to those who publish more: slow-down, drop or disconnect.
	OnExcess object.OnExcess `json:"onExcess,omitempty"`
}

// Storage configures the journal.
type Storage struct {
	SegmentBytes int64 `json:"segmentBytes,omitempty"`
	// Durability is when stored messages are confirmed, where their queue does not say: "always" is after the fsync,
	// "interval" and "none" after the write. With interval an fsync follows within SyncIntervalMillis.
	Durability         string `json:"durability,omitempty"`
	SyncIntervalMillis int    `json:"syncIntervalMillis,omitempty"`
	Shards             int    `json:"shards,omitempty"` // fixed when the data directory is made
}

// The durabilities.
const (
	DurabilityAlways   = "always"
	DurabilityInterval = "interval"
	DurabilityNone     = "none"
)

// ConnectTimeout is how long a peer may stay unauthenticated.
func (l Limits) ConnectTimeout() time.Duration {
	return time.Duration(l.ConnectTimeoutMillis) * time.Millisecond
}

// Default is the configuration that serves without any file: loopback only, data in ./data.
func Default() Config {
	return Config{
		DataDir:      "data",
		Listeners:    []string{"mqtt://127.0.0.1:1883", "amqp://127.0.0.1:5672", "http://127.0.0.1:15672"},
		TLS:          TLS{MinVersion: "1.2"},
		Log:          Log{Format: "text", Level: "info"},
		Auth:         Auth{Anonymous: "loopback", ScramIterations: scramIterations},
		MQTT:         MQTT{Exchange: "amq.topic", MaxSessionExpirySeconds: math.MaxUint32, SharedSubscriptions: ShareRoundRobin, SysIntervalSeconds: 10},
		AMQP:         AMQP{HeartbeatSeconds: 60, FrameMaxBytes: 128 << 10, ChannelMax: 2047},
		DrainSeconds: 8,
		Storage:      Storage{SegmentBytes: 64 << 20, Durability: DurabilityAlways, SyncIntervalMillis: 100, Shards: 16},
		Limits: Limits{
			Connections:           1_000_000,
			ConnectTimeoutMillis:  10_000,
			PreAuthPacketBytes:    16 << 10,
			PacketBytes:           16 << 20,
			MessageBytes:          16 << 20,
			Subscriptions:         10_000,
			TopicLevels:           128,
			TopicAliases:          64,
			InFlight:              1_000,
			SessionQueueMessages:  100_000,
			SessionQueueBytes:     64 << 20,
			Channels:              2047,
			ConsumersPerChannel:   10_000,
			UnackedPerChannel:     1_000_000,
			SuspendedLinks:        10_000,
			SuspendedLinksPerUser: 1_000,
			UnsettledPerLink:      10_000,
			ConsumerTimeoutMillis: 1_800_000,
			OutboxBytes:           4 << 20,
			TableDepth:            16,
			TableEntries:          4096,
			RetainedMessages:      1_000_000,
			DelayedMessages:       1_000_000,
			BodyCacheBytes:        64 << 20,
			MemoryBytes:           512 << 20,
			ShardInboxBytes:       16 << 20,
			AuthFailuresPerMin:    60,
			Rates:                 Rates{OnExcess: object.SlowDown},
		},
	}
}

// Load reads a YAML file as Parse does.
func Load(file string) (Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := Parse(b)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", file, err)
	}
	return c, nil
}

// Parse reads YAML over the defaults and validates the result. Unknown keys are errors.
func Parse(text []byte) (Config, error) {
	c := Default()
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return Config{}, err
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Render writes the configuration as YAML; Load of it gives the same configuration.
func (c Config) Render() ([]byte, error) { return yaml.Marshal(c) }
