package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestLooks: secrets go, whatever they stand in; what is around them stays.
func TestLooks(t *testing.T) {
	for text, want := range map[string]string{
		`amqp://app:s3cr3t@host:5672/%2F and more`:                          `amqp://app:[removed]@host:5672/%2F and more`,
		`{"password":"s3c\"r3t","name":"q"}`:                                `{"password":"[removed]","name":"q"}`,
		`{"line":"{\"password\":\"s3cr3t\"}"}`:                              `{"line":"{\"password\":\"[removed]\"}"}`,
		`{"scram":["SCRAM-SHA-256$1:a$b:c"],"n":1}`:                         `{"scram":[removed],"n":1}`,
		"password: s3cr3t\nname: q":                                         "password: [removed]\nname: q",
		"  dbPassword: 's3 cr3t'\n  passwordFile: /a":                       "  dbPassword: [removed]\n  passwordFile: /a",
		"automountServiceAccountToken: false\nsecretName: broker-tls":       "automountServiceAccountToken: false\nsecretName: broker-tls",
		"passwordSecretRef:\n  key: password\n  name: x":                    "passwordSecretRef:\n  key: password\n  name: x",
		"msg=login user=app password=s3cr3t peer=1":                         "msg=login user=app password=[removed] peer=1",
		`msg=login password="s3 cr3t" peer=1`:                               `msg=login password=[removed] peer=1`,
		"Endpoint=sb://x/;SharedAccessKey=s3cr3t=;Other=1":                  "Endpoint=sb://x/;SharedAccessKey=[removed];Other=1",
		"hash $argon2id$v=19$m=1,t=2$c2FsdA$aGFzaA end":                     "hash [removed] end",
		`{"line":"{\"password\":\"s3\\\"cr\"}"}`:                            `{"line":"{\"password\":\"[removed]\"}"}`,
		"$rabbit-sha256$H7dLR0ws/+= end":                                    "[removed] end",
		"Authorization: Bearer abcdefgh.ijklm":                              "Authorization: [removed]",
		"sent bearer abcdefgh.ijklm to it":                                  "sent bearer [removed] to it",
		"-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----": "[removed]",
		`"-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"`:   `"[removed]\n"`,
		"-----BEGIN CERTIFICATE-----\nabc":                                  "-----BEGIN CERTIFICATE-----\nabc",
		"token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc":                    "token [removed]",
		`turnstone_auth_failures_total 5`:                                   `turnstone_auth_failures_total 5`,
		`{"key":"password","vhost":"/"}`:                                    `{"key":"password","vhost":"/"}`,
	} {
		s := &Scrubber{}
		if got := string(s.Scrub([]byte(text))); got != want {
			t.Errorf("%s\nbecomes %s\nwanted  %s", text, got, want)
		}
	}
}

// TestKnown: a value is found however it is written.
func TestKnown(t *testing.T) {
	s := &Scrubber{}
	s.Know([]byte("p w/\"1é"))
	s.Know([]byte("abc")) // too short to be told from other text
	for _, text := range []string{`p w/"1é`, "cCB3LyIxw6k=", "p+w%2F%221%C3%A9", "p%20w%2F%221%C3%A9", `p w/\"1é`} {
		if got := string(s.Scrub([]byte("x " + text + " y"))); got != "x [removed] y" {
			t.Errorf("%s becomes %s", text, got)
		}
	}
	if got := string(s.Scrub([]byte("abc"))); got != "abc" {
		t.Errorf("abc becomes %s", got)
	}
}

func TestBundle(t *testing.T) {
	var out bytes.Buffer
	b := New(&out, "folder", time.Unix(0, 0))
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{
		Name: "p", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
		Annotations: map[string]string{"messaging.turnstone.dev/config": "hash", "example.com/dsn": "postgres-dsn-value", "other": "anything"},
	}, Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "broker", Args: []string{"serve"}, Env: []corev1.EnvVar{{Name: "DB_PASSWORD", Value: "env-secret-value"}, {Name: "MODE", Value: "quiet"}}},
		{Name: "sidecar", Args: []string{"--pass", "argument-secret"}},
	}}}
	text, err := b.Manifests([]runtime.Object{pod})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"messaging.turnstone.dev/config: hash", "other: '[removed]'", "name: DB_PASSWORD", "- serve", "args: '[removed]'"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	for _, secret := range []string{"managedFields", "postgres-dsn-value", "env-secret-value", "argument-secret", "quiet"} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%q is in\n%s", secret, text)
		}
	}
	if _, err := b.Manifests([]runtime.Object{&corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret"}}}); err == nil {
		t.Error("a Secret is taken")
	}
	if err := errors.Join(b.Add("a.txt", []byte("saw env-secret-value and postgres-dsn-value")), b.Close()); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	h, err := r.Next()
	if err != nil || h.Name != "folder/a.txt" {
		t.Fatalf("%v %v", h, err)
	}
	if content, err := io.ReadAll(r); err != nil || string(content) != "saw [removed] and [removed]" {
		t.Errorf("%s %v", content, err)
	}
}

// FuzzScrub: it never panics, and what is known never comes through.
func FuzzScrub(f *testing.F) {
	f.Add([]byte(`password: x "token":"y" a://b:c@d`), []byte("secret-value"))
	f.Fuzz(func(t *testing.T, text, secret []byte) {
		s := &Scrubber{}
		s.Know(secret)
		got := s.Scrub(append(append(bytes.Clone(text), secret...), text...))
		known := bytes.TrimSpace(secret)
		if len(known) < shortest || strings.Contains(Removed, string(known)) || bytes.Contains(known, []byte("removed")) {
			return
		}
		for _, left := range bytes.Split(got, []byte(Removed)) { // the mark and what is beside it may spell a secret that was not there
			if bytes.Contains(left, known) {
				t.Errorf("%q is still in %q", known, got)
			}
		}
	})
}
