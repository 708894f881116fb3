// Command dashboards writes the Grafana dashboards of the chart. What they show is in pages.go; this is how Grafana
// wants it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

const folder = "charts/turnstone-operator/dashboards"

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func write(root string) error {
	dir := filepath.Join(root, folder)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, d := range dashboards {
		text, err := d.render()
		if err != nil {
			return fmt.Errorf("%s: %w", d.file, err)
		}
		if err := os.WriteFile(filepath.Join(dir, d.file+".json"), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// dashboard is a page of panels, three beside one another.
type dashboard struct {
	file, title string
	brokers     bool // it can be narrowed to namespaces and brokers
	panels      []panel
}

// panel shows queries over time; a big one is as wide as the page.
type panel struct {
	title, unit, help string
	big               bool
	number            bool // the present value alone
	queries           []query
}

// query is PromQL and how a series of it is called.
type query struct{ expr, legend string }

type object = map[string]any

const (
	columns = 24
	narrow  = 8
	height  = 8
	low     = 4
)

func (d dashboard) render() ([]byte, error) {
	out := object{
		"uid": "turnstone-" + d.file, "title": "Turnstone / " + d.title, "tags": []string{"turnstone"},
		"schemaVersion": 39, "version": 1, "editable": true, "timezone": "browser", "refresh": "30s",
		"time":                 object{"from": "now-3h", "to": "now"},
		"templating":           object{"list": d.variables()},
		"panels":               d.layout(),
		"links":                []object{{"type": "dashboards", "title": "Turnstone", "tags": []string{"turnstone"}, "asDropdown": true, "keepTime": true, "includeVars": true}},
		"annotations":          object{"list": []object{}},
		"fiscalYearStartMonth": 0,
	}
	text, err := json.MarshalIndent(out, "", " ")
	return append(text, '\n'), err
}

func (d dashboard) variables() []object {
	list := []object{{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": object{}}}
	if !d.brokers {
		return list
	}
	choice := func(name, label, values string) object {
		return object{
			"name": name, "label": label, "type": "query", "datasource": source, "refresh": 2, "sort": 1,
			"includeAll": true, "multi": true, "allValue": ".*", "current": object{"text": "All", "value": "$__all"},
			"query": object{"query": values, "refId": name}, "definition": values,
		}
	}
	return append(list,
		choice("namespace", "Namespace", `label_values(turnstone_build_info, namespace)`),
		choice("broker", "Broker", `label_values(turnstone_build_info{namespace=~"$namespace"}, broker)`))
}

var source = object{"type": "prometheus", "uid": "$datasource"}

// layout places panels from left to right, and begins a new row where one does not fit.
func (d dashboard) layout() []object {
	var out []object
	x, y, tallest := 0, 0, 0
	for i, p := range d.panels {
		w, h := narrow, height
		if p.big {
			w = columns
		}
		if p.number {
			w, h = columns/6, low
		}
		if x+w > columns {
			x, y, tallest = 0, y+tallest, 0
		}
		out = append(out, p.render(i+1, object{"x": x, "y": y, "w": w, "h": h}))
		x, tallest = x+w, max(tallest, h)
	}
	return out
}

func (p panel) render(id int, place object) object {
	var targets []object
	for i, q := range p.queries {
		targets = append(targets, object{"datasource": source, "expr": q.expr, "legendFormat": q.legend, "refId": string(rune('A' + i))})
	}
	out := object{
		"id": id, "title": p.title, "description": p.help, "datasource": source, "gridPos": place, "targets": targets,
		"fieldConfig": object{"defaults": object{"unit": p.unit, "min": 0}, "overrides": []object{}},
	}
	if p.number {
		out["type"] = "stat"
		out["options"] = object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "colorMode": "value", "graphMode": "area"}
		return out
	}
	out["type"] = "timeseries"
	out["options"] = object{
		"legend":  object{"displayMode": "table", "placement": "bottom", "calcs": []string{"lastNotNull", "max"}, "showLegend": true},
		"tooltip": object{"mode": "multi", "sort": "desc"},
	}
	return out
}
