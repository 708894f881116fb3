package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// kubeSystem is where the cluster's DNS runs, operatorSpace where the chart was installed.
const (
	kubeSystem    = namespace("kube-system")
	operatorSpace = namespace("turnstone-system")
)

// spareNode is one on which neither the cluster's DNS nor the operator runs: when it is lost, they are not.
func spareNode(ctx context.Context) (string, error) {
	var taken []string
	for _, n := range []namespace{kubeSystem, operatorSpace} {
		out, err := n.kubectl(ctx, "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")
		if err != nil {
			return "", err
		}
		taken = append(taken, strings.Fields(out)...)
	}
	out, err := kubeSystem.kubectl(ctx, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")
	if err != nil {
		return "", err
	}
	for _, node := range strings.Fields(out) {
		if !slices.Contains(taken, node) {
			return node, nil
		}
	}
	return "", fmt.Errorf("nodes %s: DNS and operator are on %s, and none is spare", out, taken)
}

// losePower ends a node: at once it says nothing any more, and what ran on it has ended. returnPower brings it back.
func losePower(ctx context.Context, node string) error {
	if err := localcluster(ctx, "cut-node", node); err != nil {
		return err
	}
	return localcluster(ctx, "stop-node", node)
}

func returnPower(ctx context.Context, node string) error {
	if err := localcluster(ctx, "heal-node", node); err != nil {
		return err
	}
	return localcluster(ctx, "start-node", node)
}

func localcluster(ctx context.Context, command, node string) error {
	_, err := run(ctx, "", "localcluster", command, strings.TrimPrefix(node, "node-"))
	return err
}
