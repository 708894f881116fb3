package hub_test

import (
	"context"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func TestVirtualHostBoundsConnections(t *testing.T) {
	b := open(t, vfs.NewMemory(), small())
	set := func(limit int) {
		t.Helper()
		o, err := object.New(object.KindVirtualHost, "", "few", object.VirtualHostSpec{MaxConnections: limit})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := b.hub.Apply(context.Background(), "", []object.Change{{Object: o}}, hub.ApplyOptions{}); err != nil || r[0].Outcome == object.Refused {
			t.Fatalf("apply: %v %v", r, err)
		}
	}
	set(1)
	v, err := b.hub.Enter("few")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.hub.Enter("few"); hub.CodeOf(err) != hub.TooMany {
		t.Errorf("over the limit: %v", err)
	}
	v.Leave()
	if _, err := b.hub.Enter("few"); err != nil {
		t.Errorf("after one left: %v", err)
	}
	set(0)
	if _, err := b.hub.Enter("few"); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}
