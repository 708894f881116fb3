package router

import (
	"fmt"
	"math"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// hashed gives each message to one binding, which its key, or a header or property, decides: the same one as long as the
// bindings are the same. A binding that comes takes its share from the others evenly, and one that goes gives its back.
//
// It is weighted rendezvous hashing (Thaler and Ravishankar 1998; weights after Schindelhauer and Schomaker 2005), which
// needs no state: where a message goes does not depend on the order in which the bindings came, so that it is the same
// after a restart and on every node.
type hashed[T comparable] struct {
	all      list[T]
	header   string // hashed in place of the key when not empty
	property string // likewise
}

func newHashed[T comparable](a object.Arguments) *hashed[T] {
	x := new(hashed[T])
	x.header, _, _ = a.Text(object.HashHeader)
	x.property, _, _ = a.Text(object.HashProperty)
	return x
}

func (x *hashed[T]) add(b *binding[T])    { x.all.add(b, inIndex) }
func (x *hashed[T]) remove(b *binding[T]) { x.all.remove(b, inIndex) }

func (x *hashed[T]) each(visit func(*binding[T])) { x.all.each(visit) }

func (x *hashed[T]) match(m *Message, visit func(*binding[T])) {
	if b := x.pick(hash(x.subject(m))); b != nil {
		visit(b)
	}
}

// subject is what is hashed. A message without it counts as one that has it empty.
func (x *hashed[T]) subject(m *Message) string {
	switch {
	case x.header == "" && x.property == "":
		return m.key()
	case m.Attributes == nil:
		return ""
	case x.header != "":
		v, _ := m.Attributes.Header(x.header)
		return fmt.Sprint(v)
	}
	return m.Attributes.Property(x.property)
}

func (x *hashed[T]) pick(subject uint64) (best *binding[T]) {
	most := math.Inf(-1)
	for _, b := range x.all {
		// 53 bits are what a float64 holds; a half keeps the logarithm from zero and infinity.
		u := (float64(mix(subject^b.bound.special.seed)>>11) + 0.5) / (1 << 53)
		if score := -b.bound.special.weight / math.Log(u); score > most || score == most && b.bound.special.seed < best.bound.special.seed {
			most, best = score, b
		}
	}
	return best
}

// hash is FNV-1a, finished by mix.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// mix spreads each bit over all (the finaliser of MurmurHash3).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// lottery gives each message to one binding, any of them.
type lottery[T comparable] struct{ all list[T] }

func (x *lottery[T]) add(b *binding[T])    { x.all.add(b, inIndex) }
func (x *lottery[T]) remove(b *binding[T]) { x.all.remove(b, inIndex) }

func (x *lottery[T]) each(visit func(*binding[T])) { x.all.each(visit) }

func (x *lottery[T]) match(m *Message, visit func(*binding[T])) {
	if n := uint64(len(x.all)); n > 0 {
		visit(x.all[m.Chance%n])
	}
}
