package plugin

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/connection"
	"github.com/turnstone-mq/turnstone/controllers/resource"
	"github.com/turnstone-mq/turnstone/plugin/cluster"
	"github.com/turnstone-mq/turnstone/plugin/manifest"
	"github.com/turnstone-mq/turnstone/plugin/top"
)

// head begins the manifest of a kind in the broker.
func head(kind, name string) string {
	return fmt.Sprintf("---\napiVersion: messaging.turnstone.dev/v1alpha1\nkind: %s\nmetadata: {name: %s}\n", kind, name)
}

func queue(name, more string) string {
	return head("Queue", name) + "spec: {brokerRef: {name: broker}" + more + "}\n"
}

func parse(namespace, text string) (out []v1alpha1.Topology) {
	GinkgoHelper()
	docs, err := manifest.ReadStream("-", []byte(text))
	Expect(err).NotTo(HaveOccurred())
	for _, d := range docs {
		o, err := d.Topology(cluster.Scheme, namespace)
		Expect(err).NotTo(HaveOccurred())
		out = append(out, o)
	}
	return out
}

// synced waits until everything in a namespace is Ready.
func synced(ctx context.Context, namespace string) {
	GinkgoHelper()
	c, err := cluster.From(restConfig, namespace)
	Expect(err).NotTo(HaveOccurred())
	Eventually(func(g Gomega) {
		objects, err := c.Topology(ctx, namespace, brokerName)
		g.Expect(err).NotTo(HaveOccurred())
		for _, o := range objects {
			ready := meta.FindStatusCondition(o.Common().Conditions, condition.Ready)
			g.Expect(ready).NotTo(BeNil(), o.GetName())
			g.Expect(ready.Status).To(Equal(metav1.ConditionTrue), "%s %s: %s", o.GetName(), ready.Reason, ready.Message)
			g.Expect(ready.ObservedGeneration).To(Equal(o.GetGeneration()))
		}
	}).Should(Succeed())
}

// want brings an object into the broker that nobody owns.
func (b *broker) want(ctx context.Context, kind object.Kind, vhost, name string, spec any) {
	GinkgoHelper()
	o, err := object.New(kind, vhost, name, spec)
	Expect(err).NotTo(HaveOccurred())
	if s, ok := spec.(object.BindingSpec); ok {
		o.Name = s.Name()
	}
	answer, err := b.admin.Apply(ctx, admin.ApplyRequest{Changes: []object.Change{{Object: o}}})
	Expect(err).NotTo(HaveOccurred())
	Expect(answer.Results[0].Outcome).To(BeElementOf(object.Created, object.Updated, object.Unchanged), answer.Results[0].Message)
}

var _ = Describe("status", func() {
	It("waits only so long for a broker that says nothing", func(ctx SpecContext) {
		b := newBroker(ctx)
		silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes connections, and nobody reads them
		Expect(err).NotTo(HaveOccurred())
		defer silent.Close()
		r := run(ctx, b.namespace, nil, "status", "broker", "--address", "https://"+silent.Addr().String())
		Expect(r.code).To(Equal(ExitNo), r.err)
		Expect(r.out).To(ContainSubstring("  - the broker does not answer within 5s\n"))
	})

	It("says how a broker does, and what is not ready", func(ctx SpecContext) {
		b := newBroker(ctx)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "broker-0", Labels: resource.Labels(brokerName)}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "broker", Image: "x"}}}}
		Expect(api.Create(ctx, pod)).To(Succeed())
		pod.Status = corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{Name: "broker", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}}}}}
		Expect(api.Status().Update(ctx, pod)).To(Succeed())
		apply(ctx, b.namespace, queue("orders", "")+queue("late", ", vhost: nowhere"))

		r := b.ask(ctx, "status")
		Expect(r.code).To(Equal(ExitNo), r.err)
		Expect(r.out).To(And(
			ContainSubstring("MessageBroker "+b.namespace+"/broker: not looked at yet"), ContainSubstring("the operator has not looked at it yet"),
			ContainSubstring("pod broker-0: container broker waits: ImagePullBackOff: no such image"), ContainSubstring("connections  0"),
		))
		startOperator(b)
		Eventually(func() string { return b.ask(ctx, "status", "broker").out }).Should(And(
			MatchRegexp(`Queue +2 +1 +1`), MatchRegexp(`queue/late +Missing +.*nowhere`),
		))
		var list []brokerStatus
		Expect(json.Unmarshal([]byte(b.ask(ctx, "status", "-o", "json").out), &list)).To(Succeed())
		Expect(list).To(HaveLen(1))
		Expect(list[0].Live.Queues).To(Equal(1))
		Expect(list[0].NotReady).To(HaveLen(1))
	})
})

var _ = Describe("plan", func() {
	It("says what manifests would do, and does nothing", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(b)
		apply(ctx, b.namespace, queue("same", "")+queue("worded", ", messageTTL: 60s")+queue("bounded", ", maxLength: 5")+head("Policy", "cap")+"spec: {brokerRef: {name: broker}, pattern: ^a, definition: {max-length: 1}}\n")
		b.want(ctx, object.KindQueue, "/", "theirs", object.QueueSpec{Durable: true})
		synced(ctx, b.namespace)
		Expect(run(ctx, b.namespace, nil, "pub", "broker", "--queue", "bounded", "one", "--count", "3", "--address", b.amqps).code).To(Equal(0))
		text := queue("same", "") + queue("worded", ", messageTTL: 1m") + queue("bounded", ", maxLength: 7") + queue("fresh", "") + queue("theirs", "") + queue("amq-like", ", name: amq.x") +
			queue("ttl", ", messageTTL: 2000h") + head("Policy", "cap") + "spec: {brokerRef: {name: broker}, pattern: ^a, definition: {max-length: 2, overflow: reject-publish}}\n" +
			head("Binding", "alone") + "spec: {brokerRef: {name: broker}, source: none, destination: same}\n" +
			head("Permission", "who") + "spec: {brokerRef: {name: broker}, userRef: {name: nobody}}\n" +
			head("Queue", "elsewhere") + "spec: {brokerRef: {name: other}}\n" +
			"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
		before, err := b.admin.Objects(ctx, "", "")
		Expect(err).NotTo(HaveOccurred())

		r := run(ctx, b.namespace, strings.NewReader(text), "plan", "-f", "-", "--address", b.url)
		Expect(r.code).To(Equal(ExitNo), r.err)
		Expect(r.err).To(ContainSubstring("1 object live in no broker and are not planned: ConfigMap c"))
		Expect(r.out).To(Equal("MessageBroker " + b.namespace + "/broker\n" +
			"  -/+ queue/bounded: recreate: maxLength cannot be changed: delete the object and make another; 3 messages would be lost\n" +
			"        arguments.x-max-length: 5 → 7\n" +
			"  +   queue/fresh\n" +
			"  ~   queue/theirs: taken over from nobody\n" +
			"  !   queue/amq-like: refused: spec.name: names that begin with amq. are reserved for the broker: choose another name\n" +
			"  !   queue/ttl: refused: spec.messageTTL: messageTTL must be between 0s and 1193h\n" +
			"  ~   policy/cap\n" +
			"        definition.max-length: 1 → 2\n" +
			"        definition.overflow: (unset) → \"reject-publish\"\n" +
			"  ?   binding/alone: wait: Binding \"none|queue|same|\" in vhost \"/\" refers to Exchange \"none\" in vhost \"/\", which does not exist: create it first, or in the same request\n" +
			"  ?   permission/who: wait: User \"nobody\" does not exist in namespace \"" + b.namespace + "\"\n" +
			"MessageBroker " + b.namespace + "/other\n" +
			"  ?   queue/elsewhere: wait: MessageBroker \"other\" does not exist in namespace \"" + b.namespace + "\"\n" +
			"plan: 1 to create, 2 to update, 1 to recreate, 3 to wait, 2 refused, 2 unchanged; 3 messages would be lost\n"))

		after, err := b.admin.Objects(ctx, "", "")
		Expect(err).NotTo(HaveOccurred())
		Expect(after.Revision).To(Equal(before.Revision))
		r = run(ctx, b.namespace, strings.NewReader(queue("fresh", "")), "plan", "-f", "-", "--client", "-o", "json", "--address", b.url)
		Expect(r.code).To(Equal(0), r.err)
		Expect(r.out).To(And(ContainSubstring(`"action": "create"`), ContainSubstring(`"object": "Queue \"fresh\" in vhost \"/\""`)))
	})
})

var _ = Describe("plan --delete", func() {
	It("says what deleting manifests would do, and does nothing", func(ctx SpecContext) {
		b := newBroker(ctx)
		startOperator(b)
		text := queue("empty", "") + queue("full", "") + queue("lost", ", deletionPolicy: Delete") + queue("kept", ", deletionPolicy: Retain") +
			head("Binding", "bound") + "spec: {brokerRef: {name: broker}, source: amq.topic, destination: lost}\n" +
			head("Exchange", "used") + "spec: {brokerRef: {name: broker}, type: topic}\n" +
			head("Binding", "other") + "spec: {brokerRef: {name: broker}, source: used, destination: empty}\n"
		apply(ctx, b.namespace, text)
		synced(ctx, b.namespace)
		for _, q := range []string{"full", "lost"} {
			Expect(run(ctx, b.namespace, nil, "pub", "broker", "--queue", q, "one", "--count", "2", "--address", b.amqps).code).To(Equal(0))
		}
		before, err := b.admin.Objects(ctx, "", "")
		Expect(err).NotTo(HaveOccurred())
		text = queue("empty", "") + queue("full", ", deletionPolicy: Delete") + queue("lost", "") + queue("kept", "") + queue("fresh", "") +
			head("Exchange", "used") + "spec: {brokerRef: {name: broker}, type: topic}\n"

		r := run(ctx, b.namespace, strings.NewReader(text), "plan", "--delete", "-f", "-", "--address", b.url, "-o", "wide")
		Expect(r.code).To(Equal(ExitNo), r.err)
		Expect(r.out).To(Equal("MessageBroker " + b.namespace + "/broker\n" +
			"  -   queue/empty (Queue \"empty\" in vhost \"/\"): takes along 1 binding\n" +
			"  !   queue/full (Queue \"full\" in vhost \"/\"): block: queue 'full' in vhost '/' not empty: it holds 2 messages\n" +
			"  -   queue/lost (Queue \"lost\" in vhost \"/\"): takes along 1 binding; 2 messages would be lost\n" +
			"  =   queue/kept (Queue \"kept\" in vhost \"/\"): retain: left in the broker, as spec.deletionPolicy says\n" +
			"  =   queue/fresh: it is not in Kubernetes\n" +
			"  -   exchange/used (Exchange \"used\" in vhost \"/\")\n" + // its binding went with the queue
			"plan: 3 to delete, 1 retained, 1 blocked, 1 unchanged; 2 messages would be lost\n"))
		after, err := b.admin.Objects(ctx, "", "")
		Expect(err).NotTo(HaveOccurred())
		Expect(after.Revision).To(Equal(before.Revision))
		Expect(run(ctx, b.namespace, strings.NewReader(text), "plan", "--delete", "--client", "-f", "-").code).To(Equal(ExitUsage))
	})
})

var _ = Describe("diff", func() {
	It("says in what Kubernetes and the broker are not of one mind", func(ctx SpecContext) {
		b := newBroker(ctx)
		apply(ctx, b.namespace, queue("missing", "")+queue("held", ", maxLength: 5")+queue("even", ""))
		o, err := object.New(object.KindQueue, "/", "held", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-max-length": int64(4)}})
		Expect(err).NotTo(HaveOccurred())
		even, err := object.New(object.KindQueue, "/", "even", object.QueueSpec{Durable: true})
		Expect(err).NotTo(HaveOccurred())
		even.Ref = b.namespace + "/even"
		left, err := object.New(object.KindQueue, "/", "left", object.QueueSpec{Durable: true})
		Expect(err).NotTo(HaveOccurred())
		left.Ref = b.namespace + "/left"
		_, err = b.admin.Apply(ctx, admin.ApplyRequest{Owner: "turnstone-operator", Changes: []object.Change{{Object: o}, {Object: even}, {Object: left}}})
		Expect(err).NotTo(HaveOccurred())

		r := b.ask(ctx, "diff", "broker")
		Expect(r.code).To(Equal(ExitNo), r.err)
		Expect(r.out).To(HavePrefix("MessageBroker " + b.namespace + "/broker\n" +
			"  ~ queue/held: different\n      arguments.x-max-length: 4 → 5\n" +
			"  - queue/missing: missing\n" +
			"  + Queue \"left\" in vhost \"/\": extra: it stands for " + b.namespace + "/left, which is gone or retained it\n" +
			"1 object is as written; "))
		Expect(b.ask(ctx, "diff", "broker", "--all").out).To(ContainSubstring(`· User "default": unmanaged`))
	})
})

var _ = Describe("export", func() {
	It("gives another broker the same", func(ctx SpecContext) {
		from, to := newBroker(ctx), newBroker(ctx)
		startOperator(to)
		from.want(ctx, object.KindVirtualHost, "", "Tenant A", object.VirtualHostSpec{Description: "first", MaxQueues: 9, Events: []object.EventKind{object.EventConnected}})
		from.want(ctx, object.KindUser, "", "App", object.UserSpec{Password: "exported-secret-value", Tags: []string{"monitoring"}, Limits: object.UserLimits{MaxConnections: 3, Client: object.Rate{MessagesPerSecond: 5}}})
		from.want(ctx, object.KindPermission, "Tenant A", "App", object.PermissionSpec{Configure: "^$", Write: ".*", Read: "^a", Topics: []object.TopicRule{{Filter: "a/%u/#", Publish: true}}})
		from.want(ctx, object.KindTopicPolicy, "/", "plant", object.TopicPolicySpec{Filter: "plant/#", MaxPayloadBytes: 100, Rewrite: &object.TopicRewrite{To: "x/{#}", Publish: true}})
		from.want(ctx, object.KindPolicy, "/", "dead", object.PolicySpec{Pattern: "^a", ApplyTo: object.ApplyToQueues, Definition: object.Arguments{"max-length": int64(7)}})
		from.want(ctx, object.KindOperatorPolicy, "/", "cap", object.PolicySpec{Pattern: ".*", ApplyTo: object.ApplyToQueues, Definition: object.Arguments{"max-length": int64(9)}})
		from.want(ctx, object.KindExchange, "/", "Events", object.ExchangeSpec{Type: "topic", Durable: true, Arguments: object.Arguments{"alternate-exchange": "amq.fanout"}})
		from.want(ctx, object.KindExchange, "/", "events", object.ExchangeSpec{Type: "x-random", Durable: true, Internal: true})
		from.want(ctx, object.KindQueue, "/", "sensor_data", object.QueueSpec{Durable: true, Arguments: object.Arguments{"x-message-ttl": int64(1500), "x-max-length": int64(3), "x-overflow": "reject-publish", "own": "argument"}})
		from.want(ctx, object.KindQueue, "Tenant A", "sensor_data", object.QueueSpec{Durable: true})
		from.want(ctx, object.KindBinding, "/", "", object.BindingSpec{Source: "Events", DestinationType: object.DestinationQueue, Destination: "sensor_data", RoutingKey: "a.#", Arguments: object.Arguments{"x": int64(1)}})

		r := from.ask(ctx, "export", "broker")
		Expect(r.code).To(Equal(0), r.err)
		Expect(r.out).NotTo(ContainSubstring("exported-secret-value"))
		Expect(r.out).To(Equal(from.ask(ctx, "export", "broker").out))
		apply(ctx, to.namespace, r.out)
		synced(ctx, to.namespace)
		Expect(to.digests(ctx)).To(Equal(from.digests(ctx)))
		// What the operator manages keeps the names that it has in Kubernetes.
		Expect(to.ask(ctx, "export", "broker").out).To(Equal(r.out))
		Expect(to.ask(ctx, "diff", "broker").code).To(Equal(0))
	})
})

// digests are those of each kind, whoever owns the objects.
func (b *broker) digests(ctx context.Context) map[object.Kind]string {
	GinkgoHelper()
	list, err := b.admin.Objects(ctx, "", "")
	Expect(err).NotTo(HaveOccurred())
	out := make(map[object.Kind]string)
	for _, kind := range object.Kinds {
		some := slices.DeleteFunc(slices.Clone(list.Objects), func(o object.Object) bool { return o.Kind != kind })
		for i := range some {
			some[i].Ref = ""
		}
		out[kind], err = object.Digest(some)
		Expect(err).NotTo(HaveOccurred())
	}
	return out
}

var _ = Describe("import", func() {
	It("makes manifests that the API server takes, and tells what it left out", func(ctx SpecContext) {
		ns := &corev1.Namespace{}
		ns.GenerateName = "import-"
		Expect(api.Create(ctx, ns)).To(Succeed())
		report := filepath.Join(GinkgoT().TempDir(), "report")
		r := run(ctx, "", nil, "import", "../broker/definitions/testdata/rabbitmq.json", "rabbitmq/testdata/resources.yaml", "--broker", "broker", "--report", report)
		Expect(r.code).To(Equal(0), r.err)
		Expect(r.err).To(MatchRegexp(`^\d+ manifests written, \d+ things to look at\n$`))
		said, err := os.ReadFile(report)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(said)).To(And(ContainSubstring("streams do not exist"), ContainSubstring("there are no shovels here")))
		names := make(map[string]bool)
		for _, o := range parse(ns.Name, r.out) {
			o.SetNamespace(ns.Name)
			if key := fmt.Sprintf("%T %s", o, o.GetName()); !names[key] { // the two files are of two brokers
				names[key] = true
				Expect(api.Create(ctx, o)).To(Succeed(), o.GetName())
			}
		}
		Expect(run(ctx, "", nil, "import", "../broker/definitions/testdata/rabbitmq.json").code).To(Equal(ExitUsage))
	})
})

var _ = Describe("can-i", func() {
	It("answers what the broker would", func(ctx SpecContext) {
		b := newBroker(ctx)
		b.want(ctx, object.KindUser, "", "app", object.UserSpec{Password: "x"})
		b.want(ctx, object.KindPermission, "/", "app", object.PermissionSpec{Write: ".*", Read: "^a", Topics: []object.TopicRule{{Filter: "plant/%c/#", Publish: true}}})
		r := b.ask(ctx, "can-i", "publish", "plant/7/t", "--as", "app", "--client-id", "7")
		Expect(r).To(Equal(result{0, "yes\n  permission write '.*' matches 'amq.topic'\n  topic rule 'plant/%c/#' of the permission covers 'plant/7/t'\n", ""}))
		r = b.ask(ctx, "can-i", "read", "orders", "--as", "app", "-b", "broker")
		Expect(r).To(Equal(result{ExitNo, "no: user 'app' may not read from 'orders' in vhost '/'\n", ""}))
		Expect(b.ask(ctx, "can-i", "read", "orders", "--as", "app", "-q")).To(Equal(result{code: ExitNo}))
		Expect(b.ask(ctx, "can-i", "fly", "orders", "--as", "app").code).To(Equal(ExitUsage))
		Expect(b.ask(ctx, "can-i", "read", "orders").err).To(Equal("error: say --as USER, or --anonymous\n"))
	})
})

var _ = Describe("pub and sub", func() {
	It("speak MQTT, bytes as they are", func(ctx SpecContext) {
		b := newBroker(ctx)
		body := []byte("\x00\xff\r\n\x1b[2J")
		file := filepath.Join(GinkgoT().TempDir(), "body")
		Expect(os.WriteFile(file, body, 0o600)).To(Succeed())
		r := run(ctx, b.namespace, nil, "pub", "broker", "plant/1", "--file", file, "--retain", "--content-type", "application/x", "-H", "a=b c", "--address", b.mqtts)
		Expect(r.code).To(Equal(ExitNo), r.err) // nobody subscribes
		Expect(r.err).To(ContainSubstring("nobody wanted 1"))

		r = run(ctx, b.namespace, nil, "sub", "broker", "plant/#", "--count", "1", "-o", "raw", "--address", b.mqtts)
		Expect(r.code).To(Equal(0), r.err)
		Expect([]byte(r.out)).To(Equal(body))
		r = run(ctx, b.namespace, nil, "sub", "broker", "plant/#", "--count", "1", "--address", b.mqtts)
		Expect(r.out).To(MatchRegexp(`^\d\d:\d\d:\d\d\.\d{3} plant/1 qos=1 retain=true contentType=application/x user\.a="b c" \(8 bytes\)\n00000000  00 ff 0d 0a 1b 5b 32 4a .*\n$`))
		r = run(ctx, b.namespace, nil, "sub", "broker", "plant/#", "--count", "1", "-o", "json", "--address", b.mqtts)
		Expect(r.out).To(ContainSubstring(`"bodyBase64":"` + base64.StdEncoding.EncodeToString(body) + `"`))
		r = run(ctx, b.namespace, nil, "sub", "broker", "nothing", "--count", "1", "--timeout", "50ms", "--address", b.mqtts)
		Expect(r).To(Equal(result{ExitNo, "", "0 messages within 50ms\n"}))
	})

	It("know a broker by the certificate that was brought for it", func(ctx SpecContext) {
		b := newBroker(ctx)
		own := &corev1.Secret{}
		Expect(api.Get(ctx, kube.ObjectKey{Namespace: b.namespace, Name: connection.AuthoritySecret(brokerName)}, own)).To(Succeed())
		shown := &corev1.Secret{Type: corev1.SecretTypeTLS, Data: map[string][]byte{corev1.TLSCertKey: own.Data["ca.crt"], corev1.TLSPrivateKeyKey: []byte("not needed")}}
		shown.Namespace, shown.Name = b.namespace, resource.ServerSecret(brokerName)
		shown.Annotations = map[string]string{resource.AnnotationSource: "secret/brought"}
		own.Data["ca.crt"] = []byte(certificate(GinkgoT().TempDir(), "somebody.else"))
		Expect(api.Update(ctx, own)).To(Succeed())
		publish := func() result {
			return run(ctx, b.namespace, nil, "pub", "broker", "a", "x", "--qos", "0", "--address", b.mqtts)
		}
		r := publish()
		Expect(r.code).To(Equal(ExitFailed))
		Expect(r.err).To(ContainSubstring("who answers at the address is not this broker"))

		Expect(api.Create(ctx, shown)).To(Succeed())
		r = publish()
		Expect(r.code).To(Equal(0), r.err)
		Expect(b.ask(ctx, "top", "broker", "--once", "--interval", "100ms").code).To(Equal(0))
	})

	It("speak AMQP, look into queues, and take out of them", func(ctx SpecContext) {
		b := newBroker(ctx)
		b.want(ctx, object.KindQueue, "/", "orders", object.QueueSpec{Durable: true})
		r := run(ctx, b.namespace, strings.NewReader("from stdin"), "pub", "broker", "--queue", "orders", "--count", "2", "-H", "n=1", "--address", b.amqps)
		Expect(r).To(Equal(result{0, "", "published 2 messages\n"}))
		for range 2 { // looking changes nothing
			r = run(ctx, b.namespace, nil, "sub", "broker", "--queue", "orders", "--address", b.amqps)
			Expect(r.err).To(Equal("2 messages wait in queue \"orders\"\n"))
			Expect(r.out).To(And(ContainSubstring(`"" → orders deliveryMode=persistent`), ContainSubstring("header.n=1"), ContainSubstring("from stdin\n")))
		}
		r = run(ctx, b.namespace, nil, "sub", "broker", "--queue", "orders", "--ack", "--count", "2", "-o", "json", "--address", b.amqps)
		Expect(r.code).To(Equal(0), r.err)
		Expect(strings.Count(r.out, `"body":"from stdin"`)).To(Equal(2))
		r = run(ctx, b.namespace, nil, "sub", "broker", "--queue", "orders", "--address", b.amqps)
		Expect(r).To(Equal(result{0, "", "0 messages wait in queue \"orders\"\n"}))
		Expect(run(ctx, b.namespace, nil, "sub", "broker", "--queue", "none", "--address", b.amqps).err).To(ContainSubstring("no queue 'none' in vhost '/'"))

		came := make(chan result, 1)
		go func() { // ends with the message
			defer GinkgoRecover()
			came <- run(ctx, b.namespace, nil, "sub", "broker", "--exchange", "amq.topic", "--key", "a.*", "--count", "1", "--address", b.amqps)
		}()
		Eventually(func() int {
			return run(ctx, b.namespace, nil, "pub", "broker", "--exchange", "amq.topic", "--key", "a.b", "hello", "--address", b.amqps).code
		}).Should(Equal(0))
		var heard result
		Eventually(came).Should(Receive(&heard))
		Expect(heard.out).To(ContainSubstring("hello"))
	})
})

var _ = Describe("drain", func() {
	It("sends clients away, keeps them out, and lets them in again", func(ctx SpecContext) {
		b := newBroker(ctx)
		gone := make(chan result, 1)
		go func() { // ends when the broker drains
			defer GinkgoRecover()
			gone <- run(ctx, b.namespace, nil, "sub", "broker", "a", "--address", b.mqtts)
		}()
		Eventually(func() ([]admin.ConnectionState, error) { return b.admin.Connections(ctx) }).Should(HaveLen(1))
		r := b.ask(ctx, "drain", "broker")
		Expect(r.code).To(Equal(0), r.err)
		Expect(r.out).To(And(HavePrefix(b.url+": clients are kept out\n"), HaveSuffix(b.url+": safe to stop\n")))
		var left result
		Eventually(gone).Should(Receive(&left))
		Expect(left.code).To(Equal(ExitFailed))
		Expect(left.err).To(ContainSubstring("broker ended the connection"))
		Expect(run(ctx, b.namespace, nil, "pub", "broker", "a", "x", "--address", b.mqtts).code).To(Equal(ExitFailed))
		Expect(b.ask(ctx, "status", "broker").out).To(ContainSubstring("the broker is draining: kubectl turnstone undrain broker lets clients in again"))
		_, err := b.admin.Ready(ctx)
		var answer *admin.Error
		Expect(errors.As(err, &answer) && answer.Status == 503).To(BeTrue(), "%v", err)

		Expect(b.ask(ctx, "undrain", "broker").out).To(Equal(b.url + ": clients are let in\n"))
		Expect(run(ctx, b.namespace, nil, "pub", "broker", "a", "x", "--qos", "0", "--address", b.mqtts).code).To(Equal(0))
	})
})

var _ = Describe("top", func() {
	It("prints tables where there is no terminal", func(ctx SpecContext) {
		b := newBroker(ctx)
		b.want(ctx, object.KindQueue, "/", "orders", object.QueueSpec{Durable: true})
		Expect(run(ctx, b.namespace, nil, "pub", "broker", "--queue", "orders", "12345", "--count", "4", "--address", b.amqps).code).To(Equal(0))
		r := b.ask(ctx, "top", "broker", "--once", "--interval", "100ms", "-o", "wide")
		Expect(r.code).To(Equal(0), r.err)
		Expect(r.out).To(And(MatchRegexp(`VHOST +QUEUE +READY`), MatchRegexp(`/ +orders +4 +0 +\d+ +0 +0 +0 +0\n`), MatchRegexp(`ID +PROTOCOL`)))
		var p top.Picture
		Expect(json.Unmarshal([]byte(b.ask(ctx, "top", "broker", "--once", "--interval", "100ms", "-o", "json").out), &p)).To(Succeed())
		Expect(p.Totals.Ready).To(Equal(4))
		Expect(b.ask(ctx, "top", "broker", "--sort", "color").code).To(Equal(ExitUsage))
	})
})

var _ = Describe("debug-bundle", func() {
	It("has what is needed, and no secret", func(ctx SpecContext) {
		b := newBroker(ctx)
		planted := map[string]string{
			"a password in an environment variable": "planted-env-password", "a connection string": "planted-dsn-password", "an annotation": "planted-annotation-token",
			"a password of a user": "planted-user-password", "the administrator's": "admin-secret-value", "the default user's": "default-secret-value",
			"a description": "planted-description-password", "a sidecar's argument": "planted-argument", "a header of a probe": "planted-header", "an event": "planted-event-password",
		}
		b.want(ctx, object.KindUser, "", "app", object.UserSpec{Password: planted["a password of a user"]})
		b.secret(ctx, "app-user-credentials", map[string]string{"username": "app", "password": planted["a password of a user"], "amqp_url": "amqp://app:" + planted["a password of a user"] + "@host"})
		apply(ctx, b.namespace, head("User", "app")+"spec: {brokerRef: {name: broker}}\n"+
			head("VirtualHost", "tenant")+"spec: {brokerRef: {name: broker}, description: 'see https://u:"+planted["a description"]+"@wiki'}\n")
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "broker-0", Labels: resource.Labels(brokerName), Annotations: map[string]string{"example.com/token": planted["an annotation"]}}, Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "broker", Image: "x", Env: []corev1.EnvVar{{Name: "DB_PASSWORD", Value: planted["a password in an environment variable"]}, {Name: "DB", Value: "postgres://u:" + planted["a connection string"] + "@db/x"}}},
			{Name: "side", Image: "x", Args: []string{"--pass", planted["a sidecar's argument"]}, ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(80), HTTPHeaders: []corev1.HTTPHeader{{Name: "X", Value: planted["a header of a probe"]}}}}}},
		}}}
		Expect(api.Create(ctx, pod)).To(Succeed())
		event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "e"}, InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: b.namespace, Name: "broker-0"}, Reason: "Failed", Message: "password=" + planted["an event"] + " and " + planted["a password in an environment variable"], Type: "Warning"}
		Expect(api.Create(ctx, event)).To(Succeed())

		file := filepath.Join(GinkgoT().TempDir(), "bundle.tar.gz")
		r := b.ask(ctx, "debug-bundle", "broker", "-o", file)
		Expect(r.code).To(Equal(0), r.err)
		Expect(r.out).To(Equal(file + "\n"))
		files := unpack(file)
		for _, name := range []string{
			"README.txt", "broker.yaml", "objects/user.yaml", "objects/virtualhost.yaml", "kubernetes/pods.yaml", "kubernetes/secrets.txt", "kubernetes/events.txt",
			"broker/config.json", "broker/queues.json", "broker/connections.json", "broker/objects.json", "broker/metrics.txt", "broker/goroutines.txt", "broker/safe-to-stop.json",
		} {
			Expect(files).To(HaveKey(name))
			Expect(files[name]).NotTo(BeEmpty(), name)
		}
		Expect(files["kubernetes/pods.yaml"]).To(ContainSubstring("name: DB_PASSWORD"))
		Expect(files["kubernetes/events.txt"]).To(ContainSubstring("Warning Pod/broker-0 Failed: password=[removed]"))
		Expect(files["kubernetes/secrets.txt"]).To(ContainSubstring("app-user-credentials (Opaque): amqp_url, password, username"))
		for name, text := range files {
			for what, secret := range planted {
				for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
					Expect(text).NotTo(ContainSubstring(form), "%s is in %s", what, name)
				}
			}
			Expect(text).NotTo(MatchRegexp(`\$argon2|SCRAM-SHA|PRIVATE KEY`), name)
		}
	})
})

// unpack reads a bundle: its files by their names in its folder.
func unpack(name string) map[string]string {
	GinkgoHelper()
	raw, err := os.ReadFile(name)
	Expect(err).NotTo(HaveOccurred())
	z, err := gzip.NewReader(bytes.NewReader(raw))
	Expect(err).NotTo(HaveOccurred())
	out := make(map[string]string)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		Expect(err).NotTo(HaveOccurred())
		text, err := io.ReadAll(r)
		Expect(err).NotTo(HaveOccurred())
		_, file, _ := strings.Cut(h.Name, "/")
		out[file] = string(text)
	}
}

var _ = Describe("the command line", func() {
	It("says what to change, and ends with a code for it", func(ctx SpecContext) {
		b := newBroker(ctx)
		for _, c := range []struct {
			args []string
			code int
			text string
		}{
			{[]string{"fly"}, ExitUsage, `there is no command "fly"; there are can-i, `},
			{[]string{"status", "--colour"}, ExitUsage, "unknown flag: --colour (kubectl turnstone status --help lists the flags)"},
			{[]string{"top"}, ExitUsage, "kubectl turnstone top BROKER [flags]"},
			{[]string{"top", "brokr"}, ExitFailed, `MessageBroker "brokr" does not exist in namespace "` + b.namespace + `"; there is broker`},
			{[]string{"status", "-o", "xml"}, ExitUsage, "want one of wide, json, yaml"},
			{[]string{"plan"}, ExitUsage, "name manifests with -f"},
			{[]string{"plan", "-f", "/nowhere"}, ExitUsage, "no such file"},
			{[]string{"logs", "broker"}, ExitFailed, "has no pods: kubectl turnstone status broker says why"},
			{[]string{"logs", "broker", "--grep", "("}, ExitUsage, "--grep: error parsing regexp"},
			{[]string{"top", "broker"}, ExitFailed, `no pod of MessageBroker "broker" runs`},
			{[]string{"pub", "broker"}, ExitUsage, "name a TOPIC, --queue or --exchange"},
			{[]string{"pub", "broker", "a", "b", "c", "--queue", "q"}, ExitUsage, "accepts between 1 and 3 arg(s)"},
			{[]string{"pub", "broker", "a", "b", "--address", "http://x:1"}, ExitUsage, "--address: want mqtt://HOST:PORT or mqtts://HOST:PORT"},
			{[]string{"sub", "broker"}, ExitUsage, "name one of FILTER, --queue or --exchange"},
			{[]string{"pub", "broker", "a", "b", "--secret", "none", "--address", b.mqtts}, ExitFailed, "secret none:"},
		} {
			r := run(ctx, b.namespace, nil, c.args...)
			Expect(r.code).To(Equal(c.code), "%v: %s", c.args, r.err)
			Expect(r.err).To(ContainSubstring(c.text), "%v", c.args)
		}
	})

	It("completes the names of brokers", func(ctx SpecContext) {
		b := newBroker(ctx)
		var out bytes.Buffer
		code := Run(ctx, []string{"__complete", "--kubeconfig", kubeconfig, "-n", b.namespace, "status", ""}, Streams{In: &out, Out: &out, Err: io.Discard}, Version{})
		Expect(code).To(Equal(0))
		Expect(out.String()).To(HavePrefix("broker\n"))
	})

	It("says what is wrong with a Secret or a cluster that is not there", func(ctx SpecContext) {
		b := newBroker(ctx)
		s := &corev1.Secret{}
		s.Namespace, s.Name = b.namespace, resource.AdminSecret(brokerName)
		Expect(api.Delete(ctx, s)).To(Succeed())
		Expect(b.ask(ctx, "diff", "broker").err).To(ContainSubstring("the operator makes it for each MessageBroker; does it run?"))
		b.secret(ctx, resource.AdminSecret(brokerName), map[string]string{"username": "admin", "password": "wrong"})
		Expect(b.ask(ctx, "diff", "broker").err).To(ContainSubstring("the broker has another password than the Secret of its administrator"))
		var out bytes.Buffer
		code := Run(ctx, []string{"status", "--server", "http://127.0.0.1:1"}, Streams{In: &out, Out: &out, Err: &out}, Version{})
		Expect(code).To(Equal(ExitFailed))
		Expect(out.String()).To(ContainSubstring("is the cluster of this --context up?"))
	})
})
