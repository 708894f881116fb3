package admin

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime/pprof"
)

// goroutines says what the process does now: its goroutines by where they stand, functions and lines alone.
func (s *Server) goroutines(w http.ResponseWriter, _ *http.Request) error {
	const bySite = 1
	var text bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&text, bySite); err != nil {
		return fmt.Errorf("write goroutine profile: %w", err)
	}
	deadline(w, answerPatience)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write(text.Bytes()) //nolint:errcheck // the peer is gone: nobody to tell
	return nil
}
