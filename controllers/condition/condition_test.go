package condition_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/turnstone-mq/turnstone/controllers/condition"
)

func TestSet(t *testing.T) {
	var conditions []metav1.Condition
	show := func() string {
		var parts []string
		for _, c := range conditions {
			parts = append(parts, c.Type+"="+string(c.Status)+"/"+c.Reason)
		}
		return strings.Join(parts, " ")
	}
	steps := []struct {
		state   condition.State
		changed bool
		want    string
	}{
		{condition.Waiting(condition.BrokerUnavailable, "x"), true, "Ready=False/BrokerUnavailable Reconciling=True/BrokerUnavailable"},
		{condition.Waiting(condition.BrokerUnavailable, "x"), false, "Ready=False/BrokerUnavailable Reconciling=True/BrokerUnavailable"},
		{condition.Stuck(condition.Invalid, "y"), true, "Ready=False/Invalid Stalled=True/Invalid"},
		{condition.OK(condition.Synced, ""), true, "Ready=True/Synced"},
	}
	for _, s := range steps {
		if changed := condition.Set(&conditions, 3, s.state); changed != s.changed || show() != s.want {
			t.Errorf("%+v: changed %v, %s; want %v, %s", s.state, changed, show(), s.changed, s.want)
		}
	}
	if conditions[0].ObservedGeneration != 3 || !condition.IsReady(conditions) {
		t.Errorf("%+v", conditions)
	}
}
