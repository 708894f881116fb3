package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// headroom is how many bytes the heap may grow by before the collector runs, or as many as are alive if that is more. A
// broker that keeps up holds a few megabytes alive and turns over a hundred a second: without headroom, half of its time
// is spent on looking through the same few megabytes. One that holds much needs none beside what Go gives it.
const headroom = 14 << 20

// normalPercent is Go's own: the heap may grow by as much as is alive.
const normalPercent = 100

// keepHeadroom adjusts the collector after each of its runs, as long as the process lives. It leaves a GOGC of the user's
// alone.
func keepHeadroom() {
	present := debug.SetGCPercent(normalPercent)
	if present != normalPercent {
		debug.SetGCPercent(present)
		return
	}
	adjust(normalPercent)
	go collectWhenQuiet() // as long as the process lives
}

// adjust sets the percentage that gives the headroom to what is alive now, and comes back after the next collection.
func adjust(present int) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	wanted := percentFor(live[0].Value.Uint64())
	if wanted*10 < present*9 || wanted*10 > present*11 { // setting it stops the world, if only for a moment
		debug.SetGCPercent(wanted)
		present = wanted
	}
	collected := new([64]byte) // large enough not to share its memory with others
	runtime.AddCleanup(collected, adjust, present)
}

// percentFor is the percentage that lets so many live bytes grow by headroom, or by as much again.
func percentFor(live uint64) int {
	const least = 4 << 20 // Go multiplies its least heap, of this size, by the percentage
	return int(max(normalPercent, headroom*100/max(live, least)))
}

// collectWhenQuiet collects what a burst left behind, and gives it back to the system, once little happens. The collector alone would let it lie until as
// much again was allocated, or for two minutes: after a hundred thousand clients have connected, that is as much as they
// hold.
func collectWhenQuiet() {
	const objects, allocated, live = 0, 1, 2
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	last := uint64(0)
	for range time.Tick(time.Second) {
		metrics.Read(samples)
		now := samples[allocated].Value.Uint64()
		if worthCollecting(now-last, samples[objects].Value.Uint64(), samples[live].Value.Uint64()) {
			debug.FreeOSMemory()
		}
		last = now
	}
}

const (
	quiet = 1 << 20 // bytes that are allocated in a second, at most, when little happens
	worth = 4 << 20 // bytes that are worth a collection
)

// worthCollecting: little was allocated in the last second, and of the objects at hand a fifth may be garbage.
func worthCollecting(allocated, objects, live uint64) bool {
	return allocated < quiet && objects > live+max(worth, live/4)
}
