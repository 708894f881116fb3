package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/cluster/internal/control"
	"github.com/turnstone-mq/turnstone/broker/journal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Entry is a committed entry of a group.
type Entry struct {
	Index, Term uint64
	Data        []byte // valid during the call
}

// Machine is the state that a group's entries are applied to. Its methods are called by the group's owner. The same
// entries make the same state on every node: what is applied must not depend on clocks, chance or the order of maps.
type Machine interface {
	// Apply takes the next committed entry. The proposal is what this node passed to Propose for it, nil if it came otherwise.
	Apply(e Entry, proposal any)
	// Dropped says that a proposal of this node will not be applied as such, in the order of proposals. After a change of
	// leaders it may have been committed nevertheless; Apply then gets the entry without it.
	Dropped(proposal any, err error)
	// Restore replaces the empty state by that of a checkpoint, and says by Use what of the log it needs. It comes before
	// anything else, and not at all if there is none.
	Restore(g *Group, c *CheckpointReader) error
	// Capture answers a function that writes the state as it is now; it is called by another goroutine.
	Capture() func(w *CheckpointWriter) error
}

// GroupOptions of Store.Group.
type GroupOptions struct {
	ID      uint32
	Machine Machine
	// Replica is this node's number in the group, never reused for another data directory. Voters are the group's first
	// ones, for a group that the journal does not know yet.
	Replica uint64
	Voters  []uint64
	// Notify is called by the journal's goroutine. It must not block; the owner then calls Written.
	Notify func(*Write)
	// Send passes messages to other replicas; they may be lost. Nil for groups of one.
	Send func(*raftpb.Message)
	// Leading is called by the owner when this replica begins or ceases to lead.
	Leading func(bool)
}

// Group is one replica of a raft group.
type Group struct {
	id      uint32
	replica uint64
	store   *Store
	machine Machine
	options GroupOptions

	log        log
	raw        *raft.RawNode
	applied    uint64
	conf       *raftpb.ConfState // as of applied
	checkpoint Checkpoint        // the newest durable one
	capturing  bool              // one is being written
	leading    bool
	failed     error // the journal has stopped

	hardWritten *raftpb.HardState    // the newest that was handed to the journal
	flight      []*Write             // appends that are under way, oldest first
	proposed    []proposal           // not in a Ready yet, then with their index, oldest first
	numbered    int                  // proposals that have an index
	asked       []journal.Durability // scratch of number
	ahead       *journal.Ahead       // of Read; nil before the first
}

type proposal struct {
	index, term uint64
	durability  journal.Durability
	tag         any
}

// Proposal is an entry that is to be added.
type Proposal struct {
	Data []byte // copied
	// Essential entries free space or are small and must be: they are taken when the disk is full.
	Essential bool
	// Durability is what must be before the entry is committed. Only a voter without others may relax it.
	Durability journal.Durability
	Tag        any // for Machine.Apply or Dropped; not nil
}

// Write is an append that the journal has finished.
type Write struct {
	entries []*raftpb.Entry
	records []journal.Record
	at      []journal.Position
	after   []*raftpb.Message // to be delivered then
	err     error
}

// Group makes a group as the journal has it, or a new one with its first voters. Before Start the owner calls
// Recover or passes it to Store.Replay.
func (s *Store) Group(o GroupOptions) (*Group, error) {
	g := &Group{id: o.ID, replica: o.Replica, store: s, machine: o.Machine, options: o}
	g.log = log{group: o.ID, journal: s.journal, shares: make(shares), hard: &raftpb.HardState{}}
	if err := g.restore(); err != nil {
		return nil, fmt.Errorf("group %d: %w", g.id, err)
	}
	delete(s.found, o.ID)
	return g, nil
}

// genesis is the index and the term of the empty state that every group begins with.
const genesis = 1

// restore brings the machine to the group's checkpoint. A new group gets its first one: it is empty.
func (g *Group) restore() error {
	g.checkpoint, g.conf = Checkpoint{Index: genesis, Term: genesis}, &raftpb.ConfState{Voters: g.options.Voters}
	r, ok := g.store.journal.State(journal.Checkpoint, g.id)
	var err error
	if ok {
		g.checkpoint, g.conf, err = decodeCheckpoint(r)
	} else {
		err = g.store.appendNow(g.checkpoint.record(g.id, g.conf))
	}
	if err != nil {
		return err
	}
	g.applied, g.log.conf = g.checkpoint.Index, g.conf
	g.log.compact(g.checkpoint.Index, g.checkpoint.Term)
	if r, ok := g.store.journal.State(journal.HardState, g.id); ok {
		if g.log.hard, err = decodeHardState(r); err != nil {
			return err
		}
	}
	g.hardWritten = g.log.hard
	if err := g.findEntries(g.store.found[g.id]); err != nil {
		return err
	}
	// The hard state comes before the entries of its append, and a torn commit may keep the one without the others.
	g.log.hard.Commit = proto.Uint64(min(g.log.hard.GetCommit(), g.log.last))
	if !g.sole() {
		g.findOlder(g.store.found[g.id])
	}
	return g.store.readCheckpoint(g.id, g.checkpoint, func(r *CheckpointReader) error { return g.machine.Restore(g, r) })
}

// findEntries tells the log what the journal has. Entries that the checkpoint covers may be needed for what lives in
// them; of the others there must be no gap, and a later one replaces what followed the entry before it.
func (g *Group) findEntries(all []found) error {
	for _, f := range all {
		p := newPlace(journal.Position{Segment: f.segment, Offset: f.offset}, f.kind == journal.Relocation)
		if f.index <= g.checkpoint.Index {
			if old := g.log.places.get(f.index); old == gone || !old.moved() || p.moved() {
				g.log.places.set(f.index, p)
			}
			g.log.shares.add(f.index, p)
			if f.kind != journal.Relocation {
				g.log.cut(max(f.index+1, g.log.first)) // what was written before it and follows it is void
			}
			continue
		}
		if f.kind == journal.Relocation {
			g.log.shares.add(f.index, p) // of entries that a later checkpoint has: it came before this one's record
			continue
		}
		if f.index > g.log.last+1 {
			return fmt.Errorf("entry %d is missing: %w", g.log.last+1, ErrDamaged)
		}
		g.log.cut(f.index)
		g.log.place(f.index, f.term, p)
	}
	return nil
}

// findOlder lets other voters have the entries that are covered by the checkpoint and still there.
func (g *Group) findOlder(all []found) {
	terms := make(map[uint64]uint64)
	for _, f := range all {
		terms[f.index] = f.term
	}
	first := g.log.first
	for p := g.log.places.get(first - 1); p != gone && !p.moved(); p = g.log.places.get(first - 1) {
		first--
	}
	// The term of the entry before the first must be known: the oldest one serves for that, unless it is the very first.
	if first == genesis+1 {
		first--
		terms[genesis] = genesis
	}
	if first+1 >= g.log.first {
		return
	}
	g.log.first, g.log.terms = first+1, nil
	for i := first; i <= g.log.last; i++ {
		if n := len(g.log.terms); n == 0 || g.log.terms[n-1].term != terms[i] {
			g.log.terms = append(g.log.terms, termRun{from: i, term: terms[i]})
		}
	}
}

// replayTo is up to which entry Replay may apply: what is known to be committed. A voter without others has committed
// what it has.
func (g *Group) replayTo() uint64 {
	if g.sole() {
		return g.log.last
	}
	return min(g.log.hard.GetCommit(), g.log.last)
}

// sole says that this replica is the only voter.
func (g *Group) sole() bool {
	return len(g.conf.GetVoters()) == 1 && g.conf.GetVoters()[0] == g.replica && len(g.conf.GetVotersOutgoing()) == 0
}

// Recover applies what is committed and newer than the checkpoint, entry by entry: for a group with few entries.
func (g *Group) Recover() error {
	for g.applied < g.replayTo() {
		p := g.log.places.get(g.applied + 1)
		r, err := g.store.journal.Read(p.position(), nil)
		if err != nil {
			return err
		}
		if err := g.replay(r, p.position()); err != nil {
			return err
		}
	}
	return nil
}

// replay applies an entry that the journal has, if it is the next one.
func (g *Group) replay(r journal.Record, at journal.Position) error {
	if r.Index != g.applied+1 || r.Index > g.replayTo() || g.log.places.get(r.Index) != newPlace(at, false) {
		return nil
	}
	e, err := decodeEntry(r)
	if err != nil {
		return err
	}
	return g.applyEntry(e, func(cc *raftpb.ConfChangeV2) (*raftpb.ConfState, error) {
		return changeConf(g.conf, g.log.last, cc)
	})
}

// Ticks of raft: a leader is given up for lost after ten to twenty.
const (
	electionTicks  = 10
	heartbeatTicks = 1
)

// Start begins to take part. A group with one voter leads as soon as its vote is on disk.
func (g *Group) Start() error {
	g.log.hard.Commit = proto.Uint64(max(g.log.hard.GetCommit(), g.applied))
	if g.log.hard.GetTerm() == 0 {
		g.log.hard.Term = proto.Uint64(g.checkpoint.Term)
	}
	g.log.conf = g.conf
	raw, err := raft.NewRawNode(&raft.Config{
		ID: g.replica, ElectionTick: electionTicks, HeartbeatTick: heartbeatTicks, Storage: &g.log, Applied: g.applied,
		AsyncStorageWrites: true, MaxSizePerMsg: 1 << 20, MaxCommittedSizePerReady: 4 << 20, MaxInflightMsgs: 256, MaxInflightBytes: 16 << 20,
		CheckQuorum: true, PreVote: true, DisableProposalForwarding: true, StepDownOnRemoval: true,
		Logger: logger{g.store.logger.With("group", g.id)},
	})
	if err != nil {
		return fmt.Errorf("group %d: %w", g.id, err)
	}
	g.raw = raw
	if g.sole() {
		if err := raw.Campaign(); err != nil {
			return fmt.Errorf("group %d: %w", g.id, err)
		}
	}
	return nil
}

// ErrNotLeading is the error of proposals to a replica that does not lead its group, and of those that were lost with
// the lead.
var ErrNotLeading = errors.New("this node does not lead the group")

// Propose adds an entry. An error says that nothing was proposed; otherwise Machine.Apply or Dropped gets the tag.
func (g *Group) Propose(p Proposal) error {
	if g.failed != nil {
		return g.failed
	}
	if !p.Essential {
		if err := g.store.journal.Admit(); err != nil {
			return err
		}
	}
	if err := g.raw.Propose(p.Data); err != nil {
		return ErrNotLeading
	}
	if !g.sole() {
		p.Durability = journal.Always
	}
	g.proposed = append(g.proposed, proposal{durability: p.Durability, tag: p.Tag})
	return nil
}

// Leading says whether this replica leads.
func (g *Group) Leading() bool { return g.leading }

// Tick lets a tenth of a second pass. Groups of one voter need none.
func (g *Group) Tick() { g.raw.Tick() }

// TickOnly lets a tenth of a second pass without standing for election: when to do so is the caller's decision then, by
// Campaign, and not raft's own dice.
func (g *Group) TickOnly() {
	if g.leading {
		g.raw.Tick()
	} else {
		g.raw.TickQuiesced()
	}
}

// Step takes a message of another replica.
func (g *Group) Step(m *raftpb.Message) {
	if g.failed != nil {
		return
	}
	if err := g.raw.Step(m); err != nil && !errors.Is(err, raft.ErrProposalDropped) {
		g.store.logger.Debug("message was not taken", "group", g.id, "from", m.GetFrom(), "error", err)
	}
}

// Campaign asks for the lead now.
func (g *Group) Campaign() error { return g.raw.Campaign() }

// TransferLeader hands the lead to another replica.
func (g *Group) TransferLeader(to uint64) { g.raw.TransferLeader(to) }

// Advance does what there is to do: appends go to the journal, what is committed is applied, messages are sent.
func (g *Group) Advance() {
	for g.failed == nil && g.raw.HasReady() {
		rd := g.raw.Ready()
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				g.append(m)
			case raft.LocalApplyThread:
				g.apply(m)
			default:
				g.options.Send(m)
			}
		}
		if rd.SoftState != nil {
			g.lead(rd.SoftState.RaftState == raft.StateLeader)
		}
	}
}

func (g *Group) lead(leading bool) {
	if leading == g.leading {
		return
	}
	g.leading = leading
	if !leading {
		g.dropUnnumbered()
	}
	if g.options.Leading != nil {
		g.options.Leading(leading)
	}
}

// append hands a MsgStorageAppend to the journal, in pieces that fit into a segment. What needs no write waits for the
// writes before it alone.
func (g *Group) append(m *raftpb.Message) {
	if m.Term != nil {
		g.log.hard = &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
	}
	asked := g.number(m.Entries)
	rest := m.Entries
	for len(rest) > 0 || g.mustWriteHardState() {
		n := g.fit(rest)
		d := journal.Always
		if n > 0 && !g.mustWriteHardState() {
			d = slices.Min(asked[:n])
		}
		g.write(&Write{entries: rest[:n], records: g.records(rest[:n])}, d)
		rest, asked = rest[n:], asked[n:]
	}
	if len(g.flight) == 0 || control.ApplyEarly {
		g.deliver(m.Responses)
		return
	}
	last := g.flight[len(g.flight)-1]
	last.after = append(last.after, m.Responses...)
}

// fit is how many entries go into one append.
func (g *Group) fit(entries []*raftpb.Entry) int {
	size, most := 0, g.store.journal.MaxAppend()/2
	for i, e := range entries {
		if size += len(e.Data) + journal.RecordOverhead; size > most && i > 0 {
			return i
		}
	}
	return len(entries)
}

func (g *Group) write(w *Write, d journal.Durability) {
	g.flight = append(g.flight, w)
	if control.ApplyEarly {
		g.written(w, make([]journal.Position, len(w.records)))
	}
	g.store.journal.AppendAs(d, w.records, func(at []journal.Position, err error) {
		w.at, w.err = append([]journal.Position(nil), at...), err
		g.options.Notify(w)
	})
}

// mustWriteHardState says that a term or a vote is not written yet.
func (g *Group) mustWriteHardState() bool {
	return g.log.hard.GetTerm() != g.hardWritten.GetTerm() || g.log.hard.GetVote() != g.hardWritten.GetVote()
}

// records are what an append writes: the hard state if it changed, then the entries. A commit index alone is not worth a
// write: it comes with the next one. A voter without others does not need it at all.
func (g *Group) records(entries []*raftpb.Entry) []journal.Record {
	all := make([]journal.Record, 0, len(entries)+1)
	h, was := g.log.hard, g.hardWritten
	if g.mustWriteHardState() || h.GetCommit() != was.GetCommit() && !g.sole() {
		all = append(all, hardStateRecord(g.id, h))
		g.hardWritten = h
	}
	for _, e := range entries {
		all = append(all, record(g.id, e))
	}
	return all
}

// number tells which proposals became which entries: a leader's entries with data are its proposals in their order. It
// answers what durability each entry needs, valid until the next call; those that are no proposals need all.
func (g *Group) number(entries []*raftpb.Entry) []journal.Durability {
	g.asked = g.asked[:0]
	for _, e := range entries {
		if g.numbered == len(g.proposed) || len(e.Data) == 0 || e.GetType() != raftpb.EntryNormal {
			g.asked = append(g.asked, journal.Always)
			continue
		}
		p := &g.proposed[g.numbered]
		p.index, p.term = e.GetIndex(), e.GetTerm()
		g.numbered++
		g.asked = append(g.asked, p.durability)
	}
	return g.asked
}

// dropUnnumbered gives up proposals that were taken and never became entries.
func (g *Group) dropUnnumbered() {
	lost := g.proposed[g.numbered:]
	g.proposed = g.proposed[:g.numbered:g.numbered]
	for _, p := range lost {
		g.machine.Dropped(p.tag, ErrNotLeading)
	}
}

// Written takes the journal's word about an append, in the order of appends; Advance must follow.
func (g *Group) Written(w *Write) {
	g.flight[0] = nil
	g.flight = g.flight[1:]
	if w.err != nil {
		g.fail(w.err)
		return
	}
	if !control.ApplyEarly {
		g.written(w, w.at)
	}
}

func (g *Group) written(w *Write, at []journal.Position) {
	if len(w.entries) > 0 {
		g.log.append(w.entries, at[len(at)-len(w.entries):])
	}
	g.deliver(w.after)
}

// Pending says that appends are under way.
func (g *Group) Pending() bool { return len(g.flight) > 0 }

func (g *Group) deliver(messages []*raftpb.Message) {
	for _, m := range messages {
		if m.GetTo() == g.replica {
			g.Step(m)
		} else {
			g.options.Send(m)
		}
	}
}

// fail ends the group: the journal takes nothing more.
func (g *Group) fail(err error) {
	if g.failed != nil {
		return
	}
	g.failed = err
	lost := g.proposed
	g.proposed, g.numbered = nil, 0
	for _, p := range lost {
		g.machine.Dropped(p.tag, err)
	}
}

func (g *Group) apply(m *raftpb.Message) {
	for _, e := range m.Entries {
		if err := g.applyEntry(e, func(cc *raftpb.ConfChangeV2) (*raftpb.ConfState, error) {
			return g.raw.ApplyConfChange(cc), nil
		}); err != nil {
			panic(fmt.Sprintf("group %d: entry %d: %v", g.id, e.GetIndex(), err)) // it was decoded when it was proposed
		}
	}
	g.log.applied(g.applied)
	g.deliver(m.Responses)
}

func (g *Group) applyEntry(e *raftpb.Entry, change func(*raftpb.ConfChangeV2) (*raftpb.ConfState, error)) error {
	g.applied = e.GetIndex()
	switch {
	case e.GetType() != raftpb.EntryNormal:
		cc := &raftpb.ConfChangeV2{}
		if err := proto.Unmarshal(e.Data, cc); err != nil {
			return fmt.Errorf("change of members: %w", err)
		}
		conf, err := change(cc)
		if err != nil {
			return err
		}
		g.conf = conf
	case len(e.Data) > 0:
		g.machine.Apply(Entry{Index: e.GetIndex(), Term: e.GetTerm(), Data: e.Data}, g.proposalOf(e))
	}
	return nil
}

// proposalOf takes out the proposal that became an entry. Those before it that did not will not any more.
func (g *Group) proposalOf(e *raftpb.Entry) any {
	for g.numbered > 0 && g.proposed[0].index <= e.GetIndex() {
		p := g.proposed[0]
		g.proposed[0] = proposal{}
		g.proposed = g.proposed[1:]
		g.numbered--
		if p.index == e.GetIndex() && p.term == e.GetTerm() {
			return p.tag
		}
		g.machine.Dropped(p.tag, ErrNotLeading)
	}
	return nil
}

// A HardState record has the term as its own, the commit index as its index, and the vote as its data.
func hardStateRecord(group uint32, h *raftpb.HardState) journal.Record {
	return journal.Record{Type: journal.HardState, Group: group, Term: h.GetTerm(), Index: h.GetCommit(), Data: binary.AppendUvarint(nil, h.GetVote())}
}

func decodeHardState(r journal.Record) (*raftpb.HardState, error) {
	vote, n := binary.Uvarint(r.Data)
	if n <= 0 || n != len(r.Data) {
		return nil, fmt.Errorf("hard state: %w", ErrDamaged)
	}
	return &raftpb.HardState{Term: &r.Term, Vote: &vote, Commit: &r.Index}, nil
}

// appendNow appends a record and waits until it is durable: before a group has started.
func (s *Store) appendNow(r journal.Record) error {
	done := make(chan error, 1)
	s.journal.Append([]journal.Record{r}, func(_ []journal.Position, err error) { done <- err })
	s.journal.Work()
	return <-done
}

// Use says that the machine needs bytes (negative: no longer needs them) of an entry, beyond the next checkpoint.
func (g *Group) Use(index uint64, bytes int64) {
	p := g.log.places.get(index)
	if p == gone {
		return
	}
	g.log.shares[p.segment()].live += bytes
}

// Body is an entry that was read, or what is alive of it.
type Body struct {
	data  []byte
	moved bool
}

// At answers what begins at an offset of the whole entry. It aliases the body, which stays as it is.
func (b Body) At(at uint32) ([]byte, error) {
	if b.moved {
		return findMoved(b.data, at)
	}
	if int64(at) >= int64(len(b.data)) {
		return nil, fmt.Errorf("an entry of %d bytes has nothing at %d: %w", len(b.data), at, ErrDamaged)
	}
	return b.data[at:], nil
}

// Read reads an entry, or what is alive of it.
func (g *Group) Read(index uint64) (Body, error) {
	p := g.log.places.get(index)
	if p == gone {
		return Body{}, fmt.Errorf("group %d: entry %d is gone: %w", g.id, index, ErrDamaged)
	}
	if g.ahead == nil {
		g.ahead = g.store.journal.Ahead()
	}
	r, err := g.ahead.Read(p.position())
	if err != nil {
		return Body{}, err
	}
	if r.Group != g.id || r.Index != index {
		return Body{}, fmt.Errorf("group %d: entry %d is not at %v: %w", g.id, index, p.position(), ErrDamaged)
	}
	return Body{data: r.Data, moved: p.moved()}, nil
}

// DoneReading follows on calls of Read that belong together: what was read ahead for them is given back.
func (g *Group) DoneReading() {
	if g.ahead != nil {
		g.ahead.Done()
	}
}
