package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// field is one row of a table.
type field struct {
	path     string // with dots; [] for an entry of a list, .* for a value of a map
	kind     string
	standard string // its default, "required", or nothing
	text     string
}

// fields lists what is below a schema, each object followed by its fields.
func fields(path string, s apiextensionsv1.JSONSchemaProps) []field {
	var out []field
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		f := field{path: path + "." + name, kind: typeOf(p), text: describe(p), standard: standard(p)}
		if slices.Contains(s.Required, name) {
			f.standard = "required"
		}
		out = append(out, f)
		out = append(out, below(f.path, p)...)
	}
	return out
}

// below lists what a field contains. Conditions are the same everywhere and have a page.
func below(path string, p apiextensionsv1.JSONSchemaProps) []field {
	switch {
	case strings.HasSuffix(path, ".conditions"):
		return nil
	case p.Items != nil && p.Items.Schema != nil:
		return fields(path+"[]", *p.Items.Schema)
	case p.AdditionalProperties != nil && p.AdditionalProperties.Schema != nil:
		return fields(path+".*", *p.AdditionalProperties.Schema)
	}
	return fields(path, p)
}

func typeOf(p apiextensionsv1.JSONSchemaProps) string {
	switch {
	case p.XIntOrString:
		return "number or text"
	case p.XPreserveUnknownFields != nil && p.Type == "":
		return "anything"
	case p.Items != nil && p.Items.Schema != nil:
		return "list of " + typeOf(*p.Items.Schema)
	case p.AdditionalProperties != nil && p.AdditionalProperties.Schema != nil:
		return "map of " + typeOf(*p.AdditionalProperties.Schema)
	case p.Format == "date-time":
		return "time"
	}
	return p.Type
}

func standard(p apiextensionsv1.JSONSchemaProps) string {
	if p.Default == nil || string(p.Default.Raw) == "{}" {
		return ""
	}
	return "`" + strings.Trim(string(p.Default.Raw), `"`) + "`"
}

// describe is the description and, in sentences, everything that is checked.
func describe(p apiextensionsv1.JSONSchemaProps) string {
	said := []string{sentence(p.Description)}
	if p.Items != nil && p.Items.Schema != nil {
		said = append(said, ofEntries(*p.Items.Schema))
	}
	said = append(said,
		oneOf(p.Enum),
		between(p.Minimum, p.Maximum, ""),
		between(floats(p.MinLength), floats(p.MaxLength), " characters"),
		between(floats(p.MinItems), floats(p.MaxItems), " entries"),
		between(floats(p.MinProperties), floats(p.MaxProperties), " entries"))
	if p.Pattern != "" {
		said = append(said, "Matches `"+p.Pattern+"`.")
	}
	if p.XListType != nil && *p.XListType == "set" {
		said = append(said, "Each only once.")
	}
	for _, rule := range p.XValidations {
		said = append(said, "Checked: "+strings.TrimSuffix(rule.Message, ".")+".")
	}
	said = slices.DeleteFunc(said, func(s string) bool { return s == "" })
	return strings.Join(said, " ")
}

func ofEntries(p apiextensionsv1.JSONSchemaProps) string {
	p.Description = ""
	if p.Type == "object" {
		return ""
	}
	return describe(p)
}

func oneOf(values []apiextensionsv1.JSON) string {
	var names []string
	for _, v := range values {
		var text any
		if json.Unmarshal(v.Raw, &text) == nil {
			names = append(names, fmt.Sprintf("`%v`", text))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "One of " + strings.Join(names, ", ") + "."
}

func floats(n *int64) *float64 {
	if n == nil {
		return nil
	}
	return new(float64(*n))
}

func between(low, high *float64, unit string) string {
	if low != nil && *low == 0 && unit != "" {
		low = nil
	}
	switch {
	case low != nil && high != nil && *low == *high:
		return fmt.Sprintf("%s%s.", number(*low), cmp.Or(unit, " exactly"))
	case low != nil && high != nil:
		return fmt.Sprintf("From %s to %s%s.", number(*low), number(*high), unit)
	case low != nil && unit != "":
		return fmt.Sprintf("%s%s at least.", number(*low), unit)
	case low != nil:
		return fmt.Sprintf("At least %s.", number(*low))
	case high != nil:
		return fmt.Sprintf("At most %s%s.", number(*high), unit)
	}
	return ""
}

func number(f float64) string { return fmt.Sprintf("%.0f", f) }
