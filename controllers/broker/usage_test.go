package broker

import (
	"testing"

	apiresource "k8s.io/apimachinery/pkg/api/resource"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// A status is written for what people would notice, and not for every message.
func TestNoticeable(t *testing.T) {
	usage := func(connections, messages int64, used string) *v1alpha1.Usage {
		u, size := apiresource.MustParse(used), apiresource.MustParse("10Gi")
		return &v1alpha1.Usage{Connections: connections, Queues: 5, Messages: messages, StorageUsed: &u, StorageSize: &size}
	}
	grown := usage(100, 1000, "1Gi")
	grown.StorageSize = new(apiresource.MustParse("20Gi"))
	for _, c := range []struct {
		was, is *v1alpha1.Usage
		want    bool
	}{
		{nil, usage(0, 0, "1Gi"), true},
		{usage(100, 1000, "1Gi"), usage(100, 1000, "1Gi"), false},
		{usage(100, 1000, "1Gi"), usage(110, 900, "1100Mi"), false},
		{usage(100, 1000, "1Gi"), usage(111, 1000, "1Gi"), true},
		{usage(100, 1000, "1Gi"), usage(100, 899, "1Gi"), true},
		{usage(100, 1000, "1Gi"), usage(100, 1000, "2Gi"), true},
		{usage(0, 1000, "1Gi"), usage(1, 1000, "1Gi"), true},
		{usage(1, 1000, "1Gi"), usage(0, 1000, "1Gi"), true},
		{usage(100, 1000, "1Gi"), grown, true},
	} {
		if got := noticeable(c.was, c.is); got != c.want {
			t.Errorf("from %+v to %+v: %v", c.was, c.is, got)
		}
	}
}
