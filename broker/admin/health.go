package admin

import (
	_ "embed"
	"net/http"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
)

//go:embed openapi.json
var openAPI []byte

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Write(openAPI) //nolint:errcheck // the peer is gone
	return nil
}

// health says that the process is alive and worth keeping; ready, that it serves.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, client.Health{OK: true, Version: s.Version})
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) error {
	problems := s.Problems()
	if s.isDraining() {
		problems = append(slices.Clip(problems), drainingProblem)
	}
	return readiness(w, s.Version, problems)
}

func readiness(w http.ResponseWriter, version string, problems []string) error {
	status := http.StatusOK
	if len(problems) > 0 {
		status = http.StatusServiceUnavailable
	}
	return answer(w, status, client.Health{OK: len(problems) == 0, Version: version, Problems: problems})
}

// Starting serves while the broker recovers: it is alive, and not ready.
func Starting(version string) http.Handler {
	const why = "broker is starting: it recovers its data"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			answer(w, http.StatusOK, client.Health{OK: true, Version: version}) //nolint:errcheck // plain data
		case "/readyz":
			readiness(w, version, []string{why}) //nolint:errcheck // plain data
		default:
			answer(w, http.StatusServiceUnavailable, client.Error{Message: why}) //nolint:errcheck // plain data
		}
	})
}
