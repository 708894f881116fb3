package v1alpha1_test

import (
	"context"
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// object reads "Kind NAME" and a spec in YAML.
func object(kind, name, spec string) *unstructured.Unstructured {
	GinkgoHelper()
	var s any
	Expect(yaml.Unmarshal([]byte(spec), &s)).To(Succeed())
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "messaging.turnstone.dev/v1alpha1", "kind": kind,
		"metadata": map[string]any{"namespace": "default", "name": name},
		"spec":     s,
	}}
	return u
}

func create(ctx context.Context, o client.Object) error {
	return client.WithFieldValidation(api, "Strict").Create(ctx, o)
}

var _ = DescribeTable("an object that breaks a rule is refused with the rule's sentence",
	func(ctx SpecContext, kind, name, spec, sentence string) {
		err := create(ctx, object(kind, name, spec))
		Expect(err).To(MatchError(ContainSubstring(sentence)))
	},
	Entry(nil, "MessageBroker", "many", "{replicas: 3}", "replicas must be 1, or 0 to hibernate: a broker of several pods is not supported yet"),
	Entry(nil, "MessageBroker", "lb", "{service: {loadBalancerClass: a}}", "loadBalancerClass and loadBalancerSourceRanges need type LoadBalancer"),
	Entry(nil, "MessageBroker", "ranges", "{service: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0]}}", "must be a network such as 10.0.0.0/8 or fd00::/8"),
	Entry(nil, "MessageBroker", "nodeports", "{service: {nodePorts: {mqtt: 31883}}}", "nodePorts and externalTrafficPolicy need type NodePort or LoadBalancer"),
	Entry(nil, "MessageBroker", "nodeport", "{service: {type: NodePort, nodePorts: {mqtt: 70000}}}", "less than or equal to 65535"),
	Entry(nil, "MessageBroker", "families", "{service: {ipFamilies: [IPv6, IPv4]}}", "two ipFamilies need ipFamilyPolicy PreferDualStack or RequireDualStack"),
	Entry(nil, "MessageBroker", "wspath", "{webSocket: {path: mqtt}}", "should match"),
	Entry(nil, "MessageBroker", "wshost", "{webSocket: {ingress: {className: a}}}", "spec.webSocket.ingress.host: Required value"),
	Entry(nil, "MessageBroker", "wsgateway", "{webSocket: {gateway: {parentRefs: []}}}", "should have at least 1 items"),
	Entry(nil, "MessageBroker", "sources", "{tls: {secretRef: {name: a}, issuerRef: {name: b}}}", "secretRef and issuerRef exclude one another: a certificate has one source"),
	Entry(nil, "MessageBroker", "names", "{tls: {secretRef: {name: a}, dnsNames: [b]}}", "dnsNames are for certificates that are issued"),
	Entry(nil, "MessageBroker", "dnsname", "{tls: {dnsNames: ['a b']}}", "should match"),
	Entry(nil, "MessageBroker", "clientca", "{tls: {clientAuthentication: {mode: Required}}}", "caSecretRef: Required value"),
	Entry(nil, "MessageBroker", "clientmode", "{tls: {clientAuthentication: {mode: None, caSecretRef: {name: a}}}}", `supported values: "Optional", "Required"`),
	Entry(nil, "MessageBroker", "userfrom", "{tls: {clientAuthentication: {userFrom: Serial, caSecretRef: {name: a}}}}", `supported values: "CommonName", "DNSName", "Email", "URI"`),
	Entry(nil, "MessageBroker", "template", "{podTemplate: [a]}", "must be of type object"),
	Entry(nil, "MessageBroker", "1broker", "{}", "the name of a MessageBroker must be a DNS label"),
	Entry(nil, "MessageBroker", strings.Repeat("b", 41), "{}", "at most 40 characters"),
	Entry(nil, "MessageBroker", "small", "{storage: {size: 1Mi}}", "storage.size must be at least 512Mi: the journal needs room for its segments"),
	Entry(nil, "MessageBroker", "unknown", "{replicaz: 1}", `unknown field "spec.replicaz"`),
	Entry(nil, "MessageBroker", "kept", "{storage: {deletionPolicy: DeleteIfEmpty}}", `supported values: "Retain", "Delete"`),
	Entry(nil, "Exchange", "type", "{brokerRef: {name: b}, type: x-later}", `supported values: "direct", "topic", "fanout", "headers", "x-consistent-hash", "x-random", "x-local-random", "x-delayed-message"`),
	Entry(nil, "Exchange", "delayed", "{brokerRef: {name: b}, type: x-delayed-message}", "delayedType says as what an exchange of type x-delayed-message routes"),
	Entry(nil, "Exchange", "reserved", "{brokerRef: {name: b}, name: amq.mine}", "names that begin with amq. are reserved for the broker: choose another name"),
	Entry(nil, "Exchange", "nobroker", "{type: direct}", "spec.brokerRef: Required value"),
	Entry(nil, "Queue", "long", "{brokerRef: {name: b}, name: '"+strings.Repeat("ü", 200)+"'}", "name must be at most 255 bytes of UTF-8 without NUL"),
	Entry(nil, "Queue", "nul", `{brokerRef: {name: b}, name: "a\0b"}`, "name must be at most 255 bytes of UTF-8 without NUL"),
	Entry(nil, "Queue", "reserved", "{brokerRef: {name: b}, name: amq.gen-1}", "names that begin with amq. are reserved for the broker: choose another name"),
	Entry(nil, "Queue", "overflow", "{brokerRef: {name: b}, overflow: drop-head}", "overflow needs maxLength or maxLengthBytes: without them the queue never overflows"),
	Entry(nil, "Queue", "ttl", "{brokerRef: {name: b}, messageTTL: -1s}", "messageTTL must be between 0s and 1193h"),
	Entry(nil, "Queue", "expires", "{brokerRef: {name: b}, expires: 0s}", "expires must be between 1ms and 1193h"),
	Entry(nil, "Queue", "limit", "{brokerRef: {name: b}, deliveryLimit: -2}", "greater than or equal to -1"),
	Entry(nil, "Queue", "groups", "{brokerRef: {name: b}, messageGroups: {buckets: 65537}}", "less than or equal to 65536"),
	Entry(nil, "Queue", "both", "{brokerRef: {name: b}, messageGroups: {}, lastValueKey: id}", "lastValueKey and messageGroups exclude each other"),
	Entry(nil, "Queue", "lastvalue", `{brokerRef: {name: b}, lastValueKey: ""}`, "should be at least 1 chars long"),
	Entry(nil, "Queue", "vhost", `{brokerRef: {name: b}, vhost: ""}`, "should be at least 1 chars long"),
	Entry(nil, "Binding", "nosource", "{brokerRef: {name: b}, destination: q}", "spec.source: Required value"),
	Entry(nil, "TopicPolicy", "nothing", "{brokerRef: {name: b}}", "filter, queues or autoSubscribe must be set: the policy would cover nothing"),
	Entry(nil, "TopicPolicy", "nofilter", "{brokerRef: {name: b}, queues: {pattern: a}, maxQoS: 1}", "publishers, subscribers, rewrite and the limits of messages need a filter that says for which topics"),
	Entry(nil, "TopicPolicy", "norename", "{brokerRef: {name: b}, filter: a/#, rewrite: {to: b}}", "a rewrite must rename something: set publish or subscribe"),
	Entry(nil, "TopicPolicy", "towild", "{brokerRef: {name: b}, filter: a/#, rewrite: {to: b/#, publish: true}}", "to must be a topic name that does not begin with $"),
	Entry(nil, "TopicPolicy", "whose", "{brokerRef: {name: b}, rewrite: {to: b, publish: true}, autoSubscribe: [{filter: a}]}", "publishers, subscribers, rewrite and the limits of messages need a filter"),
	Entry(nil, "TopicPolicy", "sharenolocal", "{brokerRef: {name: b}, autoSubscribe: [{filter: $share/g/a, noLocal: true}]}", "noLocal is not for a shared subscription"),
	Entry(nil, "TopicPolicy", "qos", "{brokerRef: {name: b}, filter: a, maxQoS: 3}", "less than or equal to 2"),
	Entry(nil, "TopicPolicy", "excess", "{brokerRef: {name: b}, filter: a, onExcess: drop}", "onExcess needs maxMessagesPerSecond or maxBytesPerSecond"),
	Entry(nil, "MessageBroker", "rates", "{configuration: {limits: {rates: {client: {bytesPerSecond: -2}}}}}", "greater than or equal to -1"),
	Entry(nil, "User", "excess", "{brokerRef: {name: b}, limits: {onExcess: wait}}", `supported values: "slow-down", "drop", "disconnect"`),
	Entry(nil, "VirtualHost", "events", "{brokerRef: {name: b}, events: [exploded]}", `supported values: "connected", "disconnected", "subscribed", "unsubscribed"`),
	Entry(nil, "Policy", "nothing", "{brokerRef: {name: b}, pattern: a, definition: {}}", "should have at least 1 properties"),
	Entry(nil, "Policy", "streams", "{brokerRef: {name: b}, pattern: a, applyTo: streams, definition: {max-length: 1}}", `supported values: "all", "exchanges", "queues", "classic_queues", "quorum_queues"`),
	Entry(nil, "OperatorPolicy", "exchanges", "{brokerRef: {name: b}, pattern: a, applyTo: exchanges, definition: {max-length: 1}}", `supported values: "queues", "classic_queues", "quorum_queues"`),
	Entry(nil, "User", "tag", "{brokerRef: {name: b}, tags: [root]}", `supported values: "administrator", "monitoring", "management", "policymaker"`),
	Entry(nil, "Permission", "nobody", "{brokerRef: {name: b}}", "exactly one of user and userRef must be set"),
	Entry(nil, "Permission", "both", "{brokerRef: {name: b}, user: a, userRef: {name: a}}", "exactly one of user and userRef must be set"),
	Entry(nil, "Permission", "idle", "{brokerRef: {name: b}, user: a, topics: [{filter: a}]}", "a topic rule must allow something: set publish or subscribe"),
	Entry(nil, "MessageBroker", "iterations", "{configuration: {scramIterations: 100}}", "must be 4096 at least, or -1"),
	Entry(nil, "MessageBroker", "moved", "{configuration: {mqtt: {serverMoved: true}}}", "serverMoved needs serverReference, which says where to"),
	Entry(nil, "MessageBroker", "reference", "{configuration: {mqtt: {serverReference: 'a  b'}}}", "should match"),
	Entry(nil, "User", "twice", "{brokerRef: {name: b}, passwordSecretRef: {name: a}, passwordHashSecretRef: {name: a}}", "passwordSecretRef and passwordHashSecretRef exclude one another: a user has one password"),
	Entry(nil, "User", "revision", "{brokerRef: {name: b}, passwordSecretRef: {name: a}, passwordRevision: 2}", "passwordRevision is for passwords that are made: change what is in the Secret instead"),
	Entry(nil, "User", "overlap", "{brokerRef: {name: b}, rotationOverlap: 721h}", "rotationOverlap must be between 0s and 720h"),
	Entry(nil, "User", "ids", "{brokerRef: {name: b}, clientIDs: ['']}", "should be at least 1 chars long"),
	Entry(nil, "User", "idnul", `{brokerRef: {name: b}, clientIDs: ["a\0b"]}`, "a pattern must be at most 1024 bytes of UTF-8 without NUL"),
	Entry(nil, "Queue", "nowhere", "{brokerRef: {}}", "brokerRef needs exactly one of name, for a MessageBroker, and connectionSecret, for a broker elsewhere"),
	Entry(nil, "Queue", "twobrokers", "{brokerRef: {name: b, connectionSecret: {name: s}}}", "brokerRef needs exactly one of name"),
	Entry(nil, "Queue", "othersecret", "{brokerRef: {namespace: other, connectionSecret: {name: s}}}", "a connectionSecret is always in the object's own namespace"),
	Entry(nil, "MessageBroker", "nobody", "{allowedNamespaces: {}}", "allowedNamespaces needs names or a selector; an empty selector {} allows every namespace"),
	Entry(nil, "MessageBroker", "noname", `{allowedNamespaces: {names: [""]}}`, "should be at least 1 chars long"),
	Entry(nil, "Queue", "ownership", "{brokerRef: {name: b}, ownershipPolicy: Common}", `supported values: "Exclusive", "Shared"`),
	Entry(nil, "User", "shared", "{brokerRef: {name: b}, ownershipPolicy: Shared}", "a Shared user needs passwordSecretRef: a password that is made is for one object alone"),
	Entry(nil, "Queue", "deletion", "{brokerRef: {name: b}, deletionPolicy: Keep}", `supported values: "Retain", "Delete", "DeleteIfEmpty", "DeleteIfUnused"`),
	Entry(nil, "VirtualHost", "deletion", "{brokerRef: {name: b}, deletionPolicy: Keep}", `supported values: "Retain", "Delete", "DeleteIfEmpty", "DeleteIfUnused"`),
	Entry(nil, "User", "deletion", "{brokerRef: {name: b}, deletionPolicy: DeleteIfEmpty}", `supported values: "Retain", "Delete", "DeleteIfUnused"`),
	Entry(nil, "Policy", "deletion", "{brokerRef: {name: b}, pattern: a, definition: {a: 1}, deletionPolicy: DeleteIfEmpty}", `supported values: "Retain", "Delete", "DeleteIfUnused"`),
	Entry(nil, "Binding", "deletion", "{brokerRef: {name: b}, source: s, destination: d, deletionPolicy: DeleteIfUnused}", `supported values: "Retain", "Delete"`),
	Entry(nil, "Permission", "configure", "{brokerRef: {name: b}, user: a, configure: '['}", "configure must be a regular expression in RE2 syntax"),
	Entry(nil, "Permission", "write", "{brokerRef: {name: b}, user: a, write: '(?!a)'}", "write must be a regular expression in RE2 syntax"),
	Entry(nil, "Permission", "read", `{brokerRef: {name: b}, user: a, read: '(a)\1'}`, "read must be a regular expression in RE2 syntax"),
	Entry(nil, "Permission", "user", "{brokerRef: {name: b}, user: '"+strings.Repeat("ü", 200)+"'}", "user must be at most 255 bytes of UTF-8 without NUL"),
	Entry(nil, "Permission", "hash", "{brokerRef: {name: b}, user: a, topics: [{filter: 'a/#/b', publish: true}]}", "filter must be an MQTT topic filter: + is a whole level, # the whole last one, and NUL is in none"),
	Entry(nil, "Permission", "plus", "{brokerRef: {name: b}, user: a, topics: [{filter: 'a/b+', publish: true}]}", "filter must be an MQTT topic filter"),
	Entry(nil, "TopicPolicy", "hash", "{brokerRef: {name: b}, filter: 'a#', maxQoS: 1}", "filter must be an MQTT topic filter"),
	Entry(nil, "TopicPolicy", "subscribe", "{brokerRef: {name: b}, autoSubscribe: [{filter: '$share/g/a/#/b'}]}", "filter must be an MQTT topic filter"),
	Entry(nil, "TopicPolicy", "pattern", "{brokerRef: {name: b}, queues: {pattern: '*'}}", "pattern must be a regular expression in RE2 syntax"),
	Entry(nil, "TopicPolicy", "nouser", `{brokerRef: {name: b}, filter: a, publishers: [""]}`, "should be at least 1 chars long"),
	Entry(nil, "Policy", "pattern", "{brokerRef: {name: b}, pattern: 'a(', definition: {max-length: 1}}", "pattern must be a regular expression in RE2 syntax"),
	Entry(nil, "OperatorPolicy", "pattern", "{brokerRef: {name: b}, pattern: '+', definition: {max-length: 1}}", "pattern must be a regular expression in RE2 syntax"),
	Entry(nil, "Binding", "source", `{brokerRef: {name: b}, source: "a\0", destination: d}`, "source must be at most 255 bytes of UTF-8 without NUL"),
	Entry(nil, "Binding", "destination", "{brokerRef: {name: b}, source: s, destination: '"+strings.Repeat("ü", 200)+"'}", "destination must be at most 255 bytes of UTF-8 without NUL"),
	Entry(nil, "Binding", "key", "{brokerRef: {name: b}, source: s, destination: d, routingKey: '"+strings.Repeat("k", 256)+"'}", "may not be more than 255"),
	Entry(nil, "Exchange", "alternate", `{brokerRef: {name: b}, alternateExchange: "a\0"}`, "alternateExchange must be at most 255 bytes of UTF-8 without NUL"),
	Entry(nil, "Queue", "dead", `{brokerRef: {name: b}, deadLetter: {exchange: "a\0"}}`, "deadLetter.exchange must be at most 255 bytes of UTF-8 without NUL"),
	Entry(nil, "Queue", "longest", "{brokerRef: {name: b}, name: '"+strings.Repeat("q", 256)+"'}", "may not be more than 255"),
	Entry(nil, "VirtualHost", "negative", "{brokerRef: {name: b}, maxQueues: -1}", "greater than or equal to 0"),
)

var _ = DescribeTable("what the broker cannot change in place is refused",
	func(ctx SpecContext, kind, before, after, sentence string) {
		name := fmt.Sprintf("immutable-%s-%d", strings.ToLower(kind), GinkgoRandomSeed()%1000+int64(len(before)*100+len(after)))
		o := object(kind, name, before)
		Expect(create(ctx, o)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(api.Delete(ctx, o)).To(Succeed()) })
		changed := object(kind, name, after)
		changed.SetResourceVersion(o.GetResourceVersion())
		Expect(api.Update(ctx, changed)).To(MatchError(ContainSubstring(sentence)))
	},
	Entry(nil, "MessageBroker", "{}", "{storage: {size: 5Gi}}", "storage.size cannot shrink: volumes only grow"),
	Entry(nil, "MessageBroker", "{}", "{storage: {storageClassName: fast}}", "storage.storageClassName cannot be changed"),
	Entry(nil, "Queue", "{brokerRef: {name: a}}", "{brokerRef: {name: b}}", "brokerRef cannot be changed: delete the object and make another"),
	Entry(nil, "Queue", "{brokerRef: {name: a}}", "{brokerRef: {name: a, namespace: b}}", "brokerRef cannot be changed: delete the object and make another"),
	Entry(nil, "Queue", "{brokerRef: {connectionSecret: {name: a}}}", "{brokerRef: {connectionSecret: {name: b}}}", "brokerRef cannot be changed: delete the object and make another"),
	Entry(nil, "Queue", "{brokerRef: {name: a}}", "{brokerRef: {name: a}, vhost: other}", "vhost cannot be changed"),
	Entry(nil, "Queue", "{brokerRef: {name: a}}", "{brokerRef: {name: a}, name: other}", "name cannot be changed"),
	Entry(nil, "Queue", "{brokerRef: {name: a}}", "{brokerRef: {name: a}, durable: false}", "durable cannot be changed"),
	Entry(nil, "Queue", "{brokerRef: {name: a}, messageTTL: 1s}", "{brokerRef: {name: a}}", "messageTTL cannot be changed"),
	Entry(nil, "Queue", "{brokerRef: {name: a}}", "{brokerRef: {name: a}, deadLetter: {exchange: x}}", "deadLetter cannot be changed"),
	Entry(nil, "Exchange", "{brokerRef: {name: a}}", "{brokerRef: {name: a}, type: topic}", "type cannot be changed"),
	Entry(nil, "Binding", "{brokerRef: {name: a}, source: s, destination: d}", "{brokerRef: {name: a}, source: s, destination: e}", "destination cannot be changed"),
	Entry(nil, "Permission", "{brokerRef: {name: a}, user: u}", "{brokerRef: {name: a}, userRef: {name: u}}", "user cannot be changed"),
)

var _ = Describe("durations", func() {
	It("are the same however they are written", func(ctx SpecContext) {
		q := object("Queue", "durations", "{brokerRef: {name: b}, messageTTL: 168h, expires: 90m}")
		Expect(create(ctx, q)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(api.Delete(ctx, q)).To(Succeed()) })
		again := object("Queue", "durations", "{brokerRef: {name: b}, messageTTL: 168h0m0s, expires: 1h30m0s}")
		again.SetResourceVersion(q.GetResourceVersion())
		Expect(api.Update(ctx, again)).To(Succeed())
	})
})

var _ = Describe("defaults", func() {
	It("are those that keep data", func(ctx SpecContext) {
		q := object("Queue", "defaults", "{brokerRef: {name: b}}")
		Expect(create(ctx, q)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(api.Delete(ctx, q)).To(Succeed()) })
		Expect(q.Object["spec"]).To(Equal(map[string]any{
			"brokerRef": map[string]any{"name": "b"}, "vhost": "/", "durable": true, "deletionPolicy": "DeleteIfEmpty",
			"driftPolicy": "Correct", "ownershipPolicy": "Exclusive",
		}))
		b := object("MessageBroker", "defaults", "{}")
		Expect(create(ctx, b)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(api.Delete(ctx, b)).To(Succeed()) })
		Expect(b.Object["spec"]).To(Equal(map[string]any{
			"replicas": int64(1), "service": map[string]any{"type": "ClusterIP"},
			"storage": map[string]any{"size": "10Gi", "deletionPolicy": "Retain"},
		}))
	})

	It("leave room for filters and patterns that are right", func(ctx SpecContext) {
		for i, o := range []*unstructured.Unstructured{
			object("Permission", "right", `{brokerRef: {name: b}, user: a, read: '^(a|b)[[:alpha:]]\d{2}$', topics: [{filter: '#', publish: true}, {filter: '+', publish: true}, {filter: '/+/a//%u/%c-x/#', subscribe: true}, {filter: '$SYS/#', subscribe: true}]}`),
			object("TopicPolicy", "right", `{brokerRef: {name: b}, filter: 'a/+/#', maxQoS: 1, autoSubscribe: [{filter: '$share/g/a/+'}, {filter: '$exclusive/a'}, {filter: '$queue/work'}, {filter: '+/%c'}]}`),
			object("Queue", "right", `{brokerRef: {name: b, namespace: other}, ownershipPolicy: Shared, adopt: true}`),
			object("Binding", "right", `{brokerRef: {connectionSecret: {name: there}}, source: s, destination: d, routingKey: "a.*.#"}`),
		} {
			Expect(create(ctx, o)).To(Succeed(), "%d", i)
			Expect(api.Delete(ctx, o)).To(Succeed())
		}
	})

	It("leave room for every argument", func(ctx SpecContext) {
		q := object("Queue", "arguments", `{brokerRef: {name: b}, messageTTL: 1m30s, maxLength: 5, overflow: reject-publish, arguments: {x-queue-type: quorum, mine: [1, {a: true}]}}`)
		Expect(create(ctx, q)).To(Succeed())
		Expect(api.Delete(ctx, q)).To(Succeed())
	})
})
