// Package config_test renders what users install, with kustomize from this folder and with helm from charts/, and checks
// that the two are the same operator.
package config_test

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

const (
	root      = ".."
	namespace = "turnstone-system"
)

// manifest is a rendered object.
type manifest map[string]any

func (m manifest) field(path ...string) any {
	var v any = map[string]any(m)
	for _, p := range path {
		fields, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = fields[p]
	}
	return v
}

func (m manifest) id() string {
	space, _ := m.field("metadata", "namespace").(string)
	return strings.Join([]string{m["kind"].(string), space, m.field("metadata", "name").(string)}, "/")
}

func TestChartAndKustomizeAreTheSame(t *testing.T) {
	fromChart := byID(helm(t, "--include-crds"))
	fromKustomize := byID(render(t, program(t, "kubectl"), "kustomize", "config/default"))
	delete(fromKustomize, "Namespace//"+namespace) // helm makes it itself, with --create-namespace
	for id, k := range fromKustomize {
		c, ok := fromChart[id]
		if !ok {
			t.Errorf("the chart lacks %s", id)
			continue
		}
		delete(fromChart, id)
		for _, part := range []string{"apiVersion", "spec", "rules", "roleRef", "subjects"} {
			if !reflect.DeepEqual(c[part], k[part]) {
				t.Errorf("%s of %s differs\nchart:\n%s\nkustomize:\n%s", part, id, show(t, c[part]), show(t, k[part]))
			}
		}
	}
	for id := range fromChart {
		t.Errorf("config/default lacks %s", id)
	}
}

func TestNamespacedChartNeedsNoClusterRole(t *testing.T) {
	roles := map[string]bool{}
	for _, m := range helm(t, "--set", "namespaces={a,b}") {
		if strings.HasPrefix(m["kind"].(string), "ClusterRole") {
			t.Errorf("%s is for the whole cluster", m.id())
		}
		if m["kind"] == "Role" {
			roles[m.id()] = true
		}
		if m["kind"] == "Deployment" && !strings.Contains(show(t, m["spec"]), "--namespaces=a,b") {
			t.Error("the operator is not told its namespaces")
		}
	}
	want := map[string]bool{"Role/a/turnstone-operator": true, "Role/b/turnstone-operator": true, "Role/" + namespace + "/turnstone-operator-leader": true}
	if !reflect.DeepEqual(roles, want) {
		t.Errorf("roles %v, want %v", roles, want)
	}
}

func TestImagesAreTheValues(t *testing.T) {
	for _, m := range helm(t, "--set", "image.repository=r/op,image.tag=v1,brokerImage.repository=r/b,brokerImage.tag=") {
		if m["kind"] != "Deployment" {
			continue
		}
		for _, want := range []string{"image: r/op:v1\n", "--broker-image=r/b:0.1.0\n"} {
			if text := show(t, m["spec"]); !strings.Contains(text, want) {
				t.Errorf("%q is not in\n%s", want, text)
			}
		}
	}
}

// mayDelete says whether a rule is about what the operator makes anew or takes back, none of which holds data.
func mayDelete(rule any) bool {
	resources, _ := rule.(map[string]any)["resources"].([]any)
	for _, r := range resources {
		if !slices.Contains([]any{"statefulsets", "ingresses", "httproutes", "certificates"}, r) {
			return false
		}
	}
	return true
}

func TestRolesAreNarrow(t *testing.T) {
	for _, m := range helm(t) {
		rules, _ := m["rules"].([]any)
		for _, r := range rules {
			text := show(t, r)
			if strings.Contains(text, "delete") && !mayDelete(r) {
				t.Errorf("%s allows to delete:\n%s", m.id(), text)
			}
			for _, wide := range []string{"'*'", "pods/exec", "escalate", "bind\n", "impersonate"} {
				if strings.Contains(text, wide) {
					t.Errorf("%s allows %s:\n%s", m.id(), wide, text)
				}
			}
		}
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	for set, want := range map[string]string{
		"logLevel=loud":                        "logLevel",
		"imagee.tag=1":                         "imagee",
		"workers=0":                            "workers",
		"owner=":                               "owner",
		"deletionPatience=later":               "deletionPatience",
		"namespaces={Not_One}":                 "namespaces",
		"image.digest=latest":                  "digest",
		"monitoring.brokers[0].name=b":         "userSecret",
		"monitoring.rules.disabled={Other}":    "disabled",
		"networkPolicy.apiServerPorts={70000}": "apiServerPorts",
		"monitoring.interval=often":            "interval",
		"queueStatusWrites=0":                  "queueStatusWrites",
	} {
		out, err := helmCommand(t, "--set", set).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("--set %s: %v\n%s", set, err, out)
		}
	}
}

func helm(t *testing.T, args ...string) []manifest {
	t.Helper()
	return read(t, helmCommand(t, args...))
}

func helmCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command("hack/tool", append([]string{"helm", "template", "turnstone-operator", "charts/turnstone-operator", "--namespace", namespace}, args...)...)
	c.Dir = root
	return c
}

func render(t *testing.T, program string, args ...string) []manifest {
	t.Helper()
	c := exec.Command(program, args...)
	c.Dir = root
	return read(t, c)
}

// program of the local cluster, compiled once into the cache.
func program(t *testing.T, name string) string {
	t.Helper()
	c := exec.Command("hack/localcluster/programs", name)
	c.Dir = root
	folder, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v", c, err)
	}
	return filepath.Join(strings.TrimSpace(string(folder)), name)
}

func read(t *testing.T, c *exec.Cmd) []manifest {
	t.Helper()
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", c, err, errs.Bytes())
	}
	var all []manifest
	d := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(out), 4096)
	for {
		var m manifest
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		if len(m) > 0 {
			all = append(all, m)
		}
	}
}

func byID(all []manifest) map[string]manifest {
	out := make(map[string]manifest, len(all))
	for _, m := range all {
		out[m.id()] = m
	}
	return out
}

func show(t *testing.T, v any) string {
	t.Helper()
	b, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
