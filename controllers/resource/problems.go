package resource

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Pod names the pod of a broker.
func Pod(broker string, ordinal int) string { return fmt.Sprintf("%s-%d", broker, ordinal) }

// Problems says what keeps a pod from serving, by its containers and conditions. That it has just begun is none.
func Problems(p *corev1.Pod) []string {
	var out []string
	containers := slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses)
	for _, c := range containers {
		switch {
		case c.State.Waiting != nil && !begins(c.State.Waiting):
			out = append(out, strings.TrimSuffix(fmt.Sprintf("container %s waits: %s: %s", c.Name, c.State.Waiting.Reason, c.State.Waiting.Message), ": "))
		case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			out = append(out, fmt.Sprintf("container %s ended: %s, exit code %d", c.Name, c.State.Terminated.Reason, c.State.Terminated.ExitCode))
		}
		if last := c.LastTerminationState.Terminated; last != nil && last.ExitCode != 0 && c.RestartCount > 0 {
			out = append(out, fmt.Sprintf("container %s was restarted %d times; last it ended with %s, exit code %d", c.Name, c.RestartCount, last.Reason, last.ExitCode))
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			out = append(out, fmt.Sprintf("not scheduled: %s", c.Message))
		}
	}
	if nodeIsSilent(p) {
		return append(out, fmt.Sprintf("node %s does not answer; when it is gone for good, delete it, or taint it node.kubernetes.io/out-of-service=nodeshutdown:NoExecute, and the pod starts elsewhere", p.Spec.NodeName))
	}
	if !p.DeletionTimestamp.IsZero() {
		out = append(out, "it is being deleted")
	}
	return out
}

// begins says that a container waits because the kubelet is at work, and has nothing to complain of yet.
func begins(w *corev1.ContainerStateWaiting) bool {
	return w.Message == "" && (w.Reason == "ContainerCreating" || w.Reason == "PodInitializing")
}

// nodeIsSilent says that the pod is not ready although its kubelet said last that all containers are: then it was the control
// plane that took the word back, because the kubelet says nothing any more.
func nodeIsSilent(p *corev1.Pod) bool {
	if len(p.Spec.ReadinessGates) > 0 || len(p.Status.ContainerStatuses) == 0 {
		return false
	}
	for _, c := range p.Status.ContainerStatuses {
		if !c.Ready {
			return false
		}
	}
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse
	})
}
