package amqp10

import (
	"math"
	"time"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// The annotations by which a sender asks for delivery at a later time: those of Artemis and JMS, and that of Service Bus.
const (
	annotationTime    = "x-opt-delivery-time"          // milliseconds since 1970
	annotationDelay   = "x-opt-delivery-delay"         // milliseconds
	annotationEnqueue = "x-opt-scheduled-enqueue-time" // milliseconds since 1970
)

// scheduled is for how long a message with these annotations is to wait; zero is not at all.
func scheduled(annotations frame.Map) time.Duration {
	if len(annotations) == 0 {
		return 0
	}
	wait, now := int64(0), time.Now().UnixMilli()
	for _, name := range [...]string{annotationTime, annotationEnqueue} {
		if at := milliseconds(annotations, name); at > 0 {
			wait = max(wait, at-now)
		}
	}
	wait = max(wait, milliseconds(annotations, annotationDelay))
	return time.Duration(min(wait, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// milliseconds is an annotation that is a number or a timestamp; zero when it is none.
func milliseconds(annotations frame.Map, name string) int64 {
	v, ok := annotations.Lookup(name)
	if !ok {
		return 0
	}
	if n, ok := v.Int(); ok {
		return n
	}
	n, _ := v.Uint()
	return int64(min(n, math.MaxInt64))
}
