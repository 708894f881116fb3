package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func (s *Server) queues(w http.ResponseWriter, r *http.Request) error {
	out := []client.QueueState{}
	for _, q := range s.Hub.Inspect(r.URL.Query().Get("vhost")) {
		out = append(out, s.queueState(q))
	}
	return answer(w, http.StatusOK, out)
}

func (s *Server) queueState(q hub.QueueInfo) client.QueueState {
	return client.QueueState{
		VirtualHost: q.VirtualHost, Name: q.Name, Spec: q.Spec, Policy: q.Policy, OperatorPolicy: q.OperatorPolicy, Exclusive: q.Exclusive,
		Owner: s.Hub.OwnerOf(object.Key{Kind: object.KindQueue, VirtualHost: q.VirtualHost, Name: q.Name}),
		Ready: q.Ready, Unacked: q.Unacked, Bytes: q.Bytes, Consumers: q.Consumers,
		Published: q.Published, Delivered: q.Delivered, Settled: q.Settled,
	}
}

func (s *Server) connections(w http.ResponseWriter, _ *http.Request) error {
	out := s.Connections()
	if out == nil {
		out = []client.ConnectionState{}
	}
	return answer(w, http.StatusOK, out)
}

func (s *Server) overview(w http.ResponseWriter, _ *http.Request) error {
	t := s.Hub.Totals()
	out := client.Overview{
		Version: s.Version, Connections: int64(s.Count()), Queues: int64(t.Queues), Consumers: int64(t.Consumers),
		Ready: int64(t.Ready), Messages: int64(t.Ready + t.Unacked), Bytes: t.Bytes, Sessions: int64(s.Hub.SessionCount()),
	}
	out.StorageUsed, out.StorageSize = s.Storage()
	return answer(w, http.StatusOK, out)
}

func (s *Server) config(w http.ResponseWriter, _ *http.Request) error {
	c := s.Hub.Config()
	raw, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	out := client.ConfigState{Hash: c.Hash(), Config: raw, Keys: keys()}
	pending, content, problem := s.Pending()
	out.Content = content
	if out.Pending = pending; problem != nil {
		out.Problem = problem.Error()
	}
	return answer(w, http.StatusOK, out)
}

// takeConfig puts the live keys of a configuration into force.
func (s *Server) takeConfig(w http.ResponseWriter, r *http.Request) error {
	var file client.ConfigFile
	if err := readBody(w, r, &file, "a configuration is a few kilobytes"); err != nil {
		return err
	}
	restart, err := s.TakeConfig(file.Text)
	if err != nil {
		return failf(http.StatusBadRequest, "text: %v", err)
	}
	if len(restart) > 0 {
		return failf(http.StatusConflict, "text changes %s, which a start alone does: bring it to the broker as its file, and restart it", strings.Join(restart, ", "))
	}
	return s.config(w, r)
}

// safeToStop: with one voter, a stop loses nothing that was promised as soon as the broker has recovered: what is
// accepted and durable is on the disk. While the broker drains, it waits for clients to leave as well.
func (s *Server) safeToStop(w http.ResponseWriter, _ *http.Request) error {
	out := client.SafeToStop{Reasons: s.Problems(), Draining: s.isDraining(), Connections: s.Count()}
	if out.Draining && out.Connections > 0 {
		out.Reasons = append(slices.Clip(out.Reasons), fmt.Sprintf("%d connections were asked to leave and are still open", out.Connections))
	}
	out.Safe = len(out.Reasons) == 0
	messages, queues := 0, 0
	for _, q := range s.Hub.Inspect("") {
		if waiting := q.Ready + q.Unacked; waiting > 0 && !q.Spec.Durable && !q.Session {
			messages, queues = messages+waiting, queues+1
		}
	}
	if messages > 0 {
		out.Ending = append(out.Ending, fmt.Sprintf("%d messages in %d transient queues", messages, queues))
	}
	if n := out.Connections; n > 0 {
		out.Ending = append(out.Ending, fmt.Sprintf("%d connections, which come again", n))
	}
	return answer(w, http.StatusOK, out)
}
