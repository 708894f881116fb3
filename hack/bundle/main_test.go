package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
	interfaces "github.com/operator-framework/api/pkg/validation/interfaces"
)

const root = "../.."

func TestBundleIsUpToDate(t *testing.T) {
	files, err := render(root, images{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil || string(got) != want {
			t.Errorf("%s is not what its sources give (%v): run make manifests", path, err)
		}
	}
}

// validators are those of the library that operator-sdk bundle validate uses, but for one that pulls images.
var validators = interfaces.Validators{
	validation.BundleValidator, validation.ClusterServiceVersionValidator, validation.CustomResourceDefinitionValidator, validation.ObjectValidator,
	validation.OperatorGroupValidator, validation.OperatorHubV2Validator, validation.StandardCapabilitiesValidator,
	validation.StandardCategoriesValidator, validation.GoodPracticesValidator,
}

func TestBundleIsValid(t *testing.T) {
	b, err := manifests.GetBundleFromDir(filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	if b.CSV == nil || len(b.V1CRDs) < 10 {
		t.Fatalf("%d CRDs, CSV %v", len(b.V1CRDs), b.CSV)
	}
	seen := 0
	for _, r := range validators.Validate(b.ObjectsToValidate()...) {
		seen++
		for _, e := range r.Errors {
			t.Errorf("%s: %v", r.Name, e)
		}
		for _, w := range r.Warnings {
			// It takes a right to Events and PodDisruptionBudgets for one to versions of them that are no more.
			if strings.Contains(w.Error(), "for events: ") || strings.Contains(w.Error(), "for poddisruptionbudgets: ") {
				continue
			}
			t.Errorf("%s warns: %v", r.Name, w)
		}
	}
	if seen == 0 {
		t.Error("nothing was validated")
	}
}

// A bundle that is wrong is found: the test above can fail.
func TestBrokenBundleIsRefused(t *testing.T) {
	b, err := manifests.GetBundleFromDir(filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	b.CSV.Spec.CustomResourceDefinitions.Owned = b.CSV.Spec.CustomResourceDefinitions.Owned[1:]
	found := false
	for _, r := range validators.Validate(b.ObjectsToValidate()...) {
		found = found || r.HasError()
	}
	if !found {
		t.Error("a CRD that nobody owns was accepted")
	}
}

func TestReleaseNamesItsImages(t *testing.T) {
	i := images{operator: "registry.example/op@sha256:" + strings.Repeat("a", 64), broker: "registry.example/b@sha256:" + strings.Repeat("b", 64)}
	files, err := render(root, i)
	if err != nil {
		t.Fatal(err)
	}
	csv := files["bundle/manifests/turnstone-operator.clusterserviceversion.yaml"]
	for _, want := range []string{"image: " + i.operator, "--broker-image=" + i.broker, "containerImage: " + i.operator, "image: " + i.broker, "--namespaces=$(WATCH_NAMESPACES)"} {
		if !strings.Contains(csv, want) {
			t.Errorf("%q is not in the ClusterServiceVersion", want)
		}
	}
}
