// scenario: what users of rhea do, each on a connection of its own. Prints "ok NAME" for each. Argument: HOST:PORT.
import assert from "node:assert/strict";
import rhea from "rhea";
import frames from "rhea/lib/frames.js";

const [host, port] = process.argv[2].split(":");
const alarm = setTimeout(() => { console.error("it takes too long"); process.exit(1); }, 60000);
const container = rhea.create_container({ id: "rhea" });

// once answers the next event of a name.
const once = (from, name) => new Promise((done) => from.once(name, done));

// connect opens a connection.
async function connect() {
  const c = container.connect({ host, port: Number(port), username: "guest", password: "guest", reconnect: false });
  await once(c, "connection_open");
  return c;
}

// sender attaches one that is told the outcome of each message: send answers it.
async function sender(c, target, more) {
  const s = c.open_sender({ target, ...more });
  const outcomes = new Map();
  for (const outcome of ["accepted", "rejected", "released", "modified"]) {
    s.on(outcome, (e) => outcomes.get(e.delivery.id)?.({ outcome, error: e.delivery.remote_state.error }));
  }
  await once(s, "sendable");
  return { link: s, send: (m) => new Promise((done) => outcomes.set(s.send(m).id, done)) };
}

// receiver attaches one that settles by hand; next answers the next delivery.
async function receiver(c, source, more) {
  const r = c.open_receiver({ source, autoaccept: false, credit_window: 10, ...more });
  const came = [], waiting = [];
  r.on("message", (e) => waiting.length ? waiting.shift()(e) : came.push(e));
  await once(r, "receiver_open");
  return { link: r, next: () => came.length ? Promise.resolve(came.shift()) : new Promise((done) => waiting.push(done)), came };
}

// controller attaches a link to a coordinator, for which rhea has no types of its own.
async function controller(c) {
  const link = c.open_sender({});
  link.local.attach.target = described([], 0x30); // the frame is not written yet
  await once(link, "sendable");
  const request = async (...bytes) => { // an amqp-value
    const settled = once(link, "settled");
    link.send(Buffer.from([0, 0x53, 0x77, 0, 0x53, ...bytes]), undefined, 0);
    return (await settled).delivery.remote_state;
  };
  return {
    declare: async () => plain(await request(0x31, 0x45), 0x33)[0],
    discharge: async (txn, fail) => {
      const state = await request(0x32, 0xc0, txn.length + 4, 2, 0xa0, txn.length, ...txn, fail ? 0x41 : 0x42);
      assert.equal(state.constructor.composite_type, "accepted");
    },
  };
}

const described = (list, code) => rhea.types.wrap_described(list, code);
// plain is the fields of a described list, which must have a code.
function plain(state, code) {
  assert.equal(Number(state.descriptor.value), code);
  return rhea.types.unwrap(state.value);
}

const scenarios = {
  // 3 §3.2.1, 3 §3.2.3 to 3 §3.2.8
  async "every section"(c) {
    const s = await sender(c, "/queue/rhea-sections"), r = await receiver(c, "/queues/rhea-sections");
    const bodies = ["text", 7, null, { list: [1, "two", true] }, rhea.message.data_section(Buffer.from("bytes")),
      rhea.message.sequence_section(["a", 1]), rhea.types.wrap_timestamp(1e12)];
    for (const body of bodies) {
      const { outcome } = await s.send({
        durable: true, priority: 7, message_annotations: { "x-own": "kept" }, message_id: "m", correlation_id: 9,
        subject: "s", reply_to: "/queues/r", content_type: "text/plain", creation_time: new Date(1e12), group_id: "g", group_sequence: 3,
        application_properties: { text: "t", number: 5, yes: true }, body,
      });
      assert.equal(outcome, "accepted");
      const { message: m, delivery } = await r.next();
      assert.deepEqual([m.durable, m.priority, m.first_acquirer, m.delivery_count || 0], [true, 7, true, 0]);
      assert.deepEqual([m.message_annotations["x-own"], m.message_id, m.correlation_id], ["kept", "m", 9]);
      assert.deepEqual([m.subject, m.reply_to, m.content_type, m.group_id, m.group_sequence, Number(m.creation_time)], ["s", "/queues/r", "text/plain", "g", 3, 1e12]);
      assert.deepEqual({ ...m.application_properties }, { text: "t", number: 5, yes: true });
      if (body?.typecode !== undefined && body?.content !== undefined) {
        assert.equal(m.body.typecode, body.typecode);
        assert.equal(String(m.body.content), String(body.content));
      } else if (typeof body !== "object" || body === null || "list" in body) {
        assert.deepEqual(m.body, body);
      }
      delivery.accept();
    }
  },
  // 3 §3.4.2 to 3 §3.4.5
  async "every outcome"(c) {
    const s = await sender(c, "/queue/rhea-outcomes"), r = await receiver(c, "/queues/rhea-outcomes", { credit_window: 1 });
    await s.send({ body: "x" });
    let e = await r.next();
    e.delivery.release();
    e = await r.next();
    assert.deepEqual([e.message.delivery_count || 0, Boolean(e.message.first_acquirer)], [0, false]);
    e.delivery.modified({ delivery_failed: true, undeliverable_here: false, message_annotations: { "x-tried": "here" } });
    e = await r.next();
    assert.deepEqual([e.message.delivery_count, e.message.message_annotations["x-tried"]], [1, "here"]);
    e.delivery.reject({ condition: "app:no", description: "not wanted" });
    await s.send({ body: "y" });
    e = await r.next();
    assert.equal(e.message.body, "y");
    e.delivery.accept();
    const nowhere = await sender(c, "/exchanges/amq.direct/nowhere");
    assert.equal((await nowhere.send({ body: "z" })).outcome, "released");
    const { outcome, error } = await s.send({ body: "z", user_id: "somebody" });
    assert.deepEqual([outcome, error.condition], ["rejected", "amqp:unauthorized-access"]);
  },
  // 2 §2.8.2, 2 §2.8.3
  async "settle modes"(c) {
    const s = c.open_sender({ target: "/queue/rhea-modes", snd_settle_mode: 1 });
    await once(s, "sendable");
    s.send({ body: "settled" });
    const r = await receiver(c, "/queues/rhea-modes", { rcv_settle_mode: 1, credit_window: 2 });
    const e = await r.next();
    const settled = once(r.link, "settled");
    e.delivery.update(false, rhea.message.accepted().described());
    await settled;
    const presettled = await receiver(c, "/queues/rhea-modes", { snd_settle_mode: 1 });
    s.send({ body: "again" });
    const first = await Promise.race([presettled.next(), r.next()]);
    assert.equal(first.message.body, "again");
  },
  // 2 §2.6.7, 2 §2.6.10, 2 §2.7.4
  async "credit and drain"(c) {
    const s = await sender(c, "/queue/rhea-credit");
    for (let i = 0; i < 5; i++) await s.send({ body: i });
    const r = await receiver(c, "/queues/rhea-credit", { credit_window: 0 });
    r.link.add_credit(2);
    for (let i = 0; i < 2; i++) (await r.next()).delivery.accept();
    assert.equal(r.came.length, 0);
    const drained = once(r.link, "receiver_drained");
    r.link.drain = true;
    r.link.add_credit(10);
    for (let i = 0; i < 3; i++) (await r.next()).delivery.accept();
    await drained;
    assert.equal(r.link.credit, 0);
  },
  // 3 §3.5.7, 3 §3.5.8, 3 §3.5.8/selector
  async "selector and browsing"(c) {
    const s = await sender(c, "/queue/rhea-select");
    for (let i = 0; i < 6; i++) await s.send({ body: i, application_properties: { color: i % 2 ? "red" : "blue", size: i } });
    const r = await receiver(c, { address: "/queues/rhea-select", filter: rhea.filter.selector("color = 'red' AND size > 2") });
    for (const body of [3, 5]) {
      const e = await r.next();
      assert.equal(e.message.body, body);
      e.delivery.accept();
    }
    r.link.close();
    await once(r.link, "receiver_close");
    const eye = await receiver(c, { address: "/queues/rhea-select", distribution_mode: "copy" });
    for (const body of [0, 1, 2, 4]) assert.equal((await eye.next()).message.body, body);
  },
  // 3 §3.5.4, 3 §3.5.9, 3 §3.5.10
  async "request and response"(c) {
    const requests = await receiver(c, "/queue/rhea-requests");
    const answers = await receiver(c, { dynamic: true });
    const relay = await sender(c, {});
    await relay.send({ to: "/queues/rhea-requests", reply_to: answers.link.source.address, correlation_id: "1", body: "question" });
    const q = await requests.next();
    q.delivery.accept();
    await relay.send({ to: q.message.reply_to, correlation_id: q.message.correlation_id, body: "answer" });
    const a = await answers.next();
    assert.deepEqual([a.message.body, a.message.correlation_id], ["answer", "1"]);
    a.delivery.accept();
  },
  // 2 §2.6.14, 2 §2.7.5
  async "a large message"(c) {
    const s = await sender(c, "/queue/rhea-large"), r = await receiver(c, "/queues/rhea-large");
    const body = "0123456789".repeat(100000);
    assert.equal((await s.send({ body })).outcome, "accepted");
    assert.equal((await r.next()).message.body, body);
  },
  // 2 §2.6.5, 2 §2.6.6, 3 §3.5.5, 3 §3.5.6
  async "a durable subscription"(c) {
    const source = { address: "rhea.topic", capabilities: ["topic"], durable: 2, expiry_policy: "never" };
    const r = await receiver(c, source, { name: "rhea-subscription" });
    r.link.detach();
    await once(r.link, "receiver_close");
    const s = await sender(c, { address: "rhea.topic", capabilities: ["topic"] });
    assert.equal((await s.send({ body: "missed", durable: true })).outcome, "accepted");
    const again = await receiver(c, source, { name: "rhea-subscription" });
    const e = await again.next();
    assert.equal(e.message.body, "missed");
    e.delivery.accept();
    again.link.close();
    await once(again.link, "receiver_close");
  },
  // 4 §4.4.3, 4 §4.4.4
  async "acquisition in a transaction"(c) {
    const s = await sender(c, "/queue/rhea-acquired"), r = await receiver(c, "/queues/rhea-acquired", { credit_window: 0 });
    for (let i = 0; i < 3; i++) await s.send({ body: i, durable: true });
    const coordinator = await controller(c);
    // acquire lets the link have what waits, in a transaction, and answers when its credit is drained.
    const acquire = async (txn, credit) => {
      const { incoming, outgoing } = r.link.session, drained = once(r.link, "receiver_drained");
      r.link.credit = credit;
      r.link.session.output(frames.flow({
        next_incoming_id: incoming.next_transfer_id, incoming_window: incoming.window, next_outgoing_id: outgoing.next_transfer_id, outgoing_window: outgoing.window,
        handle: r.link.local.handle, delivery_count: r.link.delivery_count, link_credit: credit, drain: true, properties: { "txn-id": txn },
      }));
      r.link.connection._register(); // so that it is written now
      await drained;
      const list = r.came.splice(0);
      for (const e of list) assert.deepEqual(e.delivery.remote_state, [txn]);
      return list;
    };
    const written = () => new Promise(setImmediate); // what rhea collects in one turn it writes with dispositions behind transfers
    const accept = async (e, txn) => {
      e.delivery.update(true, described([txn, rhea.message.accepted().described()], 0x34));
      await written();
    };
    let txn = await coordinator.declare();
    let list = await acquire(txn, 5);
    assert.deepEqual(list.map((e) => e.message.body), [0, 1, 2]);
    await accept(list[0], txn);
    await coordinator.discharge(txn, true);
    txn = await coordinator.declare();
    list = await acquire(txn, 5);
    assert.deepEqual(list.map((e) => [e.message.body, e.message.delivery_count]), [[0, 1], [1, 1], [2, 1]]);
    for (const e of list.slice(0, 2)) await accept(e, txn);
    await coordinator.discharge(txn, false);
    list[2].delivery.release(); // it stayed acquired, in no transaction
    await written();
    txn = await coordinator.declare();
    list = await acquire(txn, 5);
    assert.deepEqual(list.map((e) => e.message.body), [2]);
    await accept(list[0], txn);
    await coordinator.discharge(txn, false);
  },
  // 2 §2.6.3, 2 §2.8.14, 2 §2.8.15/not-found, 2 §2.8.15/invalid-field
  async "refused links"(c) {
    const absent = c.open_receiver({ source: "/queues/rhea-absent" });
    await once(absent, "receiver_error");
    assert.equal(absent.error.condition, "amqp:not-found");
    const wrong = c.open_receiver({ source: { address: "/queue/rhea-select", filter: rhea.filter.selector("size >") } });
    await once(wrong, "receiver_error");
    assert.equal(wrong.error.condition, "amqp:invalid-field");
  },
  // 2 §2.5.1, 2 §2.5.4, 2 §2.7.2, 2 §2.7.8
  async "several sessions"(c) {
    const sessions = [c.create_session(), c.create_session()];
    for (const s of sessions) {
      s.begin();
      await once(s, "session_open");
    }
    const from = await sender(sessions[0], "/queue/rhea-sessions"), to = await receiver(sessions[1], "/queues/rhea-sessions");
    await from.send({ body: "across" });
    const e = await to.next();
    assert.equal(e.message.body, "across");
    e.delivery.accept();
    sessions[0].close();
    await once(sessions[0], "session_close");
  },
};

for (const [name, run] of Object.entries(scenarios)) {
  const c = await connect();
  try {
    await run(c);
  } catch (e) {
    console.error(`${name}: ${e.stack}`);
    process.exit(1);
  }
  c.close();
  await once(c, "connection_close");
  console.log(`ok ${name}`);
}
clearTimeout(alarm);
