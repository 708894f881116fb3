package frame_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
)

// kinds holds a value of every kind, as RabbitMQ's table of field types has them.
var kinds = []struct {
	name, bytes string
	want        any
}{
	{"bool", "74 01", true},
	{"int8", "62 ff", int64(-1)},
	{"uint8", "42 ff", int64(255)},
	{"int16", "73 8000", int64(-32768)},
	{"int16 of the specification", "55 8000", int64(-32768)},
	{"uint16", "75 8000", int64(32768)},
	{"int32", "49 80000000", int64(-2147483648)},
	{"uint32", "69 80000000", int64(2147483648)},
	{"int64", "6c ffffffffffffffff", int64(-1)},
	{"int64 of the specification", "4c 0000000000000001", int64(1)},
	{"float", "66 3fc00000", 1.5},
	{"double", "64 3ff8000000000000", 1.5},
	{"not a number", "64 7ff8000000000000", nil},
	{"decimal", "44 02 0000007d", 1.25},
	{"string", "53 00000002 6869", "hi"},
	{"bytes", "78 00000001 ff", "\xff"},
	{"array", "41 00000004 74 00 62 07", []any{false, int64(7)}},
	{"timestamp", "54 000000006553f100", int64(1700000000)},
	{"table", "46 00000004 01 61 74 01", map[string]any{"a": true}},
	{"empty table", "46 00000000", map[string]any{}},
	{"void", "56", nil},
}

func TestKinds(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			table := frame.Table(append([]byte("\x01k"), unhex(t, k.bytes)...))
			if err := table.Check(generous); err != nil {
				t.Fatal(err)
			}
			v, ok := table.Lookup("k")
			if !ok || !reflect.DeepEqual(v.Any(), k.want) {
				t.Errorf("got %#v, %t; want %#v", v.Any(), ok, k.want)
			}
			if again := frame.Table(nil).With("k", v); !bytes.Equal(again, table) {
				t.Errorf("written again: %x\nwant:          %x", again, table)
			}
			for n := 1; n < len(table); n++ {
				if table[:n].Check(generous) == nil {
					t.Errorf("%d of %d bytes pass", n, len(table))
				}
			}
		})
	}
}

func nested(depth int) frame.Table {
	t := frame.Table(nil).With("leaf", true)
	for range depth - 1 {
		t = frame.Table(nil).With("t", t)
	}
	return t
}

func TestTableLimits(t *testing.T) {
	l := frame.Limits{Depth: 4, Entries: 10}
	ten := map[string]any{"list": []any{true, true, true, true, true, true, true, true, true}}
	for _, x := range []struct {
		name  string
		table frame.Table
		text  string
	}{
		{"deep enough", nested(4), ""},
		{"too deep", nested(5), "tables are nested too deeply"},
		{"ten entries", frame.NewTable(ten), ""},
		{"eleven entries", frame.NewTable(ten).With("k", nil), "table has too many entries"},
		{"unknown kind", frame.Table("\x01kZ"), "a field is of type 'Z', which does not exist"},
	} {
		t.Run(x.name, func(t *testing.T) {
			err := x.table.Check(l)
			if x.text == "" && err != nil || x.text != "" && (err == nil || err.Error() != x.text) {
				t.Errorf("got %v, want %q", err, x.text)
			}
		})
	}
}

func TestTableMap(t *testing.T) {
	m := map[string]any{"s": "text", "n": int64(-5), "f": 2.5, "b": false, "v": nil, "l": []any{"a", int64(1)}, "t": map[string]any{"x": "y"}}
	if got := frame.NewTable(m).Map(); !reflect.DeepEqual(got, m) {
		t.Errorf("got %v, want %v", got, m)
	}
	if got := frame.Table(nil).Map(); got != nil {
		t.Errorf("an empty table is %v", got)
	}
	twice := frame.Table(nil).With("k", "first").With("k", "last")
	if v, _ := twice.Lookup("k"); v.Any() != "last" || twice.Map()["k"] != "last" {
		t.Errorf("of two fields with one name %v and %v count", v.Any(), twice.Map()["k"])
	}
}
