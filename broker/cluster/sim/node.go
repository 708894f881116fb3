package sim

import (
	"errors"
	"syscall"

	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// node is one broker's core: a disk, a journal, groups.
type node struct {
	w        *world
	id       uint64
	disk     *vfs.Crash
	up       bool
	armed    int // operations of the disk until it crashes; zero is never
	hangs    int // until this step nothing that is written becomes durable
	faulty   *vfs.Faulty
	journal  *journal.Journal
	store    *cluster.Store
	groups   []*cluster.Group
	machines []*machine
	done     []completion
	captures []capture
}

// completion is the journal's word about a write of a group.
type completion struct {
	group int
	write *cluster.Write
}

// capture is a checkpoint that is to be written.
type capture struct {
	group int
	run   func(func(cluster.Checkpoint, error))
}

// lost is what a guarded call panics with when the power goes.
type lost struct{}

const segmentBytes = 16 << 10

// guard runs something that may end in a power loss.
func (n *node) guard(f func()) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case lost{}:
			n.crash()
		default:
			panic(p)
		}
	}()
	f()
}

// crash takes the power away: the disk keeps some of what was not made certain.
func (n *node) crash() {
	n.up, n.armed, n.hangs = false, 0, 0
	n.w.report.Crashes++
	n.disk.Before = nil
	n.disk = n.disk.PowerLoss(n.w.rng.Uint64())
	n.disk.Lying = n.w.o.LyingDisk
	n.done, n.captures = nil, nil
	if n.w.o.ReuseID && n.w.rng.IntN(2) == 0 {
		n.disk = vfs.NewCrash()
	}
}

// start opens what the disk has. A crash may come here too.
func (n *node) start() {
	n.disk.Lying = n.w.o.LyingDisk
	n.disk.Before = func(vfs.Op, string) {
		if n.armed > 0 {
			if n.armed--; n.armed == 0 {
				panic(lost{})
			}
		}
	}
	if n.w.step > 0 && n.w.step < n.w.o.Steps && n.w.rng.IntN(10) == 0 {
		n.armed = 1 + n.w.rng.IntN(20)
	}
	n.faulty = vfs.NewFaulty(n.disk)
	n.guard(func() {
		if err := n.open(); err != nil {
			n.w.violated("node %d does not start: %v", n.id, err)
		}
		n.up = true
		n.w.report.Restarts++
	})
}

func (n *node) open() (err error) {
	n.journal, err = journal.Open(journal.Options{FS: n.faulty, Dir: "log", SegmentBytes: segmentBytes, Manual: true, OnFatal: func(error) { panic(lost{}) }})
	if err != nil {
		return err
	}
	if n.store, err = cluster.Open(cluster.Options{FS: n.faulty, Dir: "log", Journal: n.journal}); err != nil {
		return err
	}
	n.groups, n.machines, n.done, n.captures = nil, nil, nil, nil
	voters := make([]uint64, n.w.o.Nodes)
	for i := range voters {
		voters[i] = uint64(i + 1)
	}
	for id := range n.w.o.Groups {
		m := &machine{node: n, group: uint32(id), live: make(map[uint64]body)}
		g, err := n.store.Group(cluster.GroupOptions{
			ID: uint32(id), Machine: m, Replica: n.id, Voters: voters,
			Notify:  func(w *cluster.Write) { n.done = append(n.done, completion{id, w}) },
			Send:    func(msg *raftpb.Message) { n.w.mail = append(n.w.mail, letter{uint32(id), msg}) },
			Leading: func(bool) { n.w.report.Leaders++ },
		})
		if err != nil {
			return err
		}
		m.g = g
		n.groups, n.machines = append(n.groups, g), append(n.machines, m)
	}
	if n.w.rng.IntN(2) == 0 {
		err = n.store.Replay(n.groups...)
	} else {
		for _, g := range n.groups {
			err = errors.Join(err, g.Recover())
		}
	}
	if err != nil {
		return err
	}
	if err := n.store.RemoveUnfinished(n.groups...); err != nil {
		return err
	}
	for _, g := range n.groups {
		if err := g.Start(); err != nil {
			return err
		}
		g.Advance()
	}
	return nil
}

// propose lets a client send some commands to a group, in one entry or several.
func (n *node) propose() {
	id := n.w.rng.IntN(len(n.groups))
	for range 1 + n.w.rng.IntN(3) {
		p := n.machines[id].newProposal()
		if err := n.groups[id].Propose(cluster.Proposal{Data: p.encode(), Essential: p.settles(), Tag: p}); err != nil {
			continue
		}
	}
	n.groups[id].Advance()
}

// complete takes the journal's words about writes.
func (n *node) complete() {
	done := n.done
	n.done = nil
	for _, c := range done {
		n.groups[c.group].Written(c.write)
		n.groups[c.group].Advance()
	}
}

// tick lets time pass for some groups. Whether a follower stands for election is for the seed to decide.
func (n *node) tick() {
	for _, g := range n.groups {
		g.TickOnly()
		if !g.Leading() && n.w.rng.IntN(15) == 0 {
			if err := g.Campaign(); err != nil {
				n.w.violated("node %d: campaign: %v", n.id, err)
			}
		}
		g.Advance()
	}
}

// checkpoint begins one, or writes one that was begun a while ago.
func (n *node) checkpoint() {
	if len(n.captures) > 0 {
		c := n.captures[0]
		n.captures = n.captures[1:]
		g := n.groups[c.group]
		c.run(func(k cluster.Checkpoint, err error) {
			g.Captured(k, err)
			if err == nil {
				n.w.report.Checkpoints++
			}
		})
		return
	}
	id := n.w.rng.IntN(len(n.groups))
	if run := n.groups[id].Capture(); run != nil {
		n.captures = append(n.captures, capture{id, run})
	}
}

// clean releases the segments that nobody needs, and moves what is alive out of one.
func (n *node) clean() {
	n.complete() // so that the groups know what is in the sealed segments
	var free []uint64
	var sparse uint64
	for _, s := range n.journal.Segments() {
		if !s.Sealed {
			continue
		}
		live, replayed := int64(0), false
		for _, g := range n.groups {
			if u, ok := g.Segment(s.Sequence); ok {
				live, replayed = live+u.Live, replayed || u.Replayed
			}
		}
		switch {
		case replayed:
		case live == 0:
			free = append(free, s.Sequence)
		case sparse == 0:
			sparse = s.Sequence
		}
	}
	if sparse > 0 && n.w.rng.IntN(2) == 0 {
		n.move(sparse)
	}
	for _, g := range n.groups {
		for _, s := range free {
			g.Forget(s)
		}
	}
	if len(free) > 0 {
		if err := n.store.Release(free...); err == nil {
			n.w.report.Released += len(free)
		}
	}
}

func (n *node) move(segment uint64) {
	if n.journal.Admit() != nil {
		return
	}
	for id, m := range n.machines {
		g := n.groups[id]
		u, ok := g.Segment(segment)
		if !ok {
			continue
		}
		var moves []cluster.Move
		for i := u.First; i <= u.Last; i++ {
			if pieces := m.pieces(i); len(pieces) > 0 && g.Lies(i, segment) {
				moves = append(moves, g.NewMove(i, pieces))
			}
		}
		if len(moves) == 0 {
			continue
		}
		n.store.Relocate(uint32(id), moves, measure, func(err error) {
			if err != nil {
				n.w.violated("node %d: relocate: %v", n.id, err)
			}
			g.Moved(moves, m.liveBytes)
			n.w.report.Moved += len(moves)
		})
	}
}

// readBack reads what some live command says.
func (n *node) readBack() {
	m := n.machines[n.w.rng.IntN(len(n.machines))]
	for _, id := range m.some(5) {
		m.check(id)
	}
}

// fault lets the disk fail for a while.
func (n *node) fault() {
	n.w.report.Faults++
	switch n.w.rng.IntN(5) {
	case 0:
		n.faulty.Inject(vfs.Fault{Op: vfs.OpPreallocate, Err: errNoSpace})
	case 1:
		n.faulty.Inject(vfs.Fault{Op: vfs.OpSync, Times: 1, Err: syscall.EIO})
	case 2:
		n.faulty.Inject(vfs.Fault{Op: vfs.OpWrite, Times: 1, Err: syscall.EIO, Short: n.w.rng.IntN(2000)})
	case 3:
		n.hangs = n.w.step + n.w.rng.IntN(500) // an fsync that does not return for that long
	default:
		n.faulty.Clear()
	}
}

// rot changes one bit of one file and starts the node. It answers whether that was noticed; to have lost something
// without a word is a violation.
func (n *node) rot() (noticed bool) {
	names, err := n.disk.List("log")
	if err != nil {
		n.w.violated("list: %v", err)
	}
	name := "log/" + names[n.w.rng.IntN(len(names))]
	f, err := n.disk.Open(name)
	if err != nil {
		n.w.violated("open: %v", err)
	}
	size, err := f.Size()
	if err != nil || size == 0 {
		return false
	}
	at, b := n.w.rng.Int64N(size), []byte{0}
	if _, err := f.ReadAt(b, at); err != nil {
		n.w.violated("read %s at %d: %v", name, at, err)
	}
	b[0] ^= 1 << n.w.rng.IntN(8)
	if _, err := f.WriteAt(b, at); err != nil {
		n.w.violated("write: %v", err)
	}
	n.armed, n.faulty = 0, vfs.NewFaulty(n.disk)
	if err := n.open(); err != nil {
		return true
	}
	for _, m := range n.machines {
		for id := range n.w.acked[m.group] {
			if _, ok := m.live[id]; !ok {
				n.w.violated("a bit of %s at %d was changed, and command %d of group %d is missing", name, at, id, m.group)
			}
		}
		for id := range m.live {
			noticed = m.damaged(id) || noticed
		}
	}
	return noticed
}
