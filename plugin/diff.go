package plugin

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/topology"
	"github.com/turnstone-mq/turnstone/plugin/cluster"
	"github.com/turnstone-mq/turnstone/plugin/difference"
)

// differing is one object in which Kubernetes and a broker are not of one mind.
type differing struct {
	Broker string `json:"broker"`
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"`   // in Kubernetes
	Object string `json:"object,omitempty"` // in the broker
	// What is missing (the broker does not have it), different, extra (nothing in Kubernetes stands for it), unmanaged (nobody
	// owns it) or unknown (Kubernetes does not say what the broker should have).
	What    string             `json:"what"`
	Fields  []difference.Field `json:"fields,omitempty"` // from what the broker has to what it should have
	Message string             `json:"message,omitempty"`
}

func (p *plugin) diffCommand() *cobra.Command {
	var output format
	var all bool
	c := &cobra.Command{
		Use:   "diff [BROKER] [flags]",
		Short: "Say in what the objects in Kubernetes and a broker differ now",
		Long: "Say in what the objects in Kubernetes and a broker differ now: what the broker lacks, what it has otherwise, and what it has for an\n" +
			"object that is gone. With --all also what nobody manages, such as what clients declared. Without a name, all brokers of the\n" +
			"namespace. Exit code 1 when something differs.",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: p.brokerArgument,
		RunE: func(c *cobra.Command, args []string) error { return p.diff(c.Context(), args, all, output) },
	}
	output.addFormat(c, formatJSON, formatYAML)
	c.Flags().BoolVar(&all, "all", false, "also what nobody manages")
	p.addAddress(c)
	return c
}

func (p *plugin) diff(ctx context.Context, args []string, all bool, output format) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	brokers, err := p.chosen(ctx, c, args, false)
	if err != nil {
		return err
	}
	list := []differing{}
	same, unmanaged := 0, 0
	for i := range brokers {
		found, equal, err := p.diffOf(ctx, c, &brokers[i])
		if err != nil {
			return err
		}
		same += equal
		for _, d := range found {
			if d.What == "unmanaged" && !all {
				unmanaged++
				continue
			}
			list = append(list, d)
		}
	}
	clean := true
	for _, d := range list {
		clean = clean && d.What == "unmanaged"
	}
	if done, err := output.structured(p.Out, list); done || err != nil {
		return answer(clean, err)
	}
	printDifferences(p.Out, list)
	fmt.Fprintf(p.Out, "%s as written", plural(same, "object is", "objects are"))
	if unmanaged > 0 {
		fmt.Fprintf(p.Out, "; %s managed by nobody (--all shows them)", plural(unmanaged, "is", "are"))
	}
	fmt.Fprintln(p.Out)
	return answer(clean, nil)
}

func (p *plugin) diffOf(ctx context.Context, c *cluster.Cluster, b *v1alpha1.MessageBroker) (out []differing, same int, err error) {
	objects, err := c.Topology(ctx, b.Namespace, b.Name)
	if err != nil {
		return nil, 0, err
	}
	a, err := c.Admin(ctx, b, p.address)
	if err != nil {
		return nil, 0, err
	}
	defer a.Close()
	list, err := a.Objects(ctx, "", "")
	if err != nil {
		return nil, 0, err
	}
	broker := b.Namespace + "/" + b.Name
	has := byKey(list.Objects)
	users := usersOf(objects)
	for _, o := range objects {
		d, equal, err := diffObject(o, users, has)
		if err != nil {
			return nil, 0, err
		}
		if equal {
			same++
			continue
		}
		d.Broker = broker
		out = append(out, d)
	}
	for _, o := range list.Objects {
		if _, left := has[o.Key]; left {
			out = append(out, leftOver(broker, o))
		}
	}
	return out, same, nil
}

func usersOf(objects []v1alpha1.Topology) map[string]*v1alpha1.User {
	out := make(map[string]*v1alpha1.User)
	for _, o := range objects {
		if u, ok := o.(*v1alpha1.User); ok {
			out[u.Name] = u
		}
	}
	return out
}

// diffObject compares one object, and takes what the broker has for it out of has.
func diffObject(o v1alpha1.Topology, users map[string]*v1alpha1.User, has map[object.Key]object.Object) (d differing, same bool, err error) {
	d = differing{Kind: o.GetObjectKind().GroupVersionKind().Kind, Name: o.GetName()}
	wanted, err := topology.Translate(o, users)
	if err != nil {
		d.What, d.Message = "unknown", err.Error()
		return d, false, nil
	}
	d.Object = wanted.Key.String()
	there, ok := has[wanted.Key]
	delete(has, wanted.Key)
	switch {
	case !o.GetDeletionTimestamp().IsZero():
		if d.What, d.Message = "extra", "its deletion waits"; !ok {
			d.Message = "its deletion is not finished"
		}
		return d, false, nil
	case !ok:
		d.What = "missing"
		return d, false, nil
	}
	if d.Fields, err = differences(there, wanted); err != nil {
		return d, false, err
	}
	switch {
	case there.Owner != topology.DefaultOwner && there.Owner != "":
		d.Message = fmt.Sprintf("%q owns it", there.Owner)
	case there.Owner == "":
		d.Message = "nobody owns it"
	}
	d.What = "different"
	return d, len(d.Fields) == 0 && d.Message == "", nil
}

// leftOver is an object of the broker for which none in Kubernetes stands.
func leftOver(broker string, o object.Object) differing {
	d := differing{Broker: broker, Kind: string(o.Kind), Object: o.Key.String(), What: "unmanaged"}
	switch o.Owner {
	case "":
	case topology.DefaultOwner:
		d.What, d.Message = "extra", "it stands for "+o.Ref+", which is gone or retained it"
	default:
		d.Message = fmt.Sprintf("%q owns it", o.Owner)
	}
	return d
}

func printDifferences(w io.Writer, list []differing) {
	marks := map[string]string{"missing": "-", "different": "~", "extra": "+", "unmanaged": "·", "unknown": "?"}
	broker := ""
	for _, d := range list {
		if d.Broker != broker {
			broker = d.Broker
			fmt.Fprintf(w, "MessageBroker %s\n", broker)
		}
		title := d.Object
		if d.Name != "" {
			title = strings.ToLower(d.Kind) + "/" + d.Name
		}
		fmt.Fprintf(w, "  %s %s: %s", marks[d.What], visible(title), d.What)
		if d.Message != "" {
			fmt.Fprintf(w, ": %s", visible(d.Message))
		}
		fmt.Fprintln(w)
		for _, f := range d.Fields {
			fmt.Fprintf(w, "      %s\n", visible(f.String()))
		}
	}
}
