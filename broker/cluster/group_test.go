package cluster_test

import (
	"bytes"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/cluster"
	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// recorder is a Machine that keeps what was applied.
type recorder struct {
	applied [][]byte
	dropped []error
}

func (m *recorder) Apply(e cluster.Entry, _ any) { m.applied = append(m.applied, bytes.Clone(e.Data)) }
func (m *recorder) Dropped(_ any, err error)     { m.dropped = append(m.dropped, err) }
func (m *recorder) Restore(_ *cluster.Group, r *cluster.CheckpointReader) error {
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		m.applied = append(m.applied, bytes.Clone(r.Block()))
	}
	return r.Err()
}

func (m *recorder) Capture() func(*cluster.CheckpointWriter) error {
	applied := m.applied
	return func(w *cluster.CheckpointWriter) error {
		w.Uvarint(uint64(len(applied)))
		for _, a := range applied {
			w.Block(a)
		}
		return nil
	}
}

// stage is a group of one voter on a journal that commits when it is told.
type stage struct {
	*testing.T
	journal *journal.Journal
	store   *cluster.Store
	group   *cluster.Group
	machine *recorder
	done    []*cluster.Write
}

func newStage(t *testing.T, fs vfs.FS) *stage {
	t.Helper()
	s := &stage{T: t, machine: &recorder{}}
	var err error
	if s.journal, err = journal.Open(journal.Options{FS: fs, Dir: "log", SegmentBytes: 1 << 16, Manual: true}); err != nil {
		t.Fatal(err)
	}
	if s.store, err = cluster.Open(cluster.Options{FS: fs, Dir: "log", Journal: s.journal}); err != nil {
		t.Fatal(err)
	}
	s.group, err = s.store.Group(cluster.GroupOptions{
		ID: 1, Machine: s.machine, Replica: 1, Voters: []uint64{1},
		Notify: func(w *cluster.Write) { s.done = append(s.done, w) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.Replay(s.group); err != nil {
		t.Fatal(err)
	}
	if err := s.group.Start(); err != nil {
		t.Fatal(err)
	}
	s.settle()
	return s
}

// settle lets everything happen that can.
func (s *stage) settle() {
	for {
		s.group.Advance()
		worked := s.journal.Work()
		done := s.done
		s.done = nil
		for _, w := range done {
			s.group.Written(w)
		}
		if !worked && len(done) == 0 {
			return
		}
	}
}

func (s *stage) propose(data []byte) {
	s.Helper()
	if err := s.group.Propose(cluster.Proposal{Data: data, Tag: new(int)}); err != nil {
		s.Fatal(err)
	}
}

func TestProposeCopies(t *testing.T) {
	s := newStage(t, vfs.NewMemory())
	data := []byte("as it was")
	s.propose(data)
	copy(data, "overwritten")
	s.settle()
	if len(s.machine.applied) != 1 || string(s.machine.applied[0]) != "as it was" {
		t.Errorf("%q was applied", s.machine.applied)
	}
}

func TestNothingIsAppliedBeforeItIsDurable(t *testing.T) {
	s := newStage(t, vfs.NewMemory())
	s.propose([]byte("a"))
	s.group.Advance()
	if len(s.machine.applied) != 0 {
		t.Fatal("applied before the journal has it")
	}
	s.journal.Work()
	if len(s.machine.applied) != 0 || len(s.done) != 1 {
		t.Fatal("applied before the owner was told")
	}
	s.settle()
	if len(s.machine.applied) != 1 {
		t.Error("not applied")
	}
}

func TestCheckpointBoundsRecovery(t *testing.T) {
	fs := vfs.NewMemory()
	s := newStage(t, fs)
	for i := range byte(50) {
		s.propose(bytes.Repeat([]byte{i}, 1000))
		s.settle()
	}
	write := s.group.Capture()
	if again := s.group.Capture(); again != nil {
		t.Error("two checkpoints at once")
	}
	write(func(c cluster.Checkpoint, err error) {
		if err != nil {
			t.Fatal(err)
		}
		s.group.Captured(c, nil)
	})
	s.settle()
	if s.group.Oldest() != 0 {
		t.Errorf("recovery begins in segment %d", s.group.Oldest())
	}
	s.propose([]byte("after"))
	s.settle()
	if err := s.journal.Close(); err != nil {
		t.Fatal(err)
	}
	again := newStage(t, fs)
	if n := len(again.machine.applied); n != 51 || string(again.machine.applied[50]) != "after" || again.machine.applied[7][999] != 7 {
		t.Errorf("%d entries after recovery", n)
	}
}

// TestDamagedCheckpointStopsTheStart changes each of some bytes of the file.
func TestDamagedCheckpointStopsTheStart(t *testing.T) {
	for _, at := range []int64{0, 5, 9, 20, 31, 40, 500} {
		fs := vfs.NewMemory()
		s := newStage(t, fs)
		s.propose(make([]byte, 1000))
		s.settle()
		var name string
		s.group.Capture()(func(c cluster.Checkpoint, err error) {
			if err != nil {
				t.Fatal(err)
			}
			s.group.Captured(c, nil)
		})
		s.settle()
		if err := s.journal.Close(); err != nil {
			t.Fatal(err)
		}
		names, err := fs.List("log")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if bytes.HasSuffix([]byte(n), []byte(".ckpt")) {
				name = "log/" + n
			}
		}
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 4
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
		j, err := journal.Open(journal.Options{FS: fs, Dir: "log", SegmentBytes: 1 << 16, Manual: true})
		if err != nil {
			t.Fatal(err)
		}
		store, err := cluster.Open(cluster.Options{FS: fs, Dir: "log", Journal: j})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Group(cluster.GroupOptions{ID: 1, Machine: &recorder{}, Replica: 1, Voters: []uint64{1}}); err == nil {
			t.Errorf("a change at %d goes unnoticed", at)
		}
	}
}
