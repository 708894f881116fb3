package object

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
)

// Canonical is the object's spec in the form that is compared: fields in the order of the spec type, unset ones gone,
// passwords left out. Two specs that mean the same have the same canonical bytes. Unknown fields and kinds are errors.
func (o Object) Canonical() ([]byte, error) {
	switch o.Kind {
	case KindVirtualHost:
		return canonical[VirtualHostSpec](o, nil)
	case KindUser:
		return canonical(o, (*UserSpec).forgetPasswords)
	case KindPermission:
		return canonical[PermissionSpec](o, nil)
	case KindTopicPolicy:
		return canonical[TopicPolicySpec](o, nil)
	case KindPolicy, KindOperatorPolicy:
		return canonical[PolicySpec](o, nil)
	case KindExchange:
		return canonical[ExchangeSpec](o, nil)
	case KindQueue:
		return canonical[QueueSpec](o, nil)
	case KindBinding:
		return canonical[BindingSpec](o, nil)
	}
	return nil, fmt.Errorf("%s: kind %q does not exist; there are %v", o.Key, o.Kind, Kinds)
}

func canonical[T any](o Object, strip func(*T)) ([]byte, error) {
	spec, err := Decode[T](o)
	if err != nil {
		return nil, err
	}
	if strip != nil {
		strip(&spec)
	}
	return json.Marshal(spec)
}

// Buckets is how many parts the objects of a kind are divided into, by Key.Bucket, so that who finds two digests different
// need not compare all objects.
const Buckets = 256

// Sum identifies what it was made of; a set's Sum is that of its members, added up, so that a change of one member changes
// it without a look at the others. It is no proof against somebody who makes objects up to have a certain sum.
type Sum struct{ hi, lo uint64 }

// sumOf is the first half of a SHA-256 over the parts, each with its length before it.
func sumOf(parts ...string) Sum {
	h := sha256.New()
	for _, part := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		io.WriteString(h, part) //nolint:errcheck // a hash takes everything
	}
	var out [sha256.Size]byte
	h.Sum(out[:0])
	return Sum{binary.BigEndian.Uint64(out[:]), binary.BigEndian.Uint64(out[8:])}
}

// Add answers the sum with another one in it, Sub the sum without it. Both are modulo 2^128.
func (s Sum) Add(o Sum) Sum {
	lo, carry := bits.Add64(s.lo, o.lo, 0)
	hi, _ := bits.Add64(s.hi, o.hi, carry)
	return Sum{hi, lo}
}

// Sub is the reverse of Add.
func (s Sum) Sub(o Sum) Sum {
	lo, borrow := bits.Sub64(s.lo, o.lo, 0)
	hi, _ := bits.Sub64(s.hi, o.hi, borrow)
	return Sum{hi, lo}
}

// String is the sum as a digest: 32 hexadecimal digits.
func (s Sum) String() string { return fmt.Sprintf("%016x%016x", s.hi, s.lo) }

// Sum identifies a key.
func (k Key) Sum() Sum { return sumOf(string(k.Kind), k.VirtualHost, k.Name) }

// Bucket is the part of its kind in which an object is: the first byte of its key's sum.
func (k Key) Bucket() int { return k.Sum().Bucket() }

// Bucket of the sum of a key.
func (s Sum) Bucket() int { return int(s.hi >> 56) }

// Sum identifies an object as it is wished: its key, its ref and its canonical spec take part; owner, revision, id and
// passwords do not.
func (o Object) Sum() (Sum, error) {
	spec, err := o.Canonical()
	if err != nil {
		return Sum{}, err
	}
	return sumOf(string(o.Kind), o.VirtualHost, o.Name, o.Ref, string(spec)), nil
}

// Digest is a short text that is equal for equal sets of objects, whatever their order: the sum of their sums. An empty
// set has a digest too.
func Digest(objects []Object) (string, error) {
	var total Sum
	for _, o := range objects {
		s, err := o.Sum()
		if err != nil {
			return "", err
		}
		total = total.Add(s)
	}
	return total.String(), nil
}
