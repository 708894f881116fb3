package broker

import (
	"context"

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
	return wait{}, s.apply(ctx, m)
}
