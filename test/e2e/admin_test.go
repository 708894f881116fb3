package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
)

// adminAPI is a client of the broker's admin API as its administrator, over TLS that the broker's authority vouches for.
func adminAPI(ctx SpecContext, n namespace, broker string) *client.Client {
	GinkgoHelper()
	s, err := n.secret(ctx, broker+"-admin")
	Expect(err).NotTo(HaveOccurred())
	authority := x509.NewCertPool()
	Expect(authority.AppendCertsFromPEM([]byte(s["ca.crt"]))).To(BeTrue(), "the Secret holds the authority's certificate")
	admin, err := client.New(client.Options{
		URL: "https://" + net.JoinHostPort(s["host"], "15671"), User: s["username"], Password: s["password"],
		TLS: &tls.Config{RootCAs: authority},
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(admin.Close)
	return admin
}
