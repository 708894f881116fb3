package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

func open(t *testing.T, fs vfs.FS, segment int64) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Options{FS: fs, Dir: "log", SegmentBytes: segment, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() }) //nolint:errcheck // closed by the test already, or of no interest
	return j
}

// add appends one record and waits until it is durable.
func add(t *testing.T, j *journal.Journal, index uint64, data string) journal.Position {
	t.Helper()
	p, err := tryAdd(j, index, data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryAdd(j *journal.Journal, index uint64, data string) (p journal.Position, err error) {
	done := make(chan struct{})
	j.Append([]journal.Record{{Type: journal.Entry, Group: 3, Term: 1, Index: index, Data: []byte(data)}}, func(at []journal.Position, failed error) {
		if err = failed; err == nil {
			p = at[0]
		}
		close(done)
	})
	<-done
	return p, err
}

func replay(t *testing.T, j *journal.Journal) (got []string) {
	t.Helper()
	if err := j.Replay(func(r journal.Record, _ journal.Position) error {
		got = append(got, fmt.Sprintf("%d:%s", r.Index, r.Data))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAppendReadReplay(t *testing.T) {
	fs := vfs.NewMemory()
	j := open(t, fs, 4096)
	var at []journal.Position
	for i := range uint64(200) {
		at = append(at, add(t, j, i, strings.Repeat("x", int(i))))
	}
	if j.Newest() < 5 {
		t.Errorf("only %d segments", j.Newest())
	}
	for i, p := range at {
		r, err := j.Read(p, nil)
		if err != nil || r.Index != uint64(i) || len(r.Data) != i || r.Group != 3 {
			t.Fatalf("record %d at %v is %+v, %v", i, p, r, err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, fs, 4096)
	if got := replay(t, again); len(got) != 200 || got[3] != "3:xxx" {
		t.Errorf("%d records, fourth %q", len(got), got[3])
	}
	add(t, again, 200, "after")
	if r := again.Recovered(); r.Records != 200 || r.CutBytes != 0 {
		t.Errorf("recovered %+v", r)
	}
}

// disk is a journal of one segment with three records on the real file system, and where they begin.
func disk(t *testing.T) (dir string, at []journal.Position) {
	t.Helper()
	dir = t.TempDir()
	j, err := journal.Open(journal.Options{FS: vfs.OS, Dir: dir, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []string{"one", "two", "three"} {
		at = append(at, add(t, j, uint64(i), s))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, at
}

func edit(t *testing.T, file string, change func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTornTailIsCutToTheLastWholeRecord(t *testing.T) {
	dir, at := disk(t)
	file := filepath.Join(dir, "0000000000000001.seg")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const lastSize = 32 + 5
	for cut := int(at[2].Offset); cut < int(at[2].Offset)+lastSize; cut++ {
		edit(t, file, func([]byte) []byte {
			b := append([]byte(nil), whole...)
			clear(b[cut:])
			b[at[2].Offset+40-32+28] |= 1 // something of the torn write is there
			return b
		})
		j, err := journal.Open(journal.Options{FS: vfs.OS, Dir: dir, SegmentBytes: 1 << 20})
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if got := replay(t, j); fmt.Sprint(got) != "[0:one 1:two]" {
			t.Fatalf("cut at %d: %q", cut, got)
		}
		if r := j.Recovered(); r.CutBytes == 0 || r.CutFile != file || r.CutAt != int64(at[2].Offset) {
			t.Fatalf("cut at %d: %+v", cut, r)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// What is written next is found, and what was torn is not.
	j, err := journal.Open(journal.Options{FS: vfs.OS, Dir: dir, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	add(t, j, 2, "again")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if j, err = journal.Open(journal.Options{FS: vfs.OS, Dir: dir, SegmentBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	defer j.Close() //nolint:errcheck // read only
	if got := replay(t, j); fmt.Sprint(got) != "[0:one 1:two 2:again]" {
		t.Errorf("after the cut: %q", got)
	}
}

func TestDamageStopsTheStartAndDeletesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string, at []journal.Position)
		want   string
	}{
		"a flipped bit before durable records": {func(t *testing.T, dir string, at []journal.Position) {
			edit(t, filepath.Join(dir, "0000000000000001.seg"), func(b []byte) []byte {
				b[at[0].Offset+33] ^= 4
				return b
			})
		}, "0000000000000001.seg at offset"},
		"a damaged header": {func(t *testing.T, dir string, _ []journal.Position) {
			edit(t, filepath.Join(dir, "0000000000000001.seg"), func(b []byte) []byte {
				b[2] ^= 4
				return b
			})
		}, "there is no segment header"},
		"a file of another number": {func(t *testing.T, dir string, _ []journal.Position) {
			if err := os.Rename(filepath.Join(dir, "0000000000000001.seg"), filepath.Join(dir, "0000000000000007.seg")); err != nil {
				t.Fatal(err)
			}
		}, "the header is that of segment 1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, at := disk(t)
			c.change(t, dir, at)
			before, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			_, err = journal.Open(journal.Options{FS: vfs.OS, Dir: dir, SegmentBytes: 1 << 20})
			var damage *journal.DamageError
			if !errors.As(err, &damage) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "nothing was deleted") {
				t.Errorf("opened with %v, want damage with %q", err, c.want)
			}
			after, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			segments := func(entries []os.DirEntry) (n int) {
				for _, e := range entries {
					if strings.HasSuffix(e.Name(), ".seg") {
						n++
					}
				}
				return n
			}
			if segments(before) != segments(after) {
				t.Error("a segment was deleted")
			}
		})
	}
}

func TestMissingSegmentIsDamage(t *testing.T) {
	dir := t.TempDir()
	j, err := journal.Open(journal.Options{FS: vfs.OS, Dir: dir, SegmentBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(20) {
		add(t, j, i, strings.Repeat("x", 1000))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "0000000000000003.seg")); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(journal.Options{FS: vfs.OS, Dir: dir, SegmentBytes: 4096}); err == nil || !strings.Contains(err.Error(), "missing between others") {
		t.Errorf("opened with %v", err)
	}
}

func TestReleasedSegmentsAreUsedAgain(t *testing.T) {
	dir := t.TempDir()
	j, err := journal.Open(journal.Options{FS: vfs.OS, Dir: dir, SegmentBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(300) {
		add(t, j, i, strings.Repeat("x", 1000))
		if i%10 == 9 {
			if err := j.Release(j.Newest()); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := add(t, j, 300, "last")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) > 8 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
	if j, err = journal.Open(journal.Options{FS: vfs.OS, Dir: dir, SegmentBytes: 4096}); err != nil {
		t.Fatal(err)
	}
	defer j.Close() //nolint:errcheck // read only
	got := replay(t, j)
	if got[len(got)-1] != "300:last" || j.Newest() != last.Segment {
		t.Errorf("the end is %q in segment %d", got[len(got)-1], j.Newest())
	}
	for i := 1; i < len(got); i++ {
		if got[i] == got[i-1] {
			t.Errorf("a record of a former use is read: %q", got[i])
		}
	}
}

// full is a file system that has no room for new files while it is told so.
type full struct {
	vfs.FS
	now func() bool
}

func (f full) Create(name string) (vfs.File, error) {
	if f.now() {
		return nil, &os.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
	return f.FS.Create(name)
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	isFull := make(chan bool, 1)
	isFull <- false
	ask := func() bool {
		v := <-isFull
		isFull <- v
		return v
	}
	set := func(v bool) {
		<-isFull
		isFull <- v
	}
	j := open(t, full{vfs.NewMemory(), ask}, 4096)
	add(t, j, 0, "first")
	set(true)
	var err error
	for i := uint64(1); err == nil && i < 100; i++ {
		_, err = tryAdd(j, i, strings.Repeat("x", 1000))
	}
	if !errors.Is(err, journal.ErrFull) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a full disk gives %v", err)
	}
	set(false)
	for {
		if _, err = tryAdd(j, 100, "again"); err == nil {
			break
		}
		if !errors.Is(err, journal.ErrFull) {
			t.Fatal(err)
		}
	}
	set(true)
	set(false)
}

// failing is a file system whose fsync fails when it is told so.
type failing struct {
	vfs.FS
	fail *bool
}

type failingFile struct {
	vfs.File
	fail *bool
}

func (f failing) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	return failingFile{file, f.fail}, err
}

func (f failingFile) Sync() error {
	if *f.fail {
		return syscall.EIO
	}
	return f.File.Sync()
}

func TestFailedSyncIsFatalAndNotRetried(t *testing.T) {
	fail, fatal := false, 0
	j, err := journal.Open(journal.Options{FS: failing{vfs.NewMemory(), &fail}, Dir: "log", OnFatal: func(error) { fatal++ }})
	if err != nil {
		t.Fatal(err)
	}
	add(t, j, 0, "good")
	fail = true // no append is under way
	if _, err := tryAdd(j, 1, "bad"); !errors.Is(err, syscall.EIO) {
		t.Errorf("a failed fsync gives %v", err)
	}
	fail = false
	if _, err := tryAdd(j, 2, "late"); !errors.Is(err, syscall.EIO) {
		t.Errorf("an append after a failed fsync gives %v", err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if fatal != 1 {
		t.Errorf("fatal was called %d times", fatal)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			j, err := journal.Open(journal.Options{FS: vfs.OS, Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close() //nolint:errcheck // of no interest
			data := make([]byte, 256)
			slots := make(chan struct{}, callers)
			b.SetBytes(256)
			for b.Loop() {
				slots <- struct{}{}
				j.Append([]journal.Record{{Type: journal.Entry, Data: data}}, func(_ []journal.Position, err error) {
					if err != nil {
						b.Error(err)
					}
					<-slots
				})
			}
		})
	}
}
