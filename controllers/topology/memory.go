package topology

import (
	"os"
	"runtime/debug"
)

// gcPercent lets the heap grow by a fifth before it is collected. Most of it is the index, which lives long and holds few
// pointers: a collection over 100,000 objects takes milliseconds, and what is put off is paid for in memory.
const gcPercent = 20

// TuneMemory sets up the Go runtime of a process that keeps an index, unless its environment says how it is to be.
func TuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
