package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	adminapi "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/controllers/condition"
	"github.com/turnstone-mq/turnstone/controllers/resource"
)

// adminAPI asks the broker itself whether it serves, and whether it takes our word.
func adminAPI(ctx context.Context, s *scope) (wait, error) {
	if s.hibernates() {
		s.clear(condition.ConfigurationPending)
		return wait{}, nil
	}
	c, err := s.Connections.To(ctx, s.broker)
	if err != nil {
		return wait{}, err
	}
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	health, err := c.Ready(ctx)
	if err == nil {
		s.health = &health
		err = s.confirm(ctx, c) // it needs our password, too
	}
	if err == nil {
		err = s.measure(ctx, c)
	}
	return unreachable(s, err)
}

func unreachable(s *scope, err error) (wait, error) {
	var answer *adminapi.Error
	switch {
	case err == nil && len(s.health.Problems) > 0:
		return wait{condition.BrokerUnavailable, strings.Join(s.health.Problems, "; "), waitingEvery}, nil
	case err == nil:
		return wait{}, nil
	case errors.As(err, &answer) && answer.Status == http.StatusUnauthorized:
		return wait{}, &refusal{condition.CredentialsRejected, fmt.Sprintf(
			"the broker refuses the password in Secret %s: it keeps the one that its volume was made with; bring that back into the Secret", resource.AdminSecret(s.broker.Name))}
	}
	return wait{condition.BrokerUnavailable, fmt.Sprintf("the admin API does not answer: %v", err), waitingEvery}, nil
}
