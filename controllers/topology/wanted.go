package topology

import (
	"fmt"
	"reflect"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// Owner is in whose name the operator owns objects of a broker.
const Owner = owner

// Translate says what a broker should have for an object, as the reconciler wants it, for those who look on. Users are those
// of the broker by the names of their Kubernetes objects: a Permission may name one. Defaults of the CRDs are set already.
func Translate(o v1alpha1.Topology, users map[string]*v1alpha1.User) (object.Object, error) {
	for _, k := range kinds {
		if reflect.TypeOf(k.sample) != reflect.TypeOf(o) {
			continue
		}
		wanted, err := k.translate(o, &scope{users: users})
		wanted.Owner, wanted.Ref = Owner, o.GetNamespace()+"/"+o.GetName()
		return wanted, err
	}
	return object.Object{}, fmt.Errorf("%T lives in no broker", o)
}
