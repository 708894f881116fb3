package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// results are the figures of every round, by work and peer.
type results struct {
	Machine string         `json:"machine"`
	Date    string         `json:"date"`
	Works   []*workResults `json:"works"`
	byName  map[string]*workResults
}

type workResults struct {
	Work  string               `json:"work"`
	What  string               `json:"what"`
	Peers map[string][]figures `json:"peers"` // one for each round, in order; nil when it failed
}

func newResults() *results {
	return &results{Machine: machine(), Date: time.Now().UTC().Format(time.DateOnly), byName: make(map[string]*workResults)}
}

func (r *results) add(w work, peer string, f figures) {
	of := r.byName[w.name]
	if of == nil {
		of = &workResults{Work: w.name, What: w.what, Peers: make(map[string][]figures)}
		r.byName[w.name] = of
		r.Works = append(r.Works, of)
	}
	of.Peers[peer] = append(of.Peers[peer], f)
}

// machine is what the figures were measured on, as far as the system says.
func machine() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	cores, model := 0, "unknown"
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "processor":
			cores++
		case "model name":
			model = strings.TrimSpace(value)
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // empty says enough
	return fmt.Sprintf("%d × %s, Linux %s", cores, model, strings.TrimSpace(string(kernel)))
}

// ours is the peer that the others are compared with.
const ours = "turnstone"

// table is the medians in Markdown: for each work and figure what Turnstone and the peer had, and the ratio, which is taken
// within each round, with its range.
func (r *results) table() string {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| work\t| figure\t| Turnstone\t| peer\t| \t| Turnstone / peer\t|")
	fmt.Fprintln(t, "|---\t|---\t|---:\t|---\t|---:\t|---:\t|")
	for _, w := range r.Works {
		for _, f := range order {
			w.row(t, f)
		}
	}
	t.Flush() //nolint:errcheck // a strings.Builder takes everything
	return text.String()
}

func (w *workResults) row(t *tabwriter.Writer, f figure) {
	mine := median(w.Peers[ours], f)
	peers := slices.Sorted(func(yield func(string) bool) {
		for name := range w.Peers {
			if name != ours && !yield(name) {
				return
			}
		}
	})
	if len(peers) == 0 {
		peers = []string{""}
	}
	for _, name := range peers {
		theirs := median(w.Peers[name], f)
		if mine == "" && theirs == "" {
			continue
		}
		fmt.Fprintf(t, "| %s\t| %s\t| %s\t| %s\t| %s\t| %s\t|\n", w.Work, f, mine, name, theirs, ratio(w.Peers[ours], w.Peers[name], f))
	}
}

// median is that of the rounds that have the figure; empty when none has.
func median(rounds []figures, f figure) string {
	v := values(rounds, f)
	if len(v) == 0 {
		return ""
	}
	slices.Sort(v)
	return show(v[len(v)/2])
}

func values(rounds []figures, f figure) (v []float64) {
	for _, r := range rounds {
		if x, ok := r[f]; ok {
			v = append(v, x)
		}
	}
	return v
}

// show writes a number with as many digits as say something.
func show(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// ratio is the median and range of what Turnstone had over what the peer had, round by round.
func ratio(mine, theirs []figures, f figure) string {
	var v []float64
	for i := range min(len(mine), len(theirs)) {
		x, here := mine[i][f]
		y, there := theirs[i][f]
		if here && there && y != 0 {
			v = append(v, x/y)
		}
	}
	if len(v) == 0 {
		return ""
	}
	slices.Sort(v)
	digits := func(v float64) string { return fmt.Sprintf("%.3g", v) }
	return fmt.Sprintf("%s (%s to %s)", digits(v[len(v)/2]), digits(v[0]), digits(v[len(v)-1]))
}

// line is one result as it comes.
func (f figures) line() string {
	var parts []string
	for _, name := range order {
		if v, ok := f[name]; ok {
			parts = append(parts, show(v)+" "+string(name))
		}
	}
	return strings.Join(parts, ", ")
}

// write writes the table and the JSON where they are wanted.
func (r *results) write(markdown, jsonFile string) error {
	table := r.table()
	fmt.Print(table)
	if markdown != "" {
		if err := os.WriteFile(markdown, []byte(table), 0o644); err != nil {
			return err
		}
	}
	if jsonFile == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(jsonFile, append(b, '\n'), 0o644)
}
