package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/cluster"
)

// machine is the least that behaves like a broker's shard: commands put bodies, which live in the log, and settle them.
type machine struct {
	node  *node
	g     *cluster.Group
	group uint32
	live  map[uint64]body
	hash  uint64 // of all that was applied
}

// body says where the command is that has a body.
type body struct {
	index uint64
	at    uint32
}

// proposal is what a client sends in one entry.
type proposal struct {
	puts   []uint64
	settle []uint64
}

// A command is its kind, its id, and for puts a body whose length and bytes follow from the id.
const (
	put         = 1
	settle      = 2
	commandHead = 9
)

func bodyOf(id uint64) []byte {
	r := rand.New(rand.NewPCG(id, 2))
	b := make([]byte, 1+r.IntN(400))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (m *machine) newProposal() *proposal {
	w := m.node.w
	p := &proposal{}
	for range 1 + w.rng.IntN(3) {
		w.nextID++
		p.puts = append(p.puts, w.nextID)
	}
	if w.rng.IntN(2) == 0 {
		p.settle = m.some(w.rng.IntN(6))
	}
	if w.rng.IntN(3) == 0 {
		p.puts = nil
	}
	return p
}

func (p *proposal) settles() bool { return len(p.puts) == 0 }

func (p *proposal) encode() []byte {
	dst := []byte{byte(len(p.puts) + len(p.settle))}
	for _, id := range p.puts {
		dst = append(dst, put)
		dst = binary.LittleEndian.AppendUint64(dst, id)
		dst = append(dst, bodyOf(id)...)
	}
	for _, id := range p.settle {
		dst = append(dst, settle)
		dst = binary.LittleEndian.AppendUint64(dst, id)
	}
	return dst
}

// some answers up to n live commands, by chance but the same for the same seed.
func (m *machine) some(n int) []uint64 {
	all := slices.Sorted(maps.Keys(m.live))
	var out []uint64
	for range min(n, len(all)) {
		out = append(out, all[m.node.w.rng.IntN(len(all))])
	}
	return out
}

func (m *machine) Apply(e cluster.Entry, tag any) {
	w := m.node.w
	h := fnv.New64a()
	h.Write(e.Data)
	at := position{m.group, e.Index}
	if was, ok := w.applied[at]; ok && was != h.Sum64() {
		w.violated("entry %d of group %d differs on node %d", e.Index, m.group, m.node.id)
	}
	w.applied[at] = h.Sum64()
	w.report.Applied++
	rest := e.Data[1:]
	for len(rest) > 0 {
		begin := uint32(len(e.Data) - len(rest))
		id := binary.LittleEndian.Uint64(rest[1:])
		kind := rest[0]
		rest = rest[commandHead:]
		if kind == put {
			n := len(bodyOf(id))
			m.live[id] = body{e.Index, begin}
			m.g.Use(e.Index, int64(n))
			rest = rest[n:]
		} else if b, ok := m.live[id]; ok {
			m.g.Use(b.index, -int64(len(bodyOf(id))))
			delete(m.live, id)
			delete(w.acked[m.group], id)
		}
	}
	m.hash = m.hash*31 + h.Sum64()
	if was, ok := w.states[at]; ok && was != m.hash {
		w.violated("the state after entry %d of group %d differs on node %d", e.Index, m.group, m.node.id)
	}
	w.states[at] = m.hash
	if p, ok := tag.(*proposal); ok {
		w.report.Confirmed++
		for _, id := range p.puts {
			if _, ok := m.live[id]; ok {
				w.acked[m.group][id] = true
			}
		}
	}
}

func (m *machine) Dropped(any, error) {}

func (m *machine) Restore(g *cluster.Group, r *cluster.CheckpointReader) error {
	m.g = g
	m.hash = r.Uvarint()
	for n := r.Uvarint(); n > 0 && r.Err() == nil; n-- {
		id := r.Uvarint()
		b := body{r.Uvarint(), uint32(r.Uvarint())}
		m.live[id] = b
		g.Use(b.index, int64(len(bodyOf(id))))
	}
	return r.Err()
}

func (m *machine) Capture() func(*cluster.CheckpointWriter) error {
	live, hash := maps.Clone(m.live), m.hash
	return func(w *cluster.CheckpointWriter) error {
		w.Uvarint(hash)
		w.Uvarint(uint64(len(live)))
		for _, id := range slices.Sorted(maps.Keys(live)) {
			w.Uvarint(id)
			w.Uvarint(live[id].index)
			w.Uvarint(uint64(live[id].at))
		}
		return nil
	}
}

// read answers the body of a live command.
func (m *machine) read(id uint64) ([]byte, error) {
	b := m.live[id]
	entry, err := m.g.Read(b.index)
	if err != nil {
		return nil, err
	}
	data, err := entry.At(b.at)
	if err != nil {
		return nil, err
	}
	return data[min(commandHead, len(data)):], nil
}

func (m *machine) check(id uint64) {
	data, err := m.read(id)
	want := bodyOf(id)
	if err != nil || len(data) < len(want) || !bytes.Equal(data[:len(want)], want) {
		m.node.w.violated("node %d: body of command %d of group %d: %v", m.node.id, id, m.group, fmt.Errorf("%d bytes, %w", len(data), err))
	}
}

// damaged says that the body of a live command cannot be read. A wrong one is a violation.
func (m *machine) damaged(id uint64) bool {
	if _, err := m.read(id); err != nil {
		return true
	}
	m.check(id)
	return false
}

// pieces are where what is alive of an entry begins.
func (m *machine) pieces(index uint64) (all []uint32) {
	for _, b := range m.live {
		if b.index == index {
			all = append(all, b.at)
		}
	}
	slices.Sort(all)
	return all
}

func (m *machine) liveBytes(index uint64) (n int64) {
	for id, b := range m.live {
		if b.index == index {
			n += int64(len(bodyOf(id)))
		}
	}
	return n
}

// measure answers how long a command is.
func measure(data []byte) (int, error) {
	return commandHead + len(bodyOf(binary.LittleEndian.Uint64(data[1:]))), nil
}
