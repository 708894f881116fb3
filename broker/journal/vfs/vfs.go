// Package vfs is the small part of a file system that the journal needs, so that tests can put a memory, a power loss or
// a failing disk in the place of the real one.
package vfs

import "io"

// FS is a file system. Names are paths; errors are those of package os.
type FS interface {
	// MkdirAll makes a directory and its parents.
	MkdirAll(dir string) error
	// List answers the names in a directory, sorted.
	List(dir string) ([]string, error)
	// Create makes a new file and fails if there is one of that name.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes what was created, renamed and removed in a directory durable.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Preallocate reserves space up to size and makes the file that long, so that later writes need no new space.
	Preallocate(size int64) error
	// Sync makes what was written durable (fdatasync).
	Sync() error
}
