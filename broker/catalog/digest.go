package catalog

import (
	"sync"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// Digest covers objects of one owner and kind.
type Digest struct {
	Count  int
	Digest string
}

// mostOwners is for how many owners digests are kept.
const mostOwners = 64

// digests keeps the sums of the objects of those owners who asked for them. Each change of an object of theirs brings its
// sums up to date, so that asking costs nothing that grows with the objects. Who asks for all owners pays for a look at
// every object instead: what clients declare, which is owned by nobody, is then not slowed down by it.
type digests struct {
	mu      sync.Mutex
	byOwner map[string]*sums
}

// sums are those of one owner's objects.
type sums map[object.Kind]*[object.Buckets]sum

type sum struct {
	count int
	total object.Sum
}

func (s sums) add(o *object.Object) error {
	n, err := o.Sum()
	if err != nil {
		return err
	}
	b := s.bucket(o.Key)
	b.count, b.total = b.count+1, b.total.Add(n)
	return nil
}

func (s sums) remove(o *object.Object) error {
	n, err := o.Sum()
	if err != nil {
		return err
	}
	b := s.bucket(o.Key)
	b.count, b.total = b.count-1, b.total.Sub(n)
	return nil
}

func (s sums) bucket(k object.Key) *sum {
	if s[k.Kind] == nil {
		s[k.Kind] = new([object.Buckets]sum)
	}
	return &s[k.Kind][k.Bucket()]
}

// change brings sums up to date; before is nil for a new object, after for one that was deleted. The state is its
// caller's alone.
func (d *digests) change(before, after *object.Object) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.byOwner) == 0 {
		return
	}
	var err error
	if before != nil {
		if s := d.byOwner[before.Owner]; s != nil {
			err = s.remove(before)
		}
	}
	if after != nil && err == nil {
		if s := d.byOwner[after.Owner]; s != nil {
			err = s.add(after)
		}
	}
	if err != nil { // who asks next looks at all objects, and is told
		d.byOwner = nil
	}
}

func (d *digests) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.byOwner = nil
}

// sumsOf answers the sums of an owner's objects, which the caller must not keep.
func (s *State) sumsOf(owner string) (sums, error) {
	d := &s.digests
	if known := d.byOwner[owner]; known != nil {
		return *known, nil
	}
	fresh := make(sums)
	for _, o := range s.objects {
		if owner == "" || o.Owner == owner {
			if err := fresh.add(o); err != nil {
				return nil, err
			}
		}
	}
	if owner != "" {
		if d.byOwner == nil || len(d.byOwner) >= mostOwners {
			d.byOwner = make(map[string]*sums)
		}
		d.byOwner[owner] = &fresh
	}
	return fresh, nil
}

// Digests are the digests of an owner's objects by kind, every kind included; an empty owner means all objects.
func (s *State) Digests(owner string) (map[object.Kind]Digest, error) {
	s.digests.mu.Lock()
	defer s.digests.mu.Unlock()
	of, err := s.sumsOf(owner)
	if err != nil {
		return nil, err
	}
	out := make(map[object.Kind]Digest, len(object.Kinds))
	for _, k := range object.Kinds {
		var all sum
		if of[k] != nil {
			for _, b := range of[k] {
				all.count, all.total = all.count+b.count, all.total.Add(b.total)
			}
		}
		out[k] = Digest{Count: all.count, Digest: all.total.String()}
	}
	return out, nil
}

// BucketDigests are the digests of an owner's objects of one kind, by bucket.
func (s *State) BucketDigests(owner string, kind object.Kind) ([]Digest, error) {
	s.digests.mu.Lock()
	defer s.digests.mu.Unlock()
	of, err := s.sumsOf(owner)
	if err != nil {
		return nil, err
	}
	out := make([]Digest, object.Buckets)
	for i := range out {
		var b sum
		if of[kind] != nil {
			b = of[kind][i]
		}
		out[i] = Digest{Count: b.count, Digest: b.total.String()}
	}
	return out, nil
}
