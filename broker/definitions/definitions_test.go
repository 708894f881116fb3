package definitions

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func sample(t testing.TB) []byte {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", "rabbitmq.json"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// apply applies to a catalogue as the hub does.
func apply(t testing.TB, state *catalog.State) func([]object.Change) ([]object.Result, error) {
	return func(changes []object.Change) ([]object.Result, error) {
		plan, err := state.Plan(catalog.Anyone, changes, catalog.Passwords{
			Hash: func(p string) (string, error) { return "$argon2id$" + p, nil },
			Keys: func(string, []string) ([]string, error) { return nil, nil }, Now: time.Now,
			Verify: func(string, string) bool { return false },
		})
		if err != nil {
			t.Fatal(err)
		}
		if plan.Command != nil {
			if _, err := state.Apply(plan.Command); err != nil {
				t.Fatal(err)
			}
		}
		return plan.Results, nil
	}
}

func TestImport(t *testing.T) {
	i, err := Import(sample(t), "")
	if err != nil {
		t.Fatal(err)
	}
	state := catalog.New()
	report, err := Apply(i, false, apply(t, state))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range report.Skipped {
		got = append(got, s.What+": "+s.Why)
	}
	slices.Sort(got)
	want := []string{
		`bindings[1] of "later" to "plain" in "tenants": Exchange "later" in vhost "tenants" was not taken over`,
		`bindings[2] of "dlx" to "events" in "tenants": Queue "events" in vhost "tenants" was not taken over`,
		`exchanges[1] "later" in "tenants": exchanges of type x-recent-history do not exist; there are [direct fanout headers topic x-consistent-hash x-delayed-message x-local-random x-random]`,
		`global_parameters[1] "mqtt_default_vhosts": it has no meaning here`,
		`parameters[2] shovel "away" in "tenants": there is no component "shovel" here`,
		`queues[1] "events" in "tenants": streams do not exist`,
		`shards: the section is not known`,
		`topic_permissions[0] of "alice" in "tenants": regular expressions over topics are not supported: say it in the topics of the permission, by MQTT topic filters`,
		`users[0] "alice" limits: users have no limit of channels: limits.channels in the configuration is one of every connection`,
		`users[1] "old" tag "impersonator": there is no such tag; there are [administrator monitoring management policymaker]`,
		`users[2] "older" password: hashes of rabbit_password_hashing_md5 are not accepted: the user is taken over without a password; set a new one`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("skipped\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if report.Created != 12 {
		t.Errorf("%d objects were created", report.Created)
	}
	var specs []string
	for _, o := range state.List("", "") {
		specs = append(specs, fmt.Sprintf("%s %s", o.Key, o.Spec))
	}
	for _, want := range []string{
		`VirtualHost "tenants" {"maxConnections":100,"maxQueues":50}`,
		`VirtualHost "/" {"description":"Default virtual host"}`,
		`User "alice" {"passwordHash":"$rabbit-sha256$H7dLR0wsOEEbzZXWLUS9iL2RjnFo/Zreoix7P7Q4tAWv53Dx","tags":["management","policymaker"],"limits":{"maxConnections":5}}`,
		`User "old" {"tags":["administrator"]}`,
		`Policy "lim" in vhost "tenants" {"pattern":"^orders","applyTo":"queues","priority":3,"definition":{"dead-letter-exchange":"dlx","max-length":1000}}`,
		`OperatorPolicy "cap" in vhost "tenants" {"pattern":".*","applyTo":"queues","definition":{"max-length":100000}}`,
		`Queue "orders" in vhost "tenants" {"durable":true,"arguments":{"x-delivery-limit":5,"x-queue-type":"quorum"}}`,
	} {
		if !slices.Contains(specs, want) {
			t.Errorf("there is no %s among\n%s", want, strings.Join(specs, "\n"))
		}
	}
	again, err := Apply(i, false, apply(t, state))
	if err != nil || again.Created+again.Updated != 0 {
		t.Errorf("the second time: %+v, %v", again, err)
	}
}

// What is exported comes back as it was, in all and for each virtual host.
func TestRoundTrip(t *testing.T) {
	state := catalog.New()
	i, err := Import(sample(t), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Apply(i, false, apply(t, state)); err != nil {
		t.Fatal(err)
	}
	topics, _ := object.New(object.KindPermission, "/", "old", object.PermissionSpec{Write: ".*", Topics: []object.TopicRule{{Filter: "a/#", Publish: true}}})
	limits, _ := object.New(object.KindTopicPolicy, "/", "quiet", object.TopicPolicySpec{Filter: "#", MaxPayloadBytes: 5})
	own, _ := object.New(object.KindUser, "", "new", object.UserSpec{
		PasswordHash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
		Scram:        []string{object.ScramKeys{Mechanism: object.ScramSHA256, Iterations: 5000, Salt: []byte("salt"), StoredKey: make([]byte, 32), ServerKey: make([]byte, 32)}.String()},
		Limits:       object.UserLimits{MaxConnections: 7, Client: object.Rate{MessagesPerSecond: 2.5}, OnExcess: object.Drop},
	})
	told, _ := object.New(object.KindVirtualHost, "", "tenants", object.VirtualHostSpec{MaxConnections: 100, MaxQueues: 50, Events: []object.EventKind{object.EventConnected}})
	if _, err := apply(t, state)([]object.Change{{Object: topics}, {Object: limits}, {Object: own}, {Object: told}}); err != nil {
		t.Fatal(err)
	}
	digest := func(s *catalog.State, vhost string) string {
		d, err := object.Digest(slices.DeleteFunc(s.List("", ""), func(o object.Object) bool {
			return vhost != "" && (o.VirtualHost != vhost || o.Kind == object.KindPermission)
		}))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	hashes := func(s *catalog.State) (all []string) {
		for _, o := range s.List("", object.KindUser) {
			all = append(all, string(o.Spec))
		}
		return all
	}
	for _, vhost := range []string{"", "tenants", "/"} {
		file, err := Export(state.List("", ""), vhost, "1.2.3")
		if err != nil {
			t.Fatal(err)
		}
		back, err := Import(file, vhost)
		if err != nil || len(back.Skipped) > 0 {
			t.Fatalf("%v, %+v in\n%s", err, back.Skipped, file)
		}
		other := catalog.New()
		if vhost != "" {
			v, _ := object.New(object.KindVirtualHost, "", vhost, object.VirtualHostSpec{})
			if _, err := apply(t, other)([]object.Change{{Object: v}}); err != nil {
				t.Fatal(err)
			}
		}
		if report, err := Apply(back, false, apply(t, other)); err != nil || len(report.Skipped) > 0 {
			t.Fatalf("%v, %+v in\n%s", err, report.Skipped, file)
		}
		if digest(state, vhost) != digest(other, vhost) {
			t.Errorf("virtual host %q comes back otherwise from\n%s", vhost, file)
		}
		if vhost == "" && !slices.Equal(hashes(state), hashes(other)) {
			t.Errorf("users come back as %v, not %v", hashes(other), hashes(state))
		}
	}
}

func TestWrongFiles(t *testing.T) {
	for file, want := range map[string]string{
		"":                                 "definitions are not JSON",
		"{\n\"users\": [}":                 "line 2",
		"[]":                               "definitions are not JSON",
		`{"users": 5}`:                     "users",
		`{} {}`:                            "more follows",
		`{"users":[{"tags": 5}]}`:          "tags must be",
		`{"policies":[{"definition": 5}]}`: "want an object",
	} {
		if _, err := Import([]byte(file), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func FuzzImport(f *testing.F) {
	f.Add(sample(f), "")
	f.Add([]byte(`{"queues":[{"name":"q","arguments":{"x-queue-type":"quorum"}}],"bindings":[{"source":"x","destination":"q","destination_type":"queue"}]}`), "v")
	f.Fuzz(func(t *testing.T, file []byte, vhost string) {
		i, err := Import(file, vhost)
		if err != nil {
			return
		}
		if len(i.Objects) != len(i.At) {
			t.Fatalf("%d objects at %d places", len(i.Objects), len(i.At))
		}
		report, err := Apply(i, false, apply(t, catalog.New()))
		if err != nil {
			t.Fatal(err)
		}
		if n := report.Created + report.Updated + report.Unchanged + len(report.Skipped); n < len(i.Objects) {
			t.Fatalf("%d objects, but only %d are told of", len(i.Objects), n)
		}
	})
}
