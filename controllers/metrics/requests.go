package metrics

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// transport counts what goes through another one.
type transport struct {
	next  http.RoundTripper
	count func(r *http.Request, code string, took time.Duration)
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	begin := time.Now()
	response, err := t.next.RoundTrip(r)
	code := "error"
	if err == nil {
		code = strconv.Itoa(response.StatusCode)
	}
	t.count(r, code, time.Since(begin))
	return response, err
}

// CloseIdleConnections lets http.Client close those of the transport below.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Kubernetes counts the calls of the Kubernetes API that go through a transport.
func Kubernetes(next http.RoundTripper) http.RoundTripper {
	return &transport{next, func(r *http.Request, code string, _ time.Duration) {
		kubernetesRequests.WithLabelValues(resourceOf(r.URL.Path), verbOf(r), code).Inc()
	}}
}

// Admin counts the calls of a broker's admin API that go through a transport.
func Admin(next http.RoundTripper) http.RoundTripper {
	return &transport{next, func(r *http.Request, code string, took time.Duration) {
		path := pathOf(r.URL.Path)
		adminRequests.WithLabelValues(path, code).Inc()
		adminSeconds.WithLabelValues(path).Observe(took.Seconds())
	}}
}

// pathOf is /v1/WHAT without what may follow, such as names, so that there are few of them.
func pathOf(path string) string {
	parts := strings.SplitN(path, "/", 4)
	if len(parts) > 3 {
		parts = parts[:3]
	}
	return strings.Join(parts, "/")
}

// resourceOf is RESOURCE or RESOURCE/SUBRESOURCE of a path of the Kubernetes API; other is what has none.
func resourceOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return "other"
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	if len(parts) > 2 { // the name is in between
		return parts[0] + "/" + parts[2]
	}
	return parts[0]
}

func verbOf(r *http.Request) string {
	if r.Method == http.MethodGet && r.URL.Query().Get("watch") == "true" {
		return "watch"
	}
	return strings.ToLower(r.Method)
}
