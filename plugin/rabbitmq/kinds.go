package rabbitmq

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/plugin/manifest"
)

func (t *translation) queue(s queueSpec) (v1alpha1.Topology, reference, error) {
	if s.Type == "stream" {
		return nil, s.Cluster, fmt.Errorf("streams do not exist")
	}
	a, err := arguments(s.Arguments)
	if err != nil {
		return nil, s.Cluster, err
	}
	if kind, _, _ := a.Text(object.QueueType); kind == "stream" {
		return nil, s.Cluster, fmt.Errorf("streams do not exist")
	}
	if s.Type == "quorum" {
		if a == nil {
			a = make(object.Arguments)
		}
		a[object.QueueType] = s.Type
	}
	o, err := manifest.Queue(object.QueueSpec{Durable: s.Durable != nil && *s.Durable, AutoDelete: s.AutoDelete, Arguments: a})
	if err != nil {
		return nil, s.Cluster, err
	}
	o.Spec.Name, o.Spec.VHost, o.Spec.DeletionPolicy = t.nameIn(s.Name), s.VHost, deletion(s.DeletionPolicy)
	switch {
	case o.Spec.DeletionPolicy != "" || s.DeleteIfEmpty:
	case s.DeleteIfUnused:
		o.Spec.DeletionPolicy = v1alpha1.DeletionDeleteIfUnused
	default:
		o.Spec.DeletionPolicy = v1alpha1.DeletionDelete // what RabbitMQ's operator does
	}
	return o, s.Cluster, nil
}

func (t *translation) exchange(s exchangeSpec) (v1alpha1.Topology, reference, error) {
	if s.Type != "" && !slices.Contains(object.ExchangeTypes, s.Type) {
		return nil, s.Cluster, fmt.Errorf("exchanges of type %s do not exist; there are %v", s.Type, object.ExchangeTypes)
	}
	a, err := arguments(s.Arguments)
	if err != nil {
		return nil, s.Cluster, err
	}
	o, err := manifest.Exchange(object.ExchangeSpec{Type: s.Type, Durable: s.Durable != nil && *s.Durable, AutoDelete: s.AutoDelete, Arguments: a})
	if err != nil {
		return nil, s.Cluster, err
	}
	o.Spec.Name, o.Spec.VHost, o.Spec.DeletionPolicy = t.nameIn(s.Name), s.VHost, deletion(s.DeletionPolicy)
	return o, s.Cluster, nil
}

func (t *translation) binding(s bindingSpec) (v1alpha1.Topology, reference, error) {
	if s.Source == "" {
		return nil, s.Cluster, fmt.Errorf("every queue is bound to the default exchange already")
	}
	a, err := arguments(s.Arguments)
	if err != nil {
		return nil, s.Cluster, err
	}
	raw, err := manifest.Raw(a)
	return &v1alpha1.Binding{Spec: v1alpha1.BindingSpec{
		VHost: s.VHost, Source: s.Source, Destination: s.Destination, DestinationType: s.DestinationType, RoutingKey: s.RoutingKey, Arguments: raw,
	}}, s.Cluster, err
}

func (t *translation) virtualHost(s vhostSpec) (v1alpha1.Topology, reference, error) {
	o := &v1alpha1.VirtualHost{Spec: v1alpha1.VirtualHostSpec{Name: t.nameIn(s.Name), DeletionPolicy: deletion(s.DeletionPolicy)}}
	if l := s.Limits; l != nil {
		o.Spec.MaxConnections, o.Spec.MaxQueues = limit(l.Connections), limit(l.Queues)
	}
	if s.Tracing {
		t.skip("spec.tracing", "there is no tracing of messages here")
	}
	if len(s.Tags) > 0 {
		t.skip("spec.tags", "virtual hosts have no tags here")
	}
	if s.DefaultQueueType != "" {
		t.skip("spec.defaultQueueType", "there is one implementation of queues; x-queue-type is accepted where queues are declared")
	}
	return o, s.Cluster, nil
}

// limit is RabbitMQ's, of which a negative number is none.
func limit(n *int32) int32 {
	if n == nil || *n < 0 {
		return 0
	}
	return *n
}

func (t *translation) user(s userSpec) (v1alpha1.Topology, reference, error) {
	o := &v1alpha1.User{}
	for _, tag := range s.Tags {
		if slices.Contains(object.Tags, tag) {
			o.Spec.Tags = append(o.Spec.Tags, tag)
		} else {
			t.skip(fmt.Sprintf("tag %q", tag), "there is no such tag; there are %v", object.Tags)
		}
	}
	if l := s.Limits; l != nil {
		if n := limit(l.Connections); n > 0 {
			o.Spec.Limits = &v1alpha1.UserLimits{MaxConnections: n}
		}
		if l.Channels != nil {
			t.skip("spec.limits.channels", "users have no limit of channels: limits.channels in the configuration is one of every connection")
		}
	}
	if c := s.ImportCredentials; c != nil {
		o.Spec.PasswordSecretRef = &v1alpha1.PasswordReference{Name: c.Name, Key: "password"}
		t.skip("spec.importCredentialsSecret", "the password is taken from Secret %s, key password; the user is called %q: if its key username says otherwise, put that into spec.name", c.Name, t.meta.Name)
	} else {
		t.skip("name", "RabbitMQ's operator gave the user a random name and password; this one is called %q, with credentials in Secret %s", t.meta.Name, t.meta.Name+"-user-credentials")
	}
	return o, s.Cluster, nil
}

func (t *translation) permission(s permissionSpec) (v1alpha1.Topology, reference, error) {
	o := &v1alpha1.Permission{Spec: v1alpha1.PermissionSpec{
		VHost: s.VHost, Configure: s.Permissions.Configure, Write: s.Permissions.Write, Read: s.Permissions.Read,
	}}
	switch {
	case s.UserRef != nil:
		o.Spec.UserRef = &v1alpha1.LocalReference{Name: s.UserRef.Name}
	case s.User != "":
		o.Spec.User = s.User
	default:
		return nil, s.Cluster, fmt.Errorf("it names no user")
	}
	return o, s.Cluster, nil
}

func (t *translation) policy(s policySpec) (v1alpha1.Topology, reference, error) {
	definition, err := t.definition(s, false)
	if err != nil {
		return nil, s.Cluster, err
	}
	if s.ApplyTo == "streams" {
		return nil, s.Cluster, fmt.Errorf("streams do not exist")
	}
	raw, err := manifest.Raw(definition)
	return &v1alpha1.Policy{Spec: v1alpha1.PolicySpec{
		Name: t.nameIn(s.Name), VHost: s.VHost, Pattern: s.Pattern, ApplyTo: s.ApplyTo, Priority: s.Priority, Definition: raw,
	}}, s.Cluster, err
}

func (t *translation) operatorPolicy(s policySpec) (v1alpha1.Topology, reference, error) {
	definition, err := t.definition(s, true)
	if err != nil {
		return nil, s.Cluster, err
	}
	if s.ApplyTo == "all" {
		s.ApplyTo = "" // queues are what it can limit, and what it applies to by default
	}
	raw, err := manifest.Raw(definition)
	return &v1alpha1.OperatorPolicy{Spec: v1alpha1.OperatorPolicySpec{
		Name: t.nameIn(s.Name), VHost: s.VHost, Pattern: s.Pattern, ApplyTo: s.ApplyTo, Priority: s.Priority, Definition: raw,
	}}, s.Cluster, err
}

// definition is a policy's, without the keys that mean nothing here.
func (t *translation) definition(s policySpec, operator bool) (object.Arguments, error) {
	a, err := arguments(s.Definition)
	if err != nil {
		return nil, err
	}
	known := object.PolicyKeys(operator)
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if !slices.Contains(known, key) {
			t.skip("spec.definition."+key, "the key is not known here; there are %v", known)
			delete(a, key)
		}
	}
	if len(a) == 0 {
		return nil, fmt.Errorf("nothing is left of its definition")
	}
	return a, nil
}

// fieldsOf are the names of a struct's fields in JSON.
func fieldsOf(v any) []string {
	var out []string
	typ := reflect.TypeOf(v)
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		out = append(out, name)
	}
	return out
}
