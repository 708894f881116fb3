package admin

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/definitions"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// definitionsOf is where RabbitMQ's tools look for the definitions of one virtual host, whose name follows.
const definitionsOf = "/api/definitions/"

// hostOf is the virtual host whose definitions are meant; empty is all of them.
func hostOf(r *http.Request) string {
	if name := r.PathValue("vhost"); name != "" {
		return name
	}
	return r.URL.Query().Get("vhost")
}

func (s *Server) exportDefinitions(w http.ResponseWriter, r *http.Request) error {
	vhost := hostOf(r)
	if vhost != "" {
		if _, err := s.Hub.VirtualHost(vhost); err != nil {
			return failf(http.StatusNotFound, "%v", err)
		}
	}
	all, _ := s.Hub.Objects("", "")
	file, err := definitions.Export(all, vhost, s.Version)
	if err != nil {
		return err
	}
	deadline(w, answerPatience)
	w.Header().Set("Content-Type", "application/json")
	w.Write(file) //nolint:errcheck // the peer is gone: nobody to tell
	return nil
}

func (s *Server) importDefinitions(w http.ResponseWriter, r *http.Request) error {
	options, err := applyOptions(r)
	if err != nil {
		return err
	}
	file, err := readDefinitions(w, r)
	if err != nil {
		return err
	}
	imported, err := definitions.Import(file, hostOf(r))
	if err != nil {
		return failf(http.StatusBadRequest, "%v", err)
	}
	report, err := definitions.Apply(imported, options.DryRun, func(changes []object.Change) ([]object.Result, error) {
		return s.Hub.Apply(r.Context(), catalog.Anyone, changes, options)
	})
	if err != nil {
		return unavailable(err)
	}
	return answer(w, http.StatusOK, report)
}

// readDefinitions reads the body, which must be JSON; see readApply.
func readDefinitions(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, failf(http.StatusUnsupportedMediaType, "Content-Type must be application/json")
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyPatience)) //nolint:errcheck // recorders of tests have none
	file, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBody))
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return nil, failf(http.StatusRequestEntityTooLarge, "definitions are longer than %d bytes: import one virtual host at a time", mostBody)
	}
	if err != nil {
		return nil, failf(http.StatusBadRequest, "body: %v", err)
	}
	return file, nil
}
