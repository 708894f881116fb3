package amqp10

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// Bindings have no name of their own: their place below /bindings is made of what they are.
//
//	/bindings/src=SOURCE;dstq=QUEUE;key=KEY;args=HASH      dste=EXCHANGE for one to an exchange; args is empty without arguments

// bindingPath is the last part of a binding's path.
func bindingPath(b hub.Binding) string {
	to := "dstq="
	if b.ToExchange {
		to = "dste="
	}
	args := ""
	if len(b.Arguments) > 0 {
		args = argumentsHash(b)
	}
	return "src=" + escape(b.Source) + ";" + to + escape(b.Destination) + ";key=" + escape(b.Key) + ";args=" + args
}

// escape is percent-encoding of all that has a meaning in a binding's path.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// argumentsHash tells bindings apart that differ in their arguments alone.
func argumentsHash(b hub.Binding) string {
	s := object.BindingSpec{Source: b.Source, DestinationType: object.DestinationQueue, Destination: b.Destination, RoutingKey: b.Key, Arguments: b.Arguments}
	sum := sha256.Sum256([]byte(s.Name()))
	return hex.EncodeToString(sum[:8])
}

// bindingOf reads the fields of a request.
func (c *connection) bindingOf(fields frame.Map) (b hub.Binding, ok bool) {
	b = hub.Binding{Source: text(fields, "source"), Key: text(fields, "binding_key"), Arguments: arguments(fields), Origin: c.origin}
	if _, toQueue := fields.Lookup("destination_queue"); toQueue {
		b.Destination = text(fields, "destination_queue")
	} else {
		b.Destination, b.ToExchange = text(fields, "destination_exchange"), true
	}
	return b, b.Source != "" && b.Destination != ""
}

func (c *connection) bind(fields frame.Map) reply {
	b, ok := c.bindingOf(fields)
	if !ok {
		return badRequest("a binding needs source, and destination_queue or destination_exchange")
	}
	if err := c.host.Bind(context.Background(), c.access, b); err != nil {
		return refusal(err)
	}
	return reply{status: statusNoContent}
}

// parseBindingPath reads the last part of a binding's path, still encoded.
func parseBindingPath(last string) (b hub.Binding, args string, ok bool) {
	for field := range strings.SplitSeq(last, ";") {
		name, value, _ := strings.Cut(field, "=")
		value, err := url.PathUnescape(value)
		if err != nil {
			return b, "", false
		}
		switch name {
		case "src":
			b.Source = value
		case "dstq":
			b.Destination = value
		case "dste":
			b.Destination, b.ToExchange = value, true
		case "key":
			b.Key = value
		case "args":
			args = value
		default:
			return b, "", false
		}
	}
	return b, args, b.Source != "" && b.Destination != ""
}

func (c *connection) unbind(last string) reply {
	wanted, args, ok := parseBindingPath(last)
	if !ok {
		return badRequest("binding %q is not src=SOURCE;dstq=QUEUE;key=KEY;args=, or with dste=EXCHANGE", last)
	}
	for _, b := range c.bindingsBetween(wanted) {
		if b.Key != wanted.Key || (len(b.Arguments) > 0) != (args != "") || args != "" && argumentsHash(b) != args {
			continue
		}
		b.Origin = c.origin
		if err := c.host.Unbind(context.Background(), c.access, b); err != nil {
			return refusal(err)
		}
	}
	return reply{status: statusNoContent}
}

// bindingsBetween are the bindings from a source to a destination.
func (c *connection) bindingsBetween(wanted hub.Binding) (all []hub.Binding) {
	list := c.host.BindingsOf(wanted.Destination)
	if wanted.ToExchange {
		list = c.host.BindingsTo(wanted.Destination)
	}
	for _, b := range list {
		if b.Source == wanted.Source {
			all = append(all, b)
		}
	}
	return all
}

// bindings lists those that a query names by source, destination and key. Who asks must be allowed to bind there: the
// answer tells what others have bound.
func (c *connection) bindings(query string) reply {
	q, err := url.ParseQuery(query)
	if err != nil {
		return badRequest("query %q: %v", query, err)
	}
	wanted := hub.Binding{Source: q.Get("src"), Destination: q.Get("dstq")}
	if to := q.Get("dste"); to != "" {
		wanted.Destination, wanted.ToExchange = to, true
	}
	if wanted.Source == "" || wanted.Destination == "" {
		return badRequest("query needs src, and dstq or dste")
	}
	if err := c.access.Read(wanted.Source); err != nil {
		return refusal(err)
	}
	if err := c.access.Write(wanted.Destination); err != nil {
		return refusal(err)
	}
	var list frame.List
	for _, b := range c.bindingsBetween(wanted) {
		if q.Has("key") && q.Get("key") != b.Key {
			continue
		}
		list = frame.AppendMap(list, describeBinding(b))
	}
	return reply{statusOK, frame.AppendList(nil, list)}
}

func describeBinding(b hub.Binding) (m frame.Map) {
	to := "destination_queue"
	if b.ToExchange {
		to = "destination_exchange"
	}
	for _, f := range [...][2]string{{"source", b.Source}, {to, b.Destination}, {"binding_key", b.Key}, {"location", "/bindings/" + bindingPath(b)}} {
		m = frame.AppendString(frame.AppendString(m, f[0]), mapping.Text(f[1]))
	}
	return appendArguments(m, b.Arguments)
}
