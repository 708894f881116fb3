package broker

import (
	"context"
	"errors"
	"net/http"

	apiresource "k8s.io/apimachinery/pkg/api/resource"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	adminapi "github.com/turnstone-mq/turnstone/broker/admin/client"
)

// measure asks the broker what it holds. A broker of before that question has no answer, and none is needed.
func (s *scope) measure(ctx context.Context, c *adminapi.Client) error {
	o, err := c.Overview(ctx)
	var answer *adminapi.Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	s.usage = &v1alpha1.Usage{Connections: o.Connections, Queues: o.Queues, Messages: o.Messages}
	if o.StorageSize > 0 {
		s.usage.StorageUsed = apiresource.NewQuantity(roundUp(o.StorageUsed), apiresource.BinarySI)
		s.usage.StorageSize = apiresource.NewQuantity(o.StorageSize, apiresource.BinarySI)
	}
	return nil
}

// roundUp makes whole MiB of bytes: what people read, and what does not change with every message.
func roundUp(bytes int64) int64 {
	const unit = 1 << 20
	return (bytes + unit - 1) / unit * unit
}

// noticeable says whether usage changed enough for a write: by a tenth, or from or to nothing.
func noticeable(was, is *v1alpha1.Usage) bool {
	if was == nil {
		return true
	}
	pairs := [][2]int64{
		{was.Connections, is.Connections}, {was.Queues, is.Queues}, {was.Messages, is.Messages},
		{quantity(was.StorageUsed), quantity(is.StorageUsed)},
	}
	for _, p := range pairs {
		if far(p[0], p[1]) {
			return true
		}
	}
	return quantity(was.StorageSize) != quantity(is.StorageSize)
}

func quantity(q *apiresource.Quantity) int64 {
	if q == nil {
		return 0
	}
	return q.Value()
}

func far(was, is int64) bool {
	const tenth = 10
	if was == 0 || is == 0 {
		return was != is
	}
	return max(was, is)-min(was, is) > was/tenth
}
