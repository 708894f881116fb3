package definitions

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// Export writes objects as definitions, for version of this broker. With a virtual host, only what is in it is written,
// in the form of definitions of one virtual host. Hashes of passwords are written, since a user is of no use without.
func Export(objects []object.Object, vhost, version string) ([]byte, error) {
	// Who reads the file decides by the version what to expect in it.
	d := document{RabbitVersion: "3.13.0", RabbitMQVersion: "3.13.0", ProductName: "Turnstone", ProductVersion: version}
	for _, o := range objects {
		if vhost != "" && o.VirtualHost != vhost {
			continue
		}
		if err := d.put(o, vhost != ""); err != nil {
			return nil, err
		}
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode definitions: %w", err)
	}
	return append(b, '\n'), nil
}

// put adds an object. In the form of one virtual host, nothing says in which it is.
func (d *document) put(o object.Object, one bool) error {
	in := o.VirtualHost
	if one {
		in = ""
	}
	switch o.Kind {
	case object.KindVirtualHost:
		return put(o, func(s object.VirtualHostSpec) { d.putVirtualHost(o.Name, s) })
	case object.KindUser:
		return put(o, func(s object.UserSpec) { d.Users = append(d.Users, userOf(o.Name, s)) })
	case object.KindPermission:
		if one {
			return nil
		}
		return put(o, func(s object.PermissionSpec) {
			d.Permissions = append(d.Permissions, permission{User: o.Name, VirtualHost: in, Configure: s.Configure, Write: s.Write, Read: s.Read, Topics: s.Topics})
		})
	case object.KindTopicPolicy:
		d.TopicPolicies = append(d.TopicPolicies, topicPolicy{VirtualHost: in, Name: o.Name, Spec: o.Spec})
	case object.KindPolicy:
		return put(o, func(s object.PolicySpec) { d.Policies = append(d.Policies, policyOf(in, o.Name, s)) })
	case object.KindOperatorPolicy:
		return put(o, func(s object.PolicySpec) { d.putParameter("operator_policy", in, o.Name, policyOf("", "", s)) })
	case object.KindExchange:
		return put(o, func(s object.ExchangeSpec) {
			d.Exchanges = append(d.Exchanges, exchange{Name: o.Name, VirtualHost: in, Type: s.Type, Durable: s.Durable, AutoDelete: s.AutoDelete, Internal: s.Internal, Arguments: there(s.Arguments)})
		})
	case object.KindQueue:
		return put(o, func(s object.QueueSpec) {
			kind, _, _ := s.Arguments.Text(object.QueueType)
			if kind == "" {
				kind = "classic"
			}
			d.Queues = append(d.Queues, queue{Name: o.Name, VirtualHost: in, Type: kind, Durable: s.Durable, AutoDelete: s.AutoDelete, Arguments: there(s.Arguments)})
		})
	case object.KindBinding:
		return put(o, func(s object.BindingSpec) {
			d.Bindings = append(d.Bindings, binding{
				Source: s.Source, VirtualHost: in, Destination: s.Destination, DestinationType: string(s.DestinationType), RoutingKey: s.RoutingKey, Arguments: there(s.Arguments),
			})
		})
	}
	return nil
}

func put[T any](o object.Object, with func(T)) error {
	spec, err := object.Decode[T](o)
	if err == nil {
		with(spec)
	}
	return err
}

// there is an object in JSON, also when there are no arguments.
func there(a object.Arguments) object.Arguments {
	if a == nil {
		return object.Arguments{}
	}
	return a
}

func (d *document) putVirtualHost(name string, s object.VirtualHostSpec) {
	d.VirtualHosts = append(d.VirtualHosts, virtualHost{Name: name, Description: s.Description, Events: s.Events})
	limits := make(map[string]int)
	if s.MaxConnections > 0 {
		limits["max-connections"] = s.MaxConnections
	}
	if s.MaxQueues > 0 {
		limits["max-queues"] = s.MaxQueues
	}
	if len(limits) > 0 {
		d.putParameter("vhost-limits", name, "limits", limits)
	}
}

func (d *document) putParameter(component, vhost, name string, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		panic("definitions: a parameter is not plain data: " + err.Error())
	}
	d.Parameters = append(d.Parameters, parameter{Component: component, VirtualHost: vhost, Name: name, Value: b})
}

func userOf(name string, s object.UserSpec) user {
	u := user{Name: name, Tags: tags(s.Tags), Hash: s.PasswordHash, Algorithm: argon2id, Scram: s.Scram, ClientIDs: s.ClientIDs}
	if u.Tags == nil {
		u.Tags = tags{}
	}
	if s.Limits.MaxConnections > 0 {
		u.Limits = pairs{"max-connections": int64(s.Limits.MaxConnections)}
	}
	if s.Limits != (object.UserLimits{MaxConnections: s.Limits.MaxConnections}) {
		u.OwnLimits = &s.Limits
	}
	for prefix, algorithm := range map[string]string{object.HashRabbitSHA256: rabbitSHA256, object.HashRabbitSHA512: rabbitSHA512} {
		if hash, ok := strings.CutPrefix(s.PasswordHash, prefix); ok {
			u.Hash, u.Algorithm = hash, algorithm
		}
	}
	if u.Hash == "" {
		u.Algorithm = rabbitSHA256
	}
	return u
}

func policyOf(vhost, name string, s object.PolicySpec) policy {
	return policy{VirtualHost: vhost, Name: name, Pattern: s.Pattern, ApplyTo: string(s.ApplyTo), Priority: s.Priority, Definition: pairs(s.Definition)}
}
