package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// patchTemplate applies spec.podTemplate to the template of a broker's pod. What comes out is checked, not what was
// written, so that there is no other way to write what is refused. An error names the path and says what to do.
func patchTemplate(base corev1.PodTemplateSpec, patch []byte) (corev1.PodTemplateSpec, error) {
	if err := checkPatch(patch); err != nil {
		return base, err
	}
	original, err := json.Marshal(base)
	if err != nil {
		return base, fmt.Errorf("encode pod template: %w", err)
	}
	merged, err := strategicpatch.StrategicMergePatch(original, patch, corev1.PodTemplateSpec{})
	if err != nil {
		return base, fmt.Errorf("podTemplate: cannot be merged: %w", err)
	}
	var out corev1.PodTemplateSpec
	if err := json.Unmarshal(merged, &out); err != nil {
		return base, fmt.Errorf("podTemplate: %w", err)
	}
	c := &templateCheck{base: base, out: &out}
	c.pod()
	c.volumes()
	c.containers()
	return out, errors.Join(c.errs...)
}

// checkPatch refuses directives and nulls, which take something away, and what is no part of a pod template.
func checkPatch(patch []byte) error {
	var raw any
	if err := json.Unmarshal(patch, &raw); err != nil {
		return fmt.Errorf("podTemplate: %w", err)
	}
	if err := checkAdds("podTemplate", raw); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(patch))
	d.DisallowUnknownFields()
	if err := d.Decode(&corev1.PodTemplateSpec{}); err != nil {
		return fmt.Errorf("podTemplate: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func checkAdds(at string, v any) error {
	switch v := v.(type) {
	case nil:
		return fmt.Errorf("%s: must not be null: a patch adds to the pod, and takes nothing away", at)
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if strings.HasPrefix(k, "$") {
				return fmt.Errorf("%s.%s: directives are not taken: a patch adds to the pod, and takes nothing away", at, k)
			}
			if err := checkAdds(at+"."+k, v[k]); err != nil {
				return err
			}
		}
	case []any:
		for i, e := range v {
			if err := checkAdds(fmt.Sprintf("%s[%d]", at, i), e); err != nil {
				return err
			}
		}
	}
	return nil
}

// templateCheck compares a patched template with the one that the operator made.
type templateCheck struct {
	base corev1.PodTemplateSpec
	out  *corev1.PodTemplateSpec
	errs []error
}

func (c *templateCheck) refuse(bad bool, at, why string) {
	if bad {
		c.errs = append(c.errs, fmt.Errorf("podTemplate.%s: %s", at, why))
	}
}

// same refuses a change of what the operator wrote.
func (c *templateCheck) same(was, is any, at, why string) {
	c.refuse(!equality.Semantic.DeepEqual(was, is), at, "must not be changed: "+why)
}

func (c *templateCheck) pod() {
	was, is := c.base.Spec, c.out.Spec
	const host = "must not be set: the pod stays out of its node's namespaces"
	c.refuse(is.HostNetwork, "spec.hostNetwork", host)
	c.refuse(is.HostPID, "spec.hostPID", host)
	c.refuse(is.HostIPC, "spec.hostIPC", host)
	c.refuse(is.NodeName != "", "spec.nodeName", "must not be set: the scheduler chooses the node; use nodeSelector or affinity")
	c.refuse(len(is.EphemeralContainers) > 0, "spec.ephemeralContainers", "must not be set: they are for running pods; use kubectl debug")
	const account = "the pod has a service account that may do nothing"
	c.same(was.ServiceAccountName, is.ServiceAccountName, "spec.serviceAccountName", account)
	c.same(was.DeprecatedServiceAccount, is.DeprecatedServiceAccount, "spec.serviceAccount", account)
	c.same(was.AutomountServiceAccountToken, is.AutomountServiceAccountToken, "spec.automountServiceAccountToken", account)
	c.same(was.SecurityContext, is.SecurityContext, "spec.securityContext", "the pod runs as a user without rights; a container of yours can have its own securityContext")
	c.same(was.RestartPolicy, is.RestartPolicy, "spec.restartPolicy", "a StatefulSet restarts its containers")
	c.same(was.ShareProcessNamespace, is.ShareProcessNamespace, "spec.shareProcessNamespace", "other containers would see the broker's memory and files")
	c.same(was.Hostname, is.Hostname, "spec.hostname", "the StatefulSet names its pods")
	c.same(was.Subdomain, is.Subdomain, "spec.subdomain", "the StatefulSet names its pods")
	c.refuse(is.TerminationGracePeriodSeconds == nil || *is.TerminationGracePeriodSeconds < *was.TerminationGracePeriodSeconds,
		"spec.terminationGracePeriodSeconds", fmt.Sprintf("must be %d at least, which the broker needs to stop: it follows configuration.drainSeconds", *was.TerminationGracePeriodSeconds))
	for k, v := range was.NodeSelector {
		c.same(v, is.NodeSelector[k], "spec.nodeSelector."+k, "write it in spec.nodeSelector")
	}
	for k, v := range c.base.Labels {
		c.same(v, c.out.Labels[k], "metadata.labels."+k, "the operator finds its pods by it")
	}
	for k, v := range c.base.Annotations {
		c.same(v, c.out.Annotations[k], "metadata.annotations."+k, "it is the operator's")
	}
}

func (c *templateCheck) volumes() {
	before := map[string]corev1.Volume{}
	for _, v := range c.base.Spec.Volumes {
		before[v.Name] = v
	}
	for _, v := range c.out.Spec.Volumes {
		at := fmt.Sprintf("spec.volumes[%s]", v.Name)
		if was, ok := before[v.Name]; ok {
			c.same(was, v, at, "the broker reads it; choose another name")
			continue
		}
		c.refuse(v.Name == claim, at, "must have another name: it is the broker's volume of data")
		c.refuse(v.HostPath != nil, at+".hostPath", "must not be set: the pod has nothing of its node's files; use another kind of volume")
	}
}

func (c *templateCheck) containers() {
	lists := []struct {
		field string
		list  []corev1.Container
	}{{"initContainers", c.out.Spec.InitContainers}, {"containers", c.out.Spec.Containers}}
	for _, l := range lists {
		for i := range l.list {
			container := &l.list[i]
			at := fmt.Sprintf("spec.%s[%s]", l.field, container.Name)
			switch {
			case l.field == "containers" && container.Name == c.base.Spec.Containers[0].Name:
				c.broker(at, c.base.Spec.Containers[0], *container)
			default:
				c.harden(container)
			}
			c.rights(at, *container)
		}
	}
}

// broker checks the container of the broker: it may have more environment, files and resources.
func (c *templateCheck) broker(at string, was, is corev1.Container) {
	c.same(was.Image, is.Image, at+".image", "write it in spec.image")
	c.same(was.ImagePullPolicy, is.ImagePullPolicy, at+".imagePullPolicy", "write it in spec.imagePullPolicy")
	const runs = "the operator says what the broker runs"
	c.same(was.Command, is.Command, at+".command", runs)
	c.same(was.Args, is.Args, at+".args", runs)
	c.same(was.WorkingDir, is.WorkingDir, at+".workingDir", runs)
	c.same(was.Ports, is.Ports, at+".ports", "they are the broker's listeners")
	c.same(was.Lifecycle, is.Lifecycle, at+".lifecycle", "the Services forget a pod before the broker stops")
	for _, p := range []struct {
		name    string
		was, is *corev1.Probe
	}{{"startupProbe", was.StartupProbe, is.StartupProbe}, {"livenessProbe", was.LivenessProbe, is.LivenessProbe}, {"readinessProbe", was.ReadinessProbe, is.ReadinessProbe}} {
		c.same(p.was, p.is, at+"."+p.name, "the broker says how it is")
	}
	c.same(was.SecurityContext, is.SecurityContext, at+".securityContext", "the broker runs without rights")
	c.refuse(len(is.VolumeDevices) > 0, at+".volumeDevices", "must not be set: the broker uses files")
	for _, m := range is.VolumeMounts {
		if slices.ContainsFunc(was.VolumeMounts, func(w corev1.VolumeMount) bool { return equality.Semantic.DeepEqual(w, m) }) {
			continue
		}
		c.refuse(slices.ContainsFunc(was.VolumeMounts, func(w corev1.VolumeMount) bool { return overlaps(w.MountPath, m.MountPath) }),
			fmt.Sprintf("%s.volumeMounts[%s]", at, m.MountPath), "must not be changed: the broker has its files there; mount yours elsewhere")
	}
	for _, w := range was.VolumeMounts {
		c.refuse(!slices.ContainsFunc(is.VolumeMounts, func(m corev1.VolumeMount) bool { return equality.Semantic.DeepEqual(w, m) }),
			fmt.Sprintf("%s.volumeMounts[%s]", at, w.MountPath), "must not be changed: the broker has its files there; mount yours elsewhere")
	}
}

// overlaps says whether one of two folders is the other, or lies in it.
func overlaps(a, b string) bool {
	a, b = path.Clean("/"+a)+"/", path.Clean("/"+b)+"/"
	return b == "//" || strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

// harden takes from a container what it did not ask for and what Kubernetes would give it.
func (c *templateCheck) harden(container *corev1.Container) {
	if container.SecurityContext == nil {
		container.SecurityContext = &corev1.SecurityContext{}
	}
	s := container.SecurityContext
	if s.AllowPrivilegeEscalation == nil {
		s.AllowPrivilegeEscalation = new(false)
	}
	if s.Capabilities == nil {
		s.Capabilities = &corev1.Capabilities{}
	}
	if len(s.Capabilities.Drop) == 0 {
		s.Capabilities.Drop = []corev1.Capability{"ALL"}
	}
}

// rights refuses what gives a container rights on its node.
func (c *templateCheck) rights(at string, container corev1.Container) {
	for _, p := range container.Ports {
		c.refuse(p.HostPort != 0, at+".ports.hostPort", "must not be set: the pod takes no port of its node; use spec.service")
	}
	s := container.SecurityContext
	if s == nil {
		return
	}
	at += ".securityContext."
	set := func(b *bool) bool { return b != nil && *b }
	c.refuse(set(s.Privileged), at+"privileged", "must not be true: the pod has no rights on its node")
	c.refuse(set(s.AllowPrivilegeEscalation), at+"allowPrivilegeEscalation", "must not be true: the pod has no rights on its node")
	c.refuse(s.Capabilities != nil && len(s.Capabilities.Add) > 0, at+"capabilities.add", "must not be set: the pod has no rights on its node")
	c.refuse(s.ProcMount != nil && *s.ProcMount != corev1.DefaultProcMount, at+"procMount", "must not be set: the pod has no rights on its node")
	c.refuse(s.RunAsUser != nil && *s.RunAsUser == 0, at+"runAsUser", "must not be 0: nothing in the pod runs as root")
	c.refuse(s.RunAsNonRoot != nil && !*s.RunAsNonRoot, at+"runAsNonRoot", "must not be false: nothing in the pod runs as root")
	c.refuse(s.SeccompProfile != nil && s.SeccompProfile.Type == corev1.SeccompProfileTypeUnconfined, at+"seccompProfile", "must not be Unconfined: the pod has no rights on its node")
	c.refuse(s.AppArmorProfile != nil && s.AppArmorProfile.Type == corev1.AppArmorProfileTypeUnconfined, at+"appArmorProfile", "must not be Unconfined: the pod has no rights on its node")
	c.refuse(s.WindowsOptions != nil, at+"windowsOptions", "must not be set: the broker runs on Linux")
}
