package manifest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/resource"
	"github.com/turnstone-mq/turnstone/controllers/topology"
)

// Target is where manifests are for.
type Target struct {
	Namespace string // empty leaves it to whoever applies them
	Broker    string
}

// Source is an object of a broker and where it comes from, for reports; empty is the broker.
type Source struct {
	object.Object
	At string
}

func (s Source) where() string {
	if s.At != "" {
		return s.At
	}
	return s.Key.String()
}

// Export makes manifests of what a broker has, in the order of keys. What every broker has by itself is left out without a
// word; what cannot be written, or not all of it, is told. The permissions of a user who is among the manifests refer to that
// one, so that they wait for it.
func Export(sources []Source, t Target) (out []v1alpha1.Topology, skipped []admin.Skipped) {
	sources = slices.DeleteFunc(slices.Clone(sources), func(s Source) bool {
		if s.At != "" && s.Kind == object.KindUser && firstUser(s.Name) {
			skipped = append(skipped, admin.Skipped{What: s.At, Why: "the operator gives every broker a user of this name with a password of its own: give this one another name"})
		}
		return builtIn(s.Object)
	})
	slices.SortFunc(sources, func(a, b Source) int { return a.Compare(b.Key) })
	subjects := make([]subject, len(sources))
	for i, s := range sources {
		subjects[i] = subject{key: s.Key, had: refName(s.Ref), base: baseOf(s.Object)}
	}
	names := nameAll(subjects)
	users := make(map[string]*v1alpha1.User) // by their names in the broker; they come before permissions
	for i, s := range sources {
		made, err := t.make(s.Object, names[i], users)
		if err != nil {
			skipped = append(skipped, admin.Skipped{What: s.where(), Why: err.Error()})
			continue
		}
		if u, ok := made.(*v1alpha1.User); ok {
			users[s.Name] = u
		}
		out = append(out, made)
	}
	return out, skipped
}

func (t Target) make(o object.Object, name string, users map[string]*v1alpha1.User) (v1alpha1.Topology, error) {
	if name == "" {
		return nil, fmt.Errorf("its name leaves nothing to name a Kubernetes object")
	}
	made, err := from(o)
	if err != nil {
		return nil, err
	}
	made.SetName(name)
	made.SetNamespace(t.Namespace)
	made.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(string(o.Kind)))
	Place(made, t.Broker)
	call(made, o.Name)
	byName := make(map[string]*v1alpha1.User)
	if p, ok := made.(*v1alpha1.Permission); ok && users[o.Name] != nil {
		u := users[o.Name]
		p.Spec.User, p.Spec.UserRef = "", &v1alpha1.LocalReference{Name: u.Name}
		byName[u.Name] = u
	}
	back, err := topology.Translate(made, byName)
	if err != nil {
		return nil, err
	}
	return made, same(o, back)
}

// same says in what a manifest differs from what it was made of.
func same(o, back object.Object) error {
	if back.Key != o.Key {
		return fmt.Errorf("it would become %s", back.Key)
	}
	want, err := sameMeaning(o).Canonical()
	if err != nil {
		return err
	}
	have, err := back.Canonical()
	if err != nil {
		return err
	}
	if !bytes.Equal(want, have) {
		return fmt.Errorf("a Kubernetes object cannot say all of it: %s would become %s", want, have)
	}
	return nil
}

// sameMeaning writes out what an empty field of a policy means, as its Kubernetes object does.
func sameMeaning(o object.Object) object.Object {
	switch o.Kind {
	case object.KindPolicy, object.KindOperatorPolicy:
	default:
		return o
	}
	s, err := object.Decode[object.PolicySpec](o)
	if err != nil {
		return o
	}
	switch {
	case o.Kind == object.KindPolicy && s.ApplyTo == "":
		s.ApplyTo = object.ApplyToAll
	case o.Kind == object.KindOperatorPolicy && (s.ApplyTo == "" || s.ApplyTo == object.ApplyToAll):
		s.ApplyTo = object.ApplyToQueues
	}
	said, err := object.New(o.Kind, o.VirtualHost, o.Name, s)
	if err != nil {
		return o
	}
	return said
}

// Place sets the broker of an object.
func Place(o v1alpha1.Topology, broker string) {
	ref, _ := fields(o)
	ref.Name = broker
}

// call sets the name of an object in its broker, where that is another one than in Kubernetes.
func call(o v1alpha1.Topology, name string) {
	if _, field := fields(o); field != nil && name != o.GetName() {
		*field = name
	}
}

// fields are those for the broker of an object and its name there, which permissions and bindings do not have.
func fields(o v1alpha1.Topology) (*v1alpha1.BrokerReference, *string) {
	switch o := o.(type) {
	case *v1alpha1.VirtualHost:
		return &o.Spec.BrokerRef, &o.Spec.Name
	case *v1alpha1.User:
		return &o.Spec.BrokerRef, &o.Spec.Name
	case *v1alpha1.Permission:
		return &o.Spec.BrokerRef, nil
	case *v1alpha1.TopicPolicy:
		return &o.Spec.BrokerRef, &o.Spec.Name
	case *v1alpha1.Policy:
		return &o.Spec.BrokerRef, &o.Spec.Name
	case *v1alpha1.OperatorPolicy:
		return &o.Spec.BrokerRef, &o.Spec.Name
	case *v1alpha1.Exchange:
		return &o.Spec.BrokerRef, &o.Spec.Name
	case *v1alpha1.Queue:
		return &o.Spec.BrokerRef, &o.Spec.Name
	case *v1alpha1.Binding:
		return &o.Spec.BrokerRef, nil
	}
	panic(fmt.Sprintf("%T is of a kind without fields", o))
}

// refName is the name of the Kubernetes object for which an object stands already.
func refName(ref string) string {
	_, name, ok := strings.Cut(ref, "/")
	if !ok || strings.ContainsAny(name, "/ ,") {
		return ""
	}
	return name
}

// builtIn: the operator gives every broker the virtual host "/" and two users with every permission in it.
func builtIn(o object.Object) bool {
	switch o.Kind {
	case object.KindVirtualHost:
		s, err := object.Decode[object.VirtualHostSpec](o)
		return err == nil && o.Name == "/" && o.Owner == "" && s.Description == "" && s.MaxConnections == 0 && s.MaxQueues == 0 && len(s.Events) == 0
	case object.KindUser:
		return firstUser(o.Name)
	case object.KindPermission:
		s, err := object.Decode[object.PermissionSpec](o)
		return err == nil && firstUser(o.Name) && o.VirtualHost == "/" && s.Configure == ".*" && s.Write == ".*" && s.Read == ".*" && len(s.Topics) == 0
	}
	return false
}

func firstUser(name string) bool { return name == resource.AdminUser || name == resource.DefaultUser }
