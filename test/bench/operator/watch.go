package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// eyes watch the statuses of objects, by kind, namespace and name.
type eyes struct {
	mu     sync.Mutex
	ready  map[string]time.Time // when it was Ready first
	writes map[string]int       // of its status
	last   map[string]string    // its status as it was last
	news   chan struct{}        // of one place
}

func newEyes() *eyes {
	return &eyes{ready: make(map[string]time.Time), writes: make(map[string]int), last: make(map[string]string), news: make(chan struct{}, 1)}
}

// line is of a watch of objects, as much of it as matters here.
type line struct {
	Type   string
	Object struct {
		Metadata struct{ Namespace, Name, ResourceVersion string }
		Status   json.RawMessage
	}
}

// watch begins to watch kinds, in plural, in all namespaces. It ends with ctx.
func (e *eyes) watch(ctx context.Context, config *rest.Config, plurals ...string) error {
	c := rest.CopyConfig(config)
	c.GroupVersion, c.APIPath, c.NegotiatedSerializer = &v1alpha1.GroupVersion, "/apis", scheme.Codecs.WithoutConversion()
	api, err := rest.RESTClientFor(c)
	if err != nil {
		return err
	}
	for _, plural := range plurals {
		go func() { // ends with ctx
			for version := ""; ctx.Err() == nil; {
				version = e.follow(ctx, api, plural, version)
			}
		}()
	}
	return nil
}

// follow watches a kind after a version until the API server ends that, as it does with who is slow to read, and answers how
// far it came.
func (e *eyes) follow(ctx context.Context, api *rest.RESTClient, plural, version string) string {
	stream, err := api.Get().Resource(plural).Param("watch", "true").Param("resourceVersion", version).Stream(ctx)
	if err != nil {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
		return ""
	}
	defer stream.Close() //nolint:errcheck // it was read only
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l line
		if json.Unmarshal(lines.Bytes(), &l) != nil || l.Type == "ERROR" {
			return ""
		}
		version = l.Object.Metadata.ResourceVersion
		e.see(plural, l)
	}
	return version
}

func (e *eyes) see(plural string, l line) {
	var status struct{ Conditions []metav1.Condition }
	if len(l.Object.Status) > 0 && json.Unmarshal(l.Object.Status, &status) != nil {
		return
	}
	key := plural + " " + l.Object.Metadata.Namespace + "/" + l.Object.Metadata.Name
	e.mu.Lock()
	defer e.mu.Unlock()
	if text := string(l.Object.Status); len(status.Conditions) > 0 && e.last[key] != text {
		e.last[key] = text
		e.writes[key]++
	}
	for _, c := range status.Conditions {
		if c.Type == "Ready" && c.Status == metav1.ConditionTrue && e.ready[key].IsZero() {
			e.ready[key] = time.Now()
			select {
			case e.news <- struct{}{}:
			default:
			}
		}
	}
}

// wait waits until so many objects are Ready.
func (e *eyes) wait(ctx context.Context, many int) error {
	for {
		e.mu.Lock()
		n := len(e.ready)
		e.mu.Unlock()
		if n >= many {
			return nil
		}
		select {
		case <-e.news:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d objects are Ready: %w", n, many, ctx.Err())
		}
	}
}

// span answers when the first and the last object became Ready, and how many writes a status had at most.
func (e *eyes) span() (first, last time.Time, writes int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, at := range e.ready {
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	for _, n := range e.writes {
		writes = max(writes, n)
	}
	return first, last, writes
}
