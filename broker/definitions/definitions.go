// Package definitions reads and writes RabbitMQ's definitions.json: virtual hosts, users, permissions, policies, queues,
// exchanges and bindings, as "rabbitmqctl export_definitions" and the management API of RabbitMQ 3 and 4 write them.
//
// It is a pure conversion to and from objects. What cannot be taken over is named with the reason, never left out without
// a word. docs/definitions.md has the table.
package definitions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/turnstone-mq/turnstone/broker/object"
)

// document is the file. Sections that it does not name are in no version that is known.
type document struct {
	RabbitVersion    string            `json:"rabbit_version,omitempty"`
	RabbitMQVersion  string            `json:"rabbitmq_version,omitempty"`
	ProductName      string            `json:"product_name,omitempty"`
	ProductVersion   string            `json:"product_version,omitempty"`
	Users            []user            `json:"users,omitempty"`
	VirtualHosts     []virtualHost     `json:"vhosts,omitempty"`
	Permissions      []permission      `json:"permissions,omitempty"`
	TopicPermissions []topicPermission `json:"topic_permissions,omitempty"`
	Parameters       []parameter       `json:"parameters,omitempty"`
	GlobalParameters []parameter       `json:"global_parameters,omitempty"`
	Policies         []policy          `json:"policies,omitempty"`
	// TopicPolicies are this broker's own; RabbitMQ passes them over.
	TopicPolicies []topicPolicy `json:"turnstone_topic_policies,omitempty"`
	Queues        []queue       `json:"queues,omitempty"`
	Exchanges     []exchange    `json:"exchanges,omitempty"`
	Bindings      []binding     `json:"bindings,omitempty"`
}

type user struct {
	Name      string `json:"name"`
	Hash      string `json:"password_hash"`
	Algorithm string `json:"hashing_algorithm,omitempty"`
	Password  string `json:"password,omitempty"`
	// Scram and OwnLimits are this broker's own; RabbitMQ passes them over.
	Scram     []string           `json:"turnstone_scram,omitempty"`
	ClientIDs []string           `json:"turnstone_client_ids,omitempty"`
	OwnLimits *object.UserLimits `json:"turnstone_limits,omitempty"`
	Tags      tags               `json:"tags"`
	Limits    pairs              `json:"limits,omitempty"`
}

type virtualHost struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Metadata    *struct {
		Description string `json:"description"`
	} `json:"metadata,omitempty"`
	Limits pairs `json:"limits,omitempty"`
	// Events are this broker's own; RabbitMQ passes them over.
	Events []object.EventKind `json:"turnstone_events,omitempty"`
}

type permission struct {
	User        string `json:"user"`
	VirtualHost string `json:"vhost"`
	Configure   string `json:"configure"`
	Write       string `json:"write"`
	Read        string `json:"read"`
	// Topics are this broker's own; RabbitMQ passes them over.
	Topics []object.TopicRule `json:"turnstone_topics,omitempty"`
}

type topicPermission struct {
	User        string `json:"user"`
	VirtualHost string `json:"vhost"`
}

type parameter struct {
	Component   string          `json:"component,omitempty"`
	VirtualHost string          `json:"vhost,omitempty"`
	Name        string          `json:"name"`
	Value       json.RawMessage `json:"value"`
}

type policy struct {
	VirtualHost string `json:"vhost,omitempty"`
	Name        string `json:"name,omitempty"`
	Pattern     string `json:"pattern"`
	ApplyTo     string `json:"apply-to,omitempty"`
	Priority    int    `json:"priority"`
	Definition  pairs  `json:"definition"`
}

type topicPolicy struct {
	VirtualHost string          `json:"vhost,omitempty"`
	Name        string          `json:"name"`
	Spec        json.RawMessage `json:"spec"`
}

type queue struct {
	Name        string           `json:"name"`
	VirtualHost string           `json:"vhost,omitempty"`
	Type        string           `json:"type,omitempty"`
	Durable     bool             `json:"durable"`
	AutoDelete  bool             `json:"auto_delete"`
	Arguments   object.Arguments `json:"arguments"`
}

type exchange struct {
	Name        string           `json:"name"`
	VirtualHost string           `json:"vhost,omitempty"`
	Type        string           `json:"type"`
	Durable     bool             `json:"durable"`
	AutoDelete  bool             `json:"auto_delete"`
	Internal    bool             `json:"internal"`
	Arguments   object.Arguments `json:"arguments"`
}

type binding struct {
	Source          string           `json:"source"`
	VirtualHost     string           `json:"vhost,omitempty"`
	Destination     string           `json:"destination"`
	DestinationType string           `json:"destination_type"`
	RoutingKey      string           `json:"routing_key"`
	Arguments       object.Arguments `json:"arguments"`
}

// tags are a list, or a text with commas in older versions.
type tags []string

func (t *tags) UnmarshalJSON(b []byte) error {
	var list []string
	if json.Unmarshal(b, &list) == nil {
		*t = list
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return errors.New("tags must be a list of texts, or one text with commas")
	}
	*t = nil
	for _, tag := range bytes.Split([]byte(text), []byte(",")) {
		if tag = bytes.TrimSpace(tag); len(tag) > 0 {
			*t = append(*t, string(tag))
		}
	}
	return nil
}

// pairs are an object, or a list of pairs, as rabbitmqctl writes some objects.
type pairs object.Arguments

func (p *pairs) UnmarshalJSON(b []byte) error {
	var a object.Arguments
	if json.Unmarshal(b, &a) == nil {
		*p = pairs(a)
		return nil
	}
	var list [][2]json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return errors.New("want an object")
	}
	fields := make(map[string]json.RawMessage, len(list))
	for _, pair := range list {
		var name string
		if err := json.Unmarshal(pair[0], &name); err != nil {
			return errors.New("want an object, or a list of pairs of a name and a value")
		}
		fields[name] = pair[1]
	}
	again, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(again, &a); err != nil {
		return err
	}
	*p = pairs(a)
	return nil
}

// number is a limit of pairs; zero when there is none, or none that limits.
func (p pairs) number(name string) int {
	n, ok := p[name].(int64)
	if !ok || n < 0 || n > 1<<31-1 {
		return 0
	}
	return int(n)
}

// decode reads a file, and the names of sections that mean nothing here.
func decode(file []byte) (d document, unknown []string, err error) {
	dec := json.NewDecoder(bytes.NewReader(file))
	var sections map[string]json.RawMessage
	if err := dec.Decode(&sections); err != nil {
		return d, nil, fmt.Errorf("definitions are not JSON: %w", explain(file, err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return d, nil, errors.New("definitions: more follows after the JSON")
	}
	if err := json.Unmarshal(file, &d); err != nil {
		return d, nil, fmt.Errorf("definitions: %w", err)
	}
	for name := range sections {
		if !known[name] {
			unknown = append(unknown, name)
		}
	}
	return d, unknown, nil
}

// explain adds the line to an error of syntax.
func explain(file []byte, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && syntax.Offset <= int64(len(file)) {
		return fmt.Errorf("line %d: %w", 1+bytes.Count(file[:syntax.Offset], []byte("\n")), err)
	}
	return err
}

// known are the sections, and what is written beside them that says nothing that could be taken over.
var known = map[string]bool{
	"rabbit_version": true, "rabbitmq_version": true, "product_name": true, "product_version": true, "rabbitmq_definition_format": true,
	"original_cluster_name": true, "original_vhost_name": true, "explanation": true, "metadata": true, "description": true, "default_queue_type": true,
	"users": true, "vhosts": true, "permissions": true, "topic_permissions": true, "parameters": true, "global_parameters": true,
	"policies": true, "turnstone_topic_policies": true, "queues": true, "exchanges": true, "bindings": true,
}
