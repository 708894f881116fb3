package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The contents of a data directory.
const (
	lockFile      = "LOCK"
	identityFile  = "node.json"
	journalFolder = "journal"
)

// holder says who has a data directory; it is the content of the lock file.
type holder struct {
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Started time.Time `json:"started"`
}

// takeDirectory makes the data directory if need be and locks it for this process.
func (s *Server) takeDirectory(context.Context) error {
	dir := s.options.Config.DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	release, err := lock(dir)
	if err != nil {
		return err
	}
	s.onStop(release)
	s.logger.Info("starting", "version", s.options.Version, "commit", s.options.Commit, "data", dir)
	return nil
}

// lock takes the directory's lock, which ends with the process however that ends. The file stays: removing it would let
// two processes lock two files of the same name.
func lock(dir string) (release func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close() //nolint:errcheck // nothing was written
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
		}
		return nil, fmt.Errorf("data directory %s is in use%s: stop that broker, or give this one another directory with --data", dir, heldBy(f))
	}
	if err := sign(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory %s: %w", dir, err), f.Close())
	}
	return f.Close, nil
}

func sign(f *os.File) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	b, err := json.Marshal(holder{os.Getpid(), host, time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append(b, '\n'), 0)
	return err
}

// heldBy reads who wrote into a lock file. Whoever has just taken the lock may not have written yet.
func heldBy(f *os.File) string {
	const most = 4096
	var h holder
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil || json.Unmarshal(b, &h) != nil || h.PID == 0 {
		return " by another process"
	}
	return fmt.Sprintf(" by process %d on host %s since %s", h.PID, h.Host, h.Started.Format(time.RFC3339))
}

// node is the identity of a data directory.
type node struct {
	Format int    `json:"format"`
	ID     string `json:"id"` // random, made once and never used again
}

const nodeFormat = 1

// identity reads the directory's identity, and makes it if the directory is new. It is there before the journal is, so a
// journal without it means that the file was lost.
func identity(dir string) (string, error) {
	path := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newIdentity(dir)
	}
	if err != nil {
		return "", fmt.Errorf("read identity: %w", err)
	}
	var n node
	if err := json.Unmarshal(b, &n); err != nil || n.ID == "" {
		return "", fmt.Errorf("%s is damaged: restore it from a backup; a new one would make this another broker", path)
	}
	if n.Format != nodeFormat {
		return "", fmt.Errorf("%s has format %d, this version reads %d: start the version that wrote it", path, n.Format, nodeFormat)
	}
	return n.ID, nil
}

func newIdentity(dir string) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, journalFolder)); err == nil {
		return "", fmt.Errorf("data directory %s has a journal but no %s: restore that file from a backup", dir, identityFile)
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("make identity: %w", err)
	}
	n := node{nodeFormat, hex.EncodeToString(random[:])}
	b, err := json.Marshal(n)
	if err != nil {
		return "", fmt.Errorf("make identity: %w", err)
	}
	if err := writeDurably(dir, identityFile, append(b, '\n')); err != nil {
		return "", fmt.Errorf("write identity: %w", err)
	}
	return n.ID, nil
}

// writeDurably puts a file into place whole, or not at all.
func writeDurably(dir, name string, content []byte) error {
	f, err := os.CreateTemp(dir, name+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it was renamed, unless something failed that is reported
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
