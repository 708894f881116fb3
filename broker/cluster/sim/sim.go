// Package sim runs the core of a cluster under one seed: raft groups on journals on virtual disks, a virtual network and
// virtual time, in one goroutine. A run that finds a violation is repeated by its seed.
//
// What must hold: an entry is the same on every node that applies it; what was confirmed to a client is never lost; two
// nodes with the same entry applied have the same state; what lives in the log can be read.
package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"

	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/cluster/internal/control"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// Options of Run.
type Options struct {
	Seed   uint64
	Nodes  int // voters of each group
	Groups int
	Steps  int

	// Each of these breaks a promise that the core relies on: a run must then find a violation sooner or later.

	LyingDisk  bool // fsync does nothing
	ApplyEarly bool // writes are answered before they are durable
	ReuseID    bool // a node that lost its disk returns as the one that it was
}

// Rot changes a bit of some file of a node that was stopped, for each of so many tries, and starts it again: the start
// must fail, or a read must, or nothing must be missing. It answers how often it was noticed. Nodes must be one.
func Rot(o Options, tries int) (noticed int, err error) {
	w := newWorld(o)
	defer func() {
		if v, ok := recover().(*Violation); ok {
			err = v
		}
	}()
	w.run()
	n := w.nodes[0]
	if err := n.journal.Close(); err != nil {
		return 0, err
	}
	whole := n.disk
	for range tries {
		n.disk = whole.PowerLoss(0) // a copy: everything is certain
		if n.rot() {
			noticed++
		}
	}
	return noticed, nil
}

// Report counts what a run did.
type Report struct {
	Confirmed, Applied, Crashes, Restarts, Leaders, Checkpoints, Released, Moved, Faults int
}

// Add sums up two runs.
func (r *Report) Add(o Report) {
	r.Confirmed += o.Confirmed
	r.Applied += o.Applied
	r.Crashes += o.Crashes
	r.Restarts += o.Restarts
	r.Leaders += o.Leaders
	r.Checkpoints += o.Checkpoints
	r.Released += o.Released
	r.Moved += o.Moved
	r.Faults += o.Faults
}

// Violation is a promise that was broken.
type Violation struct {
	Step int
	What string
}

func (v *Violation) Error() string { return fmt.Sprintf("step %d: %s", v.Step, v.What) }

var errUnrest = errors.New("without faults the cluster does not come to rest")

// world is one run.
type world struct {
	o       Options
	rng     *rand.Rand
	step    int
	report  Report
	nodes   []*node
	mail    []letter
	cut     map[[2]uint64]bool // links that lose everything, from and to
	applied map[position]uint64
	states  map[position]uint64
	acked   map[uint32]map[uint64]bool // confirmed and not settled, by group
	nextID  uint64
}

// position is an entry of a group.
type position struct {
	group uint32
	index uint64
}

// letter is a message on its way.
type letter struct {
	group uint32
	m     *raftpb.Message
}

// Run runs a simulation. The error is a Violation, or says that the simulation itself is wrong.
func Run(o Options) (r Report, err error) {
	control.ApplyEarly = o.ApplyEarly
	w := newWorld(o)
	defer func() {
		control.ApplyEarly = false
		r = w.report
		p := recover()
		if p == errUnrest {
			err = errUnrest
		} else if p != nil {
			v, ok := p.(*Violation)
			if !ok {
				v = &Violation{Step: w.step, What: fmt.Sprint("panic: ", p)}
			}
			err = v
		}
	}()
	w.run()
	return w.report, nil
}

func newWorld(o Options) *world {
	w := &world{
		o: o, rng: rand.New(rand.NewPCG(o.Seed, 1)), cut: make(map[[2]uint64]bool),
		applied: make(map[position]uint64), states: make(map[position]uint64), acked: make(map[uint32]map[uint64]bool),
	}
	for g := range o.Groups {
		w.acked[uint32(g)] = make(map[uint64]bool)
	}
	return w
}

// run starts the nodes, lets everything happen, and looks at what is left.
func (w *world) run() {
	for i := range w.o.Nodes {
		n := &node{w: w, id: uint64(i + 1), disk: vfs.NewCrash()}
		w.nodes = append(w.nodes, n)
		n.start()
	}
	for w.step = 0; w.step < w.o.Steps; w.step++ {
		w.act()
	}
	w.heal()
	w.verify()
}

func (w *world) violated(format string, args ...any) {
	panic(&Violation{Step: w.step, What: fmt.Sprintf(format, args...)})
}

// act does one thing, by chance.
func (w *world) act() {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	if !n.up {
		if w.rng.IntN(20) == 0 {
			n.start()
		}
		return
	}
	switch p := w.rng.IntN(1000); {
	case p < 250:
		n.guard(n.propose)
	case p < 500:
		if w.step >= n.hangs {
			n.guard(func() { n.journal.Work() })
		}
	case p < 700:
		n.guard(n.complete)
	case p < 900:
		w.deliver()
	case p < 950:
		n.guard(n.tick)
	case p < 965:
		n.guard(n.checkpoint)
	case p < 980:
		n.guard(n.clean)
	case p < 985:
		n.guard(n.readBack)
	case p < 990:
		n.armed = 1 + w.rng.IntN(30) // it crashes at that operation of its disk
	case p < 992:
		n.crash()
	case p < 996:
		w.partition()
	default:
		n.fault()
	}
}

// partition cuts or heals links.
func (w *world) partition() {
	if w.rng.IntN(2) == 0 {
		clear(w.cut)
		return
	}
	a, b := uint64(1+w.rng.IntN(w.o.Nodes)), uint64(1+w.rng.IntN(w.o.Nodes))
	w.cut[[2]uint64{a, b}] = true
	if w.rng.IntN(2) == 0 {
		w.cut[[2]uint64{b, a}] = true
	}
}

// deliver takes a letter out of the mail, not always the oldest, and not always brings it.
func (w *world) deliver() {
	if len(w.mail) == 0 {
		return
	}
	i := 0
	if w.rng.IntN(4) == 0 {
		i = w.rng.IntN(len(w.mail))
	}
	l := w.mail[i]
	if w.rng.IntN(50) > 0 { // else it comes again
		w.mail = append(w.mail[:i], w.mail[i+1:]...)
	}
	w.bring(l)
}

func (w *world) bring(l letter) {
	to := w.nodes[l.m.GetTo()-1]
	if !to.up || w.cut[[2]uint64{l.m.GetFrom(), l.m.GetTo()}] || w.rng.IntN(50) == 0 {
		return
	}
	to.guard(func() {
		to.groups[l.group].Step(l.m)
		to.groups[l.group].Advance()
	})
}

// heal ends all faults and lets the cluster come to rest.
func (w *world) heal() {
	clear(w.cut)
	for _, n := range w.nodes {
		n.armed = 0
		if n.faulty != nil {
			n.faulty.Clear()
		}
		if !n.up {
			n.start()
		}
	}
	for round := 0; round < 3000; round++ {
		for _, n := range w.nodes {
			if !n.up { // a fault that was there before ended it
				n.start()
			}
			for n.journal.Work() {
				n.complete()
			}
			n.complete()
			if round%5 == 0 {
				n.tick()
			}
		}
		mail := w.mail
		w.mail = nil
		for _, l := range mail {
			to := w.nodes[l.m.GetTo()-1]
			to.groups[l.group].Step(l.m)
			to.groups[l.group].Advance()
		}
		if round > 200 && len(w.mail) == 0 && w.rested() {
			return
		}
	}
	panic(errUnrest)
}

func (w *world) rested() bool {
	for id := range w.o.Groups {
		leaders := 0
		for _, n := range w.nodes {
			if n.groups[id].Leading() {
				leaders++
			}
			if n.groups[id].Pending() || n.groups[id].Applied() != w.nodes[0].groups[id].Applied() {
				return false
			}
		}
		if leaders != 1 {
			return false
		}
	}
	return true
}

// verify compares what clients know with what the nodes have.
func (w *world) verify() {
	for _, n := range w.nodes {
		for _, m := range n.machines {
			for id := range w.acked[m.group] {
				if _, ok := m.live[id]; !ok {
					w.violated("node %d lost confirmed command %d of group %d", n.id, id, m.group)
				}
			}
			for id := range m.live {
				m.check(id)
			}
		}
	}
}

var errNoSpace error = syscall.ENOSPC

var _ cluster.Machine = (*machine)(nil)
