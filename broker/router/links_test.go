package router

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/topic"
)

// TestLinks: links hold what was added and not removed, whatever their size was in between.
func TestLinks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var l links[int]
	model := make(map[string]*binding[int])
	for _, size := range []int{1, 5, 16, 17, 40, 3000, 100, 12, 0, 200, 1, 0} {
		for len(model) < size {
			key := fmt.Sprint(random.IntN(10_000))
			if model[key] == nil {
				model[key] = &binding[int]{key: key}
				l.add(model[key])
			}
		}
		for key, b := range model {
			if len(model) == size {
				break
			}
			l.remove(b)
			delete(model, key)
		}
		if all := l.all(); len(all) != size || int(l.n) != size {
			t.Fatalf("%d of %d bindings, counted as %d", len(all), size, l.n)
		}
		for key, b := range model {
			if got := l.find(identity[int]{key: key, form: topic.MQTT}); got != b || !l.has(b) {
				t.Fatalf("of %d, %q is not found", size, key)
			}
			if l.find(identity[int]{key: key, form: topic.AMQP}) != nil {
				t.Fatalf("%q is found in another form", key)
			}
		}
		if l.find(identity[int]{key: "none", form: topic.MQTT}) != nil {
			t.Fatal("something is found that was not added")
		}
	}
}
