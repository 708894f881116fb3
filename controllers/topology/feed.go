package topology

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/turnstone-mq/turnstone/api/v1alpha1"
)

// feed brings the objects of all kinds from the API server into the index. It is a source of the controller, in place of the
// manager's cache: that keeps every object as Go structures, which is four times as much, and hands out a copy of each.
// It lists by pages, one kind after the other, so that not all objects are in memory at once.
type feed struct {
	api        client.WithWatch
	lists      rest.Interface
	index      *index
	namespaces []string // "" is all
	synced     chan struct{}
}

// listing is a client for lists of our kinds, which answers what the API server sends.
func listing(m ctrl.Manager) (rest.Interface, error) {
	c := rest.CopyConfig(m.GetConfig())
	c.APIPath, c.GroupVersion, c.NegotiatedSerializer = "/apis", &v1alpha1.GroupVersion, serializer.NewCodecFactory(m.GetScheme()).WithoutConversion()
	c.AcceptContentTypes, c.ContentType = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	lists, err := rest.RESTClientForConfigAndClient(c, m.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("client of lists: %w", err)
	}
	return lists, nil
}

// pageSize is how many objects are listed in a call.
const pageSize = 250

// retryAfter is how long a failed list or watch waits.
const retryAfter = time.Second

// Start implements source.Source. The goroutines end with ctx.
func (f *feed) Start(ctx context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	f.index.wakes(q)
	go f.run(ctx) // ends with ctx
	return nil
}

// WaitForSync implements source.SyncingSource: it returns when every object was listed once.
func (f *feed) WaitForSync(ctx context.Context) error {
	select {
	case <-f.synced:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("list topology objects: %w", ctx.Err())
	}
}

func (f *feed) run(ctx context.Context) {
	var following sync.WaitGroup
	for k := range kinds { // a Permission names a User, which is known then
		for _, n := range f.namespaces {
			o := &origin{feed: f, kind: k, namespace: n}
			if !o.listed(ctx) {
				return
			}
			following.Go(func() { o.follow(ctx) }) // ends with ctx
		}
	}
	close(f.synced)
	following.Wait()
}

// origin is one kind in one namespace.
type origin struct {
	*feed
	kind      int
	namespace string

	version string // where the watch goes on
	epoch   uint8  // counts lists
}

// listed lists until that succeeds; false when ctx ended first.
func (o *origin) listed(ctx context.Context) bool {
	for {
		err := o.list(ctx)
		if err == nil {
			return true
		}
		if !o.pause(ctx, err) {
			return false
		}
	}
}

func (o *origin) pause(ctx context.Context, err error) bool {
	if ctx.Err() == nil {
		log.FromContext(ctx).Error(err, "objects are not seen, trying again", "kind", kinds[o.kind].name, "namespace", o.namespace)
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(retryAfter):
		return true
	}
}

// list reads all objects, and forgets those that are no more. While one page is taken in, the API server makes the next one.
func (o *origin) list(ctx context.Context) error {
	o.epoch++
	ctx, cancel := context.WithCancel(ctx)
	pages := make(chan *page, 1)
	read := make(chan error, 1)
	go func() { // ends when the last page was taken, or with ctx
		defer close(pages)
		read <- o.read(ctx, pages)
	}()
	err := o.take(pages)
	cancel()
	for range pages { //nolint:revive // until the goroutine has ended
	}
	if err == nil {
		err = <-read
	}
	if err != nil {
		return fmt.Errorf("list %s objects: %w", kinds[o.kind].name, err)
	}
	o.index.sweep(o.kind, o.namespace, o.epoch)
	return nil
}

// read hands out pages, one after the other.
func (o *origin) read(ctx context.Context, pages chan<- *page) error {
	next := ""
	for {
		p, err := o.page(ctx, next)
		if err != nil {
			return err
		}
		select {
		case pages <- p:
		case <-ctx.Done():
			return ctx.Err()
		}
		if next = p.next; next == "" {
			o.version = p.version
			return nil
		}
	}
}

// page asks for one page.
func (o *origin) page(ctx context.Context, next string) (*page, error) {
	k := &kinds[o.kind]
	body, err := o.lists.Get().NamespaceIfScoped(o.namespace, o.namespace != "").Resource(k.plural).
		Param("limit", strconv.Itoa(pageSize)).Param("continue", next).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close() //nolint:errcheck // it was read only
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	return newPage(text)
}

// take puts pages into the index.
func (o *origin) take(pages <-chan *page) error {
	k := &kinds[o.kind]
	for p := range pages {
		for _, item := range p.items {
			t := k.sample.DeepCopyObject().(v1alpha1.Topology)
			if err := json.Unmarshal(withoutManagedFields(item), t); err != nil {
				return err
			}
			if err := o.index.put(o.kind, t, o.epoch); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow watches from where the list ended, and lists again when the API server does not go back that far.
func (o *origin) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := o.watch(ctx)
		switch {
		case err == nil: // watches end after some time
		case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
			if !o.listed(ctx) {
				return
			}
		default:
			if !o.pause(ctx, err) {
				return
			}
		}
	}
}

func (o *origin) watch(ctx context.Context) error {
	k := &kinds[o.kind]
	lasting := int64(300 + o.kind*17) // seconds; not all at once
	w, err := o.api.Watch(ctx, k.list, &client.ListOptions{Namespace: o.namespace, Raw: &metav1.ListOptions{
		ResourceVersion: o.version, AllowWatchBookmarks: true, TimeoutSeconds: &lasting,
	}})
	if err != nil {
		return fmt.Errorf("watch %s objects: %w", k.name, err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if err := o.see(e); err != nil {
			return err
		}
	}
	return nil
}

func (o *origin) see(e watch.Event) error {
	if e.Type == watch.Error {
		return apierrors.FromObject(e.Object)
	}
	t, ok := e.Object.(v1alpha1.Topology)
	if !ok {
		return fmt.Errorf("watch %s objects: got a %T", kinds[o.kind].name, e.Object)
	}
	o.version = t.GetResourceVersion()
	switch e.Type {
	case watch.Added, watch.Modified:
		return o.index.put(o.kind, t, o.epoch)
	case watch.Deleted:
		o.index.drop(o.kind, t.GetNamespace(), t.GetName())
	}
	return nil
}
