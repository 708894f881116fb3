package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnstone-mq/turnstone/controllers/resource"
	"github.com/turnstone-mq/turnstone/plugin/cluster"
	"github.com/turnstone-mq/turnstone/plugin/messages"
)

// access is how pub and sub connect.
type access struct {
	*plugin
	address string // URL of a listener
	secret  string
	vhost   string
	timeout time.Duration
}

func (l *access) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&l.address, "address", "", "`URL` of a listener, such as mqtts://broker.example:8883, instead of a port of a pod")
	f.StringVar(&l.secret, "secret", "", "`SECRET` of the user to connect as (default BROKER-default-user)")
	f.StringVar(&l.vhost, "vhost", "/", "virtual host")
}

// ports are those of the listeners, by scheme.
var ports = map[string]int{"mqtts": resource.PortMQTTS, "amqps": resource.PortAMQPS}

// endpoint is the listener for a protocol, mqtt or amqp; end closes the way to it.
func (l *access) endpoint(ctx context.Context, broker, protocol string) (e messages.Endpoint, end func(), err error) {
	end = func() {}
	k, err := l.connect()
	if err != nil {
		return e, end, err
	}
	b, err := k.Broker(ctx, broker)
	if err != nil {
		return e, end, err
	}
	who, err := k.Credentials(ctx, b, l.secret)
	if err != nil {
		return e, end, err
	}
	e = messages.Endpoint{TLS: who.TLS, Username: who.Username, Password: who.Password, VHost: l.vhost}
	if l.address != "" {
		err := l.at(&e, protocol)
		return e, end, err
	}
	pods, err := k.Pods(ctx, b)
	if err != nil {
		return e, end, err
	}
	running := cluster.Running(pods)
	if len(running) == 0 {
		return e, end, cluster.WhyNotRunning(b, pods)
	}
	t, err := k.Forward(ctx, running[0], ports[protocol+"s"])
	if err != nil {
		return e, end, err
	}
	e.Address = t.Address
	return e, t.Close, nil
}

// at takes the address of the flag.
func (l *access) at(e *messages.Endpoint, protocol string) error {
	u, err := url.Parse(l.address)
	if err != nil || u.Host == "" || u.Port() == "" || u.Scheme != protocol && u.Scheme != protocol+"s" {
		return usagef("--address: want %s://HOST:PORT or %ss://HOST:PORT, not %q", protocol, protocol, l.address)
	}
	if u.Scheme == protocol {
		e.TLS = nil
	}
	e.Address = u.Host
	return nil
}

// publication is what pub sends.
type publication struct {
	access
	exchange, key, queue string
	amqp                 bool
	file                 string
	headers              []string
	count                int
	qos                  uint8
	message              messages.Message
}

func (p *plugin) pubCommand() *cobra.Command {
	l := &publication{access: access{plugin: p}}
	c := &cobra.Command{
		Use:   "pub BROKER (TOPIC | --queue QUEUE | --exchange EXCHANGE --key KEY) [MESSAGE] [flags]",
		Short: "Publish a message, to an MQTT topic or an AMQP exchange or queue",
		Long: "Publish a message: to a topic over MQTT 5, or with --queue or --exchange over AMQP 0-9-1. It is published once the broker has confirmed\n" +
			"it (with QoS 0, once it is written). Without MESSAGE the body is read from --file, or standard input: all bytes as they are. Exit code 1\n" +
			"when nobody wanted a message.",
		Example: "  kubectl turnstone pub broker sensors/1 21.5 --retain\n  kubectl turnstone pub broker --queue orders --file order.bin",
		Args:    cobra.RangeArgs(1, 3), ValidArgsFunction: p.brokerArgument,
		RunE: func(c *cobra.Command, args []string) error {
			l.amqp = c.Flags().Changed("queue") || c.Flags().Changed("exchange")
			if err := l.read(args); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), l.timeout)
			defer cancel()
			return l.run(ctx, args[0])
		},
	}
	l.addFlags(c)
	f := c.Flags()
	f.StringVar(&l.exchange, "exchange", "", "`EXCHANGE` to publish to, over AMQP")
	f.StringVar(&l.key, "key", "", "routing `KEY` for the exchange")
	f.StringVar(&l.queue, "queue", "", "`QUEUE` to publish to, over AMQP")
	f.StringVarP(&l.file, "file", "f", "", "`FILE` with the body, - for standard input")
	f.StringArrayVarP(&l.headers, "header", "H", nil, "`NAME=VALUE` of a header, or user property; repeats")
	f.StringVar(&l.message.Type, "content-type", "", "content type")
	f.StringVar(&l.message.ReplyTo, "reply-to", "", "topic or queue for an answer")
	f.DurationVar(&l.message.Expiry, "expiry", 0, "how long the message lives, such as 30s")
	f.BoolVar(&l.message.Retain, "retain", false, "keep it for those who subscribe later (MQTT)")
	f.BoolVar(&l.message.Persistent, "persistent", true, "survive a restart in durable queues (AMQP)")
	f.Uint8VarP(&l.qos, "qos", "q", 1, "quality of service 0, 1 or 2 (MQTT)")
	f.IntVar(&l.count, "count", 1, "how often to publish it")
	f.DurationVar(&l.timeout, "timeout", 30*time.Second, "how long all of it may take")
	return c
}

// read takes the message from arguments and flags.
func (l *publication) read(args []string) error {
	rest := args[1:]
	if !l.amqp {
		if len(rest) == 0 {
			return usagef("name a TOPIC, --queue or --exchange")
		}
		l.message.Topic, rest = rest[0], rest[1:]
	}
	switch {
	case len(rest) > 1:
		return usagef("%q is one argument too many: put a MESSAGE with spaces in quotes", rest[1])
	case len(rest) == 1 && l.file != "":
		return usagef("give MESSAGE or --file")
	case l.amqp && l.queue != "" && (l.exchange != "" || l.key != ""):
		return usagef("give --queue, or --exchange and --key")
	case l.amqp && l.message.Retain:
		return usagef("--retain is for MQTT: publish to a topic")
	case l.qos > 2:
		return usagef("--qos: want 0, 1 or 2")
	case l.count < 1:
		return usagef("--count: want 1 or more")
	}
	l.message.Exchange, l.message.Key, l.message.QoS = l.exchange, l.key, l.qos
	if l.queue != "" {
		l.message.Key = l.queue // the default exchange knows queues by their names
	}
	for _, h := range l.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return usagef("--header %q: want NAME=VALUE", h)
		}
		l.message.Headers = append(l.message.Headers, messages.Property{Name: name, Value: value})
	}
	if len(rest) == 1 {
		l.message.Body = []byte(rest[0])
		return nil
	}
	return l.readBody()
}

// readBody reads all bytes of the file or of standard input, as far as a message can be.
func (l *publication) readBody() error {
	in := l.In
	if l.file != "" && l.file != "-" {
		f, err := os.Open(l.file)
		if err != nil {
			return usageError{err}
		}
		defer f.Close()
		in = f
	}
	const most = 256 << 20 // more than any broker takes
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && len(b) > most {
		return usagef("the body is longer than %d bytes", most)
	}
	l.message.Body = b
	return err
}

func (l *publication) run(ctx context.Context, broker string) error {
	protocol := "mqtt"
	if l.amqp {
		protocol = "amqp"
	}
	e, done, err := l.endpoint(ctx, broker, protocol)
	if err != nil {
		return err
	}
	defer done()
	publish, end, err := l.publisher(ctx, e)
	if err != nil {
		return err
	}
	defer end()
	unwanted := 0
	for range l.count {
		unrouted, err := publish(ctx, l.message)
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		if unrouted {
			unwanted++
		}
	}
	said := fmt.Sprintf("published %s", plural(l.count, "message", "messages"))
	if unwanted > 0 {
		said += fmt.Sprintf("; nobody wanted %d: no queue is bound and nobody subscribes", unwanted)
	}
	fmt.Fprintln(l.Err, said)
	return answer(unwanted == 0, nil)
}

func (l *publication) publisher(ctx context.Context, e messages.Endpoint) (publish func(context.Context, messages.Message) (bool, error), end func(), err error) {
	if l.amqp {
		a, err := messages.DialAMQP(ctx, e)
		if err != nil {
			return nil, nil, err
		}
		return a.Publish, a.Close, nil
	}
	m, err := messages.DialMQTT(ctx, e)
	if err != nil {
		return nil, nil, err
	}
	return m.Publish, m.Close, nil
}

// subscription is what sub listens to.
type subscription struct {
	access
	queue, exchange string
	keys            []string
	ack             bool
	count           int
	qos             uint8
	output          format
}

// The formats of sub beside formatJSON.
const formatRaw format = "raw"

func (p *plugin) subCommand() *cobra.Command {
	l := &subscription{access: access{plugin: p}}
	c := &cobra.Command{
		Use:   "sub BROKER (FILTER... | --queue QUEUE [--ack] | --exchange EXCHANGE [--key KEY...]) [flags]",
		Short: "Print messages: of MQTT topics, of an AMQP exchange, or that wait in a queue",
		Long: "Print messages as they come: of topics over MQTT 5, or with --exchange of an AMQP exchange, through a queue of its own. With --queue\n" +
			"print what waits in a queue: up to --count (10) messages, which stay there and are marked as redelivered, or with --ack all that come,\n" +
			"which are taken out. It ends after --count messages or --timeout; exit code 1 when the timeout came before --count messages had.",
		Example: "  kubectl turnstone sub broker 'sensors/#' --count 5\n  kubectl turnstone sub broker --queue orders -o raw --count 1 > order.bin",
		Args:    cobra.MinimumNArgs(1), ValidArgsFunction: p.brokerArgument,
		RunE: func(c *cobra.Command, args []string) error { return l.run(c.Context(), args[0], args[1:]) },
	}
	l.addFlags(c)
	l.output.addFormat(c, formatJSON, formatRaw)
	f := c.Flags()
	f.StringVar(&l.queue, "queue", "", "`QUEUE` to look into, over AMQP")
	f.BoolVar(&l.ack, "ack", false, "take messages out of the queue")
	f.StringVar(&l.exchange, "exchange", "", "`EXCHANGE` to listen to, over AMQP")
	f.StringArrayVar(&l.keys, "key", nil, "binding `KEY` for the exchange; repeats (default #)")
	f.IntVar(&l.count, "count", 0, "end after so many messages; 0 is endless, and 10 for what waits in a queue")
	f.Uint8VarP(&l.qos, "qos", "q", 1, "quality of service 0, 1 or 2 (MQTT)")
	f.DurationVar(&l.timeout, "timeout", 0, "end after so long; 0 is never")
	return c
}

func (l *subscription) check(filters []string) error {
	kinds := 0
	for _, given := range []bool{len(filters) > 0, l.queue != "", l.exchange != ""} {
		if given {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return usagef("name one of FILTER, --queue or --exchange")
	case l.ack && l.queue == "":
		return usagef("--ack is for --queue")
	case len(l.keys) > 0 && l.exchange == "":
		return usagef("--key is for --exchange")
	case l.count < 0:
		return usagef("--count: want 0 or more")
	case l.qos > 2:
		return usagef("--qos: want 0, 1 or 2")
	}
	return nil
}

func (l *subscription) run(ctx context.Context, broker string, filters []string) error {
	if err := l.check(filters); err != nil {
		return err
	}
	protocol := "amqp"
	if len(filters) > 0 {
		protocol = "mqtt"
	}
	e, done, err := l.endpoint(ctx, broker, protocol)
	if err != nil {
		return err
	}
	defer done()
	limited := ctx
	if l.timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, l.timeout)
		defer cancel()
	}
	next, end, err := l.source(limited, e, filters)
	if err != nil || next == nil {
		return err
	}
	defer end()
	seen := 0
	for ; l.count == 0 || seen < l.count; seen++ {
		m, dealt, err := next(limited)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			fmt.Fprintf(l.Err, "%s within %s\n", plural(seen, "message", "messages"), l.timeout)
			return answer(l.count == 0, nil)
		case errors.Is(err, context.Canceled):
			return nil // whoever watches has seen enough
		case err != nil:
			return err
		}
		if err := errors.Join(l.write(m), dealt()); err != nil {
			return err
		}
	}
	return nil
}

func (l *subscription) write(m messages.Message) error {
	f := messages.Text
	if l.output != "" {
		f = messages.Format(l.output)
	}
	return m.Write(l.Out, f)
}

// source begins to listen; next is nil when everything has been printed already.
func (l *subscription) source(ctx context.Context, e messages.Endpoint, filters []string) (next func(context.Context) (messages.Message, func() error, error), end func(), err error) {
	if len(filters) > 0 {
		m, err := messages.DialMQTT(ctx, e)
		if err != nil {
			return nil, nil, err
		}
		if err := m.Subscribe(ctx, filters, l.qos); err != nil {
			m.Close()
			return nil, nil, fmt.Errorf("subscribe: %w", err)
		}
		return func(ctx context.Context) (messages.Message, func() error, error) {
			msg, err := m.Next(ctx)
			return msg, func() error { return nil }, err
		}, m.Close, nil
	}
	a, err := messages.DialAMQP(ctx, e)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case l.exchange != "":
		if len(l.keys) == 0 {
			l.keys = []string{"#"}
		}
		err = a.Listen(l.exchange, l.keys)
	case l.ack:
		err = a.Consume(l.queue)
	default:
		defer a.Close()
		return nil, nil, l.peek(a)
	}
	if err != nil {
		a.Close()
		return nil, nil, err
	}
	return a.Next, a.Close, nil
}

func (l *subscription) peek(a *messages.AMQP) error {
	const quickLook = 10
	n := l.count
	if n == 0 {
		n = quickLook
	}
	seen, err := a.Peek(l.queue, n, l.write)
	if err == nil && seen < n {
		fmt.Fprintf(l.Err, "%s in queue %q\n", plural(seen, "message waits", "messages wait"), l.queue)
	}
	return err
}
