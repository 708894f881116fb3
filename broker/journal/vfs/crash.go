package vfs

import (
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Crash is a file system in memory that knows what a power loss would leave. What was written is visible at once and
// certain after Sync; names are certain after SyncDir. PowerLoss answers one of the states that a disk may be in.
type Crash struct {
	// Before, when set, is called before each operation that changes something, without a lock held. Set it before use.
	Before func(op Op, name string)
	// Lying makes Sync and SyncDir do nothing: the control of tests that must find a loss.
	Lying bool

	mu      sync.Mutex
	names   map[string]*crashFile // as programs see them
	stable  map[string]*crashFile // as of the last SyncDir
	changes []nameChange          // since then
}

// nameChange is a change of a directory; it happens as a whole or not at all, and never before an earlier one.
type nameChange struct {
	from, to string     // from is empty for a new file, to for a removed one
	file     *crashFile // of a new file
}

// crashFile is the content of a file; guarded by Crash.mu.
type crashFile struct {
	fs      *Crash
	name    string // for Before
	data    []byte // as programs see it
	stable  []byte // as of the last Sync
	changes []fileChange
}

type fileChange struct {
	at   int64
	data []byte // what was written there, or
	size int64  // the size that was reserved
}

// sector is what a disk writes as a whole.
const sector = 512

// NewCrash makes an empty file system.
func NewCrash() *Crash {
	return &Crash{names: make(map[string]*crashFile), stable: make(map[string]*crashFile)}
}

func (c *Crash) before(op Op, name string) {
	if c.Before != nil {
		c.Before(op, name)
	}
}

// PowerLoss answers what a disk may hold after a power loss now: of the changes that nothing made certain, some; of a
// write, some sectors. The seed decides. The file system itself goes on.
func (c *Crash) PowerLoss(seed uint64) *Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 0))
	names := maps.Clone(c.stable)
	for _, change := range c.changes[:rng.IntN(len(c.changes)+1)] {
		change.apply(names)
	}
	left := NewCrash()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		data := names[name].survivors(rng)
		f := &crashFile{fs: left, name: name, data: data, stable: slices.Clone(data)}
		left.names[name], left.stable[name] = f, f
	}
	return left
}

func (n *nameChange) apply(names map[string]*crashFile) {
	f := n.file
	if f == nil {
		f = names[n.from]
	}
	delete(names, n.from)
	if n.to != "" {
		names[n.to] = f
	}
}

// survivors is the stable content with a random part of the changes since.
func (f *crashFile) survivors(rng *rand.Rand) []byte {
	data := slices.Clone(f.stable)
	keep := []float64{0, 0.5, 0.9, 1}[rng.IntN(4)]
	for _, change := range f.changes {
		if change.data == nil {
			if rng.Float64() < keep {
				data = extend(data, change.size)
			}
			continue
		}
		for at, rest := change.at, change.data; len(rest) > 0; {
			n := min(int64(len(rest)), sector-at%sector)
			if rng.Float64() < keep {
				data = extend(data, at+n)
				copy(data[at:], rest[:n])
			}
			at, rest = at+n, rest[n:]
		}
	}
	return data
}

func extend(data []byte, size int64) []byte {
	if more := size - int64(len(data)); more > 0 {
		data = append(data, make([]byte, more)...)
	}
	return data
}

// MkdirAll does nothing: directories exist by the names in them.
func (c *Crash) MkdirAll(string) error { return nil }

// List answers the names in a directory, sorted.
func (c *Crash) List(dir string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for name := range c.names {
		if filepath.Dir(name) == filepath.Clean(dir) {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Create makes a new file.
func (c *Crash) Create(name string) (File, error) {
	c.before(OpCreate, name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[name] != nil {
		return nil, &os.PathError{Op: "create", Path: name, Err: os.ErrExist}
	}
	f := &crashFile{fs: c, name: name}
	c.change(nameChange{to: name, file: f})
	return f, nil
}

func (c *Crash) change(n nameChange) {
	n.apply(c.names)
	c.changes = append(c.changes, n)
}

// Open opens an existing file.
func (c *Crash) Open(name string) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.names[name]; f != nil {
		return f, nil
	}
	return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
}

// Rename gives a file another name.
func (c *Crash) Rename(from, to string) error {
	c.before(OpRename, from)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[from] == nil {
		return &os.PathError{Op: "rename", Path: from, Err: os.ErrNotExist}
	}
	c.change(nameChange{from: from, to: to})
	c.names[to].name = to
	return nil
}

// Remove takes a name away.
func (c *Crash) Remove(name string) error {
	c.before(OpRemove, name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[name] == nil {
		return &os.PathError{Op: "remove", Path: name, Err: os.ErrNotExist}
	}
	c.change(nameChange{from: name})
	return nil
}

// SyncDir makes names certain.
func (c *Crash) SyncDir(dir string) error {
	c.before(OpSyncDir, dir)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.Lying {
		c.stable, c.changes = maps.Clone(c.names), nil
	}
	return nil
}

func (f *crashFile) label() string {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.name
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.before(OpWrite, f.label())
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.data = extend(f.data, off+int64(len(p)))
	f.changes = append(f.changes, fileChange{at: off, data: append([]byte{}, p...)})
	return copy(f.data[off:], p), nil
}

func (f *crashFile) Preallocate(size int64) error {
	f.fs.before(OpPreallocate, f.label())
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.data = extend(f.data, size)
	f.changes = append(f.changes, fileChange{size: size})
	return nil
}

func (f *crashFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.data)), nil
}

func (f *crashFile) Sync() error {
	f.fs.before(OpSync, f.label())
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if !f.fs.Lying {
		for _, c := range f.changes {
			f.stable = extend(f.stable, max(c.size, c.at+int64(len(c.data))))
			copy(f.stable[c.at:], c.data)
		}
		f.changes = nil
	}
	return nil
}

func (f *crashFile) Close() error { return nil }
