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
	set := func(limit int) *hub.VirtualHost {
		t.Helper()
		o, err := object.New(object.KindVirtualHost, "", "few", object.VirtualHostSpec{MaxConnections: limit})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := b.hub.Apply(context.Background(), "", []object.Change{{Object: o}}, hub.ApplyOptions{}); err != nil || r[0].Outcome == object.Refused {
			t.Fatalf("apply: %v %v", r, err)
		}
		v, err := b.hub.VirtualHost("few")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := set(1)
	if err := v.Enter(); err != nil {
		t.Fatal(err)
	}
	if err := v.Enter(); hub.CodeOf(err) != hub.TooMany {
		t.Errorf("over the limit: %v", err)
	}
	v.Leave()
	if err := v.Enter(); err != nil {
		t.Errorf("after one left: %v", err)
	}
	set(0)
	if err := v.Enter(); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}
