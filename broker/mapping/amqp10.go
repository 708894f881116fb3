package mapping

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	basic "github.com/turnstone-mq/turnstone/broker/amqp091/frame"
	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/message"
	"github.com/turnstone-mq/turnstone/broker/mqtt/packet"
)

// A message of AMQP 1.0 is one of 0-9-1 to MQTT, and one of MQTT is one of 0-9-1 to AMQP 1.0: there are two pairs of
// conversions and not three, so that what crosses by any way is the same.

// unlimited is for sections that were checked when they were published.
var unlimited = frame.Limits{Depth: math.MaxInt, Elements: math.MaxInt}

// AppendAMQP10 writes a message as a consumer of AMQP 1.0 sees it, from its annotations up to its payload, which follows as it
// is; the header is the delivery's. Note is annotations that consumers left on it. The sections of a message of AMQP 1.0 are passed on byte for byte, but for the
// annotations that say where it was published to.
func AppendAMQP10(dst []byte, m *message.Message, note frame.Map) []byte {
	if m.Encoding == message.AMQP10 {
		annotations, rest := frame.CutAnnotations(m.Properties)
		return append(appendAnnotations(dst, m, Annotated(annotations, note)), rest...)
	}
	a := toAMQP10{dst: dst, payload: m.Payload}
	a.read(m)
	a.annotations = Annotated(a.annotations, note)
	return a.append(m)
}

// Annotated is annotations with those that were put in later, of which the last one of a name counts. 3 §3.4.5
func Annotated(annotations, note frame.Map) frame.Map {
	if len(note) == 0 {
		return annotations
	}
	last := make(map[string]frame.Value)
	for k, v := range note.All() {
		last[string(k.Append(nil))] = v
	}
	var all frame.Map
	for k, v := range annotations.All() {
		if _, again := last[string(k.Append(nil))]; !again {
			all = v.Append(k.Append(all))
		}
	}
	for k := range note.All() {
		if v, ok := last[string(k.Append(nil))]; ok {
			delete(last, string(k.Append(nil)))
			all = v.Append(k.Append(all))
		}
	}
	return all
}

func appendAnnotations(dst []byte, m *message.Message, annotations frame.Map) []byte {
	return frame.AppendAnnotated(dst, annotations, annotationExchange, Text(m.Exchange), annotationKey, Text(m.RoutingKey()))
}

// Text is a name or a key as a string of AMQP 1.0, which is UTF-8: 0-9-1 has any bytes.
func Text(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// Priority is that of a message as AMQP 1.0 counts it.
func Priority(m *message.Message) uint8 {
	if m.Encoding != message.MQTT {
		return m.Priority
	}
	if v, ok := (&Attributes{packet.Properties(m.Properties)}).Header(userOfAMQP + "priority"); ok {
		if n, err := strconv.ParseUint(v.(string), 10, 8); err == nil {
			return uint8(n)
		}
	}
	return frame.DefaultPriority
}

// Payload is the payload of a message for consumers of MQTT and AMQP 0-9-1: what is in data, or in a value that is a string.
// Other bodies stay encoded. It aliases the message, unless its data is in several sections.
func Payload(m *message.Message) []byte {
	if m.Encoding != message.AMQP10 {
		return m.Payload
	}
	p, _ := body(m)
	return p
}

// bodyKind is what of a body the bytes of Payload are.
type bodyKind uint8

const (
	bodyData bodyKind = iota
	bodyText
	bodyEncoded
)

func body(m *message.Message) ([]byte, bodyKind) {
	var s frame.Message
	if s.Scan(m.Payload, unlimited) != nil {
		return m.Payload, bodyData // it was checked when it was published
	}
	switch s.BodyType {
	case frame.CodeData:
		var all []byte
		for v := range s.Body() {
			b, _ := v.Bytes()
			if s.BodyCount == 1 {
				return b, bodyData
			}
			all = append(all, b...)
		}
		return all, bodyData
	case frame.CodeValue:
		if v := s.Sections.Body.Value(); v.Kind() == frame.KindString && !v.Described() {
			b, _ := v.Bytes()
			return b, bodyText
		}
	case 0:
		return nil, bodyData
	}
	return s.Sections.Body, bodyEncoded
}

// toAMQP10 makes the sections of AMQP 1.0 of properties of 0-9-1.
type toAMQP10 struct {
	dst         []byte
	payload     []byte
	properties  frame.Properties
	annotations frame.Map // beside those that every message has
	application frame.Map
	ids         [2]string // types of message-id and correlation-id where their text does not tell
	long        [2][]byte // those that are too long for 0-9-1
	replyTo     string    // an address that is not that of a queue
	created     int64
	text        bool // the payload is a string
	encoded     bool // the payload is sections
	last        map[string]basic.Value
}

func (a *toAMQP10) read(m *message.Message) {
	_, p, _ := AMQP091(m, nil, math.MaxInt)
	var b basic.Basic
	if len(p) < 2 || b.Decode(p) != nil {
		return
	}
	a.last = make(map[string]basic.Value)
	for name, v := range b.Headers.All() { // of one that is there twice the last counts
		a.last[string(name)] = v
	}
	for name := range b.Headers.All() {
		v, ok := a.last[string(name)]
		if !ok {
			continue
		}
		delete(a.last, string(name))
		a.header(string(name), v)
	}
	a.identify(&a.properties.MessageID, longer(a.long[0], b.MessageID), a.ids[0])
	a.identify(&a.properties.CorrelationID, longer(a.long[1], b.CorrelationID), a.ids[1])
	a.properties.UserID = nilIfEmpty(b.UserID)
	a.symbol(&a.properties.ContentType, annotationContent, b.ContentType)
	a.symbol(&a.properties.ContentEncoding, annotationEncoding, b.ContentEncoding)
	if a.created == 0 && b.Timestamp > 0 && b.Timestamp <= math.MaxInt64/1000 {
		a.created = int64(b.Timestamp) * 1000
	}
	if a.created != 0 {
		a.properties.CreationTime = frame.Some(a.created)
	}
	switch {
	case a.replyTo != "":
		a.properties.ReplyTo = []byte(a.replyTo)
	case len(b.ReplyTo) > 0 && utf8.Valid(b.ReplyTo):
		a.properties.ReplyTo = []byte(queuesPrefix + url.PathEscape(string(b.ReplyTo)))
	}
	if string(b.Type) == typeOfAMQP10 && a.isBody() {
		a.encoded = true
	} else {
		a.annotate(annotationType, b.Type)
	}
	a.annotate(annotationApp, b.AppID)
}

// queuesPrefix and topicPrefix begin addresses; see package amqp10.
const (
	queuesPrefix = "/queues/"
	topicPrefix  = "/topic/"
)

// isBody says whether the payload is sections of a body. A client may say so of anything.
func (a *toAMQP10) isBody() bool {
	var s frame.Message
	const most = 1 << 16 // elements of what a client of another protocol calls an encoded body
	if s.Scan(a.payload, frame.Limits{Depth: 32, Elements: most}) != nil {
		return false
	}
	return s.BodyType != 0 && len(s.Sections.Body) == len(a.payload)
}

// longer is an id that has its place in a header, or else that of the property.
func longer(header, property []byte) []byte {
	if len(property) > 0 {
		return property
	}
	return header
}

func nilIfEmpty(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// symbol sets a property that must be ASCII; another text becomes an annotation.
func (a *toAMQP10) symbol(field *[]byte, annotation string, v []byte) {
	if isASCII(v) {
		*field = nilIfEmpty(v)
	} else {
		a.annotate(annotation, v)
	}
}

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func (a *toAMQP10) annotate(name string, v []byte) {
	if len(v) > 0 && utf8.Valid(v) {
		a.annotations = frame.AppendString(frame.AppendSymbol(a.annotations, name), v)
	}
}

// The types of ids that have a text which does not tell them.
const (
	idUlong = "ulong"
	idBytes = "binary" // that is UTF-8
	idText  = "string" // that is the text of a uuid
)

const uuidPrefix = "urn:uuid:"

// identify makes a message-id of a text or of bytes.
func (a *toAMQP10) identify(field *frame.Value, id []byte, kind string) {
	if len(id) == 0 {
		return
	}
	n, err := strconv.ParseUint(string(id), 10, 64)
	uuid, isUUID := parseUUID(string(id))
	var b []byte
	switch {
	case kind == idUlong && err == nil:
		b = frame.AppendUlong(nil, n)
	case kind == "" && isUUID:
		b = frame.AppendUUID(nil, uuid)
	case kind == idBytes || !utf8.Valid(id):
		b = frame.AppendBinary(nil, id)
	default:
		b = frame.AppendString(nil, id)
	}
	*field = valueOf(b)
}

// valueOf is a value that was just written.
func valueOf(b []byte) frame.Value {
	v, _, err := frame.ReadValue(b, unlimited)
	if err != nil {
		panic("BUG: a value that was just written: " + err.Error())
	}
	return v
}

func parseUUID(s string) (id [16]byte, ok bool) {
	digits, ok := strings.CutPrefix(s, uuidPrefix)
	if !ok || len(digits) != 36 || digits[8] != '-' || digits[13] != '-' || digits[18] != '-' || digits[23] != '-' {
		return id, false
	}
	n, err := hex.Decode(id[:], []byte(strings.ReplaceAll(digits, "-", "")))
	return id, err == nil && n == len(id) && textOfUUID(id) == s
}

func textOfUUID(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return uuidPrefix + h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// header gives a header its place: a property that AMQP 1.0 has, an annotation if its name begins with x- or its value is none
// of an application property, else an application property.
func (a *toAMQP10) header(name string, v basic.Value) {
	if a.property(name, v) {
		return
	}
	b, ok := appendValue(nil, v)
	nested := v.Kind == basic.Array || v.Kind == basic.Nested
	switch {
	case !ok:
	case name == headerCC:
		a.annotations = append(frame.AppendSymbol(a.annotations, annotationCC), b...)
	case isASCII(name) && (strings.HasPrefix(name, "x-") || nested):
		a.annotations = append(frame.AppendSymbol(a.annotations, name), b...)
	case utf8.ValidString(name) && !nested:
		a.application = append(frame.AppendString(a.application, name), b...)
	}
}

// property takes a header that stands for a property of AMQP 1.0; false when it is none, or not of its type.
func (a *toAMQP10) property(name string, v basic.Value) bool {
	text := v.Kind == basic.LongString && utf8.Valid(v.Raw)
	p := &a.properties
	switch {
	case name == headerPayloadFormat:
		n, _ := v.Any().(int64)
		a.text = n == 1 && utf8.Valid(a.payload)
		return a.text
	case name == headerCorrelation && (text || v.Kind == basic.Bytes):
		a.long[1] = v.Raw
		return true
	case name == headerLongID && (text || v.Kind == basic.Bytes):
		a.long[0] = v.Raw
		return true
	case name == headerReplyTo && text:
		a.replyTo = topicPrefix + url.PathEscape(string(v.Raw))
		return true
	case !strings.HasPrefix(name, userOfAMQP):
		return false
	case name == headerExpiry, name == headerCreation, name == headerSequence:
		n, ok := number(v)
		switch {
		case !ok:
			return false
		case name == headerExpiry:
			p.AbsoluteExpiryTime = frame.Some(n)
		case name == headerCreation:
			a.created = n
		case n < 0 || n > math.MaxUint32:
			return false
		default:
			p.GroupSequence = frame.Some(uint32(n))
		}
		return true
	case !text:
		return false
	}
	switch name {
	case headerTo:
		p.To = v.Raw
	case headerSubject:
		p.Subject = v.Raw
	case headerGroup:
		p.GroupID = v.Raw
	case headerReplyGroup:
		p.ReplyToGroupID = v.Raw
	case headerAddress:
		a.replyTo = string(v.Raw)
	case headerMessageID:
		a.ids[0] = string(v.Raw)
	case headerCorrelationOf:
		a.ids[1] = string(v.Raw)
	default:
		return false
	}
	return true
}

// number is a whole number, which MQTT carries as text.
func number(v basic.Value) (int64, bool) {
	switch x := v.Any().(type) {
	case int64:
		return x, true
	case string:
		n, err := strconv.ParseInt(x, 10, 64)
		return n, err == nil
	}
	return 0, false
}

// append writes the sections.
func (a *toAMQP10) append(m *message.Message) []byte {
	dst := appendAnnotations(a.dst, m, a.annotations)
	dst = a.properties.Append(dst)
	if len(a.application) > 0 {
		dst = frame.AppendMapSection(dst, frame.CodeApplicationProperties, a.application)
	}
	switch {
	case a.encoded:
		return dst
	case a.text:
		return frame.AppendTextHeader(dst, len(a.payload))
	}
	return frame.AppendDataHeader(dst, len(a.payload))
}

// appendValue writes a value of a table as one of AMQP 1.0; false when there is none.
func appendValue(dst []byte, v basic.Value) ([]byte, bool) {
	b := v.Raw
	switch v.Kind {
	case basic.Void:
		return frame.AppendNull(dst), true
	case basic.Bool:
		return frame.AppendBool(dst, b[0] != 0), true
	case basic.Int8:
		return frame.AppendByte(dst, int8(b[0])), true
	case basic.Uint8:
		return frame.AppendUbyte(dst, b[0]), true
	case basic.Int16, basic.ShortInt:
		return frame.AppendShort(dst, int16(binary.BigEndian.Uint16(b))), true
	case basic.Uint16:
		return frame.AppendUshort(dst, binary.BigEndian.Uint16(b)), true
	case basic.Int32:
		return frame.AppendInt(dst, int32(binary.BigEndian.Uint32(b))), true
	case basic.Uint32:
		return frame.AppendUint(dst, binary.BigEndian.Uint32(b)), true
	case basic.Int64, basic.LongInt:
		return frame.AppendLong(dst, int64(binary.BigEndian.Uint64(b))), true
	case basic.Float:
		return frame.AppendFloat(dst, math.Float32frombits(binary.BigEndian.Uint32(b))), true
	case basic.Double:
		return frame.AppendDouble(dst, math.Float64frombits(binary.BigEndian.Uint64(b))), true
	case basic.Decimal:
		f, _ := v.Any().(float64)
		return frame.AppendDouble(dst, f), true
	case basic.Timestamp:
		n := binary.BigEndian.Uint64(b)
		return frame.AppendTimestamp(dst, int64(min(n, math.MaxInt64/1000))*1000), true
	case basic.Bytes:
		return frame.AppendBinary(dst, b), true
	case basic.LongString:
		if !utf8.Valid(b) {
			return frame.AppendBinary(dst, b), true
		}
		return frame.AppendString(dst, b), true
	case basic.Array:
		var l frame.List
		for _, e := range v.Elements() {
			if next, ok := appendValue(l, e); ok {
				l = next
			}
		}
		return frame.AppendList(dst, l), true
	case basic.Nested:
		return frame.AppendMap(dst, tableMap(basic.Table(b))), true
	}
	return dst, false
}

// tableMap is a table as a map, in which a name is only once.
func tableMap(t basic.Table) (m frame.Map) {
	last := make(map[string]basic.Value)
	for name, v := range t.All() {
		last[string(name)] = v
	}
	for name := range t.All() {
		v, ok := last[string(name)]
		delete(last, string(name))
		if ok && utf8.Valid(name) {
			if b, ok := appendValue(frame.AppendString(m, name), v); ok {
				m = b
			}
		}
	}
	return m
}
