package admin

import (
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestAuthorize asks what clients would be asked, for MQTT and AMQP, with rules that allow and refuse.
func TestAuthorize(t *testing.T) {
	a := newAPI(t)
	a.want(t, object.KindUser, "", "app", object.UserSpec{PasswordHash: passwordHash()})
	a.want(t, object.KindUser, "", "lost", object.UserSpec{PasswordHash: passwordHash()})
	a.want(t, object.KindPermission, "/", "app", object.PermissionSpec{
		Configure: "^app-", Write: "^amq\\.topic$", Read: "^(amq\\.topic|app-.*)$",
		Topics: []object.TopicRule{{Filter: "plant/%c/#", Publish: true}, {Filter: "jobs/+", Subscribe: true, Publish: true}, {Filter: "$SYS/#", Publish: true}},
	})
	a.want(t, object.KindTopicPolicy, "/", "who", object.TopicPolicySpec{Filter: "jobs/secret", Publishers: []string{"root"}})
	a.want(t, object.KindTopicPolicy, "/", "old", object.TopicPolicySpec{Filter: "old/#", Rewrite: &object.TopicRewrite{To: "jobs/{#}", Publish: true, Subscribe: true}})
	a.want(t, object.KindExchange, "/", "inside", object.ExchangeSpec{Type: "topic", Durable: true, Internal: true})
	const write, read = "permission write '^amq\\.topic$' matches 'amq.topic'", "permission read '^(amq\\.topic|app-.*)$' matches "
	for _, c := range []struct {
		question client.Question
		want     string // rules, or ! and why
	}{
		{client.Question{User: "app", Action: "configure", Target: "app-q"}, "permission configure '^app-' matches 'app-q'"},
		{client.Question{User: "app", Action: "configure", Target: "q"}, "!user 'app' may not configure 'q' in vhost '/'"},
		{client.Question{User: "app", Action: "write"}, "!user 'app' may not write to 'amq.default' in vhost '/'"},
		{client.Question{User: "app", Action: "read", Target: "app-q"}, read + "'app-q'"},
		{client.Question{User: "app", ClientID: "7", Action: "publish", Target: "plant/7/t"}, write + "|topic rule 'plant/%c/#' of the permission covers 'plant/7/t'"},
		{client.Question{User: "app", ClientID: "8", Action: "publish", Target: "plant/7/t"}, "!user 'app' may not publish to 'plant/7/t' in vhost '/': no topic rule of its permission allows it"},
		{client.Question{User: "app", Action: "publish", Target: "jobs.a", Exchange: "amq.topic"}, write + "|topic rule 'jobs/+' of the permission covers 'jobs/a'"},
		{client.Question{User: "app", Action: "publish", Target: "old/a"}, write + "|topic rule 'jobs/+' of the permission covers 'jobs/a' as jobs/a"},
		{client.Question{User: "app", Action: "publish", Target: "jobs/secret"}, "!user 'app' may not publish to 'jobs/secret' in vhost '/': topic policy 'who' does not name it among its publishers"},
		{client.Question{User: "app", Action: "publish", Target: "$SYS/broker/x"}, "!the broker alone publishes to '$SYS/broker/x'"},
		{client.Question{User: "app", Action: "publish", Target: "a/#"}, "!'a/#' "},
		{client.Question{User: "app", Action: "publish", Target: "a", Exchange: "none"}, "!no exchange 'none' in vhost '/'"},
		{client.Question{User: "app", Action: "publish", Target: "a", Exchange: "inside"}, "!cannot publish to internal exchange 'inside' in vhost '/'"},
		{client.Question{User: "app", Action: "publish", Target: "a", Exchange: "amq.fanout"}, "!user 'app' may not write to 'amq.fanout' in vhost '/'"},
		{client.Question{User: "app", Action: "subscribe", Target: "$share/g/jobs/+"}, read + "'amq.topic'|topic rule 'jobs/+' of the permission covers 'jobs/+'"},
		{client.Question{User: "app", Action: "subscribe", Target: "old/+"}, read + "'amq.topic'|topic rule 'jobs/+' of the permission covers 'jobs/+' as jobs/+"},
		{client.Question{User: "app", Action: "subscribe", Target: "#"}, "!user 'app' may not subscribe to '#' in vhost '/': no topic rule of its permission allows all of it"},
		{client.Question{User: "app", Action: "subscribe", Target: "$queue/app-q"}, read + "'app-q'"},
		{client.Question{User: "app", Action: "subscribe", Target: "$share//a"}, "!filter '$share//a' has no share name"},
		{client.Question{User: "app", Action: "read", Target: "q", VirtualHost: "other"}, "!user 'app' may not connect to vhost 'other': it does not exist"},
		{client.Question{User: "lost", Action: "read", Target: "q"}, "!user 'lost' may not connect to vhost '/': no permission there"},
		{client.Question{User: "nobody", Action: "read", Target: "q"}, "!user 'nobody' may not connect to vhost '/': there is no such user"},
		{client.Question{Action: "read", Target: "q"}, "!clients without a user name are not admitted"},
	} {
		d, err := a.client(t, "eye").Authorize(t.Context(), c.question)
		if err != nil {
			t.Fatalf("%+v: %v", c.question, err)
		}
		got := strings.Join(d.Rules, "|")
		if d.Topic != "" && d.Topic != c.question.Target && d.Allowed && strings.Contains(c.want, " as ") {
			got += " as " + d.Topic
		}
		if !d.Allowed {
			got = "!" + d.Why
		}
		if got != c.want && !(strings.HasSuffix(c.want, " ") && strings.HasPrefix(got, c.want)) {
			t.Errorf("%+v: %s, wanted %s", c.question, got, c.want)
		}
	}
	for body, want := range map[string]string{
		`{"user":"app","action":"fly","target":"q"}`:                `{"error":"action \"fly\" is not one of [configure write read publish subscribe]"}`,
		`{"user":"app","action":"publish","target":""}`:             `{"error":"target is empty: name the topic, exchange or queue"}`,
		`{"user":"app","action":"read","target":"","exchange":"x"}`: `{"error":"exchange goes with publish and subscribe: target names what read is about"}`,
		`{"usr":"app"}`: `{"error":"body: json: unknown field \"usr\""}`,
	} {
		if status, got := a.call(t, "POST", "/v1/authorize", "eye", "application/json", body); status != 400 || got != want {
			t.Errorf("%s: %d %s, wanted %s", body, status, got, want)
		}
	}
}
