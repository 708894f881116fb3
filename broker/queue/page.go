package queue

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

// A page is some items of one level of a backlog, packed: bodies that are in the log are there alone. It is immutable, so
// a checkpoint shares it. Its data are, for each item in the order of IDs (docs/formats/checkpoint.md):
//
//	flags u8 | ID since the one before | index since the one before | at | size | share | expiry since the one before
//	| QoS u8 | priority u8 | count | as the flags say
//
// Numbers are LEB128, the expiry's signed. An item that follows another in the same entry takes three bytes or four.
type page struct {
	first, last uint64 // IDs
	index       uint64 // of the entry that has the first item
	n           int
	data        []byte
	items       []Item // instead of data when only memory has some of them
}

// pageItems is how many items a full page has.
const pageItems = 512

// Flags of an item in a page.
const (
	pagedGap      = 1 << iota // the ID is not the next one: its difference less two follows
	pagedEntry                // another entry than the item before: the difference of indexes follows, and at is absolute
	pagedSize                 // another size than the item before
	pagedShare                // the share is not the size
	pagedExpiry               // there is an expiry
	pagedExtra                // QoS, priority and count follow
	pagedRetained             // with pagedExtra
	pagedReturned             // with pagedExtra
)

// These are added to the QoS: of an item that was received, of one that came by a shared subscription, of one whose key
// follows as eight bytes, of one that closes its group.
const (
	pagedReceived = 0x40
	pagedShared   = 0x20
	pagedKey      = 0x10
	pagedCloses   = 0x08
)

// packer remembers the item before.
type packer struct {
	id     uint64
	index  uint64
	at     uint32
	size   uint32
	expiry int64
}

func (p *packer) append(dst []byte, it *Item) []byte {
	flags := byte(0)
	set := func(flag byte, when bool) {
		if when {
			flags |= flag
		}
	}
	set(pagedGap, it.ID != p.id+1)
	set(pagedEntry, it.Ref.Index != p.index)
	set(pagedSize, it.Size != p.size)
	set(pagedShare, it.Ref.Share != it.Size)
	set(pagedExpiry, it.Expiry != 0)
	set(pagedExtra, it.QoS != 0 || it.Priority != 0 || it.Count != 0 || it.Key != 0 ||
		it.Retained || it.Returned || it.Received || it.Shared || it.Closes)
	set(pagedRetained, it.Retained)
	set(pagedReturned, it.Returned)
	dst = append(dst, flags)
	if flags&pagedGap != 0 {
		dst = binary.AppendUvarint(dst, it.ID-p.id-2)
	}
	if flags&pagedEntry != 0 {
		dst = binary.AppendUvarint(dst, it.Ref.Index-p.index)
		p.at = 0
	}
	dst = binary.AppendUvarint(dst, uint64(it.Ref.At-p.at))
	if flags&pagedSize != 0 {
		dst = binary.AppendUvarint(dst, uint64(it.Size))
	}
	if flags&pagedShare != 0 {
		dst = binary.AppendUvarint(dst, uint64(it.Ref.Share))
	}
	if flags&pagedExpiry != 0 {
		dst = binary.AppendVarint(dst, it.Expiry-p.expiry)
		p.expiry = it.Expiry
	}
	if flags&pagedExtra != 0 {
		qos := it.QoS
		if it.Received {
			qos |= pagedReceived
		}
		if it.Shared {
			qos |= pagedShared
		}
		if it.Key != 0 {
			qos |= pagedKey
		}
		if it.Closes {
			qos |= pagedCloses
		}
		dst = append(dst, qos, it.Priority)
		dst = binary.AppendUvarint(dst, uint64(it.Count))
		if it.Key != 0 {
			dst = binary.LittleEndian.AppendUint64(dst, it.Key)
		}
	}
	p.id, p.index, p.at, p.size = it.ID, it.Ref.Index, it.Ref.At, it.Size
	return dst
}

// pack makes a page of items in the order of their IDs, which are not zero, and answers how many bytes of bodies it let
// go of.
func pack(items []Item) (pg *page, freed int64) {
	pg = &page{first: items[0].ID, last: items[len(items)-1].ID, index: items[0].Ref.Index, n: len(items)}
	durable := true
	for i := range items {
		durable = durable && items[i].Durable
		if items[i].Durable && items[i].Message != nil {
			freed += int64(items[i].Size)
		}
	}
	if !durable {
		pg.items = slices.Clone(items)
		for i := range pg.items {
			if pg.items[i].Durable {
				pg.items[i].Message = nil
			}
		}
		return pg, freed
	}
	pg.data = encode(items)
	return pg, freed
}

// EncodeItems packs durable items in the order of their IDs, as a checkpoint has them; DecodeItems is the reverse.
func EncodeItems(items []Item) []byte {
	slices.SortFunc(items, func(a, b Item) int { return cmp.Compare(a.ID, b.ID) })
	return encode(items)
}

// DecodeItems reads what EncodeItems wrote.
func DecodeItems(data []byte) ([]Item, error) { return unpack(nil, data) }

// encode packs durable items into as many bytes as it takes.
func encode(items []Item) []byte {
	var p packer
	data := make([]byte, 0, 4*len(items)+16)
	for i := range items {
		data = p.append(data, &items[i])
	}
	return slices.Clip(append([]byte(nil), data...))
}

var errPage = errors.New("a page of items is damaged")

// unpack appends the items of a page to dst; what it does not understand is an error, and dst is as before.
func unpack(dst []Item, data []byte) ([]Item, error) {
	start := len(dst)
	c := pageCursor{rest: data}
	var p packer
	for len(c.rest) > 0 {
		it := Item{Durable: true}
		flags := c.byte()
		it.ID = p.id + 1
		if flags&pagedGap != 0 {
			it.ID = p.id + 2 + c.uvarint()
		}
		it.Ref.Index = p.index
		if flags&pagedEntry != 0 {
			it.Ref.Index += c.uvarint()
			p.at = 0
		}
		it.Ref.At = p.at + uint32(c.uvarint())
		if it.Size = p.size; flags&pagedSize != 0 {
			it.Size = uint32(c.uvarint())
		}
		if it.Ref.Share = it.Size; flags&pagedShare != 0 {
			it.Ref.Share = uint32(c.uvarint())
		}
		if flags&pagedExpiry != 0 {
			it.Expiry = p.expiry + c.varint()
			p.expiry = it.Expiry
		}
		if flags&pagedExtra != 0 {
			it.QoS, it.Priority = c.byte(), c.byte()
			kind := it.QoS
			it.Received, it.Shared, it.Closes = kind&pagedReceived != 0, kind&pagedShared != 0, kind&pagedCloses != 0
			it.QoS &^= pagedReceived | pagedShared | pagedKey | pagedCloses
			it.Count = uint32(c.uvarint())
			if kind&pagedKey != 0 {
				it.Key = c.eight()
			}
			it.Retained, it.Returned = flags&pagedRetained != 0, flags&pagedReturned != 0
		}
		if c.bad || it.ID <= p.id {
			return dst[:start], errPage
		}
		p.id, p.index, p.at, p.size = it.ID, it.Ref.Index, it.Ref.At, it.Size
		dst = append(dst, it)
	}
	return dst, nil
}

// pageCursor reads fields; after the first that is not there all are zero.
type pageCursor struct {
	rest []byte
	bad  bool
}

func (c *pageCursor) byte() byte {
	if len(c.rest) == 0 {
		c.bad = true
		return 0
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return b
}

// eight is a number of eight bytes.
func (c *pageCursor) eight() uint64 {
	if len(c.rest) < 8 {
		c.bad, c.rest = true, nil
		return 0
	}
	n := binary.LittleEndian.Uint64(c.rest)
	c.rest = c.rest[8:]
	return n
}

func (c *pageCursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.rest)
	return v * c.took(n)
}

func (c *pageCursor) varint() int64 {
	v, n := binary.Varint(c.rest)
	return v * int64(c.took(n))
}

// took moves on by the n bytes of a number; it answers 0 and ends the reading when there was none.
func (c *pageCursor) took(n int) uint64 {
	if n <= 0 {
		c.bad, c.rest = true, nil
		return 0
	}
	c.rest = c.rest[n:]
	return 1
}
