package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// patience bounds what a test waits for.
const patience = 20 * time.Second

// api is a broker's API on a real socket, with the users root (administrator), eye (monitoring) and plain.
type api struct {
	*Server
	hub      *hub.Hub
	url      string
	problems []string
	pending  []string
	problem  error
	drains   []bool // what Drain was told
	taken    string // what TakeConfig was told
}

func newAPI(t *testing.T) *api {
	t.Helper()
	h, err := hub.Open(hub.Options{Config: config.Default(), FS: vfs.NewMemory(), Dir: "journal", Incarnation: "first", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a := &api{hub: h}
	text := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) }) //nolint:errcheck // the client sees
	}
	a.Server = New(Options{
		Hub: h, Version: "1.2.3", Logger: slog.New(slog.DiscardHandler),
		Connections: func() []client.ConnectionState {
			return []client.ConnectionState{{ID: 7, Protocol: "mqtt", User: "ann"}}
		},
		Count:   func() int { return 1 },
		Pending: func() ([]string, string, error) { return a.pending, "content", a.problem },
		TakeConfig: func(text string) ([]string, error) {
			a.taken = text
			return a.pending, a.problem
		},
		Storage:  func() (int64, int64) { return 3, 7 },
		Problems: func() []string { return a.problems },
		Drain:    func(on bool) { a.drains = append(a.drains, on) },
		Metrics:  text("some_metric 1\n"), QueueMetrics: text("queue_metric 1\n"),
		BookmarkEvery: 50 * time.Millisecond,
	})
	server := httptest.NewServer(a.Server)
	a.url = server.URL
	t.Cleanup(func() {
		a.Stop()
		server.Close()
		if err := h.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for name, tags := range map[string][]string{"root": {catalog.TagAdministrator}, "eye": {catalog.TagMonitoring}, "plain": {"management"}} {
		a.want(t, object.KindUser, "", name, object.UserSpec{PasswordHash: passwordHash(), Tags: tags})
	}
	return a
}

// passwordHash is that of "pw".
var passwordHash = sync.OnceValue(func() string {
	h, err := auth.Hash("pw")
	if err != nil {
		panic(err)
	}
	return h
})

// want applies one object without an owner, past the API.
func (a *api) want(t *testing.T, kind object.Kind, vhost, name string, spec any) {
	t.Helper()
	results, err := a.hub.Apply(context.Background(), "", []object.Change{change(t, kind, vhost, name, spec)}, hub.ApplyOptions{})
	if err != nil || results[0].Outcome == object.Refused {
		t.Fatalf("want %s %s: %v %v", kind, name, results, err)
	}
}

func change(t *testing.T, kind object.Kind, vhost, name string, spec any) object.Change {
	t.Helper()
	o, err := object.New(kind, vhost, name, spec)
	if err != nil {
		t.Fatal(err)
	}
	return object.Change{Object: o}
}

func (a *api) client(t *testing.T, user string) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{URL: a.url, User: user, Password: "pw"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// call makes a plain request and answers status and body.
func (a *api) call(t *testing.T, method, path, user, contentType, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, "pw")
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

// TestWhoMayCallWhat walks over every route as everybody.
func TestWhoMayCallWhat(t *testing.T) {
	a := newAPI(t)
	allowed := map[need][]string{nothing: {"", "plain", "eye", "root"}, monitoring: {"eye", "root"}, administrator: {"root"}}
	for _, rt := range a.table() {
		if rt.path == "/v1/watch" {
			continue // answers for ever to whom it answers; TestWatch has it
		}
		for _, user := range []string{"", "plain", "eye", "root", "nobody"} {
			request := `{"changes":[]}`
			switch rt.path {
			case "/v1/drain":
				request = `{}`
			case "/v1/config":
				request = `{"text":""}`
			case "/v1/authorize":
				request = `{"user":"plain","action":"read","target":"q"}`
			case "/readyz":
				a.setDraining(false)
			}
			status, body := a.call(t, rt.method, rt.path, user, "application/json", request)
			want := http.StatusForbidden
			switch {
			case slices.Contains(allowed[rt.need], user), rt.need == nothing:
				want = http.StatusOK
			case user == "" || user == "nobody":
				want = http.StatusUnauthorized
			}
			if status != want {
				t.Errorf("%s %s as %q: %d %s, wanted %d", rt.method, rt.path, user, status, body, want)
			}
		}
	}
}

func TestWrongRequests(t *testing.T) {
	a := newAPI(t)
	const js = "application/json"
	for _, c := range []struct {
		method, path, contentType, body string
		status                          int
		want                            string
	}{
		{"GET", "/v2/apply", "", "", 404, `{"error":"/v2/apply does not exist; /v1/openapi.json lists what does"}`},
		{"DELETE", "/v1/apply", "", "", 405, `{"error":"/v1/apply takes POST"}`},
		{"POST", "/v1/apply?dryrun=true", js, "{}", 400, `{"error":"/v1/apply has no parameter \"dryrun\"; it has [dryRun]"}`},
		{"POST", "/v1/apply?dryRun=maybe", js, "{}", 400, `{"error":"dryRun: \"maybe\" is neither true nor false"}`},
		{"POST", "/v1/apply", "text/plain", "{}", 415, `{"error":"Content-Type must be application/json"}`},
		{"POST", "/v1/apply", js, "{", 400, `{"error":"body: unexpected EOF"}`},
		{"POST", "/v1/apply", js, `{"colour":1}`, 400, `{"error":"body: json: unknown field \"colour\""}`},
		{"POST", "/v1/apply", js, `{} {}`, 400, `{"error":"body: more follows after the request"}`},
		{"POST", "/v1/apply", js, `{"changes":[` + strings.Repeat("{},", mostChanges) + `{}]}`, 413, `{"error":"20001 changes are more than 20000: send fewer at a time"}`},
		{"POST", "/v1/apply", js, `{"owner":"` + strings.Repeat("x", mostBody) + `"}`, 413, `{"error":"body is longer than 67108864 bytes: send fewer changes at a time"}`},
		{"GET", "/v1/objects?kind=Shelf", "", "", 400, `{"error":"kind \"Shelf\" does not exist; there are [VirtualHost User Permission TopicPolicy Policy OperatorPolicy Exchange Queue Binding]"}`},
		{"GET", "/v1/watch?since=x", "", "", 400, `{"error":"since: \"x\" is not a revision"}`},
		{"GET", "/v1/digest?kind=Shelf", "", "", 400, `{"error":"kind \"Shelf\" does not exist; there are [VirtualHost User Permission TopicPolicy Policy OperatorPolicy Exchange Queue Binding]"}`},
		{"GET", "/v1/objects?buckets=3", "", "", 400, `{"error":"buckets are those of a kind: name it, such as kind=Queue"}`},
		{"GET", "/v1/objects?kind=Queue&buckets=3,256", "", "", 400, `{"error":"buckets: \"256\" is not a number from 0 to 255"}`},
		{"GET", "/v1/watch?since=999999", "", "", 410, `{"error":"revision 999999 is newer than this broker's 4: its data is another; list the objects and watch from there"}`},
	} {
		status, body := a.call(t, c.method, c.path, "root", c.contentType, c.body)
		if status != c.status || body != c.want {
			t.Errorf("%s %s: %d %s, wanted %d %s", c.method, c.path, status, body, c.status, c.want)
		}
	}
}

func TestApplyAndRead(t *testing.T) {
	a := newAPI(t)
	c := a.client(t, "root")
	ctx := t.Context()
	request := client.ApplyRequest{Owner: "op", Changes: []object.Change{
		change(t, object.KindBinding, "/", "", object.BindingSpec{Source: "amq.topic", DestinationType: object.DestinationQueue, Destination: "work", RoutingKey: "a.#"}),
		change(t, object.KindQueue, "/", "work", object.QueueSpec{Durable: true}),
		change(t, object.KindQueue, "nowhere", "work", object.QueueSpec{Durable: true}),
	}}
	outcomes := func(r client.ApplyResponse, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, res := range r.Results {
			out = append(out, string(res.Outcome)+string(res.Reason))
		}
		return fmt.Sprintf("%s at %d of %s", strings.Join(out, " "), r.Revision, r.Incarnation)
	}
	if got, want := outcomes(c.Plan(ctx, request)), "created created refusedMissing at 4 of first"; got != want {
		t.Errorf("plan: %s, wanted %s", got, want)
	}
	if got, want := outcomes(c.Apply(ctx, request)), "created created refusedMissing at 6 of first"; got != want {
		t.Errorf("apply: %s, wanted %s", got, want)
	}
	if got, want := outcomes(c.Apply(ctx, request)), "unchanged unchanged refusedMissing at 6 of first"; got != want {
		t.Errorf("again: %s, wanted %s", got, want)
	}
	list, err := c.Objects(ctx, "op", object.KindQueue)
	if err != nil || len(list.Objects) != 1 || list.Objects[0].Name != "work" || list.Revision != 6 {
		t.Errorf("objects: %+v %v", list, err)
	}
	digests, err := c.Digest(ctx, "op")
	want, _ := object.Digest(list.Objects)
	if err != nil || digests.Kinds[object.KindQueue] != (client.Digest{Count: 1, Digest: want}) || len(digests.Kinds) != len(object.Kinds) {
		t.Errorf("digests: %+v %v, wanted %s", digests, err, want)
	}
	bucket := list.Objects[0].Bucket()
	in, err := c.ObjectsIn(ctx, "op", object.KindQueue, []int{bucket})
	if err != nil || len(in.Objects) != 1 || in.Objects[0].Key != list.Objects[0].Key {
		t.Errorf("objects in bucket %d: %+v %v", bucket, in, err)
	}
	if in, err := c.ObjectsIn(ctx, "op", object.KindQueue, []int{(bucket + 1) % object.Buckets}); err != nil || len(in.Objects) != 0 {
		t.Errorf("objects in another bucket: %+v %v", in, err)
	}
	parts, err := c.BucketDigests(ctx, "op", object.KindQueue)
	if err != nil || len(parts.Buckets) != object.Buckets || parts.Buckets[bucket] != (client.Digest{Count: 1, Digest: want}) {
		t.Errorf("digests by bucket: %+v %v", parts, err)
	}
	queues, err := c.Queues(ctx, "/")
	if err != nil || len(queues) != 1 || queues[0].Name != "work" || queues[0].Owner != "op" || !queues[0].Spec.Durable {
		t.Errorf("queues: %+v %v", queues, err)
	}
	if queues, err := c.Queues(ctx, "nowhere"); err != nil || queues == nil || len(queues) != 0 {
		t.Errorf("queues of another vhost: %+v %v", queues, err)
	}
	connections, err := c.Connections(ctx)
	if err != nil || len(connections) != 1 || connections[0].ID != 7 {
		t.Errorf("connections: %+v %v", connections, err)
	}
}

// TestPasswordsStay: neither passwords nor their hashes are answered, by lists or by watches.
func TestPasswordsStay(t *testing.T) {
	a := newAPI(t)
	_, list := a.call(t, http.MethodGet, "/v1/objects?kind=User", "eye", "", "")
	if !strings.Contains(list, `"name":"plain","spec":{"tags":["management"]}`) || strings.Contains(list, "argon2") {
		t.Errorf("users: %s", list)
	}
	seen := 0
	err := a.client(t, "eye").Watch(t.Context(), 1, func(e client.Event) error {
		if e.Object != nil && bytes.Contains(e.Object.Spec, []byte("argon2")) {
			t.Errorf("watch tells a hash: %s", e.Object.Spec)
		}
		if e.Object != nil {
			seen++
		}
		if seen == 3 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Error(err)
	}
}

var errEnough = errors.New("seen enough")

func TestWatch(t *testing.T) {
	a := newAPI(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := a.client(t, "eye")
	if err := a.client(t, "plain").Watch(ctx, 4, func(client.Event) error { return nil }); err == nil {
		t.Error("a user without a tag may watch")
	}
	var got []string
	bookmarks := 0
	err := c.Watch(ctx, 4, func(e client.Event) error {
		if e.Object == nil {
			bookmarks++
			switch bookmarks {
			case 1: // the stream is open
				a.want(t, object.KindQueue, "/", "q", object.QueueSpec{Durable: true})
			case 2: // nothing happened for a while
				gone := change(t, object.KindQueue, "/", "q", object.QueueSpec{})
				gone.Delete = object.DeleteAlways
				if _, err := a.hub.Apply(ctx, "", []object.Change{gone}, hub.ApplyOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			return nil
		}
		got = append(got, fmt.Sprintf("%d %s %t", e.Revision, e.Object.Key, e.Deleted))
		if e.Deleted {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	want := []string{`5 Queue "q" in vhost "/" false`, `6 Queue "q" in vhost "/" true`}
	if !slices.Equal(got, want) {
		t.Errorf("watched %q, wanted %q", got, want)
	}
}

func TestWatchOfWhatIsGone(t *testing.T) {
	a := newAPI(t)
	for i := range 3 {
		var changes []object.Change
		for j := range 9000 {
			changes = append(changes, change(t, object.KindExchange, "/", fmt.Sprintf("x%d-%d", i, j), object.ExchangeSpec{Type: "fanout"}))
		}
		if _, err := a.hub.Apply(t.Context(), "", changes, hub.ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	err := a.client(t, "eye").Watch(t.Context(), 2, func(client.Event) error { return errEnough })
	if !errors.Is(err, client.ErrGone) {
		t.Errorf("watch from long ago: %v", err)
	}
}

// TestStopEndsWatches: else the server would wait for them.
func TestStopEndsWatches(t *testing.T) {
	a := newAPI(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := a.client(t, "eye").Watch(ctx, 4, func(client.Event) error {
		a.Stop()
		return nil
	})
	if !errors.Is(err, io.EOF) || ctx.Err() != nil {
		t.Errorf("watch ended with %v", err)
	}
}

func TestHealthAndState(t *testing.T) {
	a := newAPI(t)
	c := a.client(t, "eye")
	if h, err := c.Ready(t.Context()); err != nil || !h.OK || h.Version != "1.2.3" {
		t.Errorf("ready: %+v %v", h, err)
	}
	if s, err := c.SafeToStop(t.Context()); err != nil || !s.Safe || len(s.Ending) != 1 {
		t.Errorf("safe to stop: %+v %v", s, err)
	}
	a.problems = []string{"broker is stopping"}
	a.pending, a.problem = []string{"storage.shards"}, errors.New("line 3")
	if status, body := a.call(t, http.MethodGet, "/readyz", "", "", ""); status != 503 || body != `{"ok":false,"version":"1.2.3","problems":["broker is stopping"]}` {
		t.Errorf("not ready: %d %s", status, body)
	}
	if status, _ := a.call(t, http.MethodGet, "/healthz", "", "", ""); status != 200 {
		t.Errorf("healthz while not ready: %d", status)
	}
	if s, err := c.SafeToStop(t.Context()); err != nil || s.Safe || !slices.Equal(s.Reasons, a.problems) {
		t.Errorf("safe to stop: %+v %v", s, err)
	}
	over, err := c.Overview(t.Context())
	if err != nil || over.Version != "1.2.3" || over.StorageUsed != 3 || over.StorageSize != 7 || over.Connections != 1 {
		t.Errorf("overview: %+v %v", over, err)
	}
	state, err := c.Config(t.Context())
	if err != nil || state.Hash != config.Default().Hash() || !slices.Equal(state.Pending, a.pending) || state.Problem != "line 3" || state.Content != "content" {
		t.Errorf("config: %+v %v", state, err)
	}
	if !slices.Contains(state.Keys, client.ConfigKey{Name: "limits.connections", Live: true}) || !slices.Contains(state.Keys, client.ConfigKey{Name: "dataDir"}) {
		t.Errorf("keys: %+v", state.Keys)
	}
}

func TestTakeConfig(t *testing.T) {
	a := newAPI(t)
	c := a.client(t, "root")
	if s, err := c.TakeConfig(t.Context(), "log: {level: debug}"); err != nil || s.Content != "content" || a.taken != "log: {level: debug}" {
		t.Errorf("%+v %v after %q", s, err, a.taken)
	}
	refused := func(who string, status int, want string) {
		t.Helper()
		_, err := a.client(t, who).TakeConfig(t.Context(), "text")
		var answer *client.Error
		if !errors.As(err, &answer) || answer.Status != status || !strings.Contains(answer.Message, want) {
			t.Errorf("%s: %v, wanted %d %q", who, err, status, want)
		}
	}
	refused("eye", http.StatusForbidden, "needs the tag administrator")
	a.pending = []string{"mqtt.exchange", "storage.shards"}
	refused("root", http.StatusConflict, "text changes mqtt.exchange, storage.shards, which a start alone does")
	a.problem = errors.New("line 3")
	refused("root", http.StatusBadRequest, "text: line 3")
}

func TestStarting(t *testing.T) {
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/v1/objects": 503, "/metrics": 503} {
		w := httptest.NewRecorder()
		Starting("1").ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s while starting: %d, wanted %d", path, w.Code, want)
		}
	}
}

// TestOpenAPI compares the document with the routes, and its schemas with the types.
func TestOpenAPI(t *testing.T) {
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
			Security   *[]any
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(openAPI, &document); err != nil {
		t.Fatal(err)
	}
	var documented, served []string
	for path, methods := range document.Paths {
		for method, op := range methods {
			var names []string
			for _, p := range op.Parameters {
				if p.In == "query" {
					names = append(names, p.Name)
				}
			}
			open := op.Security != nil && len(*op.Security) == 0
			documented = append(documented, fmt.Sprintf("%s %s %v open=%t", strings.ToUpper(method), path, names, open))
		}
	}
	for _, rt := range new(Server).table() {
		served = append(served, fmt.Sprintf("%s %s %v open=%t", rt.method, rt.path, rt.query, rt.need == nothing))
	}
	slices.Sort(documented)
	slices.Sort(served)
	if !slices.Equal(documented, served) {
		t.Errorf("openapi.json has\n%s\nserved is\n%s", strings.Join(documented, "\n"), strings.Join(served, "\n"))
	}
	for name, fields := range map[string][]string{
		"QueueState": fieldsOf[client.QueueState](), "ConnectionState": fieldsOf[client.ConnectionState](),
		"SafeToStop": fieldsOf[client.SafeToStop](), "ConfigState": fieldsOf[client.ConfigState](), "ConfigFile": fieldsOf[client.ConfigFile](), "Health": fieldsOf[client.Health](), "Overview": fieldsOf[client.Overview](),
		"ApplyRequest": fieldsOf[client.ApplyRequest](), "ApplyResponse": fieldsOf[client.ApplyResponse](), "Event": fieldsOf[client.Event](),
		"Digests": fieldsOf[client.Digests](), "ObjectList": fieldsOf[client.ObjectList](), "ImportReport": fieldsOf[client.ImportReport](), "Skipped": fieldsOf[client.Skipped](),
		"Question": fieldsOf[client.Question](), "Decision": fieldsOf[client.Decision](),
		"VirtualHostSpec": fieldsOf[object.VirtualHostSpec](), "UserSpec": fieldsOf[object.UserSpec](), "PermissionSpec": fieldsOf[object.PermissionSpec](),
		"TopicPolicySpec": fieldsOf[object.TopicPolicySpec](), "PolicySpec": fieldsOf[object.PolicySpec](), "ExchangeSpec": fieldsOf[object.ExchangeSpec](), "QueueSpec": fieldsOf[object.QueueSpec](),
		"BindingSpec": fieldsOf[object.BindingSpec](), "Difference": fieldsOf[object.Difference](), "Rate": fieldsOf[object.Rate](),
	} {
		var has []string
		for f := range document.Components.Schemas[name].Properties {
			has = append(has, f)
		}
		slices.Sort(has)
		if !slices.Equal(has, fields) {
			t.Errorf("schema %s has %v, the type has %v", name, has, fields)
		}
	}
}
