package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// SafeToStop is the answer to GET /v1/safe-to-stop: whether stopping this broker now loses nothing that was promised.
type SafeToStop struct {
	Safe    bool     `json:"safe"`
	Reasons []string `json:"reasons,omitempty"` // why not
	// Draining: clients are kept out, and those that were there have been asked to leave.
	Draining bool `json:"draining"`
	// Connections that are open and authenticated.
	Connections int `json:"connections"`
	// Ending is what ends with the process, since it was never promised to survive it: transient messages, connections.
	Ending []string `json:"ending,omitempty"`
}

// ConfigState is the answer to GET /v1/config.
type ConfigState struct {
	// Hash identifies the keys in force that need a restart to change.
	Hash string `json:"hash"`
	// Config is the configuration in force, as in the configuration file.
	Config json.RawMessage `json:"config"`
	Keys   []ConfigKey     `json:"keys"`
	// Pending are the keys that the file changed and that wait for a restart; Problem is why the file could not be read.
	Pending []string `json:"pending,omitempty"`
	Problem string   `json:"problem,omitempty"`
	// Content is the SHA-256, in hexadecimal digits, of the configuration file that is wholly in force, or of the text that was
	// put ahead of it; empty while there is none, or keys of it wait.
	Content string `json:"content,omitempty"`
}

// ConfigFile is the body of PUT /v1/config.
type ConfigFile struct {
	// Text is the configuration file as it will be.
	Text string `json:"text"`
}

// Overview is the answer to GET /v1/overview: what a broker holds, in a few numbers.
type Overview struct {
	Version     string `json:"version"`
	Connections int64  `json:"connections"` // authenticated ones
	Queues      int64  `json:"queues"`      // those of MQTT sessions included
	Consumers   int64  `json:"consumers"`
	Ready       int64  `json:"ready"`    // messages that wait in queues
	Messages    int64  `json:"messages"` // the same, and those delivered and not settled
	Bytes       int64  `json:"bytes"`    // of the messages
	Sessions    int64  `json:"sessions"` // of MQTT, connected or not
	// StorageUsed and StorageSize are bytes of the file system of the data directory; zero when it does not say.
	StorageUsed int64 `json:"storageUsed"`
	StorageSize int64 `json:"storageSize"`
}

// Overview asks what the broker holds.
func (c *Client) Overview(ctx context.Context) (Overview, error) {
	var out Overview
	return out, c.call(ctx, http.MethodGet, "/v1/overview", nil, nil, &out)
}

// ConfigKey is one key of the configuration, such as "limits.connections".
type ConfigKey struct {
	Name string `json:"name"`
	Live bool   `json:"live"` // takes effect on reload
}

// SafeToStop asks whether the broker may be stopped.
func (c *Client) SafeToStop(ctx context.Context) (SafeToStop, error) {
	var out SafeToStop
	return out, c.call(ctx, http.MethodGet, "/v1/safe-to-stop", nil, nil, &out)
}

// Drain keeps clients out and asks those that are there to leave, until Undrain or a restart.
func (c *Client) Drain(ctx context.Context) (SafeToStop, error) {
	var out SafeToStop
	return out, c.call(ctx, http.MethodPost, "/v1/drain", nil, struct{}{}, &out)
}

// Undrain lets clients in again.
func (c *Client) Undrain(ctx context.Context) (SafeToStop, error) {
	var out SafeToStop
	return out, c.call(ctx, http.MethodDelete, "/v1/drain", nil, nil, &out)
}

// Metrics asks for the metrics in the text format of Prometheus; with byQueue, for those of each queue.
func (c *Client) Metrics(ctx context.Context, byQueue bool) ([]byte, error) {
	if byQueue {
		return c.text(ctx, "/metrics/queues")
	}
	return c.text(ctx, "/metrics")
}

// Goroutines asks for what the broker's goroutines do.
func (c *Client) Goroutines(ctx context.Context) ([]byte, error) {
	return c.text(ctx, "/v1/goroutines")
}

// text asks for an answer that is not JSON.
func (c *Client) text(ctx context.Context, path string) ([]byte, error) {
	resp, err := c.send(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	return b, nil
}

// Config asks for the configuration in force.
func (c *Client) Config(ctx context.Context) (ConfigState, error) {
	var out ConfigState
	return out, c.call(ctx, http.MethodGet, "/v1/config", nil, nil, &out)
}

// TakeConfig brings a configuration file to the broker before the file itself is there. It answers what is in force then. The
// broker refuses a text that changes keys which need a restart, with http.StatusConflict and their names.
func (c *Client) TakeConfig(ctx context.Context, text string) (ConfigState, error) {
	var out ConfigState
	return out, c.call(ctx, http.MethodPut, "/v1/config", nil, ConfigFile{Text: text}, &out)
}
