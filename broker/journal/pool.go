package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
)

// pool keeps spare segment files: full length, their space reserved, under the suffix .spare. It fills itself with
// released segments, and with new files made by a goroutine of its own that tries again every second while the disk
// has no room.
type pool struct {
	fs     vfs.FS
	dir    string
	size   int64
	want   int
	logger *slog.Logger

	mu     sync.Mutex
	change sync.Cond
	files  []*segment // guarded by mu
	number int        // of the next spare file; guarded by mu
	failed error      // why the last try to make one failed; guarded by mu
	closed bool
	wake   chan struct{}
	stop   chan struct{}
	ended  chan struct{}
}

func (p *pool) open(fs vfs.FS, dir string, size int64, want int, logger *slog.Logger) {
	p.fs, p.dir, p.size, p.want, p.logger = fs, dir, size, want, logger
	p.change.L = &p.mu
	p.wake, p.stop, p.ended = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go p.fill() // ends when close closes stop
	p.nudge()
}

func (p *pool) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

const retryEvery = time.Second

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
		for p.short() {
			s, err := p.make()
			p.made(s, err)
			if err != nil {
				break
			}
		}
	}
}

func (p *pool) short() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.files) < p.want && !p.closed
}

func (p *pool) make() (*segment, error) {
	p.mu.Lock()
	p.number++
	name := filepath.Join(p.dir, fmt.Sprintf("%08d.spare", p.number))
	p.mu.Unlock()
	f, err := p.fs.Create(name)
	if err != nil {
		return nil, err
	}
	if err := f.Preallocate(p.size); err != nil {
		return nil, errors.Join(err, f.Close(), p.fs.Remove(name))
	}
	return &segment{file: f, name: name}, nil
}

func (p *pool) made(s *segment, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.failed == nil {
			p.logger.Error("no space for the journal: publishes that must be stored are refused until there is", "dir", p.dir, "error", err)
		}
		p.failed = err
	} else {
		if p.failed != nil {
			p.logger.Info("the journal has space again", "dir", p.dir)
		}
		p.failed = nil
		p.files = append(p.files, s)
	}
	p.change.Broadcast()
}

// give takes a released segment's file back. What would be too many is removed.
func (p *pool) give(s *segment) {
	p.mu.Lock()
	if p.closed || len(p.files) >= p.want {
		p.mu.Unlock()
		if err := errors.Join(s.file.Close(), p.fs.Remove(s.name)); err != nil {
			p.logger.Warn("released segment was not removed", "file", s.name, "error", err)
		}
		return
	}
	p.number++
	name := filepath.Join(p.dir, fmt.Sprintf("%08d.spare", p.number))
	p.mu.Unlock()
	if err := p.fs.Rename(s.name, name); err != nil {
		p.logger.Warn("released segment was not kept", "file", s.name, "error", err)
		return
	}
	p.made(&segment{file: s.file, name: name}, nil)
}

// take answers a spare file; it waits for one that is being made, unless the last try failed. The last one is kept for
// reserved records.
func (p *pool) take(reserved bool) (*segment, error) {
	defer p.nudge()
	p.nudge()
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := 0
	if !reserved && p.failed != nil {
		keep = 1
	}
	for len(p.files) <= keep {
		if p.failed != nil {
			return nil, p.failed
		}
		p.change.Wait()
	}
	s := p.files[0]
	p.files = p.files[1:]
	return s, nil
}

// close ends the goroutine and removes the spare files that hold nothing.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	close(p.stop)
	<-p.ended
	for _, s := range p.files {
		if err := s.file.Close(); err != nil {
			p.logger.Warn("spare segment was not closed", "file", s.name, "error", err)
		}
	}
}

// isSpare says whether a file of the directory is a spare.
func isSpare(name string) bool { return strings.HasSuffix(name, ".spare") }
