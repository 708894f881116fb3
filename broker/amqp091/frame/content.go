package frame

import "encoding/binary"

// ClassBasic is the class of all content.
const ClassBasic = uint16(BasicPublishID >> 16)

const contentHeaderSize = 12 // class, weight, body size

// ContentHeader is the payload of a content header frame. §4.2.6.1
//
//	0          2        4           12               14
//	+----------+--------+-----------+----------------+------------------
//	| class-id | weight | body size | property flags | property list …
//	+----------+--------+-----------+----------------+------------------
type ContentHeader struct {
	Class      uint16
	BodySize   uint64
	Properties Properties // aliases what was decoded
}

// Decode reads a payload. The properties are not looked at: see Properties.Scan.
func (h *ContentHeader) Decode(src []byte) error {
	c := cursor{src: src}
	h.Class = c.short()
	weight := c.short()
	h.BodySize = c.longLong()
	h.Properties = Properties(c.src)
	switch {
	case c.err != nil:
		return c.err
	case weight != 0:
		return errorf(SyntaxError, "content header has weight %d", weight) // §4.2.6.1: must be zero
	case len(c.src) < 2:
		return errorf(SyntaxError, "content header has no property flags")
	}
	return nil
}

// CutContent reads the header frame and the body frame of a message, if src begins with all of both, the body is in one
// frame, and they are of a channel and of class basic. Otherwise n is zero, and Read and Decode say what is there or
// missing. most is the negotiated frame-max. What it answers aliases src.
func CutContent(src []byte, channel uint16, most int) (p Properties, body []byte, n int) {
	header, n := cutFrame(src, TypeHeader, channel, most)
	if len(header) < contentHeaderSize+2 || binary.BigEndian.Uint32(header) != uint32(ClassBasic)<<16 { // and weight zero
		return nil, nil, 0
	}
	p = Properties(header[contentHeaderSize:])
	size := binary.BigEndian.Uint64(header[4:])
	if size == 0 {
		return p, nil, n
	}
	body, more := cutFrame(src[n:], TypeBody, channel, most)
	if more == 0 || uint64(len(body)) != size {
		return nil, nil, 0
	}
	return p, body, n + more
}

// cutFrame is Read for one who knows what should come: n is zero for anything else.
func cutFrame(src []byte, t Type, channel uint16, most int) (payload []byte, n int) {
	if len(src) < Overhead || src[0] != byte(t) || binary.BigEndian.Uint16(src[1:]) != channel {
		return nil, 0
	}
	size := uint64(binary.BigEndian.Uint32(src[3:])) + Overhead
	if size > uint64(len(src)) || size > uint64(most) || src[size-1] != end {
		return nil, 0
	}
	return src[headerSize : size-1 : size-1], int(size)
}

// Append writes a payload.
func (h *ContentHeader) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, h.Class)
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, h.BodySize)
	return append(dst, h.Properties...)
}

// Properties are the properties of a message as they are on the wire: two octets of flags, then those that are there.
type Properties []byte

// NoProperties are those of a message that has none.
var NoProperties = Properties{0, 0}

// The flags, in the order in which the properties follow one another. §4.2.6.1
const (
	flagContentType     = 1 << 15
	flagContentEncoding = 1 << 14
	flagHeaders         = 1 << 13
	flagDeliveryMode    = 1 << 12
	flagPriority        = 1 << 11
	flagCorrelationID   = 1 << 10
	flagReplyTo         = 1 << 9
	flagExpiration      = 1 << 8
	flagMessageID       = 1 << 7
	flagTimestamp       = 1 << 6
	flagType            = 1 << 5
	flagUserID          = 1 << 4
	flagAppID           = 1 << 3
	flagClusterID       = 1 << 2
	flagsUnknown        = 1<<1 | 1
)

// Persistent is the delivery mode of messages that survive a restart.
const Persistent = 2

// Basic is every property, read or to be written. Empty strings, empty tables and zeros are not written; what is to be
// there and empty has to be copied as Properties. Slices alias what they were read from.
type Basic struct {
	ContentType, ContentEncoding       []byte
	Headers                            Table
	DeliveryMode, Priority             uint8
	CorrelationID, ReplyTo, Expiration []byte
	MessageID                          []byte
	Timestamp                          uint64 // seconds since 1970
	Type, UserID, AppID, ClusterID     []byte
}

// Summary is the properties that routing and queueing need.
type Summary struct {
	DeliveryMode, Priority uint8
	Expiration, UserID     []byte // nil when absent
	CorrelationID, ReplyTo []byte // likewise
	MessageID              []byte // likewise
	Timestamp              uint64 // seconds since 1970
	Headers                Table
}

// Scan checks the properties, with the headers within limits, and tells those that a broker looks at. It allocates
// nothing unless it fails.
func (p Properties) Scan(l Limits, s *Summary) error {
	*s = Summary{}
	if len(p) == 2 && p[0] == 0 && p[1] == 0 {
		return nil
	}
	c := cursor{src: p}
	flags, err := c.flags()
	if err != nil {
		return err
	}
	c.skip(flags, flagContentType)
	c.skip(flags, flagContentEncoding)
	if flags&flagHeaders != 0 {
		if s.Headers = c.table(); c.err == nil && len(s.Headers) > 0 {
			c.err = s.Headers.Check(l)
		}
	}
	if flags&flagDeliveryMode != 0 {
		s.DeliveryMode = c.octet()
	}
	if flags&flagPriority != 0 {
		s.Priority = c.octet()
	}
	if flags&flagCorrelationID != 0 {
		s.CorrelationID = c.shortBytes()
	}
	if flags&flagReplyTo != 0 {
		s.ReplyTo = c.shortBytes()
	}
	if flags&flagExpiration != 0 {
		s.Expiration = c.shortBytes()
	}
	if flags&flagMessageID != 0 {
		s.MessageID = c.shortBytes()
	}
	if flags&flagTimestamp != 0 {
		s.Timestamp = c.longLong()
	}
	c.skip(flags, flagType)
	if flags&flagUserID != 0 {
		s.UserID = c.shortBytes()
	}
	c.skip(flags, flagAppID)
	c.skip(flags, flagClusterID)
	return c.end()
}

func (c *cursor) flags() (uint16, error) {
	flags := c.short()
	if c.err == nil && flags&flagsUnknown != 0 {
		return 0, errorf(SyntaxError, "property flags %#04x name properties that do not exist", flags)
	}
	return flags, c.err
}

func (c *cursor) skip(flags, flag uint16) {
	if flags&flag != 0 {
		c.shortBytes()
	}
}

// Decode reads all properties. Headers are not looked at: see Table.Check.
func (b *Basic) Decode(p Properties) error {
	*b = Basic{}
	c := cursor{src: p}
	flags, err := c.flags()
	if err != nil {
		return err
	}
	text := func(flag uint16, to *[]byte) {
		if flags&flag != 0 {
			*to = c.shortBytes()
		}
	}
	text(flagContentType, &b.ContentType)
	text(flagContentEncoding, &b.ContentEncoding)
	if flags&flagHeaders != 0 {
		b.Headers = c.table()
	}
	if flags&flagDeliveryMode != 0 {
		b.DeliveryMode = c.octet()
	}
	if flags&flagPriority != 0 {
		b.Priority = c.octet()
	}
	text(flagCorrelationID, &b.CorrelationID)
	text(flagReplyTo, &b.ReplyTo)
	text(flagExpiration, &b.Expiration)
	text(flagMessageID, &b.MessageID)
	if flags&flagTimestamp != 0 {
		b.Timestamp = c.longLong()
	}
	text(flagType, &b.Type)
	text(flagUserID, &b.UserID)
	text(flagAppID, &b.AppID)
	text(flagClusterID, &b.ClusterID)
	return c.end()
}

// Append writes the properties that are not empty.
func (b *Basic) Append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0)
	var flags uint16
	text := func(flag uint16, s []byte) {
		if len(s) > 0 {
			flags |= flag
			dst = appendShort(dst, s)
		}
	}
	octet := func(flag uint16, v uint8) {
		if v != 0 {
			flags |= flag
			dst = append(dst, v)
		}
	}
	text(flagContentType, b.ContentType)
	text(flagContentEncoding, b.ContentEncoding)
	if len(b.Headers) > 0 {
		flags |= flagHeaders
		dst = appendLong(dst, b.Headers)
	}
	octet(flagDeliveryMode, b.DeliveryMode)
	octet(flagPriority, b.Priority)
	text(flagCorrelationID, b.CorrelationID)
	text(flagReplyTo, b.ReplyTo)
	text(flagExpiration, b.Expiration)
	text(flagMessageID, b.MessageID)
	if b.Timestamp != 0 {
		flags |= flagTimestamp
		dst = binary.BigEndian.AppendUint64(dst, b.Timestamp)
	}
	text(flagType, b.Type)
	text(flagUserID, b.UserID)
	text(flagAppID, b.AppID)
	text(flagClusterID, b.ClusterID)
	binary.BigEndian.PutUint16(dst[at:], flags)
	return dst
}
