package journal_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// history is what was appended to a journal and what of it was confirmed. Record i has index i and data that follow from
// it, so that a recovered record can be judged by itself.
type history struct {
	mu        sync.Mutex
	appended  uint64
	confirmed uint64 // records before this one were confirmed
	released  uint64 // records before this one may be missing
	segments  map[uint64]uint64
	relaxed   *rand.Rand // chooses the durability of each append; nil is always
}

func dataOf(index uint64) []byte {
	rng := rand.New(rand.NewPCG(index, 7))
	data := make([]byte, rng.IntN(900))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

func (h *history) counts() (appended, confirmed, released uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.appended, h.confirmed, h.released
}

// append hands the next n records to the journal. What is done without an fsync is not confirmed, but what is confirmed
// later confirms it too: nothing in the middle may be missing.
func (h *history) append(j *journal.Journal, n int, done chan<- error) {
	h.mu.Lock()
	d := journal.Always
	if h.relaxed != nil {
		d = journal.Durability(h.relaxed.IntN(3))
	}
	var records []journal.Record
	for range n {
		records = append(records, journal.Record{Type: journal.Entry, Group: 1, Index: h.appended, Data: dataOf(h.appended)})
		h.appended++
	}
	last := h.appended
	h.mu.Unlock()
	j.AppendAs(d, records, func(at []journal.Position, err error) {
		if err == nil {
			h.mu.Lock()
			if d == journal.Always {
				h.confirmed = max(h.confirmed, last)
			}
			for i, p := range at {
				h.segments[p.Segment] = records[i].Index + 1
			}
			h.mu.Unlock()
		}
		done <- err
	})
}

// release gives the oldest segment back.
func (h *history) release(j *journal.Journal) error {
	oldest := j.Oldest()
	h.mu.Lock()
	h.released = max(h.released, h.segments[oldest])
	h.mu.Unlock()
	return j.Release(oldest)
}

// verify judges what a disk holds: every confirmed record that was not released, in order and without a gap, as it was
// appended, and nothing that was never appended.
func verify(fs vfs.FS, appended, confirmed, released uint64) (recovered uint64, err error) {
	j, err := journal.Open(journal.Options{FS: fs, Dir: "log", SegmentBytes: 8192})
	if err != nil {
		return 0, err
	}
	next, any := uint64(0), false
	err = j.Replay(0, func(r journal.Record, _ journal.Position) error {
		if any && r.Index != next {
			return fmt.Errorf("record %d follows record %d", r.Index, next-1)
		}
		if !any && r.Index > released {
			return fmt.Errorf("the first record is %d, only those before %d were released", r.Index, released)
		}
		if r.Index >= appended || string(r.Data) != string(dataOf(r.Index)) {
			return fmt.Errorf("record %d was never appended", r.Index)
		}
		next, any = r.Index+1, true
		return nil
	})
	if err == nil && next < confirmed && (any || released < confirmed) {
		err = fmt.Errorf("%d records were confirmed, %d are there", confirmed, next)
	}
	return next, errors.Join(err, j.Close())
}

// crashes runs a journal on a disk and verifies what a power loss would leave at some of the disk's operations. It ends
// with the first violation.
func crashes(seed uint64, lying, relaxed bool, stride int) (checked int, violation error) {
	rng := rand.New(rand.NewPCG(seed, 1))
	disk := vfs.NewCrash()
	disk.Lying = lying
	h := &history{segments: make(map[uint64]uint64)}
	if relaxed {
		h.relaxed = rand.New(rand.NewPCG(seed, 2))
	}
	var mu sync.Mutex // the journal's goroutines all come here
	count := 0
	disk.Before = func(op vfs.Op, name string) {
		mu.Lock()
		defer mu.Unlock()
		if count++; violation != nil || count%stride != 0 {
			return
		}
		// What was confirmed before the power loss must be there; what was appended or released may come until after it.
		_, confirmed, _ := h.counts()
		left := disk.PowerLoss(seed + uint64(count))
		appended, _, released := h.counts()
		checked++
		at, err := verify(left, appended, confirmed, released)
		if err == nil { // a second power loss changes nothing
			_, err = verify(left.PowerLoss(seed), appended, at, released)
		}
		if err != nil {
			violation = fmt.Errorf("seed %d, operation %d (%s of %s): %w", seed, count, op, name, err)
		}
	}
	j, err := journal.Open(journal.Options{FS: disk, Dir: "log", SegmentBytes: 8192})
	if err != nil {
		return checked, err
	}
	for range 60 {
		n := 1 + rng.IntN(4)
		done := make(chan error, n)
		for range n {
			h.append(j, 1+rng.IntN(3), done)
		}
		for range n {
			if err := <-done; err != nil {
				return checked, errors.Join(err, j.Close())
			}
		}
		if rng.IntN(10) == 0 {
			if err := h.release(j); err != nil {
				return checked, errors.Join(err, j.Close())
			}
		}
	}
	err = j.Close()
	mu.Lock()
	defer mu.Unlock()
	return checked, errors.Join(violation, err)
}

func TestPowerLoss(t *testing.T) {
	first, checked := uint64(time.Now().UnixNano()), 0
	t.Logf("seeds from %d", first)
	runs := uint64(40)
	if testing.Short() {
		runs = 5
	}
	for seed := first; seed < first+runs; seed++ {
		n, err := crashes(seed, false, seed%2 == 0, 3)
		if err != nil {
			t.Fatal(err)
		}
		checked += n
	}
	t.Logf("%d power losses", checked)
}

func TestPowerLossAtEveryOperation(t *testing.T) {
	for _, relaxed := range []bool{false, true} {
		if n, err := crashes(4711, false, relaxed, 1); err != nil || n < 150 {
			t.Errorf("relaxed %v: after %d power losses: %v", relaxed, n, err)
		}
	}
}

// TestLyingDiskIsFound is the control: the same checker must find a disk that does not do what fsync promises.
func TestLyingDiskIsFound(t *testing.T) {
	for seed := range uint64(5) {
		if n, err := crashes(seed, true, false, 1); err == nil {
			t.Errorf("seed %d: %d power losses of a lying disk went unnoticed", seed, n)
		}
	}
}

const childDir = "TURNSTONE_JOURNAL_TEST_DIR"

// TestMain lets the test binary be the process that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}

// child appends for ever and writes the index of each confirmed record to its output.
func child(dir string) {
	j, err := journal.Open(journal.Options{Dir: dir, SegmentBytes: 1 << 20})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	next := uint64(0)
	if err := j.Replay(0, func(r journal.Record, _ journal.Position) error { next = r.Index + 1; return nil }); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	slots := make(chan struct{}, 64)
	for ; ; next++ {
		index := next
		slots <- struct{}{}
		j.Append([]journal.Record{{Type: journal.Entry, Index: index, Data: binary.LittleEndian.AppendUint64(dataOf(index), index)}}, func(_ []journal.Position, err error) {
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Println(index)
			<-slots
		})
	}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 5 {
		confirmed := killed(t, dir, 200+rng.IntN(2000))
		j, err := journal.Open(journal.Options{Dir: dir, SegmentBytes: 1 << 20})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		next := uint64(0)
		if err := j.Replay(0, func(r journal.Record, _ journal.Position) error {
			if want := binary.LittleEndian.AppendUint64(dataOf(next), next); r.Index != next || string(r.Data) != string(want) {
				return fmt.Errorf("record %d is where %d should be", r.Index, next)
			}
			next++
			return nil
		}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if next <= confirmed {
			t.Fatalf("round %d: record %d was confirmed, %d records are there", round, confirmed, next)
		}
		closed(t, j)
	}
}

// killed runs a child until it has confirmed so many records, kills it, and answers the last one that it confirmed.
func killed(t *testing.T, dir string, records int) (last uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for n := 0; ; n++ {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // a line that was cut says nothing
		}
		if last, err = strconv.ParseUint(strings.TrimSpace(line), 10, 64); err != nil {
			t.Errorf("the child says %q", line)
		}
		if n == records {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
	return last
}
