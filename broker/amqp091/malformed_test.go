package amqp091_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp091/frame"
)

func raw(channel uint16, t frame.Type, payload ...byte) []byte {
	return (&frame.Frame{Type: t, Channel: channel, Payload: payload}).Append(nil)
}

func method(channel uint16, m frame.Method) []byte { return frame.AppendMethod(nil, channel, m) }

func contentHeader(size uint64, p ...byte) []byte {
	if p == nil {
		p = frame.NoProperties
	}
	return raw(1, frame.TypeHeader, (&frame.ContentHeader{Class: 60, BodySize: size, Properties: p}).Append(nil)...)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

var publish = method(1, &frame.BasicPublish{Exchange: []byte("amq.fanout"), RoutingKey: []byte("k")})

// deepTable is a table as deep as a frame lets it be.
func deepTable() frame.Table {
	t := frame.Table(nil)
	for range 500 {
		t = frame.Table(nil).With("t", t)
	}
	return t
}

// TestMalformed is what a client may get wrong on an open connection with channel 1, and what it is told.
func TestMalformed(t *testing.T) {
	for _, x := range []struct {
		name    string
		bytes   []byte
		channel bool // the channel is closed; otherwise the connection
		code    frame.ReplyCode
		text    string // part of the reply text
		method  frame.ID
	}{
		{"frame type", []byte("\x07\x00\x01\x00\x00\x00\x00\xce"), false, frame.FrameError, "unknown frame type 7", 0},
		{"frame end", []byte("\x01\x00\x01\x00\x00\x00\x05\x00\x14\x00\x0a\x00\xcd"), false, frame.FrameError, "ends with 0xcd", 0},
		{"frame size", []byte("\x03\x00\x01\xff\xff\xff\xff"), false, frame.FrameError, "larger than the maximum of 131072", 0},
		{"method without a number", raw(1, frame.TypeMethod, 0, 60), false, frame.FrameError, "names no method", 0},
		{"method that does not exist", raw(1, frame.TypeMethod, 0, 60, 0, 99), false, frame.CommandInvalid, "method 60.99 does not exist", 60<<16 | 99},
		{"class that does not exist", raw(1, frame.TypeMethod, 1, 0, 0, 1), false, frame.CommandInvalid, "method 256.1 does not exist", 256<<16 | 1},
		{"method of the server", method(1, &frame.BasicGetEmpty{}), false, frame.CommandInvalid, "basic.get-empty is not a client's method", frame.BasicGetEmptyID},
		{"arguments cut short", raw(1, frame.TypeMethod, 0, 50, 0, 10, 0, 0, 5, 'a'), false, frame.SyntaxError, "short string is cut short", frame.QueueDeclareID},
		{"arguments too long", raw(1, frame.TypeMethod, 0, 85, 0, 10, 0, 0), false, frame.SyntaxError, "follow the last field", frame.ConfirmSelectID},
		{"table with an unknown type", method(1, &frame.QueueDeclare{Queue: "q", Arguments: frame.Table("\x01kZ")}), false, frame.SyntaxError, "type 'Z'", frame.QueueDeclareID},
		{"deep table", method(1, &frame.QueueDeclare{Queue: "q", Arguments: deepTable()}), false, frame.SyntaxError, "nested too deeply", frame.QueueDeclareID},
		{"big table", method(1, &frame.QueueDeclare{Queue: "q", Arguments: bytes.Repeat([]byte("\x01kV"), 5000)}), false, frame.SyntaxError, "too many entries", frame.QueueDeclareID},
		{"heartbeat on a channel", raw(1, frame.TypeHeartbeat), false, frame.FrameError, "heartbeat on channel 1", 0},
		{"content on channel 0", raw(0, frame.TypeBody, 1), false, frame.UnexpectedFrame, "content body frame on channel 0", 0},
		{"channel method on channel 0", method(0, &frame.QueueDeclare{Queue: "q"}), false, frame.CommandInvalid, "queue.declare is not expected now", frame.QueueDeclareID},
		{"connection method on a channel", method(1, &frame.ConnectionOpen{VirtualHost: "/"}), false, frame.CommandInvalid, "connection.open on channel 1", frame.ConnectionOpenID},
		{"second connection.open", method(0, &frame.ConnectionOpen{VirtualHost: "/"}), false, frame.CommandInvalid, "not expected now", frame.ConnectionOpenID},
		{"channel not open", method(2, &frame.QueueDeclare{Queue: "q"}), false, frame.ChannelError, "expected 'channel.open'", frame.QueueDeclareID},
		{"content on a channel not open", raw(2, frame.TypeBody, 1), false, frame.ChannelError, "channel 2, which is not open", 0},
		{"channel opened twice", method(1, &frame.ChannelOpen{}), false, frame.ChannelError, "second 'channel.open' seen", frame.ChannelOpenID},
		{"channel above channel_max", method(2048, &frame.ChannelOpen{}), false, frame.ChannelError, "channel_max", frame.ChannelOpenID},
		{"header without a method", contentHeader(1), false, frame.UnexpectedFrame, "no method before it", 0},
		{"body without a header", join(publish, raw(1, frame.TypeBody, 1)), false, frame.UnexpectedFrame, "no content header before it", 0},
		{"method in place of a header", join(publish, publish), false, frame.UnexpectedFrame, "expected content header for class 60, got a method frame", frame.BasicPublishID},
		{"method in place of a body", join(publish, contentHeader(3), publish), false, frame.UnexpectedFrame, "expected content body, got a method frame", frame.BasicPublishID},
		{"header in place of a body", join(publish, contentHeader(3), contentHeader(3)), false, frame.UnexpectedFrame, "no method before it", 0},
		{"header of another class", join(publish, raw(1, frame.TypeHeader, 0, 50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0)), false, frame.UnexpectedFrame, "got one for class 50", 0},
		{"header with a weight", join(publish, raw(1, frame.TypeHeader, 0, 60, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0)), false, frame.SyntaxError, "weight 1", 0},
		{"header cut short", join(publish, raw(1, frame.TypeHeader, 0, 60)), false, frame.SyntaxError, "cut short", 0},
		{"body longer than its header says", join(publish, contentHeader(3), raw(1, frame.TypeBody, 1, 2, 3, 4)), false, frame.FrameError, "4 bytes where 3 are missing", 0},
		{"properties cut short", join(publish, contentHeader(0, 0x80, 0, 9)), false, frame.SyntaxError, "short string is cut short", frame.BasicPublishID},
		{"properties that do not exist", join(publish, contentHeader(0, 0, 3)), false, frame.SyntaxError, "properties that do not exist", frame.BasicPublishID},
		{"immediate", method(1, &frame.BasicPublish{Immediate: true}), false, frame.NotImplemented, "immediate=true", frame.BasicPublishID},
		{"prefetch size", method(1, &frame.BasicQos{PrefetchSize: 1}), false, frame.NotImplemented, "prefetch_size!=0 (1)", frame.BasicQosID},
		{"recover without requeue", method(1, &frame.BasicRecover{}), false, frame.NotImplemented, "requeue=false", frame.BasicRecoverID},
		{"exchange type", method(1, &frame.ExchangeDeclare{Exchange: "x", Type: "x-later"}), false, frame.CommandInvalid, "invalid exchange type 'x-later'; there are direct, fanout, headers, topic, x-consistent-hash", frame.ExchangeDeclareID},

		{"commit without tx.select", method(1, &frame.TxCommit{}), true, frame.PreconditionFailed, "channel is not transactional", frame.TxCommitID},
		{"rollback without tx.select", method(1, &frame.TxRollback{}), true, frame.PreconditionFailed, "channel is not transactional", frame.TxRollbackID},
		{"transaction after confirms", join(method(1, &frame.ConfirmSelect{NoWait: true}), method(1, &frame.TxSelect{})), true, frame.PreconditionFailed, "cannot switch from confirm to tx mode", frame.TxSelectID},
		{"message too large", join(publish, contentHeader(1<<40), raw(1, frame.TypeBody, 1)), true, frame.PreconditionFailed, "message size 1099511627776 is larger than configured max size 1048576", frame.BasicPublishID},
		{"expiration", join(publish, contentHeader(0, 1, 0, 1, 'x')), true, frame.PreconditionFailed, "invalid expiration 'x'", frame.BasicPublishID},
		{"user-id", join(publish, contentHeader(0, 0, 0x10, 1, 'x')), true, frame.PreconditionFailed, "user_id property set to 'x' but authenticated user was 'guest'", frame.BasicPublishID},
		{"no exchange to publish to", join(method(1, &frame.BasicPublish{Exchange: []byte("no")}), contentHeader(0)), true, frame.NotFound, "NOT_FOUND - no exchange 'no' in vhost '/'", frame.BasicPublishID},
		{"delivery tag", method(1, &frame.BasicAck{DeliveryTag: 1}), true, frame.PreconditionFailed, "PRECONDITION_FAILED - unknown delivery tag 1", frame.BasicAckID},
		{"delivery tag of a nack", method(1, &frame.BasicNack{DeliveryTag: 7, Multiple: true}), true, frame.PreconditionFailed, "unknown delivery tag 7", frame.BasicNackID},
		{"delivery tag of a reject", method(1, &frame.BasicReject{DeliveryTag: 0}), true, frame.PreconditionFailed, "unknown delivery tag 0", frame.BasicRejectID},
		{"no queue", method(1, &frame.BasicConsume{Queue: "no"}), true, frame.NotFound, "NOT_FOUND - no queue 'no' in vhost '/'", frame.BasicConsumeID},
		{"no queue to get from", method(1, &frame.BasicGet{Queue: "no"}), true, frame.NotFound, "no queue 'no' in vhost '/'", frame.BasicGetID},
		{"no queue declared before", method(1, &frame.BasicConsume{}), true, frame.NotFound, "no previously declared queue", frame.BasicConsumeID},
		{"default exchange", method(1, &frame.ExchangeDeclare{Type: "direct"}), true, frame.AccessRefused, "operation not permitted on the default exchange", frame.ExchangeDeclareID},
		{"reserved exchange", method(1, &frame.ExchangeDeclare{Exchange: "amq.mine", Type: "direct"}), true, frame.AccessRefused, "reserved prefix 'amq.*'", frame.ExchangeDeclareID},
		{"reserved queue", method(1, &frame.QueueDeclare{Queue: "amq.mine"}), true, frame.AccessRefused, "reserved prefix 'amq.*'", frame.QueueDeclareID},
		{"another type", method(1, &frame.ExchangeDeclare{Exchange: "amq.topic", Type: "direct", Durable: true}), true, frame.PreconditionFailed, "inequivalent arg 'type' for exchange 'amq.topic' in vhost '/': received 'direct' but current is 'topic'", frame.ExchangeDeclareID},
		{"bind to no exchange", join(method(1, &frame.QueueDeclare{Queue: "q", NoWait: true}), method(1, &frame.QueueBind{Queue: "q", Exchange: "no"})), true, frame.NotFound, "no exchange 'no' in vhost '/'", frame.QueueBindID},
		{"argument that means nothing", method(1, &frame.QueueDeclare{Queue: "q", Arguments: frame.NewTable(map[string]any{"x-message-ttl": "soon"})}), true, frame.PreconditionFailed, "x-message-ttl", frame.QueueDeclareID},
		{"priority that means nothing", join(method(1, &frame.QueueDeclare{Queue: "q", NoWait: true}), method(1, &frame.BasicConsume{Queue: "q", Arguments: frame.NewTable(map[string]any{"x-priority": "high"})})), true, frame.PreconditionFailed, "x-priority", frame.BasicConsumeID},
	} {
		t.Run(x.name, func(t *testing.T) {
			b := start(t, defaults())
			other := b.open()
			p := b.open()
			p.write(x.bytes)
			var code, class, number uint16
			var text string
			switch _, m := p.method(); m := m.(type) {
			case *frame.ChannelClose:
				code, text, class, number = m.ReplyCode, m.ReplyText, m.ClassID, m.MethodID
				if !x.channel {
					t.Errorf("closed the channel alone")
				}
				p.send(1, &frame.ChannelCloseOk{})
				p.send(1, &frame.ChannelOpen{}) // the connection goes on
				expect[*frame.ChannelOpenOk](p)
			case *frame.ConnectionClose:
				code, text, class, number = m.ReplyCode, m.ReplyText, m.ClassID, m.MethodID
				if x.channel {
					t.Errorf("closed the connection")
				}
				p.send(0, &frame.ConnectionCloseOk{})
				if cw, ok := p.conn.(interface{ CloseWrite() error }); ok {
					check(t, cw.CloseWrite())
				}
				p.gone()
			default:
				t.Fatalf("got %v", m.ID())
			}
			if code != uint16(x.code) || !strings.Contains(text, x.text) || !strings.HasPrefix(text, x.code.String()+" - ") {
				t.Errorf("got %d %q, want %d %q", code, text, x.code, x.text)
			}
			if got := frame.ID(class)<<16 | frame.ID(number); got != x.method {
				t.Errorf("blamed %v, want %v", got, x.method)
			}
			other.send(1, &frame.QueueDeclare{Queue: "other"})
			expect[*frame.QueueDeclareOk](other)
		})
	}
}

// TestChannelErrorPassesOver: what a client sent before it knew that its channel is closed has no effect.
func TestChannelErrorPassesOver(t *testing.T) {
	b := start(t, defaults())
	p := b.open()
	p.write(join(
		method(1, &frame.BasicAck{DeliveryTag: 9}),
		method(1, &frame.QueueDeclare{Queue: "never"}),
		publish, contentHeader(1), raw(1, frame.TypeBody, 'x'),
	))
	expect[*frame.ChannelClose](p)
	p.send(1, &frame.ChannelCloseOk{})
	p.send(1, &frame.ChannelOpen{})
	expect[*frame.ChannelOpenOk](p)
	p.send(1, &frame.QueueDeclare{Queue: "never", Passive: true})
	if m := expect[*frame.ChannelClose](p); m.ReplyCode != uint16(frame.NotFound) {
		t.Errorf("got %+v", m)
	}
}

// TestWrongInATransaction is what only goes wrong after tx.select.
func TestWrongInATransaction(t *testing.T) {
	for text, wrong := range map[string]frame.Method{
		"cannot switch from tx to confirm mode": &frame.ConfirmSelect{},
		"unknown delivery tag 9":                &frame.BasicAck{DeliveryTag: 9},
	} {
		p := start(t, defaults()).open()
		p.send(1, &frame.TxSelect{})
		expect[*frame.TxSelectOk](p)
		p.send(1, wrong)
		if m := expect[*frame.ChannelClose](p); m.ReplyCode != uint16(frame.PreconditionFailed) || !strings.Contains(m.ReplyText, text) {
			t.Errorf("%v gives %d %s", wrong.ID(), m.ReplyCode, m.ReplyText)
		}
	}
}
