package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/config"
)

// lookEvery is how often files are compared with what was read of them. Volumes of Kubernetes swap links, which tell
// nobody; reading a few small files costs nothing.
const lookEvery = time.Second

// settings is what is known of the configuration file, and of the one that the admin API brought ahead of it.
type settings struct {
	mu      sync.Mutex
	seen    []byte         // what was tried last; nil at first, since the file may have changed while the broker started
	file    *config.Config // what the file says, without the command line; nil while none could be used
	pending []string       // keys that wait for a restart
	problem error          // why the file could not be used
	content string         // of the file that is in force as a whole
}

// state is for the admin API.
func (s *settings) state() (pending []string, content string, problem error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pending), s.content, s.problem
}

// watchFiles takes in changes of the TLS files and of the configuration file, when they happen and on Reload.
func (s *Server) watchFiles(context.Context) error {
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() { // ends when done is closed
		defer close(ended)
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			case <-s.options.Reload:
				s.logger.Info("reload was asked for")
			}
			s.reloadCertificates()
			s.reloadConfig()
		}
	}()
	s.onStop(func() error {
		close(done)
		<-ended
		return nil
	})
	return nil
}

func (s *Server) reloadCertificates() {
	changed, err := s.certificates.load()
	switch {
	case changed && err != nil:
		s.traffic.reloadFailures.Add(1)
		s.logger.Error("new TLS files cannot be used; the former ones stay in force", "error", err)
	case changed:
		s.logger.Info("new TLS files are in force", "notAfter", time.Unix(int64(s.certificates.notAfter()), 0).UTC())
	}
}

func (s *Server) reloadConfig() {
	s.settings.mu.Lock()
	defer s.settings.mu.Unlock()
	s.reloadConfigLocked()
}

func (s *Server) reloadConfigLocked() {
	if s.options.ConfigFile == "" {
		return
	}
	content, err := os.ReadFile(s.options.ConfigFile)
	if err == nil && bytes.Equal(content, s.settings.seen) || err != nil && s.settings.seen == nil {
		return
	}
	s.settings.seen = content
	s.settings.content = ""
	file, wanted, err := s.wanted(content, err)
	if s.settings.problem = err; err != nil {
		s.traffic.reloadFailures.Add(1)
		s.logger.Error("configuration file cannot be used; the former configuration stays in force", "error", err)
		return
	}
	s.settings.file, s.settings.pending = &file, s.reconfigure(wanted)
	s.settings.inForce(content)
}

// inForce notes which file is in force, unless keys of it wait.
func (s *settings) inForce(content []byte) {
	if len(s.pending) == 0 {
		sum := sha256.Sum256(content)
		s.content = hex.EncodeToString(sum[:])
	}
}

// wanted is the configuration that a file asks for, and that with what the command line says.
func (s *Server) wanted(content []byte, read error) (file, wanted config.Config, err error) {
	if read != nil {
		return file, wanted, fmt.Errorf("read configuration: %w", read)
	}
	if file, err = config.Parse(content); err != nil {
		return file, wanted, fmt.Errorf("configuration %s: %w", s.options.ConfigFile, err)
	}
	wanted = s.options.Override(file)
	return file, wanted, wanted.Validate()
}

// takeConfig takes a configuration file that is on its way to this broker, before it is there, as far as it differs in live keys
// alone from the file that is there. It answers the other keys in which it differs: then nothing changes. What the file itself
// says counts again when it changes, and when the broker starts.
func (s *Server) takeConfig(text string) (restart []string, err error) {
	s.settings.mu.Lock()
	defer s.settings.mu.Unlock()
	s.reloadConfigLocked() // else a file that nobody has read yet would count as news
	file, err := config.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	before := s.hub.Config()
	if s.settings.file != nil {
		before = *s.settings.file
	}
	if _, restart = config.Changed(before, file); len(restart) > 0 {
		return restart, nil
	}
	wanted := s.options.Override(config.Merge(s.hub.Config(), file))
	if err := wanted.Validate(); err != nil {
		return nil, err
	}
	s.settings.content = ""
	s.reconfigure(wanted)
	s.settings.inForce([]byte(text))
	return nil, nil
}

// reconfigure puts live keys into force and answers those that wait for a restart.
func (s *Server) reconfigure(wanted config.Config) (pending []string) {
	live, pending := config.Changed(s.hub.Config(), wanted)
	s.hub.Reconfigure(wanted)
	s.hub.Authority().Refresh()
	s.level.Set(levelOf(wanted.Log.Level))
	s.traffic.limit.Store(int64(wanted.Limits.Connections))
	if len(live) > 0 {
		s.logger.Info("configuration changed", "keys", live)
	}
	if len(pending) > 0 {
		s.logger.Warn("configuration changed in keys that wait for a restart", "keys", pending)
	}
	return pending
}
