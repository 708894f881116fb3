package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// namespace is one of the cluster's.
type namespace string

// resource is a Turnstone object as kubectl prints it: what every kind has in common.
type resource struct {
	Kind     string            `json:"kind"`
	Metadata metav1.ObjectMeta `json:"metadata"`
	Status   struct {
		Conditions []metav1.Condition `json:"conditions"`
	} `json:"status"`
}

func (r resource) String() string { return r.Kind + "/" + r.Metadata.Name }

// unready says what keeps the object from being Ready in its current generation; nothing if it is.
func (r resource) unready() string {
	for _, c := range r.Status.Conditions {
		if c.Type != "Ready" {
			continue
		}
		if c.ObservedGeneration != r.Metadata.Generation {
			return fmt.Sprintf("%s: condition is of generation %d, the object of %d", r, c.ObservedGeneration, r.Metadata.Generation)
		}
		if c.Status != metav1.ConditionTrue {
			return fmt.Sprintf("%s: Ready=%s %s: %s", r, c.Status, c.Reason, c.Message)
		}
		return ""
	}
	return r.String() + ": has no condition Ready"
}

// run runs a program to its end and returns its standard output; the error holds what it said on standard error.
func run(ctx context.Context, stdin string, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

func (n namespace) kubectl(ctx context.Context, args ...string) (string, error) {
	return n.apply(ctx, "", args...)
}

// apply is kubectl with manifests on its standard input.
func (n namespace) apply(ctx context.Context, manifests string, args ...string) (string, error) {
	return run(ctx, manifests, "kubectl", append([]string{"--namespace", string(n)}, args...)...)
}

// field reads one of an object, by its path in the form {.a.b}; it is empty when there is no such object or field.
func (n namespace) field(ctx context.Context, object, path string) (string, error) {
	return n.kubectl(ctx, "get", object, "--ignore-not-found", "-o", "jsonpath="+path)
}

// resources lists every Turnstone object of the namespace, found by category as a user would.
func (n namespace) resources(ctx context.Context) ([]resource, error) {
	out, err := n.kubectl(ctx, "get", "turnstone", "--ignore-not-found", "-o", "json")
	if err != nil || out == "" {
		return nil, err
	}
	var list struct{ Items []resource }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("kubectl get turnstone: %w", err)
	}
	return list.Items, nil
}

// waitingFor lists what is not Ready, one line each.
func (n namespace) waitingFor(ctx context.Context) ([]string, error) {
	all, err := n.resources(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return []string{"there are no objects"}, nil
	}
	var waiting []string
	for _, r := range all {
		if why := r.unready(); why != "" {
			waiting = append(waiting, why)
		}
	}
	return waiting, nil
}

// secret reads one, decoded.
func (n namespace) secret(ctx context.Context, name string) (map[string]string, error) {
	out, err := n.kubectl(ctx, "get", "secret", name, "-o", "json")
	if err != nil {
		return nil, err
	}
	var s struct{ Data map[string]string }
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	for k, v := range s.Data {
		b, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			return nil, fmt.Errorf("secret %s: key %s: %w", name, k, err)
		}
		s.Data[k] = string(b)
	}
	return s.Data, nil
}
