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
)

// ExchangeTypes lists the types of exchanges, sorted.
var ExchangeTypes = []string{ExchangeDirect, ExchangeFanout, ExchangeHeaders, ExchangeTopic, ExchangeConsistentHash, ExchangeLocalRandom, ExchangeRandom}

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
