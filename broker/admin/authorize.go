package admin

import (
	"net/http"
	"slices"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// authorize answers whether a user may do something. It asks what a client would be asked, and does nothing.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	var q client.Question
	if err := readBody(w, r, &q, "ask one question at a time"); err != nil {
		return err
	}
	action := auth.Action(q.Action)
	switch {
	case !slices.Contains(auth.Actions, action):
		return failf(http.StatusBadRequest, "action %q is not one of %v", q.Action, auth.Actions)
	case q.Target == "" && action != auth.ActionWrite && action != auth.ActionRead && q.Exchange == "":
		return failf(http.StatusBadRequest, "target is empty: name the topic, exchange or queue")
	case q.Exchange != "" && action != auth.ActionPublish && action != auth.ActionSubscribe:
		return failf(http.StatusBadRequest, "exchange goes with publish and subscribe: target names what %s is about", action)
	}
	if q.VirtualHost == "" {
		q.VirtualHost = "/"
	}
	d, renamed := s.Hub.Decide(hub.Question{
		User: q.User, VirtualHost: q.VirtualHost, ClientID: q.ClientID, Action: action, Target: q.Target, Exchange: q.Exchange,
	})
	out := client.Decision{Allowed: d.Refused == nil, Rules: d.Rules, Topic: renamed}
	if d.Refused != nil {
		out.Why = d.Refused.Error()
	}
	return answer(w, http.StatusOK, out)
}
