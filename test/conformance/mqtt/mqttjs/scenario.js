// scenario: messages of every quality of service, both versions, with mqtt.js. Arguments: URL VERSION.
import assert from "node:assert/strict";
import mqtt from "mqtt";

const [url, version] = [process.argv[2], Number(process.argv[3])];
const five = version === 5;
const options = (id, more) => ({ protocolVersion: version, clientId: id, reconnectPeriod: 0, clean: true, ...more });
const alarm = setTimeout(() => { console.error("it takes too long"); process.exit(1); }, 20000);

// collect answers a function that waits for the client's next message.
function collect(client) {
  const came = [], waiting = [];
  client.on("message", (topic, payload, packet) => {
    const m = { topic, text: payload.toString(), packet };
    waiting.length ? waiting.shift()(m) : came.push(m);
  });
  return () => came.length ? Promise.resolve(came.shift()) : new Promise((done) => waiting.push(done));
}

const s = await mqtt.connectAsync(url, options(`s-${version}`, { clean: false, properties: five ? { sessionExpiryInterval: 100, topicAliasMaximum: 5 } : undefined }));
let next = collect(s);
const granted = await s.subscribeAsync({ "js/#": { qos: 2 } }, five ? { properties: { subscriptionIdentifier: 9 } } : {});
assert.equal(granted[0].qos, 2);
const p = await mqtt.connectAsync(url, options(`p-${version}`, { will: { topic: "js/will", payload: "gone", qos: 1 } }));

for (const qos of [0, 1, 2]) {
  const properties = five ? { userProperties: { a: ["1", "2"], b: "3" }, contentType: "text/plain", correlationData: Buffer.from([0, 1]), responseTopic: "js/r" } : undefined;
  await p.publishAsync(`js/${qos}`, `text ${qos}`, { qos, properties });
  const m = await next();
  assert.deepEqual([m.topic, m.text, m.packet.qos, m.packet.dup, m.packet.retain], [`js/${qos}`, `text ${qos}`, qos, false, false]);
  if (five) {
    const got = m.packet.properties;
    assert.deepEqual({ ...got.userProperties }, { a: ["1", "2"], b: "3" });
    assert.deepEqual([got.contentType, got.responseTopic, got.subscriptionIdentifier, [...got.correlationData]], ["text/plain", "js/r", 9, [0, 1]]);
  }
}

// Topic aliases: the second message comes without its topic, which the client puts back.
for (const text of ["first", "second"]) {
  await p.publishAsync("js/alias", text, { qos: 1 });
  assert.deepEqual((await next()).topic, "js/alias");
}

if (five) {
  // Retain handling, retain as published and no-local, and one message for one member of a group.
  await p.publishAsync("opt/kept", "kept", { qos: 1, retain: true });
  await s.subscribeAsync({ "opt/#": { qos: 1, rh: 2, rap: true, nl: true } });
  await s.publishAsync("opt/mine", "mine", { qos: 1 });
  await p.publishAsync("opt/live", "live", { qos: 1, retain: true });
  const live = await next();
  assert.deepEqual([live.text, live.packet.retain], ["live", true]);
  await s.subscribeAsync({ "opt/#": { qos: 1, rh: 0 } });
  const retained = [await next(), await next()];
  assert.deepEqual(retained.map((m) => m.text).sort(), ["kept", "live"]);
  assert.ok(retained.every((m) => m.packet.retain));
  await s.unsubscribeAsync("opt/#");
  for (const topic of ["opt/kept", "opt/live"]) await p.publishAsync(topic, "", { qos: 1, retain: true });
  await p.subscribeAsync({ "$share/js/work": { qos: 1 } });
  await s.subscribeAsync({ "$share/js/work": { qos: 1 } });
  const nextOfP = collect(p);
  for (const text of ["1", "2"]) await p.publishAsync("work", text, { qos: 1 });
  assert.deepEqual([(await next()).text, (await nextOfP()).text].sort(), ["1", "2"]);
  await s.unsubscribeAsync("$share/js/work");
}

// What comes while the subscriber is away waits for it, in order. (mqtt.js shows a message of QoS 2 when PUBREL comes, so
// the order is that within one quality of service.)
await s.endAsync();
for (let i = 0; i < 50; i++) await p.publishAsync("js/away", `${i}`, { qos: i < 25 ? 1 : 2 });
const again = mqtt.connect(url, options(`s-${version}`, { clean: false, properties: five ? { sessionExpiryInterval: 100 } : undefined }));
next = collect(again);
for (let i = 0; i < 50; i++) assert.equal((await next()).text, `${i}`);

// The will comes when the connection ends without DISCONNECT.
p.stream.destroy();
assert.equal((await next()).text, "gone");
await again.unsubscribeAsync("js/#");
await again.endAsync();
clearTimeout(alarm);
