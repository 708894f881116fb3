package main

import (
	"maps"
	"slices"

	"sigs.k8s.io/yaml"
)

// state is an object as the operator leaves it, and the health that it has.
type state struct {
	name            string
	conditions      []any
	changed         bool // since the operator looked
	annotation      string
	asleep          bool
	health, message string
}

// states that the tests in Argo CD's layout show. Those of the operator itself are in controllers/argocd_test.go.
func (k kind) states() []state {
	ready := func(status, reason, message string) any { return condition("Ready", status, reason, message) }
	all := []state{
		{name: "new", health: "Progressing", message: "The operator has not looked at it yet"},
		{name: "ready", conditions: []any{ready("True", "Synced", "")}, health: "Healthy", message: "Synced"},
		{name: "changed", conditions: []any{ready("True", "Synced", "")}, changed: true, health: "Progressing", message: "The operator has not looked at the last change yet"},
		{name: "waiting", conditions: []any{ready("False", "BrokerUnavailable", "no answer"), condition("Reconciling", "True", "BrokerUnavailable", "no answer")}, health: "Progressing", message: "BrokerUnavailable: no answer"},
		{name: "stalled", conditions: []any{ready("False", "ResourceConflict", "another has it"), condition("Stalled", "True", "ResourceConflict", "another has it")}, health: "Degraded", message: "ResourceConflict: another has it"},
	}
	if k.name == "MessageBroker" {
		return append(all,
			state{
				name: "paused", annotation: "messaging.turnstone.dev/paused",
				conditions: []any{ready("True", "Available", ""), condition("Paused", "True", "ByAnnotation", "")},
				health:     "Suspended", message: "Paused: the operator writes nothing until the annotation messaging.turnstone.dev/paused is gone",
			},
			state{name: "hibernated", asleep: true, conditions: []any{ready("False", "Hibernated", "no pod runs")}, health: "Suspended", message: "Hibernated: no pod runs"})
	}
	return append(all, state{
		name: "planned", annotation: "messaging.turnstone.dev/plan", conditions: []any{ready("True", "Synced", "")},
		health: "Suspended", message: "Plan only: status.plan says what would be done. Synced",
	})
}

func condition(kind, status, reason, message string) any {
	return map[string]any{
		"type": kind, "status": status, "reason": reason, "message": message,
		"observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
	}
}

// object is the sample in a state.
func (k kind) object(s state) map[string]any {
	o := maps.Clone(k.sample)
	metadata := map[string]any{"name": "example", "namespace": "default", "generation": 1}
	if s.changed {
		metadata["generation"] = 2
	}
	if s.annotation != "" {
		metadata["annotations"] = map[string]any{s.annotation: "true"}
	}
	o["metadata"] = metadata
	if s.conditions != nil {
		o["status"] = map[string]any{"observedGeneration": 1, "conditions": s.conditions}
	}
	if k.name == "MessageBroker" {
		spec := maps.Clone(o["spec"].(map[string]any))
		spec["replicas"] = 1
		if s.asleep {
			spec["replicas"] = 0
		}
		o["spec"] = spec
	}
	return o
}

// tests are the files that Argo CD's own test runner reads.
func (k kind) tests() map[string]string {
	out := map[string]string{}
	var health []any
	for _, s := range k.states() {
		out["testdata/"+s.name+".yaml"] = text(k.object(s))
		health = append(health, map[string]any{
			"healthStatus": map[string]any{"status": s.health, "message": s.message}, "inputPath": "testdata/" + s.name + ".yaml",
		})
	}
	out["health_test.yaml"] = text(map[string]any{"tests": health})
	maps.Copy(out, k.actionTests())
	return out
}

// transition is an action, from a state to a state.
type transition struct{ action, from, to string }

func (k kind) transitions() []transition {
	if k.name == "MessageBroker" {
		return []transition{{"pause", "awake", "paused"}, {"resume", "paused", "awake"}, {"hibernate", "awake", "asleep"}, {"wake", "asleep", "awake"}}
	}
	return []transition{{"plan", "live", "planned"}, {"apply", "planned", "live"}}
}

func (k kind) actionTests() map[string]string {
	states := map[string]state{
		"live": {}, "planned": {annotation: "messaging.turnstone.dev/plan"},
		"awake": {}, "paused": {annotation: "messaging.turnstone.dev/paused"}, "asleep": {asleep: true},
	}
	out := map[string]string{}
	var discovered, done []any
	for _, t := range k.transitions() {
		for _, name := range []string{t.from, t.to} {
			out["actions/testdata/"+name+".yaml"] = text(k.object(states[name]))
		}
		done = append(done, map[string]any{
			"action": t.action, "inputPath": "testdata/" + t.from + ".yaml", "expectedOutputPath": "testdata/" + t.to + ".yaml",
		})
	}
	for _, name := range []string{"awake", "paused", "asleep", "live", "planned"} {
		if _, has := out["actions/testdata/"+name+".yaml"]; has {
			discovered = append(discovered, map[string]any{"inputPath": "testdata/" + name + ".yaml", "result": k.offered(states[name])})
		}
	}
	out["actions/action_test.yaml"] = text(map[string]any{"discoveryTests": discovered, "actionTests": done})
	return out
}

// offered are the actions in a state, and which of them make no sense in it.
func (k kind) offered(s state) []any {
	disabled := map[string]bool{"plan": s.annotation != "", "apply": s.annotation == ""}
	if k.name == "MessageBroker" {
		disabled = map[string]bool{"pause": s.annotation != "", "resume": s.annotation == "", "hibernate": s.asleep, "wake": !s.asleep}
	}
	var out []any
	for _, name := range slices.Sorted(maps.Keys(disabled)) {
		out = append(out, map[string]any{"name": name, "disabled": disabled[name]})
	}
	return out
}

func text(v any) string {
	b, err := yaml.Marshal(v)
	if err != nil {
		panic(err) // maps of plain values are always written
	}
	return string(b)
}
