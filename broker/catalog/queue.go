package catalog

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// queueArguments are the arguments that queues obey, each with what it may be.
var queueArguments = map[string]func(a object.Arguments, name string) error{
	"x-message-ttl":             whole(0, math.MaxUint32),
	"x-expires":                 whole(1, math.MaxUint32),
	"x-max-length":              whole(0, math.MaxInt64),
	"x-max-length-bytes":        whole(0, math.MaxInt64),
	"x-overflow":                oneOf("drop-head", "reject-publish", "reject-publish-dlx"),
	"x-dead-letter-exchange":    text,
	"x-dead-letter-routing-key": text,
	"x-delivery-limit":          whole(-1, math.MaxUint32), // -1 is none
	"x-max-priority":            whole(0, 255),
	"x-single-active-consumer":  truth,
	"x-queue-type":              oneOf("classic", "quorum"),
	"x-consumer-timeout":        whole(0, math.MaxUint32),         // 0 is none
	"x-group-buckets":           whole(0, object.MaxGroupBuckets), // 0 is no groups
	"x-group-rebalance":         truth,
	"x-last-value-key":          named,
	object.Durability:           oneOf("always", "interval", "none"),

	// What RabbitMQ's clients say of how it stores and places a queue: every queue here does what the best value asks for,
	// so that each is obeyed by doing nothing. docs/amqp091.md says how.
	"x-dead-letter-strategy":      oneOf("at-most-once", "at-least-once"),
	"x-queue-mode":                oneOf("default", "lazy"),
	"x-queue-version":             whole(1, 2),
	"x-queue-leader-locator":      oneOf("client-local", "balanced"),
	"x-queue-master-locator":      oneOf("client-local", "min-masters", "random"),
	"x-quorum-initial-group-size": whole(1, math.MaxInt32),
	"x-max-in-memory-length":      whole(0, math.MaxInt64),
	"x-max-in-memory-bytes":       whole(0, math.MaxInt64),
}

// CheckQueue says which rule a queue's spec breaks, also for queues that are no objects.
func CheckQueue(s object.QueueSpec) error { return checkQueue(&s) }

func checkQueue(s *object.QueueSpec) error {
	if err := checkQueueArguments(s.Arguments); err != nil {
		return err
	}
	if s.Arguments["x-queue-type"] == "quorum" && !s.Durable {
		return errors.New("a queue of type quorum must be durable")
	}
	_, exchange := s.Arguments["x-dead-letter-exchange"]
	if _, key := s.Arguments["x-dead-letter-routing-key"]; key && !exchange {
		return errors.New("argument \"x-dead-letter-routing-key\" needs \"x-dead-letter-exchange\"")
	}
	_, last := s.Arguments["x-last-value-key"]
	buckets, grouped, _ := s.Arguments.Int("x-group-buckets")
	if last && buckets > 0 {
		return errors.New("arguments \"x-last-value-key\" and \"x-group-buckets\" exclude each other: of one key there is no second message that waits")
	}
	if _, rebalance := s.Arguments["x-group-rebalance"]; rebalance && !grouped {
		return errors.New("argument \"x-group-rebalance\" needs \"x-group-buckets\"")
	}
	return nil
}

// checkQueueArguments refuses arguments that would be promises nobody keeps. Names without x- are the client's own.
func checkQueueArguments(a object.Arguments) error {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		look, known := queueArguments[name]
		if !known && strings.HasPrefix(name, "x-") {
			return fmt.Errorf("argument %q is not supported; there are %s", name, strings.Join(slices.Sorted(maps.Keys(queueArguments)), ", "))
		}
		if !known {
			continue
		}
		if err := look(a, name); err != nil {
			return err
		}
	}
	return nil
}

func whole(low, high int64) func(object.Arguments, string) error {
	return func(a object.Arguments, name string) error {
		n, _, err := a.Int(name)
		if err == nil && (n < low || n > high) {
			err = fmt.Errorf("argument %q: %d is not within %d and %d", name, n, low, high)
		}
		return err
	}
}

func oneOf(values ...string) func(object.Arguments, string) error {
	return func(a object.Arguments, name string) error {
		s, _, err := a.Text(name)
		if err == nil && !slices.Contains(values, s) {
			err = fmt.Errorf("argument %q: %q is not one of %v", name, s, values)
		}
		return err
	}
}

func text(a object.Arguments, name string) error {
	s, _, err := a.Text(name)
	if err == nil && len(s) > longestName {
		err = fmt.Errorf("argument %q is %d bytes long, %d is the most", name, len(s), longestName)
	}
	return err
}

// named is a text that is not empty.
func named(a object.Arguments, name string) error {
	s, _, err := a.Text(name)
	if err == nil && s == "" {
		return fmt.Errorf("argument %q must not be empty", name)
	}
	if err != nil {
		return err
	}
	return text(a, name)
}

func truth(a object.Arguments, name string) error {
	_, _, err := a.Bool(name)
	return err
}
