package main

import (
	"fmt"
	"os"
	"strings"
)

// report is what was measured, in order.
type report struct{ rows []row }

type row struct{ what, figure, wanted string }

// add tells a figure at once, and keeps it for the table.
func (r *report) add(wanted, figure, what string, args ...any) {
	x := row{fmt.Sprintf(what, args...), figure, wanted}
	fmt.Printf("%-100s %16s  (wanted: %s)\n", x.what, x.figure, x.wanted)
	r.rows = append(r.rows, x)
}

// The marks between which the table stands.
const (
	begins = "<!-- bench-operator begins -->"
	ends   = "<!-- bench-operator ends -->"
)

// write replaces the table in a file.
func (r *report) write(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), begins)
	_, after, also := strings.Cut(rest, ends)
	if !ok || !also {
		return fmt.Errorf("%s has no place for the table: put %q and %q into it", file, begins, ends)
	}
	var table strings.Builder
	table.WriteString("\n| what | measured | wanted |\n|---|---:|---:|\n")
	for _, x := range r.rows {
		fmt.Fprintf(&table, "| %s | %s | %s |\n", x.what, x.figure, x.wanted)
	}
	return os.WriteFile(file, []byte(before+begins+table.String()+ends+after), 0o644)
}
