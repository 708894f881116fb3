package session

import (
	"reflect"
	"testing"

	"github.com/turnstone-mq/turnstone/broker/router"
)

func example() State {
	return State{ClientID: "sensor-1", QueueID: 1<<63 | 5, Subscriptions: map[string]router.Options{
		"a/+/c": {QoS: 1, NoLocal: true}, "#": {QoS: 2, RetainAsPublished: true, SubscriptionID: 1 << 27},
	}}
}

func TestAppendDecode(t *testing.T) {
	for _, s := range []State{example(), {ClientID: "c"}, {}} {
		got, rest, err := Decode(append(s.Append(nil), "after"...))
		if err != nil || string(rest) != "after" || !reflect.DeepEqual(got, s) {
			t.Errorf("%+v comes back as %+v, %q left, %v", s, got, rest, err)
		}
	}
	whole := example().Append(nil)
	for n := range whole {
		if _, _, err := Decode(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken for a session", n, len(whole))
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(example().Append(nil))
	f.Add([]byte{1, 'c', 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, src []byte) {
		s, _, err := Decode(src)
		if err != nil {
			return
		}
		again, _, err := Decode(s.Append(nil))
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Errorf("%+v comes back as %+v: %v", s, again, err)
		}
	})
}
