package difference

import (
	"fmt"
	"testing"
)

func TestOf(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{`{"a":1}`, `{"a":1.0}`, "[]"},
		{`{"a":1,"b":{"c":2,"d":3}}`, `{"b":{"d":4,"c":2},"e":[1]}`, "[a: 1 → (unset) b.d: 3 → 4 e: (unset) → [1]]"},
		{`{}`, `{"arguments":{"x-max-length":5}}`, "[arguments.x-max-length: (unset) → 5]"},
		{`{"a":{"b":1}}`, `{"a":2}`, `[a: {"b":1} → 2]`},
		{`{"a":{}}`, `{}`, "[a: {} → (unset)]"},
		{`{"a":null}`, `{"a":null}`, "[]"},
	} {
		got, err := Of([]byte(c.from), []byte(c.to))
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s and %s: %v %v, wanted %s", c.from, c.to, got, err, c.want)
		}
	}
	if _, err := Of([]byte("5"), []byte("{}")); err == nil {
		t.Error("a number is taken for a spec")
	}
}
