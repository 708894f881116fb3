// Package bundle writes the files of a debug bundle as a .tar.gz, and takes secrets out of them. What goes into a bundle is decided by
// package plugin; what must not leave is decided here, twice: by what a text looks like, and by the very values that are known to
// be secret.
package bundle

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"time"
)

// Bundle is a .tar.gz that is being written. Everything passes its Scrubber.
type Bundle struct {
	Scrubber
	folder string
	zip    *gzip.Writer
	tar    *tar.Writer
	now    time.Time
}

// New begins a bundle whose files lie in a folder.
func New(w io.Writer, folder string, now time.Time) *Bundle {
	z := gzip.NewWriter(w)
	return &Bundle{folder: folder, zip: z, tar: tar.NewWriter(z), now: now}
}

// Add adds a file.
func (b *Bundle) Add(name string, content []byte) error {
	content = b.Scrub(content)
	const mode = 0o600
	h := &tar.Header{Name: path.Join(b.folder, name), Mode: mode, Size: int64(len(content)), ModTime: b.now}
	if err := b.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("bundle %s: %w", name, err)
	}
	if _, err := b.tar.Write(content); err != nil {
		return fmt.Errorf("bundle %s: %w", name, err)
	}
	return nil
}

// Close ends the bundle; w stays open.
func (b *Bundle) Close() error { return errors.Join(b.tar.Close(), b.zip.Close()) }
