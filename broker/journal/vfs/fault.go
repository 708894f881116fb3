package vfs

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
)

// Op is an operation that changes something.
type Op string

// The operations.
const (
	OpCreate      Op = "create"
	OpOpen        Op = "open"
	OpRename      Op = "rename"
	OpRemove      Op = "remove"
	OpSyncDir     Op = "sync directory"
	OpRead        Op = "read"
	OpWrite       Op = "write"
	OpPreallocate Op = "preallocate"
	OpSync        Op = "sync"
)

// Fault is what goes wrong.
type Fault struct {
	Op    Op
	Name  string // part of the file's name; empty matches every file
	After int    // so many operations that match succeed before
	Times int    // so many fail then; zero means all
	Err   error  // what they answer; nil with Hang means that they succeed at last
	Short int    // bytes that a failing write writes nevertheless
	// Hang, when set, holds the operation until it is closed.
	Hang <-chan struct{}
}

// Faulty lets operations of another file system fail.
type Faulty struct {
	FS

	hanging atomic.Int64

	mu     sync.Mutex
	faults []*Fault // guarded by mu
}

// NewFaulty wraps a file system that does not fail yet.
func NewFaulty(fs FS) *Faulty { return &Faulty{FS: fs} }

// Inject adds a fault.
func (f *Faulty) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &fault)
}

// Clear removes every fault.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Hanging is how many operations hang now.
func (f *Faulty) Hanging() int { return int(f.hanging.Load()) }

// check answers the error of an operation, and how much of a write is done nevertheless.
func (f *Faulty) check(op Op, name string) (short int, err error) {
	fault := f.match(op, name)
	if fault == nil {
		return 0, nil
	}
	if fault.Hang != nil {
		f.hanging.Add(1)
		<-fault.Hang
		f.hanging.Add(-1)
	}
	if fault.Err == nil {
		return 0, nil
	}
	return fault.Short, &os.PathError{Op: string(op), Path: name, Err: fault.Err}
}

func (f *Faulty) match(op Op, name string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.faults {
		if fault.Op != op || !strings.Contains(name, fault.Name) || fault.Times < 0 {
			continue
		}
		if fault.After > 0 {
			fault.After--
			continue
		}
		if fault.Times > 0 {
			if fault.Times--; fault.Times == 0 {
				fault.Times = -1 // used up
			}
		}
		return fault
	}
	return nil
}

// Create makes a new file.
func (f *Faulty) Create(name string) (File, error) {
	if _, err := f.check(OpCreate, name); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.FS.Create(name))
}

// Open opens an existing file.
func (f *Faulty) Open(name string) (File, error) {
	if _, err := f.check(OpOpen, name); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.FS.Open(name))
}

func (f *Faulty) wrap(name string) func(File, error) (File, error) {
	return func(file File, err error) (File, error) {
		if err != nil {
			return nil, err
		}
		return &faultyFile{File: file, fs: f, name: name}, nil
	}
}

// Rename gives a file another name. Files that are open keep the name under which they were opened for Fault.Name.
func (f *Faulty) Rename(from, to string) error {
	if _, err := f.check(OpRename, from); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

// Remove takes a name away.
func (f *Faulty) Remove(name string) error {
	if _, err := f.check(OpRemove, name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// SyncDir makes names durable.
func (f *Faulty) SyncDir(dir string) error {
	if _, err := f.check(OpSyncDir, dir); err != nil {
		return err
	}
	return f.FS.SyncDir(dir)
}

type faultyFile struct {
	File
	fs   *Faulty
	name string
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if _, err := f.fs.check(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	short, err := f.fs.check(OpWrite, f.name)
	if err == nil {
		return f.File.WriteAt(p, off)
	}
	n, failed := f.File.WriteAt(p[:min(short, len(p))], off)
	if failed != nil {
		return n, failed
	}
	return n, err
}

func (f *faultyFile) Preallocate(size int64) error {
	if _, err := f.fs.check(OpPreallocate, f.name); err != nil {
		return err
	}
	return f.File.Preallocate(size)
}

func (f *faultyFile) Sync() error {
	if _, err := f.fs.check(OpSync, f.name); err != nil {
		return err
	}
	return f.File.Sync()
}
