package queue

import "slices"

// Consumer takes messages of one queue. Its fields belong to the queue's owner.
type Consumer struct {
	// Of is the owner's own: where the deliveries go.
	Of any

	queue    *Queue
	noAck    bool
	passive  bool // takes only by Get
	priority int
	limit    int  // unacknowledged deliveries; zero is no limit
	paused   bool // its connection has no room
	gone     bool
	flow     *Flow    // nil while the consumer shares none
	look     *looking // nil for a consumer that takes what comes first
	credit   credit
	groups   int // that it has

	suspended bool     // see Suspend
	again     []uint64 // tags that are to be given again, before anything else
	onlyAgain bool     // it gets nothing else, though it is stopped

	pending []Delivery // to be taken by Take
	offered int        // bytes of pending
	held    holding
}

// ConsumerOptions of Join.
type ConsumerOptions struct {
	NoAck    bool
	Passive  bool // gets messages by Get alone
	Limit    int  // deliveries that may be unacknowledged; zero is no limit
	Priority int  // higher ones are served first
	Flow     *Flow
	Filter   Filter // takes only what it matches; nil is everything
	Discard  bool   // with a filter: what it does not match leaves the queue
	Browse   bool   // is shown what waits, and takes nothing; its deliveries have no tag and need no settling
	Credited bool   // gets what it has credit for; see Grant
	Of       any
}

// Join adds a consumer. It gets nothing before the next Pump.
func (q *Queue) Join(o ConsumerOptions) *Consumer {
	c := &Consumer{Of: o.Of, queue: q, noAck: o.NoAck, passive: o.Passive, priority: o.Priority, limit: o.Limit, flow: o.Flow, credit: credit{counted: o.Credited}}
	at := len(q.consumers)
	for at > 0 && q.consumers[at-1].priority < c.priority {
		at--
	}
	q.consumers = slices.Insert(q.consumers, at, c)
	q.lookUp(c, o)
	if !c.passive {
		q.active++
		q.rebalance()
	}
	return c
}

// Leave ends a consumer; what it holds goes back to the queue.
func (q *Queue) Leave(c *Consumer) {
	if c.gone {
		return
	}
	if i := slices.Index(q.consumers, c); i >= 0 {
		q.consumers = slices.Delete(q.consumers, i, i+1)
	}
	q.Stop(c)
	q.lookAway(c)
	q.wake(c)
	q.repeatNone(c)
	c.gone = true
	c.held.drain(func(it Item) { q.back(it, Release, nil) })
}

// Stop ends new deliveries to a consumer; those that it holds stay with it until they are settled or it leaves.
func (q *Queue) Stop(c *Consumer) {
	if !c.passive {
		c.passive = true
		q.active--
		q.ungroup(c)
	}
}

// Active says whether a consumer gets messages by itself.
func (c *Consumer) Active() bool { return !c.passive && !c.gone }

// Keep says whether the consumer holds what it is given until it is settled, or is given it for good, from now on.
func (c *Consumer) Keep(keep bool) { c.noAck = !keep }

// SetLimit changes how many deliveries may be unacknowledged.
func (c *Consumer) SetLimit(n int) { c.limit = n }

// Share lets the consumer take part in a flow, with what it holds already.
func (c *Consumer) Share(f *Flow) {
	if c.flow == nil {
		c.flow = f
		f.held.Add(int64(c.held.live))
	}
}

// Pause says whether the consumer's connection has room.
func (c *Consumer) Pause(paused bool) { c.paused = paused }

// Unsettled is how many deliveries the consumer holds.
func (c *Consumer) Unsettled() int { return c.held.live }

func (c *Consumer) wants() bool {
	return !c.passive && !c.paused && !c.gone && c.offered < mostOffered && (!c.credit.counted || c.credit.left > 0) &&
		(c.noAck || c.limit == 0 || c.held.live < c.limit) && c.flow.open(c.noAck)
}

// pick is who gets an item: of those of the highest priority that want it, each in turn. The item matters only to those
// that select.
func (q *Queue) pick(it *Item) *Consumer {
	n := len(q.consumers)
	if n == 0 {
		return nil
	}
	if q.options.SingleActive {
		if i := slices.IndexFunc(q.consumers, (*Consumer).Active); i >= 0 && q.consumers[i].wants() && q.consumers[i].takes(it) {
			return q.consumers[i]
		}
		return nil
	}
	var best *Consumer
	at := 0
	for i := range n {
		j := q.turn + i
		if j >= n {
			j -= n
			if j >= n {
				j %= n
			}
		}
		c := q.consumers[j]
		if (best == nil || c.priority > best.priority) && c.wants() && c.takes(it) {
			best, at = c, j
			if c.priority >= q.consumers[0].priority {
				break
			}
		}
	}
	if best != nil {
		q.turn = at + 1
		if q.turn >= n {
			q.turn = 0
		}
	}
	return best
}

// chosen is pick, with room taken in what the consumer shares with others. Nothing but deliveries needs that room.
// [MQTT5-3.3.4-10], [MQTT5-4.9.0-2], [MQTT5-4.9.0-3]
func (q *Queue) chosen(it *Item) *Consumer {
	for {
		c := q.pick(it)
		if c == nil || c.noAck || c.flow.take() {
			return c
		}
		// A consumer of another queue was faster: pick passes this one over now.
	}
}

func (c *Consumer) offer(it *Item, tag uint64) {
	c.credit.used()
	if len(c.pending) == 0 {
		c.queue.touched = append(c.queue.touched, c)
	}
	c.pending = append(c.pending, Delivery{Item: *it, Tag: tag, Note: c.queue.noted(it.ID)})
	if c.offered += int(it.Size); c.offered >= mostOffered {
		c.queue.more = true
	}
}

// mostOffered is how many bytes a consumer is given before Take: then it may say that it has no room for more.
const mostOffered = 256 << 10

// Get gives the consumer the next item, whatever its credit. Remaining is how many wait behind it.
func (q *Queue) Get(now int64, c *Consumer) (d Delivery, remaining int, ok bool) {
	q.expire(now)
	it, ok := q.first(c)
	if !ok {
		return Delivery{}, 0, false
	}
	q.delivered++
	if q.groups != nil && it.Key != 0 {
		q.groups.lent(q, c, &it)
	}
	if c.noAck {
		q.leave(&it)
		return Delivery{Item: it}, q.ready, true
	}
	q.unacked++
	return Delivery{Item: it, Tag: c.hold(it)}, q.ready, true
}

// first takes the item that a consumer gets next by Get.
func (q *Queue) first(c *Consumer) (it Item, ok bool) {
	switch {
	case q.ready == 0:
		return Item{}, false
	case q.groups != nil:
		return q.firstFree(c)
	}
	return q.take(q.highest()), true
}

// Settle ends the deliveries of tags from to to, those of them that the consumer still holds, and answers how many.
func (q *Queue) Settle(c *Consumer, from, to uint64, o Outcome) int {
	n := 0
	c.held.each(from, to, func(it Item) {
		n++
		q.back(it, o, nil)
	})
	return n
}

// SettleNoted is Settle with a note for whoever gets the messages next.
func (q *Queue) SettleNoted(c *Consumer, from, to uint64, o Outcome, r Remark) int {
	n, remark := 0, q.remark(r)
	c.held.each(from, to, func(it Item) {
		n++
		var left []byte
		if o != Accept {
			left = remark(&it)
		}
		q.back(it, o, left)
	})
	return n
}

// back takes an item back from a consumer; left is the note that it has from now on, nil when that is what it was.
func (q *Queue) back(it Item, o Outcome, left []byte) {
	q.unacked--
	if q.groups != nil && it.Key != 0 {
		defer q.groups.settled(q, it.Key)
	}
	switch o {
	case Accept:
		q.leave(&it)
	case Reject:
		q.die(it, Rejected)
	default:
		it.Returned = true
		if q.options.SentStays && it.QoS == 2 {
			it.Expiry = 0 // [MQTT5-4.3.3-7]
		}
		counts := o == Fail || o == Requeue && (q.options.HasDeliveryLimit || q.options.CountReturns)
		if counts {
			it.Count++
			if q.options.HasDeliveryLimit && it.Count > q.options.DeliveryLimit {
				q.die(it, DeliveryLimit)
				return
			}
		}
		if it.Durable && (counts || left != nil) {
			q.returned = append(q.returned, Return{ID: it.ID, Count: it.Count, Note: left})
		}
		q.put(it)
	}
}

func (c *Consumer) hold(it Item) uint64 { return c.held.add(it) }

func (c *Consumer) each(fn func(*Item)) { c.held.items(fn) }
