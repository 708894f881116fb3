package plugin

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/plugin/manifest"
	"github.com/turnstone-mq/turnstone/plugin/rabbitmq"
)

func (p *plugin) exportCommand() *cobra.Command {
	var to, vhost string
	var unmanaged, withNamespace bool
	c := &cobra.Command{
		Use:   "export BROKER [flags]",
		Short: "Write what a running broker has as manifests",
		Long: "Write what a running broker has as manifests, in a stable order. Passwords are not among it: the operator makes new ones, or set\n" +
			"spec.passwordSecretRef. What every broker has by itself is left out (the virtual host /, the users admin and default). What cannot\n" +
			"be written is told on standard error, and the exit code is 1 then.",
		Example: "  kubectl turnstone export broker > topology.yaml\n  kubectl turnstone export old --to new | kubectl apply -f -",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: p.brokerArgument,
		RunE: func(c *cobra.Command, args []string) error {
			_, b, a, err := p.reach(c.Context(), args[0])
			if err != nil {
				return err
			}
			defer a.Close()
			list, err := a.Objects(c.Context(), "", "")
			if err != nil {
				return err
			}
			t := manifest.Target{Broker: b.Name}
			if to != "" {
				t.Broker = to
			}
			if withNamespace {
				t.Namespace = b.Namespace
			}
			made, skipped := manifest.Export(p.wanted(list.Objects, vhost, unmanaged), t)
			if err := manifest.Write(p.Out, made); err != nil {
				return err
			}
			report(p.Err, skipped)
			return answer(len(skipped) == 0, nil)
		},
	}
	c.Flags().StringVar(&to, "to", "", "`BROKER` that the manifests are for, instead of this one")
	c.Flags().StringVar(&vhost, "vhost", "", "only what is in this virtual host")
	c.Flags().BoolVar(&unmanaged, "unmanaged", false, "only what nobody manages yet")
	c.Flags().BoolVar(&withNamespace, "with-namespace", false, "write the namespace into the manifests")
	p.addAddress(c)
	return c
}

func (p *plugin) wanted(objects []object.Object, vhost string, unmanaged bool) (out []manifest.Source) {
	for _, o := range objects {
		in := o.VirtualHost == vhost || o.Kind == object.KindVirtualHost && o.Name == vhost
		if vhost != "" && !in || unmanaged && o.Owner != "" {
			continue
		}
		out = append(out, manifest.Source{Object: o})
	}
	return out
}

// report tells of what was not taken over.
func report(w io.Writer, skipped []admin.Skipped) {
	for _, s := range skipped {
		fmt.Fprintf(w, "%s: %s\n", visible(s.What), visible(s.Why))
	}
}

func (p *plugin) importCommand() *cobra.Command {
	var t manifest.Target
	var vhost, reportTo string
	var recursive bool
	c := &cobra.Command{
		Use:   "import FILE|DIR|-... [flags]",
		Short: "Translate RabbitMQ's definitions and topology resources into manifests",
		Long: "Translate into manifests what describes the topology of a RabbitMQ: definitions.json, as rabbitmqctl export_definitions writes it, and\n" +
			"resources of RabbitMQ's messaging topology operator. The manifests go to standard output, in a stable order; what was not translated,\n" +
			"or needs a look, goes to standard error or a file, with the reason. It needs no cluster.",
		Example: "  kubectl turnstone import definitions.json --broker broker > topology.yaml\n" +
			"  kubectl get queues.rabbitmq.com,exchanges.rabbitmq.com,bindings.rabbitmq.com -o yaml | kubectl turnstone import - --broker broker",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			out, skipped, err := p.translate(args, recursive, vhost, t)
			if err != nil {
				return usageError{err}
			}
			if err := manifest.Write(p.Out, out); err != nil {
				return err
			}
			fmt.Fprintf(p.Err, "%s written, %s to look at\n", plural(len(out), "manifest", "manifests"), plural(len(skipped), "thing", "things"))
			if reportTo == "" {
				report(p.Err, skipped)
				return nil
			}
			f, err := os.Create(reportTo)
			if err != nil {
				return err
			}
			report(f, skipped)
			return f.Close()
		},
	}
	c.Flags().StringVar(&t.Broker, "broker", "", "`BROKER` that the manifests are for; resources keep the name of their RabbitmqCluster without")
	c.Flags().StringVar(&vhost, "vhost", "", "virtual host that definitions of one virtual host are for")
	c.Flags().StringVar(&reportTo, "report", "", "`FILE` for what was not translated")
	c.Flags().BoolVarP(&recursive, "recursive", "R", false, "also what lies in directories below")
	complete(c, "broker", p.brokers)
	return c
}

// translate reads definitions and resources.
func (p *plugin) translate(paths []string, recursive bool, vhost string, t manifest.Target) (out []v1alpha1.Topology, skipped []admin.Skipped, err error) {
	if f := p.flags.Namespace; f != nil {
		t.Namespace = *f
	}
	for _, path := range paths {
		if info, err := os.Stat(path); path != "-" && err == nil && info.IsDir() {
			docs, err := manifest.Read([]string{path}, recursive, p.In)
			if err != nil {
				return nil, nil, err
			}
			r := rabbitmq.Resources(docs, t)
			out, skipped = append(out, r.Objects...), append(skipped, r.Skipped...)
			continue
		}
		r, err := p.translateFile(path, vhost, t)
		if err != nil {
			return nil, nil, err
		}
		out, skipped = append(out, r.Objects...), append(skipped, r.Skipped...)
	}
	return out, skipped, nil
}

func (p *plugin) translateFile(path, vhost string, t manifest.Target) (rabbitmq.Result, error) {
	file, err := manifest.ReadBytes(path, p.In)
	if err != nil {
		return rabbitmq.Result{}, err
	}
	if !rabbitmq.IsDefinitions(file) {
		docs, err := manifest.ReadStream(path, file)
		if err != nil {
			return rabbitmq.Result{}, err
		}
		return rabbitmq.Resources(docs, t), nil
	}
	if t.Broker == "" {
		return rabbitmq.Result{}, fmt.Errorf("%s: definitions do not say for which broker they are: name one with --broker", path)
	}
	r, err := rabbitmq.Definitions(file, vhost, t)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return r, err
}
