package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
)

// broker is a process, in place of the pod of a MessageBroker.
type broker struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	client *admin.Client
}

func (p *broker) end() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-p.ended
}

// declare makes a MessageBroker.
func (b *bench) declare(ctx context.Context, namespace string) error {
	mb := &v1alpha1.MessageBroker{}
	mb.Namespace, mb.Name = namespace, "broker"
	return b.api.Create(ctx, mb)
}

// secret waits for a Secret of the operator.
func (b *bench) secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	s := &corev1.Secret{}
	for deadline := time.Now().Add(time.Minute); ; {
		err := b.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s)
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return s, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// serve runs the broker of a MessageBroker with the password and the certificate that the operator made for it.
func (b *bench) serve(ctx context.Context, namespace string) (*broker, error) {
	login, err := b.secret(ctx, namespace, "broker-admin")
	if err != nil {
		return nil, err
	}
	server, err := b.secret(ctx, namespace, "broker-tls")
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(server.Data[corev1.TLSCertKey], server.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, err
	}
	user, password := string(login.Data["username"]), string(login.Data["password"])
	p := &broker{ended: make(chan struct{})}
	p.cmd = exec.Command(b.options.broker, "serve", "--log-format", "json", "--data", filepath.Join(b.dir, namespace),
		"--listen", "http://127.0.0.1:0", "--user", user+":"+password)
	log, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	address := make(chan string, 1)
	go func() { // ends with the process
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var line struct{ Msg, HTTP string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
				address <- line.HTTP
			}
		}
		p.cmd.Wait() //nolint:errcheck // it is killed
		close(p.ended)
	}()
	b.brokers = append(b.brokers, p)
	select {
	case a := <-address:
		p.client, err = admin.New(admin.Options{URL: "http://" + a, User: user, Password: password})
		if err != nil {
			return nil, err
		}
		b.proxy.lead(host(namespace), certificate, a)
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("the broker of %s ended", namespace)
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("the broker of %s is not ready", namespace)
	}
}

// host is where the operator looks for the admin API of a broker.
func host(namespace string) string { return fmt.Sprintf("broker.%s.svc:15671", namespace) }

// proxy is the way from the operator to the brokers: it takes CONNECT, speaks TLS in the broker's place, and counts.
type proxy struct {
	listener net.Listener
	server   *http.Server

	mu    sync.Mutex
	hosts map[string]*way
	calls map[string]int // by method and path
	first map[string]time.Time
}

// way leads to one broker.
type way struct {
	config  *tls.Config
	handler http.Handler
	silent  bool // it takes connections and says nothing
}

func newProxy() (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, hosts: make(map[string]*way)}
	p.reset()
	p.server = &http.Server{Handler: http.HandlerFunc(p.connect), ReadHeaderTimeout: time.Minute}
	go p.server.Serve(l) //nolint:errcheck // ends with close
	return p, nil
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() }

func (p *proxy) close() { p.server.Close() } //nolint:errcheck // it ends with the program

func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls, p.first = make(map[string]int), make(map[string]time.Time)
}

// lead says where a host's broker is.
func (p *proxy) lead(host string, certificate tls.Certificate, address string) {
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	forward.FlushInterval = -1 // a watch is a stream
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.silent(host) { // also on a connection that there was before
			<-r.Context().Done()
			return
		}
		p.count(r)
		forward.ServeHTTP(w, r)
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts[host] = &way{config: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}, handler: counted}
}

// silence makes a host one that takes connections and says nothing.
func (p *proxy) silence(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts[host] = &way{silent: true}
}

func (p *proxy) silent(host string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hosts[host].silent
}

func (p *proxy) count(r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	what := r.Method + " " + r.URL.Path
	if p.calls[what]++; p.calls[what] == 1 {
		p.first[what] = time.Now()
	}
}

// counts are the calls since the last reset, without those by which the operator asks whether a broker is well.
func (p *proxy) counts() (all int, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var parts []string
	for what, n := range p.calls {
		if strings.Contains(what, "/readyz") || strings.Contains(what, "/safe-to-stop") {
			continue
		}
		all += n
		parts = append(parts, fmt.Sprintf("%d %s", n, what))
	}
	return all, strings.Join(parts, ", ")
}

// since waits for the first call of a path.
func (p *proxy) since(ctx context.Context, what string) (time.Time, error) {
	for ctx.Err() == nil {
		p.mu.Lock()
		at, ok := p.first[what]
		p.mu.Unlock()
		if ok {
			return at, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Time{}, ctx.Err()
}

// connect takes one connection to a broker.
func (p *proxy) connect(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	to := p.hosts[r.Host]
	p.mu.Unlock()
	if r.Method != http.MethodConnect || to == nil {
		http.Error(w, "no such broker", http.StatusBadGateway)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
	if to.silent {
		io.Copy(io.Discard, conn) //nolint:errcheck // until whoever connected gives up
		conn.Close()              //nolint:errcheck // nobody to tell
		return
	}
	one := &once{conn: conn, done: make(chan struct{})}
	served := &http.Server{Handler: to.handler, TLSConfig: to.config, ReadHeaderTimeout: time.Minute, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			one.end()
		}
	}}
	served.ServeTLS(one, "", "") //nolint:errcheck // it ends with its connection
}

// once is a listener of one connection.
type once struct {
	conn    net.Conn
	mu      sync.Mutex
	done    chan struct{}
	endOnce sync.Once
}

func (o *once) end() { o.endOnce.Do(func() { close(o.done) }) }

func (o *once) Accept() (net.Conn, error) {
	o.mu.Lock()
	c := o.conn
	o.conn = nil
	o.mu.Unlock()
	if c != nil {
		return c, nil
	}
	<-o.done
	return nil, net.ErrClosed
}

func (o *once) Close() error   { return nil }
func (o *once) Addr() net.Addr { return &net.TCPAddr{} }
