package resource

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// What spec.podTemplate may not do, by what it says.
func TestPodTemplateIsRefused(t *testing.T) {
	for patch, want := range map[string]string{
		`{spec: {hostNetwork: true}}`:                                                 "podTemplate.spec.hostNetwork: must not be set: the pod stays out of its node's namespaces",
		`{spec: {hostPID: true, hostIPC: true}}`:                                      "podTemplate.spec.hostPID: must not be set: the pod stays out of its node's namespaces\npodTemplate.spec.hostIPC:",
		`{spec: {nodeName: a}}`:                                                       "podTemplate.spec.nodeName: must not be set: the scheduler chooses the node",
		`{spec: {serviceAccountName: admin}}`:                                         "podTemplate.spec.serviceAccountName: must not be changed: the pod has a service account that may do nothing",
		`{spec: {serviceAccount: admin}}`:                                             "podTemplate.spec.serviceAccount: must not be changed",
		`{spec: {automountServiceAccountToken: true}}`:                                "podTemplate.spec.automountServiceAccountToken: must not be changed",
		`{spec: {securityContext: {runAsUser: 0}}}`:                                   "podTemplate.spec.securityContext: must not be changed",
		`{spec: {shareProcessNamespace: true}}`:                                       "podTemplate.spec.shareProcessNamespace: must not be changed",
		`{spec: {hostname: a, subdomain: b}}`:                                         "podTemplate.spec.hostname: must not be changed",
		`{spec: {terminationGracePeriodSeconds: 1}}`:                                  "podTemplate.spec.terminationGracePeriodSeconds: must be 26 at least",
		`{spec: {volumes: [{name: a, hostPath: {path: /}}]}}`:                         "podTemplate.spec.volumes[a].hostPath: must not be set",
		`{spec: {volumes: [{name: data, emptyDir: {}}]}}`:                             "podTemplate.spec.volumes[data]: must have another name",
		`{spec: {volumes: [{name: admin, emptyDir: {}}]}}`:                            "podTemplate.spec.volumes[admin]: must not be changed: the broker reads it; choose another name",
		`{metadata: {labels: {app.kubernetes.io/instance: other}}}`:                   "podTemplate.metadata.labels.app.kubernetes.io/instance: must not be changed",
		`{metadata: {annotations: {messaging.turnstone.dev/config: other}}}`:          "podTemplate.metadata.annotations.messaging.turnstone.dev/config: must not be changed",
		`{spec: {containers: [{name: broker, image: other}]}}`:                        "podTemplate.spec.containers[broker].image: must not be changed: write it in spec.image",
		`{spec: {containers: [{name: broker, command: [sh]}]}}`:                       "podTemplate.spec.containers[broker].command: must not be changed",
		`{spec: {containers: [{name: broker, args: [serve]}]}}`:                       "podTemplate.spec.containers[broker].args: must not be changed",
		`{spec: {containers: [{name: broker, ports: [{containerPort: 1}]}]}}`:         "podTemplate.spec.containers[broker].ports: must not be changed",
		`{spec: {containers: [{name: broker, livenessProbe: {periodSeconds: 99}}]}}`:  "podTemplate.spec.containers[broker].livenessProbe: must not be changed",
		`{spec: {containers: [{name: broker, securityContext: {privileged: true}}]}}`: "podTemplate.spec.containers[broker].securityContext: must not be changed",
		`{spec: {containers: [{name: broker, volumeMounts: [{name: a, mountPath: /etc/turnstone}]}], volumes: [{name: a, emptyDir: {}}]}}`: "podTemplate.spec.containers[broker].volumeMounts[/etc/turnstone]: must not be changed",
		`{spec: {containers: [{name: broker, volumeMounts: [{name: a, mountPath: /var/lib/turnstone/data}]}]}}`:                            "podTemplate.spec.containers[broker].volumeMounts[/var/lib/turnstone/data]: must not be changed",
		`{spec: {containers: [{name: broker, volumeMounts: [{name: config, mountPath: /etc/turnstone/tls}]}]}}`:                            "podTemplate.spec.containers[broker].volumeMounts[/etc/turnstone/tls]: must not be changed",
		`{spec: {containers: [{name: a, securityContext: {privileged: true}}]}}`:                                                           "podTemplate.spec.containers[a].securityContext.privileged: must not be true",
		`{spec: {initContainers: [{name: a, securityContext: {allowPrivilegeEscalation: true}}]}}`:                                         "podTemplate.spec.initContainers[a].securityContext.allowPrivilegeEscalation: must not be true",
		`{spec: {containers: [{name: a, securityContext: {capabilities: {add: [NET_ADMIN]}}}]}}`:                                           "podTemplate.spec.containers[a].securityContext.capabilities.add: must not be set",
		`{spec: {containers: [{name: a, securityContext: {runAsUser: 0, runAsNonRoot: false}}]}}`:                                          "podTemplate.spec.containers[a].securityContext.runAsUser: must not be 0",
		`{spec: {containers: [{name: a, securityContext: {seccompProfile: {type: Unconfined}}}]}}`:                                         "podTemplate.spec.containers[a].securityContext.seccompProfile: must not be Unconfined",
		`{spec: {containers: [{name: a, ports: [{containerPort: 1, hostPort: 1}]}]}}`:                                                      "podTemplate.spec.containers[a].ports.hostPort: must not be set",
		`{spec: {containers: [{name: broker, $patch: delete}]}}`:                                                                           "podTemplate.spec.containers[0].$patch: directives are not taken",
		`{spec: {securityContext: null}}`:    "podTemplate.spec.securityContext: must not be null",
		`{spec: {tolerantions: []}}`:         `podTemplate: unknown field "tolerantions"`,
		`{spec: {containers: [{image: a}]}}`: "podTemplate: cannot be merged",
	} {
		raw, err := yaml.YAMLToJSON([]byte(patch))
		if err != nil {
			t.Fatalf("%s: %v", patch, err)
		}
		b := broker()
		b.Spec.PodTemplate = &apiextensionsv1.JSON{Raw: raw}
		c, err := Config(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := StatefulSet(b, "image", c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", patch, err, want)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"/a", "/a", true}, {"/a/b", "/a", true}, {"/a", "/a/b/", true}, {"/a", "/ab", false}, {"/a", "/", true}, {"/a", "/b/../a", true}, {"/a", "/b", false}} {
		if overlaps(c.a, c.b) != c.want {
			t.Errorf("%s and %s: %v", c.a, c.b, !c.want)
		}
	}
}
