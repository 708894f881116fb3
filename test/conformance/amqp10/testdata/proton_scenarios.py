"""What users of Qpid Proton do, each scenario on a connection of its own. Prints "ok NAME" for each."""
import sys
import uuid

from proton import ConnectionException, Message, Timeout, int32, symbol
from proton.handlers import TransactionalClientHandler
from proton.reactor import AtMostOnce, Container, LinkOption
from proton.utils import BlockingConnection, LinkDetached

URL = "amqp://guest:guest@" + sys.argv[1]


class Capabilities(LinkOption):
    """Says what kind of node is meant, at both ends."""

    def __init__(self, name):
        self.name = name

    def apply(self, link):
        terminus = link.source if link.is_receiver else link.target
        terminus.capabilities.put_object(symbol(self.name))


def connect(**options):
    return BlockingConnection(URL, timeout=20, allowed_mechs="PLAIN", **options)


def send_and_receive():
    c = connect()
    sender, receiver = c.create_sender("proton"), c.create_receiver("proton", credit=10)
    for i in range(50):
        sender.send(Message(id=i, subject="s", body="text %d" % i, properties={"n": int32(i)}, durable=True))
    for i in range(50):
        m = receiver.receive()
        assert (m.id, m.subject, m.body, m.properties["n"]) == (i, "s", "text %d" % i, i), m
        assert m.first_acquirer and m.delivery_count == 0 and m.annotations["x-routing-key"] == "proton"
        receiver.accept()
    c.close()


def bodies():
    c = connect()
    sender, receiver = c.create_sender("bodies"), c.create_receiver("bodies", credit=10)
    for body in (b"bytes", "text", {"map": [1, 2, {"deep": True}]}, ["list", 1.5], 7, None, uuid.uuid4()):
        sender.send(Message(body=body))
        got = receiver.receive().body
        assert (bytes(got) if isinstance(body, bytes) else got) == body, (body, got)
        receiver.accept()
    c.close()


def release_and_reject():
    c = connect()
    sender, receiver = c.create_sender("outcomes"), c.create_receiver("outcomes", credit=1)
    sender.send(Message(body="x"))
    receiver.receive()
    receiver.release(delivered=False)
    m = receiver.receive()
    assert m.delivery_count == 0 and not m.first_acquirer, m
    receiver.release(delivered=True)
    m = receiver.receive()
    assert not m.first_acquirer, m
    receiver.reject()
    try:
        receiver.receive(timeout=0.3)
        raise AssertionError("a rejected message is back")
    except Timeout:
        pass
    c.close()


def large_messages():
    c = connect()
    sender, receiver = c.create_sender("large"), c.create_receiver("large", credit=2)
    body = "0123456789" * 300_000
    sender.send(Message(body=body))
    assert receiver.receive().body == body
    receiver.accept()
    c.close()


def request_and_reply():
    server, client = connect(), connect()
    requests, replies = server.create_receiver("requests", credit=1), client.create_receiver(None, dynamic=True)
    client.create_sender("requests").send(Message(body="question", reply_to=replies.link.remote_source.address, correlation_id="c"))
    m = requests.receive()
    requests.accept()
    server.create_sender(None).send(Message(address=m.reply_to, body="answer", correlation_id=m.correlation_id))
    m = replies.receive()
    assert (m.body, m.correlation_id) == ("answer", "c"), m
    server.close()
    client.close()


def topics():
    c = connect()
    receiver = c.create_receiver("animals.*", credit=10, options=Capabilities("topic"))
    sender = c.create_sender("animals.cat", options=Capabilities("topic"))
    sender.send(Message(body="meow"))
    assert receiver.receive().body == "meow"
    receiver.accept()
    c.close()


def errors():
    c = connect()
    for address in ("/queues/nothing", "/exchanges/nothing/k", "/nonsense"):
        try:
            c.create_sender(address)
            raise AssertionError("sender to " + address)
        except LinkDetached as e:
            assert e.condition in ("amqp:not-found", "amqp:invalid-field"), e.condition
        try:
            c.create_receiver(address)
            raise AssertionError("receiver from " + address)
        except LinkDetached as e:
            assert e.condition in ("amqp:not-found", "amqp:invalid-field", "amqp:not-allowed"), e.condition
    c.create_sender("still-here").send(Message(body="the session goes on"))
    c.close()


def wrong_password():
    try:
        BlockingConnection("amqp://guest:wrong@" + sys.argv[1], timeout=20, allowed_mechs="PLAIN")
        raise AssertionError("connected")
    except ConnectionException:
        pass


def at_most_once():
    c = connect()
    sender, receiver = c.create_sender("settled", options=AtMostOnce()), c.create_receiver("settled", credit=10, options=AtMostOnce())
    for i in range(10):
        sender.send(Message(body=i))
    assert [receiver.receive().body for _ in range(10)] == list(range(10))
    c.close()


class Mover(TransactionalClientHandler):
    """Moves four messages from one queue to another, two in a transaction, of which the first is aborted."""

    def __init__(self, early):
        super().__init__(prefetch=2)
        self.early, self.transaction, self.taken, self.ends, self.error = early, None, [], [], None

    def on_start(self, event):
        self.connection = event.container.connect(URL, allowed_mechs="PLAIN", reconnect=False)
        self.sender = event.container.create_sender(self.connection, "tx-out")
        self.receiver = event.container.create_receiver(self.connection, "tx-in")
        self.declare(event)

    def declare(self, event):
        event.container.declare_transaction(self.connection, handler=self, settle_before_discharge=self.early)

    def on_transaction_declared(self, event):
        self.transaction = event.transaction
        self.move()

    def on_message(self, event):
        self.taken.append((event.delivery, event.message.body))
        self.move()

    def move(self):
        if self.transaction is None or len(self.taken) < 2:
            return
        transaction, self.transaction = self.transaction, None
        taken, self.taken = self.taken[:2], self.taken[2:]
        for delivery, body in taken:
            transaction.send(self.sender, Message(body=body, durable=True))
            transaction.accept(delivery)
        if self.ends:
            transaction.commit()
        else:
            transaction.abort()

    def on_transaction_aborted(self, event):
        self.ends.append("aborted")
        self.declare(event)

    def on_transaction_committed(self, event):
        self.ends.append("committed")
        if len(self.ends) < 3:
            self.declare(event)
        else:
            self.connection.close()

    def fail(self, what):
        self.error = what
        self.connection.close()

    def on_transaction_commit_failed(self, event):
        self.fail("commit failed")

    def on_transaction_declare_failed(self, event):
        self.fail("declare failed")

    def on_link_error(self, event):
        self.fail(str(event.link.remote_condition))


def transactions():
    for early in (False, True):
        c = connect()
        sender, receiver = c.create_sender("tx-in"), c.create_receiver("tx-out", credit=10)
        for i in range(4):
            sender.send(Message(body=i, durable=True))
        mover = Mover(early)
        Container(mover).run()
        assert mover.error is None and mover.ends == ["aborted", "committed", "committed"], (mover.error, mover.ends)
        assert sorted(receiver.receive().body for _ in range(4)) == [0, 1, 2, 3]
        for _ in range(4):
            receiver.accept()
        try:
            c.create_receiver("tx-in", credit=1).receive(timeout=0.3)
            raise AssertionError("what was moved is still there")
        except Timeout:
            pass
        c.close()


for scenario in (send_and_receive, bodies, release_and_reject, large_messages, request_and_reply, topics, errors, wrong_password, at_most_once, transactions):
    scenario()
    print("ok", scenario.__name__, flush=True)
