// Package server assembles a broker: it locks the data directory, opens the hub, listens, hands connections to the
// endpoints, takes in changes of files and signals, and stops everything in the reverse order.
//
// It decides nothing about messages or users. What it starts, it ends: Run returns when every goroutine has.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnstone-mq/turnstone/broker/admin"
	"github.com/turnstone-mq/turnstone/broker/amqp091"
	"github.com/turnstone-mq/turnstone/broker/amqp10"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/mapping"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/metrics"
	"github.com/turnstone-mq/turnstone/broker/mqtt"
	"github.com/turnstone-mq/turnstone/broker/router"
)

// Options of Run.
type Options struct {
	Config config.Config
	// ConfigFile is read again when it changes and on Reload; empty when there is none. Override puts what the command
	// line said over what the file says.
	ConfigFile string
	Override   func(config.Config) config.Config
	Reload     <-chan os.Signal
	Version    string
	Commit     string
	LogTo      io.Writer
	// Fatal ends the process at once: the journal cannot go on.
	Fatal func()
}

// Server is one broker while it runs.
type Server struct {
	options      Options
	logger       *slog.Logger
	level        *slog.LevelVar
	certificates *certificates
	settings     *settings
	hub          *hub.Hub
	admin        *admin.Server
	metrics      *metrics.Registry
	api          switchHandler
	mqtt         *mqtt.Endpoint
	amqp091      *amqp091.Endpoint
	amqp10       *amqp10.Endpoint
	endpoints    map[string]endpoint // by protocol
	bound        []bound
	traffic      traffic
	left         func() // traffic.leave, bound once

	phase   atomic.Int32
	undo    []func() error // what start did, to be undone in reverse order by stop
	running sync.WaitGroup

	trusted  trusted  // load balancers
	sniffing sniffing // connections that have not said yet what they speak
}

// The phases of a server.
const (
	starting int32 = iota
	serving
	stopping
)

// Run serves until ctx ends and then stops in an orderly way. Its error says what kept it from serving, or what went
// wrong while it stopped.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := newServer(o)
	if err := s.start(ctx); err != nil {
		cancel()
		return errors.Join(err, s.stop())
	}
	s.logger.Info("ready", s.addresses()...)
	<-ctx.Done()
	s.logger.Info("stopping", "drainSeconds", s.hub.Config().DrainSeconds)
	if err := s.stop(); err != nil {
		return err
	}
	s.logger.Info("stopped")
	return nil
}

func newServer(o Options) *Server {
	s := &Server{options: o, level: new(slog.LevelVar)}
	s.logger = newLogger(o.LogTo, o.Config.Log, s.level)
	s.settings = &settings{}
	s.trusted = newTrusted(o.Config.ProxyProtocol.TrustedNetworks)
	s.traffic.limit.Store(int64(o.Config.Limits.Connections))
	s.left = s.traffic.leave
	return s
}

func newLogger(w io.Writer, c config.Log, level *slog.LevelVar) *slog.Logger {
	level.Set(levelOf(c.Level))
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func levelOf(name string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(name)); err != nil {
		panic(fmt.Sprintf("configuration with log level %q was not validated", name))
	}
	return l
}

// start brings the broker up, step by step. Health answers from the first listener on; messages flow when all is there.
func (s *Server) start(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.takeDirectory,
		s.loadCertificates,
		s.listenAdmin,
		s.openHub,
		s.bootstrap,
		s.loadDefinitions,
		s.makeEndpoints,
		s.serveAdmin,
		s.endSniffing,
		s.listenClients,
		s.watchFiles,
		s.announce,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	s.phase.Store(serving)
	return nil
}

// onStop has something undone by stop, before what was started earlier.
func (s *Server) onStop(f func() error) { s.undo = append(s.undo, f) }

// stop undoes start.
func (s *Server) stop() error {
	s.phase.Store(stopping)
	var errs []error
	for i := len(s.undo) - 1; i >= 0; i-- {
		errs = append(errs, s.undo[i]())
	}
	s.running.Wait()
	return errors.Join(errs...)
}

// problems says why the broker does not serve now.
func (s *Server) problems() []string {
	switch s.phase.Load() {
	case starting:
		return []string{"broker is starting"}
	case stopping:
		return []string{"broker is stopping"}
	}
	return nil
}

func (s *Server) openHub(context.Context) error {
	incarnation, err := identity(s.options.Config.DataDir)
	if err != nil {
		return err
	}
	began := time.Now()
	h, err := hub.Open(hub.Options{
		Config: s.options.Config, FS: vfs.OS, Dir: filepath.Join(s.options.Config.DataDir, journalFolder),
		Incarnation: incarnation, Logger: s.logger, Fatal: s.fatal, DeadLetter: deadLetter, Attributes: attributes, Group: mapping.Group, Header: mapping.Header,
		JSONProperties: mapping.JSONProperties,
	})
	if err != nil {
		return fmt.Errorf("open data directory %s: %w", s.options.Config.DataDir, err)
	}
	s.hub = h
	s.logger.Debug("data directory is open", "node", incarnation, "took", time.Since(began))
	s.onStop(func() error { return h.Close(context.Background()) })
	return nil
}

// deadLetter and attributes are those of the protocol by which a message came.
func deadLetter(m *message.Message, d hub.Death) hub.Dead {
	if m.Encoding == message.AMQP10 {
		return amqp10.DeadLetter(m, d)
	}
	return amqp091.DeadLetter(m, d)
}

func attributes(m *message.Message) router.Attributes {
	if m.Encoding == message.AMQP10 {
		return amqp10.Attributes(m)
	}
	return amqp091.Attributes(m)
}

// fatal ends the process without a clean stop: after a failed fsync nobody knows what is on the disk, and the next start
// finds out.
func (s *Server) fatal(err error) {
	s.logger.Error("journal cannot go on; the process ends", "error", err)
	s.options.Fatal()
}
