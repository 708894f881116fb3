// Package e2e_test drives Turnstone as its users do: kubectl and its plugin, helm, config/samples and clients of MQTT and AMQP,
// on a real Kubernetes with three nodes. hack/e2e starts that cluster, installs the chart and runs this package on a machine
// beside the nodes; the package knows KUBECONFIG, and the command localcluster for a node that loses its power.
package e2e_test

import (
	"os"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestEndToEnd(t *testing.T) {
	if os.Getenv("TURNSTONE_E2E") == "" {
		t.Skip("needs a cluster with the chart installed: run `make e2e`, which starts one and sets TURNSTONE_E2E")
	}
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(60 * time.Second)
	SetDefaultEventuallyPollingInterval(200 * time.Millisecond)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "Turnstone end to end")
}

var _ = AfterSuite(func(ctx SpecContext) {
	said, err := operatorSpace.kubectl(ctx, "logs", "deployment/"+release)
	Expect(err).NotTo(HaveOccurred())
	Expect(said).NotTo(MatchRegexp(`is forbidden: User `), "the chart's roles let the operator do all that it wants")
}, NodeTimeout(time.Minute))
