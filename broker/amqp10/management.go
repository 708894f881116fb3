package amqp10

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// The node /management takes requests about queues, exchanges and bindings, as that of RabbitMQ 4 does, whose client
// libraries declare through it. A client attaches two links of one name to it: it sends requests on the one and gets the
// answers on the other. A request is a message with these properties; so is its answer:
//
//	request   message-id, to: a path, subject: a verb of HTTP, reply-to: $me; the body is a value
//	answer    correlation-id: the request's message-id, subject: a status of HTTP; the body is a value
//
// Answers go through a queue of the receiving link's own, so that they obey its credit and the session's windows.

// replyToMe is the reply-to of requests: the other link of the pair.
const replyToMe = "$me"

// consumeAnswers gives the link the queue for answers.
func (l *outgoing) consumeAnswers() (err error) {
	l.answering = true
	o := l.options()
	l.hub, err = l.session.conn.host.ConsumeReplies(o)
	return err
}

// answer does what a request asks for, and answers it. Requests that cannot be answered end the link.
func (l *incoming) answer(id uint32, settled bool) error {
	s := l.session
	s.conn.handOver() // what was sent before is there
	m := &s.conn.scan
	to := s.conn.links.outgoing.get(l.name)
	switch {
	case to == nil || !to.answering:
		return linkError(frame.PreconditionFailed, "no link %q receives from %s: attach it first, with the same name", l.name, managementAddress)
	case string(m.Properties.ReplyTo) != replyToMe:
		return linkError(frame.InvalidField, "reply-to of a request is %q, not %s", m.Properties.ReplyTo, replyToMe)
	case m.Properties.MessageID.IsNull():
		return linkError(frame.InvalidField, "request has no message-id")
	}
	a := s.conn.perform(string(m.Properties.Subject), string(m.Properties.To), m.Sections.Body.Value())
	to.hub.Put(a.message(m.Properties.MessageID))
	if !settled {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conn.out.Append(func(dst []byte) []byte {
			return s.appendOutcome(dst, deliveryIDs{first: id, last: id, second: l.second}, frame.Accepted)
		})
	}
	return nil
}

// The statuses of answers.
const (
	statusOK         = 200
	statusCreated    = 201
	statusNoContent  = 204
	statusBadRequest = 400
	statusForbidden  = 403
	statusNotFound   = 404
	statusConflict   = 409
	statusFailed     = 500
)

// reply is an answer: a status, and a value that is still encoded.
type reply struct {
	status int
	body   []byte
}

func (r reply) message(request frame.Value) *message.Message {
	p := frame.Properties{CorrelationID: request, Subject: strconv.AppendInt(nil, int64(r.status), 10)}
	version := frame.AppendString(frame.AppendString(nil, "http:response"), "1.1")
	properties := frame.AppendMapSection(p.Append(nil), frame.CodeApplicationProperties, version)
	if r.body == nil {
		r.body = frame.AppendNull(nil)
	}
	v, _, err := frame.ReadValue(r.body, frame.Limits{Depth: 1 << 20, Elements: 1 << 30})
	if err != nil {
		panic("BUG: an answer of the broker's own: " + err.Error())
	}
	return &message.Message{Encoding: message.AMQP10, Priority: frame.DefaultPriority, Properties: properties, Payload: frame.AppendValue(nil, v), Owned: true}
}

// refusal is the answer to what went wrong, with a text.
func refusal(err error) reply {
	e := toError(err)
	status := statusFailed
	switch e.Condition {
	case frame.NotFound:
		status = statusNotFound
	case frame.UnauthorizedAccess:
		status = statusForbidden
	case frame.PreconditionFailed:
		status = statusConflict
	case frame.InvalidField, frame.NotAllowed, frame.ResourceLocked, frame.NotImplemented:
		status = statusBadRequest
	}
	return reply{status: status, body: frame.AppendString(nil, e.Text)}
}

func badRequest(format string, args ...any) reply {
	return reply{status: statusBadRequest, body: frame.AppendString(nil, fmt.Sprintf(format, args...))}
}

// perform does one request.
func (c *connection) perform(verb, target string, body frame.Value) reply {
	path, query, _ := strings.Cut(target, "?")
	if !strings.HasPrefix(path, "/") {
		return badRequest("path %q does not begin with a slash", path)
	}
	parts := strings.Split(path[1:], "/")
	for i, p := range parts {
		decoded, err := url.PathUnescape(p)
		if err != nil {
			return badRequest("path %q: %v", path, err)
		}
		parts[i] = decoded
	}
	fields, isMap := body.Map()
	switch parts[0] {
	case "queues":
		return c.performQueue(verb, parts[1:], fields)
	case "exchanges":
		if len(parts) != 2 || parts[1] == "" {
			return badRequest("path %q names no exchange", path)
		}
		return c.performExchange(verb, parts[1], fields)
	case "bindings":
		if verb == "POST" && len(parts) == 1 && isMap {
			return c.bind(fields)
		}
		if verb == "GET" && len(parts) == 1 {
			return c.bindings(query)
		}
		if verb == "DELETE" && len(parts) == 2 {
			return c.unbind(path[len("/bindings/"):])
		}
	}
	return badRequest("%s %s is no request that there is", verb, path)
}

func (c *connection) performQueue(verb string, parts []string, fields frame.Map) reply {
	if len(parts) == 2 && parts[1] == "messages" && verb == "DELETE" {
		return c.purge(parts[0])
	}
	if len(parts) != 1 || parts[0] == "" {
		return badRequest("path names no queue")
	}
	name := parts[0]
	switch verb {
	case "GET":
		q, err := c.host.Queue(name, c.origin)
		if err != nil {
			return refusal(err)
		}
		return reply{statusOK, describeQueue(c.host.Name(), q)}
	case "PUT":
		return c.declareQueue(name, fields)
	case "DELETE":
		n, err := c.host.DeleteQueue(context.Background(), c.access, name, c.origin, false, false)
		if err != nil {
			return refusal(err)
		}
		return reply{statusOK, counted(n)}
	}
	return badRequest("%s on a queue is no request that there is", verb)
}

// counted is a body that says how many messages went.
func counted(n int) []byte {
	return frame.AppendMap(nil, frame.AppendUlong(frame.AppendString(nil, "message_count"), uint64(n)))
}

func (c *connection) purge(name string) reply {
	q, err := c.host.Queue(name, c.origin)
	if err == nil {
		err = c.access.Read(name)
	}
	if err != nil {
		return refusal(err)
	}
	return reply{statusOK, counted(q.Purge())}
}

// flag is a boolean of a request.
func flag(fields frame.Map, name string) bool {
	v, _ := fields.Lookup(name)
	b, _ := v.Bool()
	return b
}

func text(fields frame.Map, name string) string {
	v, _ := fields.Lookup(name)
	b, _ := v.Bytes()
	return string(b)
}

// arguments are those of a request, as declarations of every protocol have them.
func arguments(fields frame.Map) object.Arguments {
	v, _ := fields.Lookup("arguments")
	m, _ := v.Map()
	return plainMap(m)
}

// plainMap is a map as arguments.
func plainMap(m frame.Map) (a object.Arguments) {
	for k, w := range m.All() {
		if a == nil {
			a = object.Arguments{}
		}
		b, _ := k.Bytes()
		a[string(b)] = mapping.Plain(w)
	}
	return a
}

func (c *connection) declareQueue(name string, fields frame.Map) reply {
	d := hub.QueueDeclaration{Name: name, Origin: c.origin, Exclusive: flag(fields, "exclusive")}
	d.Spec = object.QueueSpec{Durable: flag(fields, "durable"), AutoDelete: flag(fields, "auto_delete"), Arguments: arguments(fields)}
	if d.Exclusive { // it goes with its connection
		d.Spec.Durable = false
	}
	status := statusCreated
	if _, err := c.host.Queue(name, c.origin); err == nil {
		status = statusOK
	}
	q, err := c.host.DeclareQueue(context.Background(), c.access, d)
	if err != nil {
		return refusal(err)
	}
	return reply{status, describeQueue(c.host.Name(), q)}
}

// describeQueue is what a client is told of a queue.
func describeQueue(vhost string, q *hub.Queue) []byte {
	spec, stats := q.Spec(), q.Stats()
	kind, _, _ := spec.Arguments.Text("x-queue-type")
	if kind == "" {
		kind = "classic"
	}
	var m frame.Map
	m = frame.AppendString(frame.AppendString(m, "name"), mapping.Text(q.Name()))
	m = frame.AppendString(frame.AppendString(m, "vhost"), mapping.Text(vhost))
	m = frame.AppendBool(frame.AppendString(m, "durable"), spec.Durable)
	m = frame.AppendBool(frame.AppendString(m, "auto_delete"), spec.AutoDelete)
	m = frame.AppendBool(frame.AppendString(m, "exclusive"), q.Exclusive())
	m = frame.AppendString(frame.AppendString(m, "type"), kind)
	m = appendArguments(m, spec.Arguments)
	m = frame.AppendUlong(frame.AppendString(m, "message_count"), uint64(max(stats.Ready, 0)))
	m = frame.AppendUint(frame.AppendString(m, "consumer_count"), uint32(max(stats.Consumers, 0)))
	return frame.AppendMap(nil, m)
}

func appendArguments(m frame.Map, a object.Arguments) frame.Map {
	return frame.AppendMap(frame.AppendString(m, "arguments"), mapping.MapOf(a))
}

func (c *connection) performExchange(verb, name string, fields frame.Map) reply {
	ctx := context.Background() // what a durable catalogue takes is a matter of milliseconds
	switch verb {
	case "PUT":
		kind := text(fields, "type")
		if kind == "" {
			kind = "direct"
		}
		if !slices.Contains(object.ExchangeTypes, kind) {
			return badRequest("invalid exchange type '%s'; there are %s", kind, strings.Join(object.ExchangeTypes, ", "))
		}
		d := hub.ExchangeDeclaration{Name: name, Spec: object.ExchangeSpec{
			Type: kind, Durable: flag(fields, "durable"), AutoDelete: flag(fields, "auto_delete"), Internal: flag(fields, "internal"), Arguments: arguments(fields),
		}}
		if err := c.host.DeclareExchange(ctx, c.access, d); err != nil {
			return refusal(err)
		}
	case "DELETE":
		if err := c.host.DeleteExchange(ctx, c.access, name, false); err != nil {
			return refusal(err)
		}
	case "GET":
		return c.describeExchange(name)
	default:
		return badRequest("%s on an exchange is no request that there is", verb)
	}
	return reply{status: statusNoContent}
}

func (c *connection) describeExchange(name string) reply {
	spec, ok := c.host.Exchange(name)
	if !ok {
		return refusal(linkError(frame.NotFound, "no exchange '%s' in vhost '%s'", name, c.host.Name()))
	}
	var m frame.Map
	m = frame.AppendString(frame.AppendString(m, "name"), mapping.Text(name))
	m = frame.AppendString(frame.AppendString(m, "vhost"), mapping.Text(c.host.Name()))
	m = frame.AppendString(frame.AppendString(m, "type"), spec.Type)
	m = frame.AppendBool(frame.AppendString(m, "durable"), spec.Durable)
	m = frame.AppendBool(frame.AppendString(m, "auto_delete"), spec.AutoDelete)
	m = frame.AppendBool(frame.AppendString(m, "internal"), spec.Internal)
	return reply{statusOK, frame.AppendMap(nil, appendArguments(m, spec.Arguments))}
}
