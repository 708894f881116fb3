package amqp10

import (
	"context"
	"sync"

	"github.com/turnstone-mq/turnstone/broker/amqp10/frame"
	"github.com/turnstone-mq/turnstone/broker/hub"
)

// A dynamic node is a queue that the broker makes and names for a link. With delete-on-close it is the connection's own, and
// goes with the link's terminus. With another lifetime policy it may outlive that: links of any connection that may use the
// queue stand at it, and it goes when the last of them does, when its last message does, or when both have.
//
// A link exists as long as its terminus, also when that is suspended. Consumers and publishers of other protocols are no links.
// A node is in memory alone: it and its messages end with the broker's process. 3 §3.5.9

// dynamicNode is one that may outlive the link for which it was made.
type dynamicNode struct {
	policy frame.Descriptor
	queue  *hub.Queue // set with termini.mu held before the node is among them
	gone   bool       // guarded by termini.mu; the queue is

	mu    sync.Mutex // held while the queue is told what follows, so that it learns it in order
	links int        // guarded by mu; termini and links that stand at it
	made  bool       // guarded by mu; the link for which it was made exists
}

// nodeKey is the name of a queue in a virtual host.
type nodeKey struct {
	host  *hub.VirtualHost
	queue string
}

// makeDynamic makes a dynamic node for a link, and answers its properties, with the policy that is in force. 3 §3.5.9
func (l *link) makeDynamic(asked frame.Map) (name string, properties frame.Map, err error) {
	policy, err := asked.Lifetime()
	if err != nil {
		return "", nil, err
	}
	switch policy {
	case 0, frame.CodeDeleteOnClose: // 3 §3.5.10
		policy = frame.CodeDeleteOnClose
		name, err = l.session.makeExclusive()
		l.owned = name
	default: // 3 §3.5.11, 3 §3.5.12, 3 §3.5.13
		l.made = true
		l.joined, err = l.session.conn.makeNode(policy)
		if err == nil {
			name = l.joined.queue.Name()
		}
	}
	return name, frame.Map(nil).WithLifetime(policy), err
}

// makeNode makes a node that has one link: the one for which it is made.
func (c *connection) makeNode(policy frame.Descriptor) (*dynamicNode, error) {
	ts, limits := c.endpoint.termini, &c.config.Limits
	user := c.access.User()
	ts.mu.Lock()
	err := ts.admit(c.host.Name(), user, limits.SuspendedLinks, limits.SuspendedLinksPerUser)
	if err == nil {
		ts.add(c.host.Name(), user, 1)
	}
	ts.mu.Unlock()
	if err != nil {
		return nil, err
	}
	n := &dynamicNode{policy: policy, links: 1, made: true}
	q, err := c.host.DeclareQueue(context.Background(), c.access, hub.QueueDeclaration{Origin: c.origin, Gone: func() { ts.lost(n, c.host, user) }})
	ts.mu.Lock()
	defer ts.mu.Unlock()
	switch {
	case err != nil:
		ts.add(c.host.Name(), user, -1)
		return nil, err
	case n.gone:
		return nil, linkError(frame.ResourceDeleted, "the dynamic node %q was deleted as soon as it was made", q.Name())
	}
	n.queue = q
	ts.nodes[nodeKey{c.host, q.Name()}] = n
	return n, nil
}

// lost forgets a node whose queue is gone.
func (ts *termini) lost(n *dynamicNode, host *hub.VirtualHost, user string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.add(host.Name(), user, -1)
	if n.gone = true; n.queue != nil {
		delete(ts.nodes, nodeKey{host, n.queue.Name()})
	}
}

// join lets the link stand at the dynamic node of a queue, if it is one.
func (l *link) join(queue string) error {
	c := l.session.conn
	ts := c.endpoint.termini
	ts.mu.Lock()
	n := ts.nodes[nodeKey{c.host, queue}]
	ts.mu.Unlock()
	switch {
	case n == nil: // none, or one that has gone since the queue was found
		if _, err := c.host.Queue(queue, c.origin); hub.CodeOf(err) == hub.NotFound {
			return err
		}
		return nil
	case n == l.joined:
		return nil
	}
	if !n.join() {
		return linkError(frame.NotFound, "the dynamic node %q has just gone, as its lifetime-policy says", queue)
	}
	l.joined = n
	return nil
}

// unjoin leaves the node that the link has joined, and at which its terminus does not stand.
func (l *link) unjoin() {
	if l.joined != nil {
		l.joined.leave(l.made)
		l.joined = nil
	}
}

// stake is whose the queue of the link's node is.
func (l *link) stake(queue string) stake {
	if l.owned == queue || l.terminus.queue == queue && l.terminus.bound {
		return nodeOwned
	}
	return nodeShared
}

// stand lets the terminus stand where the link does.
func (l *link) stand() {
	l.terminus.standsAt(l.joined, l.made)
	l.joined = nil
}

// standsAt takes a node, which counts the terminus as a link already, in place of the one that the terminus stands at; made says
// that it was made for it.
func (t *terminus) standsAt(n *dynamicNode, made bool) {
	old, wasMade := t.node, t.made
	if t.node, t.made = n, made; old == nil {
		return
	}
	if old == n {
		t.made, wasMade = wasMade, false
	}
	old.leave(wasMade)
}

// join counts one more link; false: the node is gone.
func (n *dynamicNode) join() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links++
	if n.queue.DiscardWhenEmpty(n.ebbs()) {
		return true
	}
	n.links--
	return false
}

// leave counts one link less, which may be the one for which the node was made.
func (n *dynamicNode) leave(made bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links--
	n.made = n.made && !made
	if n.policy == frame.CodeDeleteOnNoLinks && n.links == 0 { // 3 §3.5.11
		n.queue.Discard()
		return
	}
	n.queue.DiscardWhenEmpty(n.ebbs())
}

// ebbs says whether the node goes with its last message; mu is held.
func (n *dynamicNode) ebbs() bool {
	switch n.policy {
	case frame.CodeDeleteOnNoMessages: // 3 §3.5.12
		return !n.made
	case frame.CodeDeleteOnNoLinksOrMessages: // 3 §3.5.13
		return n.links == 0
	}
	return false
}
