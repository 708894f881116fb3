package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/admin"
	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/amqp091"
	"github.com/turnstone-mq/turnstone/broker/amqp10"
	"github.com/turnstone-mq/turnstone/broker/metrics"
	"github.com/turnstone-mq/turnstone/broker/mqtt"
)

// endpoint speaks one protocol.
type endpoint interface {
	// Serve speaks on a connection until it ends, closes it, and calls ended. It can return before, when the connection
	// says nothing and needs no goroutine.
	Serve(conn net.Conn, ended func())
	// Shutdown ends every connection in the protocol's own way. It returns when all have ended, or when ctx has: then the
	// rest is cut.
	Shutdown(ctx context.Context) error
	// Pause refuses new connections until Resume, and asks those that are there to end, as Shutdown does.
	Pause()
	Resume()
	// Connections lists those that are authenticated, Count says how many there are.
	Connections() []client.ConnectionState
	Count() int
}

// makeEndpoints makes the endpoints, which are shut down together.
func (s *Server) makeEndpoints(context.Context) error {
	s.mqtt = mqtt.New(s.hub, s.logger)
	s.amqp091 = amqp091.New(s.hub, s.logger, s.options.Version)
	s.amqp10 = amqp10.New(s.hub, s.logger, s.options.Version)
	s.endpoints = map[string]endpoint{protocolMQTT: s.mqtt, protocolAMQP: s.amqp091, protocolAMQP10: s.amqp10}
	s.onStop(s.drain)
	return nil
}

// drain ends the connections, all endpoints at a time, within the drain time.
func (s *Server) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.hub.Config().DrainSeconds)*time.Second)
	defer cancel()
	var all sync.WaitGroup
	errs := make([]error, len(s.endpoints))
	for i, name := range slices.Sorted(maps.Keys(s.endpoints)) {
		all.Go(func() { // ends when the endpoint has, or the drain time
			if err := s.endpoints[name].Shutdown(ctx); err != nil {
				errs[i] = fmt.Errorf("shut down %s: %w", name, err)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		s.logger.Warn("connections were cut", "error", err)
	}
	return nil
}

// connections lists those of all endpoints.
func (s *Server) connections() []client.ConnectionState {
	var out []client.ConnectionState
	for _, name := range slices.Sorted(maps.Keys(s.endpoints)) {
		out = append(out, s.endpoints[name].Connections()...)
	}
	return out
}

func (s *Server) count() (n int) {
	for _, e := range s.endpoints {
		n += e.Count()
	}
	return n
}

// serveAdmin puts the API in the place of the answer that the broker starts.
func (s *Server) serveAdmin(context.Context) error {
	s.metrics = metrics.New(s.options.Version, s.options.Commit)
	s.expose()
	s.admin = admin.New(admin.Options{
		Hub: s.hub, Version: s.options.Version, Logger: s.logger,
		Connections: s.connections, Count: s.count, Drain: func(on bool) { s.letIn(!on) }, Pending: s.settings.state, TakeConfig: s.takeConfig,
		Problems: s.problems,
		Storage:  s.storage,
		Metrics:  s.metrics.Handler(), QueueMetrics: metrics.GroupHandler(s.byQueue()),
	})
	s.api.Set(s.admin)
	s.onStop(func() error {
		s.admin.Stop()
		return nil
	})
	return nil
}
