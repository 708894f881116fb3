package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/turnstone-mq/turnstone/plugin/cluster"
	"github.com/turnstone-mq/turnstone/plugin/top"
)

// watcher is what top is told.
type watcher struct {
	*plugin
	view   top.View
	order  string
	once   bool
	every  time.Duration
	output format
}

func (p *plugin) topCommand() *cobra.Command {
	w := &watcher{plugin: p}
	c := &cobra.Command{
		Use:   "top BROKER [flags]",
		Short: "Watch a broker's queues and connections",
		Long: "Watch a broker's queues by depth or rate, and its connections. On a terminal it is a live table: Tab shows the connections, o orders the\n" +
			"queues, q ends it. Elsewhere, such as in a pipe, tables follow each other. With --once it looks twice, --interval apart, and prints once.",
		Example: "  kubectl turnstone top broker\n  kubectl turnstone top broker --once --sort in --limit 10",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: p.brokerArgument,
		RunE: func(c *cobra.Command, args []string) error { return w.run(c.Context(), args[0]) },
	}
	orders := make([]string, len(top.Orders))
	for i, o := range top.Orders {
		orders[i] = string(o)
	}
	w.output.addFormat(c, formatWide, formatJSON, formatYAML)
	f := c.Flags()
	f.BoolVar(&w.once, "once", false, "print once")
	f.DurationVar(&w.every, "interval", 2*time.Second, "time between two looks")
	f.StringVar(&w.order, "sort", string(top.ByDepth), fmt.Sprintf("order of the queues: %v", orders))
	f.IntVar(&w.view.Most, "limit", 0, "only so many rows; 0 is all")
	f.StringVar(&w.view.VHost, "vhost", "", "only this virtual host")
	complete(c, "sort", func(*cobra.Command) ([]string, cobra.ShellCompDirective) {
		return orders, cobra.ShellCompDirectiveNoFileComp
	})
	p.addAddress(c)
	return c
}

func (w *watcher) run(ctx context.Context, name string) error {
	const shortest = 100 * time.Millisecond
	switch w.view.Order = top.Order(w.order); {
	case !slices.Contains(top.Orders, w.view.Order):
		return usagef("--sort: want one of %v", top.Orders)
	case w.every < shortest:
		return usagef("--interval: want %s or more", shortest)
	case w.view.Most < 0:
		return usagef("--limit: want 0 or more")
	}
	_, b, a, err := w.reach(ctx, name)
	if err != nil {
		return err
	}
	defer a.Close()
	look := func(ctx context.Context) (top.Sample, error) { return sample(ctx, a, w.view.VHost) }
	out, onFile := w.Out.(*os.File)
	if !w.once && w.output == "" && onFile && term.IsTerminal(int(out.Fd())) {
		return top.NewScreen(b.Namespace+"/"+b.Name, w.view, nil).Run(ctx, w.every, look)
	}
	return w.tables(ctx, look)
}

func sample(ctx context.Context, a *cluster.Admin, vhost string) (s top.Sample, err error) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if s.Queues, err = a.Queues(ctx, vhost); err != nil {
		return s, err
	}
	s.At = time.Now()
	if s.Connections, err = a.Connections(ctx); err != nil {
		return s, err
	}
	s.State, err = a.SafeToStop(ctx)
	return s, err
}

// tables prints a table for each look but the first, which has no rates.
func (w *watcher) tables(ctx context.Context, look func(context.Context) (top.Sample, error)) error {
	before, err := look(ctx)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil // whoever watches has seen enough
		case <-time.After(w.every):
		}
		now, err := look(ctx)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.print(w.Out, w.view.Between(before, now)); err != nil || w.once {
			return err
		}
		fmt.Fprintln(w.Out)
		before = now
	}
}

func (w *watcher) print(out io.Writer, p top.Picture) error {
	if done, err := w.output.structured(out, p); done || err != nil {
		return err
	}
	fmt.Fprintf(out, "%s  %s\n", p.At.UTC().Format("15:04:05"), p.Summary())
	header, rows := p.QueueTable()
	if err := table(out, "", header, rows); err != nil {
		return err
	}
	if w.output != formatWide {
		return nil
	}
	fmt.Fprintln(out)
	header, rows = p.ConnectionTable()
	return table(out, "", header, rows)
}
