package admin

import (
	"net/http"
	"sync"
)

// draining is whether clients are kept out, for the time of this process.
type draining struct {
	mu sync.Mutex
	on bool
}

// drainingProblem is why a draining broker is not ready.
const drainingProblem = "broker is draining: DELETE /v1/drain lets clients in again"

func (s *Server) startDrain(w http.ResponseWriter, r *http.Request) error {
	var nothing struct{}
	if err := readBody(w, r, &nothing, "it has none"); err != nil {
		return err
	}
	s.setDraining(true)
	return s.safeToStop(w, r)
}

func (s *Server) endDrain(w http.ResponseWriter, r *http.Request) error {
	s.setDraining(false)
	return s.safeToStop(w, r)
}

// setDraining is idempotent. What is asked last counts, also of requests at the same time.
func (s *Server) setDraining(on bool) {
	s.drain.mu.Lock()
	defer s.drain.mu.Unlock()
	if s.drain.on == on {
		return
	}
	s.drain.on = on
	if s.Drain != nil {
		s.Drain(on)
	}
}

func (s *Server) isDraining() bool {
	s.drain.mu.Lock()
	defer s.drain.mu.Unlock()
	return s.drain.on
}
