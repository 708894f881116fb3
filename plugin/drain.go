package plugin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/plugin/cluster"
)

// drain is what drain is told.
type drain struct {
	*plugin
	undo    bool
	wait    bool
	pod     string
	timeout time.Duration
	every   time.Duration // between two looks
}

func (p *plugin) drainCommand() *cobra.Command {
	d := &drain{plugin: p, every: time.Second}
	c := &cobra.Command{
		Use:   "drain BROKER [flags]",
		Short: "Keep clients out of a broker until it is safe to stop",
		Long: "Keep new clients out of a broker, ask those that are connected to leave, and wait until it is safe to stop: nothing that was promised is\n" +
			"lost then. The pods go on and are not ready meanwhile; kubectl turnstone undrain, or a restart, lets clients in again. Exit code 1 when\n" +
			"it was not safe within --timeout.",
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.brokerArgument,
		RunE: func(c *cobra.Command, args []string) error { return d.run(c.Context(), args[0]) },
	}
	f := c.Flags()
	f.BoolVar(&d.undo, "undo", false, "let clients in again")
	f.BoolVar(&d.wait, "wait", true, "wait until it is safe to stop")
	f.DurationVar(&d.timeout, "timeout", 2*time.Minute, "how long to wait")
	d.addFlags(c)
	return c
}

func (p *plugin) undrainCommand() *cobra.Command {
	d := &drain{plugin: p, undo: true}
	c := &cobra.Command{
		Use: "undrain BROKER [flags]", Short: "Let clients into a broker again",
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.brokerArgument,
		RunE: func(c *cobra.Command, args []string) error { return d.run(c.Context(), args[0]) },
	}
	d.addFlags(c)
	return c
}

func (d *drain) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&d.pod, "pod", "", "only this `POD` of the broker")
	d.addAddress(c)
}

func (d *drain) run(ctx context.Context, name string) error {
	c, err := d.connect()
	if err != nil {
		return err
	}
	b, err := c.Broker(ctx, name)
	if err != nil {
		return err
	}
	if d.address != "" {
		return d.one(ctx, d.address, func() (*cluster.Admin, error) { return c.Admin(ctx, b, d.address) })
	}
	pods, err := d.pods(ctx, c, b)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if err := d.one(ctx, "pod "+pod.Name, func() (*cluster.Admin, error) { return c.AdminOf(ctx, b, pod) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *drain) pods(ctx context.Context, c *cluster.Cluster, b *v1alpha1.MessageBroker) ([]corev1.Pod, error) {
	all, err := c.Pods(ctx, b)
	if err != nil {
		return nil, err
	}
	running := cluster.Running(all)
	if len(running) == 0 {
		return nil, cluster.WhyNotRunning(b, all)
	}
	if d.pod == "" {
		return running, nil
	}
	for _, pod := range running {
		if pod.Name == d.pod {
			return []corev1.Pod{pod}, nil
		}
	}
	return nil, fmt.Errorf("pod %s of MessageBroker %q does not run", d.pod, b.Name)
}

// one drains one process, and says how far it is whenever that changes.
func (d *drain) one(ctx context.Context, what string, connect func() (*cluster.Admin, error)) error {
	a, err := connect()
	if err != nil {
		return err
	}
	defer a.Close()
	if d.undo {
		if _, err := a.Undrain(ctx); err != nil {
			return err
		}
		fmt.Fprintf(d.Out, "%s: clients are let in\n", what)
		return nil
	}
	state, err := a.Drain(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "%s: clients are kept out\n", what)
	if !d.wait {
		return nil
	}
	return d.await(ctx, what, a, state)
}

func (d *drain) await(ctx context.Context, what string, a *cluster.Admin, state admin.SafeToStop) error {
	limited, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	said := ""
	for !state.Safe {
		if now := strings.Join(state.Reasons, "; "); now != said {
			fmt.Fprintf(d.Out, "%s: waiting: %s\n", what, visible(now))
			said = now
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fmt.Fprintf(d.Err, "%s: not safe to stop within %s; clients are still kept out (kubectl turnstone undrain lets them in)\n", what, d.timeout)
			return errNo
		case <-time.After(d.every):
		}
		var err error
		if state, err = a.SafeToStop(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.Out, "%s: safe to stop\n", what)
	for _, e := range state.Ending {
		fmt.Fprintf(d.Out, "%s: a stop ends %s\n", what, visible(e))
	}
	return nil
}
