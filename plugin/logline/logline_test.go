package logline

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for raw, want := range map[string]string{
		`{"time":"2026-01-02T03:04:05.678901Z","level":"WARN","msg":"disk is slow","took":1.5,"peer":"1.2.3.4:5","why":"a \"b\"","list":[1,2],"empty":""}`: `2026-01-02T03:04:05.678Z WARN  disk is slow took=1.5 peer=1.2.3.4:5 why="a \"b\"" list=[1,2] empty=""`,
		`{"level":"INFO","msg":"x"}`:    `INFO  x`,
		"panic: runtime error":          "panic: runtime error",
		"{not json":                     "{not json",
		"":                              "",
		`{"msg":"esc","v":"\u001b[2J"}`: `INFO  esc v="\x1b[2J"`,
	} {
		if got := Parse([]byte(raw)).String(); got != want {
			t.Errorf("%s\nis     %s\nwanted %s", raw, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"time":"2026-01-02T03:04:05Z","level":"ERROR","msg":"x","a":{"b":[1]}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		l := Parse([]byte(raw))
		if l.Raw != raw || !strings.Contains(l.String(), l.Text) {
			t.Errorf("%q became %+v", raw, l)
		}
	})
}
