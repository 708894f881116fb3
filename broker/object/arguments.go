package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
)

// Arguments are the free-form arguments of exchanges, queues and bindings. Values are nil, bool, int64, float64, string,
// []any and map[string]any, whichever protocol or JSON they came from, so that two declarations can be compared.
type Arguments map[string]any

// UnmarshalJSON keeps whole numbers as int64.
func (a *Arguments) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var raw map[string]any
	if err := d.Decode(&raw); err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	if raw == nil {
		*a = nil
		return nil
	}
	out := make(Arguments, len(raw))
	for k, v := range raw {
		n, err := normal(v)
		if err != nil {
			return fmt.Errorf("argument %q: %w", k, err)
		}
		out[k] = n
	}
	*a = out
	return nil
}

func normal(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i, nil
		}
		return v.Float64()
	case []any:
		for i := range v {
			n, err := normal(v[i])
			if err != nil {
				return nil, err
			}
			v[i] = n
		}
	case map[string]any:
		for k := range v {
			n, err := normal(v[k])
			if err != nil {
				return nil, err
			}
			v[k] = n
		}
	}
	return v, nil
}

// canonical is the JSON of the arguments with sorted keys: equal arguments, equal bytes. Numbers that JSON cannot write
// (NaN, infinities) are written by fmt, which sorts keys too.
func (a Arguments) canonical() []byte {
	b, err := json.Marshal(map[string]any(a))
	if err != nil {
		return fmt.Append(nil, map[string]any(a))
	}
	return b
}

// Int reads a whole number; ok is false when the argument is absent.
func (a Arguments) Int(name string) (n int64, ok bool, err error) {
	v, ok := a[name]
	if !ok {
		return 0, false, nil
	}
	switch v := v.(type) {
	case int64:
		return v, true, nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), true, nil
		}
	}
	return 0, true, fmt.Errorf("argument %q must be a whole number, not %v", name, v)
}

// Text reads a string; ok is false when the argument is absent.
func (a Arguments) Text(name string) (s string, ok bool, err error) {
	v, ok := a[name]
	if !ok {
		return "", false, nil
	}
	if s, isText := v.(string); isText {
		return s, true, nil
	}
	return "", true, fmt.Errorf("argument %q must be a string, not %v", name, v)
}

// Bool reads a boolean; ok is false when the argument is absent.
func (a Arguments) Bool(name string) (b, ok bool, err error) {
	v, ok := a[name]
	if !ok {
		return false, false, nil
	}
	if b, isBool := v.(bool); isBool {
		return b, true, nil
	}
	return false, true, fmt.Errorf("argument %q must be true or false, not %v", name, v)
}

// Differ names the first argument, in the order of names, in which a and b differ.
func (a Arguments) Differ(b Arguments) (name string, differ bool) {
	for k, v := range a {
		w, ok := b[k]
		if (!ok || !equalValue(v, w)) && (!differ || k < name) {
			name, differ = k, true
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok && (!differ || k < name) {
			name, differ = k, true
		}
	}
	return name, differ
}

// Mismatch is how one argument differs in two declarations, in RabbitMQ's words.
func Mismatch(name string, received, current Arguments) string {
	r, had := received[name]
	c, has := current[name]
	switch {
	case !had:
		return fmt.Sprintf("received none but current is the value '%v' of type '%s'", c, typeName(c))
	case !has:
		return fmt.Sprintf("received the value '%v' of type '%s' but current is none", r, typeName(r))
	}
	return fmt.Sprintf("received '%v' but current is '%v'", r, c)
}

// typeName is RabbitMQ's name of the type of an argument.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "void"
	case bool:
		return "bool"
	case int64:
		if v == int64(int32(v)) {
			return "signedint"
		}
		return "long"
	case float64:
		return "double"
	case string:
		return "longstr"
	case []any:
		return "array"
	}
	return "table"
}

func equalValue(a, b any) bool {
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && bytes.Equal(x, y)
}
