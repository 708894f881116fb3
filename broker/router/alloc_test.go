//go:build !race

// The race detector makes sync.Pool forget at random, so that allocations can be counted only without it.

package router

import (
	"fmt"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/topic"
)

func TestRouteDoesNotAllocate(t *testing.T) {
	table := New[int]()
	for i := range 100 {
		if _, err := table.Bind("amq.topic", i, fmt.Sprint("k.", i%10, ".#"), nil); err != nil {
			t.Fatal(err)
		}
	}
	dst := make([]Match[int], 0, 100)
	m := &Message{Key: "k.1", Form: topic.AMQP}
	if n := testing.AllocsPerRun(1000, func() { dst, _ = table.Route("amq.topic", m, dst[:0]) }); n >= 1 || len(dst) != 10 {
		t.Errorf("%v allocations for %d matches", n, len(dst))
	}
}
