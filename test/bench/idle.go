package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/turnstone-mq/turnstone/test/bench/mqtt"
)

const (
	settling    = 10 * time.Second // after which the memory of connections that say nothing is looked at
	otherFiles  = 200              // that a process may have open beside connections
	enoughFiles = 1000             // fewer connections say nothing
)

// idle is very many connections that say nothing: how fast they come, and what each of them costs. That all of them are
// still served is asked at the end.
func idle(s *site, w work) (f figures, err error) {
	count, err := affordable(w.many)
	if err != nil {
		return nil, err
	}
	if count < w.many {
		s.progress("%d of %d connections: the limit of open files (ulimit -Hn) has no room for more", count, w.many)
	}
	span, err := s.begin(0)
	if err != nil {
		return nil, err
	}
	herd, err := mqtt.Gather(mqtt.HerdOptions{
		Address: s.address, Prefix: fmt.Sprintf("bench-%08x", s.nextRun()), Count: count,
		User: s.mqttUser(), Password: s.password, Persistent: w.persistent,
	})
	if err != nil {
		herd.Close()
		return nil, err
	}
	defer herd.Close()
	if f, err = span.end(uint64(count)); err != nil {
		return nil, err
	}
	f[connections], f[connected] = float64(count), f[rate]
	delete(f, rate)
	delete(f, written)
	s.pause(settling)
	if s.broker != nil {
		to, err := s.usage()
		if err != nil {
			return nil, err
		}
		f[perConnection] = float64(to.Resident-span.from.Resident) / 1024 / float64(count)
	}
	return f, errors.Join(s.ctx.Err(), herd.Ping())
}

// affordable is how many of so many connections this process may have; the broker on this machine has the same limit.
// It raises the soft limit, which a broker that is not written in Go inherits.
func affordable(wanted int) (int, error) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	if room := int(files.Max) - otherFiles; room < wanted {
		wanted = room
	}
	if wanted < enoughFiles {
		return 0, fmt.Errorf("the limit of open files is %d; raise it with ulimit -n", files.Max)
	}
	return wanted, nil
}

// raiseFiles lets this process, and the brokers that it starts, open as many files as the hard limit allows.
func raiseFiles() error {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	files.Cur = files.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	return nil
}
