package plugin

import (
	"bytes"
	"strings"
	"testing"
)

func TestLogsInOrder(t *testing.T) {
	a := `{"time":"2026-01-01T00:00:01Z","level":"INFO","msg":"one"}
panic: what follows has no time
{"time":"2026-01-01T00:00:04Z","level":"ERROR","msg":"four"}
`
	b := `{"time":"2026-01-01T00:00:02Z","level":"DEBUG","msg":"two","client":"x"}
{"time":"2026-01-01T00:00:03Z","level":"WARN","msg":"three"}`
	for _, c := range []struct {
		logs logs
		want string
	}{
		{logs{level: "debug"}, "a 2026-01-01T00:00:01.000Z INFO  one|a panic: what follows has no time|b 2026-01-01T00:00:02.000Z DEBUG two client=x|b 2026-01-01T00:00:03.000Z WARN  three|a 2026-01-01T00:00:04.000Z ERROR four|"},
		{logs{level: "warn"}, "b 2026-01-01T00:00:03.000Z WARN  three|a 2026-01-01T00:00:04.000Z ERROR four|"},
		{logs{level: "debug", grep: "client=x"}, "b 2026-01-01T00:00:02.000Z DEBUG two client=x|"},
		{logs{level: "error", raw: true}, `a {"time":"2026-01-01T00:00:04Z","level":"ERROR","msg":"four"}|`},
		{logs{level: "info", grep: "nothing"}, ""},
	} {
		var out bytes.Buffer
		l := c.logs
		l.plugin = &plugin{Streams: Streams{Out: &out}}
		if err := l.check(); err != nil {
			t.Fatal(err)
		}
		n, err := l.print(t.Context(), []*source{{pod: "a", lines: newLines(strings.NewReader(a))}, {pod: "b", lines: newLines(strings.NewReader(b))}})
		if got := strings.ReplaceAll(out.String(), "\n", "|"); err != nil || got != c.want || n != strings.Count(c.want, "|") {
			t.Errorf("%+v: %d %v\n%s\nwanted\n%s", c.logs, n, err, got, c.want)
		}
	}
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{"plain ü": "plain ü", "a\x1b[2Jb\nc\u0085": `a\u001b[2Jb\u000ac\u0085`} {
		if got := visible(text); got != want {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
}
