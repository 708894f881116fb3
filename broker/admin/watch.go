package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// linePatience is how long a watcher may take to read what it is sent.
const linePatience = 30 * time.Second

// watch streams changes, a line of JSON each, and a line without an object at first and whenever nothing happens.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) error {
	since, err := s.since(r)
	if err != nil {
		return err
	}
	select {
	case s.watches <- struct{}{}:
		defer func() { <-s.watches }()
	default:
		return failf(http.StatusServiceUnavailable, "%d watches are open, which is the most", mostWatches)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() { // ends with the request
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	stream := &stream{w: w, out: json.NewEncoder(w)}
	stream.bookmark(since)
	for stream.err == nil && ctx.Err() == nil {
		changes, err := s.changes(ctx, since)
		if err != nil {
			return nil // too far behind, or the broker stops: the peer comes again and is told
		}
		for _, c := range changes {
			stream.change(c)
			since = c.Revision
		}
		if len(changes) == 0 && ctx.Err() == nil {
			stream.bookmark(since)
		}
		stream.flush()
	}
	return nil
}

// since reads the revision after which the watch begins, the present one if the request does not say, and refuses one
// that the broker cannot begin at.
func (s *Server) since(r *http.Request) (uint64, error) {
	raw := r.URL.Query().Get("since")
	if raw == "" {
		return s.Hub.Revision(), nil
	}
	since, err := strconv.ParseUint(raw, 10, 64)
	if err != nil {
		return 0, failf(http.StatusBadRequest, "since: %q is not a revision", raw)
	}
	if now := s.Hub.Revision(); since > now {
		return 0, failf(http.StatusGone, "revision %d is newer than this broker's %d: its data is another; list the objects and watch from there", since, now)
	}
	done, cancel := context.WithCancel(r.Context())
	cancel() // answers at once
	if _, err := s.Hub.Changes(done, since); err != nil {
		if errors.Is(err, hub.ErrCompacted) {
			return 0, failf(http.StatusGone, "changes after revision %d are not kept any more: list the objects and watch from there", since)
		}
		return 0, unavailable(err)
	}
	return since, nil
}

// changes waits for changes until a bookmark is due.
func (s *Server) changes(ctx context.Context, since uint64) ([]catalog.Change, error) {
	ctx, cancel := context.WithTimeout(ctx, s.BookmarkEvery)
	defer cancel()
	return s.Hub.Changes(ctx, since)
}

// stream writes lines; after an error it writes no more.
type stream struct {
	w   http.ResponseWriter
	out *json.Encoder
	err error
}

func (s *stream) write(e client.Event) {
	if s.err != nil {
		return
	}
	deadline(s.w, linePatience)
	s.err = s.out.Encode(e)
}

func (s *stream) change(c catalog.Change) {
	e := client.Event{Revision: c.Revision}
	o := c.After
	if o == nil {
		o, e.Deleted = c.Before, true
	}
	v := shown(*o)
	e.Object = &v
	s.write(e)
}

func (s *stream) bookmark(revision uint64) {
	s.write(client.Event{Revision: revision})
	s.flush()
}

func (s *stream) flush() {
	if s.err == nil {
		s.err = http.NewResponseController(s.w).Flush()
	}
}
