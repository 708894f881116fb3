package vfs

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Memory is a file system in memory. It outlives those who opened its files, as a disk outlives a process.
type Memory struct {
	mu    sync.Mutex
	files map[string]*memoryData
}

// memoryData is the content of a file.
type memoryData struct {
	mu   sync.RWMutex
	data []byte
}

// NewMemory makes an empty file system.
func NewMemory() *Memory { return &Memory{files: make(map[string]*memoryData)} }

// MkdirAll does nothing: directories exist by the names in them.
func (m *Memory) MkdirAll(string) error { return nil }

// SyncDir does nothing: a memory loses nothing.
func (m *Memory) SyncDir(string) error { return nil }

// List answers the names in a directory, sorted.
func (m *Memory) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.files {
		if filepath.Dir(name) == filepath.Clean(dir) {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Create makes a new file.
func (m *Memory) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] != nil {
		return nil, &os.PathError{Op: "create", Path: name, Err: os.ErrExist}
	}
	d := &memoryData{}
	m.files[name] = d
	return d, nil
}

// Open opens an existing file.
func (m *Memory) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.files[name]; d != nil {
		return d, nil
	}
	return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
}

// Rename gives a file another name.
func (m *Memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[from] == nil {
		return &os.PathError{Op: "rename", Path: from, Err: os.ErrNotExist}
	}
	m.files[to] = m.files[from]
	delete(m.files, from)
	return nil
}

// Remove takes a name away.
func (m *Memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[name] == nil {
		return &os.PathError{Op: "remove", Path: name, Err: os.ErrNotExist}
	}
	delete(m.files, name)
	return nil
}

func (d *memoryData) ReadAt(p []byte, off int64) (int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if off >= int64(len(d.data)) {
		return 0, io.EOF
	}
	n := copy(p, d.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *memoryData) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.grow(off + int64(len(p)))
	return copy(d.data[off:], p), nil
}

func (d *memoryData) grow(size int64) {
	if more := size - int64(len(d.data)); more > 0 {
		d.data = append(d.data, make([]byte, more)...)
	}
}

func (d *memoryData) Preallocate(size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.grow(size)
	return nil
}

func (d *memoryData) Size() (int64, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return int64(len(d.data)), nil
}

func (d *memoryData) Sync() error  { return nil }
func (d *memoryData) Close() error { return nil }
