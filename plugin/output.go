package plugin

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"
)

// format is what a command prints.
type format string

// The formats. The empty one is for people.
const (
	formatWide format = "wide"
	formatJSON format = "json"
	formatYAML format = "yaml"
)

// addFormat gives a command the flag -o with some formats.
func (f *format) addFormat(c *cobra.Command, formats ...format) {
	var list []string
	for _, o := range formats {
		list = append(list, string(o))
	}
	c.Flags().VarP(&formatValue{f, list}, "output", "o", "`FORMAT`: "+strings.Join(list, ", "))
	complete(c, "output", func(*cobra.Command) ([]string, cobra.ShellCompDirective) {
		return list, cobra.ShellCompDirectiveNoFileComp
	})
}

// formatValue is the flag.
type formatValue struct {
	to      *format
	formats []string
}

func (v *formatValue) String() string { return "" }
func (v *formatValue) Type() string   { return "format" }

func (v *formatValue) Set(s string) error {
	if !slices.Contains(v.formats, s) {
		return fmt.Errorf("want one of %s", strings.Join(v.formats, ", "))
	}
	*v.to = format(s)
	return nil
}

// structured prints v as JSON or YAML; false says that people read the output.
func (f format) structured(w io.Writer, v any) (bool, error) {
	switch f {
	case formatJSON:
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return true, e.Encode(v)
	case formatYAML:
		b, err := yaml.Marshal(v)
		if err == nil {
			_, err = w.Write(b)
		}
		return true, err
	}
	return false, nil
}

// table prints rows below a header, in columns.
func table(w io.Writer, indent string, header []string, rows [][]string) error {
	t := printers.GetNewTabWriter(w)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = visible(c)
		}
		fmt.Fprintf(t, "%s%s\n", indent, strings.TrimRight(strings.Join(cells, "\t"), "\t")) //nolint:errcheck // Flush says it
	}
	return t.Flush()
}

// visible keeps what comes from elsewhere from moving the cursor of a terminal: control characters are escaped.
func visible(s string) string {
	if !strings.ContainsFunc(s, control) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if control(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func control(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// age is how long ago something was, as kubectl writes it.
func age(t, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t))
}

// plural is a count of things.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
