package server

import (
	"maps"
	"slices"
)

// letIn opens the endpoints to clients, or closes them: then those that are connected are asked to leave, as at a stop.
func (s *Server) letIn(open bool) {
	for _, name := range slices.Sorted(maps.Keys(s.endpoints)) {
		if open {
			s.endpoints[name].Resume()
		} else {
			s.endpoints[name].Pause()
		}
	}
	if open {
		s.logger.Info("clients are let in again")
	} else {
		s.logger.Info("draining: clients are asked to leave and kept out")
	}
}
