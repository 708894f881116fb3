// Package admin serves the broker's HTTP API: objects are applied, listed and watched, live state is read, health is
// asked and metrics are scraped. openapi.json beside this file describes it, and a test compares the two.
//
// It translates requests into calls of the hub. What an object is, package object knows; what becomes of it, package
// catalog decides.
package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// Options of New. Each is needed but Drain and BookmarkEvery.
type Options struct {
	Hub     *hub.Hub
	Version string
	Logger  *slog.Logger
	// Connections lists the authenticated connections of every endpoint, Count says how many there are.
	Connections func() []client.ConnectionState
	Count       func() int
	// Pending says which keys of the configuration wait for a restart, which content of its file is in force, empty if none is
	// as a whole, and what is wrong with the file.
	Pending func() (keys []string, content string, problem error)
	// TakeConfig takes the text of a configuration file. It answers the keys in it that need a restart to change: then nothing
	// changes. The error says what is wrong with the text.
	TakeConfig func(text string) (restart []string, err error)
	// Storage says how much of the data directory's file system is used, and how large it is.
	Storage func() (used, size int64)
	// Problems says why the broker does not serve now; none when it does.
	Problems func() []string
	// Drain keeps clients out and asks those that are there to leave, or lets them in again. Without it there are none.
	Drain func(on bool)
	// Metrics serves what is scraped by default, QueueMetrics what is by queue.
	Metrics, QueueMetrics http.Handler
	// BookmarkEvery is how often a watch without changes says that it is alive; zero is every 10 seconds.
	BookmarkEvery time.Duration
}

// Server is the handler of the API.
type Server struct {
	Options
	routes map[string]map[string]route // path, method

	drain    draining
	watches  chan struct{} // a slot for each open watch
	stopOnce sync.Once
	stopping chan struct{} // closed by Stop
}

// Bounds of requests, beside those that Serve's http.Server has.
const (
	mostBody       = 64 << 20
	mostChanges    = 20_000
	mostWatches    = 256
	bodyPatience   = time.Minute
	answerPatience = time.Minute
)

// HeaderBytes bounds the header of a request, and HeaderPatience how long it may take; the http.Server sees to both.
const (
	HeaderBytes    = 16 << 10
	HeaderPatience = 10 * time.Second
)

// need is what a user must be to call a route.
type need uint8

const (
	nothing       need = iota // not even a name
	monitoring                // the tag monitoring, or administrator
	administrator             // the tag administrator
)

type route struct {
	method, path string
	need         need
	query        []string // parameters that there are
	serve        func(w http.ResponseWriter, r *http.Request) error
}

// New makes the handler.
func New(o Options) *Server {
	if o.BookmarkEvery == 0 {
		o.BookmarkEvery = 10 * time.Second
	}
	s := &Server{Options: o, routes: make(map[string]map[string]route), watches: make(chan struct{}, mostWatches), stopping: make(chan struct{})}
	for _, r := range s.table() {
		if s.routes[r.path] == nil {
			s.routes[r.path] = make(map[string]route)
		}
		s.routes[r.path][r.method] = r
	}
	return s
}

func (s *Server) table() []route {
	return []route{
		{http.MethodGet, "/healthz", nothing, nil, s.health},
		{http.MethodGet, "/readyz", nothing, nil, s.ready},
		{http.MethodGet, "/v1/openapi.json", nothing, nil, s.openAPI},
		{http.MethodPost, "/v1/apply", administrator, []string{"dryRun"}, s.apply},
		{http.MethodGet, "/v1/objects", monitoring, []string{"owner", "kind", "buckets"}, s.objects},
		{http.MethodGet, "/v1/digest", monitoring, []string{"owner", "kind"}, s.digest},
		{http.MethodGet, "/v1/watch", monitoring, []string{"since"}, s.watch},
		{http.MethodGet, "/v1/queues", monitoring, []string{"vhost"}, s.queues},
		{http.MethodGet, "/v1/connections", monitoring, nil, s.connections},
		{http.MethodGet, "/v1/definitions", administrator, []string{"vhost"}, s.exportDefinitions},
		{http.MethodPost, "/v1/definitions", administrator, []string{"vhost", "dryRun"}, s.importDefinitions},
		{http.MethodGet, "/api/definitions", administrator, nil, s.exportDefinitions},
		{http.MethodPost, "/api/definitions", administrator, nil, s.importDefinitions},
		{http.MethodGet, definitionsOf + "{vhost}", administrator, nil, s.exportDefinitions},
		{http.MethodPost, definitionsOf + "{vhost}", administrator, nil, s.importDefinitions},
		{http.MethodGet, "/v1/overview", monitoring, nil, s.overview},
		{http.MethodGet, "/v1/config", monitoring, nil, s.config},
		{http.MethodPut, "/v1/config", administrator, nil, s.takeConfig},
		{http.MethodGet, "/v1/safe-to-stop", monitoring, nil, s.safeToStop},
		{http.MethodPost, "/v1/authorize", monitoring, nil, s.authorize},
		{http.MethodPost, "/v1/drain", administrator, nil, s.startDrain},
		{http.MethodDelete, "/v1/drain", administrator, nil, s.endDrain},
		{http.MethodGet, "/v1/goroutines", monitoring, nil, s.goroutines},
		{http.MethodGet, "/metrics", monitoring, nil, handler(s.Metrics)},
		{http.MethodGet, "/metrics/queues", monitoring, nil, handler(s.QueueMetrics)},
	}
}

func handler(h http.Handler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

// Stop ends watches, so that the http.Server can shut down. It is idempotent.
func (s *Server) Stop() { s.stopOnce.Do(func() { close(s.stopping) }) }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := s.dispatch(w, r)
	if err == nil {
		return
	}
	var f *failure
	if !errors.As(err, &f) {
		s.Logger.Error("admin request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		f = &failure{http.StatusInternalServerError, "internal error; the broker's log says more"}
	}
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="turnstone", charset="UTF-8"`)
	}
	answer(w, f.status, client.Error{Message: f.text}) //nolint:errcheck // the peer is gone
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) error {
	byMethod, ok := s.routes[r.URL.Path]
	if vhost, of := strings.CutPrefix(r.URL.Path, definitionsOf); !ok && of && vhost != "" {
		r.SetPathValue("vhost", vhost)
		byMethod, ok = s.routes[definitionsOf+"{vhost}"]
	}
	if !ok {
		return failf(http.StatusNotFound, "%s does not exist; /v1/openapi.json lists what does", r.URL.Path)
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	// Deadlines are those of the connection: an earlier request may have left one.
	deadline(w, answerPatience)
	rt, ok := byMethod[method]
	if !ok {
		allowed := strings.Join(slices.Sorted(maps.Keys(byMethod)), ", ")
		w.Header().Set("Allow", allowed)
		return failf(http.StatusMethodNotAllowed, "%s takes %s", r.URL.Path, allowed)
	}
	if err := s.admit(r, rt.need); err != nil {
		return err
	}
	for name := range r.URL.Query() {
		if !slices.Contains(rt.query, name) {
			return failf(http.StatusBadRequest, "%s has no parameter %q; it has %v", r.URL.Path, name, rt.query)
		}
	}
	return rt.serve(w, r)
}

// admit decides whether the peer may call a route.
func (s *Server) admit(r *http.Request, n need) error {
	if n == nothing {
		return nil
	}
	access, err := s.Hub.Authority().Authenticate(r.Context(), credentials(r))
	switch {
	case errors.Is(err, auth.ErrThrottled):
		return failf(http.StatusTooManyRequests, "%v", err)
	case r.Context().Err() != nil:
		return failf(http.StatusServiceUnavailable, "request ended before the password was verified")
	case err != nil:
		return failf(http.StatusUnauthorized, "%v", err)
	}
	tags := access.Tags()
	if slices.Contains(tags, catalog.TagAdministrator) || n == monitoring && slices.Contains(tags, catalog.TagMonitoring) {
		return nil
	}
	tag := catalog.TagAdministrator
	if n == monitoring {
		tag = catalog.TagMonitoring
	}
	return failf(http.StatusForbidden, "user %q needs the tag %s for this", access.User(), tag)
}

// credentials are the user and password of the request, or else the client's certificate.
func credentials(r *http.Request) auth.Credentials {
	c := auth.Credentials{Peer: peerOf(r)}
	c.User, c.Password, _ = r.BasicAuth()
	if r.TLS != nil {
		c.Certificate = auth.PeerCertificate(*r.TLS)
	}
	return c
}

func peerOf(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{} // counts as an address of its own and is not loopback
	}
	return a
}

// failure is an answer other than 200.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return f.text }

func failf(status int, format string, args ...any) error {
	return &failure{status, fmt.Sprintf(format, args...)}
}

// answer writes JSON. The error is that of the peer, who is gone.
func answer(w http.ResponseWriter, status int, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	// A peer that does not read its answer must not keep it here for ever.
	deadline(w, answerPatience)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n')) //nolint:errcheck // the peer is gone: nobody to tell
	return nil
}

func deadline(w http.ResponseWriter, patience time.Duration) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience)) //nolint:errcheck // recorders of tests have none
}

// keys are those of the configuration as the API shows them.
func keys() []client.ConfigKey {
	var out []client.ConfigKey
	for _, k := range config.Keys() {
		out = append(out, client.ConfigKey{Name: k.Name, Live: k.Live})
	}
	return out
}
