package resource

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestProblems: each trouble of a pod is one sentence, and a pod that serves or has just begun has none.
func TestProblems(t *testing.T) {
	container := func(ready bool, s corev1.ContainerState) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: "broker", Ready: ready, State: s}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waits := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	condition := func(kind corev1.PodConditionType, status corev1.ConditionStatus, message string) corev1.PodCondition {
		return corev1.PodCondition{Type: kind, Status: status, Message: message}
	}
	ready, notReady := condition(corev1.PodReady, corev1.ConditionTrue, ""), condition(corev1.PodReady, corev1.ConditionFalse, "")
	const silent = "node worker does not answer; when it is gone for good, delete it, or taint it node.kubernetes.io/out-of-service=nodeshutdown:NoExecute, and the pod starts elsewhere"
	restarted := container(false, waits("CrashLoopBackOff", "back-off 10s"))
	restarted.RestartCount, restarted.LastTerminationState = 2, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}}
	deleted := metav1.NewTime(time.Unix(1, 0))
	for name, test := range map[string]struct {
		status  corev1.PodStatus
		deleted *metav1.Time
		gates   []corev1.PodReadinessGate
		want    []string
	}{
		"serves":        {status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container(true, running)}, Conditions: []corev1.PodCondition{ready}}},
		"begins":        {status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container(false, waits("ContainerCreating", ""))}, Conditions: []corev1.PodCondition{notReady}}},
		"not ready yet": {status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container(false, running)}, Conditions: []corev1.PodCondition{notReady}}},
		"no volume": {
			status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container(false, waits("ContainerCreating", "no disk"))}},
			want:   []string{"container broker waits: ContainerCreating: no disk"},
		},
		"no image": {
			status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container(false, waits("ImagePullBackOff", "no such image"))}},
			want:   []string{"container broker waits: ImagePullBackOff: no such image"},
		},
		"crashes": {
			status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{restarted}},
			want:   []string{"container broker waits: CrashLoopBackOff: back-off 10s", "container broker was restarted 2 times; last it ended with OOMKilled, exit code 137"},
		},
		"ended": {
			status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container(false, corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 3}})}},
			want:   []string{"container broker ended: Error, exit code 3"},
		},
		"not scheduled": {
			status: corev1.PodStatus{Conditions: []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionFalse, "0/3 nodes are available")}},
			want:   []string{"not scheduled: 0/3 nodes are available"},
		},
		"silent node": {
			status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container(true, running)}, Conditions: []corev1.PodCondition{notReady}},
			want:   []string{silent},
		},
		"silent node, deleted": {
			status:  corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container(true, running)}, Conditions: []corev1.PodCondition{notReady}},
			deleted: &deleted, want: []string{silent},
		},
		"a gate is closed": {
			status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container(true, running)}, Conditions: []corev1.PodCondition{notReady}},
			gates:  []corev1.PodReadinessGate{{ConditionType: "example.com/in-balance"}},
		},
		"deleted": {
			status:  corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container(false, running)}, Conditions: []corev1.PodCondition{notReady}},
			deleted: &deleted, want: []string{"it is being deleted"},
		},
	} {
		p := &corev1.Pod{Status: test.status}
		p.Spec.NodeName, p.Spec.ReadinessGates, p.DeletionTimestamp = "worker", test.gates, test.deleted
		if got := Problems(p); !slices.Equal(got, test.want) {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", name, strings.Join(got, "\n\t"), strings.Join(test.want, "\n\t"))
		}
	}
}
