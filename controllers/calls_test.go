package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

type runtimeObject = runtime.Object

// errInjected is what a call fails with.
var errInjected = errors.New("injected error")

// counter counts the calls of a client and makes the one of number failAt, counted from 1, fail.
type counter struct {
	failAt int
	failed string // which call that was

	mu     sync.Mutex
	all    int
	writes []string
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = nil
}

// calls are the writes since the last reset.
func (c *counter) calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.writes...)
}

func (c *counter) see(verb string, o any, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all++
	call := fmt.Sprintf("%s %T", verb, o)
	switch o := o.(type) {
	case *unstructured.Unstructured:
		call = fmt.Sprintf("%s %s %s", verb, o.GetKind(), o.GetName())
	case client.Object:
		call += " " + o.GetName()
	case interface{ GetKind() *string }:
		call += " " + *o.GetKind()
	}
	if write {
		c.writes = append(c.writes, call)
	}
	if c.all == c.failAt {
		c.failed = call
		return errInjected
	}
	return nil
}

// client is one whose calls are counted.
func (c *counter) client(to client.WithWatch) client.WithWatch {
	return interceptor.NewClient(to, interceptor.Funcs{
		Get: func(ctx context.Context, to client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if err := c.see("get", o, false); err != nil {
				return err
			}
			return to.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, to client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
			if err := c.see("list", l, false); err != nil {
				return err
			}
			return to.List(ctx, l, opts...)
		},
		Create: func(ctx context.Context, to client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := c.see("create", o, true); err != nil {
				return err
			}
			return to.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, to client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if err := c.see("update", o, true); err != nil {
				return err
			}
			return to.Update(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, to client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := c.see("patch", o, true); err != nil {
				return err
			}
			return to.Patch(ctx, o, p, opts...)
		},
		Apply: func(ctx context.Context, to client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if err := c.see("apply", o, true); err != nil {
				return err
			}
			return to.Apply(ctx, o, opts...)
		},
		Delete: func(ctx context.Context, to client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if err := c.see("delete", o, true); err != nil {
				return err
			}
			return to.Delete(ctx, o, opts...)
		},
		SubResourcePatch: func(ctx context.Context, to client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := c.see("patch "+sub, o, true); err != nil {
				return err
			}
			return to.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	})
}
