package rate

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSpendSaysHowLongToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := NewAccount(), Limit{Messages: 100, Bytes: 1000}
		for i, step := range []struct {
			messages, bytes int
			pause, wait     time.Duration
		}{
			{messages: 100, bytes: 100},                                  // a second's worth at once
			{messages: 10, bytes: 10, wait: 100 * time.Millisecond},      // the eleventh tenth
			{messages: 10, bytes: 10, wait: 200 * time.Millisecond},      // debts add up
			{messages: 10, pause: time.Second, wait: 0},                  // and are paid off
			{messages: 1, bytes: 5000, wait: 4 * time.Second},            // the slower of the two counts
			{messages: 1, pause: time.Hour},                              // a long silence gives one burst
			{messages: 199, bytes: 0, wait: time.Second},                 //
			{messages: 1, bytes: 1 << 40, wait: time.Hour - time.Second}, // nobody waits longer
			{messages: 1, bytes: 1 << 40, wait: time.Hour},               //
			{messages: 1, bytes: 1, pause: 2 * time.Hour, wait: 0},       //
			{messages: 0, bytes: 0},                                      //
			{messages: 1, bytes: 1, pause: time.Millisecond, wait: 0},    //
			{messages: 97, bytes: 1, pause: time.Millisecond, wait: 0},   //
		} {
			time.Sleep(step.pause)
			if got := a.Spend(l, step.messages, step.bytes).Round(time.Millisecond); got != step.wait {
				t.Errorf("step %d: wait %v, want %v", i, got, step.wait)
			}
		}
	})
}

func TestTakeRefusesWhatIsTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := NewAccount(), Limit{Messages: 10, Bytes: 1000}
		take := func(n, bytes int) (taken int) {
			for range n {
				if a.Take(l, bytes) {
					taken++
				}
			}
			return taken
		}
		if n := take(20, 10); n != 10 {
			t.Errorf("%d at once, want 10", n)
		}
		time.Sleep(500 * time.Millisecond)
		if n := take(20, 10); n != 5 {
			t.Errorf("%d in half a second, want 5", n)
		}
		time.Sleep(time.Second)
		if n := take(5, 500); n != 2 {
			t.Errorf("%d of 500 bytes, want 2", n)
		}
		if n := take(20, 0); n != 8 {
			t.Errorf("%d after messages that had too many bytes, want the 8 that those did not use", n)
		}
		time.Sleep(2 * time.Second)
		if n := take(2, 5000); n != 1 {
			t.Errorf("%d that are larger than a burst, want the first", n)
		}
		time.Sleep(6 * time.Second)
		a.Take(l, 900)
		a.GiveBack(l, 900)
		if n := take(20, 100); n != 10 {
			t.Errorf("%d after one was given back, want 10", n)
		}
		if !a.Take(Limit{}, 1<<30) || (Limit{}).Limits() || !l.Limits() {
			t.Error("no limit limits")
		}
	})
}

func TestLowRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, taken := NewAccount(), 0
		for range 100 { // a connect every 10 seconds, tried every second
			if a.Connect(0.1) {
				taken++
			}
			time.Sleep(time.Second)
		}
		if taken != 10 {
			t.Errorf("%d connects in 100 seconds, want 10", taken)
		}
		if !a.Connect(0) || !a.Connect(-1) {
			t.Error("connects without a rate are refused")
		}
	})
}

func TestManyShareAnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := NewAccount(), Limit{Messages: 1000}
		var taken atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 500 {
					if a.Take(l, 1) {
						taken.Add(1)
					}
				}
			})
		}
		all.Wait()
		if taken.Load() != 1000 {
			t.Errorf("%d of 4000, want 1000", taken.Load())
		}
	})
}

func TestConnectionsAndIdleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAccount()
		if !a.Idle() {
			t.Error("a new account is not idle")
		}
		for i, want := range []bool{true, true, false} {
			if a.Enter(2) != want {
				t.Errorf("connection %d of 2: %v", i+1, !want)
			}
		}
		if !a.Enter(0) {
			t.Error("refused without a limit")
		}
		if a.Idle() {
			t.Error("an account with connections is idle")
		}
		for range 3 {
			a.Leave()
		}
		if !a.Enter(1) {
			t.Error("places are not given back")
		}
		a.Leave()
		a.Spend(Limit{Messages: 10}, 5, 0)
		time.Sleep(59 * time.Second)
		if a.Idle() {
			t.Error("idle within a minute")
		}
		time.Sleep(time.Second)
		if !a.Idle() {
			t.Error("not idle after a minute")
		}
	})
}

func BenchmarkSpend(b *testing.B) {
	a := NewAccount()
	for b.Loop() {
		a.Spend(Limit{Messages: 1e9, Bytes: 1e12}, 1, 100)
	}
}

func BenchmarkTakeTogether(b *testing.B) {
	a := NewAccount()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			a.Take(Limit{Messages: 1e9}, 100)
		}
	})
}
