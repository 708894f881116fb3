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

// collectWhenQuiet collects what a burst left behind, and gives it back to the system with what was collected before, once
// little happens. The collector alone would let garbage lie until as much again was allocated, or for two minutes, and
// keep free memory for a heap of that size: after a hundred thousand clients have connected, that is as much as they hold.
func collectWhenQuiet() {
	const allocated = 0
	samples := []metrics.Sample{
		allocated: {Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/live:bytes"},
	}
	last := uint64(0)
	for range time.Tick(time.Second) {
		metrics.Read(samples)
		now := samples[allocated].Value.Uint64()
		if worthCollecting(now-last, samples[1].Value.Uint64()+samples[2].Value.Uint64(), samples[3].Value.Uint64()) {
			debug.FreeOSMemory()
		}
		last = now
	}
}

const (
	quiet = 1 << 20 // bytes that are allocated in a second, at most, when little happens
	worth = 4 << 20 // bytes that are worth a collection
)

// worthCollecting: little was allocated in the last second, and of the memory that objects have or had, a seventeenth may be
// garbage or is free.
func worthCollecting(allocated, held, live uint64) bool {
	return allocated < quiet && held > live+max(worth, live/16)
}
