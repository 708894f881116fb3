package definitions

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// Imported is what a file comes to.
type Imported struct {
	// Objects are in the order in which they can be applied; At says of each where it stands in the file.
	Objects []object.Object
	At      []string
	Skipped []client.Skipped
}

// Import reads definitions. With a virtual host, they are those of one virtual host, in which everything goes into this
// one: users, permissions and other virtual hosts are passed over then. The error is about the file as a whole.
func Import(file []byte, vhost string) (*Imported, error) {
	d, unknown, err := decode(file)
	if err != nil {
		return nil, err
	}
	i := &importer{vhost: vhost, missing: make(map[object.Key]bool), hosts: make(map[string]*object.VirtualHostSpec)}
	slices.Sort(unknown)
	for _, name := range unknown {
		i.skip(name, "the section is not known")
	}
	i.document(&d)
	return i.sorted(), nil
}

type importer struct {
	vhost   string
	out     Imported
	missing map[object.Key]bool // exchanges and queues that are not taken over
	hosts   map[string]*object.VirtualHostSpec
}

func (i *importer) skip(what, format string, args ...any) {
	i.out.Skipped = append(i.out.Skipped, client.Skipped{What: what, Why: fmt.Sprintf(format, args...)})
}

// in is the virtual host of something that says it is in one.
func (i *importer) in(vhost string) string {
	if i.vhost != "" {
		return i.vhost
	}
	return vhost
}

func (i *importer) add(at string, kind object.Kind, vhost, name string, spec any) {
	o, err := object.New(kind, vhost, name, spec)
	if err != nil {
		i.skip(at, "%v", err)
		return
	}
	if kind == object.KindBinding {
		o.Name = spec.(object.BindingSpec).Name()
	}
	i.out.Objects, i.out.At = append(i.out.Objects, o), append(i.out.At, at)
}

func (i *importer) document(d *document) {
	if i.vhost == "" {
		i.virtualHosts(d)
		for n, u := range d.Users {
			i.user(fmt.Sprintf("users[%d] %q", n, u.Name), u)
		}
		for n, p := range d.Permissions {
			spec := object.PermissionSpec{Configure: p.Configure, Write: p.Write, Read: p.Read, Topics: p.Topics}
			i.add(fmt.Sprintf("permissions[%d] of %q in %q", n, p.User, p.VirtualHost), object.KindPermission, p.VirtualHost, p.User, spec)
		}
	}
	for n, p := range d.TopicPermissions {
		i.skip(fmt.Sprintf("topic_permissions[%d] of %q in %q", n, p.User, p.VirtualHost),
			"regular expressions over topics are not supported: say it in the topics of the permission, by MQTT topic filters")
	}
	for n, p := range d.Parameters {
		i.parameter(fmt.Sprintf("parameters[%d] %s %q in %q", n, p.Component, p.Name, i.in(p.VirtualHost)), p)
	}
	for n, p := range d.GlobalParameters {
		if !harmless[p.Name] {
			i.skip(fmt.Sprintf("global_parameters[%d] %q", n, p.Name), "it has no meaning here")
		}
	}
	for n, p := range d.Policies {
		i.policy(fmt.Sprintf("policies[%d] %q in %q", n, p.Name, i.in(p.VirtualHost)), object.KindPolicy, p)
	}
	for n, p := range d.TopicPolicies {
		i.add(fmt.Sprintf("turnstone_topic_policies[%d] %q in %q", n, p.Name, i.in(p.VirtualHost)), object.KindTopicPolicy, i.in(p.VirtualHost), p.Name, p.Spec)
	}
	for n, x := range d.Exchanges {
		i.exchange(fmt.Sprintf("exchanges[%d] %q in %q", n, x.Name, i.in(x.VirtualHost)), x)
	}
	for n, q := range d.Queues {
		i.queue(fmt.Sprintf("queues[%d] %q in %q", n, q.Name, i.in(q.VirtualHost)), q)
	}
	for n, b := range d.Bindings {
		i.binding(fmt.Sprintf("bindings[%d] of %q to %q in %q", n, b.Source, b.Destination, i.in(b.VirtualHost)), b)
	}
}

// harmless are global parameters that describe the cluster that they came from.
var harmless = map[string]bool{"cluster_name": true, "internal_cluster_id": true, "cluster_tags": true}

// virtualHosts gathers what several sections say of a virtual host.
func (i *importer) virtualHosts(d *document) {
	for _, v := range d.VirtualHosts {
		spec := &object.VirtualHostSpec{Description: v.Description, MaxConnections: v.Limits.number("max-connections"), MaxQueues: v.Limits.number("max-queues"), Events: v.Events}
		if v.Metadata != nil && spec.Description == "" {
			spec.Description = v.Metadata.Description
		}
		i.hosts[v.Name] = spec
	}
	for _, p := range d.Parameters {
		var limits pairs
		if spec := i.hosts[p.VirtualHost]; p.Component == "vhost-limits" && spec != nil && json.Unmarshal(p.Value, &limits) == nil {
			spec.MaxConnections, spec.MaxQueues = limits.number("max-connections"), limits.number("max-queues")
		}
	}
	for n, v := range d.VirtualHosts {
		i.add(fmt.Sprintf("vhosts[%d] %q", n, v.Name), object.KindVirtualHost, "", v.Name, i.hosts[v.Name])
	}
}

// The names of password hashes: RabbitMQ's, and that of this broker's own, which RabbitMQ refuses.
const (
	rabbitSHA256 = "rabbit_password_hashing_sha256"
	rabbitSHA512 = "rabbit_password_hashing_sha512"
	argon2id     = "argon2id"
)

func (i *importer) user(at string, u user) {
	spec := object.UserSpec{Password: u.Password, ClientIDs: u.ClientIDs}
	for _, t := range u.Tags {
		if slices.Contains(object.Tags, t) {
			spec.Tags = append(spec.Tags, t)
		} else {
			i.skip(at+" tag "+fmt.Sprintf("%q", t), "there is no such tag; there are %v", object.Tags)
		}
	}
	switch {
	case u.Hash == "" || u.Password != "":
	case u.Algorithm == rabbitSHA256 || u.Algorithm == "":
		spec.PasswordHash = object.HashRabbitSHA256 + u.Hash
	case u.Algorithm == rabbitSHA512:
		spec.PasswordHash = object.HashRabbitSHA512 + u.Hash
	case u.Algorithm == argon2id:
		spec.PasswordHash = u.Hash
	default:
		i.skip(at+" password", "hashes of %s are not accepted: the user is taken over without a password; set a new one", u.Algorithm)
	}
	if spec.PasswordHash != "" {
		spec.Scram = u.Scram
	}
	if u.OwnLimits != nil {
		spec.Limits = *u.OwnLimits
	}
	if n := u.Limits.number("max-connections"); n > 0 {
		spec.Limits.MaxConnections = n
	}
	if _, ok := u.Limits["max-channels"]; ok {
		i.skip(at+" limits", "users have no limit of channels: limits.channels in the configuration is one of every connection")
	}
	i.add(at, object.KindUser, "", u.Name, spec)
}

func (i *importer) parameter(at string, p parameter) {
	switch p.Component {
	case "vhost-limits":
		if i.vhost != "" {
			i.skip(at, "limits of a virtual host are taken over with the virtual host, and these definitions are of what is in it")
		} else if i.hosts[p.VirtualHost] == nil {
			i.skip(at, "the file does not have the virtual host")
		}
	case "operator_policy":
		var value policy
		if err := json.Unmarshal(p.Value, &value); err != nil {
			i.skip(at, "value: %v", err)
			return
		}
		value.VirtualHost, value.Name = p.VirtualHost, p.Name
		i.policy(at, object.KindOperatorPolicy, value)
	default:
		i.skip(at, "there is no component %q here", p.Component)
	}
}

func (i *importer) policy(at string, kind object.Kind, p policy) {
	spec := object.PolicySpec{Pattern: p.Pattern, ApplyTo: object.ApplyTo(p.ApplyTo), Priority: p.Priority, Definition: object.Arguments(p.Definition)}
	if kind == object.KindOperatorPolicy && spec.ApplyTo == object.ApplyToAll {
		spec.ApplyTo = object.ApplyToQueues // an operator can limit nothing else
	}
	i.add(at, kind, i.in(p.VirtualHost), p.Name, spec)
}

func (i *importer) exchange(at string, x exchange) {
	vhost := i.in(x.VirtualHost)
	if !slices.Contains(object.ExchangeTypes, x.Type) {
		i.missing[object.Key{Kind: object.KindExchange, VirtualHost: vhost, Name: x.Name}] = true
		i.skip(at, "exchanges of type %s do not exist; there are %v", x.Type, object.ExchangeTypes)
		return
	}
	spec := object.ExchangeSpec{Type: x.Type, Durable: x.Durable, AutoDelete: x.AutoDelete, Internal: x.Internal, Arguments: x.Arguments}
	i.add(at, object.KindExchange, vhost, x.Name, spec)
}

func (i *importer) queue(at string, q queue) {
	vhost := i.in(q.VirtualHost)
	kind, _, _ := q.Arguments.Text(object.QueueType)
	if q.Type == "stream" || kind == "stream" {
		i.missing[object.Key{Kind: object.KindQueue, VirtualHost: vhost, Name: q.Name}] = true
		i.skip(at, "streams do not exist")
		return
	}
	if q.Type == "quorum" && kind == "" {
		if q.Arguments == nil {
			q.Arguments = make(object.Arguments)
		}
		q.Arguments[object.QueueType] = q.Type
	}
	i.add(at, object.KindQueue, vhost, q.Name, object.QueueSpec{Durable: q.Durable, AutoDelete: q.AutoDelete, Arguments: q.Arguments})
}

func (i *importer) binding(at string, b binding) {
	if b.Source == "" {
		return // every queue has it
	}
	vhost := i.in(b.VirtualHost)
	to := object.Key{Kind: object.KindQueue, VirtualHost: vhost, Name: b.Destination}
	if b.DestinationType == string(object.DestinationExchange) {
		to.Kind = object.KindExchange
	}
	for _, end := range []object.Key{to, {Kind: object.KindExchange, VirtualHost: vhost, Name: b.Source}} {
		if i.missing[end] {
			i.skip(at, "%s was not taken over", end)
			return
		}
	}
	i.add(at, object.KindBinding, vhost, "", object.BindingSpec{
		Source: b.Source, DestinationType: object.DestinationType(b.DestinationType), Destination: b.Destination, RoutingKey: b.RoutingKey, Arguments: b.Arguments,
	})
}

// sorted brings the objects into the order in which they can be applied, each once: what comes later in the file counts.
func (i *importer) sorted() *Imported {
	last := make(map[object.Key]int, len(i.out.Objects))
	for n, o := range i.out.Objects {
		last[o.Key] = n
	}
	order := make([]int, 0, len(last))
	for _, n := range last {
		order = append(order, n)
	}
	slices.SortFunc(order, func(a, b int) int { return i.out.Objects[a].Key.Compare(i.out.Objects[b].Key) })
	out := &Imported{Skipped: i.out.Skipped}
	for _, n := range order {
		out.Objects, out.At = append(out.Objects, i.out.Objects[n]), append(out.At, i.out.At[n])
	}
	return out
}
