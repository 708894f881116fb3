package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// frames are what producer p appends: each carries who, which, and its own length.
func frame(p, n int) []byte { return []byte(fmt.Sprintf("%02d:%06d;", p, n)) }

func TestManyProducersKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		box := New(here, Options{Limit: 1 << 20})
		const producers, each = 8, 2000
		var all sync.WaitGroup
		for p := range producers {
			all.Go(func() {
				for n := range each {
					if !box.Append(func(dst []byte) []byte { return append(dst, frame(p, n)...) }) {
						t.Error("box is closed")
					}
				}
			})
		}
		read := make(chan []byte)
		go func() { // ends when the box closes its side
			b, err := io.ReadAll(there)
			if err != nil {
				t.Error(err)
			}
			read <- b
		}()
		all.Wait()
		box.Close(time.Minute)
		got := <-read
		next := [producers]int{}
		for f := range bytes.SplitAfterSeq(got, []byte(";")) {
			if len(f) == 0 {
				continue
			}
			var p, n int
			if _, err := fmt.Sscanf(string(f), "%02d:%06d;", &p, &n); err != nil || next[p] != n {
				t.Fatalf("frame %q, want number %d of its producer (%v)", f, next[p], err)
			}
			next[p]++
		}
		for p, n := range next {
			if n != each {
				t.Errorf("producer %d: %d frames arrived of %d", p, n, each)
			}
		}
		if box.Write([]byte("late")) {
			t.Error("a closed box took a frame")
		}
	})
}

// TestHeldFramesStay: who appends nothing takes nothing away of what waits for Release.
func TestHeldFramesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		box := New(here, Options{Limit: 1 << 20})
		nothing := func(dst []byte) []byte { return dst }
		box.Append(nothing)
		box.Hold()
		box.Write([]byte("one"))
		box.Append(nothing)
		box.Write([]byte("two"))
		box.Append(nothing)
		box.Release()
		go box.Close(time.Minute) // ends when the pipe was read
		if got, err := io.ReadAll(there); err != nil || string(got) != "onetwo" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// TestNothingFollowsEnd: what waits at End is written, and what comes later refused.
func TestNothingFollowsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		box := New(here, Options{Limit: 1 << 20})
		box.Write([]byte("last"))
		box.End()
		if box.Write([]byte("late")) || box.Append(func(dst []byte) []byte { return append(dst, "late"...) }) {
			t.Error("a frame was taken after End")
		}
		go box.Close(time.Minute) // ends when the pipe was read
		if got, err := io.ReadAll(there); err != nil || string(got) != "last" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestFullAndDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		drained := 0
		box := New(here, Options{Limit: 1000, Drained: func() { drained++ }})
		box.Write(make([]byte, 999))
		if box.Full() {
			t.Error("full below the limit")
		}
		box.Write(make([]byte, 1))
		if !box.Full() {
			t.Error("not full at the limit")
		}
		if _, err := io.ReadFull(there, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if box.Full() || drained != 1 {
			t.Errorf("full %v and drained %d times after all was written", box.Full(), drained)
		}
		box.Close(0)
	})
}

func TestSlowPeerFailsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		failures := make(chan error, 2)
		box := New(here, Options{Limit: 10, Patience: time.Second, Failed: func(err error) { failures <- err }})
		box.Write([]byte("nobody reads this"))
		var timeout net.Error
		if err := <-failures; !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("failed with %v, want a timeout", err)
		}
		if box.Write([]byte("more")) {
			t.Error("a failed box took a frame")
		}
		box.Close(time.Second)
		if len(failures) > 0 {
			t.Error("failed twice")
		}
		there.Close()
	})
}

func TestCloseCutsALingeringWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		box := New(here, Options{Limit: 10})
		box.Write([]byte("nobody reads this"))
		start := time.Now()
		box.Close(3 * time.Second)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("closing took %v, want the linger of 3s", took)
		}
		box.Close(time.Hour) // again, at once
	})
}
