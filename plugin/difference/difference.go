// Package difference says in which fields two specs in JSON differ. It knows nothing of what they mean.
package difference

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Field is one field that differs, by its path such as arguments.x-max-length. A side that does not have it is nil.
type Field struct {
	Path string          `json:"path"`
	From json.RawMessage `json:"from,omitempty"`
	To   json.RawMessage `json:"to,omitempty"`
}

func (f Field) String() string { return fmt.Sprintf("%s: %s → %s", f.Path, side(f.From), side(f.To)) }

func side(raw json.RawMessage) string {
	if raw == nil {
		return "(unset)"
	}
	return string(raw)
}

// Of lists the fields in which two objects in JSON differ, in the order of their paths. Lists are one field each.
func Of(from, to []byte) ([]Field, error) {
	var a, b map[string]json.RawMessage
	if err := json.Unmarshal(from, &a); err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	if err := json.Unmarshal(to, &b); err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	return fields("", a, b), nil
}

func fields(path string, a, b map[string]json.RawMessage) (out []Field) {
	all := maps.Clone(a)
	if all == nil {
		all = make(map[string]json.RawMessage)
	}
	maps.Copy(all, b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		from, to := a[name], b[name]
		if bytes.Equal(from, to) || equal(from, to) {
			continue
		}
		var x, y map[string]json.RawMessage
		deep := (from == nil || json.Unmarshal(from, &x) == nil) && (to == nil || json.Unmarshal(to, &y) == nil)
		if below := fields(path+name+".", x, y); deep && len(below) > 0 {
			out = append(out, below...)
			continue
		}
		out = append(out, Field{path + name, from, to})
	}
	return out
}

// equal says whether two values are the same, however they are written.
func equal(a, b json.RawMessage) bool {
	var x, y any
	if a == nil || b == nil || json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, err := json.Marshal(x)
	if err != nil {
		return false
	}
	q, err := json.Marshal(y)
	return err == nil && bytes.Equal(p, q)
}
