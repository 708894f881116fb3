package plugin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/turnstone-mq/turnstone/plugin/cluster"
	"github.com/turnstone-mq/turnstone/plugin/logline"
)

// logs is what logs is told.
type logs struct {
	*plugin
	follow, previous, raw bool
	since                 time.Duration
	tail                  int64
	grep, level           string

	pattern *regexp.Regexp
	least   slog.Level
}

func (p *plugin) logsCommand() *cobra.Command {
	l := &logs{plugin: p}
	c := &cobra.Command{
		Use:   "logs BROKER [flags]",
		Short: "Print the logs of all pods of a broker, for people",
		Long: "Print the logs of all pods of a broker, in the order of time, with the fields of their JSON written out. Exit code 1 when --grep or --level\n" +
			"let no line pass.",
		Example: "  kubectl turnstone logs broker -f --level warn\n  kubectl turnstone logs broker --since 1h --grep 'client=sensor-7'",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: p.brokerArgument,
		RunE: func(c *cobra.Command, args []string) error { return l.run(c.Context(), args[0]) },
	}
	f := c.Flags()
	f.BoolVarP(&l.follow, "follow", "f", false, "go on as lines come")
	f.BoolVarP(&l.previous, "previous", "p", false, "of the containers before the last restart")
	f.BoolVar(&l.raw, "raw", false, "print lines as they are")
	f.DurationVar(&l.since, "since", 0, "only lines younger than this, such as 5m")
	f.Int64Var(&l.tail, "tail", -1, "only so many last lines of each pod; -1 is all")
	f.StringVar(&l.grep, "grep", "", "only lines that match the regular `EXPRESSION`, as they are printed")
	f.StringVar(&l.level, "level", "debug", "only lines of this level or above: debug, info, warn, error")
	complete(c, "level", func(*cobra.Command) ([]string, cobra.ShellCompDirective) {
		return []string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

func (l *logs) check() (err error) {
	if l.pattern, err = regexp.Compile(l.grep); err != nil {
		return usagef("--grep: %w", err)
	}
	if err := l.least.UnmarshalText([]byte(l.level)); err != nil {
		return usagef("--level: want debug, info, warn or error, not %q", l.level)
	}
	if l.follow && l.previous {
		return usagef("--previous is of containers that have ended: they cannot be followed")
	}
	return nil
}

func (l *logs) run(ctx context.Context, name string) error {
	if err := l.check(); err != nil {
		return err
	}
	c, err := l.connect()
	if err != nil {
		return err
	}
	b, err := c.Broker(ctx, name)
	if err != nil {
		return err
	}
	pods, err := c.Pods(ctx, b)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return fmt.Errorf("MessageBroker %q has no pods: kubectl turnstone status %s says why", b.Name, b.Name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sources []*source
	for _, pod := range pods {
		stream, err := l.open(ctx, c, pod)
		if err != nil {
			return err
		}
		defer stream.Close()
		sources = append(sources, &source{pod: pod.Name, lines: newLines(stream)})
	}
	printed, err := l.print(ctx, sources)
	return answer(printed > 0 || l.follow || l.grep == "" && l.least <= slog.LevelDebug, err)
}

func (l *logs) open(ctx context.Context, c *cluster.Cluster, pod corev1.Pod) (io.ReadCloser, error) {
	o := &corev1.PodLogOptions{Container: brokerContainer, Follow: l.follow, Previous: l.previous}
	if l.since > 0 {
		o.SinceSeconds = new(int64(max(l.since/time.Second, 1)))
	}
	if l.tail >= 0 {
		o.TailLines = &l.tail
	}
	stream, err := c.Clientset.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, o).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("logs of pod %s: %w", pod.Name, cluster.Explain(err))
	}
	return stream, nil
}

// brokerContainer is the container of a broker's pod that is the broker.
const brokerContainer = "broker"

// source is the log of one pod.
type source struct {
	pod   string
	lines *bufio.Reader
	head  logline.Line // the next line
	time  time.Time    // of the head, or of the last line that had one
}

func newLines(r io.Reader) *bufio.Reader {
	const buffer = 64 << 10
	return bufio.NewReaderSize(r, buffer)
}

// next reads a line; false says that there is none.
func (s *source) next() (bool, error) {
	text, err := s.lines.ReadString('\n')
	if text == "" || err != nil && !errors.Is(err, io.EOF) {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return false, err
	}
	s.head = logline.Parse([]byte(strings.TrimRight(text, "\r\n")))
	if !s.head.Time.IsZero() {
		s.time = s.head.Time
	}
	return true, nil
}

// print prints the lines of all pods, and answers how many it has let pass.
func (l *logs) print(ctx context.Context, sources []*source) (int, error) {
	if l.follow {
		return l.printAsTheyCome(ctx, sources)
	}
	return l.printInOrder(sources)
}

// printInOrder merges by time. A line without one stays behind the line before it.
func (l *logs) printInOrder(sources []*source) (printed int, err error) {
	many := len(sources) > 1
	advance := func(s *source) (bool, error) { return s.next() }
	var left []*source
	for _, s := range sources {
		ok, err := advance(s)
		if err != nil {
			return printed, err
		}
		if ok {
			left = append(left, s)
		}
	}
	for len(left) > 0 {
		s := slices.MinFunc(left, func(a, b *source) int { return a.time.Compare(b.time) })
		n, err := l.line(s, s.head, many)
		if err != nil {
			return printed, err
		}
		printed += n
		ok, err := advance(s)
		if err != nil {
			return printed, err
		}
		if !ok {
			left = slices.DeleteFunc(left, func(o *source) bool { return o == s })
		}
	}
	return printed, nil
}

func (l *logs) printAsTheyCome(ctx context.Context, sources []*source) (printed int, err error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	var errs []error
	for _, s := range sources {
		all.Go(func() { // ends with the stream, which ends with ctx or the pod
			for {
				ok, err := s.next()
				mu.Lock()
				if ok && err == nil {
					var n int
					n, err = l.line(s, s.head, len(sources) > 1)
					printed += n
				}
				if err != nil && ctx.Err() == nil {
					errs = append(errs, err)
				}
				mu.Unlock()
				if !ok || err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return printed, errors.Join(errs...)
}

// line prints a line if it may pass.
func (l *logs) line(s *source, line logline.Line, many bool) (int, error) {
	text := line.String()
	if l.raw {
		text = line.Raw
	}
	if line.Level < l.least || !l.pattern.MatchString(text) {
		return 0, nil
	}
	if !l.raw {
		text = visible(text)
	}
	if many {
		text = s.pod + " " + text
	}
	_, err := fmt.Fprintln(l.Out, text)
	return 1, err
}
