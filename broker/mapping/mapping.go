// Package mapping says what a message of one protocol is in another: its properties in the form of the consumer's.
//
// A message that a consumer's own protocol published is delivered with the properties that it came with, octet by octet.
// What becomes of the others is the table in docs/mapping.md, which this package is the code of. A property that has no
// place in the other protocol gets a name there that finds its way back, so that a message that crosses twice is what it
// was, as far as both protocols can hold it.
package mapping

// The headers of AMQP that say how a message came over MQTT.
const (
	headerQoS           = "x-mqtt-qos"
	headerRetain        = "x-mqtt-retain"
	headerTopic         = "x-mqtt-topic"
	headerClientID      = "x-mqtt-client-id"
	headerPayloadFormat = "x-mqtt-payload-format"

	headersOfMQTT = "x-mqtt-"
)

// The headers of AMQP that stand for properties of MQTT which AMQP has in another form.
const (
	headerReplyTo     = "x-reply-to-topic" // a routing key; reply-to is a queue
	headerCorrelation = "x-correlation-id" // correlation data that is no short string
)

// The annotations of AMQP 1.0 that say how a message came, or hold what it has no property for.
const (
	annotationExchange = "x-exchange"
	annotationKey      = "x-routing-key"
	annotationType     = "x-basic-type"
	annotationApp      = "x-basic-app-id"
	annotationContent  = "x-basic-content-type" // one that is not ASCII
	annotationEncoding = "x-basic-content-encoding"
	annotationCC       = "x-cc" // further routing keys, which 0-9-1 has in a header
	headerCC           = "CC"
)

// The headers of AMQP 0-9-1, and the user properties of MQTT, that hold what AMQP 1.0 alone has.
const (
	headerTo            = userOfAMQP + "to"
	headerSubject       = userOfAMQP + "subject"
	headerAddress       = userOfAMQP + "reply-to-address" // one that is not the address of a queue
	headerMessageID     = userOfAMQP + "message-id-type"  // where its text does not tell: ulong, binary, string
	headerLongID        = userOfAMQP + "message-id"       // what is too long for the property
	headerCorrelationOf = userOfAMQP + "correlation-id-type"
	headerExpiry        = userOfAMQP + "absolute-expiry-time" // milliseconds since 1970
	headerCreation      = userOfAMQP + "creation-time"        // likewise, when it is no whole second
	headerGroup         = userOfAMQP + "group-id"
	headerSequence      = userOfAMQP + "group-sequence"
	headerReplyGroup    = userOfAMQP + "reply-to-group-id"
)

// typeOfAMQP10 is the type of AMQP 0-9-1 that says that a body is one or more encoded sections of AMQP 1.0.
const typeOfAMQP10 = "amqp-1.0"

// userOfAMQP begins the names of the user properties of MQTT that stand for properties of AMQP.
const userOfAMQP = "x-amqp-"
