package journal_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/journal"
)

// What is read ahead is what lies there, in whatever order it is asked for, also while more is appended, and stays the
// caller's.
func TestAhead(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	j := open(t, nil, t.TempDir(), 1<<20)
	var at []journal.Position
	var want []string
	more := func(n int) {
		for range n {
			size := rng.IntN(600)
			if rng.IntN(50) == 0 {
				size = 100_000
			}
			data := strings.Repeat(fmt.Sprint(len(want)%10), size)
			at, want = append(at, add(t, j, uint64(len(want)), data)), append(want, data)
		}
	}
	more(2000)
	ahead := j.Ahead()
	for round := range 40 {
		kept := make(map[int][]byte)
		i := rng.IntN(len(at))
		for range 100 {
			switch round % 4 {
			case 0:
				i = rng.IntN(len(at))
			case 1:
				i = max(i-1, 0)
			default:
				i = min(i+1+rng.IntN(3), len(at)-1)
			}
			r, err := ahead.Read(at[i])
			if err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
			if r.Index != uint64(i) || string(r.Data) != want[i] {
				t.Fatalf("record %d is %d of %d bytes, not of %d", i, r.Index, len(r.Data), len(want[i]))
			}
			kept[i] = r.Data
			if round%4 == 3 {
				more(1)
			}
		}
		ahead.Done()
		for i, data := range kept {
			if string(data) != want[i] {
				t.Fatalf("record %d has changed after it was read", i)
			}
		}
	}
}

// Records of a backlog are read one after another.
func BenchmarkBacklog(b *testing.B) {
	j, err := journal.Open(journal.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close() //nolint:errcheck // nothing depends on it
	var at []journal.Position
	records := make([]journal.Record, 1000)
	for i := range records {
		records[i] = journal.Record{Type: journal.Entry, Index: uint64(i), Data: make([]byte, 300)}
	}
	for range 50 {
		done := make(chan error, 1)
		j.Append(records, func(p []journal.Position, err error) {
			at = append(at, p...)
			done <- err
		})
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.Run("one by one", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := j.Read(at[i%len(at)], nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ahead", func(b *testing.B) {
		a := j.Ahead()
		for i := 0; b.Loop(); i++ {
			if _, err := a.Read(at[i%len(at)]); err != nil {
				b.Fatal(err)
			}
			if i%100 == 99 {
				a.Done()
			}
		}
	})
}
