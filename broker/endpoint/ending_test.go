package endpoint

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/outbox"
)

// TestEndingOnce: the first reason counts, and whoever waits is told, before and after.
func TestEndingOnce(t *testing.T) {
	first := errors.New("first")
	for _, asked := range []bool{false, true} {
		var e Ending
		if e.Begun() || e.Cause() != nil {
			t.Error("ends before it began")
		}
		if asked {
			select {
			case <-e.Done():
				t.Error("done before it began")
			default:
			}
		}
		if !e.Begin(first) || e.Begin(errors.New("second")) {
			t.Error("does not begin once")
		}
		<-e.Done()
		if !e.Begun() || e.Cause() != first {
			t.Errorf("cause %v", e.Cause())
		}
	}
}

// TestInterrupt: a reader that waits is woken.
func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close() //nolint:errcheck // a pipe
		read := make(chan error)
		go func() { // ends with the read
			_, err := ours.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		Interrupt(ours)
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
	})
}

// resumer counts how often it was resumed.
type resumer struct{ times int }

func (r *resumer) Resume() { r.times++ }

// TestRoom: consumers and the reader wait while the outbox is full, and go on when it is not, or when the connection ends.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		var room Room
		var end Ending
		out := outbox.New(ours, outbox.Options{Limit: 1 << 10, Patience: time.Hour, Drained: room.Freed, Failed: func(error) {}})
		var consumer resumer
		if !room.For(&consumer, out) {
			t.Error("no room in an empty outbox")
		}
		out.Write(make([]byte, 4<<10)) // nobody reads it yet
		if room.For(&consumer, out) {
			t.Error("room in a full outbox")
		}
		awaited := make(chan struct{})
		go func() { // ends with the wait
			room.Await(out, &end, nil)
			close(awaited)
		}()
		synctest.Wait()
		select {
		case <-awaited:
			t.Error("the reader goes on while the outbox is full")
		default:
		}
		drained := make(chan struct{})
		go func() { // ends with the pipe
			defer close(drained)
			for b := make([]byte, 1<<10); ; {
				if _, err := theirs.Read(b); err != nil {
					return
				}
			}
		}()
		<-awaited
		synctest.Wait()
		if consumer.times != 1 {
			t.Errorf("resumed %d times", consumer.times)
		}
		out.Close(time.Second)
		<-drained
	})
	var room Room
	var end Ending
	ours, theirs := net.Pipe()
	out := outbox.New(ours, outbox.Options{Limit: 1, Patience: time.Hour, Failed: func(error) {}})
	out.Write(make([]byte, 4<<10))
	end.Begin(errors.New("over"))
	room.Await(out, &end, nil)
	theirs.Close() //nolint:errcheck // a pipe
	out.Close(0)
}
