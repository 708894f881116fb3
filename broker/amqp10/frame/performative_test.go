package frame_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
)

// examples are performatives, written by hand from the tables of the specification, with what they say.
var examples = []struct {
	name  string
	bytes string
	want  frame.Performative
}{
	{"open", "00 53 10 c0 11 05 a1 01 63 a1 01 68 70 00000200 60 0009 52 0a",
		&frame.Open{ContainerID: "c", Hostname: "h", MaxFrameSize: 512, ChannelMax: 9, IdleTimeout: 10}},
	{"begin", "00 53 11 c0 0c 04 60 0001 43 52 05 70 00001000", &frame.Begin{RemoteChannel: frame.Some(uint16(1)), IncomingWindow: 5, OutgoingWindow: 4096, HandleMax: math.MaxUint32}},
	{"attach of a sender", "00 53 12 c0 19 0a a1 01 6c 43 42 50 00 40 00 53 28 45 00 53 29 c0 04 01 a1 01 71 40 40 43", &frame.Attach{Name: "l",
		SenderSettleMode: frame.SenderUnsettled, Source: &frame.Source{ExpiryPolicy: frame.ExpireSessionEnd},
		Target: &frame.Target{Address: "q", ExpiryPolicy: frame.ExpireSessionEnd}, InitialDeliveryCount: frame.Some(uint32(0))}},
	{"attach to a coordinator", "00 53 12 c0 2c 0a a1 01 6c 52 07 42 40 40 40 00 53 30 c0 1a 01 a3 17 616d71703a6c6f63616c2d7472616e73616374696f6e73 40 40 43", &frame.Attach{Name: "l", Handle: 7,
		SenderSettleMode: frame.SenderMixed, Coordinator: &frame.Coordinator{Capabilities: []string{frame.LocalTransactions}}, InitialDeliveryCount: frame.Some(uint32(0))}},
	{"flow", "00 53 13 c0 0e 09 43 52 64 43 52 64 43 52 03 52 0a 40 41", &frame.Flow{NextIncomingID: frame.Some(uint32(0)), IncomingWindow: 100, OutgoingWindow: 100,
		Handle: frame.Some(uint32(0)), DeliveryCount: frame.Some(uint32(3)), LinkCredit: frame.Some(uint32(10)), Drain: true}},
	{"transfer", "00 53 14 c0 0a 06 43 43 a0 02 0102 43 40 41 00 53 75 a0", &frame.Transfer{DeliveryID: frame.Some(uint32(0)), DeliveryTag: []byte{1, 2}, MessageFormat: frame.Some(uint32(0)), More: true,
		Payload: []byte{0, 0x53, 0x75, 0xa0}}},
	{"disposition", "00 53 15 c0 0b 05 41 52 07 52 09 41 00 53 24 45", &frame.Disposition{Role: frame.Receiver, First: 7, Last: frame.Some(uint32(9)), Settled: true, State: frame.Accepted}},
	{"detach", "00 53 16 c0 03 02 43 41", &frame.Detach{Closed: true}},
	{"end", "00 53 17 45", &frame.End{}},
	{"close", "00 53 18 c0 1c 01 00 53 1d c0 16 02 a3 0e 616d71703a6e6f742d666f756e64 a1 03 627965", &frame.Close{Error: &frame.Error{Condition: frame.NotFound, Description: "bye"}}},
	{"sasl-mechanisms", "00 53 40 c0 11 01 e0 0e 02 a3 05 504c41494e 05 4f54484552", &frame.SASLMechanisms{Mechanisms: []string{"PLAIN", "OTHER"}}},
	{"sasl-init", "00 53 41 c0 0e 02 a3 05 504c41494e a0 04 00610062", &frame.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00a\x00b")}},
	{"sasl-challenge", "00 53 42 c0 03 01 a0 00", &frame.SASLChallenge{Challenge: []byte{}}},
	{"sasl-response", "00 53 43 c0 04 01 a0 01 ff", &frame.SASLResponse{Response: []byte{0xff}}},
	{"sasl-outcome", "00 53 44 c0 03 01 50 01", &frame.SASLOutcome{Code: frame.SASLAuthenticationFail}},
}

// TestExamples: 2 §2.7, 2 §2.7.1 to 2 §2.7.9
func TestExamples(t *testing.T) {
	for _, x := range examples {
		t.Run(x.name, func(t *testing.T) {
			src := unhex(t, x.bytes)
			if got := x.want.Append([]byte("before")); string(got) != "before"+string(src) {
				t.Errorf("written: %x\nwant:    %x", got[6:], src)
			}
			got := frame.New(x.want.Descriptor())
			if err := got.Decode(src, generous); err != nil || !reflect.DeepEqual(got, x.want) {
				t.Errorf("read %+v, %v\nwant %+v", got, err, x.want)
			}
		})
	}
}

// The same performative, spelled in other ways that the specification allows.
func TestSpellings(t *testing.T) {
	end := frame.Flow{IncomingWindow: 1, NextOutgoingID: 2, OutgoingWindow: 3}
	for _, x := range []struct {
		name, bytes string
		want        frame.Performative
	}{
		{"nulls at the end", "00 53 13 c0 0f 0b 40 52 01 52 02 52 03 40 40 40 40 40 40 40", &end},
		{"defaults written", "00 53 13 c0 0d 09 40 52 01 52 02 52 03 40 40 40 40 42", &end},
		{"list32", "00 53 13 d0 0000000b 00000004 40 52 01 52 02 52 03", &end},
		{"wide numbers", "00 80 0000000000000013 c0 11 04 40 70 00000001 70 00000002 70 00000003", &end},
		{"symbolic descriptor", "00 a3 0e 616d71703a666c6f773a6c697374 c0 08 04 40 52 01 52 02 52 03", &end},
		{"long symbolic descriptor", "00 b3 0000000e 616d71703a666c6f773a6c697374 c0 08 04 40 52 01 52 02 52 03", &end},
		{"boolean with a byte", "00 53 16 c0 04 02 43 56 01", &frame.Detach{Closed: true}},
		{"one symbol in an array", "00 53 40 c0 0a 01 e0 07 01 a3 04 50 4c 41 4e", &frame.SASLMechanisms{Mechanisms: []string{"PLAN"}}},
		{"one symbol in an array of long ones", "00 53 40 c0 0d 01 e0 0a 01 b3 00000004 50 4c 41 4e", &frame.SASLMechanisms{Mechanisms: []string{"PLAN"}}},
		{"one symbol alone", "00 53 40 c0 07 01 a3 04 50 4c 41 4e", &frame.SASLMechanisms{Mechanisms: []string{"PLAN"}}},
		{"state without a fast path", "00 53 15 c0 0b 05 41 43 40 40 00 53 24 c0 01 00", &frame.Disposition{Role: frame.Receiver, State: frame.Accepted}},
	} {
		t.Run(x.name, func(t *testing.T) {
			got := frame.New(x.want.Descriptor())
			if err := got.Decode(unhex(t, x.bytes), generous); err != nil || !reflect.DeepEqual(got, x.want) {
				t.Errorf("read %+v, %v\nwant %+v", got, err, x.want)
			}
		})
	}
}

// TestPerformativesRefuse: 2 §2.8.7, 2 §2.8.1 to 2 §2.8.3
func TestPerformativesRefuse(t *testing.T) {
	const decode, invalid, limit = frame.DecodeError, frame.InvalidField, frame.ResourceLimitExceeded
	for _, x := range []struct {
		name, bytes string
		as          frame.Performative
		condition   frame.Condition
		scope       frame.Scope
		text        string
	}{
		{"another one", "00 53 11 45", &frame.Open{}, decode, frame.ScopeConnection, "open is described as begin"},
		{"not described", "45", &frame.Flow{}, decode, frame.ScopeSession, "flow is not described"},
		{"no list", "00 53 14 c1 01 00", &frame.Transfer{}, decode, frame.ScopeSession, "transfer is no list"},
		{"no field at all", "00 53 10 45", &frame.Open{}, invalid, frame.ScopeConnection, "open lacks container-id"},
		{"null where one has to be", "00 53 16 c0 02 01 40", &frame.Detach{}, invalid, frame.ScopeSession, "detach lacks handle"},
		{"a field too many", "00 53 16 c0 05 04 43 41 40 40", &frame.Detach{}, decode, frame.ScopeSession, "detach has 1 fields too many"},
		{"fewer fields than bytes", "00 53 16 c0 03 01 43 41", &frame.Detach{}, decode, frame.ScopeSession, "1 bytes follow the last value"},
		{"more fields than bytes", "00 53 16 c0 02 02 43", &frame.Detach{}, decode, frame.ScopeSession, "a value is cut short"},
		{"bytes behind", "00 53 17 45 00", &frame.End{}, decode, frame.ScopeConnection, "1 bytes follow end"},
		{"string for uint", "00 53 16 c0 04 01 a1 01 61", &frame.Detach{}, decode, frame.ScopeSession, "handle of detach is no uint, but encoded as 0xa1"},
		{"uint for boolean", "00 53 16 c0 03 02 43 43", &frame.Detach{}, decode, frame.ScopeSession, "closed of detach is no boolean, but encoded as 0x43"},
		{"boolean of 2", "00 53 16 c0 04 02 43 56 02", &frame.Detach{}, decode, frame.ScopeSession, "closed of detach is the boolean 0x02"},
		{"symbol for string", "00 53 10 c0 04 01 a3 01 61", &frame.Open{}, decode, frame.ScopeConnection, "container-id of open is no string, but encoded as 0xa3"},
		{"string of no UTF-8", "00 53 10 c0 04 01 a1 01 ff", &frame.Open{}, decode, frame.ScopeConnection, "container-id of open is not UTF-8"},
		{"frames that are too small", "00 53 10 c0 0a 03 a1 01 61 40 70 000001ff", &frame.Open{}, invalid, frame.ScopeConnection, "max-frame-size of open is 511, which is not one of its values"},
		{"uint for ushort", "00 53 11 c0 02 01 43", &frame.Begin{}, decode, frame.ScopeConnection, "remote-channel of begin is no ushort, but encoded as 0x43"},
		{"ushort, cut short", "00 53 11 c0 03 01 60 00", &frame.Begin{}, decode, frame.ScopeConnection, "ushort is cut short"},
		{"uint, cut short", "00 53 16 c0 04 01 70 0000", &frame.Detach{}, decode, frame.ScopeSession, "uint is cut short"},
		{"list, cut short", "00 53 16 d0 00000003 000000", &frame.Detach{}, decode, frame.ScopeSession, "list is cut short"},
		{"ulong, cut short", "00 53 12 c0 0f 0b a1 01 6c 43 41 40 40 40 40 40 40 40 80 00", &frame.Attach{}, decode, frame.ScopeSession, "ulong is cut short"},
		{"uint for ulong", "00 53 12 c0 0e 0b a1 01 6c 43 41 40 40 40 40 40 40 40 43", &frame.Attach{}, decode, frame.ScopeSession, "max-message-size of attach is no ulong, but encoded as 0x43"},
		{"capability of no ASCII", "00 53 11 c0 09 06 40 43 43 43 40 a3 01 ff", &frame.Begin{}, decode, frame.ScopeConnection, "offered-capabilities of begin is not ASCII"},
		{"string for symbols", "00 53 40 c0 04 01 a1 01 61", &frame.SASLMechanisms{}, decode, frame.ScopeConnection, "sasl-server-mechanisms of sasl-mechanisms is no symbol, but encoded as 0xa1"},
		{"strings for symbols", "00 53 40 c0 07 01 e0 04 01 a1 01 61", &frame.SASLMechanisms{}, decode, frame.ScopeConnection, "sasl-server-mechanisms of sasl-mechanisms is no symbol, but encoded as 0xa1"},
		{"symbols without end", "00 53 40 c0 0b 01 f0 00000005 ffffffff 40", &frame.SASLMechanisms{}, limit, frame.ScopeConnection, "there are too many elements in lists, maps and arrays"},
		{"no mechanism", "00 53 40 c0 05 01 e0 02 00 a3", &frame.SASLMechanisms{}, invalid, frame.ScopeConnection, "sasl-mechanisms lacks sasl-server-mechanisms"},
		{"unknown outcome", "00 53 44 c0 03 01 50 05", &frame.SASLOutcome{}, invalid, frame.ScopeConnection, "code of sasl-outcome is 5, which is not one of its values"},
		{"no code", "00 53 44 45", &frame.SASLOutcome{}, invalid, frame.ScopeConnection, "sasl-outcome lacks code"},
		{"no challenge", "00 53 42 45", &frame.SASLChallenge{}, invalid, frame.ScopeConnection, "sasl-challenge lacks challenge"},
		{"no error", "00 53 18 c0 02 01 43", &frame.Close{}, decode, frame.ScopeConnection, "error of close is not described, but encoded as 0x43"},
		{"another type for error", "00 53 18 c0 05 01 00 53 28 45", &frame.Close{}, decode, frame.ScopeConnection, "error is no error, but described as source"},
		{"unknown type for error", "00 53 18 c0 06 01 00 a3 01 78 45", &frame.Close{}, frame.NotImplemented, frame.ScopeConnection, `error of close is described as "x", which is unknown`},
		{"error without a condition", "00 53 16 c0 07 03 43 41 00 53 1d 45", &frame.Detach{}, invalid, frame.ScopeSession, "error lacks condition"},
		{"error of a field too many", "00 53 18 c0 0d 01 00 53 1d c0 07 04 a3 01 61 40 40 40", &frame.Close{}, decode, frame.ScopeConnection, "error has 1 fields too many"},
		{"properties with keys that are strings", "00 53 13 c0 12 0b 40 43 43 43 40 40 40 40 40 40 c1 05 02 a1 01 61 40", &frame.Flow{}, decode, frame.ScopeSession, "properties of flow has a key that is no symbol"},
		{"properties that are a list", "00 53 13 c0 0c 0b 40 43 43 43 40 40 40 40 40 40 45", &frame.Flow{}, decode, frame.ScopeSession, "properties of flow is no map, but encoded as 0x45"},
		{"delivery-tag of 33 bytes", "00 53 14 c0 26 03 43 43 a0 21" + strings.Repeat("00", 33), &frame.Transfer{}, invalid, frame.ScopeSession, "delivery-tag of transfer has 33 bytes, the maximum is 32"},
		{"settle mode of a transfer", "00 53 14 c0 09 07 43 40 40 40 40 40 50 02", &frame.Transfer{}, invalid, frame.ScopeSession, "rcv-settle-mode of transfer is 2, which is not one of its values"},
		{"unknown state", "00 53 15 c0 09 05 41 43 40 40 00 53 22 45", &frame.Disposition{}, frame.NotImplemented, frame.ScopeSession, "state of disposition: there is no delivery state with the descriptor 0x22"},
		{"state that is none", "00 53 15 c0 06 05 41 43 40 40 43", &frame.Disposition{}, decode, frame.ScopeSession, "state of disposition: delivery state is not described"},
		{"state of no list", "00 53 15 c0 09 05 41 43 40 40 00 53 24 43", &frame.Disposition{}, decode, frame.ScopeSession, "state of disposition: accepted is no list"},
		{"accepted with a field", "00 53 15 c0 0c 05 41 43 40 40 00 53 24 c0 02 01 40", &frame.Disposition{}, decode, frame.ScopeSession, "state of disposition: accepted has no fields"},
		{"no role", "00 53 12 c0 06 03 a1 01 6c 43 40", &frame.Attach{}, invalid, frame.ScopeSession, "attach lacks role"},
		{"sender without a delivery-count", "00 53 12 c0 06 03 a1 01 6c 43 42", &frame.Attach{}, invalid, frame.ScopeSession, "attach lacks initial-delivery-count of a sender"},
		{"settle mode of a sender", "00 53 12 c0 08 04 a1 01 6c 43 41 50 03", &frame.Attach{}, invalid, frame.ScopeSession, "snd-settle-mode of attach is 3, which is not one of its values"},
		{"target for source", "00 53 12 c0 0c 06 a1 01 6c 43 41 40 40 00 53 29 45", &frame.Attach{}, decode, frame.ScopeSession, "source is no source, but described as target"},
		{"source for target", "00 53 12 c0 0d 07 a1 01 6c 43 41 40 40 40 00 53 28 45", &frame.Attach{}, decode, frame.ScopeSession, "target is no target and no coordinator, but described as source"},
		{"durability", "00 53 12 c0 11 06 a1 01 6c 43 41 40 40 00 53 28 c0 04 02 40 52 03", &frame.Attach{}, invalid, frame.ScopeSession, "durable of source is 3, which is not one of its values"},
		{"expiry policy", "00 53 12 c0 13 06 a1 01 6c 43 41 40 40 00 53 28 c0 06 03 40 40 a3 01 78", &frame.Attach{}, invalid, frame.ScopeSession, "expiry-policy of source is x, which is not one of its values"},
		{"filter that is not described", "00 53 12 c0 1c 06 a1 01 6c 43 41 40 40 00 53 28 c0 0f 08 40 40 40 40 40 40 40 c1 05 02 a3 01 78 41", &frame.Attach{}, invalid, frame.ScopeSession, `filter of source has a filter "x" that is not described`},
		{"default outcome that is none", "00 53 12 c0 1a 06 a1 01 6c 43 41 40 40 00 53 28 c0 0d 09 40 40 40 40 40 40 40 40 00 53 23 45", &frame.Attach{}, invalid, frame.ScopeSession, "default-outcome of source is received, which is no outcome"},
		{"unsettled with a key of no tag", "00 53 12 c0 10 08 a1 01 6c 43 41 40 40 40 40 c1 04 02 52 01 40", &frame.Attach{}, decode, frame.ScopeSession, "unsettled of attach has a key that is no delivery-tag"},
		{"unsettled with a value of no state", "00 53 12 c0 11 08 a1 01 6c 43 41 40 40 40 40 c1 05 02 a0 01 01 43", &frame.Attach{}, invalid, frame.ScopeSession, "unsettled of attach: delivery state is not described"},
	} {
		t.Run(x.name, func(t *testing.T) {
			err := x.as.Decode(unhex(t, x.bytes), generous)
			refused(t, err, x.condition, x.scope, x.text)
		})
	}
}

// A composite counts two levels, and what is in it the rest.
func TestDepthOfPerformatives(t *testing.T) {
	filter := frame.AppendSymbol(nil, "selector")
	filter = frame.AppendString(frame.AppendDescriptor(filter, 0x468c00000004), "a = 1")
	a := &frame.Attach{Role: frame.Receiver, Source: &frame.Source{ExpiryPolicy: frame.ExpireNever, Filter: filter}}
	body := a.Append(nil)
	for depth, text := range map[int]string{0: "values are nested too deeply", 3: "values are nested too deeply", 4: ""} {
		err := new(frame.Attach).Decode(body, frame.Limits{Depth: depth, Elements: 100})
		if text == "" && err != nil {
			t.Error(err)
		} else if text != "" {
			refused(t, err, frame.ResourceLimitExceeded, frame.ScopeSession, text)
		}
	}
}

// TestStates: 3 §3.4.1 to 3 §3.4.5, 4 §4.5.5, 4 §4.5.6
func TestStates(t *testing.T) {
	var received frame.Received
	var rejected frame.Rejected
	var modified frame.Modified
	var declared frame.Declared
	var transactional frame.TransactionalState
	for _, x := range []struct {
		name, bytes string
		state       frame.State
		outcome     bool
		decode      func(frame.State) error
		got, want   any
	}{
		{"received", "00 53 23 c0 04 02 52 01 44", (&frame.Received{SectionNumber: 1}).State(), false, received.Decode, &received, &frame.Received{SectionNumber: 1}},
		{"accepted", "00 53 24 45", frame.Accepted, true, nil, nil, nil},
		{"rejected", "00 53 25 c0 0f 01 00 53 1d c0 09 02 a3 01 78 a1 03 627965", (&frame.Rejected{Error: &frame.Error{Condition: "x", Description: "bye"}}).State(), true,
			rejected.Decode, &rejected, &frame.Rejected{Error: &frame.Error{Condition: "x", Description: "bye"}}},
		{"rejected without an error", "00 53 25 45", (&frame.Rejected{}).State(), true, rejected.Decode, &rejected, &frame.Rejected{}},
		{"released", "00 53 26 45", frame.Released, true, nil, nil, nil},
		{"modified", "00 53 27 c0 0a 03 41 40 c1 05 02 a3 01 78 41", (&frame.Modified{DeliveryFailed: true, MessageAnnotations: frame.Map("\xa3\x01x\x41")}).State(), true,
			modified.Decode, &modified, &frame.Modified{DeliveryFailed: true, MessageAnnotations: frame.Map("\xa3\x01x\x41")}},
		{"declared", "00 53 33 c0 04 01 a0 01 07", (&frame.Declared{TxnID: []byte{7}}).State(), true, declared.Decode, &declared, &frame.Declared{TxnID: []byte{7}}},
		{"transactional", "00 53 34 c0 08 02 a0 01 07 00 53 24 45", (&frame.TransactionalState{TxnID: []byte{7}, Outcome: frame.Accepted}).State(), false,
			transactional.Decode, &transactional, &frame.TransactionalState{TxnID: []byte{7}, Outcome: frame.Accepted}},
	} {
		t.Run(x.name, func(t *testing.T) {
			src := unhex(t, x.bytes)
			if got := x.state.Append(nil); !bytes.Equal(got, src) {
				t.Errorf("written: %x", got)
			}
			v, _, err := frame.ReadValue(src, generous)
			if err != nil {
				t.Fatal(err)
			}
			s, err := frame.StateOf(v)
			if err != nil || !reflect.DeepEqual(s, x.state) || s.IsOutcome() != x.outcome {
				t.Errorf("read %+v, %v, outcome %t", s, err, s.IsOutcome())
			}
			if x.decode == nil {
				return
			}
			if err := x.decode(s); err != nil || !reflect.DeepEqual(x.got, x.want) {
				t.Errorf("read %+v, %v", x.got, err)
			}
			refused(t, x.decode(frame.Accepted), frame.DecodeError, frame.ScopeSession, "state is accepted, not "+s.Code.String())
		})
	}
	refused(t, received.Decode(frame.State{Code: frame.CodeReceived, Fields: frame.List{0x43}}), frame.InvalidField, frame.ScopeSession, "received lacks section-offset")
	refused(t, declared.Decode(frame.State{Code: frame.CodeDeclared}), frame.InvalidField, frame.ScopeSession, "declared lacks txn-id")
	if got := (frame.State{}).Append(nil); !bytes.Equal(got, []byte{0x40}) {
		t.Errorf("no state is %x", got)
	}
}

// TestTransactions: 4 §4.5.1 to 4 §4.5.3
func TestTransactions(t *testing.T) {
	read := func(b []byte) frame.Value {
		v, _, err := frame.ReadValue(b, generous)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	id := read(frame.AppendString(nil, "global"))
	for _, want := range []frame.Declare{{}, {GlobalID: id}} {
		var got frame.Declare
		if err := got.Decode(read(want.Append(nil))); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	for _, want := range []frame.Discharge{{TxnID: []byte{1}}, {TxnID: []byte{1}, Fail: true}} {
		var got frame.Discharge
		if err := got.Decode(read(want.Append(nil))); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	refused(t, new(frame.Declare).Decode(read([]byte{0x45})), frame.DecodeError, frame.ScopeLink, "value is not a declare")
	refused(t, new(frame.Discharge).Decode(read(unhex(t, "00 53 32 45"))), frame.InvalidField, frame.ScopeLink, "discharge lacks txn-id")
}

// TestLifetime: 3 §3.5.10 to 3 §3.5.13
func TestLifetime(t *testing.T) {
	for _, d := range []frame.Descriptor{frame.CodeDeleteOnClose, frame.CodeDeleteOnNoLinks, frame.CodeDeleteOnNoMessages, frame.CodeDeleteOnNoLinksOrMessages} {
		m := frame.Map(frame.AppendNull(frame.AppendSymbol(nil, frame.SupportedDistributionModes))).WithLifetime(d)
		if got, err := m.Lifetime(); err != nil || got != d {
			t.Errorf("%s: got %s, %v", d, got, err)
		}
	}
	if d, err := (frame.Map)(nil).Lifetime(); d != 0 || err != nil {
		t.Errorf("without one: %s, %v", d, err)
	}
	_, err := frame.Map(nil).WithLifetime(0x2f).Lifetime()
	refused(t, err, frame.InvalidField, frame.ScopeLink, "lifetime-policy is none of the specification's")
}

func TestNames(t *testing.T) {
	for _, x := range []struct{ got, want string }{
		{frame.CodeSource.String(), "source"}, {frame.Descriptor(0x99).String(), "type 0x99"},
		{frame.Receiver.String(), "receiver"}, {frame.Sender.String(), "sender"}, {frame.SenderMixed.String(), "mixed"},
		{frame.ReceiverSecond.String(), "second"}, {frame.ReceiverSettleMode(2).String(), "2"}, {frame.SASLTemporaryError.String(), "sys-temp"},
		{frame.DurabilityConfiguration.String(), "configuration"}, {frame.ScopeLink.String(), "link"}, {frame.ProtocolSASL.String(), "SASL"},
		{frame.KindTimestamp.String(), "timestamp"}, {frame.TypeAMQP.String(), "AMQP"},
	} {
		if x.got != x.want {
			t.Errorf("got %s, want %s", x.got, x.want)
		}
	}
}

// random makes values that may be written: what is read again has to be equal.
type random struct{ *rand.Rand }

func (r random) maybe() bool { return r.IntN(3) == 0 }

func (r random) word(letters string) string {
	n := r.IntN(8)
	if r.IntN(20) == 0 {
		n = 300
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

func (r random) number(bits int) uint64 { return r.Uint64() >> (64 - bits) >> r.IntN(bits) }

const letters = "abcdefghijklmnop-:/"

// value writes a value of any type.
func (r random) value(dst []byte, depth int) []byte {
	if depth > 0 {
		switch r.IntN(12) {
		case 0:
			return frame.AppendList(dst, frame.List(r.values(depth-1)))
		case 1:
			return frame.AppendMap(dst, r.mapping(depth-1))
		case 2:
			return frame.AppendArray(dst, []byte{0x60}, 3, []byte{0, 1, 0, 2, 0, 3})
		case 3:
			return r.value(frame.AppendDescriptor(dst, frame.Descriptor(r.number(64))), depth-1)
		case 4:
			return frame.AppendSymbols(dst, []string{r.word(letters), r.word(letters)})
		}
	}
	switch r.IntN(18) {
	case 0:
		return frame.AppendBool(dst, r.maybe())
	case 1:
		return frame.AppendUbyte(dst, uint8(r.number(8)))
	case 2:
		return frame.AppendUshort(dst, uint16(r.number(16)))
	case 3:
		return frame.AppendUint(dst, uint32(r.number(32)))
	case 4:
		return frame.AppendUlong(dst, r.number(64))
	case 5:
		return frame.AppendByte(dst, int8(r.number(8)))
	case 6:
		return frame.AppendShort(dst, int16(r.number(16)))
	case 7:
		return frame.AppendInt(dst, int32(r.number(32)))
	case 8:
		return frame.AppendLong(dst, int64(r.number(64)))
	case 9:
		return frame.AppendFloat(dst, r.Float32())
	case 10:
		return frame.AppendDouble(dst, r.Float64())
	case 11:
		return frame.AppendChar(dst, 'ß')
	case 12:
		return frame.AppendTimestamp(dst, int64(r.number(64)))
	case 13:
		return frame.AppendUUID(dst, [16]byte{byte(r.number(8)), 15: 1})
	case 14:
		return frame.AppendBinary(dst, r.word("\x00\xff"))
	case 15:
		return frame.AppendString(dst, r.word(letters)+"€")
	case 16:
		return frame.AppendSymbol(dst, r.word(letters))
	}
	return frame.AppendDecimal64(dst, [8]byte{1, 2})
}

func (r random) values(depth int) (b []byte) {
	b = []byte{}
	for range r.IntN(4) {
		b = r.value(b, depth)
	}
	return b
}

// mapping is a map whose keys are symbols.
func (r random) mapping(depth int) frame.Map {
	m := frame.Map{}
	for i := range r.IntN(4) {
		m = r.value(frame.AppendSymbol(m, r.word(letters)+string(rune('0'+i))), depth)
	}
	return m
}

func (r random) state() frame.State {
	switch r.IntN(8) {
	case 0:
		return (&frame.Received{SectionNumber: uint32(r.number(32)), SectionOffset: r.number(64)}).State()
	case 1:
		return (&frame.TransactionalState{TxnID: []byte(r.word("\x00\xff")), Outcome: r.outcome()}).State()
	}
	return r.outcome()
}

func (r random) outcome() frame.State {
	switch r.IntN(5) {
	case 0:
		return frame.Accepted
	case 1:
		return frame.Released
	case 2:
		return (&frame.Rejected{Error: &frame.Error{Condition: frame.NotAllowed, Info: r.mapping(1)}}).State()
	case 3:
		return (&frame.Modified{UndeliverableHere: true, MessageAnnotations: r.mapping(1)}).State()
	}
	return frame.State{}
}

func (r random) described() frame.Map {
	m := frame.Map{}
	for i := range r.IntN(3) {
		m = r.value(frame.AppendDescriptor(frame.AppendSymbol(m, string(rune('a'+i))), 77), 1)
	}
	return m
}

func (r random) unsettled() frame.Map {
	m := frame.Map{}
	for i := range r.IntN(3) {
		m = r.state().Append(frame.AppendBinary(m, []byte{byte(i)}))
	}
	return m
}

// fill gives every field of a struct a random value of its type; names are those whose values are not free.
func (r random) fill(t *testing.T, v reflect.Value) {
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		switch p := f.Addr().Interface().(type) {
		case *bool:
			*p = r.maybe()
		case *frame.Role:
			*p = frame.Role(r.maybe())
		case *uint8:
			*p = uint8(r.number(8))
		case *uint16:
			*p = uint16(r.number(16))
		case *uint32:
			if *p = uint32(r.number(32)); name == "MaxFrameSize" {
				*p |= frame.MinMax
			}
		case *uint64:
			*p = r.number(64)
		case *frame.SenderSettleMode:
			*p = frame.SenderSettleMode(r.IntN(3))
		case *frame.ReceiverSettleMode:
			*p = frame.ReceiverSettleMode(r.IntN(2))
		case *frame.Durability:
			*p = frame.Durability(r.IntN(3))
		case *frame.SASLCode:
			*p = frame.SASLCode(r.IntN(5))
		case *frame.ExpiryPolicy:
			*p = []frame.ExpiryPolicy{frame.ExpireLinkDetach, frame.ExpireSessionEnd, frame.ExpireConnectionClose, frame.ExpireNever}[r.IntN(4)]
		case *frame.DistributionMode:
			*p = []frame.DistributionMode{"", frame.DistributionMove, frame.DistributionCopy}[r.IntN(3)]
		case *frame.Condition:
			*p = frame.Condition(r.word(letters))
		case *string:
			*p = r.word(letters)
		case *[]string:
			for range r.IntN(3) {
				*p = append(*p, r.word(letters))
			}
			if name == "Mechanisms" {
				*p = append(*p, "PLAIN")
			}
		case *[]byte:
			if *p = []byte(r.word(letters)); r.maybe() && name != "Challenge" && name != "Response" {
				*p = nil
			} else if name == "DeliveryTag" {
				*p = (*p)[:min(len(*p), 32)]
			}
		case *frame.Optional[uint16]:
			if r.maybe() {
				*p = frame.Some(uint16(r.number(16)))
			}
		case *frame.Optional[uint32]:
			if r.maybe() || name == "InitialDeliveryCount" {
				*p = frame.Some(uint32(r.number(32)))
			}
		case *frame.Optional[int64]:
			if r.maybe() {
				*p = frame.Some(int64(r.number(64)))
			}
		case *frame.Optional[frame.ReceiverSettleMode]:
			if r.maybe() {
				*p = frame.Some(frame.ReceiverSettleMode(r.IntN(2)))
			}
		case *frame.State:
			if *p = r.state(); name == "DefaultOutcome" {
				*p = r.outcome()
			}
		case *frame.Map:
			switch {
			case r.maybe():
			case name == "Filter":
				*p = r.described()
			case name == "Unsettled":
				*p = r.unsettled()
			default:
				*p = r.mapping(2)
			}
		case *frame.Value:
			if r.maybe() {
				*p = readValue(t, [][]byte{frame.AppendUlong(nil, r.number(64)), frame.AppendString(nil, r.word(letters)), frame.AppendBinary(nil, r.word(letters)), frame.AppendUUID(nil, [16]byte{1})}[r.IntN(4)])
			}
		default:
			if f.Kind() != reflect.Pointer {
				t.Fatalf("no random %s for %s", f.Type(), name)
			}
			if r.maybe() {
				f.Set(reflect.New(f.Type().Elem()))
				r.fill(t, f.Elem())
			}
		}
	}
}

func readValue(t testing.TB, b []byte) frame.Value {
	t.Helper()
	v, _, err := frame.ReadValue(b, generous)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	return v
}

var performatives = []frame.Descriptor{frame.CodeOpen, frame.CodeBegin, frame.CodeAttach, frame.CodeFlow, frame.CodeTransfer, frame.CodeDisposition,
	frame.CodeDetach, frame.CodeEnd, frame.CodeClose, frame.CodeSASLMechanisms, frame.CodeSASLInit, frame.CodeSASLChallenge, frame.CodeSASLResponse, frame.CodeSASLOutcome}

// What is written is read again as it was, and no part of it is taken for the whole.
func TestRandomPerformatives(t *testing.T) {
	const seed = 1
	r := random{rand.New(rand.NewPCG(seed, seed))}
	for _, d := range performatives {
		used := frame.New(d) // decoded into again and again: nothing of the last one may stay
		for i := range 300 {
			want := frame.New(d)
			r.fill(t, reflect.ValueOf(want).Elem())
			if a, ok := want.(*frame.Attach); ok && a.Coordinator != nil {
				a.Target = nil
			}
			if want.Descriptor() != d {
				t.Fatalf("%s is %s", d, want.Descriptor())
			}
			src := want.Append(nil)
			got := frame.New(d)
			if err := got.Decode(src, generous); err != nil {
				t.Fatalf("%s, seed %d, %d: %v of %x", d, seed, i, err, src)
			}
			if x, ok := want.(*frame.Transfer); ok && x.Payload == nil {
				x.Payload = []byte{}
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s, seed %d, %d:\n%+v became\n%+v", d, seed, i, want, got)
			}
			if err := used.Decode(src, generous); err != nil || !reflect.DeepEqual(used, want) {
				t.Fatalf("%s, seed %d, %d:\n%+v became\n%+v in one that was used, %v", d, seed, i, want, used, err)
			}
			if i >= 30 {
				continue
			}
			whole := len(src)
			if x, ok := want.(*frame.Transfer); ok {
				whole -= len(x.Payload)
			}
			for n := range whole {
				if frame.New(d).Decode(src[:n], generous) == nil {
					t.Fatalf("%s, seed %d, %d: %d of %d bytes pass", d, seed, i, n, whole)
				}
			}
		}
	}
}

func TestRandomValues(t *testing.T) {
	const seed = 2
	r := random{rand.New(rand.NewPCG(seed, seed))}
	for i := range 2000 {
		src := r.value(nil, 4)
		v, n, err := frame.ReadValue(src, frame.Limits{Depth: 8, Elements: 4096})
		if err != nil || n != len(src) || !bytes.Equal(v.Append(nil), src) {
			t.Fatalf("seed %d, %d: %x is read as %x, %v", seed, i, src, v.Append(nil), err)
		}
		if i >= 200 {
			continue
		}
		for n := range src {
			if _, _, err := frame.ReadValue(src[:n], generous); err == nil {
				t.Fatalf("seed %d, %d: %d bytes of %x pass", seed, i, n, src)
			}
		}
	}
}
