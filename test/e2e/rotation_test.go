package e2e_test

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	amqp "github.com/rabbitmq/amqp091-go"
)

// rotation replaces what clients trust the broker by, and what it knows them by, while they publish.
func rotation(p *plant) {
	It("takes another certificate and another password under load: not one publish fails, nothing is lost", func(ctx SpecContext) {
		process, err := p.running(ctx)
		Expect(err).NotTo(HaveOccurred())
		load := startLoad("rotation", p.to, p.who, note)
		load.goOn(ctx, 10)

		By("rotating the certificate")
		serial := p.showCertificate(ctx)
		for _, port := range []string{portMQTTS, portAMQPS} {
			Eventually(ctx, p.to.serial).WithArguments(port).Should(Equal(serial), "port %s", port)
		}
		Eventually(ctx, p.field).WithArguments(p.object(), "{.status.certificateSerial}").Should(Equal(serial))
		load.goOn(ctx, 10)

		By("rotating the password")
		old := p.who
		p.who.password = rand.Text()
		p.givePassword(ctx)
		// The binding is told last: whoever reads the new password there gets in with it.
		Eventually(ctx, p.secret).WithArguments("sensors-user-credentials").Should(HaveKeyWithValue("password", p.who.password))
		for protocol := range protocols {
			Expect(p.to.refuses(protocol, p.who)).To(BeFalse(), "%s, the new password", protocol)
			Expect(p.to.refuses(protocol, old)).To(BeFalse(), "%s, the old password during the overlap", protocol)
		}
		load.who.Store(&p.who)
		load.goOn(ctx, 10)
		for protocol := range protocols {
			Eventually(ctx, p.to.refuses).WithArguments(protocol, old).WithPolling(time.Second).Should(BeTrue(), "%s, the old password after the overlap", protocol)
		}
		load.goOn(ctx, 10)

		load.stop()
		Expect(load.failures()).To(BeEmpty())
		Expect(p.running(ctx)).To(Equal(process), "no restart")
		Expect(p.takeAll(ctx, load.ledger).repeated()).To(BeEmpty())
	}, NodeTimeout(4*time.Minute))
}

// refuses says whether the broker lets nobody in with a password. What else keeps a client out is an error.
func (l listener) refuses(protocol string, who account) (bool, error) {
	c, err := protocols[protocol](l, who)
	if err == nil {
		c.close()
		return false, nil
	}
	var closed *amqp.Error
	if errors.As(err, &closed) && closed.Code == amqp.AccessRefused || errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword) || errors.Is(err, packets.ErrorRefusedNotAuthorised) {
		return true, nil
	}
	return false, err
}
