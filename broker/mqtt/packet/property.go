package packet

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// PropertyID names a property. [MQTT 5 §2.2.2.2]
type PropertyID uint8

// The properties.
const (
	PayloadFormat         PropertyID = 0x01
	MessageExpiry         PropertyID = 0x02 // seconds
	ContentType           PropertyID = 0x03
	ResponseTopic         PropertyID = 0x08
	CorrelationData       PropertyID = 0x09
	SubscriptionID        PropertyID = 0x0b
	SessionExpiry         PropertyID = 0x11 // seconds
	AssignedClientID      PropertyID = 0x12
	ServerKeepAlive       PropertyID = 0x13 // seconds
	AuthMethod            PropertyID = 0x15
	AuthData              PropertyID = 0x16
	RequestProblemInfo    PropertyID = 0x17
	WillDelay             PropertyID = 0x18 // seconds
	RequestResponseInfo   PropertyID = 0x19
	ResponseInfo          PropertyID = 0x1a
	ServerReference       PropertyID = 0x1c
	ReasonString          PropertyID = 0x1f
	ReceiveMaximum        PropertyID = 0x21
	TopicAliasMaximum     PropertyID = 0x22
	TopicAlias            PropertyID = 0x23
	MaximumQoS            PropertyID = 0x24
	RetainAvailable       PropertyID = 0x25
	UserProperty          PropertyID = 0x26
	MaximumPacketSize     PropertyID = 0x27 // bytes
	WildcardAvailable     PropertyID = 0x28
	SubscriptionIDsKnown  PropertyID = 0x29
	SharedSubscriptionsOK PropertyID = 0x2a
)

const propertyCount = 0x2b

// propertyForm is how a property's value is written.
type propertyForm uint8

const (
	noForm   propertyForm = iota
	formFlag              // a byte, 0 or 1
	formUint16
	formUint32
	formVarint
	formText
	formBinary
	formPair // two strings
)

// places are the packets that may carry a property, a bit for each type; a will counts as place 0.
type places uint16

func in(types ...Type) places {
	var p places
	for _, t := range types {
		p |= 1 << t
	}
	return p
}

const placeWill Type = 0

// property is a line of the table in MQTT 5 §2.2.2.2.
type property struct {
	form    propertyForm
	places  places
	nonzero bool
}

var properties = [propertyCount]property{
	PayloadFormat:         {form: formFlag, places: in(TypePublish, placeWill)},
	MessageExpiry:         {form: formUint32, places: in(TypePublish, placeWill)},
	ContentType:           {form: formText, places: in(TypePublish, placeWill)},
	ResponseTopic:         {form: formText, places: in(TypePublish, placeWill)},
	CorrelationData:       {form: formBinary, places: in(TypePublish, placeWill)},
	SubscriptionID:        {form: formVarint, places: in(TypePublish, TypeSubscribe), nonzero: true},
	SessionExpiry:         {form: formUint32, places: in(TypeConnect, TypeConnack, TypeDisconnect)},
	AssignedClientID:      {form: formText, places: in(TypeConnack)},
	ServerKeepAlive:       {form: formUint16, places: in(TypeConnack)},
	AuthMethod:            {form: formText, places: in(TypeConnect, TypeConnack, TypeAuth)},
	AuthData:              {form: formBinary, places: in(TypeConnect, TypeConnack, TypeAuth)},
	RequestProblemInfo:    {form: formFlag, places: in(TypeConnect)},
	WillDelay:             {form: formUint32, places: in(placeWill)},
	RequestResponseInfo:   {form: formFlag, places: in(TypeConnect)},
	ResponseInfo:          {form: formText, places: in(TypeConnack)},
	ServerReference:       {form: formText, places: in(TypeConnack, TypeDisconnect)},
	ReasonString:          {form: formText, places: in(TypeConnack, TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeSuback, TypeUnsuback, TypeDisconnect, TypeAuth)},
	ReceiveMaximum:        {form: formUint16, places: in(TypeConnect, TypeConnack), nonzero: true},
	TopicAliasMaximum:     {form: formUint16, places: in(TypeConnect, TypeConnack)},
	TopicAlias:            {form: formUint16, places: in(TypePublish), nonzero: true},
	MaximumQoS:            {form: formFlag, places: in(TypeConnack)},
	RetainAvailable:       {form: formFlag, places: in(TypeConnack)},
	UserProperty:          {form: formPair, places: ^places(0)},
	MaximumPacketSize:     {form: formUint32, places: in(TypeConnect, TypeConnack), nonzero: true},
	WildcardAvailable:     {form: formFlag, places: in(TypeConnack)},
	SubscriptionIDsKnown:  {form: formFlag, places: in(TypeConnack)},
	SharedSubscriptionsOK: {form: formFlag, places: in(TypeConnack)},
}

// Properties are the properties of a packet as they are on the wire, in order, without their length. Those that Decode
// answers are valid for their packet and alias its input; those that are to be sent are built with the Append methods.
type Properties []byte

// Value is the value of one property. Which fields count depends on the property.
type Value struct {
	Number     uint32 // of flags and integers
	Bytes      []byte // of strings and binary data; aliases the properties
	Name, Text []byte // of a user property; alias the properties
}

// All are the properties in order.
func (p Properties) All() iter.Seq2[PropertyID, Value] {
	return func(yield func(PropertyID, Value) bool) {
		for c := (cursor{src: p}); len(c.src) > 0; {
			id, v := c.property()
			if c.err != nil || !yield(id, v) {
				return
			}
		}
	}
}

// Get is the first value of a property.
func (p Properties) Get(id PropertyID) (Value, bool) {
	for c := (cursor{src: p}); len(c.src) > 0; {
		if have, v := c.property(); have == id && c.err == nil {
			return v, true
		}
	}
	return Value{}, false
}

// Number is the value of a flag or an integer, or what to take when there is none.
func (p Properties) Number(id PropertyID, otherwise uint32) uint32 {
	if v, ok := p.Get(id); ok {
		return v.Number
	}
	return otherwise
}

// Keep takes out, in place, the properties that keep says no to.
func (p Properties) Keep(keep func(PropertyID, Value) bool) Properties {
	kept := p[:0]
	for c := (cursor{src: p}); len(c.src) > 0; {
		from := c.src
		id, v := c.property()
		if c.err != nil {
			break
		}
		if keep(id, v) {
			kept = append(kept, from[:len(from)-len(c.src)]...)
		}
	}
	return kept
}

// AppendNumber adds a flag or an integer.
func (p Properties) AppendNumber(id PropertyID, v uint32) Properties {
	p = append(p, byte(id))
	switch properties[id].form {
	case formFlag:
		return append(p, byte(v))
	case formUint16:
		return binary.BigEndian.AppendUint16(p, uint16(v))
	case formUint32:
		return binary.BigEndian.AppendUint32(p, v)
	case formVarint:
		return appendVarint(p, int(v))
	}
	panic("packet: property is not a number")
}

// AppendText adds a string or binary data.
func (p Properties) AppendText(id PropertyID, v string) Properties {
	if f := properties[id].form; f != formText && f != formBinary {
		panic("packet: property is not a string")
	}
	return appendBytes(append(p, byte(id)), v)
}

// AppendUser adds a user property.
func (p Properties) AppendUser(name, value string) Properties {
	return appendBytes(appendBytes(append(p, byte(UserProperty)), name), value)
}

// property reads one property of the table.
func (c *cursor) property() (id PropertyID, v Value) {
	id = PropertyID(c.octet())
	if int(id) >= propertyCount || properties[id].form == noForm {
		c.fail(MalformedPacket, "unknown property")
		return id, v
	}
	switch properties[id].form {
	case formFlag:
		if v.Number = uint32(c.octet()); v.Number > 1 {
			c.fail(ProtocolError, "property is neither 0 nor 1")
		}
	case formUint16:
		v.Number = uint32(c.uint16())
	case formUint32:
		v.Number = c.uint32()
	case formVarint:
		v.Number = uint32(c.varint())
	case formText:
		v.Bytes = c.text() // [MQTT5-3.3.2-13], [MQTT5-3.3.2-19]
	case formBinary:
		v.Bytes = c.binary()
	case formPair:
		v.Name, v.Text = c.text(), c.text() // [MQTT5-1.5.7-1]
	}
	return id, v
}

// properties reads the properties of a packet and checks each. Versions before 5 have none.
func (c *cursor) properties(place Type, version Version) Properties {
	if version != V5 {
		return nil
	}
	all := c.take(c.varint())
	var seen uint64
	for p := (cursor{src: all}); len(p.src) > 0; {
		id, v := p.property()
		if p.err == nil {
			p.check(id, v, place, seen)
			seen |= 1 << id
		}
		if p.err != nil {
			c.fail(p.err.Code, p.err.Text)
			return nil
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

func (c *cursor) check(id PropertyID, v Value, place Type, seen uint64) {
	p := properties[id]
	switch {
	case p.places&(1<<place) == 0:
		c.fail(ProtocolError, "property is not one of this packet")
	case seen&(1<<id) != 0 && id != UserProperty && (id != SubscriptionID || place != TypePublish):
		c.fail(ProtocolError, "property is there twice") // [MQTT 5 §2.2.2.2 and the section of each property]
	case p.nonzero && v.Number == 0 && id == TopicAlias:
		c.fail(TopicAliasInvalid, "topic alias is zero") // [MQTT5-3.3.2-8]
	case p.nonzero && v.Number == 0:
		c.fail(ProtocolError, "property is zero")
	case id == ResponseTopic && bytes.ContainsAny(v.Bytes, "+#"):
		c.fail(ProtocolError, "response topic contains a wildcard") // [MQTT5-3.3.2-14]
	}
}

// appendProperties writes properties with their length, which is there when they are not. Versions before 5 have none.
// [MQTT5-2.2.2-1]
func appendProperties(dst []byte, p Properties, v Version) []byte {
	if v != V5 {
		return dst
	}
	return append(appendVarint(dst, len(p)), p...)
}
