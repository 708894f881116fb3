package main

import (
	"fmt"
	"strings"
)

const description = `Turnstone is a message broker that speaks MQTT (3.1, 3.1.1, 5.0) and AMQP over one message model. This operator runs it:
a MessageBroker is a running, secured broker, and VirtualHosts, Exchanges, Queues, Bindings, Users, Permissions and policies give it its
topology. Nobody logs in to configure anything.

Objects can be applied in any order; what somebody changes in a broker is seen and corrected; deletion keeps data unless told otherwise.
No webhook and no certificate manager are needed.`

// serviceVersion is the ClusterServiceVersion.
func serviceVersion(root string, i images, owned []any) (map[string]any, error) {
	about, err := readChart(root)
	if err != nil {
		return nil, err
	}
	run, err := read(root, deployment)
	if err != nil {
		return nil, err
	}
	spec := run[0]["spec"].(map[string]any)
	if err := adjust(spec, &i); err != nil {
		return nil, err
	}
	rules, err := rulesOf(root)
	if err != nil {
		return nil, err
	}
	almExamples, err := examples(root)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"apiVersion": "operators.coreos.com/v1alpha1", "kind": "ClusterServiceVersion",
		"metadata": map[string]any{
			"name": name + ".v" + about.version, "namespace": "placeholder",
			"annotations": map[string]any{
				"alm-examples": almExamples, "capabilities": "Seamless Upgrades", "categories": "Streaming & Messaging",
				"containerImage": i.operator, "description": about.description, "repository": "https://github.com/turnstone-mq/turnstone", "support": "Turnstone",
			},
		},
		"spec": map[string]any{
			"displayName": "Turnstone", "description": description, "version": about.version, "maturity": "alpha",
			"minKubeVersion": about.kubernetes, "keywords": about.keywords,
			"provider":    map[string]any{"name": "Turnstone", "url": "https://github.com/turnstone-mq/turnstone"},
			"maintainers": []any{map[string]any{"name": "Turnstone", "email": "maintainers@turnstone.dev"}},
			"links":       []any{map[string]any{"name": "Documentation", "url": "https://github.com/turnstone-mq/turnstone/tree/main/docs"}},
			"icon":        []any{map[string]any{"base64data": icon, "mediatype": "image/svg+xml"}},
			"installModes": []any{
				map[string]any{"type": "OwnNamespace", "supported": true}, map[string]any{"type": "SingleNamespace", "supported": true},
				map[string]any{"type": "MultiNamespace", "supported": true}, map[string]any{"type": "AllNamespaces", "supported": true},
			},
			"customresourcedefinitions": map[string]any{"owned": owned},
			"relatedImages": []any{
				map[string]any{"name": "operator", "image": i.operator}, map[string]any{"name": "broker", "image": i.broker},
			},
			"install": map[string]any{
				"strategy": "deployment",
				"spec": map[string]any{
					// Roles in the namespaces that are served, or ClusterRoles when that is all of them.
					"permissions": []any{map[string]any{"serviceAccountName": name, "rules": rules}},
					"deployments": []any{map[string]any{"name": name, "spec": spec, "label": spec["template"].(map[string]any)["metadata"].(map[string]any)["labels"]}},
				},
			},
		},
	}, nil
}

// adjust makes a deployment's spec serve the namespaces that an OperatorGroup names, with the images of the bundle.
func adjust(spec map[string]any, i *images) error {
	pod := spec["template"].(map[string]any)["spec"].(map[string]any)
	container := pod["containers"].([]any)[0].(map[string]any)
	if i.operator == "" {
		i.operator = container["image"].(string)
	}
	container["image"] = i.operator
	const namespaces, broker = "--namespaces=", "--broker-image="
	set := 0
	args := container["args"].([]any)
	for n, a := range args {
		switch arg := a.(string); {
		case strings.HasPrefix(arg, namespaces):
			args[n] = namespaces + "$(WATCH_NAMESPACES)"
			set++
		case strings.HasPrefix(arg, broker):
			if i.broker == "" {
				i.broker = strings.TrimPrefix(arg, broker)
			}
			args[n] = broker + i.broker
			set++
		}
	}
	if set != 2 {
		return fmt.Errorf("%s lacks %s or %s", deployment, namespaces, broker)
	}
	container["env"] = []any{map[string]any{
		"name":      "WATCH_NAMESPACES",
		"valueFrom": map[string]any{"fieldRef": map[string]any{"fieldPath": "metadata.annotations['olm.targetNamespaces']"}},
	}}
	return nil
}

// rulesOf are the rights of the operator and of its election.
func rulesOf(root string) ([]any, error) {
	var out []any
	for _, path := range []string{role, leader} {
		objects, err := read(root, path)
		if err != nil {
			return nil, err
		}
		rules, _ := objects[0]["rules"].([]any)
		if len(rules) == 0 {
			return nil, fmt.Errorf("%s has no rules", path)
		}
		out = append(out, rules...)
	}
	return out, nil
}

// about is what the chart says of the product.
type about struct {
	version, description, kubernetes string
	keywords                         []any
}

func readChart(root string) (about, error) {
	c, err := readAny(root, chart)
	if err != nil {
		return about{}, err
	}
	// The chart has a range of versions (">=1.32.0-0").
	kubernetes := strings.TrimSuffix(strings.TrimPrefix(c["kubeVersion"].(string), ">="), "-0")
	return about{c["appVersion"].(string), c["description"].(string), kubernetes, c["keywords"].([]any)}, nil
}
