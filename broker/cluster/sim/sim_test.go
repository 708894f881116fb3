package sim_test

import (
	"errors"
	"flag"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/cluster/sim"
)

var (
	first = flag.Uint64("sim.seed", 1, "first seed")
	seeds = flag.Uint64("sim.seeds", 40, "how many seeds")
	steps = flag.Int("sim.steps", 4000, "steps of a run")
)

func TestPromises(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		total := sim.Report{}
		for seed := *first; seed < *first+*seeds; seed++ {
			r, err := sim.Run(sim.Options{Seed: seed, Nodes: nodes, Groups: 2, Steps: *steps})
			if err != nil {
				t.Errorf("%d nodes, seed %d: %v", nodes, seed, err)
			}
			total.Add(r)
		}
		t.Logf("%d nodes: %+v", nodes, total)
		idle := total.Confirmed == 0 || total.Crashes == 0 || total.Checkpoints == 0
		if idle || nodes == 1 && (total.Released == 0 || total.Moved == 0) {
			t.Errorf("%d nodes: the runs did too little: %+v", nodes, total)
		}
	}
}

// TestControls breaks a promise below the core; the simulator must see it.
func TestControls(t *testing.T) {
	for name, o := range map[string]sim.Options{
		"lying disk, one node":    {Nodes: 1, LyingDisk: true},
		"lying disk, three nodes": {Nodes: 3, LyingDisk: true},
		"apply before durable":    {Nodes: 1, ApplyEarly: true},
		"reused id":               {Nodes: 3, ReuseID: true},
	} {
		t.Run(name, func(t *testing.T) {
			o.Groups, o.Steps = 1, *steps
			for o.Seed = 1; o.Seed <= 20; o.Seed++ {
				_, err := sim.Run(o)
				if v := (*sim.Violation)(nil); errors.As(err, &v) {
					t.Logf("seed %d: %v", o.Seed, err)
					return
				}
			}
			t.Error("nothing was noticed")
		})
	}
}

// TestRot changes bits of what a node left behind. Nothing may be missing without a word.
func TestRot(t *testing.T) {
	total := 0
	for seed := *first; seed < *first+5; seed++ {
		noticed, err := sim.Rot(sim.Options{Seed: seed, Nodes: 1, Groups: 2, Steps: *steps}, 40)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		total += noticed
	}
	if total == 0 {
		t.Error("nothing was ever noticed")
	}
	t.Logf("%d of 200 changes were noticed", total)
}
