package topology

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/condition"
)

// given says whether the broker was given the object as it is now: what differs then is drift.
func (e *entry) given(incarnation string) bool {
	st := e.object.Common()
	if a := st.Applied; a != nil {
		return a.Generation == e.object.GetGeneration() && a.Incarnation == incarnation
	}
	return settled(e.object) && !e.shared() // its status is of an operator that did not write it, or the broker was given another one
}

// differs decides about an entry of which the broker has something else than is wanted; it answers whether the broker is to
// be asked for it.
func (e *entry) differs(s *scope) bool {
	if !e.given(s.incarnation) {
		return true
	}
	switch e.object.Managed().DriftPolicy {
	case v1alpha1.DriftIgnore:
		e.decide(condition.OK(condition.Synced, ""))
		return false
	case v1alpha1.DriftReport:
		e.drift = difference(e.wanted, e.found, wishFirst)
		e.decide(condition.Stuck(condition.Drifted, "somebody changed it in the broker, and spec.driftPolicy leaves it so: "+e.drift))
		return false
	}
	e.drift = difference(e.wanted, e.found, brokerFirst)
	return true
}

// tellDrift writes the condition Drifted.
func (e *entry) tellDrift(st *v1alpha1.TopologyStatus, generation int64) {
	if e.state.Reason != condition.Drifted {
		meta.RemoveStatusCondition(&st.Conditions, condition.Drifted)
		return
	}
	meta.SetStatusCondition(&st.Conditions, metav1.Condition{
		Type: condition.Drifted, Status: metav1.ConditionTrue, ObservedGeneration: generation, Reason: condition.Changed, Message: e.drift,
	})
}

// eventOfDrift tells that drift was corrected.
func (r *Reconciler) eventOfDrift(e *entry) {
	if e.drift != "" && e.state.Ready {
		r.event(e, corev1.EventTypeNormal, "DriftCorrected", "somebody changed it in the broker, it is as it is written again: "+e.drift)
	}
}

// order says what a difference begins with.
type order bool

const (
	wishFirst   order = false // old is what is written, new what the broker has
	brokerFirst order = true  // old is what the broker had, new what is written
)

// difference says field by field what differs, as old -> new. A found of nil is nothing.
func difference(wanted object.Object, found *object.Object, o order) string {
	if found == nil {
		if o == brokerFirst {
			return "it was deleted there, or made again by somebody else"
		}
		return "it was deleted"
	}
	var parts []string
	tell := func(name, want, have string) {
		if o == brokerFirst {
			want, have = have, want
		}
		parts = append(parts, fmt.Sprintf("%s: %s -> %s", name, want, have))
	}
	if found.Owner != wanted.Owner {
		tell("owner", orNobody(wanted.Owner), orNobody(found.Owner))
	}
	if found.Owner == wanted.Owner && found.Ref != wanted.Ref {
		tell("ref", wanted.Ref, found.Ref)
	}
	want, have := fields(wanted), fields(*found)
	names := maps.Clone(want)
	maps.Copy(names, have)
	for _, n := range slices.Sorted(maps.Keys(names)) {
		if !reflect.DeepEqual(want[n], have[n]) {
			tell(n, shown(want, n), shown(have, n))
		}
	}
	if len(parts) == 0 {
		return "it was deleted there and made again"
	}
	return namesIn(parts)
}

func orNobody(owner string) string {
	if owner == "" {
		return "nobody"
	}
	return owner
}

// fields are the values of a spec by their path, such as arguments.x-max-length.
func fields(o object.Object) map[string]any {
	out := make(map[string]any)
	raw, err := o.Canonical()
	if err != nil {
		return out
	}
	var spec map[string]any
	if json.Unmarshal(raw, &spec) != nil {
		return out
	}
	flatten("", spec, out)
	return out
}

func flatten(path string, spec, out map[string]any) {
	for k, v := range spec {
		if inner, ok := v.(map[string]any); ok {
			flatten(path+k+".", inner, out)
		} else {
			out[path+k] = v
		}
	}
}

func shown(fields map[string]any, name string) string {
	v, ok := fields[name]
	if !ok {
		return "unset"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	const longest = 120
	if len(b) > longest {
		return string(b[:longest]) + "…"
	}
	return string(b)
}
