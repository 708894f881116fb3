package journal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

func open(t *testing.T, fs vfs.FS, dir string, segment int64) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Options{FS: fs, Dir: dir, SegmentBytes: segment, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, j) })
	return j
}

func closed(t *testing.T, j *journal.Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

func entry(index uint64, data string) journal.Record {
	return journal.Record{Type: journal.Entry, Group: 3, Term: 1, Index: index, Data: []byte(data)}
}

// add appends one record and waits until it is durable.
func add(t *testing.T, j *journal.Journal, index uint64, data string) journal.Position {
	t.Helper()
	p, err := try(j, entry(index, data))
	if err != nil {
		t.Fatal(err)
	}
	return p[0]
}

func try(j *journal.Journal, records ...journal.Record) (p []journal.Position, err error) {
	done := make(chan struct{})
	j.Append(records, func(at []journal.Position, failed error) {
		p, err = append(p, at...), failed
		close(done)
	})
	<-done
	return p, err
}

func replay(t *testing.T, j *journal.Journal) (got []string) {
	t.Helper()
	if err := j.Replay(0, func(r journal.Record, p journal.Position) error {
		if again, err := j.Read(p, nil); err != nil || again.Index != r.Index || string(again.Data) != string(r.Data) {
			t.Errorf("record %d at %v is read as %d, %v", r.Index, p, again.Index, err)
		}
		got = append(got, fmt.Sprintf("%d:%s", r.Index, r.Data))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAppendReadReplay(t *testing.T) {
	disk := vfs.NewMemory()
	j := open(t, disk, "log", 4096)
	var at []journal.Position
	for i := range uint64(200) {
		at = append(at, add(t, j, i, strings.Repeat("x", int(i))))
	}
	if j.Newest() < 5 {
		t.Errorf("only %d segments", j.Newest())
	}
	buf := make([]byte, 64)
	for i, p := range at {
		r, err := j.Read(p, buf)
		if err != nil || r.Index != uint64(i) || len(r.Data) != i || r.Group != 3 || r.Term != 1 || r.Type != journal.Entry {
			t.Fatalf("record %d at %v is %+v, %v", i, p, r, err)
		}
		if i > 0 && at[i-1].Compare(p) >= 0 {
			t.Fatalf("%v comes before %v", at[i-1], p)
		}
	}
	if _, err := j.Read(journal.Position{Segment: at[5].Segment, Offset: at[5].Offset + 1}, nil); err == nil {
		t.Error("a position inside of a record is read")
	}
	closed(t, j)
	closed(t, j)
	again := open(t, disk, "log", 4096)
	if got := replay(t, again); len(got) != 200 || got[3] != "3:xxx" {
		t.Errorf("%d records, fourth %q", len(got), got[3])
	}
	if r := again.Recovered(); r.Records != 200 || r.CutBytes != 0 || r.Segments != int(again.Newest()) {
		t.Errorf("recovered %+v", r)
	}
	add(t, again, 200, "after")
}

func TestFooterIsTheIndexOfASegment(t *testing.T) {
	disk := vfs.NewMemory()
	j := open(t, disk, "log", 4096)
	for i := range uint64(60) {
		add(t, j, i, strings.Repeat("x", int(i)))
	}
	check := func(j *journal.Journal) {
		t.Helper()
		next := uint64(0)
		for _, s := range j.Segments() {
			records := 0
			err := j.Index(s.Sequence, func(x journal.Indexed) error {
				r, err := j.Read(journal.Position{Segment: s.Sequence, Offset: x.Offset}, nil)
				if err != nil || x.Index != next || r.Index != next || int(x.Length) != len(r.Data) || x.Group != 3 || x.Term != 1 || x.Type != journal.Entry {
					return fmt.Errorf("record %d is indexed as %+v: %w", next, x, err)
				}
				next++
				records++
				return nil
			})
			if !s.Sealed && err == nil {
				continue
			}
			if err != nil || records != s.Records {
				t.Errorf("segment %d has %d records instead of %d, %v", s.Sequence, records, s.Records, err)
			}
		}
		if next < 40 {
			t.Errorf("only %d records are indexed", next)
		}
	}
	check(j)
	closed(t, j)
	check(open(t, disk, "log", 4096))
}

func TestAppendsAreRefused(t *testing.T) {
	j := open(t, vfs.NewMemory(), "log", 4096)
	if _, err := try(j, entry(1, strings.Repeat("x", 4000))); !errors.Is(err, journal.ErrTooLarge) {
		t.Errorf("a record of a segment's size gives %v", err)
	}
	if _, err := try(j, journal.Record{Type: journal.Batch}); err == nil {
		t.Error("a Batch record is taken")
	}
	add(t, j, 1, "good")
	closed(t, j)
	if _, err := try(j, entry(2, "late")); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("an append to a closed journal gives %v", err)
	}
}

const (
	first  = "0000000000000001.seg"
	second = "0000000000000002.seg"
	third  = "0000000000000003.seg"
)

// onDisk is a journal in the real file system with records of the sizes, and where they begin.
func onDisk(t *testing.T, segment int64, sizes ...int) (dir string, at []journal.Position) {
	t.Helper()
	dir = t.TempDir()
	j := open(t, vfs.OS, dir, segment)
	for i, n := range sizes {
		at = append(at, add(t, j, uint64(i), strings.Repeat("x", n)))
	}
	closed(t, j)
	return dir, at
}

func edit(t *testing.T, file string, change func(b []byte)) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTornCommit cuts a commit of three records at every byte.
func TestTornCommit(t *testing.T) {
	const segment = 8192
	dir := t.TempDir()
	j := open(t, vfs.OS, dir, segment)
	add(t, j, 0, "kept")
	at, err := try(j, entry(1, "one"), entry(2, "two"), entry(3, "three"))
	if err != nil {
		t.Fatal(err)
	}
	closed(t, j)
	file := filepath.Join(dir, first)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	end := int(at[2].Offset) + 40 + len("three")
	begin := int(at[0].Offset) - 56
	for cut := begin; cut <= end; cut++ {
		torn := append([]byte(nil), whole...)
		clear(torn[cut:])
		disk := vfs.NewMemory()
		put(t, disk, "log/"+first, torn)
		j := open(t, disk, "log", segment)
		want := []string{"0:kept"}
		wantAt := begin
		for i, s := range []string{"1:one", "2:two", "3:three"} {
			if recordEnd := int(at[i].Offset) + 40 + len(s) - 2; cut >= recordEnd {
				want, wantAt = append(want, s), recordEnd
			} else if i == 0 && cut >= int(at[0].Offset)-7 { // the last 7 bytes of the Batch record are zero
				wantAt = int(at[0].Offset)
			}
		}
		if got := replay(t, j); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("cut at %d: %q instead of %q", cut, got, want)
		}
		r := j.Recovered()
		if said := r.CutBytes > 0; said != (cut >= begin+17 && cut < end) { // before, nothing that is recognised is there
			t.Fatalf("cut at %d of %d to %d: %+v", cut, begin, end, r)
		}
		if r.CutBytes > 0 && (r.CutFile != "log/"+first || r.CutAt != int64(wantAt)) {
			t.Fatalf("cut at %d: %+v, the cut should be at %d", cut, r, wantAt)
		}
		add(t, j, 9, "next")
		closed(t, j)
		if got := replay(t, open(t, disk, "log", segment)); fmt.Sprint(got) != fmt.Sprint(append(want, "9:next")) {
			t.Fatalf("cut at %d: then %q", cut, got)
		}
	}
}

func put(t *testing.T, disk vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := disk.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
}

// TestTornCommitDoesNotComeBack loses the first record of a commit and lets a later, shorter commit end where the second
// one still lies.
func TestTornCommitDoesNotComeBack(t *testing.T) {
	disk := vfs.NewMemory()
	j := open(t, disk, "log", 8192)
	at, err := try(j, entry(1, "lost"), entry(2, "ghost"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := disk.Open("log/" + first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 40), int64(at[0].Offset)-56); err != nil {
		t.Fatal(err)
	}
	again := open(t, disk, "log", 8192)
	if r := again.Recovered(); r.Records != 0 || r.CutBytes == 0 {
		t.Errorf("recovered %+v", r)
	}
	add(t, again, 1, "else")
	closed(t, again)
	if got := replay(t, open(t, disk, "log", 8192)); fmt.Sprint(got) != "[1:else]" {
		t.Errorf("got %q", got)
	}
}

func TestDamageStopsTheStartAndDeletesNothing(t *testing.T) {
	flip := func(file string, offset func(at []journal.Position) int) func(*testing.T, string, []journal.Position) {
		return func(t *testing.T, dir string, at []journal.Position) {
			edit(t, filepath.Join(dir, file), func(b []byte) { b[offset(at)] ^= 4 })
		}
	}
	remove := func(file string) func(*testing.T, string, []journal.Position) {
		return func(t *testing.T, dir string, _ []journal.Position) {
			if err := os.Remove(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string, at []journal.Position)
		want   string
	}{
		"a bit of a record in a sealed segment":   {flip(first, func(at []journal.Position) int { return int(at[0].Offset) + 45 }), first + " at offset 88: the checksum"},
		"a bit of a footer":                       {flip(first, func([]journal.Position) int { return 4096 - 24 + 5 }), first + " at offset 4072"},
		"a bit of a record in the newest segment": {flip(third, func(at []journal.Position) int { return int(at[6].Offset) + 45 }), third + " at offset"},
		"a bit of the last record":                {flip(third, func(at []journal.Position) int { return int(at[7].Offset) + 45 }), third + " at offset"},
		"the header of the newest segment":        {flip(third, func([]journal.Position) int { return 2 }), "there is no segment header"},
		"a newer version":                         {flip(third, func([]journal.Position) int { return 4 }), "the format has version 6"},
		"the header of a sealed segment":          {flip(second, func([]journal.Position) int { return 9 }), "the checksum of the segment header"},
		"the first file":                          {remove(first), first + " at offset 0: the file is missing"},
		"a file in the middle":                    {remove(second), second + " at offset 0: the file is missing"},
		"the last file":                           {remove(third), third + " at offset 0: the file is missing"},
		"a file of another number": {func(t *testing.T, dir string, _ []journal.Position) {
			if err := os.Rename(filepath.Join(dir, third), filepath.Join(dir, "0000000000000007.seg")); err != nil {
				t.Fatal(err)
			}
		}, "the header is that of segment 3"},
		"an odd name": {func(t *testing.T, dir string, _ []journal.Position) {
			if err := os.WriteFile(filepath.Join(dir, "1.seg"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "the name is not that of a segment"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, at := onDisk(t, 4096, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000)
			if at[6].Segment != 3 || at[7].Segment != 3 {
				t.Fatalf("the records are at %v", at)
			}
			c.change(t, dir, at)
			before := files(t, dir)
			j, err := journal.Open(journal.Options{Dir: dir, SegmentBytes: 4096})
			if err == nil {
				err = errors.Join(j.Replay(0, func(journal.Record, journal.Position) error { return nil }), j.Close())
			}
			var damage *journal.DamageError
			if !errors.As(err, &damage) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "nothing was deleted") {
				t.Errorf("opened with %v, want damage with %q", err, c.want)
			}
			if after := files(t, dir); after != before {
				t.Errorf("segments were %s, are %s", before, after)
			}
		})
	}
}

// files lists the segments with a digest of their content.
func files(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	names, err := fs.Glob(os.DirFS(dir), "*.seg")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s %x\n", name, b)
	}
	return all.String()
}

func TestReleasedSegmentsAreUsedAgain(t *testing.T) {
	dir := t.TempDir()
	j := open(t, vfs.OS, dir, 4096)
	for i := range uint64(300) {
		add(t, j, i, strings.Repeat("x", 1000))
		if i%10 == 9 {
			if err := j.Release(allBefore(j, j.Newest())...); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := add(t, j, 300, "last")
	oldest := j.Oldest()
	closed(t, j)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 8 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
	j = open(t, vfs.OS, dir, 4096)
	got := replay(t, j)
	if got[len(got)-1] != "300:last" || j.Newest() != last.Segment || j.Oldest() != oldest || j.Recovered().CutBytes != 0 {
		t.Errorf("the end is %q in segments %d to %d, %+v", got[len(got)-1], j.Oldest(), j.Newest(), j.Recovered())
	}
	for i := 1; i < len(got); i++ {
		if got[i] == got[i-1] {
			t.Errorf("a record of a former use is read: %q", got[i])
		}
	}
}

func TestReadKeepsAReleasedSegment(t *testing.T) {
	hang := make(chan struct{})
	disk := vfs.NewFaulty(vfs.NewMemory())
	j := open(t, disk, "log", 4096)
	var at []journal.Position
	for i := range uint64(8) {
		at = append(at, add(t, j, i, strings.Repeat("x", 1000)))
	}
	// Files that recycle or Open opens are named by where they began: the first segment is the first spare.
	disk.Inject(vfs.Fault{Op: vfs.OpRead, Times: 1, Hang: hang})
	read := make(chan error, 1)
	go func() { // ends when hang is closed
		r, err := j.Read(at[0], nil)
		if err == nil && r.Index != 0 {
			err = fmt.Errorf("record %d was read", r.Index)
		}
		read <- err
	}()
	for disk.Hanging() == 0 {
		select {
		case err := <-read:
			t.Fatalf("the read did not hang: %v", err)
		case <-t.Context().Done():
			t.Fatal("the read did not begin")
		default:
		}
	}
	if err := j.Release(1, 2); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(30) {
		add(t, j, 8+i, strings.Repeat("y", 1000))
	}
	close(hang)
	if err := <-read; err != nil {
		t.Errorf("a read that began before the release: %v", err)
	}
	if _, err := j.Read(at[0], nil); err == nil {
		t.Error("a released segment is read")
	}
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	for _, c := range []vfs.Fault{
		{Op: vfs.OpPreallocate, Err: syscall.ENOSPC},
		{Op: vfs.OpCreate, Err: syscall.EACCES},
		{Op: vfs.OpCreate, Err: syscall.EROFS},
		{Op: vfs.OpRename, Err: syscall.EROFS},
	} {
		t.Run(fmt.Sprint(c.Op, c.Err), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := vfs.NewFaulty(vfs.NewMemory())
				j := open(t, disk, "log", 4096)
				add(t, j, 0, "first")
				synctest.Wait() // the spares are made
				disk.Inject(c)
				done := make(chan error, 200)
				index := uint64(1)
				for ; index < 100; index++ {
					j.Append([]journal.Record{entry(index, strings.Repeat("x", 1000))}, func(_ []journal.Position, err error) { done <- err })
					synctest.Wait()
					if len(done) < int(index) {
						break // it waits for space
					}
				}
				if c.Op != vfs.OpRename { // Admit tries nothing
					if err := j.Admit(); !errors.Is(err, journal.ErrFull) || !errors.Is(err, c.Err) || !strings.Contains(err.Error(), "log") {
						t.Errorf("a full disk gives %v", err)
					}
				}
				if index < 6 && c.Op != vfs.OpRename || index == 100 {
					t.Errorf("%d records were written to a full disk with a reserve of two segments", index)
				}
				if j.Stats().Refused == 0 {
					t.Error("the refusal is not counted")
				}
				if err := j.Release(1); err != nil {
					t.Errorf("release on a full disk: %v", err)
				}
				disk.Clear()
				for range index {
					if err := <-done; err != nil {
						t.Errorf("what waited for space: %v", err)
					}
				}
				time.Sleep(2 * time.Second) // of the bubble's clock: the pool tries again
				if err := j.Admit(); err != nil {
					t.Errorf("with space again: %v", err)
				}
				add(t, j, 1000, strings.Repeat("x", 1000))
				closed(t, j)
				got := replay(t, open(t, disk, "log", 4096))
				if !strings.HasPrefix(got[len(got)-1], "1000:") {
					t.Errorf("the last record is %.20q", got[len(got)-1])
				}
			})
		})
	}
}

func TestFailedSyncIsFatalAndNotRetried(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpWrite} {
		t.Run(string(op), func(t *testing.T) {
			disk, fatal := vfs.NewFaulty(vfs.NewMemory()), 0
			j, err := journal.Open(journal.Options{FS: disk, Dir: "log", SegmentBytes: 1 << 16, OnFatal: func(error) { fatal++ }})
			if err != nil {
				t.Fatal(err)
			}
			add(t, j, 0, "good")
			disk.Inject(vfs.Fault{Op: op, Times: 1, Err: syscall.EIO, Short: 60})
			for i := range uint64(3) {
				if _, err := try(j, entry(1+i, "bad")); !errors.Is(err, syscall.EIO) {
					t.Errorf("append %d gives %v", i, err)
				}
			}
			closed(t, j)
			if fatal != 1 {
				t.Errorf("fatal was called %d times", fatal)
			}
			if got := replay(t, open(t, disk, "log", 1<<16)); got[0] != "0:good" || op == vfs.OpWrite && len(got) != 1 {
				t.Errorf("recovered %q", got)
			}
		})
	}
}

func TestHungSyncShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		disk := vfs.NewFaulty(vfs.NewMemory())
		j := open(t, disk, "log", 1<<16)
		add(t, j, 0, "good")
		synctest.Wait()
		if p := j.Stats().SyncPending; p != 0 {
			t.Errorf("an idle journal syncs for %v", p)
		}
		disk.Inject(vfs.Fault{Op: vfs.OpSync, Times: 1, Hang: hang})
		done := make(chan error, 1)
		j.Append([]journal.Record{entry(1, "slow")}, func(_ []journal.Position, err error) { done <- err })
		time.Sleep(5 * time.Second) // of the bubble's clock
		if p := j.Stats().SyncPending; p != 5*time.Second {
			t.Errorf("a sync that hangs for 5 s shows %v", p)
		}
		close(hang)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAppendDoesNotAllocatePerRecord(t *testing.T) {
	j := open(t, vfs.NewMemory(), "log", 64<<20)
	records := make([]journal.Record, 500)
	for i := range records {
		records[i] = entry(uint64(i), strings.Repeat("x", 64))
	}
	done := make(chan struct{}, 1)
	finish := func([]journal.Position, error) { done <- struct{}{} }
	if n := testing.AllocsPerRun(50, func() {
		j.Append(records, finish)
		<-done
	}); n > 50 {
		t.Errorf("%v allocations for %d records", n, len(records))
	}
}

func allBefore(j *journal.Journal, end uint64) (all []uint64) {
	for n := j.Oldest(); n < end; n++ {
		all = append(all, n)
	}
	return all
}

// TestReleaseLeavesGaps releases segments in the middle; what is carried from segment to segment says so to the next Open,
// also when the newest segment was just begun.
func TestReleaseLeavesGaps(t *testing.T) {
	fs := vfs.NewMemory()
	j := open(t, fs, "log", 4096)
	state := journal.Record{Type: journal.HardState, Group: 3, Term: 9, Data: []byte("vote")}
	if _, err := try(j, state); err != nil {
		t.Fatal(err)
	}
	segments := make(map[uint64][]string)
	for i := range uint64(60) {
		at := add(t, j, i, strings.Repeat("x", 500))
		segments[at.Segment] = append(segments[at.Segment], fmt.Sprintf("%d:%.3s", i, "xxx"))
	}
	if err := j.Release(1, 3, 4, 6, 1000); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		closed(t, j)
		j = open(t, fs, "log", 4096)
		if j.Oldest() != 2 {
			t.Errorf("the oldest segment is %d", j.Oldest())
		}
		if r, ok := j.State(journal.HardState, 3); !ok || r.Term != 9 || string(r.Data) != "vote" {
			t.Errorf("the state that was carried is %v, %v", r, ok)
		}
		for n := range segments {
			_, err := j.Read(journal.Position{Segment: n, Offset: 32}, nil)
			if gone := n == 1 || n == 3 || n == 4 || n == 6; gone != (err != nil) {
				t.Errorf("segment %d: %v", n, err)
			}
			found := 0
			err = j.Index(n, func(x journal.Indexed) error {
				if x.Type == journal.Entry {
					found++
				}
				return nil
			})
			if gone := n == 1 || n == 3 || n == 4 || n == 6; !gone && (err != nil || found != len(segments[n])) {
				t.Errorf("segment %d: %d of %d records, %v", n, found, len(segments[n]), err)
			}
		}
	}
	if err := j.Release(2); err != nil {
		t.Fatal(err)
	}
	if j.Oldest() != 5 {
		t.Errorf("the oldest segment is %d", j.Oldest())
	}
	closed(t, j)
}
