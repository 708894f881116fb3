// Package idle waits for many connections at a time, so that one that says nothing needs no goroutine.
//
// Go's own poller wakes a goroutine that waits, with its stack of several kilobytes. A Watch has a poller of its own, which
// calls a method of the connection instead; the connection starts a goroutine when there is something to do for it. The
// socket stays with Go's poller as well: whoever has a goroutine reads and writes as ever.
package idle

// Sleeper is a connection that nobody reads.
type Sleeper interface {
	// Wake says that there is something to read, an end or an error included. It must not block. It may come without a
	// reason: descriptors are used again, and what a closed socket had to say may come late.
	Wake()
}
