package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	adminapi "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// configuration renders what the broker reads. One that it would refuse never reaches it.
func configuration(ctx context.Context, s *scope) (wait, error) {
	c, err := resource.Config(s.broker)
	if err != nil {
		return wait{}, &refusal{condition.InvalidConfiguration, err.Error()}
	}
	s.config = c
	m, err := resource.ConfigMap(s.broker, c)
	if err != nil {
		return wait{}, err
	}
	s.text, s.content = m.Data[resource.ConfigFile], contentHash(m.Data)
	before, found, err := s.observe(ctx, m)
	if err != nil {
		return wait{}, err
	}
	if found {
		s.restarting = restartKeys(before.(*corev1.ConfigMap), c)
	}
	return wait{}, s.apply(ctx, m)
}

// restartKeys are those of a configuration that differ from the one of before and need a restart.
func restartKeys(before *corev1.ConfigMap, wanted config.Config) []string {
	was := config.Default()
	if yaml.Unmarshal([]byte(before.Data[resource.ConfigFile]), &was) != nil {
		return nil // somebody wrote into it
	}
	_, keys := config.Changed(was, wanted)
	return keys
}

// contentHash identifies the configuration file as the broker does.
func contentHash(data map[string]string) string {
	sum := sha256.Sum256([]byte(data[resource.ConfigFile]))
	return hex.EncodeToString(sum[:])
}

// confirm asks the broker how much of the configuration is in force, and tells what is not.
func (s *scope) confirm(ctx context.Context, c *adminapi.Client) error {
	state, err := c.Config(ctx)
	if err != nil {
		return err
	}
	if state, err = s.hand(ctx, c, state); err != nil {
		return err
	}
	if state.Content == "" && state.Problem == "" && len(state.Pending) == 0 && holdsConfig(state, s.config) {
		state.Content = s.content // it was started with it, or is a broker of before that does not tell
	}
	s.inForce = &v1alpha1.ConfigurationStatus{Wanted: short(s.content), InForce: short(state.Content), Pending: state.Pending}
	switch {
	case state.Content == s.content:
		s.inForce.Pending = nil
		s.clear(condition.ConfigurationPending)
		return nil
	case state.Problem != "":
		s.note(condition.ConfigurationPending, metav1.ConditionTrue, condition.Unreadable, "the broker keeps the former configuration: "+state.Problem)
	case len(state.Pending) > 0:
		s.note(condition.ConfigurationPending, metav1.ConditionTrue, condition.Restart, atStart(state.Pending)+" when the pod restarts")
	default:
		s.note(condition.ConfigurationPending, metav1.ConditionTrue, condition.NotReadYet, "the broker has not read the configuration yet: the kubelet brings it to the pod within a minute or two")
	}
	s.again(expandingEvery)
	return nil
}

// hand brings the configuration to a broker that has another one, which takes live keys from it at once: its file comes with the
// kubelet, in a minute or two, and is what counts at its next start.
func (s *scope) hand(ctx context.Context, c *adminapi.Client, state adminapi.ConfigState) (adminapi.ConfigState, error) {
	if state.Content == s.content || len(state.Pending) > 0 {
		return state, nil
	}
	taken, err := c.TakeConfig(ctx, s.text)
	var refused *adminapi.Error
	switch {
	case err == nil:
		return taken, nil
	case !errors.As(err, &refused):
		return state, err
	}
	switch refused.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed: // a broker of before: it waits for its file
	case http.StatusConflict: // keys that need a restart: the pod that is there is about to go
	case http.StatusBadRequest:
		state.Problem = refused.Message
	default:
		return state, err
	}
	return state, nil
}

// holdsConfig says whether the configuration in force is the wanted one, key by key.
func holdsConfig(state adminapi.ConfigState, wanted config.Config) bool {
	var inForce config.Config
	if json.Unmarshal(state.Config, &inForce) != nil {
		return false
	}
	live, _ := config.Changed(inForce, wanted)
	return len(live) == 0 && state.Hash == wanted.Hash()
}

// announce says before the pod restarts for its configuration that it does.
func (s *scope) announce(ctx context.Context, running, wanted *appsv1.StatefulSet) error {
	was, is := running.Spec.Template.Annotations[resource.AnnotationConfig], wanted.Spec.Template.Annotations[resource.AnnotationConfig]
	if was == is || s.hibernates() || running.Spec.Replicas != nil && *running.Spec.Replicas == 0 {
		return nil
	}
	s.note(condition.ConfigurationPending, metav1.ConditionTrue, condition.Restart, "the pod restarts: "+atStart(s.restarting)+" at a start only")
	before := s.broker.DeepCopy()
	if !meta.SetStatusCondition(&s.broker.Status.Conditions, *s.notes[condition.ConfigurationPending]) {
		return nil
	}
	if err := s.Client.Status().Patch(ctx, s.broker, client.MergeFrom(before), Owner); err != nil {
		return fmt.Errorf("announce the restart: %w", err)
	}
	s.Events.Eventf(s.broker, nil, corev1.EventTypeNormal, condition.Restart, "Reconcile", "the pod restarts for its configuration")
	return nil
}

// atStart says of keys that they take effect.
func atStart(keys []string) string {
	switch len(keys) {
	case 0:
		return "keys of its configuration take effect"
	case 1:
		return keys[0] + " takes effect"
	}
	return strings.Join(keys, ", ") + " take effect"
}

// short is as much of a hash as people compare.
func short(hash string) string { return hash[:min(len(hash), 12)] }
