package topology

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/types"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// Translate says what a broker should have for an object, as the reconciler wants it, for those who look on. Users are those
// of the object's namespace by name: a Permission may name one. Defaults of the CRDs are set already.
func Translate(o v1alpha1.Topology, users map[string]*v1alpha1.User) (object.Object, error) {
	for _, k := range kinds {
		if reflect.TypeOf(k.sample) != reflect.TypeOf(o) {
			continue
		}
		byKey := make(map[types.NamespacedName]*v1alpha1.User, len(users))
		for name, u := range users {
			byKey[types.NamespacedName{Namespace: o.GetNamespace(), Name: name}] = u
		}
		wanted, err := k.translate(o, &scope{users: byKey})
		wanted.Owner, wanted.Ref = DefaultOwner, o.GetNamespace()+"/"+o.GetName()
		return wanted, err
	}
	return object.Object{}, fmt.Errorf("%T lives in no broker", o)
}
