package hub

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// ClientEvent says what happened to a client, as JSON below $events/clients. The endpoint fills in what it knows; virtual
// host, time and version are the hub's.
type ClientEvent struct {
	Kind        object.EventKind `json:"event"`
	ClientID    string           `json:"clientId"`
	User        string           `json:"user"`
	VirtualHost string           `json:"vhost"`
	Protocol    string           `json:"protocol"`
	Address     string           `json:"address"`    // of the client
	Connection  uint64           `json:"connection"` // as in GET /v1/connections
	Time        time.Time        `json:"time"`
	// Version grows from event to event, also over a restart of the broker: of two events the later one has the higher
	// version, in whatever order they arrive.
	Version int64 `json:"version"`
	// One of these says more, or none.
	*Connected
	*Disconnected
	*Subscribed
}

// Connected says how an MQTT client connected.
type Connected struct {
	CleanStart           bool   `json:"cleanStart"`
	SessionPresent       bool   `json:"sessionPresent"`
	SessionExpirySeconds uint32 `json:"sessionExpirySeconds"`
	KeepAliveSeconds     uint16 `json:"keepAliveSeconds"`
}

// Disconnected says how a connection ended. The code is one of the client's protocol.
type Disconnected struct {
	Reason DisconnectReason `json:"reason"`
	Code   int              `json:"reasonCode"`
	Text   string           `json:"text,omitempty"`
}

// DisconnectReason is why a connection ended, in the same words for all protocols.
type DisconnectReason string

// The reasons.
const (
	ByClient       DisconnectReason = "client"          // it said so
	ConnectionLost DisconnectReason = "connection-lost" // without a word
	KeepAlive      DisconnectReason = "keep-alive"      // it was silent for too long
	TakenOver      DisconnectReason = "taken-over"      // the client connected again
	ProtocolError  DisconnectReason = "protocol-error"  // the client broke the protocol or a limit
	OverRate       DisconnectReason = "rate"            // it sent more than it may
	Revoked        DisconnectReason = "revoked"         // its user may no longer connect
	Stopping       DisconnectReason = "stopping"        // the broker stops
	Failed         DisconnectReason = "error"           // anything else
)

// Subscribed is a subscription that began or ended; QoS is nil for one that ended.
type Subscribed struct {
	Filter string `json:"filter"`
	QoS    *uint8 `json:"qos,omitempty"`
}

// eventMask is a set of kinds of events, by their place in object.EventKinds.
func eventMask(kinds ...object.EventKind) (m uint32) {
	for _, k := range kinds {
		if i := slices.Index(object.EventKinds, k); i >= 0 {
			m |= 1 << i
		}
	}
	return m
}

// Tells says whether events of a kind are published in the virtual host.
func (v *VirtualHost) Tells(k object.EventKind) bool {
	told := v.tells.Load()
	return told != 0 && told&eventMask(k) != 0
}

// Tell publishes an event, soon: it never blocks, and when too many wait, the event is dropped and counted. Whoever calls
// has asked Tells.
func (v *VirtualHost) Tell(e ClientEvent) {
	h := v.hub
	now := h.now()
	e.VirtualHost, e.Time = v.name, time.UnixMilli(now).UTC()
	if !h.events.put(now, told{v, e}) {
		h.stats.EventsDropped.add(1)
	}
}

// told is an event on its way.
type told struct {
	host  *VirtualHost
	event ClientEvent
}

// events are those that wait to be published, in the order of their versions.
type events struct {
	mu      sync.Mutex
	filled  sync.Cond
	list    []told // guarded by mu
	version int64  // guarded by mu; the last one that was given
	closed  bool   // guarded by mu

	ended chan struct{} // closed when nothing is published any more
}

const (
	// mostEvents is how many may wait: what thirty thousand clients have to say who all connect again at once.
	mostEvents = 1 << 16
	// eventPatience is how long a stop waits for the last events to be published.
	eventPatience = 2 * time.Second
)

func newEvents() *events {
	e := &events{ended: make(chan struct{})}
	e.filled.L = &e.mu
	return e
}

// put gives an event its version, which is the time in microseconds, or one more than the last. So nothing has to be kept
// for it, as long as the broker does not have more than a million events a second and its clock is not behind after a
// restart.
func (e *events) put(now int64, t told) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.list) >= mostEvents {
		return false
	}
	e.version = max(e.version+1, now*1000)
	t.event.Version = e.version
	e.list = append(e.list, t)
	e.filled.Signal()
	return true
}

// take waits for events; nil says that there will be none. It reuses last, unless a storm has made that large.
func (e *events) take(last []told) []told {
	const usual = 1024
	clear(last)
	if cap(last) > usual {
		last = nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.list) == 0 {
		if e.closed {
			return nil
		}
		e.filled.Wait()
	}
	list := e.list
	e.list = last[:0]
	return list
}

// close lets what waits be published, within a bounded time, and refuses what comes later.
func (e *events) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.filled.Signal()
	t := time.NewTimer(eventPatience)
	defer t.Stop()
	select {
	case <-e.ended:
	case <-t.C: // a shard takes nothing
	}
}

// publishEvents publishes events until they are closed. It is the only one to use the announcers of virtual hosts.
func (h *Hub) publishEvents() {
	defer close(h.events.ended)
	var list []told
	for list = h.events.take(list); list != nil; list = h.events.take(list) {
		for _, t := range list {
			payload, err := json.Marshal(t.event)
			if err != nil {
				panic(fmt.Sprintf("event %+v is not plain data: %v", t.event, err))
			}
			if t.host.announcer == nil {
				t.host.announcer = t.host.NewAnnouncer()
			}
			t.host.announcer.Tell(eventTopic(t.event), string(payload), h.jsonProperties)
			h.stats.EventsPublished.add(1)
		}
	}
}

// eventTopic is $events/clients/CLIENT/KIND.
func eventTopic(e ClientEvent) string {
	return eventTopics + "clients/" + topicLevel(e.ClientID) + "/" + string(e.Kind)
}

// longestLevel bounds what a client id takes of a topic.
const longestLevel = 1024

// topicLevel makes one level of a topic out of a client id, which may hold anything: what has a meaning in topics, filters
// and patterns, control characters, and % itself are written as % and two hexadecimal digits. A level that becomes too
// long is cut.
func topicLevel(id string) string {
	var b strings.Builder
	for i := 0; i < len(id) && b.Len() <= longestLevel; i++ {
		if c := id[i]; c < ' ' || c == 0x7f || strings.IndexByte("/+#*%", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	level := b.String()
	if len(level) > longestLevel {
		level = strings.ToValidUTF8(level[:longestLevel], "")
	}
	return level
}
