package amqp10

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// Addresses of a client name an exchange, with or without a key, or a queue, in the spelling of one of these brokers:
//
//	RabbitMQ 4              /queues/NAME   /exchanges/NAME   /exchanges/NAME/KEY
//	RabbitMQ 3              /queue/NAME    /amq/queue/NAME   /exchange/NAME[/KEY]   /topic/KEY
//	Artemis, Qpid, JMS      NAME           with the capability queue or topic, or none
//	Service Bus             TOPIC/Subscriptions/NAME   and QUEUE/$DeadLetterQueue behind any name
//
// The parts of those that begin with a slash are percent-encoded.

// node is what an address names.
type node struct {
	kind     nodeKind
	exchange string
	key      string
	hasKey   bool
	queue    string
	make     bool // a queue that is not there is to be made
	plain    bool // what the name means depends on what there is

	arguments object.Arguments // of the binding to an exchange
	topic     string           // the queue is a subscription of Service Bus to this exchange
	spelled   string           // how the client spells a subscription of Service Bus
	dead      bool             // where the messages are that died in the queue
}

type nodeKind uint8

const (
	queueNode nodeKind = iota
	exchangeNode
	anonymousNode  // each message says where it goes
	managementNode // requests about queues, exchanges and bindings
	coordinatorNode
)

// managementAddress is the node of RabbitMQ 4 for requests.
const managementAddress = "/management"

// The capabilities that say what kind of node is meant, as JMS clients and Artemis name them.
var (
	queueCapabilities = []string{"queue", "temporary-queue"}
	topicCapabilities = []string{"topic", "temporary-topic"}
)

func hasAny(capabilities, of []string) bool {
	return slices.ContainsFunc(capabilities, func(c string) bool { return slices.Contains(of, c) })
}

// parseAddress reads an address; topics is the exchange of those that are called topics. The error is about the link.
func parseAddress(address string, capabilities []string, topics string) (node, error) {
	if !strings.HasPrefix(address, "/") {
		return parsePlain(address, capabilities, topics)
	}
	if address == managementAddress {
		return node{kind: managementNode}, nil
	}
	parts := strings.Split(address[1:], "/")
	for i, p := range parts {
		decoded, err := url.PathUnescape(p)
		if err != nil || !utf8.ValidString(decoded) {
			return node{}, linkError(frame.InvalidField, "address %q is not percent-encoded UTF-8", address)
		}
		parts[i] = decoded
	}
	first, rest := parts[0], parts[1:]
	switch {
	case first == "queues" && len(rest) == 1 && rest[0] != "":
		return node{kind: queueNode, queue: rest[0]}, nil
	case first == "queue" && len(rest) == 1 && rest[0] != "":
		return node{kind: queueNode, queue: rest[0], make: true}, nil
	case first == "amq" && len(rest) == 2 && rest[0] == "queue" && rest[1] != "":
		return node{kind: queueNode, queue: rest[1]}, nil
	case first == "exchanges" && len(rest) == 1 && rest[0] != "": // whose key is empty
		return node{kind: exchangeNode, exchange: rest[0], hasKey: true}, nil
	case first == "exchange" && len(rest) == 1 && rest[0] != "":
		return node{kind: exchangeNode, exchange: rest[0]}, nil
	case (first == "exchanges" || first == "exchange") && len(rest) == 2 && rest[0] != "":
		return node{kind: exchangeNode, exchange: rest[0], key: rest[1], hasKey: true}, nil
	case first == "topic" && len(rest) == 1 && rest[0] != "":
		return node{kind: exchangeNode, exchange: topics, key: rest[0], hasKey: true}, nil
	}
	return node{}, linkError(frame.InvalidField, "address %q is none of /queues/QUEUE, /exchanges/EXCHANGE[/KEY], /queue/QUEUE, /amq/queue/QUEUE, /exchange/EXCHANGE[/KEY], /topic/KEY", address)
}

// The prefixes with which clients of Artemis and Qpid may say what a name is of.
const (
	queuePrefix = "queue://"
	topicPrefix = "topic://"
)

func parsePlain(name string, capabilities []string, topics string) (node, error) {
	queue, topic := hasAny(capabilities, queueCapabilities), hasAny(capabilities, topicCapabilities)
	if n, ok := strings.CutPrefix(name, queuePrefix); ok {
		name, queue = n, true
	} else if n, ok := strings.CutPrefix(name, topicPrefix); ok {
		name, topic = n, true
	}
	if n, ok := parseServiceBus(name); ok && !topic {
		return n, nil
	}
	switch {
	case name == "":
		return node{}, linkError(frame.InvalidField, "address is empty")
	case topic:
		return node{kind: exchangeNode, exchange: topics, key: name, hasKey: true}, nil
	case queue:
		return node{kind: queueNode, queue: name, make: true}, nil
	}
	return node{kind: queueNode, queue: name, make: true, plain: true}, nil
}

// lookUp decides what a plain name means: a queue, or an exchange, or a queue that is to be made.
func (c *connection) lookUp(n node) node {
	if n.dead {
		return c.lookUpDead(n)
	}
	if n.spelled != "" && c.hasQueue(n.spelled) { // it was made under this very name
		return node{kind: queueNode, queue: n.spelled}
	}
	if n.plain && !c.hasQueue(n.queue) && c.host.HasExchange(n.queue) {
		return node{kind: exchangeNode, exchange: n.queue}
	}
	return n
}

// hasQueue says whether there is a queue to send to, were it another connection's own.
func (c *connection) hasQueue(name string) bool {
	_, err := c.host.Queue(name, c.origin)
	return err == nil || hub.CodeOf(err) == hub.Locked
}

// queueAddress is how RabbitMQ 4 spells the address of a queue.
func queueAddress(name string) string { return "/queues/" + url.PathEscape(name) }
