// Package amqp10 holds the tests that drive a broker process over AMQP 1.0 with the clients that users have, beside clients of
// the other protocols. They are black box: they build the broker, start it, and know its command line and its ports.
// docs/amqp10.md is what they hold it to.
package amqp10
