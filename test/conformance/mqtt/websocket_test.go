package mqtt

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/coder/websocket"
)

func (b *broker) webSocket(t *testing.T) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	ws, _, err := websocket.Dial(ctx, b.url("ws"), &websocket.DialOptions{Subprotocols: []string{"other", "mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() }) //nolint:errcheck // done with it
	return ws
}

// TestWebSocketFrames: a frame is no packet. One packet comes in as many frames as it has bytes, and then one frame has
// one and a half. A frame of text ends the connection. [MQTT-6.0.0-1], [MQTT-6.0.0-2], [MQTT-6.0.0-4]
func TestWebSocketFrames(t *testing.T) {
	b := start(t)
	ws := b.webSocket(t)
	if p := ws.Subprotocol(); p != "mqtt" {
		t.Errorf("subprotocol %q", p)
	}
	conn := websocket.NetConn(t.Context(), ws, websocket.MessageBinary)
	write := func(frame []byte) {
		t.Helper()
		if _, err := conn.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	for _, octet := range bytesOf(t, connectPacket) {
		write([]byte{octet})
	}
	write(bytesOf(t, "c0 00 82 06 0001 00"))
	write(bytesOf(t, "01 61 00 c0 00"))
	want := bytesOf(t, connackPacket+"d0 00 90 03 0001 00 d0 00")
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got % x, %v, want % x", got, err, want)
	}
	text := b.webSocket(t)
	if err := text.Write(t.Context(), websocket.MessageText, bytesOf(t, connectPacket)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := text.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("after a frame of text: %v", err)
	}
}
