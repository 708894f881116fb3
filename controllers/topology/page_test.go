package topology

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

func TestPageIsParted(t *testing.T) {
	text := `{"apiVersion":"messaging.turnstone.dev/v1alpha1", "items" : [ {"metadata":{"name":"a\"]"}} ,{}, 5,"x" ],
		"kind":"QueueList","metadata":{"continue":"more","resourceVersion":"17"}}`
	p, err := newPage([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var items []string
	for _, i := range p.items {
		items = append(items, string(i))
	}
	if want := []string{`{"metadata":{"name":"a\"]"}}`, "{}", "5", `"x"`}; !reflect.DeepEqual(items, want) || p.version != "17" || p.next != "more" {
		t.Errorf("%q %q %q", items, p.version, p.next)
	}
	for _, empty := range []string{`{}`, `{"items":[]}`, `{"items":null,"metadata":{}}`} {
		if p, err := newPage([]byte(empty)); err != nil || len(p.items) > 0 {
			t.Errorf("%s: %v %v", empty, p, err)
		}
	}
	for _, broken := range []string{``, `[]`, `{"items":{}}`, `{"items":[1 2]}`, `{"items":[1,`, `{"items"}`, `{"items":}`, `{5:1}`, `{"metadata":{"continue":5}}`, `{"a":"b`, `{"a":1`} {
		if p, err := newPage([]byte(broken)); err == nil {
			t.Errorf("%s is taken: %v", broken, p)
		}
	}
}

func TestManagedFieldsGo(t *testing.T) {
	for _, fields := range []string{`[{"manager":"kubectl","fieldsV1":{"f:spec":{"k:{\"a\":\"]\"}":{}}}}]`, `[]`, `null`} {
		text := `{"metadata":{"managedFields":` + fields + `,"name":"q","uid":"u"},"spec":{"vhost":"managedFields"}}`
		around := []byte("before" + text + "after")
		object := around[len("before") : len("before")+len(text)]
		q := &v1alpha1.Queue{}
		if err := json.Unmarshal(withoutManagedFields(object), q); err != nil {
			t.Fatal(err)
		}
		if len(q.ManagedFields) > 0 || q.Name != "q" || q.UID != "u" || q.Spec.VHost != "managedFields" {
			t.Errorf("%s: %+v", fields, q)
		}
		if !strings.HasSuffix(string(around), "after") {
			t.Errorf("%s: what follows was changed: %s", fields, around)
		}
	}
}

// FuzzPage: what is JSON is parted as the standard decoder does, and nothing panics.
func FuzzPage(f *testing.F) {
	for _, seed := range []string{`{"items":[{"metadata":{"managedFields":[{"a":[1,"]"]}],"name":"q"}},{"metadata":null}],"metadata":{"continue":"c"}}`, `{"items":[1,true,"\u0041",{}]}`, `{"a":{`, "{\"\\\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := newPage([]byte(string(text)))
		var whole struct {
			Items []json.RawMessage `json:"items"`
		}
		if !json.Valid(text) || json.Unmarshal(text, &whole) != nil {
			return
		}
		names, last := 0, ""
		members(text, func(name string, value []byte) error { //nolint:errcheck // it is JSON
			if strings.EqualFold(name, "items") || strings.ContainsAny(name, `\\`) {
				names, last = names+1, name
			}
			return nil
		})
		if err != nil || names != 1 || last != "items" {
			return // the standard decoder takes other spellings as well, and the last of several
		}
		if len(whole.Items) != len(p.items) {
			t.Fatalf("%d items, wanted %d", len(p.items), len(whole.Items))
		}
		for i, item := range p.items {
			if string(item) != string(whole.Items[i]) {
				t.Fatalf("item %d is %q, wanted %q", i, item, whole.Items[i])
			}
			if out := withoutManagedFields([]byte(string(item))); !json.Valid(out) {
				t.Fatalf("%q became %q", item, out)
			}
		}
	})
}
