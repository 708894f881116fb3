package topology

import (
	"os"
	"runtime/debug"
)

// gcPercent lets the heap grow by a half before it is collected: most of it is the index, which lives long, so that a
// collection frees little however long it is put off.
const gcPercent = 50

// TuneMemory sets up the Go runtime of a process that keeps an index, unless its environment says how it is to be.
func TuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
