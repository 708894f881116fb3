package catalog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// appliesTo are what a policy can apply to; exchanges have nothing that an operator could limit.
func appliesTo(operator bool) []object.ApplyTo {
	all := []object.ApplyTo{object.ApplyToAll, object.ApplyToQueues, object.ApplyToClassicQueues, object.ApplyToQuorumQueues}
	if operator {
		return all[1:]
	}
	return append(all, object.ApplyToExchanges)
}

// checkPolicy looks at a policy, or at an operator policy, which may only limit.
func checkPolicy(s *object.PolicySpec, operator bool) error {
	if err := checkExpression("pattern", s.Pattern); err != nil {
		return err
	}
	if s.ApplyTo == "" {
		s.ApplyTo = appliesTo(operator)[0]
	}
	if !slices.Contains(appliesTo(operator), s.ApplyTo) {
		return fmt.Errorf("applyTo %q does not exist; there are %v", s.ApplyTo, appliesTo(operator))
	}
	if len(s.Definition) == 0 {
		return errors.New("definition is empty: the policy would say nothing")
	}
	keys := object.PolicyKeys(operator)
	for _, key := range slices.Sorted(maps.Keys(s.Definition)) {
		if !slices.Contains(keys, key) {
			return fmt.Errorf("definition: %q is not supported; there are %s", key, strings.Join(keys, ", "))
		}
		if err := checkPolicyKey(s, key); err != nil {
			return fmt.Errorf("definition: %w", err)
		}
	}
	_, exchange := s.Definition["dead-letter-exchange"]
	if _, key := s.Definition["dead-letter-routing-key"]; key && !exchange {
		return errors.New("definition: \"dead-letter-routing-key\" needs \"dead-letter-exchange\"")
	}
	return nil
}

func checkPolicyKey(s *object.PolicySpec, key string) error {
	name, _ := object.PolicyArgument(key)
	if name == "" {
		if s.ApplyTo != object.ApplyToAll && s.ApplyTo != object.ApplyToExchanges {
			return fmt.Errorf("%q is for exchanges, and the policy applies to %s", key, s.ApplyTo)
		}
		return text(s.Definition, key)
	}
	if s.ApplyTo == object.ApplyToExchanges {
		return fmt.Errorf("%q is for queues, and the policy applies to %s", key, s.ApplyTo)
	}
	return queueArguments[name](s.Definition, key)
}
