package object

import (
	"fmt"
	"strconv"
)

// The types of exchanges.
const (
	ExchangeDirect         = "direct"
	ExchangeFanout         = "fanout"
	ExchangeTopic          = "topic"
	ExchangeHeaders        = "headers"
	ExchangeConsistentHash = "x-consistent-hash"
	ExchangeRandom         = "x-random"
	ExchangeLocalRandom    = "x-local-random"
	// ExchangeDelayed routes as an exchange of the type that its argument DelayedType names, but messages with a header
	// DelayHeader only after so many milliseconds.
	ExchangeDelayed = "x-delayed-message"
)

// What an exchange of type ExchangeDelayed is told by.
const (
	DelayedType = "x-delayed-type" // argument
	DelayHeader = "x-delay"        // header of a message
)

// ExchangeTypes lists the types of exchanges, sorted.
var ExchangeTypes = []string{ExchangeDirect, ExchangeFanout, ExchangeHeaders, ExchangeTopic, ExchangeConsistentHash, ExchangeDelayed, ExchangeLocalRandom, ExchangeRandom}

// RoutesAs is the type that says where messages go: of an exchange that delays them, what its argument says.
func (s *ExchangeSpec) RoutesAs() string {
	if s.Type != ExchangeDelayed {
		return s.Type
	}
	t, _, _ := s.Arguments.Text(DelayedType)
	return t
}

// The arguments of a consistent-hash exchange that say what is hashed in place of the routing key: a header, or one of
// HashProperties.
const (
	HashHeader   = "hash-header"
	HashProperty = "hash-property"
)

// HashProperties are the properties of a message that can be hashed.
var HashProperties = []string{"message_id", "correlation_id", "timestamp"}

// maxWeight bounds the weight of a binding; a share of one in a million is none.
const maxWeight = 1_000_000

// Weight is the weight of a binding to a consistent-hash exchange, which its key says: a queue of weight 2 gets twice the
// messages of one of weight 1.
func Weight(key string) (int, error) {
	n, err := strconv.Atoi(key)
	if err != nil || n < 1 || n > maxWeight {
		return 0, fmt.Errorf("the key of a binding to an exchange of type %s is its weight, a whole number from 1 to %d, and not %q", ExchangeConsistentHash, maxWeight, key)
	}
	return n, nil
}
