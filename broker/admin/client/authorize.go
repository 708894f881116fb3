package client

import (
	"context"
	"net/http"
)

// Question is the body of POST /v1/authorize: may this user do that.
type Question struct {
	// User is empty for an anonymous client.
	User        string `json:"user"`
	VirtualHost string `json:"vhost,omitempty"` // "/" when it is empty
	ClientID    string `json:"clientID,omitempty"`
	// Action is configure, write or read, of which Target names an exchange or a queue, or publish or subscribe, for which
	// Target is a topic or filter of MQTT.
	Action string `json:"action"`
	Target string `json:"target"`
	// Exchange makes Target the routing or binding key that an AMQP client uses with this exchange.
	Exchange string `json:"exchange,omitempty"`
}

// Decision is the answer.
type Decision struct {
	Allowed bool `json:"allowed"`
	// Rules are what allows it, in the order in which the broker asks.
	Rules []string `json:"rules,omitempty"`
	// Why it is refused, in the words that the client would be told.
	Why string `json:"why,omitempty"`
	// Topic is what is published or subscribed to after topic policies have renamed it.
	Topic string `json:"topic,omitempty"`
}

// Authorize asks whether a user may do something.
func (c *Client) Authorize(ctx context.Context, q Question) (Decision, error) {
	var out Decision
	return out, c.call(ctx, http.MethodPost, "/v1/authorize", nil, q, &out)
}
