package server

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"slices"

	"github.com/coder/websocket"
)

// webSocketProtocols are the names under which protocols run over WebSocket: MQTT 3.1.1 and 5, MQTT 3.1, and AMQP 1.0.
var webSocketProtocols = map[string]string{"mqtt": protocolMQTT, "mqttv3.1": protocolMQTT, "amqp": protocolAMQP10}

// webSocket upgrades requests and serves on them what they name.
func (s *Server) webSocket(scheme string) http.Handler {
	settings := s.options.Config.WebSocket
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if settings.Path != "" && r.URL.Path != settings.Path {
			http.NotFound(w, r)
			return
		}
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			Subprotocols: slices.Sorted(maps.Keys(webSocketProtocols)), // [MQTT-6.0.0-4]
			// Unless origins are named, any page may connect: a client is authenticated by what the page sends, never by what
			// the browser remembers.
			InsecureSkipVerify: len(settings.Origins) == 0,
			OriginPatterns:     settings.Origins,
			CompressionMode:    websocket.CompressionDisabled,
		})
		if err != nil {
			s.logger.Debug("WebSocket was not opened", "scheme", scheme, "peer", r.RemoteAddr, "error", err)
			return // Accept has answered
		}
		protocol := webSocketProtocols[ws.Subprotocol()]
		if protocol == "" { // [MQTT-6.0.0-3]
			ws.Close(websocket.StatusPolicyViolation, "subprotocol must be mqtt, mqttv3.1 or amqp") //nolint:errcheck // refused
			return
		}
		// A message is no packet: a packet may come in parts, and one message may bring many. [MQTT-6.0.0-2]
		ws.SetReadLimit(int64(s.hub.Config().Limits.PacketBytes))
		conn := websocket.NetConn(context.Background(), ws, websocket.MessageBinary)      // [MQTT-6.0.0-1]
		s.endpoints[protocol].Serve(&webSocketConn{Conn: conn, secure: r.TLS}, func() {}) // which cannot sleep: it returns with the end
	})
}

// webSocketConn is a connection over WebSocket with the state of the TLS below it.
type webSocketConn struct {
	net.Conn
	secure *tls.ConnectionState
}

// TLS is the state of the encryption; nil when there is none.
func (c *webSocketConn) TLS() *tls.ConnectionState { return c.secure }
