// @vercel/kv: a session of its own methods, and of those that it has from @upstash/redis. See session.mjs for
// how to run it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox, encodings, load, refusesAWrongToken, token, url } from "./session.mjs";

process.env.KV_REST_API_URL = url;
process.env.KV_REST_API_TOKEN = token;
const { createClient, kv: byEnvironment } = load("@vercel/kv");

const keys = Array.from({ length: 200 }, (_, index) => `key:${index}`);

async function all(iterator, step) {
  const seen = new Set();
  let index = 0;
  for await (const item of iterator) {
    if (index % step === 0) seen.add(item);
    index += 1;
  }
  return [...seen].sort();
}

for (const responseEncoding of [...encodings, undefined]) {
  const kv = responseEncoding === undefined ? byEnvironment : createClient({ url, token, responseEncoding });

  test(`a session, responseEncoding ${responseEncoding}`, async () => {
    assert.equal(await kv.flushall(), "OK");
    assert.equal(await kv.set("user", { name: "Ada 🎈", tags: [1, null] }, { ex: 100 }), "OK");
    assert.deepEqual(await kv.get("user"), { name: "Ada 🎈", tags: [1, null] });
    assert.ok((await kv.ttl("user")) > 50);
    assert.equal(await kv.get("none"), null);
    assert.equal(await kv.hset("h", { a: 1, b: { c: 2 } }), 2);
    assert.deepEqual(await kv.hgetall("h"), { a: 1, b: { c: 2 } });
    assert.equal(await kv.lpush("l", "a", 2), 2);
    assert.deepEqual(await kv.lrange("l", 0, -1), [2, "a"]);
    assert.equal(await kv.sadd("s", "a", "b"), 2);
    assert.equal(await kv.zadd("z", { score: 1.5, member: "m" }), 1);
    assert.deepEqual(await kv.zrange("z", 0, -1, { withScores: true }), ["m", 1.5]);
    assert.equal(await kv.incr("n"), 1);
    assert.deepEqual(await kv.pipeline().incr("n").get("user").exec(), [2, { name: "Ada 🎈", tags: [1, null] }]);
    assert.deepEqual(await kv.multi().incr("n").del("user").exec(), [3, 1]);
    assert.deepEqual(await kv.eval("return {KEYS[1], ARGV[1]}", ["k"], ["v"]), ["k", "v"]);
    await assert.rejects(kv.incr("l"), /WRONGTYPE/);
    const subscription = kv.subscribe("c");
    const inbox = new Inbox(subscription, "subscribe", "message");
    assert.equal((await inbox.next()).type, "subscribe");
    assert.equal(await kv.publish("c", { hello: "you" }), 1);
    assert.deepEqual((await inbox.next()).told, { channel: "c", message: { hello: "you" } });
    await subscription.unsubscribe();
  });

  test(`iterators, responseEncoding ${responseEncoding}`, async () => {
    const expected = [...keys].sort();
    assert.equal(await kv.flushall(), "OK");
    await kv.mset(Object.fromEntries(keys.map((key) => [key, 1])));
    await kv.hset("hash", Object.fromEntries(keys.map((key) => [key, 1])));
    await kv.sadd("set", ...keys);
    await kv.zadd("zset", ...keys.map((member, score) => ({ score, member })));
    const options = { match: "key:*", count: 20 };
    assert.deepEqual(await all(kv.scanIterator(options), 1), expected);
    assert.deepEqual(await all(kv.hscanIterator("hash", options), 2), expected);
    assert.deepEqual(await all(kv.sscanIterator("set", options), 1), expected);
    assert.deepEqual(await all(kv.zscanIterator("zset", options), 2), expected);
  });
}

refusesAWrongToken(createClient);
