package selector

import "strings"

// Name is what a selector asks of a message: a header, or an application property when Header is zero.
type Name struct {
	Header   Header
	Property string
}

// String is the name in the spelling of the normal form, without quotes.
func (n Name) String() string {
	if n.Header != 0 {
		return n.Header.String()
	}
	return n.Property
}

// Header is a field of a message that is no application property: of the sections header and properties of AMQP 1.0
// (§3.2.1, §3.2.4), or derived from them.
type Header uint8

// The headers. Times are in milliseconds since 1970, as in AMQP and JMS.
const (
	Durable       Header = 1 + iota // boolean
	Priority                        // exact number
	TTL                             // exact number, in milliseconds
	FirstAcquirer                   // boolean
	DeliveryCount                   // exact number: deliveries that failed before this one
	MessageID
	UserID
	To
	Subject
	ReplyTo
	CorrelationID
	ContentType
	ContentEncoding
	AbsoluteExpiryTime // exact number
	CreationTime       // exact number
	GroupID
	GroupSequence // exact number
	ReplyToGroupID
	DeliveryMode // text: "PERSISTENT" or "NON_PERSISTENT" (JMS 2.0 §3.8.1.1)
	Redelivered  // boolean: DeliveryCount > 0
	Deliveries   // exact number: DeliveryCount + 1 (JMS 2.0 §3.5.11)
)

// headers are their names: AMQP's with an underscore for each hyphen, as the registration of the selector filter asks, and
// those of JMS by the mapping of JMS to AMQP.
var headers = [...]struct{ name, jms string }{
	Durable:            {"amqp.durable", ""},
	Priority:           {"amqp.priority", "JMSPriority"},
	TTL:                {"amqp.ttl", ""},
	FirstAcquirer:      {"amqp.first_acquirer", ""},
	DeliveryCount:      {"amqp.delivery_count", ""},
	MessageID:          {"amqp.message_id", "JMSMessageID"},
	UserID:             {"amqp.user_id", "JMSXUserID"},
	To:                 {"amqp.to", "JMSDestination"},
	Subject:            {"amqp.subject", "JMSType"},
	ReplyTo:            {"amqp.reply_to", "JMSReplyTo"},
	CorrelationID:      {"amqp.correlation_id", "JMSCorrelationID"},
	ContentType:        {"amqp.content_type", ""},
	ContentEncoding:    {"amqp.content_encoding", ""},
	AbsoluteExpiryTime: {"amqp.absolute_expiry_time", "JMSExpiration"},
	CreationTime:       {"amqp.creation_time", "JMSTimestamp"},
	GroupID:            {"amqp.group_id", "JMSXGroupID"},
	GroupSequence:      {"amqp.group_sequence", "JMSXGroupSeq"},
	ReplyToGroupID:     {"amqp.reply_to_group_id", ""},
	DeliveryMode:       {"amqp.delivery_mode", "JMSDeliveryMode"},
	Redelivered:        {"amqp.redelivered", "JMSRedelivered"},
	Deliveries:         {"JMSXDeliveryCount", ""},
}

var headerOf = func() map[string]Header {
	all := make(map[string]Header)
	for h := Durable; int(h) < len(headers); h++ {
		all[headers[h].name] = h
		if headers[h].jms != "" {
			all[headers[h].jms] = h
		}
	}
	return all
}()

// String is the name that the normal form has for the header.
func (h Header) String() string { return headers[h].name }

// nameOf is what an identifier names. It is false for names that are reserved and are no header, so that a misspelled
// header is noticed and does not stand for a property that no message has. JMSX and JMS_ begin properties that others may
// define (JMS 2.0 §3.5.9, §3.5.10).
func nameOf(identifier string) (Name, bool) {
	if h, ok := headerOf[identifier]; ok {
		return Name{Header: h}, true
	}
	if strings.HasPrefix(identifier, "amqp.") {
		return Name{}, false
	}
	if rest, jms := strings.CutPrefix(identifier, "JMS"); jms && !strings.HasPrefix(rest, "X") && !strings.HasPrefix(rest, "_") {
		return Name{}, false
	}
	return Name{Property: identifier}, true
}
