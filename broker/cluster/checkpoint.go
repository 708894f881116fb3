package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"
)

// Checkpoint is a group's state up to an entry. It is durable and counts when its record is in the journal; the zero size
// is that of the empty state, which has no file.
type Checkpoint struct {
	Index, Term uint64
	Size        int64  // of the file
	CRC         uint32 // CRC-32C of the file
}

// The data of a Checkpoint record, whose term and index are those of the checkpoint:
//
//	0      8     12
//	| size | crc | members: raftpb.ConfState … |
const checkpointData = 12

func (c Checkpoint) record(group uint32, conf *raftpb.ConfState) journal.Record {
	data := binary.LittleEndian.AppendUint64(nil, uint64(c.Size))
	data = binary.LittleEndian.AppendUint32(data, c.CRC)
	members, err := proto.Marshal(conf)
	if err != nil {
		panic("members of a group: " + err.Error())
	}
	return journal.Record{Type: journal.Checkpoint, Group: group, Term: c.Term, Index: c.Index, Data: append(data, members...)}
}

func decodeCheckpoint(r journal.Record) (c Checkpoint, conf *raftpb.ConfState, err error) {
	if len(r.Data) < checkpointData {
		return c, nil, fmt.Errorf("checkpoint record of %d bytes: %w", len(r.Data), ErrDamaged)
	}
	c = Checkpoint{Index: r.Index, Term: r.Term, Size: int64(binary.LittleEndian.Uint64(r.Data)), CRC: binary.LittleEndian.Uint32(r.Data[8:])}
	conf = &raftpb.ConfState{}
	if err := proto.Unmarshal(r.Data[checkpointData:], conf); err != nil {
		return c, nil, fmt.Errorf("checkpoint record: %w: %w", err, ErrDamaged)
	}
	return c, conf, nil
}

const (
	checkpointSuffix  = ".ckpt"
	unfinishedSuffix  = ".part"
	checkpointMagic   = "TSNC"
	checkpointVersion = 1
	checkpointHeader  = 32 // magic, version u32, group u32, 0 u32, term u64, index u64
)

func (s *Store) checkpointName(group uint32, c Checkpoint) string {
	return filepath.Join(s.dir, fmt.Sprintf("%d-%016x%s", group, c.Index, checkpointSuffix))
}

// Capture begins a checkpoint of the state as it is now; nil when one is under way already, or there is nothing new. The
// answer is to be called by another goroutine than the owner: it writes the file, makes it durable and then appends the
// record that makes it count. What it tells done, by the journal's goroutine or its own, the owner passes to Captured.
func (g *Group) Capture() func(done func(Checkpoint, error)) {
	if g.capturing || g.applied == g.checkpoint.Index || g.failed != nil {
		return nil
	}
	term, err := g.log.Term(g.applied)
	if err != nil {
		panic(fmt.Sprintf("group %d: term of applied entry %d: %v", g.id, g.applied, err))
	}
	g.capturing = true
	c := Checkpoint{Index: g.applied, Term: term}
	conf := proto.Clone(g.conf).(*raftpb.ConfState)
	write := g.machine.Capture()
	return func(done func(Checkpoint, error)) {
		c, err := g.store.writeCheckpoint(g.id, c, write)
		if err != nil {
			done(c, fmt.Errorf("checkpoint of group %d: %w", g.id, err))
			return
		}
		g.store.journal.Append([]journal.Record{c.record(g.id, conf)}, func(_ []journal.Position, err error) { done(c, err) })
	}
}

// Captured ends what Capture began.
func (g *Group) Captured(c Checkpoint, err error) {
	g.capturing = false
	if err != nil {
		return // the next one tries again; what was written is removed at the next start
	}
	old := g.checkpoint
	g.checkpoint = c
	if g.sole() {
		g.log.compact(c.Index, c.Term) // other voters may still lack entries; they get snapshots when they lack too many
	}
	if old.Size > 0 {
		g.store.removeCheckpoint(g.store.checkpointName(g.id, old))
	}
}

// Checkpoint is the newest durable one.
func (g *Group) Checkpoint() Checkpoint { return g.checkpoint }

// Applied is the newest entry that the machine has.
func (g *Group) Applied() uint64 { return g.applied }

func (s *Store) removeCheckpoint(name string) {
	if err := s.fs.Remove(name); err != nil {
		s.logger.Warn("checkpoint was not removed", "file", name, "error", err)
	}
}

func (s *Store) writeCheckpoint(group uint32, c Checkpoint, write func(*CheckpointWriter) error) (Checkpoint, error) {
	name := s.checkpointName(group, c)
	f, err := s.fs.Create(name + unfinishedSuffix)
	if errors.Is(err, os.ErrExist) {
		s.removeCheckpoint(name + unfinishedSuffix)
		f, err = s.fs.Create(name + unfinishedSuffix)
	}
	if err != nil {
		return c, err
	}
	w := &CheckpointWriter{file: f}
	w.header(group, c)
	err = write(w)
	w.flush()
	if err = errors.Join(err, w.err); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.fs.Rename(name+unfinishedSuffix, name)
	}
	if err != nil {
		s.removeCheckpoint(name + unfinishedSuffix)
		return c, err
	}
	c.Size, c.CRC = w.size, w.crc
	return c, s.fs.SyncDir(s.dir)
}

// readCheckpoint verifies the file of a checkpoint and hands it over.
func (s *Store) readCheckpoint(group uint32, c Checkpoint, restore func(*CheckpointReader) error) error {
	if c.Size == 0 {
		return nil
	}
	name := s.checkpointName(group, c)
	f, err := s.fs.Open(name)
	if err != nil {
		return fmt.Errorf("checkpoint: %w: %w", err, ErrDamaged)
	}
	r := &CheckpointReader{file: f, size: c.Size}
	crc, err := r.checksum()
	if err == nil && crc != c.CRC {
		err = fmt.Errorf("its checksum is wrong: %w", ErrDamaged)
	}
	if err == nil {
		err = r.header(group, c)
	}
	if err == nil {
		err = restore(r)
	}
	if err == nil {
		err = r.end()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("checkpoint %s: %w", name, err)
	}
	return nil
}

// RemoveUnfinished removes the files of checkpoints that do not count: a crash left them.
func (s *Store) RemoveUnfinished(groups ...*Group) error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	keep := make(map[string]bool)
	for _, g := range groups {
		keep[s.checkpointName(g.id, g.checkpoint)] = true
	}
	for _, n := range names {
		name := filepath.Join(s.dir, n)
		if strings.HasSuffix(n, unfinishedSuffix) || strings.HasSuffix(n, checkpointSuffix) && !keep[name] {
			s.removeCheckpoint(name)
		}
	}
	return nil
}

// CheckpointWriter writes a machine's state. The first error stays, and what is written after it goes nowhere.
type CheckpointWriter struct {
	file vfs.File
	buf  []byte
	size int64
	crc  uint32
	err  error
}

const checkpointBuffer = 256 << 10

func (w *CheckpointWriter) header(group uint32, c Checkpoint) {
	b := append(make([]byte, 0, checkpointHeader), checkpointMagic...)
	b = binary.LittleEndian.AppendUint32(b, checkpointVersion)
	b = binary.LittleEndian.AppendUint32(b, group)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, c.Term)
	w.Bytes(binary.LittleEndian.AppendUint64(b, c.Index))
}

// Bytes writes bytes as they are.
func (w *CheckpointWriter) Bytes(b []byte) {
	w.buf = append(w.buf, b...)
	w.full()
}

// Uvarint writes a number as unsigned LEB128.
func (w *CheckpointWriter) Uvarint(n uint64) {
	w.buf = binary.AppendUvarint(w.buf, n)
	w.full()
}

// Block writes the length of some bytes and the bytes.
func (w *CheckpointWriter) Block(b []byte) {
	w.Uvarint(uint64(len(b)))
	w.Bytes(b)
}

// Text is Block for a string.
func (w *CheckpointWriter) Text(s string) {
	w.Uvarint(uint64(len(s)))
	w.buf = append(w.buf, s...)
	w.full()
}

func (w *CheckpointWriter) full() {
	if len(w.buf) >= checkpointBuffer {
		w.flush()
	}
}

func (w *CheckpointWriter) flush() {
	if w.err == nil && len(w.buf) > 0 {
		if _, err := w.file.WriteAt(w.buf, w.size); err != nil {
			w.err = err
		}
		w.crc = crc32.Update(w.crc, castagnoli, w.buf)
		w.size += int64(len(w.buf))
	}
	w.buf = w.buf[:0]
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CheckpointReader reads what a CheckpointWriter wrote. After the first error everything is zero; Err answers it.
type CheckpointReader struct {
	file vfs.File
	size int64
	at   int64 // in the file, of the end of buf
	buf  []byte
	err  error
}

func (r *CheckpointReader) checksum() (crc uint32, err error) {
	buf := make([]byte, checkpointBuffer)
	for at := int64(0); at < r.size; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), r.size-at)]
		if n, err := r.file.ReadAt(buf, at); n < len(buf) {
			return 0, fmt.Errorf("%w: %w", err, ErrDamaged)
		}
		crc = crc32.Update(crc, castagnoli, buf)
	}
	return crc, nil
}

func (r *CheckpointReader) header(group uint32, c Checkpoint) error {
	b := r.Bytes(checkpointHeader)
	if r.err != nil {
		return r.err
	}
	if string(b[:4]) != checkpointMagic || binary.LittleEndian.Uint32(b[8:]) != group ||
		binary.LittleEndian.Uint64(b[16:]) != c.Term || binary.LittleEndian.Uint64(b[24:]) != c.Index {
		return fmt.Errorf("it belongs to something else: %w", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != checkpointVersion {
		return fmt.Errorf("its format has version %d, this program reads version %d", v, checkpointVersion)
	}
	return nil
}

// fill brings n bytes into buf if the file has them.
func (r *CheckpointReader) fill(n int) bool {
	if len(r.buf) >= n {
		return true
	}
	if r.err != nil {
		return false
	}
	if int64(n-len(r.buf)) > r.size-r.at {
		r.err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, ErrDamaged)
		r.buf = nil
		return false
	}
	next := make([]byte, min(int64(max(n, checkpointBuffer)), int64(len(r.buf))+r.size-r.at))
	have := copy(next, r.buf)
	if k, err := r.file.ReadAt(next[have:], r.at); k < len(next)-have {
		r.err, r.buf = err, nil
		return false
	}
	r.at += int64(len(next) - have)
	r.buf = next
	return true
}

// Bytes answers the next n bytes, which the caller may keep.
func (r *CheckpointReader) Bytes(n int) []byte {
	if n < 0 || !r.fill(n) {
		return nil
	}
	b := r.buf[:n:n]
	r.buf = r.buf[n:]
	return b
}

// Uvarint reads a number.
func (r *CheckpointReader) Uvarint() uint64 {
	if len(r.buf) < binary.MaxVarintLen64 {
		r.fill(int(min(binary.MaxVarintLen64, int64(len(r.buf))+r.size-r.at)))
	}
	v, n := binary.Uvarint(r.buf)
	if n <= 0 {
		if r.err == nil {
			r.err = fmt.Errorf("a number is cut short: %w", ErrDamaged)
		}
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

// Block reads bytes with their length.
func (r *CheckpointReader) Block() []byte {
	n := r.Uvarint()
	if n > uint64(r.size) {
		r.err = fmt.Errorf("a length of %d: %w", n, ErrDamaged)
		return nil
	}
	return r.Bytes(int(n))
}

// Text reads a string.
func (r *CheckpointReader) Text() string { return string(r.Block()) }

// More says that something follows.
func (r *CheckpointReader) More() bool { return len(r.buf) > 0 || r.at < r.size }

// Err is the first error.
func (r *CheckpointReader) Err() error { return r.err }

func (r *CheckpointReader) end() error {
	if r.err == nil && (len(r.buf) > 0 || r.at < r.size) {
		r.err = fmt.Errorf("%d bytes are left over: %w", int64(len(r.buf))+r.size-r.at, ErrDamaged)
	}
	return r.err
}

// changeConf applies a change of members while the group is replayed.
func changeConf(conf *raftpb.ConfState, last uint64, cc *raftpb.ConfChangeV2) (*raftpb.ConfState, error) {
	c := confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0), LastIndex: last}
	cfg, progress, err := confchange.Restore(c, conf)
	if err != nil {
		return nil, fmt.Errorf("members: %w", err)
	}
	c.Tracker.Config, c.Tracker.Progress = cfg, progress
	switch {
	case cc.LeaveJoint():
		cfg, progress, err = c.LeaveJoint()
	default:
		if auto, joint := cc.EnterJoint(); joint {
			cfg, progress, err = c.EnterJoint(auto, cc.GetChanges()...)
		} else {
			cfg, progress, err = c.Simple(cc.GetChanges()...)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("change of members: %w", err)
	}
	c.Tracker.Config, c.Tracker.Progress = cfg, progress
	return c.Tracker.ConfState(), nil
}
