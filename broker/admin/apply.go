package admin

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func (s *Server) apply(w http.ResponseWriter, r *http.Request) error {
	options, err := applyOptions(r)
	if err != nil {
		return err
	}
	request, err := readApply(w, r)
	if err != nil {
		return err
	}
	results, err := s.Hub.Apply(r.Context(), request.Owner, request.Changes, options)
	if err != nil {
		return unavailable(err)
	}
	return answer(w, http.StatusOK, client.ApplyResponse{Incarnation: s.Hub.Incarnation(), Revision: s.Hub.Revision(), Results: results})
}

func applyOptions(r *http.Request) (hub.ApplyOptions, error) {
	switch v := r.URL.Query().Get("dryRun"); v {
	case "", "false":
		return hub.ApplyOptions{}, nil
	case "true":
		return hub.ApplyOptions{DryRun: true}, nil
	default:
		return hub.ApplyOptions{}, failf(http.StatusBadRequest, "dryRun: %q is neither true nor false", v)
	}
}

func readApply(w http.ResponseWriter, r *http.Request) (client.ApplyRequest, error) {
	var request client.ApplyRequest
	if err := readBody(w, r, &request, "send fewer changes at a time"); err != nil {
		return request, err
	}
	if len(request.Changes) > mostChanges {
		return request, failf(http.StatusRequestEntityTooLarge, "%d changes are more than %d: send fewer at a time", len(request.Changes), mostChanges)
	}
	return request, nil
}

// readBody reads the body into a request; shorter says what to do about one that is too long. It insists on JSON's media
// type: a web page elsewhere cannot send that with the user's password that a browser remembers.
func readBody(w http.ResponseWriter, r *http.Request, request any, shorter string) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return failf(http.StatusUnsupportedMediaType, "Content-Type must be application/json")
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyPatience)) //nolint:errcheck // recorders of tests have none
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBody))
	d.DisallowUnknownFields()
	if err := d.Decode(request); err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			return failf(http.StatusRequestEntityTooLarge, "body is longer than %d bytes: %s", mostBody, shorter)
		}
		return failf(http.StatusBadRequest, "body: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return failf(http.StatusBadRequest, "body: more follows after the request")
	}
	return nil
}

// unavailable turns an error that is about no single change into an answer.
func unavailable(err error) error {
	if errors.Is(err, hub.ErrClosed) || hub.CodeOf(err) == hub.Unavailable {
		return failf(http.StatusServiceUnavailable, "%v", err)
	}
	return err
}

func (s *Server) objects(w http.ResponseWriter, r *http.Request) error {
	kind, err := kindOf(r)
	if err != nil {
		return err
	}
	buckets, err := bucketsOf(r, kind)
	if err != nil {
		return err
	}
	out := client.ObjectList{Incarnation: s.Hub.Incarnation()}
	var list []object.Object
	if owner := r.URL.Query().Get("owner"); buckets == nil {
		list, out.Revision = s.Hub.Objects(owner, kind)
	} else {
		list, out.Revision = s.Hub.ObjectsIn(owner, kind, buckets)
	}
	out.Objects = make([]object.Object, 0, len(list))
	for _, o := range list {
		out.Objects = append(out.Objects, shown(o))
	}
	return answer(w, http.StatusOK, out)
}

// kindOf reads the parameter kind, which may be missing.
func kindOf(r *http.Request) (object.Kind, error) {
	kind := object.Kind(r.URL.Query().Get("kind"))
	if kind != "" && kind.Rank() == len(object.Kinds) {
		return "", failf(http.StatusBadRequest, "kind %q does not exist; there are %v", kind, object.Kinds)
	}
	return kind, nil
}

// bucketsOf reads the parameter buckets, numbers with commas between; nil when it is missing.
func bucketsOf(r *http.Request, kind object.Kind) (map[int]bool, error) {
	raw := r.URL.Query().Get("buckets")
	if raw == "" {
		return nil, nil
	}
	if kind == "" {
		return nil, failf(http.StatusBadRequest, "buckets are those of a kind: name it, such as kind=%s", object.KindQueue)
	}
	out := make(map[int]bool)
	for part := range strings.SplitSeq(raw, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || n >= object.Buckets {
			return nil, failf(http.StatusBadRequest, "buckets: %q is not a number from 0 to %d", part, object.Buckets-1)
		}
		out[n] = true
	}
	return out, nil
}

// shown is an object as it is answered: without what a password could be guessed from.
func shown(o object.Object) object.Object {
	if o.Kind != object.KindUser {
		return o
	}
	if spec, err := o.Canonical(); err == nil {
		o.Spec = spec
	} else {
		o.Spec = json.RawMessage("{}")
	}
	return o
}

// digest answers the digests of all kinds, or those of the buckets of one.
func (s *Server) digest(w http.ResponseWriter, r *http.Request) error {
	kind, err := kindOf(r)
	if err != nil {
		return err
	}
	out := client.Digests{Incarnation: s.Hub.Incarnation()}
	owner := r.URL.Query().Get("owner")
	if kind != "" {
		buckets, revision, err := s.Hub.BucketDigests(owner, kind)
		if err != nil {
			return err
		}
		out.Revision = revision
		for _, d := range buckets {
			out.Buckets = append(out.Buckets, client.Digest(d))
		}
		return answer(w, http.StatusOK, out)
	}
	byKind, revision, err := s.Hub.Digests(owner)
	if err != nil {
		return err
	}
	out.Revision, out.Kinds = revision, make(map[object.Kind]client.Digest, len(byKind))
	for k, d := range byKind {
		out.Kinds[k] = client.Digest(d)
	}
	return answer(w, http.StatusOK, out)
}
