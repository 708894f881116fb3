package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Difference is one field in which two specs of an object differ. Old and New are JSON, empty where the field is not set.
type Difference struct {
	// Field is the path of the field, such as arguments.x-max-length.
	Field string `json:"field"`
	Old   string `json:"old,omitempty"`
	New   string `json:"new,omitempty"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s is %s and would be %s", d.Field, orUnset(d.Old), orUnset(d.New))
}

func orUnset(v string) string {
	if v == "" {
		return "unset"
	}
	return v
}

// Differences are the fields in which an object would change from old to new, sorted by field. An old one without a spec is
// one that is not there: every field of the new one is a difference. Passwords take no part.
func Differences(old, new Object) ([]Difference, error) {
	was, err := leaves(old)
	if err != nil {
		return nil, err
	}
	will, err := leaves(new)
	if err != nil {
		return nil, err
	}
	fields := maps.Clone(was)
	maps.Copy(fields, will)
	var out []Difference
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		if was[f] != will[f] {
			out = append(out, Difference{Field: f, Old: was[f], New: will[f]})
		}
	}
	return out, nil
}

// leaves are the values of a spec by their paths, as JSON; a list is one value.
func leaves(o Object) (map[string]string, error) {
	out := make(map[string]string)
	if len(o.Spec) == 0 {
		return out, nil
	}
	raw, err := o.Canonical()
	if err != nil {
		return nil, err
	}
	return out, flatten("", raw, out)
}

func flatten(path string, raw json.RawMessage, out map[string]string) error {
	if !bytes.HasPrefix(raw, []byte("{")) {
		out[strings.TrimPrefix(path, ".")] = string(raw)
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return fmt.Errorf("spec%s: %w", path, err)
	}
	for name, v := range fields {
		if err := flatten(path+"."+name, v, out); err != nil {
			return err
		}
	}
	return nil
}
