// Operator measures the operator: the real program, and the real broker, on a real etcd and kube-apiserver, all on one machine.
//
//	hack/bench-operator -list
//	hack/bench-operator -only create -queues 10000 -exchanges 1000 -bindings 20000
//	hack/bench-operator -only restart -objects 100000
//
// The operator reaches brokers through a proxy of this program, which counts the calls; calls of the Kubernetes API are counted by the
// operator's own /metrics, and statuses by a watch. Kubernetes has no pods here: a broker is a process that takes the password and
// the certificate that the operator made for it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

type options struct {
	only, operator, broker, markdown, profile string
	queues, exchanges, bindings, objects      int
	brokers                                   int
	list                                      bool
}

// work is one thing that is measured, on a bench of its own.
type work struct {
	name, what string
	run        func(context.Context, *bench, options) error
}

var works = []work{
	{"create", "many objects of one broker created at once, and drift among them", create},
	{"restart", "the operator starts over many objects of which none changed", restart},
	{"brokers", "many brokers at once of which one does not answer", brokers},
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "works, as a regular expression; all when empty")
	flag.StringVar(&o.operator, "operator", "bin/turnstone-operator", "binary of the operator")
	flag.StringVar(&o.broker, "broker", "bin/turnstone", "binary of the broker")
	flag.StringVar(&o.markdown, "markdown", "", "file in which the section about the operator is replaced")
	flag.StringVar(&o.profile, "profile", "", "directory to write CPU profiles of the operator to (needs perf)")
	flag.IntVar(&o.queues, "queues", 10_000, "queues to create")
	flag.IntVar(&o.exchanges, "exchanges", 1_000, "exchanges to create")
	flag.IntVar(&o.bindings, "bindings", 20_000, "bindings to create")
	flag.IntVar(&o.objects, "objects", 100_000, "objects over which the operator starts")
	flag.IntVar(&o.brokers, "brokers", 50, "brokers of which one does not answer")
	flag.BoolVar(&o.list, "list", false, "list the works")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-operator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	report := &report{}
	for _, w := range works {
		if !only.MatchString(w.name) {
			continue
		}
		if o.list {
			fmt.Printf("%-10s %s\n", w.name, w.what)
			continue
		}
		if err := measure(ctx, w, o, report); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	if o.markdown != "" && !o.list {
		return report.write(o.markdown)
	}
	return nil
}

func measure(ctx context.Context, w work, o options, r *report) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b, err := newBench(ctx, o, r)
	if err != nil {
		return err
	}
	defer b.close()
	return w.run(ctx, b, o)
}
