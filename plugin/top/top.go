// Package top turns two looks at a broker into what goes on in it: queues by depth and rate, and clients. It computes and lays out;
// screen.go shows it on a terminal. Looks come from who uses it.
package top

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
)

// Sample is one look at a broker.
type Sample struct {
	At          time.Time
	Queues      []admin.QueueState
	Connections []admin.ConnectionState
	State       admin.SafeToStop
}

// Order says which queues come first.
type Order string

// The orders.
const (
	ByDepth Order = "depth"
	ByBytes Order = "bytes"
	ByIn    Order = "in"
	ByOut   Order = "out"
	ByName  Order = "name"
)

// Orders lists them, in the order in which a key goes through them.
var Orders = []Order{ByDepth, ByBytes, ByIn, ByOut, ByName}

// Queue is a queue with its rates, in messages a second.
type Queue struct {
	VirtualHost string  `json:"vhost"`
	Name        string  `json:"name"`
	Ready       int     `json:"ready"`
	Unacked     int     `json:"unacked"`
	Bytes       int64   `json:"bytes"`
	Consumers   int     `json:"consumers"`
	In          float64 `json:"inPerSecond"`
	Out         float64 `json:"outPerSecond"`
	Settled     float64 `json:"settledPerSecond"`
}

// Totals are those of all queues.
type Totals struct {
	Connections int     `json:"connections"`
	Queues      int     `json:"queues"`
	Ready       int     `json:"ready"`
	Unacked     int     `json:"unacked"`
	Bytes       int64   `json:"bytes"`
	In          float64 `json:"inPerSecond"`
	Out         float64 `json:"outPerSecond"`
	Draining    bool    `json:"draining,omitempty"`
}

// Picture is what two looks come to.
type Picture struct {
	At          time.Time               `json:"at"`
	Totals      Totals                  `json:"totals"`
	Queues      []Queue                 `json:"queues"`
	Connections []admin.ConnectionState `json:"connections"`
}

// View says what is looked at.
type View struct {
	Order Order
	VHost string // empty is all
	Most  int    // rows; 0 is all
}

// Between is what happened between two looks; the first may be the zero value, and then there are no rates.
func (v View) Between(before, now Sample) Picture {
	seconds := 0.0
	if !before.At.IsZero() {
		seconds = now.At.Sub(before.At).Seconds()
	}
	was := make(map[[2]string]admin.QueueState, len(before.Queues))
	for _, q := range before.Queues {
		was[[2]string{q.VirtualHost, q.Name}] = q
	}
	p := Picture{At: now.At, Queues: []Queue{}, Connections: []admin.ConnectionState{}}
	for _, q := range now.Queues {
		if v.VHost != "" && q.VirtualHost != v.VHost {
			continue
		}
		old, known := was[[2]string{q.VirtualHost, q.Name}]
		rate := func(a, b uint64) float64 {
			if !known || seconds <= 0 || b < a { // it is new, or another one of that name
				return 0
			}
			return float64(b-a) / seconds
		}
		p.add(Queue{
			VirtualHost: q.VirtualHost, Name: q.Name, Ready: q.Ready, Unacked: q.Unacked, Bytes: q.Bytes, Consumers: q.Consumers,
			In: rate(old.Published, q.Published), Out: rate(old.Delivered, q.Delivered), Settled: rate(old.Settled, q.Settled),
		})
	}
	for _, c := range now.Connections {
		if v.VHost == "" || c.VirtualHost == v.VHost {
			p.Connections = append(p.Connections, c)
		}
	}
	p.Totals.Connections, p.Totals.Draining = len(p.Connections), now.State.Draining
	slices.SortFunc(p.Queues, v.Order.compare)
	if v.Most > 0 {
		p.Queues, p.Connections = p.Queues[:min(v.Most, len(p.Queues))], p.Connections[:min(v.Most, len(p.Connections))]
	}
	return p
}

func (p *Picture) add(q Queue) {
	p.Queues = append(p.Queues, q)
	t := &p.Totals
	t.Queues++
	t.Ready, t.Unacked, t.Bytes, t.In, t.Out = t.Ready+q.Ready, t.Unacked+q.Unacked, t.Bytes+q.Bytes, t.In+q.In, t.Out+q.Out
}

func (o Order) compare(a, b Queue) int {
	var first int
	switch o {
	case ByBytes:
		first = cmp.Compare(b.Bytes, a.Bytes)
	case ByIn:
		first = cmp.Compare(b.In, a.In)
	case ByOut:
		first = cmp.Compare(b.Out, a.Out)
	case ByName:
	default:
		first = cmp.Compare(b.Ready+b.Unacked, a.Ready+a.Unacked)
	}
	return cmp.Or(first, cmp.Compare(a.VirtualHost, b.VirtualHost), cmp.Compare(a.Name, b.Name))
}

// Summary is a picture in one line.
func (p Picture) Summary() string {
	t := p.Totals
	s := fmt.Sprintf("%d connections, %d queues, %d ready, %d unacknowledged, %s in/s, %s out/s", t.Connections, t.Queues, t.Ready, t.Unacked, rateText(t.In), rateText(t.Out))
	if t.Draining {
		s += ", draining"
	}
	return s
}

// QueueTable is a table of the queues.
func (p Picture) QueueTable() (header []string, rows [][]string) {
	header = []string{"VHOST", "QUEUE", "READY", "UNACKED", "BYTES", "CONSUMERS", "IN/S", "OUT/S", "ACK/S"}
	for _, q := range p.Queues {
		rows = append(rows, []string{
			q.VirtualHost, q.Name, strconv.Itoa(q.Ready), strconv.Itoa(q.Unacked), strconv.FormatInt(q.Bytes, 10), strconv.Itoa(q.Consumers),
			rateText(q.In), rateText(q.Out), rateText(q.Settled),
		})
	}
	return header, rows
}

// ConnectionTable is a table of the connections.
func (p Picture) ConnectionTable() (header []string, rows [][]string) {
	header = []string{"ID", "PROTOCOL", "VHOST", "USER", "CLIENT", "PEER", "TLS", "CHANNELS", "SINCE"}
	for _, c := range p.Connections {
		channels := ""
		if c.Channels > 0 {
			channels = strconv.Itoa(c.Channels)
		}
		rows = append(rows, []string{
			strconv.FormatUint(c.ID, 10), c.Protocol, c.VirtualHost, c.User, c.ClientID, c.Peer, strconv.FormatBool(c.TLS), channels,
			c.Since.UTC().Format("2006-01-02 15:04:05"),
		})
	}
	return header, rows
}

// rateText is a rate with what matters of it.
func rateText(r float64) string {
	if r == 0 || r >= 100 {
		return strconv.FormatFloat(r, 'f', 0, 64)
	}
	return strings.TrimSuffix(strconv.FormatFloat(r, 'f', 1, 64), ".0")
}
