// Package e2e_test drives Turnstone as its users do: kubectl, config/samples and the clients of Debian, on a real
// Kubernetes with real nodes. hack/e2e starts that cluster, installs the chart and runs this package on a machine beside
// the nodes; the package itself knows only KUBECONFIG.
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
