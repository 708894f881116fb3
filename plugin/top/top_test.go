package top

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"

	admin "github.com/turnstone-mq/turnstone/broker/admin/client"
)

func looks() (before, now Sample) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	before = Sample{At: at, Queues: []admin.QueueState{
		{VirtualHost: "/", Name: "a", Ready: 5, Published: 100, Delivered: 50, Settled: 10}, {VirtualHost: "/", Name: "again", Published: 1000},
	}}
	now = Sample{At: at.Add(2 * time.Second), Queues: []admin.QueueState{
		{VirtualHost: "/", Name: "a", Ready: 7, Bytes: 70, Published: 105, Delivered: 60, Settled: 10, Consumers: 1},
		{VirtualHost: "/", Name: "again", Published: 5},
		{VirtualHost: "v", Name: "new", Ready: 3, Unacked: 9, Bytes: 9, Published: 500},
	}, Connections: []admin.ConnectionState{{ID: 3, Protocol: "mqtt", VirtualHost: "/", User: "app", ClientID: "c1", Peer: "10.0.0.1:5", TLS: true, Since: at}}}
	return before, now
}

func TestBetween(t *testing.T) {
	before, now := looks()
	for _, c := range []struct {
		view View
		want string
	}{
		{View{Order: ByDepth}, "new 12 0 0; a 7 2.5 5; again 0 0 0; "},
		{View{Order: ByBytes}, "a 7 2.5 5; new 12 0 0; again 0 0 0; "},
		{View{Order: ByIn, Most: 1}, "a 7 2.5 5; "},
		{View{Order: ByName, VHost: "/"}, "a 7 2.5 5; again 0 0 0; "},
	} {
		p := c.view.Between(before, now)
		var got strings.Builder
		for _, q := range p.Queues {
			fmt.Fprintf(&got, "%s %d %s %s; ", q.Name, q.Ready+q.Unacked, rateText(q.In), rateText(q.Out))
		}
		if got.String() != c.want {
			t.Errorf("%+v: %s, wanted %s", c.view, got.String(), c.want)
		}
	}
	p := View{}.Between(before, now)
	if got, want := p.Summary(), "1 connections, 3 queues, 10 ready, 9 unacknowledged, 2.5 in/s, 5 out/s"; got != want {
		t.Errorf("summary %q, wanted %q", got, want)
	}
	if first := (View{}).Between(Sample{}, now); first.Totals.In != 0 {
		t.Errorf("a first look has a rate: %+v", first.Totals)
	}
}

// text is what the device shows.
func text(device tcell.SimulationScreen) string {
	cells, width, _ := device.GetContents()
	var b strings.Builder
	for i, c := range cells {
		if i%width == 0 {
			b.WriteByte('\n')
		}
		b.WriteString(string(c.Runes))
	}
	return b.String()
}

// TestScreen: the live table shows what a look found, follows keys, tells of what fails, and ends.
func TestScreen(t *testing.T) {
	before, now := looks()
	device := tcell.NewSimulationScreen("UTF-8")
	s := NewScreen("ns/broker", View{Order: ByDepth}, device)
	if err := device.Init(); err != nil {
		t.Fatal(err)
	}
	device.SetSize(110, 12)
	asked := 0
	look := func(context.Context) (Sample, error) {
		asked++
		switch asked {
		case 1:
			return before, nil
		case 2:
			return now, nil
		}
		return Sample{}, errors.New("it went away")
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context(), time.Millisecond, look) }() // ends with the key q
	await := func(wanted ...string) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			shown := make(chan string, 1)
			go s.app.QueueUpdate(func() { shown <- text(device) }) // ends when the application draws
			var is string
			select {
			case is = <-shown:
			case <-deadline:
				t.Fatal("the screen does not draw")
			}
			missing := ""
			for _, w := range wanted {
				if !strings.Contains(is, w) {
					missing = w
				}
			}
			if missing == "" {
				return
			}
			select {
			case <-deadline:
				t.Fatalf("%q is not on the screen:%s", missing, is)
			default:
			}
		}
	}
	await("ns/broker", "no answer: it went away", "new", "2.5 in/s", "queues by depth")
	device.InjectKey(tcell.KeyRune, 'o', tcell.ModNone)
	await("queues by bytes")
	device.InjectKey(tcell.KeyTab, 0, tcell.ModNone)
	await("10.0.0.1:5", "CLIENT", "Tab queues")
	device.InjectKey(tcell.KeyRune, 'q', tcell.ModNone)
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("q does not end it")
	}
}
