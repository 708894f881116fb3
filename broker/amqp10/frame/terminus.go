package frame

// Durability says what of a terminus outlives a stop of its container. 3 §3.5.5
type Durability uint32

// The durabilities.
const (
	DurabilityNone           Durability = 0
	DurabilityConfiguration  Durability = 1 // that it exists
	DurabilityUnsettledState Durability = 2 // and its unsettled deliveries
)

func (d Durability) String() string {
	return nameOf(uint8(min(d, 0xff)), "none", "configuration", "unsettled-state")
}

// ExpiryPolicy says from when on the timeout of a terminus counts. 3 §3.5.6
type ExpiryPolicy string

// The policies.
const (
	ExpireLinkDetach      ExpiryPolicy = "link-detach"
	ExpireSessionEnd      ExpiryPolicy = "session-end" // the default
	ExpireConnectionClose ExpiryPolicy = "connection-close"
	ExpireNever           ExpiryPolicy = "never"
)

// DistributionMode says whether a message goes to one link or to all. 3 §3.5.7
type DistributionMode string

// The modes. The specification knows these; a node may know others.
const (
	DistributionMove DistributionMode = "move"
	DistributionCopy DistributionMode = "copy"
)

// Source is where messages of a link come from. 3 §3.5.3
type Source struct {
	Address               string // empty when absent
	Durable               Durability
	ExpiryPolicy          ExpiryPolicy
	Timeout               uint32 // seconds
	Dynamic               bool
	DynamicNodeProperties Map              // keys are symbols, see Map.Lifetime; nil when absent
	DistributionMode      DistributionMode // empty when absent
	Filter                Map              // keys are symbols, values described or null; nil when absent
	DefaultOutcome        State            // zero when absent
	Outcomes              []string         // symbols of those that may be used
	Capabilities          []string
}

func (s *Source) decode(f *fields) {
	s.Address = f.text("address")
	s.Durable, s.ExpiryPolicy = f.durable("durable"), f.expiryPolicy("expiry-policy")
	s.Timeout = f.uint("timeout", 0)
	s.Dynamic = f.flag("dynamic")
	s.DynamicNodeProperties = f.symbolMap("dynamic-node-properties")
	s.DistributionMode = DistributionMode(f.symbol("distribution-mode"))
	s.Filter = f.filter("filter")
	s.DefaultOutcome = f.outcome("default-outcome")
	s.Outcomes = f.symbols("outcomes")
	s.Capabilities = f.symbols("capabilities")
}

func (s *Source) append(dst []byte) []byte {
	w := begin(dst, CodeSource)
	w.text(s.Address)
	w.uint(uint32(s.Durable), uint32(DurabilityNone))
	w.textSymbol(string(s.ExpiryPolicy), string(ExpireSessionEnd))
	w.uint(s.Timeout, 0)
	w.flag(s.Dynamic)
	w.mapping(s.DynamicNodeProperties)
	w.textSymbol(string(s.DistributionMode), "")
	w.mapping(s.Filter)
	w.state(s.DefaultOutcome)
	w.symbols(s.Outcomes)
	w.symbols(s.Capabilities)
	return w.done()
}

// Target is where messages of a link go to. 3 §3.5.4
type Target struct {
	Address               string // empty when absent
	Durable               Durability
	ExpiryPolicy          ExpiryPolicy
	Timeout               uint32 // seconds
	Dynamic               bool
	DynamicNodeProperties Map // keys are symbols, see Map.Lifetime; nil when absent
	Capabilities          []string
}

func (t *Target) decode(f *fields) {
	t.Address = f.text("address")
	t.Durable, t.ExpiryPolicy = f.durable("durable"), f.expiryPolicy("expiry-policy")
	t.Timeout = f.uint("timeout", 0)
	t.Dynamic = f.flag("dynamic")
	t.DynamicNodeProperties = f.symbolMap("dynamic-node-properties")
	t.Capabilities = f.symbols("capabilities")
}

func (t *Target) append(dst []byte) []byte {
	w := begin(dst, CodeTarget)
	w.text(t.Address)
	w.uint(uint32(t.Durable), uint32(DurabilityNone))
	w.textSymbol(string(t.ExpiryPolicy), string(ExpireSessionEnd))
	w.uint(t.Timeout, 0)
	w.flag(t.Dynamic)
	w.mapping(t.DynamicNodeProperties)
	w.symbols(t.Capabilities)
	return w.done()
}

// The capabilities of coordinators. 4 §4.5.7
const (
	LocalTransactions       = "amqp:local-transactions"
	DistributedTransactions = "amqp:distributed-transactions"
	PromotableTransactions  = "amqp:promotable-transactions"
	MultiTxnsPerSession     = "amqp:multi-txns-per-ssn"
	MultiSessionsPerTxn     = "amqp:multi-ssns-per-txn"
)

// Coordinator is the target of a link that controls transactions. 4 §4.5.1
type Coordinator struct {
	Capabilities []string
}

func (c *Coordinator) decode(f *fields) { c.Capabilities = f.symbols("capabilities") }

func (c *Coordinator) append(dst []byte) []byte {
	w := begin(dst, CodeCoordinator)
	w.symbols(c.Capabilities)
	return w.done()
}

// source reads a source; nil when absent.
func (f *fields) source(name string) *Source {
	d, g := f.composite(name)
	if d == 0 {
		return nil
	}
	s := new(Source)
	if d == CodeSource {
		s.decode(&g)
	} else {
		g.isNot(name, "source")
	}
	f.join(&g)
	return s
}

// target reads a target or a coordinator; both nil when absent.
func (f *fields) target(name string) (t *Target, c *Coordinator) {
	d, g := f.composite(name)
	switch d {
	case 0:
		return nil, nil
	case CodeTarget:
		t = new(Target)
		t.decode(&g)
	case CodeCoordinator:
		c = new(Coordinator)
		c.decode(&g)
	default:
		g.isNot(name, "target and no coordinator")
	}
	f.join(&g)
	return t, c
}

func (f *fields) durable(name string) Durability {
	d := f.uint(name, uint32(DurabilityNone))
	if d > uint32(DurabilityUnsettledState) {
		f.invalid(name, d)
	}
	return Durability(d)
}

func (f *fields) expiryPolicy(name string) ExpiryPolicy {
	b := f.symbol(name)
	if b == nil {
		return ExpireSessionEnd
	}
	p := ExpiryPolicy(b)
	switch p {
	case ExpireLinkDetach, ExpireSessionEnd, ExpireConnectionClose, ExpireNever:
	default:
		f.invalid(name, string(p))
	}
	return p
}

// filter reads a filter set. 3 §3.5.8
func (f *fields) filter(name string) Map {
	m := f.symbolMap(name)
	for k, v := range m.All() {
		if !v.Described() && !v.IsNull() && f.err == nil {
			b, _ := k.Bytes()
			f.fail(InvalidField, "%s of %s has a filter %q that is not described", name, f.of, b)
		}
	}
	return m
}

// The names of node properties. 3 §3.5.9
const (
	lifetimePolicy             = "lifetime-policy"
	SupportedDistributionModes = "supported-dist-modes"
)

// Lifetime is the lifetime policy in the properties of a dynamic node: CodeDeleteOnClose, CodeDeleteOnNoLinks,
// CodeDeleteOnNoMessages or CodeDeleteOnNoLinksOrMessages; zero when there is none. Anything else is an error. 3 §3.5.9
func (m Map) Lifetime() (Descriptor, error) {
	v, _ := m.Lookup(lifetimePolicy)
	if v.IsNull() {
		return 0, nil
	}
	d := v.Type()
	if d < CodeDeleteOnClose || d > CodeDeleteOnNoLinksOrMessages || v.Plain().Described() || v.Kind() != KindList || v.Len() > 0 {
		return 0, faultf(ScopeLink, InvalidField, "%s is none of the specification's", lifetimePolicy)
	}
	return d, nil
}

// WithLifetime is the map with a lifetime policy. It may share its bytes with m, as append does.
func (m Map) WithLifetime(d Descriptor) Map {
	return append(AppendDescriptor(AppendSymbol([]byte(m), lifetimePolicy), d), encList0)
}
