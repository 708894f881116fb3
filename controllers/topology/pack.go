package topology

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// An object is kept as JSON of what the operator needs of it, in which the texts that most objects have are one byte each:
// about 170 bytes in place of a kilobyte of Go structures. It is unpacked when somebody looks at it.

// annotations of ours begin with this; others are not kept.
const annotations = "messaging.turnstone.dev/"

// words are the texts that are one byte when packed, the longer ones first: the first that fits is taken.
var words = []string{
	`","finalizers":["messaging.turnstone.dev/topology"]},"spec":{"brokerRef":{"name":"`,
	`"},"driftPolicy":"Correct","ownershipPolicy":"Exclusive","vhost":"/"`,
	`,"durable":true,"deletionPolicy":"DeleteIfEmpty"},"status":{"observedGeneration":1,`,
	`"},"driftPolicy":"Correct","ownershipPolicy":"Exclusive","vhost":"`,
	`"conditions":[{"type":"Ready","status":"True","observedGeneration":1,"lastTransitionTime":"`,
	`","reason":"Synced","message":""}],"applied":{"generation":1,"incarnation":""}`,
	`,"deletionPolicy":"Delete"},"status":{"observedGeneration":1,`,
	`,"durable":true,"deletionPolicy":"Delete"`,
	`"destinationType":"queue","destination":"`,
	`,"generation":1,"creationTimestamp":"`,
	`","reason":"Synced","message":""}],`,
	`","observedGeneration":`,
	`"lastTransitionTime":"`,
	`"applied":{"generation":`,
	`,"messages":0,"consumers":0,"publishRate":0,"deliverRate":0}}`,
	`{"metadata":{"uid":"`,
	`","resourceVersion":"`,
	`"ownershipPolicy":"`,
	`"deletionPolicy":"`,
	`"observedGeneration":`,
	`"BrokerUnavailable"`,
	`"incarnation":""`,
	`"driftPolicy":"`,
	`"routingKey":"`,
	`"arguments":{`,
	`"conditions":[`,
	`"status":"`,
	`"reason":"`,
	`"message":"`,
	`"source":"`,
	`"type":"`,
	`"name":"`,
}

// packer and unpacker exchange words for bytes that valid JSON never has: control characters, and bytes that UTF-8 has not.
var packer, unpacker = func() (*strings.Replacer, *strings.Replacer) {
	var to, from []string
	for i, w := range words {
		b := byte(i + 1) // 1 to 31: encoding/json escapes them in texts and writes none of them between
		if i+1 >= 0x20 {
			b = byte(0xf8 + i + 1 - 0x20)
		}
		to, from = append(to, w, string([]byte{b})), append(from, string([]byte{b}), w)
	}
	return strings.NewReplacer(to...), strings.NewReplacer(from...)
}()

// pack encodes an object without its name, namespace and incarnation, which a record has itself. The object is changed.
func pack(o v1alpha1.Topology) (string, error) {
	o.SetManagedFields(nil)
	o.SetLabels(nil)
	o.SetName("")
	o.SetNamespace("")
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	maps.DeleteFunc(o.GetAnnotations(), func(k, _ string) bool { return !strings.HasPrefix(k, annotations) })
	if a := o.Common().Applied; a != nil {
		a.Incarnation = ""
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("keep %T: %w", o, err)
	}
	return packer.Replace(string(raw)), nil
}

// unpack decodes what pack made of an object.
func (r *record) unpack() (v1alpha1.Topology, error) {
	o := kinds[r.kind].sample.DeepCopyObject().(v1alpha1.Topology)
	if err := json.Unmarshal([]byte(unpacker.Replace(r.packed)), o); err != nil {
		return nil, fmt.Errorf("read the kept %T %s/%s: %w", o, r.namespace.Value(), r.name, err)
	}
	o.SetNamespace(r.namespace.Value())
	o.SetName(r.name)
	if a := o.Common().Applied; a != nil {
		a.Incarnation = r.traits.Value().incarnation
	}
	return o, nil
}

// signatureOf is another when something about an object changed that asks for a look.
func signatureOf(o client.Object) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d %t %t", o.GetUID(), o.GetGeneration(), o.GetDeletionTimestamp().IsZero(), controllerutil.ContainsFinalizer(o, Finalizer))
	for _, k := range slices.Sorted(maps.Keys(o.GetAnnotations())) {
		if strings.HasPrefix(k, annotations) {
			fmt.Fprintf(h, " %q=%q", k, o.GetAnnotations()[k])
		}
	}
	return h.Sum64()
}

// versionOf is the place of an object's version in the order of versions, or zero if the API server's are no numbers.
func versionOf(o metav1.Object) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// wish is what a broker should have for an object, as far as that can be said without a look at others.
type wish struct {
	object.Object
	known bool
	sum   object.Sum
}

func wishOf(k *kind, owner string, o v1alpha1.Topology, users map[types.NamespacedName]*v1alpha1.User) wish {
	w, err := k.translate(o, &scope{users: users})
	if err != nil {
		return wish{}
	}
	w.Owner, w.Ref = owner, o.GetNamespace()+"/"+o.GetName()
	sum, err := w.Sum()
	return wish{w, err == nil, sum}
}
