package endpoint_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/endpoint"
)

// peer is a connection that ends when it is stopped, unless it is deaf: then when it is cut.
type peer struct {
	id    uint64
	live  bool
	deaf  bool
	cause error
	ended chan struct{}
}

func (p *peer) Stop(cause error) {
	p.cause = cause
	if !p.deaf {
		close(p.ended)
	}
}
func (p *peer) Cut()                          { close(p.ended) }
func (p *peer) Live() bool                    { return p.live }
func (p *peer) State() client.ConnectionState { return client.ConnectionState{ID: p.id} }

func TestShutdown(t *testing.T) {
	for name, deaf := range map[string]bool{"in order": false, "cut": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, cause := endpoint.New[*peer](), errors.New("stop")
				peers := []*peer{{id: 2, live: true, ended: make(chan struct{})}, {id: 1, live: true, deaf: deaf, ended: make(chan struct{})}, {id: 3, ended: make(chan struct{})}}
				for _, p := range peers {
					go s.Run(p, func() { <-p.ended }) // ends when the peer is stopped or cut
				}
				synctest.Wait()
				if list := s.Connections(); len(list) != 2 || list[0].ID != 1 || list[1].ID != 2 || s.Count() != 2 {
					t.Errorf("connections %+v, count %d", list, s.Count())
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				if err := s.Shutdown(ctx, cause); deaf != errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("shutdown says %v", err)
				}
				synctest.Wait()
				select {
				case <-s.Stopping():
				default:
					t.Error("Stopping is not closed")
				}
				if s.Run(&peer{}, func() { t.Error("a late connection is served") }) {
					t.Error("a late connection was let in")
				}
				if peers[0].cause != cause {
					t.Errorf("stopped because of %v", peers[0].cause)
				}
			})
		})
	}
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, cause := endpoint.New[*peer](), errors.New("drain")
		early, late := &peer{id: 1, live: true, ended: make(chan struct{})}, &peer{id: 2, live: true, ended: make(chan struct{})}
		go s.Run(early, func() { <-early.ended }) // ends when the endpoint is paused
		synctest.Wait()
		s.Pause(cause)
		synctest.Wait()
		if early.cause != cause || s.Count() != 0 {
			t.Errorf("stopped because of %v, %d are left", early.cause, s.Count())
		}
		if s.Run(late, func() { t.Error("a connection is served meanwhile") }) {
			t.Error("a connection was let in meanwhile")
		}
		s.Resume()
		served := false
		if !s.Run(late, func() { served = true }) || !served {
			t.Error("no connection is let in afterwards")
		}
		if err := s.Shutdown(context.Background(), cause); err != nil {
			t.Error(err)
		}
	})
}
