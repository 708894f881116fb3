// Package plugin is the kubectl plugin kubectl-turnstone: its commands, what they print, and how they end. How they reach a broker
// is package cluster's, what they read and write of manifests package manifest's. The broker itself is asked through its admin
// API only.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/plugin/cluster"
)

// The exit codes, on which scripts rely.
const (
	ExitNo     = 1 // the answer is no: not allowed, not ready, something differs
	ExitUsage  = 2 // the command line or a file is wrong
	ExitFailed = 3 // it could not be found out or done
)

// Version of the program.
type Version struct{ Version, Commit string }

// errNo is an answer that has been printed already.
var errNo = errors.New("no")

// usageError is a mistake of whoever wrote the command line or a file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Streams are those of the process.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// plugin is what the commands have in common.
type plugin struct {
	Streams
	flags   *genericclioptions.ConfigFlags
	address string // of the admin API; empty is a pod of the broker
}

// Run runs one command and answers its exit code.
func Run(ctx context.Context, args []string, s Streams, v Version) int {
	p := &plugin{Streams: s, flags: genericclioptions.NewConfigFlags(true)}
	// A broker's users are named with --as; who acts for somebody else in Kubernetes does so with a context.
	p.flags.Impersonate, p.flags.ImpersonateUID, p.flags.ImpersonateGroup, p.flags.ImpersonateUserExtra = nil, nil, nil, nil
	root := p.root(v)
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNo):
		return ExitNo
	case errors.As(err, &usage):
		fmt.Fprintf(s.Err, "error: %v\n", err)
		return ExitUsage
	case ctx.Err() != nil:
		return ExitFailed // whoever interrupted it knows
	}
	fmt.Fprintf(s.Err, "error: %v\n", cluster.ExplainAdmin(err))
	return ExitFailed
}

func (p *plugin) root(v Version) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-turnstone",
		Short: "See and change what Turnstone brokers in a Kubernetes do",
		Long: "See and change what Turnstone brokers in a Kubernetes do.\n\n" +
			"A broker is named by its MessageBroker in the namespace of -n or of the context. Most commands talk to the broker's admin API,\n" +
			"through a port of one of its pods, as its administrator: they need to read the Secrets BROKER-admin, BROKER-ca and BROKER-tls\n" +
			"and to forward ports. Exit codes: 0 done, or yes; 1 no (not allowed, not ready, something differs); 2 the command line or a file\n" +
			"is wrong; 3 it could not be found out or done.",
		SilenceErrors: true, SilenceUsage: true,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl turnstone"},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w (%s --help lists the flags)", err, c.CommandPath())
	})
	root.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("there is no command %q; there are %s", args[0], strings.Join(names(c), ", "))
		}
		return c.Help()
	}
	root.Args = cobra.ArbitraryArgs
	p.flags.AddFlags(root.PersistentFlags())
	root.AddCommand(
		p.statusCommand(), p.topCommand(), p.planCommand(), p.diffCommand(), p.exportCommand(), p.importCommand(), p.canICommand(),
		p.pubCommand(), p.subCommand(), p.drainCommand(), p.undrainCommand(), p.logsCommand(), p.bundleCommand(), versionCommand(v),
	)
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = true
		if check := c.Args; check != nil {
			c.Args = func(c *cobra.Command, args []string) error {
				if err := check(c, args); err != nil {
					return usagef("%w: %s", err, c.UseLine())
				}
				return nil
			}
		}
	}
	complete(root, "namespace", p.namespaces)
	return root
}

func names(c *cobra.Command) (out []string) {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			out = append(out, sub.Name())
		}
	}
	return out
}

func versionCommand(v Version) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print version and commit of this plugin", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "kubectl-turnstone %s (commit %s)\n", v.Version, v.Commit)
			return err
		},
	}
}

// addAddress gives a command the flag of those that talk to the admin API.
func (p *plugin) addAddress(c *cobra.Command) {
	c.Flags().StringVar(&p.address, "address", "", "`URL` of the admin API, such as https://broker.example:15671, instead of a port of a pod")
}

// connect reads the kubeconfig.
func (p *plugin) connect() (*cluster.Cluster, error) { return cluster.New(p.flags) }

// reach connects to the admin API of a broker.
func (p *plugin) reach(ctx context.Context, name string) (*cluster.Cluster, *v1alpha1.MessageBroker, *cluster.Admin, error) {
	c, err := p.connect()
	if err != nil {
		return nil, nil, nil, err
	}
	b, err := c.Broker(ctx, name)
	if err != nil {
		return nil, nil, nil, err
	}
	a, err := c.Admin(ctx, b, p.address)
	return c, b, a, err
}

// broker completes the name of a broker as the first argument.
func (p *plugin) brokerArgument(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.brokers(c)
}

func (p *plugin) brokers(c *cobra.Command) ([]string, cobra.ShellCompDirective) {
	k, err := p.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := k.Brokers(c.Context(), k.Namespace)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, b := range list {
		out = append(out, b.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// namespaces completes those in which there are brokers.
func (p *plugin) namespaces(c *cobra.Command) ([]string, cobra.ShellCompDirective) {
	k, err := p.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := k.Brokers(c.Context(), "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, b := range list {
		out = append(out, b.Namespace)
	}
	slices.Sort(out)
	return slices.Compact(out), cobra.ShellCompDirectiveNoFileComp
}

// complete says what a flag can be.
func complete(c *cobra.Command, flag string, values func(*cobra.Command) ([]string, cobra.ShellCompDirective)) {
	err := c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) { return values(c) })
	if err != nil {
		panic(fmt.Sprintf("completion of --%s: %v", flag, err)) // the command has no such flag, or two completions for it
	}
}
