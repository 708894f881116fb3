// Bench measures brokers beside one another, on one machine and in one run, with the same client and the same work.
//
//	go run ./test/bench -list
//	go run ./test/bench -only amqp-durable -rounds 5
//	go run ./test/bench -address amqp://guest:guest@broker:5672 -only transient
//
// A closed loop gives each publisher a window of 1,000 messages between publish and receive, so that nothing is dropped by
// overload and the throughput is what the broker can do; works with a rate send when a message is due, and count its
// latency from then. Payloads carry run, publisher, sequence number and time; a measurement in which anything was lost,
// doubled or reordered has failed. CPU, memory and bytes written are those of the broker's processes, from /proc.
//
// Peers alternate within each round, and every ratio is taken within a round, because a shared machine is noisy.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/turnstone-mq/turnstone/test/bench/peer"
)

type options struct {
	only, peers, turnstone, address string
	markdown, json, profile         string
	rounds                          int
	scale                           scale
	length, warmUp                  time.Duration
	list                            bool
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "works, as a regular expression; all when empty")
	flag.StringVar(&o.peers, "peers", "turnstone,mosquitto,nats,mochi,rabbitmq", "brokers, with commas between them")
	flag.StringVar(&o.address, "address", "", "load a broker that runs instead: amqp://USER:PASSWORD@HOST:PORT/VHOST, amqp10://… or mqtt://…")
	flag.StringVar(&o.turnstone, "turnstone", "", "binary of the broker; built when empty")
	flag.StringVar(&o.markdown, "markdown", "", "file to write the table to")
	flag.StringVar(&o.json, "json", "", "file to write every figure of every round to")
	flag.StringVar(&o.profile, "profile", "", "directory to write CPU profiles of Turnstone to, one for each work (needs perf)")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds")
	flag.IntVar(&o.scale.backlog, "backlog", 1_000_000, "messages of the backlog")
	flag.IntVar(&o.scale.connections, "connections", 100_000, "connections that say nothing; fewer where the limit of open files has no room for them")
	flag.IntVar(&o.scale.subscriptions, "subscriptions", 1_000_000, "subscriptions")
	flag.IntVar(&o.scale.retained, "retained", 1_000_000, "retained messages")
	flag.DurationVar(&o.length, "length", 3*time.Second, "length of one measurement")
	flag.DurationVar(&o.warmUp, "warm-up", time.Second, "time before it")
	flag.BoolVar(&o.list, "list", false, "list the works")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	chosen := slices.DeleteFunc(works(o.scale), func(w work) bool { return !only.MatchString(w.name) })
	if o.list {
		for _, w := range chosen {
			fmt.Printf("%-27s %s\n", w.name, w.what)
		}
		return nil
	}
	if err := raiseFiles(); err != nil {
		return err
	}
	b := &bench{options: o, ctx: ctx, results: newResults(), runs: rand.Uint32()}
	if o.address != "" {
		return b.elsewhere(chosen)
	}
	binary, clean, err := turnstone(o.turnstone)
	if err != nil {
		return err
	}
	defer clean()
	tools, err := compiled(o.peers)
	if err != nil {
		return err
	}
	return b.beside(chosen, peer.Peers(binary, tools))
}

// bench is one run of the program.
type bench struct {
	options
	ctx     context.Context
	results *results
	runs    uint32
	failed  []error
}

// beside measures the peers, in turns.
func (b *bench) beside(works []work, all []peer.Peer) error {
	for round := range b.rounds {
		for _, w := range works {
			peers := slices.DeleteFunc(slices.Clone(all), func(p peer.Peer) bool {
				return !p.Speaks(w.protocol) || !p.Does(w.name) || !slices.Contains(strings.Split(b.peers, ","), p.Name)
			})
			if round%2 == 1 {
				slices.Reverse(peers)
			}
			for _, p := range peers {
				b.one(round, w, p)
				if b.ctx.Err() != nil {
					return errors.Join(b.ctx.Err(), b.results.write(b.markdown, b.json))
				}
			}
		}
	}
	return errors.Join(append(b.failed, b.results.write(b.markdown, b.json))...)
}

// one measures one peer once, and notes a failure loudly.
func (b *bench) one(round int, w work, p peer.Peer) {
	at := fmt.Sprintf("round %d  %-26s %-10s", round+1, w.name, p.Name)
	f, err := b.measure(w, p, at)
	if err != nil && b.ctx.Err() == nil {
		b.failed = append(b.failed, fmt.Errorf("%s: %w", at, err))
		fmt.Fprintf(os.Stderr, "%s FAILED: %v\n", at, err)
		f = nil
	} else if err == nil {
		fmt.Fprintln(os.Stderr, at, f.line())
	}
	b.results.add(w, p.Name, f)
}

func (b *bench) measure(w work, p peer.Peer, at string) (f figures, err error) {
	broker, err := p.Start(b.ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, broker.Stop()) }()
	s := b.site(at)
	s.broker, s.address, s.user, s.password, s.vhost = broker, broker.Address(w.protocol), "guest", "guest", "/"
	if b.profile != "" && p.Name == ours {
		stop, err := broker.Profile(filepath.Join(b.profile, w.name+".perf"))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	return w.measure(s, w)
}

func (b *bench) site(at string) *site {
	return &site{ctx: b.ctx, length: b.length, warmUp: b.warmUp, runs: &b.runs, progress: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%s %s\n", at, fmt.Sprintf(format, args...))
	}}
}

// elsewhere measures a broker that runs already.
func (b *bench) elsewhere(works []work) error {
	u, err := url.Parse(b.address)
	if err != nil || u.Host == "" || !slices.Contains([]string{"amqp", amqp10Protocol, "mqtt"}, u.Scheme) {
		return fmt.Errorf("-address %q: want amqp://USER:PASSWORD@HOST:PORT/VHOST, amqp10://USER:PASSWORD@HOST:PORT or mqtt://USER:PASSWORD@HOST:PORT", b.address)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"amqp": "5672", amqp10Protocol: "5672", "mqtt": "1883"}[u.Scheme])
	}
	password, _ := u.User.Password()
	vhost := strings.TrimPrefix(u.Path, "/")
	if vhost == "" {
		vhost = "/"
	}
	for round := range b.rounds {
		for _, w := range works {
			if w.protocol != u.Scheme {
				continue
			}
			at := fmt.Sprintf("round %d  %-26s %-10s", round+1, w.name, u.Host)
			s := b.site(at)
			s.address, s.user, s.password, s.vhost = u.Host, u.User.Username(), password, vhost
			f, err := w.measure(s, w)
			if err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			fmt.Fprintln(os.Stderr, at, f.line())
			b.results.add(w, u.Host, f)
		}
	}
	return b.results.write(b.markdown, b.json)
}

// turnstone answers the broker's binary and how to remove it.
func turnstone(given string) (string, func(), error) {
	if given != "" {
		return given, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return "", nil, err
	}
	clean := func() { os.RemoveAll(dir) } //nolint:errcheck // a temporary directory
	binary := filepath.Join(dir, "turnstone")
	build := exec.Command("go", "build", "-o", binary, "github.com/turnstone-mq/turnstone/broker")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		clean()
		return "", nil, fmt.Errorf("build the broker: %w", err)
	}
	return binary, clean, nil
}

// compiled are the paths of the peers that are compiled from Go modules, of those that are asked for.
func compiled(peers string) (map[string]string, error) {
	tools := make(map[string]string)
	for name, tool := range map[string]string{"nats": "nats-server", "mochi": "mochi"} {
		if !slices.Contains(strings.Split(peers, ","), name) {
			continue
		}
		out, err := exec.Command("hack/tool", "-path", tool).Output()
		if err != nil {
			return nil, fmt.Errorf("compile %s: %w", tool, err)
		}
		tools[tool] = strings.TrimSpace(string(out))
	}
	return tools, nil
}
