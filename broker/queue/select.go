package queue

import (
	"cmp"
	"slices"
)

// A consumer that selects takes only the items that its filter matches, wherever they wait; one that browses is shown a
// copy of each and takes none. Both look at the items that wait one after the other and remember how far they are, so that
// an item is examined once for each of them: again only when it came back to the queue.
//
// Looking is done in slices, since a long backlog takes long: whoever owns the queue calls Examine as long as Examining says
// that there is more, and does other work in between. Meanwhile Pump does not look.

// mostExamined bounds how many items are examined at a time.
const mostExamined = 2048

// mostRevisited bounds how many items that came back a consumer remembers by themselves; of more, it remembers the first.
const mostRevisited = 256

// Filter says whether a consumer wants an item. It may read what is not in memory, and keeps nothing of the item.
type Filter func(*Item) bool

// looking is how far a consumer that selects or browses has looked.
type looking struct {
	filter  Filter // nil when it browses everything
	browse  bool
	discard bool
	next    []uint64  // by level; items with lower IDs were examined
	upTo    uint64    // the queue's next ID when everything had been examined
	revisit []visited // that came back since, and lie before next: those of higher levels first, and of a level in order
}

type visited struct {
	level int
	id    uint64
}

func (v visited) compare(o visited) int {
	return cmp.Or(cmp.Compare(o.level, v.level), cmp.Compare(v.id, o.id))
}

// selects says that the consumer does not take what comes first.
func (c *Consumer) selects() bool { return c.look != nil }

// takes says whether the consumer wants an item that is at the head of its level: there is none that it would have to
// examine before.
func (c *Consumer) takes(it *Item) bool {
	l := c.look
	if l == nil {
		return true
	}
	next := &l.next[min(int(it.Priority), len(l.next)-1)]
	if l.browse || l.discard || it.ID < *next {
		return false
	}
	if !c.queue.mayHave(c, it) || l.filter != nil && !l.filter(it) || !c.queue.join(c, it) {
		*next = it.ID + 1
		return false
	}
	return true
}

// lookUp begins with the first item.
func (q *Queue) lookUp(c *Consumer, o ConsumerOptions) {
	if o.Filter == nil && !o.Browse && (q.groups == nil || o.Passive) {
		return
	}
	c.look = &looking{filter: o.Filter, browse: o.Browse, discard: o.Discard, next: make([]uint64, int(q.options.MaxPriority)+1)}
	q.looking++
}

func (q *Queue) lookAway(c *Consumer) {
	if c.look != nil {
		q.looking--
		c.look = nil
	}
}

// cameBack tells those that looked already of an item in the queue.
func (q *Queue) cameBack(level int, id uint64) {
	if q.looking == 0 {
		return
	}
	for _, c := range q.consumers {
		switch l := c.look; {
		case l == nil:
		case id >= l.next[level]:
			if l.upTo > id { // it was never seen: it went to a consumer as it came
				l.upTo = 0
			}
		case !l.browse:
			l.remember(visited{level, id})
		}
	}
}

func (l *looking) remember(v visited) {
	l.upTo = 0
	at, there := slices.BinarySearchFunc(l.revisit, v, visited.compare)
	if there {
		return
	}
	if len(l.revisit) < mostRevisited {
		l.revisit = slices.Insert(l.revisit, at, v)
		return
	}
	for _, r := range append(l.revisit, v) {
		l.next[r.level] = min(l.next[r.level], r.id)
	}
	l.revisit = l.revisit[:0]
}

// lookAgain lets those that have looked already look at items from an ID on once more: they may have them now. It is for the
// next round, since somebody may be looking.
func (q *Queue) lookAgain(from uint64) {
	if q.from = min(q.from, from); !q.again {
		q.from, q.again = from, true
	}
	for _, c := range q.consumers {
		if c.look != nil {
			c.look.upTo = 0
		}
	}
}

// rewind begins a round.
func (q *Queue) rewind() {
	q.again = false
	for _, c := range q.consumers {
		l := c.look
		if l == nil || l.browse {
			continue
		}
		l.upTo = 0
		for i := range l.next {
			l.next[i] = min(l.next[i], q.from)
		}
		l.revisit = slices.DeleteFunc(l.revisit, func(v visited) bool { return v.id >= l.next[v.level] })
	}
}

// Examining says that consumers have not looked at everything that waits, and could be given more.
func (q *Queue) Examining() bool { return q.examining }

// Examine is Pump for a queue that is Examining: it goes on where the last one ended.
func (q *Queue) Examine(now int64) {
	q.examining = false
	q.Pump(now)
}

// examine lets the consumers that select or browse look at what waits, in turn, and gives them what they want.
func (q *Queue) examine(now int64) {
	budget := mostExamined
	for budget = q.examineOnce(now, budget); budget > 0 && q.again; budget = q.examineOnce(now, budget) {
		q.rewind()
	}
}

// examineOnce is one round of examine, and answers what is left of the budget.
func (q *Queue) examineOnce(now int64, budget int) int {
	for i := range q.consumers {
		c := q.consumers[(q.looked+i)%len(q.consumers)]
		if c.look == nil || !q.serves(c) {
			continue
		}
		if budget = q.lookFor(now, c, budget); budget == 0 {
			q.examining, q.looked = true, (q.looked+i)%len(q.consumers)
			return 0
		}
	}
	q.looked = 0
	return budget
}

// looks says that a consumer has not looked at everything, and goes on with that.
func (q *Queue) looks(c *Consumer) bool {
	return c.look != nil && c.look.upTo != q.next && q.serves(c)
}

// serves says whether a consumer may be given something now: of a queue with a single active consumer, only that one.
func (q *Queue) serves(c *Consumer) bool {
	if !c.wants() {
		return false
	}
	return !q.options.SingleActive || c.look.browse || c == q.consumers[slices.IndexFunc(q.consumers, (*Consumer).Active)]
}

// lookFor lets one consumer look on, and answers what is left of the budget: zero when there is more to look at.
func (q *Queue) lookFor(now int64, c *Consumer, budget int) int {
	l := c.look
	if l.upTo == q.next {
		return budget
	}
	for len(l.revisit) > 0 && c.wants() {
		v, one := l.revisit[0], 1
		if _, done := q.sift(now, c, v.level, v.id, v.id, &one); !done && one == 1 {
			return budget
		}
		l.revisit = slices.Delete(l.revisit, 0, 1)
	}
	for i := len(q.levels) - 1; i >= 0; i-- {
		for c.wants() {
			if budget == 0 {
				return 0
			}
			at, done := q.sift(now, c, i, l.next[i], q.next, &budget)
			if l.next[i] = at; done {
				break
			}
		}
		if !c.wants() {
			return budget
		}
	}
	if len(l.revisit) == 0 {
		l.upTo = q.next
	}
	return budget
}

// sift gives a consumer what it wants of the items of a level with IDs from first to last. It is done when it has seen all
// of them, and not when it ended with the budget, or because the consumer has enough; at is where to go on.
func (q *Queue) sift(now int64, c *Consumer, level int, first, last uint64, budget *int) (at uint64, done bool) {
	at, done = first, true
	q.levels[level].sift(first, func(it *Item) verdict {
		if it.ID > last {
			return stop
		}
		v := stop
		if *budget > 0 && c.wants() {
			v = q.show(now, c, it)
		}
		if v == stop {
			done = false
			return stop
		}
		*budget--
		at = it.ID + 1
		return v
	})
	if done {
		at = max(at, last)
	}
	return at, done
}

// show lets a consumer look at an item.
func (q *Queue) show(now int64, c *Consumer, it *Item) verdict {
	l := c.look
	switch {
	case it.Expiry != 0 && it.Expiry <= now:
		q.left(it)
		q.die(*it, Expired)
		return take
	case !l.browse && !q.mayHave(c, it):
		return leave
	case l.filter != nil && !l.filter(it):
		if !l.discard {
			return leave
		}
		q.left(it)
		q.leave(it)
		return take
	case l.browse:
		c.offer(it, 0)
		return leave
	case !q.join(c, it):
		return leave
	case !c.noAck && !c.flow.take(): // a consumer of another queue was faster
		return stop
	}
	q.left(it)
	taken := *it
	q.give(c, &taken)
	return take
}

// left accounts for an item that no longer waits.
func (q *Queue) left(it *Item) {
	q.ready--
	q.bytes -= int64(it.Size)
}

// verdict is what becomes of an item that was looked at.
type verdict uint8

const (
	leave verdict = iota // it goes on waiting
	take                 // it is taken out
	stop                 // it goes on waiting, and so do all behind it, which are not looked at
)

// sift looks at the items with IDs from first on, in order. Fn must not keep the item.
func (l *level) sift(first uint64, fn func(*Item) verdict) {
	removed, stopped := l.head.sift(first, fn)
	l.n -= removed
	for i := l.pageOf(first); i < len(l.pages) && !stopped; {
		n := len(l.pages)
		stopped = l.siftPage(i, first, fn)
		if len(l.pages) == n {
			i++
		}
	}
	if !stopped {
		removed, _ = l.tail.sift(first, fn)
		l.n -= removed
	}
}

// siftPage is sift for one page, which is packed again when something was taken out, or goes when everything was.
func (l *level) siftPage(i int, first uint64, fn func(*Item) verdict) (stopped bool) {
	p := l.pages[i]
	items := l.items(p)
	var rest []Item // nil while nothing was taken
	var it Item     // one for all, so that looking does not allocate it
	for k := range items {
		it = items[k]
		v := leave
		if !stopped && it.ID >= first {
			v = fn(&it)
			stopped = v == stop
		}
		switch {
		case v == take:
			if rest == nil {
				rest = append(make([]Item, 0, p.n), items[:k]...)
			}
			l.n--
		case rest != nil:
			rest = append(rest, items[k])
		case stopped:
			return true
		}
	}
	switch {
	case rest == nil:
	case len(rest) == 0:
		if l.pages = slices.Delete(l.pages, i, i+1); len(l.pages) == 0 {
			l.pages = nil
		}
	default:
		l.pages[i], _ = pack(rest)
	}
	return stopped
}

// sift looks at the items with IDs from first on, in order, and answers how many were taken out.
func (d *deque) sift(first uint64, fn func(*Item) verdict) (removed int, stopped bool) {
	for i := d.search(first); i < d.n; i++ {
		v := leave
		if !stopped {
			v = fn(d.at(i))
			stopped = v == stop
		}
		switch {
		case v == take:
			removed++
		case removed > 0:
			*d.at(i - removed) = *d.at(i)
		case stopped:
			return 0, true
		}
	}
	for range removed {
		d.popBack()
	}
	return removed, stopped
}
