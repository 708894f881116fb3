package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	lua "github.com/yuin/gopher-lua"
)

// runLua runs a script as Argo CD does: the object is the global obj, there are the libraries base, table and package and
// no others, and it may take a second. The answer is what the script returns.
func runLua(ctx context.Context, script string, object map[string]any) (any, error) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	l.SetContext(ctx)
	l.SetGlobal("obj", toLua(l, object))
	if err := l.DoString(script); err != nil {
		return nil, err
	}
	return fromLua(l.Get(-1))
}

func toLua(l *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case nil:
		return lua.LNil
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case float64:
		return lua.LNumber(v)
	case int64:
		return lua.LNumber(v)
	case []any:
		t := l.NewTable()
		for _, e := range v {
			t.Append(toLua(l, e))
		}
		return t
	case map[string]any:
		t := l.NewTable()
		for k, e := range v {
			t.RawSetString(k, toLua(l, e))
		}
		return t
	}
	panic(fmt.Sprintf("a JSON object has no %T", v))
}

// fromLua answers plain values. An empty table is an empty list: Lua does not tell it from an empty map, which scripts have to know.
func fromLua(v lua.LValue) (any, error) {
	switch v := v.(type) {
	case *lua.LNilType:
		return nil, nil
	case lua.LBool:
		return bool(v), nil
	case lua.LString:
		return string(v), nil
	case lua.LNumber:
		if n := int64(v); lua.LNumber(n) == v {
			return n, nil
		}
		return float64(v), nil
	case *lua.LTable:
		return tableFromLua(v)
	}
	return nil, fmt.Errorf("a script must not return a %s", v.Type())
}

func tableFromLua(t *lua.LTable) (any, error) {
	list, fields, failed := []any{}, map[string]any{}, error(nil)
	t.ForEach(func(k, e lua.LValue) {
		value, err := fromLua(e)
		if err != nil {
			failed = err
			return
		}
		if name, ok := k.(lua.LString); ok {
			fields[string(name)] = value
			return
		}
		list = append(list, value)
	})
	switch {
	case failed != nil:
		return nil, failed
	case len(fields) > 0 && len(list) > 0:
		return nil, fmt.Errorf("a table has names and places")
	case len(fields) > 0:
		return fields, nil
	}
	return list, nil
}

// clean takes an empty list for no change where the object had a map, as Argo CD does with what an action returns.
func clean(now, before any) any {
	switch n := now.(type) {
	case map[string]any:
		b, ok := before.(map[string]any)
		if !ok {
			return now
		}
		out := map[string]any{}
		for k, v := range n {
			out[k] = clean(v, b[k])
		}
		return out
	case []any:
		if b, ok := before.(map[string]any); ok && len(n) == 0 {
			return b
		}
		if b, ok := before.([]any); ok {
			out := make([]any, len(n))
			for i := range n {
				if out[i] = n[i]; i < len(b) {
					out[i] = clean(n[i], b[i])
				}
			}
			return out
		}
	}
	return now
}

// health is what Argo CD shows of an object.
type health struct{ Status, Message string }

func healthBy(ctx context.Context, script string, object map[string]any) health {
	GinkgoHelper()
	answer, err := runLua(ctx, script, object)
	Expect(err).NotTo(HaveOccurred())
	text, err := json.Marshal(answer)
	Expect(err).NotTo(HaveOccurred())
	var h health
	Expect(json.Unmarshal(text, &h)).To(Succeed())
	Expect(h.Status).To(BeElementOf("Healthy", "Progressing", "Degraded", "Suspended"))
	return h
}

// offeredBy are the actions that discovery answers, each with whether it is offered.
func offeredBy(ctx context.Context, script string, object map[string]any) map[string]bool {
	GinkgoHelper()
	answer, err := runLua(ctx, script, object)
	Expect(err).NotTo(HaveOccurred())
	offered := map[string]bool{}
	for name, action := range answer.(map[string]any) {
		offered[name] = action.(map[string]any)["disabled"] != true
	}
	return offered
}

// actBy is the object as an action makes it.
func actBy(ctx context.Context, script string, object map[string]any) map[string]any {
	GinkgoHelper()
	answer, err := runLua(ctx, script, object)
	Expect(err).NotTo(HaveOccurred())
	return clean(answer, object).(map[string]any)
}

func readFile(path string) string {
	GinkgoHelper()
	text, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	return string(text)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
