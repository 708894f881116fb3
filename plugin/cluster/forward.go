package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// Tunnel is an address of this machine behind which lies a port of a pod, until Close.
type Tunnel struct {
	Address string // HOST:PORT

	cancel context.CancelFunc
	ended  chan struct{}
}

// Forward opens a tunnel to a port of a pod.
func (c *Cluster) Forward(ctx context.Context, pod corev1.Pod, port int) (*Tunnel, error) {
	dialer, err := c.dialer(pod)
	if err != nil {
		return nil, fmt.Errorf("forward port %d of pod %s: %w", port, pod.Name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ctx = logr.NewContext(ctx, logr.Discard()) // how single connections end is told by those who use them
	var said complaints
	ready := make(chan struct{})
	f, err := portforward.NewOnAddressesForStreamingWithContext(ctx, dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, ready, io.Discard, &said)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("forward port %d of pod %s: %w", port, pod.Name, err)
	}
	t := &Tunnel{cancel: cancel, ended: make(chan struct{})}
	var failed error
	go func() { // ends when Close or ctx cancels, or the connection to the API server breaks
		defer close(t.ended)
		failed = f.ForwardPorts()
	}()
	select {
	case <-ready:
	case <-t.ended:
		cancel()
		if failed == nil {
			failed = fmt.Errorf("connection ended: %s", said.String())
		}
		return nil, fmt.Errorf("forward port %d of pod %s: %w", port, pod.Name, Explain(failed))
	}
	ports, err := f.GetPorts()
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("forward port %d of pod %s: %w", port, pod.Name, err)
	}
	t.Address = fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
	return t, nil
}

// dialer speaks over a WebSocket, or SPDY with an API server or a proxy that does not know that.
func (c *Cluster) dialer(pod corev1.Pod) (httpstream.Dialer, error) {
	url := c.Clientset.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	modern, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, c.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(modern, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// Close ends the tunnel and returns when it has ended.
func (t *Tunnel) Close() {
	t.cancel()
	<-t.ended
}

// complaints keeps the beginning of what the port forwarder writes about single connections.
type complaints struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *complaints) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	const most = 4 << 10
	if room := most - c.text.Len(); room > 0 {
		c.text.Write(b[:min(len(b), room)])
	}
	return len(b), nil
}

func (c *complaints) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.TrimSpace(c.text.String())
}
