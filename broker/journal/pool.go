package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// pool keeps spare segment files: full length, their space reserved. There is one more than the reserve; from when that
// one is used and cannot be replaced, lean says so. Released segments fill it; what is missing is made by a goroutine of
// its own, which tries again every second while the disk has no room.
type pool struct {
	fs      vfs.FS
	dir     string
	size    int64
	reserve int
	logger  *slog.Logger
	manual  bool // no goroutine: files are made when one is taken

	mu     sync.Mutex
	change sync.Cond
	files  []*segment // guarded by mu
	wanted bool       // the next file will be needed soon: it should be written; guarded by mu
	number int        // of the newest spare file; guarded by mu
	failed error      // why the last try to make one failed; guarded by mu
	closed bool       // guarded by mu
	wake   chan struct{}
	stop   chan struct{}
	ended  chan struct{}
}

const (
	spareSuffix = ".spare"
	retryEvery  = time.Second
)

// start begins to fill the pool.
func (p *pool) start() {
	go p.fill() // ends when close closes stop
	p.nudge()
}

func (p *pool) nudge() {
	select {
	case p.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (p *pool) fill() {
	defer close(p.ended)
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-p.wake:
		case <-retry.C:
		}
		p.refill()
		p.prepare()
	}
}

// want says that the next file will be needed soon.
func (p *pool) want() {
	p.mu.Lock()
	p.wanted = true
	p.mu.Unlock()
	p.nudge()
}

// prepare writes zeros to the next file if it is new and will be needed soon. Space that was only reserved costs a change
// of the file's extents with every first write to it, which fdatasync has to make durable as well.
func (p *pool) prepare() {
	p.mu.Lock()
	if !p.wanted || len(p.files) == 0 || slices.ContainsFunc(p.files, func(s *segment) bool { return s.written }) {
		p.mu.Unlock()
		return
	}
	s := p.files[0]
	p.files = p.files[1:] // nobody takes it meanwhile
	p.wanted = false
	p.mu.Unlock()
	if err := s.zero(); err != nil {
		p.logger.Warn("spare segment was not written", "file", s.name, "error", err) // it is as good as before
	}
	p.mu.Lock()
	p.files = slices.Insert(p.files, 0, s)
	p.change.Broadcast()
	p.mu.Unlock()
}

// zero writes all of a new file, and each step to the disk before the next: a file of dirty pages that goes to the disk at
// once keeps the log's own fsync waiting behind it, 30 ms where a step costs it 5.
func (s *segment) zero() error {
	s.written = true
	zeros := make([]byte, min(zeroAtOnce, s.size))
	for at := int64(0); at < s.size; at += int64(len(zeros)) {
		if _, err := s.file.WriteAt(zeros[:min(int64(len(zeros)), s.size-at)], at); err != nil {
			return err
		}
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	return nil
}

const zeroAtOnce = 1 << 20

func (p *pool) refill() {
	for p.short() {
		s, err := p.create()
		p.created(s, err)
		if err != nil {
			return
		}
	}
}

func (p *pool) short() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.files) <= p.reserve && !p.closed
}

// name is a name for the next spare file.
func (p *pool) name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number++
	return filepath.Join(p.dir, fmt.Sprintf("%08d%s", p.number, spareSuffix))
}

func (p *pool) create() (*segment, error) {
	name := p.name()
	f, err := p.fs.Create(name)
	if err != nil {
		return nil, err
	}
	if err := f.Preallocate(p.size); err != nil {
		return nil, errors.Join(err, f.Close(), p.fs.Remove(name))
	}
	return &segment{file: f, name: name, size: p.size}, nil
}

func (p *pool) created(s *segment, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.change.Broadcast()
	switch {
	case err == nil:
		p.files = append(p.files, s)
		p.recoveredLocked()
	case p.failed == nil:
		p.logger.Error("the journal has no space for another segment", "dir", p.dir, "error", err)
		p.failed = err
	default:
		p.failed = err
	}
}

func (p *pool) recoveredLocked() {
	if p.failed != nil && len(p.files) > p.reserve {
		p.logger.Info("the journal has space again", "dir", p.dir)
		p.failed = nil
	}
}

// put adds a spare file.
func (p *pool) put(s *segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files = append(p.files, s)
	p.recoveredLocked()
	p.change.Broadcast()
}

// recycle takes a released segment's file. What is too much or has another size is removed.
func (p *pool) recycle(s *segment) {
	p.mu.Lock()
	keep := !p.closed && len(p.files) <= p.reserve && s.size == p.size
	p.mu.Unlock()
	if keep {
		name := p.name()
		err := p.fs.Rename(s.name, name)
		if err == nil {
			p.put(&segment{file: s.file, name: name, size: s.size, written: true})
			return
		}
		p.logger.Warn("released segment was not kept", "file", s.name, "error", err)
	}
	if err := errors.Join(s.file.Close(), p.fs.Remove(s.name)); err != nil {
		p.logger.Warn("released segment was not removed", "file", s.name, "error", err)
	}
	p.nudge()
}

// take answers a spare file; it waits for one that is being made, unless the last try failed.
func (p *pool) take() (*segment, error) {
	defer p.nudge()
	p.nudge()
	if p.manual {
		p.refill()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.files) == 0 {
		if p.failed != nil {
			return nil, p.failed
		}
		p.change.Wait()
	}
	i := max(slices.IndexFunc(p.files, func(s *segment) bool { return s.written }), 0)
	s := p.files[i]
	p.files = slices.Delete(p.files, i, i+1)
	p.wanted = false
	return s, nil
}

// lean answers why no file can be made beside the reserve, or nil.
func (p *pool) lean() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.files) <= p.reserve && p.failed != nil {
		p.nudge()
		return p.failed
	}
	return nil
}

// close ends the goroutine. The spare files stay for the next Open.
func (p *pool) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	if !p.manual {
		close(p.stop)
		<-p.ended
	}
	return p.closeFiles()
}

func (p *pool) closeFiles() error {
	var errs []error
	for _, s := range p.files {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}
