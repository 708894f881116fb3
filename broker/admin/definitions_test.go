package admin

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// TestDefinitionsAPI: RabbitMQ's tools find definitions where they look for them, and only administrators get them.
func TestDefinitionsAPI(t *testing.T) {
	a := newAPI(t)
	a.want(t, object.KindVirtualHost, "", "a/b", object.VirtualHostSpec{})
	call := func(user, method, path, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, a.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(user, "pw")
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close() //nolint:errcheck // read to its end
		b, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(b)
	}
	one := `{"queues": [{"name": "q", "durable": true, "auto_delete": false, "arguments": {}}, {"name": "bad", "durable": true, "arguments": {"x-what": 1}}]}`
	for _, c := range []struct {
		user, method, path, body string
		status                   int
		part                     string
	}{
		{"eye", "GET", "/v1/definitions", "", 403, "administrator"},
		{"root", "POST", "/api/definitions/%2F", one, 200, `{"created":1,"updated":0,"unchanged":0,"skipped":[{"what":"queues[1] \"bad\" in \"/\"","why":"argument \"x-what\" is not supported`},
		{"root", "POST", "/v1/definitions?vhost=/", one, 200, `"unchanged":1`},
		{"root", "POST", "/api/definitions/a%2Fb", one, 200, `"created":1`},
		{"root", "POST", "/v1/definitions?vhost=/&dryRun=true", strings.ReplaceAll(one, `"q"`, `"other"`), 200, `"created":1`},
		{"root", "GET", "/api/definitions/%2F", "", 200, `"name": "q"`},
		{"root", "GET", "/api/definitions", "", 200, `"vhost": "a/b"`},
		{"root", "GET", "/api/definitions", "", 200, `"password_hash": "$argon2id$`},
		{"root", "GET", "/api/definitions/nope", "", 404, "nope"},
		{"root", "POST", "/api/definitions/nope", one, 200, `Queue \"q\" in vhost \"nope\" refers to VirtualHost \"nope\", which does not exist`},
		{"root", "POST", "/api/definitions", "{", 400, "not JSON"},
		{"root", "DELETE", "/api/definitions", "", 405, "takes GET, POST"},
	} {
		status, got := call(c.user, c.method, c.path, c.body)
		if status != c.status || !strings.Contains(got, c.part) {
			t.Errorf("%s %s: %d %s, want %d with %s", c.method, c.path, status, got, c.status, c.part)
		}
	}
	if _, got := call("root", "GET", "/api/definitions/%2F", ""); strings.Contains(got, "other") || strings.Contains(got, `"vhost"`) {
		t.Errorf("the definitions of one virtual host are %s", got)
	}
}
