package hub

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnstone-mq/turnstone/broker/auth"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/journal/vfs"
	"github.com/turnstone-mq/turnstone/broker/object"
)

func TestHungDiskEndsTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, fatal := vfs.NewFaulty(vfs.NewMemory()), make(chan error, 1)
		c := config.Default()
		c.Storage.SegmentBytes, c.Limits.MessageBytes = 1<<20, 256<<10
		h, err := Open(Options{Config: c, FS: disk, Dir: "data", Fatal: func(err error) { fatal <- err }})
		if err != nil {
			t.Fatal(err)
		}
		access, err := h.Authority().Authenticate(t.Context(), auth.Credentials{User: "guest", Password: "guest", Peer: netip.MustParseAddr("127.0.0.1"), VirtualHost: "/"})
		if err != nil {
			t.Fatal(err)
		}
		v, err := h.VirtualHost("/")
		if err != nil {
			t.Fatal(err)
		}
		hang, began := make(chan struct{}), time.Now()
		disk.Inject(vfs.Fault{Op: vfs.OpSync, Times: 1, Hang: hang})
		declared := make(chan error, 1)
		go func() { // ends when the disk goes on
			_, err := v.DeclareQueue(context.Background(), access, QueueDeclaration{Name: "q", Spec: object.QueueSpec{Durable: true}})
			declared <- err
		}()
		err = <-fatal
		if after := time.Since(began); after < hungSync || after > hungSync+5*time.Second || !strings.Contains(err.Error(), "fsync") {
			t.Errorf("after %v: %v", after, err)
		}
		close(hang)
		if err := errors.Join(<-declared, h.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
}
