package e2e_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/turnstone-mq/turnstone/controllers/certificate"
)

// plant is the life of a broker: testdata/plant.yaml, and what is done to it.
type plant struct {
	namespace
	broker, queue string
	node          string // that the broker is on
	authority     certificate.Pair
	to            listener
	who           account // the user sensors, with its present password
}

var _ = Describe("A broker", Ordered, func() {
	p := &plant{namespace: "plant", broker: "main", queue: "events", who: account{user: "sensors", password: rand.Text()}}

	BeforeAll(func(ctx SpecContext) {
		var err error
		Eventually(ctx, func() error { // one that an operator of before is leaving is not yet spare
			p.node, err = spareNode(ctx)
			return err
		}).Should(Succeed())
		p.authority, err = certificate.NewAuthority("plant", time.Now())
		Expect(err).NotTo(HaveOccurred())
		p.remove(ctx) // of a run before that failed
		p.to = listener{host: p.broker + "." + string(p.namespace) + ".svc", roots: x509.NewCertPool()}
		Expect(p.to.roots.AppendCertsFromPEM(p.authority.Certificate)).To(BeTrue())
		p.applyManifests(ctx)
		p.showCertificate(ctx)
		p.givePassword(ctx)
		p.becomesReady(ctx)
		Expect(p.field(ctx, p.pod(), "{.spec.nodeName}")).To(Equal(p.node))
	}, NodeTimeout(3*time.Minute))

	rotation(p)
	expansion(p)
	plugin(p)
	crash(p)
	reinstallation(p)

	It("is gone with its namespace", func(ctx SpecContext) { p.remove(ctx) }, NodeTimeout(2*time.Minute))
})

func (p *plant) remove(ctx SpecContext) {
	GinkgoHelper()
	_, err := p.kubectl(ctx, "delete", "namespace", string(p.namespace), "--ignore-not-found", "--timeout=90s")
	Expect(err).NotTo(HaveOccurred())
}

// pod and object are the broker's for kubectl.
func (p *plant) pod() string    { return "pod/" + p.broker + "-0" }
func (p *plant) object() string { return "messagebroker/" + p.broker }

func (p *plant) applyManifests(ctx SpecContext) {
	GinkgoHelper()
	manifests, err := os.ReadFile("testdata/plant.yaml")
	Expect(err).NotTo(HaveOccurred())
	_, err = p.apply(ctx, strings.ReplaceAll(string(manifests), "$NODE", p.node), "apply", "--server-side", "-f", "-")
	Expect(err).NotTo(HaveOccurred())
}

// becomesReady waits for everything, and for the Services to follow the pod.
func (p *plant) becomesReady(ctx SpecContext) {
	GinkgoHelper()
	Eventually(ctx, p.waitingFor).WithTimeout(2 * time.Minute).Should(BeEmpty())
	for protocol, connect := range protocols {
		Eventually(ctx, func() error {
			c, err := connect(p.to, p.who)
			if err == nil {
				c.close()
			}
			return err
		}).Should(Succeed(), protocol)
	}
}

// putSecret writes one of the user's own.
func (p *plant) putSecret(ctx SpecContext, name string, kind corev1.SecretType, data map[string][]byte) {
	GinkgoHelper()
	s := corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, Type: kind, Data: data}
	s.Name = name
	text, err := json.Marshal(s)
	Expect(err).NotTo(HaveOccurred())
	_, err = p.apply(ctx, string(text), "apply", "--server-side", "-f", "-")
	Expect(err).NotTo(HaveOccurred())
}

// showCertificate puts a new certificate into the Secret that spec.tls names, and answers its serial number.
func (p *plant) showCertificate(ctx SpecContext) string {
	GinkgoHelper()
	pair, err := p.authority.Issue([]string{p.to.host}, time.Now())
	Expect(err).NotTo(HaveOccurred())
	leaf, err := pair.Leaf()
	Expect(err).NotTo(HaveOccurred())
	p.putSecret(ctx, "listener", corev1.SecretTypeTLS, map[string][]byte{
		corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.Key, "ca.crt": p.authority.Certificate,
	})
	return fmt.Sprintf("%X", leaf.SerialNumber)
}

// givePassword puts the present password of the user into the Secret that passwordSecretRef names.
func (p *plant) givePassword(ctx SpecContext) {
	GinkgoHelper()
	p.putSecret(ctx, p.who.user, corev1.SecretTypeOpaque, map[string][]byte{"password": []byte(p.who.password)})
}

// running identifies the run of the broker's process: the pod, and how often its container was restarted.
func (p *plant) running(ctx context.Context) (string, error) {
	return p.field(ctx, p.pod(), "{.metadata.uid} {.status.containerStatuses[*].restartCount}")
}

// takeAll takes everything out of the queue and says whether that is what clients were promised.
func (p *plant) takeAll(ctx SpecContext, l *ledger) received {
	GinkgoHelper()
	conn, err := p.to.amqp(p.who)
	Expect(err).NotTo(HaveOccurred())
	defer conn.Close() //nolint:errcheck // it only reads
	const patience = 45 * time.Second
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := l.take(patient, conn, p.queue)
	Expect(err).NotTo(HaveOccurred())
	Expect(l.lost(got)).To(BeEmpty(), "%d of the %d confirmed messages came", len(got), len(l.confirmed))
	GinkgoWriter.Printf("%d messages were confirmed, %d came\n", len(l.confirmed), len(got))
	return got
}
