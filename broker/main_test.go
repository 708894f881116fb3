package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// asBroker makes the test binary be the broker.
const asBroker = "TURNSTONE_TEST_AS_BROKER"

func TestMain(m *testing.M) {
	if os.Getenv(asBroker) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// patience bounds what a test waits for.
const patience = 20 * time.Second

// process is a broker that runs as a process of its own.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan map[string]any // of its log; closed when it ends
	past  []map[string]any
	ready map[string]any
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...) //nolint:gosec // the test binary itself
	cmd.Env = append(os.Environ(), asBroker+"=1")
	return cmd
}

// start runs turnstone serve with its log in JSON and waits until it is ready.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: command(append([]string{"serve", "--log-format", "json"}, args...)...), lines: make(chan map[string]any, 1000)}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		defer close(p.lines)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			var line map[string]any
			if json.Unmarshal(s.Bytes(), &line) != nil {
				line = map[string]any{"msg": s.Text()}
			}
			p.lines <- line
		}
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		p.cmd.Wait()         //nolint:errcheck // it may have been waited for
	})
	p.ready = p.await("ready")
	return p
}

// await waits for a line of the log.
func (p *process) await(msg string) map[string]any {
	p.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the broker ended before it said %q; its log: %v", msg, p.past)
			}
			p.past = append(p.past, line)
			if line["msg"] == msg {
				return line
			}
		case <-limit:
			p.t.Fatalf("the broker did not say %q within %v; its log: %v", msg, patience, p.past)
		}
	}
}

func (p *process) address(scheme string) string {
	p.t.Helper()
	a, ok := p.ready[scheme].(string)
	if !ok {
		p.t.Fatalf("the line ready has no address of %s: %v", scheme, p.ready)
	}
	return a
}

// end waits for the process and answers its exit code.
func (p *process) end() int {
	p.t.Helper()
	timer := time.AfterFunc(patience, func() { p.cmd.Process.Kill() }) //nolint:errcheck // then Wait says so
	defer timer.Stop()
	for line := range p.lines { // else a full pipe would hold it up
		p.past = append(p.past, line)
	}
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.end(); code != 0 {
		p.t.Fatalf("exit code %d after SIGTERM; log: %v", code, p.past)
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) api(user, password string) *client.Client {
	p.t.Helper()
	c, err := client.New(client.Options{URL: "http://" + p.address("http"), User: user, Password: password})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	return c
}

const anyHTTP = "http://127.0.0.1:0"

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.yaml", "dataDir: /data\nlimits: {connections: 5}\n")
	wrong := write("wrong.yaml", "listeners: ['udp://:1']\nlog: {level: loud}\n")
	typo := write("typo.yaml", "data_dir: /data\n")
	file := write("file", "")
	for _, c := range []struct {
		args   []string
		code   int
		stdout string
		stderr []string // what the one line says
	}{
		{[]string{"version"}, 0, "turnstone " + version + " (commit " + commit + ")\n", nil},
		{[]string{"check-config", good}, 0, good + " is right\n", nil},
		{[]string{"check-config", wrong}, 2, "", []string{wrong, "scheme must be one of", `log.level: "loud" is not one of`}},
		{[]string{"check-config", typo}, 2, "", []string{`unknown field "data_dir"`}},
		{[]string{"check-config", dir + "/none"}, 2, "", []string{"read configuration", "no such file"}},
		{[]string{"check-config"}, 2, "", []string{"accepts 1 arg(s)"}},
		{[]string{}, 2, "", []string{"name a command: serve, check-config, definitions or version"}},
		{[]string{"launch"}, 2, "", []string{`unknown command "launch"`}},
		{[]string{"definitions"}, 2, "", []string{"name a command: import or export"}},
		{[]string{"definitions", "import"}, 2, "", []string{"accepts 1 arg(s)"}},
		{[]string{"definitions", "import", dir + "/none"}, 2, "", []string{"no such file"}},
		{[]string{"definitions", "import", "--user", "root", file}, 2, "", []string{"--user: want NAME:PASSWORD"}},
		{[]string{"definitions", "export", "--url", "http://127.0.0.1:1"}, 1, "", []string{"connection refused"}},
		{[]string{"serve", "--port", "1"}, 2, "", []string{"unknown flag: --port"}},
		{[]string{"serve", "more"}, 2, "", []string{`unknown command "more"`}},
		{[]string{"serve", "--user", "root"}, 2, "", []string{"--user: want NAME:PASSWORD"}},
		{[]string{"serve", "--listen", "mqtts://127.0.0.1:0"}, 2, "", []string{"needs tls.certFile and tls.keyFile (--tls-cert and --tls-key)"}},
		{[]string{"serve", "--listen", "http://127.0.0.1:port"}, 2, "", []string{`want SCHEME://HOST:PORT`}},
		{[]string{"serve", "--data", file, "--listen", anyHTTP}, 1, "", []string{"make data directory", "not a directory"}},
	} {
		var stdout, stderr bytes.Buffer
		code := run(c.args, &stdout, &stderr)
		if code != c.code || stdout.String() != c.stdout {
			t.Errorf("%v: exit code %d, wanted %d; it printed %q", c.args, code, c.code, stdout.String())
		}
		if lines := strings.Count(stderr.String(), "\n"); c.code != 0 && lines != 1 {
			t.Errorf("%v: %d lines of errors, wanted 1: %s", c.args, lines, stderr.String())
		}
		for _, want := range c.stderr {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%v: error %q does not say %q", c.args, stderr.String(), want)
			}
		}
	}
}

func TestDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir()
	p := start(t, "--data", dir, "--listen", anyHTTP)
	out, err := command("serve", "--data", dir, "--listen", anyHTTP).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("second broker: %v", err)
	}
	host, _ := os.Hostname()
	want := fmt.Sprintf("turnstone: data directory %s is in use by process %d on host %s since ", dir, p.cmd.Process.Pid, host)
	if !strings.HasPrefix(string(out), want) || strings.Count(string(out), "\n") != 1 {
		t.Errorf("second broker says %q, wanted %q", out, want)
	}
	p.stop()
	again := start(t, "--data", dir, "--listen", anyHTTP) // the file is there still, the lock is not
	again.stop()
}

func TestGuestUntilThereIsAUser(t *testing.T) {
	p := start(t, "--data", t.TempDir(), "--listen", anyHTTP)
	guest := p.api("guest", "guest")
	user, err := object.New(object.KindUser, "", "root", object.UserSpec{Password: "pw", Tags: []string{"administrator"}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := guest.Apply(t.Context(), client.ApplyRequest{Changes: []object.Change{{Object: user}}})
	if err != nil || r.Results[0].Outcome != object.Created {
		t.Fatalf("apply: %+v %v", r, err)
	}
	var refused *client.Error
	if _, err := guest.Objects(t.Context(), "", ""); !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("guest after a user was made: %v", err)
	}
	if _, err := p.api("root", "pw").Objects(t.Context(), "", ""); err != nil {
		t.Errorf("the user: %v", err)
	}
	p.stop()
}

func TestFirstUsers(t *testing.T) {
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "turnstone.yaml")
	content := fmt.Sprintf("auth: {bootstrapUsers: [{name: app, passwordFile: %s, tags: [monitoring], virtualHosts: [team]}]}\n", password)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "--config", file, "--data", filepath.Join(dir, "data"), "--listen", anyHTTP, "--user", "root:p:w")
	list, err := p.api("root", "p:w").Objects(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range list.Objects {
		got = append(got, fmt.Sprintf("%s %s %q", o.Key, o.Spec, o.Owner))
	}
	everything := `{"configure":".*","write":".*","read":".*"} ""`
	want := []string{
		`VirtualHost "/" {} ""`, `VirtualHost "team" {} ""`,
		`User "app" {"tags":["monitoring"]} ""`, `User "root" {"tags":["administrator"]} ""`,
		`Permission "root" in vhost "/" ` + everything, `Permission "app" in vhost "team" ` + everything,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("there is\n%s\nwanted\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := p.api("app", "from-file").Objects(t.Context(), "", ""); err != nil {
		t.Errorf("the user of the file: %v", err)
	}
	p.stop()
}

// TestConfigurationReloads: live keys take effect, others wait, a broken file is told and changes nothing.
func TestConfigurationReloads(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "turnstone.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("limits: {connections: 100}\n")
	p := start(t, "--config", file, "--data", filepath.Join(dir, "data"), "--listen", anyHTTP)
	api := p.api("guest", "guest")
	state := func() (client.ConfigState, int) {
		t.Helper()
		s, err := api.Config(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var c struct{ Limits struct{ Connections int } }
		if err := json.Unmarshal(s.Config, &c); err != nil {
			t.Fatal(err)
		}
		return s, c.Limits.Connections
	}
	before, n := state()
	if n != 100 || len(before.Pending) > 0 {
		t.Fatalf("at start: %d %v", n, before.Pending)
	}
	write("limits: {connections: 200}\nstorage: {shards: 4}\nlog: {level: debug}\n")
	p.signal(syscall.SIGHUP)
	p.await("configuration changed in keys that wait for a restart")
	after, n := state()
	if n != 200 || fmt.Sprint(after.Pending) != "[storage.shards]" || after.Content != "" || after.Hash != before.Hash {
		t.Errorf("after the change: %d, pending %v, hash %s, which was %s", n, after.Pending, after.Hash, before.Hash)
	}
	write("limits: {connections: -1}\n")
	p.await("configuration file cannot be used; the former configuration stays in force")
	broken, n := state()
	if n != 200 || !strings.Contains(broken.Problem, "limits.connections: must be greater than 0") {
		t.Errorf("with a broken file: %d %q", n, broken.Problem)
	}
	write("limits: {connections: 300}\n")
	p.await("configuration changed")
	sum := sha256.Sum256([]byte("limits: {connections: 300}\n"))
	if fixed, n := state(); n != 300 || fixed.Problem != "" || len(fixed.Pending) > 0 || fixed.Content != hex.EncodeToString(sum[:]) {
		t.Errorf("with a right file: %d %+v", n, fixed)
	}
	p.stop()
}

// TestConfigurationComesAhead: what is put by the API is in force before the file says so, and the file's own change counts again.
func TestConfigurationComesAhead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "turnstone.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil { // nobody reads half of it
			t.Fatal(err)
		}
	}
	write("limits: {connections: 100}\n")
	p := start(t, "--config", file, "--data", filepath.Join(dir, "data"), "--listen", anyHTTP)
	api := p.api("guest", "guest")
	is := func(s client.ConfigState, connections int, text string) {
		t.Helper()
		var c struct{ Limits struct{ Connections int } }
		if err := json.Unmarshal(s.Config, &c); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(text))
		if c.Limits.Connections != connections || s.Content != hex.EncodeToString(sum[:]) || len(s.Pending) > 0 || s.Problem != "" {
			t.Errorf("%d connections, wanted %d; content %q; %+v", c.Limits.Connections, connections, s.Content, s)
		}
	}
	put := func(text string) client.ConfigState {
		t.Helper()
		s, err := api.TakeConfig(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	is(put("limits: {connections: 200}\n"), 200, "limits: {connections: 200}\n")
	p.await("configuration changed")
	refused := func(text string, status int, want string) {
		t.Helper()
		_, err := api.TakeConfig(t.Context(), text)
		var answer *client.Error
		if !errors.As(err, &answer) || answer.Status != status || !strings.Contains(answer.Message, want) {
			t.Errorf("%s: %v, wanted %d %q", text, err, status, want)
		}
	}
	refused("limits: {connections: 300}\nstorage: {shards: 4}\nmqtt: {exchange: x}\n", http.StatusConflict, "text changes mqtt.exchange, storage.shards, which a start alone does")
	refused("limits: {connections: 0x}\n", http.StatusBadRequest, "text: ")
	refused("limits: {connectionz: 5}\n", http.StatusBadRequest, `unknown field "connectionz"`)
	s, err := api.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	is(s, 200, "limits: {connections: 200}\n")

	write("limits: {connections: 300}\n")
	p.await("configuration changed")
	if s, err = api.Config(t.Context()); err != nil {
		t.Fatal(err)
	}
	is(s, 300, "limits: {connections: 300}\n")

	// Keys of the file that wait keep every text from being wholly in force.
	write("limits: {connections: 300}\nstorage: {shards: 4}\n")
	p.await("configuration changed in keys that wait for a restart")
	refused("limits: {connections: 400}\n", http.StatusConflict, "storage.shards")
	if s = put("limits: {connections: 400}\nstorage: {shards: 4}\n"); s.Content != "" || fmt.Sprint(s.Pending) != "[storage.shards]" {
		t.Errorf("with a key that waits: %+v", s)
	}
	p.stop()
}

// certificate writes a certificate of 127.0.0.1 with a serial number, and its key, and answers a pool that trusts it.
func certificate(t *testing.T, dir string, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "root"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.key": {Type: "PRIVATE KEY", Bytes: encoded}, "tls.crt": {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return pool
}

func serialOf(t *testing.T, address string, roots *x509.CertPool) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it was only looked at
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestCertificatesReload(t *testing.T) {
	dir := t.TempDir()
	first := certificate(t, dir, 1)
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	p := start(t, "--data", filepath.Join(dir, "data"), "--listen", "https://127.0.0.1:0", "--user", "root:pw",
		"--tls-cert", cert, "--tls-key", key, "--tls-client-ca", cert)
	address := p.address("https")
	if n := serialOf(t, address, first); n != 1 {
		t.Errorf("serial number %d, wanted 1", n)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	// The certificate names root, and that is enough.
	c, err := client.New(client.Options{URL: "https://" + address, TLS: &tls.Config{RootCAs: first, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Objects(t.Context(), "", ""); err != nil {
		t.Errorf("with a client certificate: %v", err)
	}
	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.await("new TLS files cannot be used; the former ones stay in force")
	if n := serialOf(t, address, first); n != 1 {
		t.Errorf("with a broken key file: serial number %d, wanted 1", n)
	}
	second := certificate(t, dir, 2)
	p.await("new TLS files are in force")
	if n := serialOf(t, address, second); n != 2 {
		t.Errorf("serial number %d, wanted 2", n)
	}
	p.stop()
}

// connect is CONNECT of MQTT 3.1.1 with a clean session and no client id; connack accepts it.
var (
	connect = []byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 0}
	connack = []byte{0x20, 2, 0, 0}
)

// TestEveryListener: each accepts its protocol when the broker says ready.
func TestEveryListener(t *testing.T) {
	dir := t.TempDir()
	roots := certificate(t, dir, 1)
	secure := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	p := start(t, "--data", filepath.Join(dir, "data"), "--tls-cert", filepath.Join(dir, "tls.crt"), "--tls-key", filepath.Join(dir, "tls.key"),
		"--listen", "mqtt://127.0.0.1:0", "--listen", "mqtt://127.0.0.1:0", "--listen", "mqtts://127.0.0.1:0",
		"--listen", "ws://127.0.0.1:0", "--listen", "wss://127.0.0.1:0", "--listen", "amqp://127.0.0.1:0", "--listen", "amqps://127.0.0.1:0",
		"--listen", "tcp://127.0.0.1:0", "--listen", "tls://127.0.0.1:0", "--listen", "unix://"+filepath.Join(dir, "socket"), "--listen", anyHTTP)
	plain := strings.Split(p.address("mqtt"), ",")
	if len(plain) != 2 {
		t.Fatalf("two listeners, addresses %v", plain)
	}
	webSocket := func(url string) (net.Conn, error) {
		ws, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{
			Subprotocols: []string{"mqtt"}, HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: secure}},
		})
		if err != nil {
			return nil, err
		}
		return websocket.NetConn(t.Context(), ws, websocket.MessageBinary), nil
	}
	for name, dial := range map[string]func() (net.Conn, error){
		"mqtt":       func() (net.Conn, error) { return net.Dial("tcp", plain[0]) },
		"other mqtt": func() (net.Conn, error) { return net.Dial("tcp", plain[1]) },
		"mqtts":      func() (net.Conn, error) { return tls.Dial("tcp", p.address("mqtts"), secure) },
		"tcp":        func() (net.Conn, error) { return net.Dial("tcp", p.address("tcp")) },
		"unix":       func() (net.Conn, error) { return net.Dial("unix", filepath.Join(dir, "socket")) },
		"tls": func() (net.Conn, error) {
			named := secure.Clone()
			named.NextProtos = []string{"mqtt"}
			return tls.Dial("tcp", p.address("tls"), named)
		},
		"ws":  func() (net.Conn, error) { return webSocket("ws://" + p.address("ws")) },
		"wss": func() (net.Conn, error) { return webSocket("wss://" + p.address("wss")) },
	} {
		conn, err := dial()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		defer conn.Close()                         //nolint:errcheck // the broker ends it
		conn.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // reads say so
		got := make([]byte, len(connack))
		if _, err := conn.Write(connect); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, connack) {
			t.Errorf("%s answers % x, %v", name, got, err)
		}
	}
	for listener, scheme := range map[string]string{"amqp": "amqp", "amqps": "amqps", "tcp": "amqp", "tls": "amqps"} {
		conn, err := amqp.DialTLS(scheme+"://guest:guest@"+p.address(listener), secure)
		if err != nil {
			t.Errorf("%s: %v", scheme, err)
			continue
		}
		defer conn.Close() //nolint:errcheck // the broker ends it
	}
	connections, err := p.api("guest", "guest").Connections(t.Context())
	encrypted := 0
	for _, c := range connections {
		if c.TLS {
			encrypted++
		}
	}
	if err != nil || len(connections) != 12 || encrypted != 5 {
		t.Errorf("connections %+v, %v", connections, err)
	}
	p.stop() // with all of them open
}

// TestObjectsSurviveEveryEnd: a stop, and a kill.
func TestObjectsSurviveEveryEnd(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--data", dir, "--listen", anyHTTP, "--user", "root:pw"}
	first := start(t, args...)
	queue, err := object.New(object.KindQueue, "/", "q", object.QueueSpec{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	before, err := first.api("root", "pw").Apply(t.Context(), client.ApplyRequest{Owner: "op", Changes: []object.Change{{Object: queue}}})
	if err != nil {
		t.Fatal(err)
	}
	first.signal(syscall.SIGKILL)
	if code := first.end(); code != -1 {
		t.Fatalf("exit code %d after SIGKILL", code)
	}
	for _, again := range []string{"after a kill", "after a stop"} {
		p := start(t, args...)
		list, err := p.api("root", "pw").Objects(t.Context(), "op", "")
		if err != nil || len(list.Objects) != 1 || list.Objects[0].Name != "q" || list.Revision != before.Revision || list.Incarnation != before.Incarnation {
			t.Errorf("%s there is %+v, %v; revision was %d of %s", again, list, err, before.Revision, before.Incarnation)
		}
		p.stop()
	}
}

// TestStopEndsWatches: a stop does not wait for who watches.
func TestStopEndsWatches(t *testing.T) {
	p := start(t, "--data", t.TempDir(), "--listen", anyHTTP)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := p.api("guest", "guest").Watch(ctx, 1, func(client.Event) error {
		p.signal(syscall.SIGTERM)
		return nil
	})
	if err == nil || ctx.Err() != nil {
		t.Errorf("watch ended with %v", err)
	}
	if code := p.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestSecondSignalEndsAtOnce: while the first one drains. A request that does not come to its end holds that up.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := start(t, "--data", t.TempDir(), "--listen", anyHTTP)
	conn, err := net.Dial("tcp", p.address("http"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the broker ends it
	if _, err := conn.Write([]byte("GET /healthz HT")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.api("guest", "guest").Ready(t.Context()); err != nil { // the other connection has been accepted before
		t.Fatal(err)
	}
	p.signal(syscall.SIGTERM)
	p.await("stopping")
	p.signal(syscall.SIGTERM)
	if code := p.end(); code != exitFailed {
		t.Errorf("exit code %d, wanted %d; log: %v", code, exitFailed, p.past)
	}
}

// TestStopCutsWhoDoesNotEnd: clients that do not react do not hold up a stop.
func TestStopCutsWhoDoesNotEnd(t *testing.T) {
	p := start(t, "--data", t.TempDir(), "--listen", anyHTTP, "--listen", "mqtt://127.0.0.1:0", "--listen", "amqp://127.0.0.1:0")
	for scheme, hello := range map[string][]byte{"mqtt": connect, "amqp": []byte("AMQP\x00\x00\x09\x01"), "http": []byte("GET ")} {
		conn, err := net.Dial("tcp", p.address(scheme))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()                         //nolint:errcheck // the broker ends it
		conn.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // reads say so
		if _, err := conn.Write(hello); err != nil {
			t.Fatal(err)
		}
		if scheme != "http" {
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatalf("%s: %v", scheme, err)
			}
		}
	}
	const promised = 10 * time.Second
	began := time.Now()
	p.stop()
	if took := time.Since(began); took > promised {
		t.Errorf("stop took %v, %v was promised", took, promised)
	}
}

// TestDefinitions moves what RabbitMQ exported into a broker by its configuration, out of it, and into another one by the
// command line.
func TestDefinitions(t *testing.T) {
	dir := t.TempDir()
	file, config := filepath.Join(dir, "definitions.json"), filepath.Join(dir, "turnstone.yaml")
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, `{"rabbit_version": "3.12.1", "vhosts": [{"name": "/"}], "queues": [
		{"name": "orders", "vhost": "/", "durable": true, "auto_delete": false, "arguments": {"x-queue-mode": "lazy"}},
		{"name": "log", "vhost": "/", "durable": true, "auto_delete": false, "arguments": {"x-queue-type": "stream"}}],
		"policies": [{"vhost": "/", "name": "cap", "pattern": "^orders$", "apply-to": "queues", "priority": 0, "definition": {"max-length": 10}}]}`)
	write(config, "definitions: "+file+"\n")
	first := start(t, "--config", config, "--data", t.TempDir(), "--listen", anyHTTP)
	queues := func(p *process) []client.QueueState {
		t.Helper()
		got, err := p.api("guest", "guest").Queues(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := queues(first); len(got) != 1 || got[0].Name != "orders" || got[0].Policy != "cap" {
		t.Errorf("queues %+v", got)
	}
	run := func(p *process, args ...string) string {
		t.Helper()
		out, err := command(append([]string{"definitions", args[0], "--url", "http://" + p.address("http")}, args[1:]...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	exported := filepath.Join(dir, "exported.json")
	write(exported, run(first, "export"))
	second := start(t, "--data", t.TempDir(), "--listen", anyHTTP)
	if got := run(second, "import", "--dry-run", exported); got != "2 would be created, 0 would be updated, 1 unchanged, 0 not taken over\n" {
		t.Errorf("dry run printed %q", got)
	}
	if len(queues(second)) != 0 {
		t.Error("a dry run made queues")
	}
	if got := run(second, "import", exported); got != "2 created, 0 updated, 1 unchanged, 0 not taken over\n" {
		t.Errorf("import printed %q", got)
	}
	if got := queues(second); len(got) != 1 || got[0].Policy != "cap" {
		t.Errorf("queues %+v", got)
	}
	want := "not taken over: queues[1] \"log\" in \"/\": streams do not exist\n0 created, 0 updated, 3 unchanged, 1 not taken over\n"
	if got := run(second, "import", file); got != want {
		t.Errorf("import printed %q, not %q", got, want)
	}
}
