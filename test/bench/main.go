// Bench measures brokers beside one another, on one machine and in one run, with the same client and the same work.
//
//	go run ./test/bench -list
//	go run ./test/bench -work mqtt-qos0-64B -rounds 5
//
// The loop is closed: each pair of a publisher and a receiver has a window of 1,000 messages between publish and receive, so
// that nothing is dropped by overload and the throughput is what the broker can do. Payloads carry publisher, sequence
// number and time; a run in which anything was lost, doubled or reordered fails. The CPU is that of the broker's processes,
// from /proc, per million messages received.
//
// Peers alternate within each round, and every ratio is taken within a round, because a shared machine is noisy.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/turnstone-mq/turnstone/test/bench/check"
	"github.com/turnstone-mq/turnstone/test/bench/peer"
)

type options struct {
	works, peers, turnstone, markdown string
	rounds, seconds                   int
	list                              bool
}

func main() {
	var o options
	flag.StringVar(&o.works, "work", "", "scenarios, with commas between them; all when empty")
	flag.StringVar(&o.peers, "peers", "turnstone,mosquitto,rabbitmq", "brokers, with commas between them")
	flag.StringVar(&o.turnstone, "turnstone", "", "binary of the broker; built when empty")
	flag.StringVar(&o.markdown, "markdown", "", "file to write the table to")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds")
	flag.IntVar(&o.seconds, "seconds", 3, "seconds of one measurement, after one second of warm-up")
	flag.BoolVar(&o.list, "list", false, "list the scenarios")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.list {
		for _, w := range works {
			fmt.Printf("%-22s %s, %d pairs, %d bytes, durable %v\n", w.name, w.protocol, w.pairs, w.size, w.persistent)
		}
		return nil
	}
	binary, clean, err := turnstone(o.turnstone)
	if err != nil {
		return err
	}
	defer clean()
	var failed []error
	results := map[string]map[string][]result{}
	for round := range o.rounds {
		for _, w := range works {
			if o.works != "" && !slices.Contains(strings.Split(o.works, ","), w.name) {
				continue
			}
			peers := chosen(o, w, peer.Peers(binary))
			if round%2 == 1 {
				slices.Reverse(peers)
			}
			for _, p := range peers {
				r, err := measure(ctx, p, w, time.Duration(o.seconds)*time.Second)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					failed = append(failed, fmt.Errorf("round %d: %s on %s: %w", round+1, w.name, p.Name, err))
					fmt.Fprintln(os.Stderr, "FAILED", failed[len(failed)-1])
					continue
				}
				if results[w.name] == nil {
					results[w.name] = map[string][]result{}
				}
				results[w.name][p.Name] = append(results[w.name][p.Name], r)
				fmt.Fprintf(os.Stderr, "round %d  %-20s %-10s %s\n", round+1, w.name, p.Name, r)
			}
		}
	}
	return errors.Join(append(failed, report(o, results))...)
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
	binary := filepath.Join(dir, "turnstone")
	build := exec.Command("go", "build", "-o", binary, "github.com/turnstone-mq/turnstone/broker")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", nil, fmt.Errorf("build the broker: %w", err)
	}
	return binary, func() { os.RemoveAll(dir) }, nil //nolint:errcheck // a temporary directory
}

func chosen(o options, w work, all []peer.Peer) []peer.Peer {
	var out []peer.Peer
	for _, p := range all {
		if p.Speaks(w.protocol) && slices.Contains(strings.Split(o.peers, ","), p.Name) {
			out = append(out, p)
		}
	}
	return out
}

// result is one measurement.
type result struct {
	rate, cpu float64 // messages a second; CPU seconds per million messages
	p50, p99  time.Duration
	peak      int64 // bytes
}

func (r result) String() string {
	return fmt.Sprintf("%9.0f msg/s  %7.3f CPU s/M  p50 %-9v p99 %-9v peak %d MB", r.rate, r.cpu, r.p50.Round(time.Microsecond), r.p99.Round(time.Microsecond), r.peak>>20)
}

// measure starts a broker, loads it, and reads what it did between the end of the warm-up and the end.
func measure(ctx context.Context, p peer.Peer, w work, length time.Duration) (r result, err error) {
	b, err := p.Start(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.Stop()) }()
	var pairs []*pair
	for n := range w.pairs {
		p, err := w.connect(b.Address(w.protocol), n)
		if err != nil {
			return r, err
		}
		pairs = append(pairs, p)
	}
	for _, p := range pairs {
		p.run()
	}
	pause(ctx, time.Second) // warm-up
	for _, p := range pairs {
		p.begin()
	}
	before, err := b.Usage()
	if err != nil {
		return r, err
	}
	received, start := total(pairs), time.Now()
	pause(ctx, length)
	received, took := total(pairs)-received, time.Since(start)
	after, err := b.Usage()
	if err != nil {
		return r, err
	}
	var latency check.Histogram
	for _, p := range pairs {
		if err := p.stop(); err != nil {
			return r, err
		}
		latency.Merge(&p.received.Latency)
	}
	if received == 0 {
		return r, errors.New("no message arrived")
	}
	return result{
		rate: float64(received) / took.Seconds(), cpu: (after.CPU - before.CPU).Seconds() / float64(received) * 1e6,
		p50: latency.Quantile(0.5), p99: latency.Quantile(0.99), peak: after.Peak,
	}, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func total(pairs []*pair) (n uint64) {
	for _, p := range pairs {
		n += p.count()
	}
	return n
}

// report prints the medians, and the ratios to the first peer that is not Turnstone.
func report(o options, results map[string]map[string][]result) error {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| work\t| broker\t| msg/s\t| CPU s per M\t| p50\t| p99\t| peak MB\t| Turnstone's rate\t| Turnstone's CPU\t|")
	fmt.Fprintln(t, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, w := range works {
		ours := results[w.name]["turnstone"]
		for _, p := range peer.Peers("") {
			rs := results[w.name][p.Name]
			if len(rs) == 0 {
				continue
			}
			fmt.Fprintf(t, "| %s\t| %s\t| %.0f\t| %.2f\t| %v\t| %v\t| %d\t| %s\t| %s\t|\n", w.name, p.Name,
				median(rs, func(r result) float64 { return r.rate }), median(rs, func(r result) float64 { return r.cpu }),
				time.Duration(median(rs, func(r result) float64 { return float64(r.p50) })).Round(time.Microsecond),
				time.Duration(median(rs, func(r result) float64 { return float64(r.p99) })).Round(time.Microsecond),
				int64(median(rs, func(r result) float64 { return float64(r.peak) }))>>20,
				ratio(p.Name, ours, rs, func(r result) float64 { return r.rate }), ratio(p.Name, ours, rs, func(r result) float64 { return r.cpu }))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Print(text.String())
	if o.markdown == "" {
		return nil
	}
	return os.WriteFile(o.markdown, []byte(text.String()), 0o644)
}

func median(rs []result, of func(result) float64) float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, of(r))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// ratio is Turnstone's figure over a peer's, round by round: the median and the range.
func ratio(name string, ours, theirs []result, of func(result) float64) string {
	if name == "turnstone" || len(ours) != len(theirs) {
		return ""
	}
	var v []float64
	for i := range ours {
		v = append(v, of(ours[i])/of(theirs[i]))
	}
	slices.Sort(v)
	return fmt.Sprintf("%.2f × (%.2f to %.2f)", v[len(v)/2], v[0], v[len(v)-1])
}
