"""Scenarios of python3-pika against a broker: one line "ok NAME" for each that holds. Usage: pika_scenarios.py PORT."""
import sys
import threading

import pika

PARAMETERS = pika.ConnectionParameters(
    "127.0.0.1", int(sys.argv[1]), "/", pika.PlainCredentials("guest", "guest"), heartbeat=30, blocked_connection_timeout=30)
PERSISTENT = pika.BasicProperties(delivery_mode=2, content_type="text/plain", headers={"n": 1, "nested": {"a": [True, None, "x"]}})


def confirmed_publish_and_get(ch):
    ch.queue_declare("pika.q", durable=True)
    ch.confirm_delivery()
    for n in range(50):
        ch.basic_publish("", "pika.q", b"%d" % n, PERSISTENT, mandatory=True)
    for n in range(50):
        method, properties, body = ch.basic_get("pika.q")
        assert body == b"%d" % n and properties.headers["nested"]["a"] == [True, None, "x"], (body, properties)
        assert method.message_count == 49 - n, method
        ch.basic_ack(method.delivery_tag)
    assert ch.basic_get("pika.q") == (None, None, None)


def unroutable_is_returned(ch):
    ch.confirm_delivery()
    try:
        ch.basic_publish("", "pika.nowhere", b"x", mandatory=True)
    except pika.exceptions.UnroutableError as e:
        assert e.messages[0].body == b"x"
        return
    raise AssertionError("a message that goes nowhere was not returned")


def consume_with_prefetch(ch):
    ch.queue_declare("pika.consume", exclusive=True)
    for n in range(100):
        ch.basic_publish("", "pika.consume", b"%d" % n)
    ch.basic_qos(prefetch_count=7)
    got = []

    def on_message(channel, method, _, body):
        got.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(got) == 100:
            channel.stop_consuming()

    ch.basic_consume("pika.consume", on_message)
    ch.start_consuming()
    assert got == [b"%d" % n for n in range(100)], got


def requeued_comes_again(ch):
    ch.queue_declare("pika.requeue", exclusive=True)
    ch.basic_publish("", "pika.requeue", b"again")
    method, _, _ = ch.basic_get("pika.requeue")
    ch.basic_nack(method.delivery_tag, requeue=True)
    method, _, body = ch.basic_get("pika.requeue", auto_ack=True)
    assert method.redelivered and body == b"again"


def dead_letters(ch):
    ch.exchange_declare("pika.dlx", "fanout")
    ch.queue_declare("pika.dead", exclusive=True)
    ch.queue_bind("pika.dead", "pika.dlx")
    ch.queue_declare("pika.short", exclusive=True, arguments={"x-message-ttl": 1, "x-dead-letter-exchange": "pika.dlx"})
    ch.basic_publish("", "pika.short", b"expired")
    for _, properties, body in ch.consume("pika.dead", inactivity_timeout=20):
        assert body == b"expired" and properties.headers["x-death"][0]["reason"] == "expired", properties
        break
    ch.cancel()
    ch.exchange_delete("pika.dlx")


def transaction(ch):
    ch.queue_declare("pika.tx", durable=True)
    ch.tx_select()
    ch.basic_publish("", "pika.tx", b"1", PERSISTENT)
    ch.tx_rollback()
    ch.basic_publish("", "pika.tx", b"2", PERSISTENT)
    ch.tx_commit()
    assert ch.queue_declare("pika.tx", passive=True).method.message_count == 1
    assert ch.basic_get("pika.tx", auto_ack=True)[2] == b"2"
    ch.tx_commit()


def remote_procedure_call(ch):
    ch.queue_declare("pika.rpc", exclusive=False, auto_delete=True)
    ready = threading.Event()

    def serve():
        connection = pika.BlockingConnection(PARAMETERS)
        channel = connection.channel()

        def answer(c, _, properties, body):
            c.basic_publish("", properties.reply_to, body.upper(), pika.BasicProperties(correlation_id=properties.correlation_id))
            c.stop_consuming()

        channel.basic_consume("pika.rpc", answer, auto_ack=True)
        ready.set()
        channel.start_consuming()
        connection.close()

    server = threading.Thread(target=serve)
    server.start()
    assert ready.wait(20)
    got = []

    def on_reply(c, _, properties, body):
        got.append((properties.correlation_id, body))
        c.stop_consuming()

    ch.basic_consume("amq.rabbitmq.reply-to", on_reply, auto_ack=True)
    ch.basic_publish("", "pika.rpc", b"question", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="7"))
    ch.start_consuming()
    server.join()
    assert got == [("7", b"QUESTION")], got


def exchanges(ch):
    ch.queue_declare("pika.bound", exclusive=True)
    for kind, key, routing, arguments, headers in (
        ("direct", "k", "k", None, None), ("fanout", "", "any", None, None), ("topic", "a.*.#", "a.b.c.d", None, None),
        ("headers", "", "", {"x-match": "any", "colour": "red", "size": 5}, {"size": 5}), ("x-consistent-hash", "3", "any", None, None), ("x-random", "", "any", None, None),
    ):
        name = "pika." + kind
        ch.exchange_declare(name, kind, auto_delete=True)
        ch.queue_bind("pika.bound", name, key, arguments)
        ch.basic_publish(name, routing, b"x", pika.BasicProperties(headers=headers))
        assert ch.basic_get("pika.bound", auto_ack=True)[2] == b"x", kind
        ch.queue_unbind("pika.bound", name, key, arguments)


def errors_close_the_channel_alone(ch):
    ch.queue_declare("pika.args", exclusive=True, arguments={"x-max-length": 5})
    other = ch.connection.channel()
    try:
        other.queue_declare("pika.args", exclusive=True, arguments={"x-max-length": 6})
        raise AssertionError("another x-max-length was accepted")
    except pika.exceptions.ChannelClosedByBroker as e:
        assert e.reply_code == 406 and "inequivalent arg 'x-max-length'" in e.reply_text, e
    assert ch.queue_declare("pika.args", passive=True).method.queue == "pika.args"


for scenario in (confirmed_publish_and_get, unroutable_is_returned, consume_with_prefetch, requeued_comes_again, dead_letters, transaction,
                 remote_procedure_call, exchanges, errors_close_the_channel_alone):
    connection = pika.BlockingConnection(PARAMETERS)
    scenario(connection.channel())
    connection.close()
    print("ok", scenario.__name__)
