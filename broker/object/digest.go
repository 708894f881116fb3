package object

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"
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

// Digest is a short text that is equal for equal sets of objects, whatever their order: keys, refs and canonical specs
// take part, revisions, ids and passwords do not. An empty set has a digest too.
func Digest(objects []Object) (string, error) {
	sums := make([][sha256.Size]byte, 0, len(objects))
	for _, o := range objects {
		spec, err := o.Canonical()
		if err != nil {
			return "", err
		}
		h := sha256.New()
		for _, part := range [][]byte{[]byte(o.Kind), []byte(o.VirtualHost), []byte(o.Name), []byte(o.Ref), spec} {
			var n [8]byte
			binary.BigEndian.PutUint64(n[:], uint64(len(part)))
			h.Write(n[:])
			h.Write(part)
		}
		sums = append(sums, [sha256.Size]byte(h.Sum(nil)))
	}
	sort.Slice(sums, func(i, j int) bool { return string(sums[i][:]) < string(sums[j][:]) })
	h := sha256.New()
	for _, s := range sums {
		h.Write(s[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
