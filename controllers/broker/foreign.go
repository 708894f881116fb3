package broker

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Objects of kinds that the cluster may not have, or that few brokers need, are unstructured: they are read when they are
// needed and never cached.

// noSuchKind says whether a call failed because the cluster does not have the kind.
func noSuchKind(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err) && apierrors.ReasonForError(err) == metav1.StatusReasonNotFound && isAboutKind(err)
}

// isAboutKind tells the answer for a kind that is gone, which the mapper still knows, from that for an object.
func isAboutKind(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && (status.Status().Details == nil || status.Status().Details.Name == "")
}

// readyMessage is what an object's condition Ready says, to be put behind what we say of it; empty if it says nothing.
func readyMessage(o client.Object) string {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return ""
	}
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		if text, _ := c["message"].(string); c["type"] == "Ready" && c["status"] != "True" && text != "" {
			return fmt.Sprintf(" (%s)", trimmed(text))
		}
	}
	return ""
}

// remove deletes an object of ours, if it is there.
func (s *scope) remove(ctx context.Context, o *unstructured.Unstructured) error {
	observed, found, err := s.observe(ctx, o)
	var no *refusal
	if noSuchKind(err) || errors.As(err, &no) || err == nil && !found {
		return nil
	}
	if err != nil {
		return err
	}
	uid := observed.GetUID()
	if err := s.Client.Delete(ctx, observed, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %s: %w", describe(o), err)
	}
	return nil
}
