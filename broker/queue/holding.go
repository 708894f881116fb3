package queue

import "slices"

// holding is what one consumer has not acknowledged, by tag. Tags are dense, so the ring is indexed by them: settling is
// constant time in any order. When a few old tags stay behind while newer ones go, they move to a map, so that the ring
// does not grow with the distance.
type holding struct {
	ring  []held
	first uint64 // tag at ring[first&mask]; zero before the first delivery
	next  uint64 // the tag after the newest
	live  int
	old   map[uint64]Item // tags below first
}

type held struct {
	item Item
	live bool
}

func (h *holding) add(it Item) (tag uint64) {
	if h.next == 0 {
		h.first, h.next = 1, 1
	}
	if int(h.next-h.first) == len(h.ring) {
		h.grow()
	}
	tag = h.next
	h.ring[tag&uint64(len(h.ring)-1)] = held{item: it, live: true}
	h.next++
	h.live++
	return tag
}

// grow makes room for one more: it doubles the ring when most of it is live, else moves the stragglers to the map.
func (h *holding) grow() {
	inRing := h.live - len(h.old)
	if len(h.ring) >= 1024 && inRing < len(h.ring)/4 {
		if h.old == nil {
			h.old = make(map[uint64]Item)
		}
		for ; h.first < h.next; h.first++ {
			if s := h.slot(h.first); s.live {
				h.old[h.first] = s.item
				*s = held{}
			}
		}
		return
	}
	ring := make([]held, max(16, 2*len(h.ring)))
	for t := h.first; t < h.next; t++ {
		ring[t&uint64(len(ring)-1)] = *h.slot(t)
	}
	h.ring = ring
}

func (h *holding) slot(tag uint64) *held { return &h.ring[tag&uint64(len(h.ring)-1)] }

// each takes out the live tags from from to to, in order, and calls fn for them. The range is cut to what is held, so
// that a peer cannot make it long.
func (h *holding) each(from, to uint64, fn func(Item)) {
	h.eachOld(from, to, fn)
	from, to = max(from, h.first), min(to, h.next-1)
	if h.next == 0 {
		return
	}
	for t := from; t <= to && h.live > 0; t++ {
		if s := h.slot(t); s.live {
			it := s.item
			*s = held{}
			h.live--
			fn(it)
		}
	}
	for h.first < h.next && !h.slot(h.first).live {
		h.first++
	}
	if h.live == 0 && len(h.ring) > 1024 {
		h.ring = nil
		h.ring = make([]held, 16)
	}
}

// look calls fn for the live tags from from to to, which stay; fn may change the item.
func (h *holding) look(from, to uint64, fn func(*Item)) {
	if h.next == 0 {
		return
	}
	for _, t := range sortedTags(h.old, from, to) {
		it := h.old[t]
		fn(&it)
		h.old[t] = it
	}
	for t := max(from, h.first); t <= min(to, h.next-1); t++ {
		if s := h.slot(t); s.live {
			fn(&s.item)
		}
	}
}

func (h *holding) eachOld(from, to uint64, fn func(Item)) {
	if len(h.old) == 0 || from >= h.first {
		return
	}
	if to-from < uint64(len(h.old)) {
		for t := from; t <= to; t++ {
			h.takeOld(t, fn)
		}
		return
	}
	for _, t := range sortedTags(h.old, from, to) {
		h.takeOld(t, fn)
	}
}

func (h *holding) takeOld(tag uint64, fn func(Item)) {
	if it, ok := h.old[tag]; ok {
		delete(h.old, tag)
		h.live--
		fn(it)
	}
}

// drain takes out everything, oldest first.
func (h *holding) drain(fn func(Item)) {
	if h.next > 0 {
		h.each(0, h.next-1, fn)
	}
}

// items calls fn for everything that is held; fn may change the item.
func (h *holding) items(fn func(*Item)) {
	for t, it := range h.old {
		fn(&it)
		h.old[t] = it
	}
	for t := h.first; t < h.next; t++ {
		if s := h.slot(t); s.live {
			fn(&s.item)
		}
	}
}

func sortedTags(m map[uint64]Item, from, to uint64) []uint64 {
	tags := make([]uint64, 0, len(m))
	for t := range m {
		if t >= from && t <= to {
			tags = append(tags, t)
		}
	}
	slices.Sort(tags)
	return tags
}
