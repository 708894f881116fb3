package amqp091

import (
	"bytes"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// Publishers send the same basic.publish over and over, each time with another header and body. What is equal to the last
// one, byte for byte, is not decoded, looked up and checked again: a message whose frames are all there costs a comparison
// and the reading of its header.

// last is the last basic.publish of a channel. Its bytes stay until the next one, which cannot come before the content of
// this one is complete.
type last struct {
	frame  []byte // all of it; empty before the first, and after one that was refused
	method frame.BasicPublish
	route  *hub.Route // where it leads; nil until it was asked for
}

// learn decodes a basic.publish and remembers it.
func (l *last) learn(f frame.Frame) error {
	l.frame, l.route = f.Append(l.frame[:0]), nil
	err := l.method.Decode(f.Of(l.frame)[frame.IDSize:])
	if err == nil && l.method.Immediate {
		err = notImplemented("immediate=true")
	}
	if err != nil {
		l.frame = l.frame[:0]
	}
	return err
}

// publishAgain publishes a message whose method is the last one of the current channel, if src begins with all of its
// frames and nothing is unusual about them; zero otherwise. The error is about the channel's method.
func (c *connection) publishAgain(src []byte) (n int, err error) {
	ch := c.current
	if ch == nil || c.state != open || ch.ending || ch.content.awaited() {
		return 0, nil
	}
	method := ch.last.frame
	if len(method) == 0 || !bytes.HasPrefix(src, method) {
		return 0, nil
	}
	p, body, n := frame.CutContent(src[len(method):], ch.number, c.frameMax)
	if n == 0 || int64(len(body)) > c.config.Limits.MessageBytes {
		return 0, nil
	}
	return len(method) + n, ch.publishMessage(p, body, false)
}

// route is where the last method leads, and its further keys.
func (ch *channel) route(also []string) (r *hub.Route, err error) {
	l := &ch.last
	if len(also) > 0 {
		return ch.publisher.RouteAlso(l.method.Exchange, l.method.RoutingKey, also)
	}
	if l.route == nil {
		l.route, err = ch.publisher.Route(l.method.Exchange, l.method.RoutingKey)
	} else {
		l.route, err = ch.publisher.Again(l.route)
	}
	return l.route, err
}
