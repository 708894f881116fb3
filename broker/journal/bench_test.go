package journal_test

import (
	"fmt"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

func benchmarked(b *testing.B, fs vfs.FS, dir string) *journal.Journal {
	b.Helper()
	j, err := journal.Open(journal.Options{FS: fs, Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := j.Close(); err != nil {
			b.Error(err)
		}
	})
	return j
}

// BenchmarkAppend has so many records of 256 bytes under way at a time. Old segments are released as they fill.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			j := benchmarked(b, vfs.OS, b.TempDir())
			records := []journal.Record{{Type: journal.Entry, Data: make([]byte, 256)}}
			slots := make(chan struct{}, callers)
			newest := uint64(1)
			done := func(at []journal.Position, err error) {
				if err != nil {
					b.Error(err)
				}
				<-slots
			}
			b.SetBytes(256)
			b.ReportAllocs()
			for b.Loop() {
				slots <- struct{}{}
				j.Append(records, done)
				if n := j.Newest(); n != newest {
					newest = n
					if err := j.Release(n - 1); err != nil {
						b.Error(err)
					}
				}
			}
		})
	}
}

func filled(b *testing.B, n int) (*journal.Journal, []journal.Position) {
	b.Helper()
	j := benchmarked(b, vfs.NewMemory(), "log")
	records := make([]journal.Record, n)
	for i := range records {
		records[i] = journal.Record{Type: journal.Entry, Index: uint64(i), Data: make([]byte, 256)}
	}
	at, err := try(j, records...)
	if err != nil {
		b.Fatal(err)
	}
	return j, at
}

func BenchmarkReplay(b *testing.B) {
	const records = 100_000
	j, _ := filled(b, records)
	for b.Loop() {
		if err := j.Replay(0, func(journal.Record, journal.Position) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkRead(b *testing.B) {
	j, at := filled(b, 100_000)
	buf := make([]byte, 512)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := j.Read(at[i*7919%len(at)], buf); err != nil {
			b.Fatal(err)
		}
	}
}
