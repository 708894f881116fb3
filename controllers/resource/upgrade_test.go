package resource

import (
	"flag"
	"os"
	"testing"

	"sigs.k8s.io/yaml"
)

var restart = flag.Bool("restart-every-broker", false, "accept that the next version restarts every broker")

// An upgrade of the operator restarts no broker: the template of a broker that chose nothing is that of the last version.
// -update, which writes the golden files, does not write this one.
func TestUpgradeRestartsNoBroker(t *testing.T) {
	const path = "testdata/pod-template.yaml"
	b := broker()
	c, err := Config(b)
	if err != nil {
		t.Fatal(err)
	}
	set, err := StatefulSet(b, "registry.example/turnstone:1", c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := yaml.Marshal(set.Spec.Template)
	if err != nil {
		t.Fatal(err)
	}
	if *restart {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("every broker would restart when the operator is upgraded. If there is no other way, say so in the notes of the release and run with -restart-every-broker. The template is now\n%s", got)
	}
}
