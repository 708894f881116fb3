package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
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
