package mapping

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	basic "github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/message"
)

// readAMQP10 makes properties of 0-9-1 of a message of AMQP 1.0.
func (e *toAMQP091) readAMQP10(m *message.Message) {
	var s frame.Message
	if s.Scan(m.Properties, unlimited) != nil {
		return // it was checked when it was published
	}
	e.amqp10Header(m)
	p := &s.Properties
	e.short(&e.basic.ContentType, "", p.ContentType)
	e.short(&e.basic.ContentEncoding, "", p.ContentEncoding)
	e.identity(&e.basic.MessageID, headerMessageID, headerLongID, p.MessageID)
	e.identity(&e.basic.CorrelationID, headerCorrelationOf, headerCorrelation, p.CorrelationID)
	e.short(&e.basic.UserID, "", p.UserID)
	e.address(string(p.ReplyTo))
	if t := p.CreationTime; t.Present && t.Value > 0 {
		e.basic.Timestamp = uint64(t.Value / 1000)
		if t.Value%1000 != 0 {
			e.value(headerCreation, t.Value)
		}
	}
	if t := p.AbsoluteExpiryTime; t.Present {
		e.value(headerExpiry, t.Value)
	}
	e.text(headerTo, p.To)
	e.text(headerSubject, p.Subject)
	e.text(headerGroup, p.GroupID)
	if n := p.GroupSequence; n.Present {
		e.value(headerSequence, int64(n.Value))
	}
	e.text(headerReplyGroup, p.ReplyToGroupID)
	for k, v := range s.Sections.ApplicationProperties.Map().All() {
		e.converted(k, v)
	}
	for k, v := range s.Sections.MessageAnnotations.Map().All() {
		e.annotation(k, v)
	}
	switch _, kind := body(m); kind {
	case bodyText:
		e.value(headerPayloadFormat, uint8(1))
	case bodyEncoded:
		e.basic.Type = []byte(typeOfAMQP10)
	}
}

// amqp10Header takes over what the header section said.
func (e *toAMQP091) amqp10Header(m *message.Message) {
	e.basic.DeliveryMode, e.basic.Priority = 1, m.Priority
	if m.Durable {
		e.basic.DeliveryMode = basic.Persistent
	}
	if m.Expiry != 0 {
		e.basic.Expiration = strconv.AppendInt(nil, left(m.Expiry), 10)
	}
}

func (e *toAMQP091) value(name string, v any) {
	if len(name) <= maxShort && e.room(len(name)+8) {
		e.headers = e.headers.With(name, v)
	}
}

func (e *toAMQP091) text(name string, v []byte) {
	if v != nil {
		e.header(name, string(v))
	}
}

// address is a reply-to: 0-9-1 has the name of a queue, MQTT a topic, and any other address is kept as it is.
func (e *toAMQP091) address(to string) {
	if to == "" {
		return
	}
	if name, ok := strings.CutPrefix(to, queuesPrefix); ok {
		if q, err := url.PathUnescape(name); err == nil && q != "" && url.PathEscape(q) == name && e.short(&e.basic.ReplyTo, "", []byte(q)) {
			return
		}
	}
	if key, ok := strings.CutPrefix(to, topicPrefix); ok {
		if k, err := url.PathUnescape(key); err == nil && url.PathEscape(k) == key && utf8.ValidString(k) {
			e.header(headerReplyTo, k)
			return
		}
	}
	e.header(headerAddress, to)
	if !strings.HasPrefix(to, "/") { // a plain name is that of a queue, mostly
		e.short(&e.basic.ReplyTo, "", []byte(to))
	}
}

// identity sets a property to an id of any type. Kind is the header that tells the type where the text does not, long the one
// of what is too long.
func (e *toAMQP091) identity(field *[]byte, kind, long string, v frame.Value) {
	if v.IsNull() {
		return
	}
	id := MessageID(v)
	_, isUUID := parseUUID(id)
	switch {
	case v.Kind() == frame.KindUlong:
		e.header(kind, idUlong)
	case v.Kind() == frame.KindBinary && utf8.ValidString(id):
		e.header(kind, idBytes)
	case v.Kind() == frame.KindString && isUUID:
		e.header(kind, idText)
	}
	e.short(field, long, []byte(id))
}

// MessageID is a message-id or a correlation-id as text, or the bytes of a binary one; empty for null.
func MessageID(v frame.Value) string {
	switch v.Kind() {
	case frame.KindUlong:
		n, _ := v.Uint()
		return strconv.FormatUint(n, 10)
	case frame.KindUUID:
		id, _ := v.UUID()
		return textOfUUID(id)
	}
	b, _ := v.Bytes()
	return string(b)
}

// annotation takes over an annotation: what it says of the exchange and the key, the envelope does.
func (e *toAMQP091) annotation(k, v frame.Value) {
	name, ok := k.Bytes()
	if !ok {
		return
	}
	text, isText := v.Bytes()
	switch string(name) {
	case annotationExchange, annotationKey:
		return
	case annotationCC:
		k = valueOf(frame.AppendSymbol(nil, headerCC))
	}
	if field := e.annotated(string(name)); field == nil || !isText || !e.short(field, "", text) {
		e.converted(k, v)
	}
}

// annotated is the property that an annotation stands for; nil for none.
func (e *toAMQP091) annotated(name string) *[]byte {
	switch name {
	case annotationType:
		return &e.basic.Type
	case annotationApp:
		return &e.basic.AppID
	case annotationContent:
		return &e.basic.ContentType
	case annotationEncoding:
		return &e.basic.ContentEncoding
	}
	return nil
}

// converted makes a header of a value, if there is one for its type. A header that has a meaning of its own is not made by
// the client of another protocol.
func (e *toAMQP091) converted(k, v frame.Value) {
	name, _ := k.Bytes()
	if len(name) > maxShort || bytes.HasPrefix(name, []byte(userOfAMQP)) || string(name) == headerPayloadFormat {
		return
	}
	if w, ok := tableValue(v); ok && e.room(len(name)+v.Size()) {
		e.headers = e.headers.With(string(name), w)
	}
}

// tableValue is a value as a table holds it; false for types that tables have not.
func tableValue(v frame.Value) (any, bool) {
	raw := func(k basic.Kind, n uint64, size int) (any, bool) {
		b := binary.BigEndian.AppendUint64(nil, n)
		return basic.Value{Kind: k, Raw: b[8-size:]}, true
	}
	n, _ := v.Uint()
	i, _ := v.Int()
	f, _ := v.Float()
	switch v.Kind() {
	case frame.KindNull:
		return nil, true
	case frame.KindBoolean:
		b, _ := v.Bool()
		return b, true
	case frame.KindUbyte:
		return raw(basic.Uint8, n, 1)
	case frame.KindUshort:
		return raw(basic.Uint16, n, 2)
	case frame.KindUint:
		return raw(basic.Uint32, n, 4)
	case frame.KindUlong:
		if n > math.MaxInt64 {
			return strconv.FormatUint(n, 10), true
		}
		return int64(n), true
	case frame.KindByte:
		return raw(basic.Int8, uint64(i), 1)
	case frame.KindShort:
		return raw(basic.Int16, uint64(i), 2)
	case frame.KindInt:
		return raw(basic.Int32, uint64(i), 4)
	case frame.KindLong:
		return i, true
	case frame.KindFloat:
		return raw(basic.Float, uint64(math.Float32bits(float32(f))), 4)
	case frame.KindDouble:
		return f, true
	case frame.KindTimestamp:
		return raw(basic.Timestamp, uint64(i/1000), 8)
	}
	return textValue(v)
}

// textValue is tableValue for what is text, or has parts.
func textValue(v frame.Value) (any, bool) {
	switch v.Kind() {
	case frame.KindChar:
		r, _ := v.Char()
		return string(r), true
	case frame.KindUUID:
		id, _ := v.UUID()
		return textOfUUID(id), true
	case frame.KindBinary:
		b, _ := v.Bytes()
		return bytes.Clone(b), true
	case frame.KindString, frame.KindSymbol:
		b, _ := v.Bytes()
		return string(b), true
	case frame.KindList, frame.KindArray:
		all := []any{}
		for e := range v.Elements() {
			if w, ok := tableValue(e); ok {
				all = append(all, w)
			}
		}
		return all, true
	case frame.KindMap:
		m, _ := v.Map()
		var t basic.Table
		for k, e := range m.All() {
			name, isText := k.Bytes()
			if w, ok := tableValue(e); ok && isText && len(name) <= maxShort {
				t = t.With(string(name), w)
			}
		}
		return t, true
	}
	return nil, false
}

// Plain is a value as plain data: nil, bool, int64, float64, string, []any or map[string]any, as exchanges compare them with
// the arguments of bindings.
func Plain(v frame.Value) any {
	w, ok := tableValue(v)
	if !ok {
		return nil
	}
	switch w := w.(type) {
	case basic.Value:
		return w.Any()
	case []byte:
		return string(w)
	case basic.Table:
		return w.Map()
	case []any:
		for i, e := range w {
			if x, ok := e.(basic.Value); ok {
				w[i] = x.Any()
			}
		}
		return w
	}
	return w
}

// MapOf is plain data, as Plain answers it, as a map with strings for keys, sorted.
func MapOf(m map[string]any) frame.Map { return tableMap(basic.NewTable(m)) }
