package amqp10

import (
	"bytes"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/selector"
)

// The filters beside message selectors: those of Apache's registration, and of AMQP Filter Expressions (filtex) what RabbitMQ has.
const (
	directBindingCode  = 0x0000468c00000000
	topicBindingCode   = 0x0000468c00000001
	headersBindingCode = 0x0000468c00000002
	noLocalCode        = 0x0000468c00000003
	propertiesCode     = 0x173
	applicationCode    = 0x174
)

var filterSymbols = map[string]uint64{
	"apache.org:legacy-amqp-direct-binding:string": directBindingCode,
	"apache.org:legacy-amqp-topic-binding:string":  topicBindingCode,
	"apache.org:legacy-amqp-headers-binding:map":   headersBindingCode,
	"apache.org:no-local-filter:list":              noLocalCode,
	"amqp:properties-filter":                       propertiesCode,
	"amqp:application-properties-filter":           applicationCode,
	selectorSymbol:                                 selectorCode,
}

// filterCode is what filter a descriptor names; zero for one that is not known.
func filterCode(descriptor frame.Value) uint64 {
	if n, ok := descriptor.Uint(); ok {
		return n
	}
	b, _ := descriptor.Bytes()
	return filterSymbols[string(b)]
}

// chosenOf is what of the filters of a source is in force, and what they come to; nil when there is none. What is not
// understood is left out of the answer, by which the client sees that. 3 §3.5.8
func chosenOf(filters frame.Map) (inForce frame.Map, c *chosen, err error) {
	var all chosen
	for name, v := range filters.All() {
		known, err := all.add(filterCode(v.Descriptor()), v.Plain())
		if err != nil {
			return nil, nil, err
		}
		if known {
			inForce = v.Append(name.Append(inForce))
			c = &all
		}
	}
	all.asked = string(inForce)
	return inForce, c, nil
}

// add takes in a filter; false: it is not known.
func (c *chosen) add(code uint64, v frame.Value) (known bool, err error) {
	switch code {
	case selectorCode:
		return true, c.addSelector(v)
	case propertiesCode, applicationCode:
		return true, c.addConditions(v, code == applicationCode)
	case noLocalCode:
		c.noLocal = true
		return true, nil
	case directBindingCode, topicBindingCode, headersBindingCode:
		return true, c.addBinding(code, v)
	}
	return false, nil
}

// addSelector takes in a message selector. 3 §3.5.8/selector
func (c *chosen) addSelector(v frame.Value) error {
	text, isText := v.Bytes()
	switch {
	case c.selector != nil:
		return linkError(frame.InvalidField, "there are several message selectors: join them with AND")
	case !isText || v.Kind() != frame.KindString:
		return linkError(frame.InvalidField, "a message selector must be a string")
	}
	s, err := selector.Compile(string(text), selector.DefaultLimits)
	if err != nil {
		return linkError(frame.InvalidField, "%v", err)
	}
	c.selector = s
	return nil
}

// always says that everything is chosen.
func (c *chosen) always() bool {
	return !c.noLocal && len(c.conditions) == 0 && (c.selector == nil || c.selector.Always())
}

// requirement is what one entry of a property filter asks of a message: all of them must hold.
type requirement struct {
	header selector.Header // zero for an application property
	name   string          // of an application property
	affix  affix
	text   []byte      // with an affix
	want   frame.Value // without one; null is anything
}

// affix says what of a text is compared.
type affix uint8

const (
	whole affix = iota
	prefix
	suffix
)

// mostConditions bounds the entries of property filters.
const mostConditions = 64

// filterHeaders are the properties that a properties filter may name. filtex §4.2.4
var filterHeaders = map[string]selector.Header{
	"message-id": selector.MessageID, "user-id": selector.UserID, "to": selector.To, "subject": selector.Subject, "reply-to": selector.ReplyTo,
	"correlation-id": selector.CorrelationID, "content-type": selector.ContentType, "content-encoding": selector.ContentEncoding,
	"absolute-expiry-time": selector.AbsoluteExpiryTime, "creation-time": selector.CreationTime, "group-id": selector.GroupID,
	"group-sequence": selector.GroupSequence, "reply-to-group-id": selector.ReplyToGroupID,
}

func (c *chosen) addConditions(v frame.Value, application bool) error {
	m, ok := v.Map()
	if !ok {
		return linkError(frame.InvalidField, "a property filter must be a map")
	}
	for key, want := range m.All() {
		name, isText := key.Bytes()
		k := requirement{name: string(name), want: frame.Value{}}
		switch {
		case !isText:
			return linkError(frame.InvalidField, "the keys of a property filter must be symbols or strings")
		case len(c.conditions) == mostConditions:
			return linkError(frame.InvalidField, "property filters have more than %d entries", mostConditions)
		case !application:
			if k.header = filterHeaders[k.name]; k.header == 0 {
				return linkError(frame.InvalidField, "a properties filter cannot name %q: it is no field of the section properties", k.name)
			}
		}
		if err := k.expect(want); err != nil {
			return err
		}
		c.conditions = append(c.conditions, k)
	}
	return nil
}

// expect takes the reference value, with its modifier: &p:TEXT is a prefix, &s:TEXT a suffix, && the character itself. Drafts
// spell the modifier with a dollar sign, which is understood where it makes one. filtex §4.1.1
func (k *requirement) expect(want frame.Value) error {
	owned, _, err := frame.ReadValue(want.Append(nil), frame.Limits{Depth: 4, Elements: 64}) // it aliases the read buffer
	if err != nil || want.Kind() == frame.KindList || want.Kind() == frame.KindMap || want.Kind() == frame.KindArray {
		return linkError(frame.InvalidField, "the value of %q in a property filter must be of a simple type", k.name)
	}
	k.want = owned
	if owned.Kind() != frame.KindString {
		return nil
	}
	text, _ := owned.Bytes()
	switch {
	case bytes.HasPrefix(text, []byte("&p:")), bytes.HasPrefix(text, []byte("$p:")):
		k.affix, k.text = prefix, text[3:]
	case bytes.HasPrefix(text, []byte("&s:")), bytes.HasPrefix(text, []byte("$s:")):
		k.affix, k.text = suffix, text[3:]
	case bytes.HasPrefix(text, []byte("&&")), bytes.HasPrefix(text, []byte("$$")):
		k.want, _, _ = frame.ReadValue(frame.AppendString(nil, text[1:]), frame.Limits{Depth: 1, Elements: 1})
	case bytes.HasPrefix(text, []byte("&")):
		return linkError(frame.InvalidField, "%q in a property filter begins with a modifier that is not known: there are &p:, &s: and &&", text)
	}
	return nil
}

// holds says whether the message at hand meets a requirement.
func (c *chosen) holds(k *requirement) bool {
	if k.header != 0 {
		return c.headerHolds(k)
	}
	v, ok := c.sections.ApplicationProperties.Map().Lookup(k.name)
	if !ok || k.want.IsNull() {
		return ok
	}
	if k.affix != whole {
		text, isText := v.Bytes()
		return isText && k.fits(text)
	}
	return equal(v, k.want)
}

func (c *chosen) headerHolds(k *requirement) bool {
	switch {
	case k.want.IsNull():
		return true
	case k.affix == whole:
		v := c.Header(k.header)
		return v != selector.Value{} && v == operand(k.want)
	case k.header == selector.MessageID:
		text, isText := c.bare().MessageID.Bytes()
		return isText && k.fits(text)
	case k.header == selector.CorrelationID:
		text, isText := c.bare().CorrelationID.Bytes()
		return isText && k.fits(text)
	}
	text := c.text(k.header)
	return text != nil && k.fits(text)
}

// fits compares the affix of a text.
func (k *requirement) fits(text []byte) bool {
	if k.affix == prefix {
		return bytes.HasPrefix(text, k.text)
	}
	return bytes.HasSuffix(text, k.text)
}

// equal compares values of simple types: numbers by what they are, texts by their bytes. filtex §4.1.1
func equal(a, b frame.Value) bool {
	x, y := operand(a), operand(b)
	if x == y {
		return x != selector.Value{}
	}
	f, isFloat := asFloat(a)
	g, isOtherFloat := asFloat(b)
	return isFloat && isOtherFloat && f == g && x.Kind() != y.Kind() // an integer and a floating point number
}

func asFloat(v frame.Value) (float64, bool) {
	if n, ok := v.Int(); ok {
		return float64(n), true
	}
	if n, ok := v.Uint(); ok {
		return float64(n), true
	}
	return v.Float()
}

// addBinding takes in how the source is to be bound to its exchange.
func (c *chosen) addBinding(code uint64, v frame.Value) error {
	if c.binding != nil {
		return linkError(frame.InvalidField, "there are several binding filters: a source has one")
	}
	b := &bindingFilter{}
	switch code {
	case headersBindingCode:
		m, ok := v.Map()
		if !ok {
			return linkError(frame.InvalidField, "a headers-binding filter must be a map")
		}
		b.kind, b.arguments = "headers", plainMap(m)
	case topicBindingCode:
		b.kind = "topic"
	default:
		b.kind = "direct"
	}
	if code != headersBindingCode {
		text, ok := v.Bytes()
		if !ok {
			return linkError(frame.InvalidField, "a %s-binding filter must be a string", b.kind)
		}
		b.key = string(text)
	}
	c.binding = b
	return nil
}

// bindingFilter is a binding in the terms of AMQP 0-9-1.
type bindingFilter struct {
	kind      string // of the exchange
	key       string
	arguments object.Arguments
}

// rebind gives the node of a source the binding that its filter asks for.
func (l *outgoing) rebind(n node) (node, error) {
	if l.chosen == nil || l.chosen.binding == nil || n.kind != exchangeNode {
		return n, nil
	}
	b := l.chosen.binding
	if kind := l.session.conn.host.ExchangeType(n.exchange); kind != b.kind && kind != "" {
		return n, linkError(frame.InvalidField, "a %s-binding filter is for exchanges of type %s, and %q is of type %s", b.kind, b.kind, n.exchange, kind)
	}
	n.key, n.hasKey, n.arguments = b.key, true, b.arguments
	return n, nil
}

// restrict leaves the filters out of the answer, and out of force, that a node does not have: no-local where messages outlive
// the connection that published them, bindings of what is not bound.
func (l *outgoing) restrict(source *frame.Source, n node, lasts bool) {
	if l.chosen == nil {
		return
	}
	var kept frame.Map
	for name, v := range source.Filter.All() {
		switch code := filterCode(v.Descriptor()); {
		case code == noLocalCode && (lasts || n.kind != exchangeNode):
			l.chosen.noLocal = false
		case code <= headersBindingCode && code >= directBindingCode && n.kind != exchangeNode:
		default:
			kept = v.Append(name.Append(kept))
		}
	}
	source.Filter, l.chosen.asked = kept, string(kept)
	if l.chosen.noLocal {
		l.chosen.origin = l.session.conn.origin
	}
}
