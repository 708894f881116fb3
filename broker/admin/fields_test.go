package admin

import (
	"reflect"
	"slices"
	"strings"
)

// fieldsOf are the names of a type's fields in JSON, sorted.
func fieldsOf[T any]() []string {
	var out []string
	typ := reflect.TypeFor[T]()
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
