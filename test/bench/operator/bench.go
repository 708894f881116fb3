package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// bench is a Kubernetes without nodes, brokers, and an operator that can be started and ended.
type bench struct {
	*report
	options options
	dir     string
	env     *envtest.Environment
	config  *rest.Config
	api     client.WithWatch
	proxy   *proxy
	brokers []*broker
}

func newBench(ctx context.Context, o options, r *report) (*bench, error) {
	dir, err := os.MkdirTemp("", "turnstone-bench-operator-")
	if err != nil {
		return nil, err
	}
	b := &bench{report: r, options: o, dir: dir, env: &envtest.Environment{CRDDirectoryPaths: []string{"config/crd/bases"}, ErrorIfCRDPathMissing: true}}
	if b.config, err = b.env.Start(); err != nil {
		b.close()
		return nil, fmt.Errorf("start etcd and kube-apiserver: %w", err)
	}
	b.config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		b.close()
		return nil, err
	}
	if b.api, err = client.NewWithWatch(b.config, client.Options{Scheme: scheme}); err != nil {
		b.close()
		return nil, err
	}
	if b.proxy, err = newProxy(); err != nil {
		b.close()
		return nil, err
	}
	return b, os.WriteFile(filepath.Join(dir, "kubeconfig"), b.env.KubeConfig, 0o600)
}

func (b *bench) close() {
	for _, p := range b.brokers {
		p.end()
	}
	if b.proxy != nil {
		b.proxy.close()
	}
	b.env.Stop()        //nolint:errcheck // it ends with the program
	os.RemoveAll(b.dir) //nolint:errcheck // a temporary directory
}

// namespace makes one.
func (b *bench) namespace(ctx context.Context, name string) error {
	n := &corev1.Namespace{}
	n.Name = name
	return b.api.Create(ctx, n)
}

// operator is a running operator.
type operator struct {
	cmd     *exec.Cmd
	metrics string
	ended   chan struct{}
	log     *bytes.Buffer // not to be read before it has ended
}

// start runs the operator.
func (b *bench) start() (*operator, error) {
	metrics, err := freeAddress()
	if err != nil {
		return nil, err
	}
	health, err := freeAddress()
	if err != nil {
		return nil, err
	}
	o := &operator{metrics: "http://" + metrics + "/metrics", ended: make(chan struct{}), log: &bytes.Buffer{}}
	o.cmd = exec.Command(b.options.operator, "--broker-image=none", "--leader-election=false", "--metrics-address="+metrics, "--health-address="+health,
		"--broker-proxy="+b.proxy.url(), "--kubeconfig="+filepath.Join(b.dir, "kubeconfig"))
	o.cmd.Stderr = o.log
	if err := o.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the operator: %w", err)
	}
	go func() { // ends with the process
		o.cmd.Wait() //nolint:errcheck // it is killed
		close(o.ended)
	}()
	return o, nil
}

// freeAddress is an address of loopback that nobody listened on a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (o *operator) end() {
	o.cmd.Process.Signal(os.Interrupt) //nolint:errcheck // it may have ended
	select {
	case <-o.ended:
	case <-time.After(20 * time.Second):
		o.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-o.ended
	}
	for line := range strings.Lines(o.log.String()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			fmt.Fprint(os.Stderr, "operator: ", line)
		}
	}
}

// memory is what the process has in memory, and had at most, in MB.
func (o *operator) memory() (now, peak float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", o.cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	of := func(key string) float64 {
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, key+":"); ok {
				kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				return kb / 1000 * 1.024
			}
		}
		return 0
	}
	return of("VmRSS"), of("VmHWM")
}

// cpu is how many seconds of CPU the process has used.
func (o *operator) cpu() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", o.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100
}

var request = regexp.MustCompile(`^rest_client_requests_total\{.*method="([A-Z]+)".*\} ([0-9.e+]+)$`)

// calls counts the calls of the Kubernetes API by method.
func (o *operator) calls() (map[string]int, error) {
	resp, err := http.Get(o.metrics)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := make(map[string]int)
	for lines := bufio.NewScanner(io.LimitReader(resp.Body, 16<<20)); lines.Scan(); {
		if m := request.FindStringSubmatch(lines.Text()); m != nil {
			n, _ := strconv.ParseFloat(m[2], 64)
			out[m[1]] += int(n)
		}
	}
	return out, nil
}

// calm waits until the operator has written nothing for a while: what it left undone the next one would do.
func (o *operator) calm(ctx context.Context) error {
	const while = 5 * time.Second
	for before := -1; ; {
		calls, err := o.calls()
		if err != nil {
			return err
		}
		writes := calls["PATCH"] + calls["POST"] + calls["PUT"]
		if writes == before {
			return nil
		}
		before = writes
		select {
		case <-time.After(while):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// heap asks the operator's runtime for what lives on its heap, in MB.
func (o *operator) heap() float64 {
	resp, err := http.Get(o.metrics)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "go_memstats_heap_alloc_bytes "); ok {
			n, _ := strconv.ParseFloat(v, 64)
			return n / 1e6
		}
	}
	return 0
}
