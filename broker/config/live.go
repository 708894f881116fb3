package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Key is one configuration key, such as "limits.connections".
type Key struct {
	Name string
	Live bool // takes effect on reload
}

// Keys lists every leaf key.
func Keys() []Key {
	var keys []Key
	walk(reflect.ValueOf(Config{}), "", false, func(name string, live bool, _ reflect.Value) {
		keys = append(keys, Key{Name: name, Live: live})
	})
	return keys
}

// Changed names the keys in which two configurations differ, those that are live and those that need a restart.
func Changed(old, wanted Config) (live, restart []string) {
	before := map[string]reflect.Value{}
	walk(reflect.ValueOf(old), "", false, func(name string, _ bool, v reflect.Value) { before[name] = v })
	walk(reflect.ValueOf(wanted), "", false, func(name string, isLive bool, v reflect.Value) {
		switch {
		case reflect.DeepEqual(before[name].Interface(), v.Interface()):
		case isLive:
			live = append(live, name)
		default:
			restart = append(restart, name)
		}
	})
	slices.Sort(live)
	slices.Sort(restart)
	return live, restart
}

// Merge is old with the live keys of wanted.
func Merge(old, wanted Config) Config {
	merged := old
	to, from := reflect.ValueOf(&merged).Elem(), reflect.ValueOf(wanted)
	copyLive(to, from, false)
	return merged
}

// Hash identifies the restart keys: the operator rolls the pods when it changes, and only then.
func (c Config) Hash() string {
	h, later := sha256.New(), laterKeys()
	walk(reflect.ValueOf(c), "", false, func(name string, live bool, v reflect.Value) {
		if !live && !(later[name] && v.IsZero()) {
			fmt.Fprintf(h, "%s=%#v\n", name, v.Interface())
		}
	})
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// laterKeys are those that Hash leaves out while they are unset.
func laterKeys() map[string]bool {
	later := map[string]bool{}
	fields(reflect.TypeFor[Config](), "", func(name string, f reflect.StructField) {
		if f.Tag.Get("hash") == "set" {
			later[name] = true
		}
	})
	return later
}

// fields visits every leaf key of a struct.
func fields(t reflect.Type, prefix string, visit func(string, reflect.StructField)) {
	for f := range t.Fields() {
		name := prefix + jsonName(f)
		if f.Type.Kind() == reflect.Struct {
			fields(f.Type, name+".", visit)
			continue
		}
		visit(name, f)
	}
}

func walk(v reflect.Value, prefix string, live bool, visit func(string, bool, reflect.Value)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, isLive := jsonName(f), live || f.Tag.Get("live") == "true"
		if prefix != "" {
			name = prefix + "." + name
		}
		if f.Type.Kind() == reflect.Struct {
			walk(v.Field(i), name, isLive, visit)
			continue
		}
		visit(name, isLive, v.Field(i))
	}
}

func copyLive(to, from reflect.Value, live bool) {
	for i := range to.NumField() {
		f := to.Type().Field(i)
		isLive := live || f.Tag.Get("live") == "true"
		if f.Type.Kind() == reflect.Struct {
			copyLive(to.Field(i), from.Field(i), isLive)
		} else if isLive {
			to.Field(i).Set(from.Field(i))
		}
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
