package object

import (
	"maps"
	"slices"
)

// ApplyTo says to what a policy applies.
type ApplyTo string

// What policies apply to.
const (
	ApplyToAll           ApplyTo = "all"
	ApplyToExchanges     ApplyTo = "exchanges"
	ApplyToQueues        ApplyTo = "queues"
	ApplyToClassicQueues ApplyTo = "classic_queues"
	ApplyToQuorumQueues  ApplyTo = "quorum_queues"
)

// PolicySpec gives arguments to queues and exchanges by name, also to those that are there already, as RabbitMQ's
// policies do. It is the spec of the kinds Policy and OperatorPolicy; the latter may only limit.
type PolicySpec struct {
	// Pattern is a regular expression over names (RE2 syntax, anchored only where it says so).
	Pattern string `json:"pattern"`
	// ApplyTo is what it applies to; empty means all.
	ApplyTo ApplyTo `json:"applyTo,omitempty"`
	// Priority decides between policies that match the same name: the highest applies, and no other.
	Priority int `json:"priority,omitempty"`
	// Definition is what it says, by the names of PolicyKeys.
	Definition Arguments `json:"definition"`
}

// Arguments that others than their queue or exchange look at.
const (
	QueueType         = "x-queue-type"
	Durability        = "x-durability"
	AlternateExchange = "alternate-exchange"
)

// MaxGroupBuckets is the most that the argument x-group-buckets of a queue can be.
const MaxGroupBuckets = 1 << 16

// policyKey is one thing that a policy can say.
type policyKey struct {
	argument string // of queues; empty for none
	limit    bool   // a number of which the lowest counts
}

// policyKeys are RabbitMQ's, as far as they mean something here. Those without an argument say how queues are stored and
// placed, or are for exchanges.
var policyKeys = map[string]policyKey{
	"message-ttl":             {"x-message-ttl", true},
	"expires":                 {"x-expires", true},
	"max-length":              {"x-max-length", true},
	"max-length-bytes":        {"x-max-length-bytes", true},
	"delivery-limit":          {"x-delivery-limit", true},
	"consumer-timeout":        {"x-consumer-timeout", true},
	"overflow":                {"x-overflow", false},
	"durability":              {Durability, false},
	"group-buckets":           {"x-group-buckets", false},
	"group-rebalance":         {"x-group-rebalance", false},
	"last-value-key":          {"x-last-value-key", false},
	"dead-letter-exchange":    {"x-dead-letter-exchange", false},
	"dead-letter-routing-key": {"x-dead-letter-routing-key", false},
	"dead-letter-strategy":    {"x-dead-letter-strategy", false},
	"max-in-memory-length":    {"x-max-in-memory-length", true},
	"max-in-memory-bytes":     {"x-max-in-memory-bytes", true},
	"queue-mode":              {"x-queue-mode", false},
	"queue-version":           {"x-queue-version", false},
	"queue-leader-locator":    {"x-queue-leader-locator", false},
	"queue-master-locator":    {"x-queue-master-locator", false},
	AlternateExchange:         {},
}

// PolicyArgument is the argument of queues that a key of a policy's definition stands for, empty for none, and whether it
// is a limit, of which the lowest counts.
func PolicyArgument(key string) (name string, limit bool) {
	k := policyKeys[key]
	return k.argument, k.limit
}

// PolicyKeys are the keys that a policy's definition can have, sorted; for an operator policy, those that limit.
func PolicyKeys(operator bool) []string {
	keys := slices.Sorted(maps.Keys(policyKeys))
	if operator {
		keys = slices.DeleteFunc(keys, func(k string) bool { return !policyKeys[k].limit })
	}
	return keys
}
