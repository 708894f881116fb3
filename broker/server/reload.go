package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/config"
)

// lookEvery is how often files are compared with what was read of them. Volumes of Kubernetes swap links, which tell
// nobody; reading a few small files costs nothing.
const lookEvery = time.Second

// settings is what is known of the configuration file.
type settings struct {
	mu      sync.Mutex
	seen    []byte   // what was tried last; nil at first, since the file may have changed while the broker started
	pending []string // keys that wait for a restart
	problem error    // why the file could not be used
	content string   // of the file that is in force as a whole
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
	if s.options.ConfigFile == "" {
		return
	}
	content, err := os.ReadFile(s.options.ConfigFile)
	s.settings.mu.Lock()
	defer s.settings.mu.Unlock()
	if err == nil && bytes.Equal(content, s.settings.seen) || err != nil && s.settings.seen == nil {
		return
	}
	s.settings.seen = content
	s.settings.content = ""
	wanted, err := s.wanted()
	if s.settings.problem = err; err != nil {
		s.traffic.reloadFailures.Add(1)
		s.logger.Error("configuration file cannot be used; the former configuration stays in force", "error", err)
		return
	}
	if s.settings.pending = s.reconfigure(wanted); len(s.settings.pending) == 0 {
		sum := sha256.Sum256(content)
		s.settings.content = hex.EncodeToString(sum[:])
	}
}

// wanted is the configuration that the file and the command line ask for now.
func (s *Server) wanted() (config.Config, error) {
	c, err := config.Load(s.options.ConfigFile)
	if err != nil {
		return c, err
	}
	c = s.options.Override(c)
	return c, c.Validate()
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
