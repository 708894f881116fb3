package controllers_test

import (
	"path/filepath"
	"regexp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// pages are the documents that users read.
func pages() []string {
	GinkgoHelper()
	out := []string{"../README.md"}
	for _, pattern := range []string{"../docs/*.md", "../docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		Expect(err).NotTo(HaveOccurred())
		out = append(out, found...)
	}
	return out
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

var _ = Describe("The documents", func() {
	It("show objects that the API server takes", func(ctx SpecContext) {
		n := newNamespace(ctx)
		checked := 0
		strict := client.NewDryRunClient(client.WithFieldValidation(api, "Strict"))
		for _, page := range pages() {
			for _, block := range yamlBlock.FindAllStringSubmatch(readFile(page), -1) {
				for document := range strings.SplitSeq(block[1], "\n---\n") {
					u := &unstructured.Unstructured{}
					if yaml.Unmarshal([]byte(document), &u.Object) != nil || u.GroupVersionKind().Group != v1alpha1.GroupVersion.Group {
						continue // a fragment, or of another API
					}
					u.SetNamespace(n)
					Expect(strict.Create(ctx, u)).To(Succeed(), "%s:\n%s", page, document)
					checked++
				}
			}
		}
		Expect(checked).To(BeNumerically(">=", 14))
	})

	It("name fields of the configuration that are there", func() {
		reference := readFile("../docs/reference/messagebroker.md")
		named := regexp.MustCompile("`(?:spec\\.)?(configuration\\.[A-Za-z.]+)")
		checked := 0
		for _, page := range pages() {
			for _, found := range named.FindAllStringSubmatch(readFile(page), -1) {
				Expect(reference).To(ContainSubstring("| `"+found[1]+"` |"), page)
				checked++
			}
		}
		Expect(checked).To(BeNumerically(">=", 10))
	})
})
