// Package amqp091 holds the tests that drive a broker process over AMQP 0-9-1 with the clients that users have. They are
// black box: they build the broker, start it, and know its command line and its ports. docs/amqp091.md is what they hold
// it to.
package amqp091
