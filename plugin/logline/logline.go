// Package logline reads the lines that brokers log in JSON, and writes them for people. A line that is none, such as that of a
// panic, stays as it is.
package logline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Line is one line of a log.
type Line struct {
	Time  time.Time // zero when the line does not say
	Level slog.Level
	Text  string // for people, without the time
	Raw   string
}

// Parse reads a line. Level is INFO when the line does not say.
func Parse(raw []byte) Line {
	l := Line{Raw: string(raw), Text: string(raw)}
	fields, ok := object(raw)
	if !ok {
		return l
	}
	var text strings.Builder
	var rest []field
	var message string
	for _, f := range fields {
		switch f.name {
		case slog.TimeKey:
			l.Time, _ = time.Parse(time.RFC3339Nano, f.text())
		case slog.LevelKey:
			l.Level.UnmarshalText([]byte(f.text())) //nolint:errcheck // an unknown level is INFO
		case slog.MessageKey:
			message = f.text()
		default:
			rest = append(rest, f)
		}
	}
	fmt.Fprintf(&text, "%-5s %s", l.Level, message)
	for _, f := range rest {
		fmt.Fprintf(&text, " %s=%s", f.name, quoted(f.text()))
	}
	l.Text = text.String()
	return l
}

// String is the line for people.
func (l Line) String() string {
	if l.Time.IsZero() {
		return l.Text
	}
	return l.Time.UTC().Format("2006-01-02T15:04:05.000Z") + " " + l.Text
}

type field struct {
	name  string
	value json.RawMessage
}

// text is a string without its quotes, and everything else as it is in JSON.
func (f field) text() string {
	var s string
	if json.Unmarshal(f.value, &s) == nil {
		return s
	}
	return string(f.value)
}

// object reads the fields of a JSON object in their order.
func object(raw []byte) ([]field, bool) {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return nil, false
	}
	var out []field
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, false
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return nil, false
		}
		text, ok := name.(string)
		if !ok {
			return nil, false
		}
		out = append(out, field{text, value})
	}
	if _, err := d.Token(); err != nil {
		return nil, false
	}
	return out, true
}

func quoted(s string) string {
	if s == "" || strings.ContainsAny(s, " \"=") || strconv.Quote(s) != `"`+s+`"` {
		return strconv.Quote(s)
	}
	return s
}
