package main

import "runtime"

// headroom lets the heap grow by so many bytes more before the collector runs than it would by itself. A broker that
// keeps up holds a few megabytes alive and turns over a hundred a second: without headroom, half of its time is spent on
// looking through the same few megabytes. It is memory that is counted and never touched, so it takes no room itself.
const headroom = 24 << 20

// withHeadroom runs f with headroom.
func withHeadroom(f func() error) error {
	untouched := make([]byte, headroom)
	defer runtime.KeepAlive(untouched)
	return f()
}
