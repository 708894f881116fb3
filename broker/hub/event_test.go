package hub

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

func TestVersionsOfEventsGrow(t *testing.T) {
	e := newEvents()
	var last int64
	for _, now := range []int64{1000, 1000, 1001, 999, 5, 2000, 2000} { // a clock may stand still and go back
		if !e.put(now, told{}) {
			t.Fatal("no room")
		}
		v := e.list[len(e.list)-1].event.Version
		if v <= last || now == 2000 && v < 2_000_000 {
			t.Errorf("version %d at %d after %d", v, now, last)
		}
		last = v
	}
}

func TestEventsAreBounded(t *testing.T) {
	e := newEvents()
	for i := range mostEvents {
		if !e.put(int64(i), told{}) {
			t.Fatalf("no room for event %d", i)
		}
	}
	if e.put(0, told{}) {
		t.Error("there is room for one more")
	}
	if n := len(e.take(nil)); n != mostEvents {
		t.Errorf("took %d events, want %d", n, mostEvents)
	}
	if !e.put(0, told{}) {
		t.Error("no room after they were taken")
	}
	e.closed = true
	if e.put(0, told{}) {
		t.Error("takes events after it was closed")
	}
	if n := len(e.take(nil)); n != 1 || e.take(nil) != nil {
		t.Errorf("took %d events after it was closed, want the one that came before", n)
	}
}

func FuzzTopicLevel(f *testing.F) {
	for _, s := range []string{"sensor-1", "a/b+c#d%e*", "\x00\x1f\x7f", "é漢", strings.Repeat("/", 500), strings.Repeat("é", 600)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if id == "" || !utf8.ValidString(id) {
			return // no client id
		}
		e := ClientEvent{Kind: object.EventConnected, ClientID: id}
		name := eventTopic(e)
		if err := topic.CheckName(name, 4); err != nil {
			t.Fatalf("topic %q of client %q: %v", name, id, err)
		}
		if parts := strings.Split(name, "/"); len(parts) != 4 || parts[2] == "" || len(parts[2]) > longestLevel+2 {
			t.Fatalf("topic %q of client %q", name, id)
		}
	})
}

func TestTopicLevelTellsClientsApart(t *testing.T) {
	for id, want := range map[string]string{
		"sensor-1.a:b": "sensor-1.a:b", "a/b": "a%2Fb", "a%2Fb": "a%252Fb", "+": "%2B", "#": "%23", "*": "%2A", "a\tb": "a%09b", "$a é": "$a é",
	} {
		if got := topicLevel(id); got != want {
			t.Errorf("level of %q: %q, want %q", id, got, want)
		}
	}
}
