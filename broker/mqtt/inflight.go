package mqtt

// maxPacketIDs is how many packet identifiers there are.
const maxPacketIDs = 1<<16 - 1

// inflight is the deliveries that are not complete, by packet identifier.
//
// The identifier of a delivery is the number of its item in the session's queue modulo 65535, plus 1. So a delivery that
// is repeated, on another connection or after a restart, has the identifier that it had [MQTT-4.4.0-1], without its
// being stored. When an old delivery that was never acknowledged still has it, the next free one is taken.
//
// What waits is mostly a dense window of identifiers, so it lies in a small table by their low bits; the few that find
// their place taken are in a map.
type inflight struct {
	table []flight          // its length is a power of two
	apart map[uint16]flight // those without a place
	loans map[uint16]loan   // deliveries of queues, which have identifiers that are free
	lent  uint16            // the last one of those
}

// flight is a delivery that waits; its tag is zero when the place is free.
type flight struct {
	tag   uint64
	id    uint16
	state flightState
}

// flightState is what a delivery waits for.
type flightState uint8

const (
	awaitsPuback  flightState = iota // [MQTT5-4.3.2-3]
	awaitsPubrec                     // [MQTT5-4.3.3-3]
	awaitsPubcomp                    // [MQTT5-4.3.3-5]
)

const (
	firstTable = 16
	mostTable  = 1024
)

func (f *inflight) add(item, tag uint64, state flightState) uint16 {
	id := uint16((item-1)%maxPacketIDs) + 1 // [MQTT-2.3.1-1], [MQTT5-4.3.2-1], [MQTT5-4.3.3-1]
	for f.waits(id) {                       // [MQTT-2.3.1-4]
		if id++; id == 0 {
			id = 1
		}
	}
	f.place(flight{tag: tag, id: id, state: state})
	return id
}

func (f *inflight) slot(id uint16) *flight { return &f.table[int(id)&(len(f.table)-1)] }

func (f *inflight) waits(id uint16) bool {
	if _, ok := f.loans[id]; ok {
		return true
	}
	if len(f.table) == 0 {
		return false
	}
	if s := f.slot(id); s.tag == 0 || s.id == id {
		return s.tag != 0 || f.isApart(id)
	}
	return f.isApart(id)
}

func (f *inflight) isApart(id uint16) bool {
	if len(f.apart) == 0 {
		return false
	}
	_, ok := f.apart[id]
	return ok
}

func (f *inflight) place(w flight) {
	for len(f.table) == 0 || f.slot(w.id).tag != 0 && len(f.table) < mostTable {
		f.grow()
	}
	if s := f.slot(w.id); s.tag == 0 {
		*s = w
		return
	}
	if f.apart == nil {
		f.apart = make(map[uint16]flight)
	}
	f.apart[w.id] = w
}

func (f *inflight) grow() {
	old := f.table
	f.table = make([]flight, max(firstTable, 2*len(old)))
	for _, s := range old {
		if s.tag != 0 {
			*f.slot(s.id) = s // two of them differ in the bits of the old table already
		}
	}
}

// find answers the delivery with an identifier; its tag is zero when there is none.
func (f *inflight) find(id uint16) flight {
	if len(f.table) == 0 {
		return flight{}
	}
	if s := f.slot(id); s.tag != 0 && s.id == id {
		return *s
	}
	return f.apart[id]
}

// take takes out the delivery with an identifier and answers its tag; zero when there is none.
func (f *inflight) take(id uint16) (tag uint64) {
	if len(f.table) == 0 {
		return 0
	}
	if s := f.slot(id); s.tag != 0 && s.id == id {
		tag, s.tag = s.tag, 0
		return tag
	}
	tag = f.apart[id].tag
	delete(f.apart, id)
	return tag
}

// received says that the client has a delivery of QoS 2, which waits for PUBCOMP from now on.
func (f *inflight) received(id uint16) {
	if s := f.slot(id); s.tag != 0 && s.id == id {
		s.state = awaitsPubcomp
		return
	}
	w := f.apart[id]
	w.state = awaitsPubcomp
	f.apart[id] = w
}

// lend gives a delivery of a queue an identifier. There are fewer deliveries than identifiers.
func (f *inflight) lend(l loan) uint16 {
	for {
		if f.lent--; f.lent != 0 && !f.waits(f.lent) { // from the other end than sessions begin at
			break
		}
	}
	if f.loans == nil {
		f.loans = make(map[uint16]loan)
	}
	f.loans[f.lent] = l
	return f.lent
}

// takeLoan takes out the delivery of a queue that has an identifier.
func (f *inflight) takeLoan(id uint16) (l loan, ok bool) {
	l, ok = f.loans[id]
	delete(f.loans, id)
	return l, ok
}

// forget takes out all deliveries of a queue, and answers how many those were.
func (f *inflight) forget(from *queueConsumer) (n int) {
	for id, l := range f.loans {
		if l.from == from {
			delete(f.loans, id)
			n++
		}
	}
	return n
}
