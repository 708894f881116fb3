// Package goroutines counts them, for tests of endpoints whose connections sleep. The runtime tells nobody that a goroutine has
// ended: who waits for that looks again whenever another one has run.
package goroutines

import (
	"runtime"
	"testing"
	"time"
)

// patience is how long a goroutine may take to end that has nothing to do.
const patience = 20 * time.Second

// AtMost answers a wait until there are at most so many more goroutines than at the time of the call.
func AtMost(t testing.TB, more int) (wait func()) {
	before := runtime.NumGoroutine()
	return func() {
		t.Helper()
		for until := time.Now().Add(patience); runtime.NumGoroutine() > before+more; runtime.Gosched() {
			if time.Now().After(until) {
				t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
			}
		}
	}
}
