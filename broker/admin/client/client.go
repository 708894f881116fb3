// Package client is the Go client of the broker's admin API, and the types that travel over it beside package object's.
// The operator and the command line use it; it knows HTTP and JSON, and nothing of how a broker works inside.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// ApplyRequest is the body of POST /v1/apply. Changes may come in any order; the broker sorts them by dependency and
// commits what can be done as one change of its metadata. One change that is refused does not hold up the others.
type ApplyRequest struct {
	Owner   string          `json:"owner"`
	Changes []object.Change `json:"changes"`
}

// ApplyResponse is the answer to POST /v1/apply.
type ApplyResponse struct {
	Incarnation string          `json:"incarnation"`
	Revision    uint64          `json:"revision"`
	Results     []object.Result `json:"results"`
}

// Digests is the answer to GET /v1/digest: one digest per kind over the objects of one owner (see object.Digest).
// Incarnation changes when the broker starts with a new data directory.
type Digests struct {
	Incarnation string                 `json:"incarnation"`
	Revision    uint64                 `json:"revision"`
	Kinds       map[object.Kind]Digest `json:"kinds,omitempty"`
	// Buckets are those of one kind, when the request named it; then there are no Kinds.
	Buckets []Digest `json:"buckets,omitempty"`
}

// Digest covers the objects of one owner and kind, or those of one bucket of them (see object.Key.Bucket).
type Digest struct {
	Count  int    `json:"count"`
	Digest string `json:"digest"`
}

// ObjectList is the answer to GET /v1/objects.
type ObjectList struct {
	Incarnation string          `json:"incarnation"`
	Revision    uint64          `json:"revision"`
	Objects     []object.Object `json:"objects"`
}

// Event is one line of GET /v1/watch. A line without an object only says how far the stream is.
type Event struct {
	Revision uint64         `json:"revision"`
	Object   *object.Object `json:"object,omitempty"`
	Deleted  bool           `json:"deleted,omitempty"` // Object is what it was
}

// QueueState is a live queue in GET /v1/queues.
type QueueState struct {
	VirtualHost string           `json:"vhost"`
	Name        string           `json:"name"`
	Spec        object.QueueSpec `json:"spec"`
	Exclusive   bool             `json:"exclusive,omitempty"`
	Owner       string           `json:"owner,omitempty"`
	// Policy and OperatorPolicy are the names of those that apply to it.
	Policy         string `json:"policy,omitempty"`
	OperatorPolicy string `json:"operatorPolicy,omitempty"`
	Ready          int    `json:"ready"`
	Unacked        int    `json:"unacked"`
	Bytes          int64  `json:"bytes"`
	Consumers      int    `json:"consumers"`
	Published      uint64 `json:"published"` // messages enqueued since the queue was opened
	Delivered      uint64 `json:"delivered"`
	Settled        uint64 `json:"settled"`
}

// ConnectionState is a live connection in GET /v1/connections.
type ConnectionState struct {
	ID          uint64    `json:"id"`
	Protocol    string    `json:"protocol"`
	VirtualHost string    `json:"vhost"`
	User        string    `json:"user"`
	ClientID    string    `json:"clientID,omitempty"`
	Peer        string    `json:"peer"`
	TLS         bool      `json:"tls"`
	Since       time.Time `json:"since"`
	Channels    int       `json:"channels,omitempty"`
}

// ImportReport is the answer to POST /v1/definitions: how many objects there are now because of it, and what was not taken
// over.
type ImportReport struct {
	Created   int       `json:"created"`
	Updated   int       `json:"updated"`
	Unchanged int       `json:"unchanged"`
	Skipped   []Skipped `json:"skipped,omitempty"`
}

// Skipped is something in definitions that was not taken over: where it stands, such as queues[3], and why.
type Skipped struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Health is the answer to GET /healthz and /readyz.
type Health struct {
	OK       bool     `json:"ok"`
	Version  string   `json:"version"`
	Problems []string `json:"problems,omitempty"`
}

// Error is what the API answers instead of a result.
type Error struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
}

func (e *Error) Error() string { return fmt.Sprintf("admin API: %s (HTTP %d)", e.Message, e.Status) }

// ErrGone: the broker no longer has the revisions since the asked one; list again and watch from there.
var ErrGone = errors.New("revision is too old")

// Client talks to one broker. It is safe for concurrent use.
type Client struct {
	base     *url.URL
	user     string
	password string
	token    string
	http     *http.Client
}

// Options of New. URL is http://HOST:PORT or https://HOST:PORT. Token is sent in place of user and password, for what stands
// before a broker and wants one.
type Options struct {
	URL      string
	User     string
	Password string
	Token    string
	TLS      *tls.Config
	// Wrap puts something between the client and its connections, such as a counter; nil is nothing.
	Wrap func(http.RoundTripper) http.RoundTripper
	// Proxy is an HTTP proxy to go through; nil is none.
	Proxy *url.URL
}

// A machine that lost its power says nothing, not even that a connection is gone. Requests share one connection of HTTP/2, and
// without pings all of them would wait on it until the kernel gives it up, a quarter of an hour later.
const (
	silence  = 10 * time.Second // after which a connection is asked whether it is there
	patience = 5 * time.Second  // to answer that, and to accept a connection
)

// New makes a client; it does not connect yet.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.URL)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("admin URL %q: want http://HOST:PORT or https://HOST:PORT", o.URL)
	}
	direct := &http.Transport{
		TLSClientConfig: o.TLS, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second,
		DialContext: (&net.Dialer{Timeout: patience}).DialContext,
		HTTP2:       &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: patience},
	}
	if o.Proxy != nil {
		direct.Proxy = http.ProxyURL(o.Proxy)
	}
	var t http.RoundTripper = direct
	if o.Wrap != nil {
		t = o.Wrap(t)
	}
	// The API never redirects: whoever does is something else, and is not to be followed with a password.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{base: base, user: o.User, password: o.Password, token: o.Token, http: &http.Client{Transport: t, CheckRedirect: stay}}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Apply sends a batch of changes.
func (c *Client) Apply(ctx context.Context, r ApplyRequest) (ApplyResponse, error) {
	var out ApplyResponse
	return out, c.call(ctx, http.MethodPost, "/v1/apply", nil, r, &out)
}

// Plan is Apply that changes nothing.
func (c *Client) Plan(ctx context.Context, r ApplyRequest) (ApplyResponse, error) {
	var out ApplyResponse
	return out, c.call(ctx, http.MethodPost, "/v1/apply", url.Values{"dryRun": {"true"}}, r, &out)
}

// Digest asks for the digests of an owner's objects.
func (c *Client) Digest(ctx context.Context, owner string) (Digests, error) {
	var out Digests
	return out, c.call(ctx, http.MethodGet, "/v1/digest", url.Values{"owner": {owner}}, nil, &out)
}

// BucketDigests asks for the digests of an owner's objects of one kind, by bucket.
func (c *Client) BucketDigests(ctx context.Context, owner string, kind object.Kind) (Digests, error) {
	var out Digests
	return out, c.call(ctx, http.MethodGet, "/v1/digest", url.Values{"owner": {owner}, "kind": {string(kind)}}, nil, &out)
}

// ObjectsIn lists an owner's objects of one kind in some buckets.
func (c *Client) ObjectsIn(ctx context.Context, owner string, kind object.Kind, buckets []int) (ObjectList, error) {
	numbers := make([]string, len(buckets))
	for i, b := range buckets {
		numbers[i] = strconv.Itoa(b)
	}
	q := url.Values{"owner": {owner}, "kind": {string(kind)}, "buckets": {strings.Join(numbers, ",")}}
	var out ObjectList
	return out, c.call(ctx, http.MethodGet, "/v1/objects", q, nil, &out)
}

// Objects lists objects; an empty owner or kind means all.
func (c *Client) Objects(ctx context.Context, owner string, kind object.Kind) (ObjectList, error) {
	q := url.Values{}
	if owner != "" {
		q.Set("owner", owner)
	}
	if kind != "" {
		q.Set("kind", string(kind))
	}
	var out ObjectList
	return out, c.call(ctx, http.MethodGet, "/v1/objects", q, nil, &out)
}

// Import brings RabbitMQ's definitions into force, in one virtual host if it is named. With dryRun nothing is changed.
func (c *Client) Import(ctx context.Context, file []byte, vhost string, dryRun bool) (ImportReport, error) {
	q := url.Values{}
	if vhost != "" {
		q.Set("vhost", vhost)
	}
	if dryRun {
		q.Set("dryRun", "true")
	}
	var out ImportReport
	return out, c.call(ctx, http.MethodPost, "/v1/definitions", q, json.RawMessage(file), &out)
}

// Export asks for the definitions of all virtual hosts, or of one.
func (c *Client) Export(ctx context.Context, vhost string) ([]byte, error) {
	q := url.Values{}
	if vhost != "" {
		q.Set("vhost", vhost)
	}
	var out json.RawMessage
	return out, c.call(ctx, http.MethodGet, "/v1/definitions", q, nil, &out)
}

// Queues lists live queues; an empty virtual host means all.
func (c *Client) Queues(ctx context.Context, vhost string) ([]QueueState, error) {
	q := url.Values{}
	if vhost != "" {
		q.Set("vhost", vhost)
	}
	var out []QueueState
	return out, c.call(ctx, http.MethodGet, "/v1/queues", q, nil, &out)
}

// EachQueue calls fn for every live queue, one after the other as they come, so that not all are in memory at once.
func (c *Client) EachQueue(ctx context.Context, vhost string, fn func(QueueState)) error {
	q := url.Values{}
	if vhost != "" {
		q.Set("vhost", vhost)
	}
	resp, err := c.send(ctx, http.MethodGet, "/v1/queues", q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	if _, err := d.Token(); err != nil { // the [ of the array
		return fmt.Errorf("GET /v1/queues: decode answer: %w", err)
	}
	for d.More() {
		var s QueueState
		if err := d.Decode(&s); err != nil {
			return fmt.Errorf("GET /v1/queues: decode answer: %w", err)
		}
		fn(s)
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("GET /v1/queues: decode answer: %w", err)
	}
	return nil
}

// Connections lists live connections.
func (c *Client) Connections(ctx context.Context) ([]ConnectionState, error) {
	var out []ConnectionState
	return out, c.call(ctx, http.MethodGet, "/v1/connections", nil, nil, &out)
}

// Ready asks whether the broker serves.
func (c *Client) Ready(ctx context.Context) (Health, error) {
	var out Health
	return out, c.call(ctx, http.MethodGet, "/readyz", nil, nil, &out)
}

// Watch calls fn for every change of metadata after revision since, until ctx ends, the connection breaks or fn returns
// an error. It returns ErrGone when the broker cannot go back that far.
func (c *Client) Watch(ctx context.Context, since uint64, fn func(Event) error) error {
	resp, err := c.send(ctx, http.MethodGet, "/v1/watch", url.Values{"since": {strconv.FormatUint(since, 10)}}, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	for {
		var e Event
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("watch %s: %w", c.base.Host, err)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
}

func (c *Client) call(ctx context.Context, method, path string, q url.Values, in, out any) error {
	resp, err := c.send(ctx, method, path, q, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: decode answer: %w", method, path, err)
	}
	return nil
}

// send answers a response with status 200, or the error of any other.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("%s %s: encode request: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	u := *c.base
	u.Path, u.RawQuery = strings.TrimSuffix(u.Path, "/")+path, q.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case c.token != "":
		req.Header.Set("Authorization", "Bearer "+c.token)
	case c.user != "":
		req.SetBasicAuth(c.user, c.password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, failure(resp)
}

func failure(resp *http.Response) error {
	if resp.StatusCode == http.StatusGone {
		return ErrGone
	}
	const longest = 64 << 10
	b, err := io.ReadAll(io.LimitReader(resp.Body, longest))
	if err != nil {
		return fmt.Errorf("admin API: HTTP %d: %w", resp.StatusCode, err)
	}
	e := &Error{Status: resp.StatusCode}
	if json.Unmarshal(b, e) != nil || e.Message == "" {
		e.Message = fmt.Sprintf("HTTP %d without a sentence: this is no admin API of Turnstone, or something stands before it", resp.StatusCode)
	}
	return e
}
