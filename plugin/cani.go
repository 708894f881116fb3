package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/plugin/cluster"
)

// verbs are what can be asked.
var verbs = []string{"publish", "subscribe", "configure", "read", "write"}

func (p *plugin) canICommand() *cobra.Command {
	var output format
	var broker string
	var quiet, anonymous bool
	var q admin.Question
	c := &cobra.Command{
		Use:   "can-i publish|subscribe|configure|read|write TARGET (--as USER | --anonymous) [flags]",
		Short: "Ask a broker whether a user may do something, and by which rule",
		Long: "Ask a broker whether a user may do something, and by which rule. The broker decides as if the user tried, without doing it: TARGET is an\n" +
			"MQTT topic or filter for publish and subscribe, with --exchange a routing or binding key of AMQP, and for the others the name of an\n" +
			"exchange or queue. Exit code 0 when the answer is yes, 1 when it is no.",
		Example: "  kubectl turnstone can-i publish sensors/1 --as app\n  kubectl turnstone can-i read orders --as app --vhost tenant -b broker",
		Args:    cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return verbs, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case !slices.Contains(verbs, args[0]):
				return usagef("%q is none of %s", args[0], strings.Join(verbs, ", "))
			case (q.User == "") == !anonymous:
				return usagef("say --as USER, or --anonymous")
			}
			q.Action, q.Target = args[0], args[1]
			return p.canI(c.Context(), broker, q, quiet, output)
		},
	}
	output.addFormat(c, formatJSON, formatYAML)
	f := c.Flags()
	f.StringVar(&q.User, "as", "", "`USER` of the broker")
	f.BoolVar(&anonymous, "anonymous", false, "a client without a name")
	f.StringVar(&q.VirtualHost, "vhost", "/", "virtual host")
	f.StringVar(&q.ClientID, "client-id", "", "MQTT client id, for rules with %c")
	f.StringVar(&q.Exchange, "exchange", "", "`EXCHANGE` that an AMQP client publishes to, or binds from")
	f.StringVarP(&broker, "broker", "b", "", "`BROKER`, where the namespace has several")
	f.BoolVarP(&quiet, "quiet", "q", false, "answer by the exit code alone")
	complete(c, "broker", p.brokers)
	p.addAddress(c)
	return c
}

// only is the broker of a name, or without one the only broker of the namespace.
func (p *plugin) only(ctx context.Context, c *cluster.Cluster, name string) (*v1alpha1.MessageBroker, error) {
	if name != "" {
		return c.Broker(ctx, name)
	}
	list, err := p.chosen(ctx, c, nil, false)
	if err != nil {
		return nil, err
	}
	if len(list) > 1 {
		return nil, usagef("namespace %q has %d brokers: name one with --broker", c.Namespace, len(list))
	}
	return &list[0], nil
}

func (p *plugin) canI(ctx context.Context, broker string, q admin.Question, quiet bool, output format) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	b, err := p.only(ctx, c, broker)
	if err != nil {
		return err
	}
	a, err := c.Admin(ctx, b, p.address)
	if err != nil {
		return err
	}
	defer a.Close()
	d, err := a.Authorize(ctx, q)
	if err != nil {
		return err
	}
	if quiet {
		return answer(d.Allowed, nil)
	}
	if done, err := output.structured(p.Out, d); done || err != nil {
		return answer(d.Allowed, err)
	}
	if !d.Allowed {
		fmt.Fprintf(p.Out, "no: %s\n", visible(d.Why))
		return errNo
	}
	fmt.Fprintln(p.Out, "yes")
	if d.Topic != "" && d.Topic != q.Target && q.Exchange == "" {
		fmt.Fprintf(p.Out, "  a topic policy renames it to %s\n", visible(d.Topic))
	}
	for _, r := range d.Rules {
		fmt.Fprintf(p.Out, "  %s\n", visible(r))
	}
	return nil
}
