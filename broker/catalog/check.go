package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/turnstone-mq/turnstone/broker/object"
	"github.com/turnstone-mq/turnstone/broker/topic"
)

// Tags of users: an administrator may change the broker through the admin API, who is monitoring may read it. The others
// are those of RabbitMQ's users and give no right here.
const (
	TagAdministrator = "administrator"
	TagMonitoring    = "monitoring"
)

var hashes = []string{object.HashArgon2id, object.HashRabbitSHA256, object.HashRabbitSHA512}

// builtIn are the exchanges that every virtual host has without being told.
var builtIn = []string{"", "amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match"}

// BuiltIn says whether an exchange is there without being declared.
func BuiltIn(exchange string) bool { return slices.Contains(builtIn, exchange) }

const (
	longestName      = 255 // bytes; AMQP 0-9-1 short strings hold no more
	longestUserEntry = 1024
	longestRef       = 1024
	longestPattern   = 4096 // bytes of a regular expression
	generatedQueue   = "amq.gen-"
)

// checkKey looks at what names an object.
func checkKey(k object.Key, owner string) (object.Reason, error) {
	if !slices.Contains(object.Kinds, k.Kind) {
		return object.ReasonInvalid, fmt.Errorf("kind %q does not exist; there are %v", k.Kind, object.Kinds)
	}
	inHost := k.Kind != object.KindVirtualHost && k.Kind != object.KindUser
	switch {
	case inHost && k.VirtualHost == "":
		return object.ReasonInvalid, fmt.Errorf("%s needs a vhost; the default one is \"/\"", k)
	case !inHost && k.VirtualHost != "":
		return object.ReasonInvalid, fmt.Errorf("a %s does not live in a vhost: leave vhost empty", k.Kind)
	case k.Kind == object.KindBinding:
		return "", nil // its name is made of names that its spec is checked for
	case k.Kind == object.KindExchange && BuiltIn(k.Name):
		return object.ReasonProtected, fmt.Errorf("%s is built in and cannot be declared", k)
	case (k.Kind == object.KindExchange || k.Kind == object.KindQueue) && strings.HasPrefix(k.Name, "amq."):
		if owner == Anyone && k.Kind == object.KindQueue && strings.HasPrefix(k.Name, generatedQueue) {
			return "", nil
		}
		return object.ReasonProtected, fmt.Errorf("%s: names that begin with amq. are reserved: choose another name", k)
	}
	if err := checkName(k.Name); err != nil {
		return object.ReasonInvalid, fmt.Errorf("name of a %s: %w", k.Kind, err)
	}
	return "", nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("must not be empty")
	case len(name) > longestName:
		return fmt.Errorf("is %d bytes long, %d is the most", len(name), longestName)
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return fmt.Errorf("%q must be UTF-8 without NUL", name)
	}
	return nil
}

// check validates an object's spec and answers the object with the spec in its stored form.
func check(o object.Object) (object.Object, error) {
	o.Owner, o.Revision, o.ID = "", 0, 0
	var err error
	switch o.Kind {
	case object.KindVirtualHost:
		err = checked(&o, checkVirtualHost)
	case object.KindUser:
		err = checked(&o, checkUser)
	case object.KindPermission:
		err = checked(&o, checkPermission)
	case object.KindTopicPolicy:
		err = checked(&o, checkTopicPolicy)
	case object.KindPolicy:
		err = checked(&o, func(s *object.PolicySpec) error { return checkPolicy(s, false) })
	case object.KindOperatorPolicy:
		err = checked(&o, func(s *object.PolicySpec) error { return checkPolicy(s, true) })
	case object.KindExchange:
		err = checked(&o, checkExchange)
	case object.KindQueue:
		err = checked(&o, checkQueue)
	case object.KindBinding:
		err = checked(&o, checkBinding)
	}
	return o, err
}

func checked[T any](o *object.Object, look func(*T) error) error {
	spec, err := object.Decode[T](*o)
	if err != nil {
		return err
	}
	if err := look(&spec); err != nil {
		return err
	}
	o.Spec = encode(spec)
	return nil
}

func encode(spec any) json.RawMessage {
	b, err := json.Marshal(spec)
	if err != nil {
		panic(fmt.Sprintf("spec %#v is not plain data: %v", spec, err))
	}
	return b
}

func checkVirtualHost(s *object.VirtualHostSpec) error {
	if s.MaxConnections < 0 || s.MaxQueues < 0 {
		return errors.New("maxConnections and maxQueues must not be negative; zero is unlimited")
	}
	for _, e := range s.Events {
		if !slices.Contains(object.EventKinds, e) {
			return fmt.Errorf("events: %q does not exist; there are %v", e, object.EventKinds)
		}
	}
	slices.Sort(s.Events)
	s.Events = slices.Compact(s.Events)
	return nil
}

func checkUser(s *object.UserSpec) error {
	if s.Password != "" && s.PasswordHash != "" {
		return errors.New("password and passwordHash exclude one another: write one of them")
	}
	if s.PasswordHash != "" && !slices.ContainsFunc(hashes, func(begin string) bool { return strings.HasPrefix(s.PasswordHash, begin) }) {
		return errors.New("passwordHash must have the form $argon2id$v=19$m=…,t=…,p=…$salt$hash, or be one of RabbitMQ's behind $rabbit-sha256$ or $rabbit-sha512$")
	}
	if len(s.Password) > longestUserEntry || len(s.PasswordHash) > longestUserEntry {
		return fmt.Errorf("password and passwordHash must not be longer than %d bytes", longestUserEntry)
	}
	if err := checkScram(s); err != nil {
		return err
	}
	if err := s.CheckLogin(); err != nil {
		return err
	}
	slices.Sort(s.ClientIDs)
	s.ClientIDs = slices.Compact(s.ClientIDs)
	for _, t := range s.Tags {
		if !slices.Contains(object.Tags, t) {
			return fmt.Errorf("tag %q does not exist; there are %v", t, object.Tags)
		}
	}
	slices.Sort(s.Tags)
	s.Tags = slices.Compact(s.Tags)
	if err := s.Limits.Check(); err != nil {
		return fmt.Errorf("limits.%w", err)
	}
	return nil
}

func checkScram(s *object.UserSpec) error {
	if len(s.Scram) > 0 && s.PasswordHash == "" {
		return errors.New("scram holds the keys of the password that passwordHash is of: write both, or a password, of which the broker makes them")
	}
	for i, entry := range s.Scram {
		k, err := object.ParseScramKeys(entry)
		if err != nil {
			return fmt.Errorf("scram[%d]: %w", i, err)
		}
		if slices.ContainsFunc(s.Scram[:i], func(other string) bool { return strings.HasPrefix(other, k.Mechanism+"$") }) {
			return fmt.Errorf("scram[%d]: keys of %s are there already: write them once", i, k.Mechanism)
		}
	}
	return nil
}

func checkPermission(s *object.PermissionSpec) error {
	for _, e := range []struct{ field, expression string }{{"configure", s.Configure}, {"write", s.Write}, {"read", s.Read}} {
		if err := checkExpression(e.field, e.expression); err != nil {
			return err
		}
	}
	for i, t := range s.Topics {
		if err := topic.CheckFilter(t.Filter, 0); err != nil {
			return fmt.Errorf("topics[%d].filter: %w", i, err)
		}
		if !t.Publish && !t.Subscribe {
			return fmt.Errorf("topics[%d]: allows nothing: set publish or subscribe, or leave the rule out", i)
		}
	}
	return nil
}

func checkExpression(field, expression string) error {
	if len(expression) > longestPattern {
		return fmt.Errorf("%s: is %d bytes long, %d is the most", field, len(expression), longestPattern)
	}
	if _, err := regexp.Compile(expression); err != nil {
		return fmt.Errorf("%s: %q is no regular expression (RE2 syntax): %w", field, expression, err)
	}
	return nil
}

func checkTopicPolicy(s *object.TopicPolicySpec) error {
	if s.Filter == "" && s.QueuePattern == "" && len(s.AutoSubscribe) == 0 {
		return errors.New("filter, queuePattern or autoSubscribe must be set: the policy would cover nothing")
	}
	if s.Filter != "" {
		if err := topic.CheckFilter(s.Filter, 0); err != nil {
			return fmt.Errorf("filter: %w", err)
		}
	}
	if s.MaxQoS != nil && *s.MaxQoS > 2 {
		return fmt.Errorf("maxQoS: %d is not 0, 1 or 2", *s.MaxQoS)
	}
	if s.MessageExpirySeconds < 0 || s.MaxPayloadBytes < 0 || s.MaxMessagesPerSecond < 0 || s.MaxBytesPerSecond < 0 {
		return errors.New("messageExpirySeconds, maxPayloadBytes, maxMessagesPerSecond and maxBytesPerSecond must not be negative; zero is unlimited")
	}
	if err := s.OnExcess.Check(); err != nil {
		return err
	}
	if s.OnExcess != "" && s.MaxMessagesPerSecond == 0 && s.MaxBytesPerSecond == 0 {
		return errors.New("onExcess needs maxMessagesPerSecond or maxBytesPerSecond")
	}
	if err := checkRewrite(s); err != nil {
		return fmt.Errorf("rewrite%w", err)
	}
	if err := checkAutoSubscribe(s.AutoSubscribe); err != nil {
		return err
	}
	if err := checkExpression("queuePattern", s.QueuePattern); err != nil {
		return err
	}
	if s.QueuePattern == "" && len(s.QueueArguments) > 0 {
		return errors.New("queueArguments need a queuePattern that says for which queues")
	}
	if err := checkQueueArguments(s.QueueArguments); err != nil {
		return fmt.Errorf("queueArguments: %w", err)
	}
	return nil
}

// CheckExchange says which rule an exchange's spec breaks, also for exchanges that are no objects.
func CheckExchange(s object.ExchangeSpec) error { return checkExchange(&s) }

func checkExchange(s *object.ExchangeSpec) error {
	if !slices.Contains(object.ExchangeTypes, s.Type) {
		return fmt.Errorf("type %q does not exist; there are %v", s.Type, object.ExchangeTypes)
	}
	if err := checkHashing(s); err != nil {
		return err
	}
	if err := checkDelaying(s); err != nil {
		return err
	}
	for name := range s.Arguments {
		if strings.HasPrefix(name, "x-") && name != object.DelayedType {
			return fmt.Errorf("argument %q of exchanges is not supported: leave it out", name)
		}
	}
	alternate, _, err := s.Arguments.Text("alternate-exchange")
	if err == nil && len(alternate) > longestName {
		err = fmt.Errorf("alternate-exchange is %d bytes long, %d is the most", len(alternate), longestName)
	}
	return err
}

// checkHashing: what a consistent-hash exchange looks at is one thing.
func checkHashing(s *object.ExchangeSpec) error {
	header, byHeader, err := s.Arguments.Text(object.HashHeader)
	if err != nil {
		return err
	}
	property, byProperty, err := s.Arguments.Text(object.HashProperty)
	switch {
	case err != nil:
		return err
	case !byHeader && !byProperty:
		return nil
	case s.RoutesAs() != object.ExchangeConsistentHash:
		return fmt.Errorf("arguments %q and %q are for exchanges of type %s: leave them out", object.HashHeader, object.HashProperty, object.ExchangeConsistentHash)
	case byHeader && byProperty:
		return fmt.Errorf("arguments %q and %q exclude one another: leave one out", object.HashHeader, object.HashProperty)
	case byHeader && header == "":
		return fmt.Errorf("argument %q must not be empty", object.HashHeader)
	case byProperty && !slices.Contains(object.HashProperties, property):
		return fmt.Errorf("argument %q: %q does not exist; there are %v", object.HashProperty, property, object.HashProperties)
	}
	return nil
}

// checkDelaying: an exchange that delays messages says as what it routes them.
func checkDelaying(s *object.ExchangeSpec) error {
	as, there, err := s.Arguments.Text(object.DelayedType)
	switch {
	case err != nil:
		return err
	case s.Type != object.ExchangeDelayed && there:
		return fmt.Errorf("argument %q is for exchanges of type %s: leave it out", object.DelayedType, object.ExchangeDelayed)
	case s.Type == object.ExchangeDelayed && (as == object.ExchangeDelayed || !slices.Contains(object.ExchangeTypes, as)):
		return fmt.Errorf("argument %q must be the type as which the exchange routes, such as %s, and not %q", object.DelayedType, object.ExchangeDirect, as)
	}
	return nil
}

func checkBinding(s *object.BindingSpec) error {
	if s.DestinationType != object.DestinationQueue && s.DestinationType != object.DestinationExchange {
		return fmt.Errorf("destinationType %q does not exist; there are %q and %q", s.DestinationType, object.DestinationQueue, object.DestinationExchange)
	}
	if s.Source == "" {
		return errors.New("the default exchange has a binding to every queue already: name another source")
	}
	if s.Destination == "" {
		return errors.New("destination must not be empty")
	}
	if len(s.RoutingKey) > longestName {
		return fmt.Errorf("routingKey is %d bytes long, %d is the most", len(s.RoutingKey), longestName)
	}
	match, ok, err := s.Arguments.Text("x-match")
	if err != nil {
		return err
	}
	if matches := []string{"all", "any", "all-with-x", "any-with-x"}; ok && !slices.Contains(matches, match) {
		return fmt.Errorf("argument \"x-match\": %q does not exist; there are %v", match, matches)
	}
	return nil
}

// inequivalent says in which field, that cannot be changed in place, two objects of one key differ.
func inequivalent(before *object.Object, wanted object.Object) error {
	differ := func(field string, want, have any) error {
		return fmt.Errorf("inequivalent '%s' of %s: wanted %v but it is %v, and cannot be changed in place: delete it first, or write what it is", field, wanted.Key, want, have)
	}
	argument := func(want, have object.Arguments) error {
		if name, ok := want.Differ(have); ok {
			return differ(name, show(want, name), show(have, name))
		}
		return nil
	}
	switch wanted.Kind {
	case object.KindExchange:
		w, b := stored[object.ExchangeSpec](&wanted), stored[object.ExchangeSpec](before)
		switch {
		case w.Type != b.Type:
			return differ("type", w.Type, b.Type)
		case w.Durable != b.Durable:
			return differ("durable", w.Durable, b.Durable)
		case w.AutoDelete != b.AutoDelete:
			return differ("autoDelete", w.AutoDelete, b.AutoDelete)
		case w.Internal != b.Internal:
			return differ("internal", w.Internal, b.Internal)
		}
		return argument(w.Arguments, b.Arguments)
	case object.KindQueue:
		w, b := stored[object.QueueSpec](&wanted), stored[object.QueueSpec](before)
		switch {
		case w.Durable != b.Durable:
			return differ("durable", w.Durable, b.Durable)
		case w.AutoDelete != b.AutoDelete:
			return differ("autoDelete", w.AutoDelete, b.AutoDelete)
		}
		return argument(w.Arguments, b.Arguments)
	}
	return nil // a binding's name is all of it, the other kinds change in place
}

func show(a object.Arguments, name string) any {
	if v, ok := a[name]; ok {
		return fmt.Sprintf("%v", v)
	}
	return "unset"
}
