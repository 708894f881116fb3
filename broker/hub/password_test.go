package hub_test

import (
	"context"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func TestPasswordsOfOneRequest(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	apply := func() []object.Result {
		t.Helper()
		var changes []object.Change
		for _, name := range []string{"ann", "bob"} {
			o, err := object.New(object.KindUser, "", name, object.UserSpec{Password: "same"})
			if err != nil {
				t.Fatal(err)
			}
			changes = append(changes, object.Change{Object: o})
		}
		results, err := b.hub.Apply(context.Background(), "", changes, hub.ApplyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return results
	}
	hashes := func() map[string]string {
		t.Helper()
		out := make(map[string]string)
		list, _ := b.hub.Objects("", object.KindUser)
		for _, o := range list {
			spec, err := object.Decode[object.UserSpec](o)
			if err != nil {
				t.Fatal(err)
			}
			out[o.Name] = spec.PasswordHash
		}
		return out
	}
	keys := func() map[string]int {
		t.Helper()
		out := make(map[string]int)
		list, _ := b.hub.Objects("", object.KindUser)
		for _, o := range list {
			spec, err := object.Decode[object.UserSpec](o)
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range spec.Scram {
				k, err := object.ParseScramKeys(entry)
				if err != nil || k.Iterations != b.hub.Config().Auth.ScramIterations {
					t.Errorf("keys of %s: %v, %v", o.Name, k, err)
				}
				out[string(k.Salt)]++
			}
		}
		return out
	}
	apply()
	first := hashes()
	if salts := keys(); len(salts) != 4 {
		t.Errorf("two users have keys with %d salts, not 4", len(salts))
	}
	if first["ann"] == first["bob"] {
		t.Error("two users with one password share a salt")
	}
	if !auth.Verify(first["ann"], "same") || !auth.Verify(first["bob"], "same") {
		t.Error("a stored hash is not that of the password")
	}
	for _, r := range apply() {
		if r.Outcome != object.Unchanged {
			t.Errorf("the same password again: %s is %s", r.Key, r.Outcome)
		}
	}
	if again := hashes(); again["ann"] != first["ann"] || again["bob"] != first["bob"] {
		t.Error("the same password again made another hash")
	}
}
