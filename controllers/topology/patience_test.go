package topology

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/controllers/certificate"
	"github.com/turnstone-mq/turnstone/controllers/connection"
)

// These tests run an hour of an operator in no time: the reconciler with its queue, between an API server that takes every write
// and a broker of which each call is counted.

// apiServer has a MessageBroker and its Secrets, and counts writes.
type apiServer struct {
	client.Client // what is not here is not called
	mu            sync.Mutex
	version       int
	writes        int
	gone          func(client.Object) // is told of objects that were let go
}

func (a *apiServer) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	switch o := o.(type) {
	case *v1alpha1.MessageBroker:
		o.Namespace, o.Name, o.UID, o.Generation = key.Namespace, key.Name, "uid", 1
		return nil
	case *corev1.Secret:
		if key.Name == connection.AdminSecret("broker") {
			o.Data = map[string][]byte{"username": []byte("admin"), "password": []byte("secret")}
			return nil
		}
		if key.Name == connection.AuthoritySecret("broker") {
			authority, err := certificate.NewAuthority("broker", time.Now()) // nobody shows it: there are no connections here
			o.Data = map[string][]byte{"ca.crt": authority.Certificate}
			return err
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// write takes what was written.
func (a *apiServer) write(o client.Object) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.writes++
	o.SetResourceVersion(fmt.Sprint(1_000_000 + a.version))
	return nil
}

func (a *apiServer) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
	if o.GetDeletionTimestamp() != nil && len(o.GetFinalizers()) == 0 {
		a.gone(o)
	}
	return a.write(o)
}

func (a *apiServer) Status() client.SubResourceWriter { return statuses{a: a} }

type statuses struct {
	client.SubResourceWriter
	a *apiServer
}

func (s statuses) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	return s.a.write(o)
}

// peer is the broker as the operator sees it.
type peer struct {
	mu      sync.Mutex
	calls   map[string]int
	busiest int // calls in one second
	second  int64
	now     int
	answer  func(*http.Request) (int, any) // nil hangs
}

func (p *peer) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.calls[r.URL.Path]++
	if s := time.Now().Unix(); s != p.second {
		p.second, p.now = s, 0
	}
	p.now++
	p.busiest = max(p.busiest, p.now)
	answer := p.answer
	p.mu.Unlock()
	if answer == nil || r.URL.Path == "/v1/watch" {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	status, body := answer(r)
	b, err := json.Marshal(body)
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(b)), Request: r}, err
}

func (p *peer) all() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, of := range p.calls {
		n += of
	}
	return n
}

func (p *peer) answers(how func(*http.Request) (int, any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = how
}

// broken answers every call with 500.
func broken(*http.Request) (int, any) {
	return http.StatusInternalServerError, admin.Error{Message: "internal error"}
}

// full has nothing and takes what is wanted, and lets nothing go: its queues are not empty.
func full(r *http.Request) (int, any) {
	switch r.URL.Path {
	case "/v1/digest":
		d := admin.Digests{Incarnation: "one", Revision: 1, Kinds: map[object.Kind]admin.Digest{}}
		for _, k := range kinds {
			d.Kinds[k.name] = admin.Digest{Digest: object.Sum{}.String()}
		}
		return http.StatusOK, d
	case "/v1/apply":
		var asked admin.ApplyRequest
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			return http.StatusBadRequest, admin.Error{Message: err.Error()}
		}
		out := admin.ApplyResponse{Incarnation: "one", Revision: 2}
		for _, c := range asked.Changes {
			result := object.Result{Key: c.Key, Outcome: object.Created, Revision: 2}
			if c.Delete != "" {
				result = object.Result{Key: c.Key, Outcome: object.Refused, Reason: object.ReasonNotEmpty, Message: "it holds 5 messages"}
			}
			out.Results = append(out.Results, result)
		}
		return http.StatusOK, out
	case "/v1/queues":
		return http.StatusOK, []admin.QueueState{}
	}
	return http.StatusNotFound, admin.Error{Message: r.URL.Path}
}

// hour is an operator over queues of one broker.
type hour struct {
	t      *testing.T
	server *apiServer
	peer   *peer
	index  *index
}

func newHour(t *testing.T) *hour {
	t.Helper()
	h := &hour{t: t, server: &apiServer{}, peer: &peer{calls: make(map[string]int)}}
	ctx, cancel := context.WithCancel(t.Context())
	h.index = newIndex(DefaultOwner, 100*time.Millisecond)
	h.server.gone = func(o client.Object) { h.index.drop(kindIndex(object.KindQueue), o.GetNamespace(), o.GetName()) }
	pool := &connection.Pool{Reader: h.server, Live: h.server, Wrap: func(http.RoundTripper) http.RoundTripper { return h.peer }}
	r := &Reconciler{
		Client: h.server, live: h.server, recorder: quiet{}, index: h.index, streams: newStreams(h.index),
		options: Options{Connections: pool, Refresh: 30 * time.Second, ReleaseAfter: 5 * time.Minute, Owner: DefaultOwner},
		calls:   make(chan struct{}, 16), budget: rate.NewLimiter(10, 10),
	}
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	var running sync.WaitGroup
	running.Go(func() { r.streams.Start(ctx) }) //nolint:errcheck // it has none; ends with ctx
	running.Go(func() { serve(ctx, queue, r) }) // ends when the queue is shut down
	synctest.Wait()
	h.index.wakes(queue)
	t.Cleanup(func() {
		cancel()
		queue.ShutDown()
		running.Wait()
	})
	return h
}

// serve does what a controller does.
func serve(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request], r *Reconciler) {
	for {
		q, ended := queue.Get()
		if ended {
			return
		}
		result, err := r.Reconcile(ctx, q)
		switch {
		case err != nil:
			queue.AddRateLimited(q)
		case result.RequeueAfter > 0:
			queue.Forget(q)
			queue.AddAfter(q, result.RequeueAfter)
		}
		queue.Done(q)
	}
}

// quiet is a recorder of events that nobody reads.
type quiet struct{ events.EventRecorder }

func (quiet) Eventf(_, _ runtime.Object, _, _, _, _ string, _ ...any) {}

// queues puts n queues into the index, those that are deleted with a time of deletion.
func (h *hour) queues(n int, deleted bool) {
	h.t.Helper()
	for i := range n {
		q := &v1alpha1.Queue{ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: fmt.Sprintf("q%04d", i), UID: types.UID(fmt.Sprint(i)), ResourceVersion: fmt.Sprint(i + 1), Generation: 1,
			CreationTimestamp: metav1.Now(), Finalizers: []string{Finalizer},
		}, Spec: v1alpha1.QueueSpec{BrokerRef: v1alpha1.BrokerReference{Name: "broker"}, VHost: "/", DeletionPolicy: v1alpha1.DeletionDeleteIfEmpty}}
		if deleted {
			now := metav1.Now()
			q.DeletionTimestamp, q.ResourceVersion = &now, fmt.Sprint(100_000+i)
		}
		if err := h.index.put(kindIndex(object.KindQueue), q, 0); err != nil {
			h.t.Fatal(err)
		}
		if i%10 == 0 {
			<-time.After(37 * time.Millisecond) // they do not come at once; of the bubble's time, which takes none
		}
	}
}

// called is how many calls of the broker a time takes.
func (h *hour) called(lasting time.Duration) int {
	before := h.peer.all()
	<-time.After(lasting) // of the bubble's time
	synctest.Wait()
	return h.peer.all() - before
}

// TestBrokerThatFailsIsAskedRarely: for an hour, whatever the number of objects. A broker that answers an error is asked once in ten
// seconds, one that hangs once in thirty, and its objects are told once.
func TestBrokerThatFailsIsAskedRarely(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*http.Request) (int, any)
		most   int
	}{"500": {broken, 360 + 10}, "no answer": {nil, 120 + 10}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHour(t)
				h.peer.answers(c.answer)
				const n = 300
				h.queues(n, false)
				if calls := h.called(time.Hour); calls > c.most || calls < 100 {
					t.Errorf("%d calls in an hour, wanted at most %d: %v", calls, c.most, h.peer.calls)
				}
				if h.server.writes != n {
					t.Errorf("%d writes for %d objects that were told once", h.server.writes, n)
				}
				if h.peer.busiest > 2 {
					t.Errorf("%d calls in one second", h.peer.busiest)
				}
				// It is found at once when it is back, and given everything.
				h.peer.answers(full)
				h.called(time.Minute)
				if h.server.writes != 2*n {
					t.Errorf("%d writes after it was back, wanted %d", h.server.writes, 2*n)
				}
			})
		})
	}
}

// TestDeletionsOfABrokerThatFails are as rare, and end: nobody waits for it longer than he was told to.
func TestDeletionsOfABrokerThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHour(t)
		h.peer.answers(broken)
		const n = 300
		h.queues(n, true)
		if calls := h.called(5 * time.Minute); calls > 40 {
			t.Errorf("%d calls in five minutes: %v", calls, h.peer.calls)
		}
		h.called(time.Minute)
		// Each was told once that the broker cannot be reached, and let go.
		if h.server.writes != 2*n {
			t.Errorf("%d writes for %d deletions that were given up, wanted two each", h.server.writes, n)
		}
		if calls := h.called(time.Hour); calls > 0 {
			t.Errorf("%d calls for nobody", calls)
		}
	})
}

// TestBlockedDeletionsAreTriedTogether: queues that are not empty cost a call now and then, however many they are and whenever each of
// them was deleted.
func TestBlockedDeletionsAreTriedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHour(t)
		h.peer.answers(full)
		const n = 300
		h.queues(n, true)
		h.called(time.Minute)
		before := h.peer.calls["/v1/apply"]
		h.called(10 * time.Minute)
		if applied := h.peer.calls["/v1/apply"] - before; applied > 600 || applied < 60 {
			t.Errorf("%d times in ten minutes, wanted at most once a second", applied)
		}
		if h.server.writes != n {
			t.Errorf("%d writes for %d deletions that are blocked: each is told once", h.server.writes, n)
		}
	})
}
