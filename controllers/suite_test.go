// Package controllers_test runs the whole operator against a real kube-apiserver, with real brokers in place of pods:
// each is started from what the operator rendered for it.
package controllers_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

var (
	config *rest.Config
	scheme = runtime.NewScheme()
	// api talks to the API server directly, without a cache.
	api client.WithWatch
)

func TestControllers(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(20 * time.Second)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	EnforceDefaultTimeoutsWhenUsingContexts()
	RunSpecs(t, "Operator")
}

var _ = BeforeSuite(func() {
	ctrl.SetLogger(logr.Discard())
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	var err error
	config, err = env.Start()
	DeferCleanup(env.Stop) // also when the start failed half-way
	Expect(err).NotTo(HaveOccurred())
	config.QPS = -1
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	api, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	grant(context.Background())
})

// serviceAccount is the operator's, as RBAC names it.
const serviceAccount = "system:serviceaccount:turnstone-system:turnstone-operator"

// grant makes the roles of config/rbac.
func grant(ctx context.Context) {
	GinkgoHelper()
	role, binding := &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}
	for file, o := range map[string]client.Object{"role.yaml": role, "role_binding.yaml": binding} {
		text, err := os.ReadFile(filepath.Join("../config/rbac", file))
		Expect(err).NotTo(HaveOccurred())
		Expect(yaml.UnmarshalStrict(text, o)).To(Succeed())
		Expect(api.Create(ctx, o)).To(Succeed())
	}
}

var namespaces atomic.Int32

// newNamespace gives a test a namespace of its own: an API server without controllers never finishes deleting one.
func newNamespace(ctx context.Context) string {
	GinkgoHelper()
	n := &corev1.Namespace{}
	n.Name = fmt.Sprintf("test-%d", namespaces.Add(1))
	Expect(api.Create(ctx, n)).To(Succeed())
	return n.Name
}

// newBroker makes a MessageBroker.
func newBroker(ctx context.Context, namespace string, change func(*v1alpha1.MessageBrokerSpec)) *v1alpha1.MessageBroker {
	GinkgoHelper()
	b := &v1alpha1.MessageBroker{}
	b.Namespace, b.Name = namespace, "broker"
	if change != nil {
		change(&b.Spec)
	}
	Expect(api.Create(ctx, b)).To(Succeed())
	return b
}
