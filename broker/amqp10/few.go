package amqp10

import "iter"

// few is a map for what is mostly a handful, as the sessions of a connection and the links of a session are: so many lie in a
// slice, which takes a fifth of the memory. The zero value is empty.
type few[K comparable, V any] struct {
	list []pair[K, V] // while there is no many
	many map[K]V      // of more than mostFew at some time
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

// mostFew is how many are looked through faster than a map finds one of them.
const mostFew = 8

// get answers the value of a key, or the zero value.
func (f *few[K, V]) get(key K) (v V) {
	if f.many != nil {
		return f.many[key]
	}
	for i := range f.list {
		if f.list[i].key == key {
			return f.list[i].value
		}
	}
	return v
}

// set gives a key its value.
func (f *few[K, V]) set(key K, v V) {
	if f.many != nil {
		f.many[key] = v
		return
	}
	for i := range f.list {
		if f.list[i].key == key {
			f.list[i].value = v
			return
		}
	}
	if len(f.list) < mostFew {
		f.list = append(f.list, pair[K, V]{key, v})
		return
	}
	f.many = make(map[K]V, 2*mostFew)
	for _, p := range f.list {
		f.many[p.key] = p.value
	}
	f.many[key], f.list = v, nil
}

// remove forgets a key.
func (f *few[K, V]) remove(key K) {
	delete(f.many, key)
	for i := range f.list {
		if f.list[i].key == key {
			last := len(f.list) - 1
			f.list[i], f.list[last] = f.list[last], pair[K, V]{}
			f.list = f.list[:last]
			return
		}
	}
}

// clear forgets all.
func (f *few[K, V]) clear() { f.list, f.many = nil, nil }

// all are the keys and their values, in no order. The one at hand may be removed meanwhile.
func (f *few[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for k, v := range f.many {
			if !yield(k, v) {
				return
			}
		}
		for i := len(f.list) - 1; i >= 0; i-- {
			if i < len(f.list) && !yield(f.list[i].key, f.list[i].value) {
				return
			}
		}
	}
}
