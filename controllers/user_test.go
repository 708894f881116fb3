package controllers_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/url"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// The answers of CONNECT, version 3.1.1.
const (
	accepted    = byte(0)
	wrongClient = byte(2)
	wrongLogin  = byte(4)
)

// login connects by MQTT and answers the return code.
func login(address, clientID, user, password string) byte {
	GinkgoHelper()
	conn, err := net.Dial("tcp", address)
	Expect(err).NotTo(HaveOccurred())
	defer conn.Close()
	Expect(conn.SetDeadline(time.Now().Add(10 * time.Second))).To(Succeed())
	body := []byte("\x00\x04MQTT\x04\xc2\x00\x00")
	for _, s := range []string{clientID, user, password} {
		body = append(binary.BigEndian.AppendUint16(body, uint16(len(s))), s...)
	}
	Expect(len(body)).To(BeNumerically("<", 128))
	_, err = conn.Write(append([]byte{0x10, byte(len(body))}, body...))
	Expect(err).NotTo(HaveOccurred())
	answer := make([]byte, 4)
	_, err = conn.Read(answer)
	Expect(err).NotTo(HaveOccurred())
	Expect(answer[:2]).To(Equal([]byte{0x20, 2}))
	return answer[3]
}

// permitted makes a user with every permission in "/".
func permitted(ctx context.Context, namespace, name string, edit func(*v1alpha1.UserSpec)) *v1alpha1.User {
	GinkgoHelper()
	u := &v1alpha1.User{}
	u.Namespace, u.Name = namespace, name
	u.Spec.BrokerRef.Name = "broker"
	if edit != nil {
		edit(&u.Spec)
	}
	Expect(api.Create(ctx, u)).To(Succeed())
	p := &v1alpha1.Permission{}
	p.Namespace, p.Name = namespace, name
	p.Spec.BrokerRef.Name = "broker"
	p.Spec.UserRef = &v1alpha1.LocalReference{Name: name}
	p.Spec.Configure, p.Spec.Write, p.Spec.Read = ".*", ".*", ".*"
	Expect(api.Create(ctx, p)).To(Succeed())
	return u
}

func userCondition(ctx context.Context, u *v1alpha1.User) metav1.Condition {
	GinkgoHelper()
	if c := apimeta.FindStatusCondition(reread(ctx, u).Status.Conditions, condition.Ready); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func settled(ctx context.Context, u *v1alpha1.User) {
	GinkgoHelper()
	Eventually(func() metav1.Condition { return userCondition(ctx, u) }).
		Should(And(because(metav1.ConditionTrue, condition.Synced), HaveField("ObservedGeneration", u.Generation)))
}

// credentials are what the binding of a user says.
func credentials(ctx context.Context, u *v1alpha1.User) *corev1.Secret {
	GinkgoHelper()
	s := &corev1.Secret{}
	Expect(api.Get(ctx, client.ObjectKey{Namespace: u.Namespace, Name: u.Name + "-user-credentials"}, s)).To(Succeed())
	return s
}

func told(ctx context.Context, u *v1alpha1.User) func() string {
	return func() string { return string(credentials(ctx, u).Data["password"]) }
}

var _ = Describe("The password of a User", func() {
	It("comes from a Secret, and is replaced without a gap", func(ctx SpecContext) {
		n := newNamespace(ctx)
		op := startOperator(n, &pods{}, time.Minute)
		_, p := op.serving(ctx, n)
		mqtt := p.listen["mqtt"]
		u := permitted(ctx, n, "shop", func(s *v1alpha1.UserSpec) {
			s.PasswordSecretRef = &v1alpha1.PasswordReference{Name: "password", Key: "pw"}
		})
		Eventually(func() metav1.Condition { return userCondition(ctx, u) }).Should(because(metav1.ConditionFalse, condition.SecretNotFound))
		Expect(userCondition(ctx, u).Message).To(Equal(`Secret "password" does not exist in namespace "` + n + `"`))
		write(ctx, n, "password", map[string][]byte{"other": []byte("x")})
		Eventually(func() string { return userCondition(ctx, u).Message }).Should(Equal(`Secret "password" has no key "pw", or it is empty`))
		write(ctx, n, "password", map[string][]byte{"pw": []byte("first/1")})
		settled(ctx, u)
		Eventually(func() byte { return login(mqtt, "a", "shop", "first/1") }).Should(Equal(accepted))
		binding := credentials(ctx, u)
		Expect(binding.Type).To(BeEquivalentTo("servicebinding.io/turnstone"))
		Expect(string(binding.Data["mqtts_url"])).To(Equal("mqtts://shop:first%2F1@broker." + n + ".svc:8883"))
		Expect(u.Status.Binding).To(HaveValue(HaveField("Name", binding.Name)))

		write(ctx, n, "password", map[string][]byte{"pw": []byte("second")})
		Eventually(told(ctx, u)).Should(Equal("second"))
		Expect(login(mqtt, "a", "shop", "second")).To(Equal(accepted), "whoever is told the new one can use it")
		Expect(login(mqtt, "a", "shop", "first/1")).To(Equal(accepted), "who has the old one can go on")
		Expect(login(mqtt, "a", "shop", "third")).To(Equal(wrongLogin))

		reread(ctx, u)
		u.Spec.RotationOverlap = &metav1.Duration{}
		Expect(api.Update(ctx, u)).To(Succeed())
		write(ctx, n, "password", map[string][]byte{"pw": []byte("third")})
		Eventually(told(ctx, u)).Should(Equal("third"))
		Expect(login(mqtt, "a", "shop", "third")).To(Equal(accepted))
		Expect(login(mqtt, "a", "shop", "second")).To(Equal(wrongLogin))
		Expect(login(mqtt, "a", "shop", "first/1")).To(Equal(wrongLogin))

		By("bringing the binding back that somebody changed")
		b := credentials(ctx, u)
		b.Data["password"] = []byte("wrong")
		Expect(api.Update(ctx, b)).To(Succeed())
		Eventually(told(ctx, u)).Should(Equal("third"))
		Expect(api.Delete(ctx, credentials(ctx, u))).To(Succeed())
		Eventually(func() error {
			return api.Get(ctx, client.ObjectKeyFromObject(b), b)
		}).Should(Succeed())
		Expect(told(ctx, u)()).To(Equal("third"))
	}, NodeTimeout(time.Minute))

	It("is made, and made anew with another revision", func(ctx SpecContext) {
		n := newNamespace(ctx)
		op := startOperator(n, &pods{}, time.Minute)
		o, p := op.serving(ctx, n)
		u := permitted(ctx, n, "shop", func(s *v1alpha1.UserSpec) { s.ClientIDs = []string{"%u-*"} })
		settled(ctx, u)
		first := told(ctx, u)()
		Eventually(func() byte { return login(p.listen["mqtt"], "shop-1", "shop", first) }).Should(Equal(accepted))
		Expect(login(p.listen["mqtt"], "stock", "shop", first)).To(Equal(wrongClient))

		reread(ctx, u)
		u.Spec.PasswordRevision = 1
		Expect(api.Update(ctx, u)).To(Succeed())
		Eventually(told(ctx, u)).ShouldNot(Equal(first))
		second := told(ctx, u)()
		Expect(login(p.listen["mqtt"], "shop-1", "shop", second)).To(Equal(accepted))
		Expect(login(p.listen["mqtt"], "shop-1", "shop", first)).To(Equal(accepted))
		Expect(credentials(ctx, u).Data).NotTo(HaveKey("nextPassword"))
		settled(ctx, u)

		By("following the authority")
		us := newCompany()
		write(ctx, n, "certificate", pairData(us.issue("a"), us.ca.Certificate))
		change(ctx, o, func(s *v1alpha1.MessageBrokerSpec) {
			s.TLS = &v1alpha1.TLS{SecretRef: &v1alpha1.LocalReference{Name: "certificate"}}
		})
		Eventually(func() []byte { return credentials(ctx, u).Data["ca.crt"] }).Should(Equal(us.ca.Certificate))
		Expect(told(ctx, u)()).To(Equal(second))
		p.sync(ctx, o)
		Eventually(func() string { return serial(p.listen["mqtts"]) }).Should(Equal(reread(ctx, o).Status.CertificateSerial))

		By("not writing when nothing changed")
		settled(ctx, u)
		op.stop()
		again := startOperator(n, op.pods, time.Minute)
		late := newQueue(n, "late")
		Expect(api.Create(ctx, late)).To(Succeed())
		Eventually(func() metav1.Condition { return queueCondition(ctx, late) }).Should(HaveField("Status", metav1.ConditionTrue))
		Expect(again.writes.calls()).NotTo(ContainElement(Or(ContainSubstring("Secret"), ContainSubstring("User"))))
	}, NodeTimeout(time.Minute))

	It("can be a hash", func(ctx SpecContext) {
		n := newNamespace(ctx)
		op := startOperator(n, &pods{}, time.Minute)
		_, p := op.serving(ctx, n)
		u := permitted(ctx, n, "shop", func(s *v1alpha1.UserSpec) {
			s.PasswordHashSecretRef = &v1alpha1.HashReference{Name: "hash"}
		})
		write(ctx, n, "hash", map[string][]byte{"passwordHash": []byte("plain")})
		Eventually(func() metav1.Condition { return userCondition(ctx, u) }).Should(
			And(because(metav1.ConditionFalse, condition.Invalid), HaveField("Message", ContainSubstring("passwordHash must have the form $argon2id$"))))
		for _, password := range []string{"one", "two"} {
			hash, err := auth.Hash(password)
			Expect(err).NotTo(HaveOccurred())
			write(ctx, n, "hash", map[string][]byte{"passwordHash": []byte(hash)})
			Eventually(func() byte { return login(p.listen["mqtt"], "a", "shop", password) }).Should(Equal(accepted))
		}
		Expect(login(p.listen["mqtt"], "a", "shop", "one")).To(Equal(accepted), "hashes overlap, too")
		settled(ctx, u)
		binding := credentials(ctx, u)
		Expect(binding.Data).NotTo(HaveKey("password"))
		address, err := url.Parse(string(binding.Data["amqp_url"]))
		Expect(err).NotTo(HaveOccurred())
		_, has := address.User.Password()
		Expect(has).To(BeFalse())
	}, NodeTimeout(time.Minute))
})
