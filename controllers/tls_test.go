package controllers_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/controllers/certificate"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// serial is the serial number of the certificate that a listener shows.
func serial(address string) string {
	GinkgoHelper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	Expect(err).NotTo(HaveOccurred())
	defer conn.Close()
	return serialOf(conn.ConnectionState().PeerCertificates[0])
}

func serialOf(c *x509.Certificate) string { return fmt.Sprintf("%X", c.SerialNumber) }

// company is an authority of users, which issues certificates for brokers.
type company struct{ ca certificate.Pair }

func newCompany() company {
	GinkgoHelper()
	ca, err := certificate.NewAuthority("company", time.Now())
	Expect(err).NotTo(HaveOccurred())
	return company{ca}
}

func (c company) issue(names ...string) certificate.Pair {
	GinkgoHelper()
	pair, err := c.ca.Issue(names, time.Now())
	Expect(err).NotTo(HaveOccurred())
	return pair
}

func serialOfPair(p certificate.Pair) string {
	GinkgoHelper()
	leaf, err := p.Leaf()
	Expect(err).NotTo(HaveOccurred())
	return serialOf(leaf)
}

// write makes a Secret as it should be.
func write(ctx context.Context, namespace, name string, data map[string][]byte) {
	GinkgoHelper()
	s := &corev1.Secret{}
	s.Namespace, s.Name = namespace, name
	err := api.Get(ctx, client.ObjectKeyFromObject(s), s)
	s.Data = data
	if err != nil {
		Expect(api.Create(ctx, s)).To(Succeed())
		return
	}
	Expect(api.Update(ctx, s)).To(Succeed())
}

func pairData(p certificate.Pair, ca []byte) map[string][]byte {
	d := map[string][]byte{corev1.TLSCertKey: p.Certificate, corev1.TLSPrivateKeyKey: p.Key}
	if ca != nil {
		d[resource.KeyCA] = ca
	}
	return d
}

// note is a condition; empty if there is none.
func note(b *v1alpha1.MessageBroker, kind string) metav1.Condition {
	if c := apimeta.FindStatusCondition(b.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func change(ctx context.Context, b *v1alpha1.MessageBroker, edit func(*v1alpha1.MessageBrokerSpec)) {
	GinkgoHelper()
	reread(ctx, b)
	edit(&b.Spec)
	Expect(api.Update(ctx, b)).To(Succeed())
}

func bindingCA(ctx context.Context, namespace string) []byte {
	GinkgoHelper()
	s := &corev1.Secret{}
	Expect(api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "broker-default-user"}, s)).To(Succeed())
	return s.Data[resource.KeyCA]
}

var _ = Describe("The certificate of a MessageBroker", func() {
	It("comes from a Secret of the user, and a renewal of it is shown without a restart", func(ctx SpecContext) {
		b := newBench(api)
		n := newNamespace(ctx)
		o := newBroker(ctx, n, nil)
		b.settle(ctx, o)
		p := b.pods.start(ctx, o)
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionTrue, condition.Available))
		own := serial(p.listen["mqtts"])
		Expect(o.Status.CertificateSerial).To(Equal(own))
		Expect(note(o, condition.CertificateReady)).To(Equal(metav1.Condition{}))

		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) {
			s.TLS = &v1alpha1.TLS{SecretRef: &v1alpha1.LocalReference{Name: "certificate"}}
		})
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionFalse, condition.SecretNotFound))
		Expect(note(o, condition.CertificateReady).Message).To(ContainSubstring(`Secret "certificate" does not exist in namespace "` + n + `": create it`))
		Expect(serial(p.listen["mqtts"])).To(Equal(own))

		us := newCompany()
		first := us.issue("mqtt.example.com")
		write(ctx, n, "certificate", pairData(first, us.ca.Certificate))
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionTrue, condition.Available), "the broker still shows its own, which is known")
		Expect(note(o, condition.CertificateReady)).To(because(metav1.ConditionTrue, condition.InUse))
		Expect(note(o, condition.CertificateReady).Message).To(ContainSubstring("it is not for broker." + n + ".svc"))
		Expect(bindingCA(ctx, n)).To(Equal(us.ca.Certificate))
		p.sync(ctx, o)
		Eventually(func() string { return serial(p.listen["mqtts"]) }).Should(Equal(serialOfPair(first)))
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionTrue, condition.Available), "the admin API is known by what it shows")
		Expect(o.Status.CertificateSerial).To(Equal(serialOfPair(first)))

		second := us.issue("mqtt.example.com")
		write(ctx, n, "certificate", pairData(second, us.ca.Certificate))
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionTrue, condition.Available), "the former certificate is known until the next is shown")
		p.sync(ctx, o)
		Eventually(func() string { return serial(p.listen["amqps"]) }).Should(Equal(serialOfPair(second)))
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionTrue, condition.Available))

		By("keeping the old one when the new one is no pair")
		write(ctx, n, "certificate", pairData(certificate.Pair{Certificate: us.issue("a").Certificate, Key: second.Key}, nil))
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionTrue, condition.Available), "it serves as before")
		Expect(note(o, condition.CertificateReady)).To(because(metav1.ConditionFalse, condition.CertificateUnusable))
		Expect(note(o, condition.CertificateReady).Message).To(Equal(`Secret "certificate": certificate and key are no pair: private key does not match public key: put a certificate and its key, in PEM, into tls.crt and tls.key`))
		write(ctx, n, "certificate", map[string][]byte{corev1.TLSCertKey: second.Certificate})
		b.settle(ctx, o)
		Expect(note(o, condition.CertificateReady).Message).To(ContainSubstring(`has no key "tls.key", or it is empty`))
		p.sync(ctx, o)
		Expect(o.Status.CertificateSerial).To(Equal(serialOfPair(second)))

		By("taking the broker's own authority again")
		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) { s.TLS = &v1alpha1.TLS{DNSNames: []string{"mqtt.example.com"}} })
		b.settle(ctx, o)
		Expect(note(o, condition.CertificateReady)).To(Equal(metav1.Condition{}))
		Expect(readiness(o)).To(because(metav1.ConditionTrue, condition.Available))
		p.sync(ctx, o)
		Eventually(func() string { return serial(p.listen["mqtts"]) }).Should(And(Equal(o.Status.CertificateSerial), Not(Equal(serialOfPair(second)))))
		roots := x509.NewCertPool()
		Expect(roots.AppendCertsFromPEM(bindingCA(ctx, n))).To(BeTrue())
		conn, err := tls.Dial("tcp", p.listen["mqtts"], &tls.Config{RootCAs: roots, ServerName: "mqtt.example.com"})
		Expect(err).NotTo(HaveOccurred())
		Expect(conn.Close()).To(Succeed())
	}, NodeTimeout(2*time.Minute))

	It("asks clients for certificates, and takes changes of their authorities without a restart", func(ctx SpecContext) {
		b := newBench(api)
		n := newNamespace(ctx)
		old, next := newCompany(), newCompany()
		o := newBroker(ctx, n, func(s *v1alpha1.MessageBrokerSpec) {
			s.TLS = &v1alpha1.TLS{ClientAuthentication: &v1alpha1.ClientAuthentication{
				Mode: v1alpha1.ClientsMustAuthenticate, CASecretRef: v1alpha1.CAReference{Name: "devices"}, UserFrom: "CommonName",
			}}
		})
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionFalse, condition.SecretNotFound), "a broker that would not ask is not started")
		write(ctx, n, "devices", map[string][]byte{"ca.crt": []byte("no certificate")})
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionFalse, condition.ClientCAUnusable))
		write(ctx, n, "devices", map[string][]byte{"ca.crt": old.ca.Certificate})
		b.settle(ctx, o)
		p := b.pods.start(ctx, o)
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionTrue, condition.Available), "the admin API needs no certificate")

		_, err := tls.Dial("tcp", p.listen["https"], &tls.Config{InsecureSkipVerify: true})
		Expect(err).NotTo(HaveOccurred())
		devices := newDevices(old.ca)
		Expect(devices.login(p.listen["mqtts"], "default")).To(Equal(byte(0)))
		Expect(devices.login(p.listen["mqtts"], "nobody")).NotTo(Equal(byte(0)))

		write(ctx, n, "devices", map[string][]byte{"ca.crt": next.ca.Certificate})
		b.settle(ctx, o)
		p.sync(ctx, o)
		Eventually(func() byte { return newDevices(next.ca).login(p.listen["mqtts"], "default") }).Should(Equal(byte(0)))
		Expect(devices.login(p.listen["mqtts"], "default")).NotTo(Equal(byte(0)))

		write(ctx, n, "devices", map[string][]byte{"other": next.ca.Certificate})
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionTrue, condition.Available), "what is in use stays")
		Expect(note(o, condition.CertificateReady)).To(because(metav1.ConditionFalse, condition.SecretNotFound))
	}, NodeTimeout(2*time.Minute))

	It("comes from an issuer of cert-manager, whose silence holds up nothing", func(ctx SpecContext) {
		n := newNamespace(ctx)
		b := newBench(api)
		o := newBroker(ctx, n, func(s *v1alpha1.MessageBrokerSpec) {
			s.TLS = &v1alpha1.TLS{IssuerRef: &v1alpha1.IssuerReference{Name: "public", Kind: "ClusterIssuer"}, DNSNames: []string{"mqtt.example.com"}}
		})
		b.settle(ctx, o)
		p := b.pods.start(ctx, o)
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionFalse, condition.CertManagerMissing))
		Expect(readiness(o).Message).To(Equal("the cluster does not know the kind: install cert-manager, or name a Secret in spec.tls.secretRef"))
		Expect(o.Status.ReadyReplicas).To(BeEquivalentTo(1), "the pod runs all the same")

		installCertManager(ctx)
		b = newBenchOn(api, b.pods)
		b.settle(ctx, o)
		Expect(readiness(o)).To(because(metav1.ConditionFalse, condition.IssuerPending))
		asked := resource.Foreign(o, resource.CertificateKind, "broker")
		reread(ctx, asked)
		Expect(asked.Object["spec"]).To(HaveKeyWithValue("dnsNames", []any{"mqtt.example.com"}))
		before := asked.DeepCopy()
		asked.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "False", "message": "Issuing certificate as Secret does not exist"}}}
		Expect(api.Status().Patch(ctx, asked, client.MergeFrom(before))).To(Succeed())
		b.settle(ctx, o)
		Expect(note(o, condition.CertificateReady).Message).To(HavePrefix(`ClusterIssuer "public" has not issued a certificate (Issuing certificate as Secret does not exist): look at Certificate ` + n + "/broker"))

		us := newCompany()
		issued := us.issue("mqtt.example.com")
		write(ctx, n, "broker-issued", pairData(issued, us.ca.Certificate))
		Expect(readiness(b.settle(ctx, o))).To(because(metav1.ConditionTrue, condition.Available))
		p.sync(ctx, o)
		Eventually(func() string { return serial(p.listen["mqtts"]) }).Should(Equal(serialOfPair(issued)))

		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) { s.TLS = nil })
		b.settle(ctx, o)
		Expect(api.Get(ctx, client.ObjectKeyFromObject(asked), asked)).To(MatchError(ContainSubstring("not found")))
	}, NodeTimeout(2*time.Minute))

	It("is renewed by the operator's own watch of a Secret that is not its own", func(ctx SpecContext) {
		n := newNamespace(ctx)
		us := newCompany()
		first, second := us.issue("a"), us.issue("a")
		write(ctx, n, "certificate", pairData(first, nil))
		op := startOperator(n, &pods{}, time.Minute)
		o := newBroker(ctx, n, func(s *v1alpha1.MessageBrokerSpec) {
			s.TLS = &v1alpha1.TLS{SecretRef: &v1alpha1.LocalReference{Name: "certificate"}}
		})
		p := op.serve(ctx, o)
		Expect(serial(p.listen["mqtts"])).To(Equal(serialOfPair(first)))
		Expect(bindingCA(ctx, n)).To(BeEmpty(), "clients trust it anyway")
		write(ctx, n, "certificate", pairData(second, nil))
		Eventually(func() string { return reread(ctx, o).Status.CertificateSerial }).Should(Equal(serialOfPair(second)))
		p.sync(ctx, o)
		Eventually(func() string { return serial(p.listen["mqtts"]) }).Should(Equal(serialOfPair(second)))
		Expect(readiness(reread(ctx, o)).Status).To(Equal(metav1.ConditionTrue))
	}, NodeTimeout(time.Minute))
})

// installCertManager makes the kind Certificate known.
func installCertManager(ctx context.Context) {
	GinkgoHelper()
	installKind(ctx, "cert-manager.io", "Certificate", "certificates")
}

func installKind(ctx context.Context, group, kind, plural string) {
	GinkgoHelper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	crd.Name = plural + "." + group
	crd.Annotations = map[string]string{"api-approved.kubernetes.io": "unapproved, for a test"}
	crd.Spec = apiextensionsv1.CustomResourceDefinitionSpec{
		Group: group, Scope: apiextensionsv1.NamespaceScoped,
		Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: kind, ListKind: kind + "List", Plural: plural, Singular: plural[:len(plural)-1]},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
			Name: "v1", Served: true, Storage: true, Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
				Type: "object", XPreserveUnknownFields: new(true),
			}},
		}},
	}
	_, err := envtest.InstallCRDs(config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{crd}})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() {
		Expect(envtest.UninstallCRDs(config, envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{crd}})).To(Succeed())
	})
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(group + "/v1")
	list.SetKind(kind + "List")
	Eventually(func() error { return api.List(ctx, list) }).Should(Succeed())
}

// devices is an authority of clients.
type devices struct {
	ca  *x509.Certificate
	key any
}

func newDevices(ca certificate.Pair) devices {
	GinkgoHelper()
	leaf, err := ca.Leaf()
	Expect(err).NotTo(HaveOccurred())
	block, _ := pem.Decode(ca.Key)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	Expect(err).NotTo(HaveOccurred())
	return devices{leaf, key}
}

// login connects by MQTT with a certificate for a name and answers the return code; 255 if the connection was refused.
func (d devices) login(address, name string) byte {
	GinkgoHelper()
	const refused = 255
	pair, err := d.client(name)
	Expect(err).NotTo(HaveOccurred())
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
	if err != nil {
		return refused
	}
	defer conn.Close()
	Expect(conn.SetDeadline(time.Now().Add(10 * time.Second))).To(Succeed())
	if _, err := conn.Write([]byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a")); err != nil {
		return refused
	}
	answer := make([]byte, 4)
	if n, err := conn.Read(answer); err != nil || n < 4 || !bytes.HasPrefix(answer, []byte{0x20}) {
		return refused
	}
	return answer[3]
}

func (d devices) client(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	template.Subject.CommonName = name
	der, err := x509.CreateCertificate(rand.Reader, template, d.ca, &key.PublicKey, d.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
