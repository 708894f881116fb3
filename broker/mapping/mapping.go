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

// userOfAMQP begins the names of the user properties of MQTT that stand for properties of AMQP.
const userOfAMQP = "x-amqp-"
