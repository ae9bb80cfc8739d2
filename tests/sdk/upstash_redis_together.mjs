// @upstash/redis: what is more than one command and its reply. Scripts and functions, pipelines, transactions,
// auto-pipelining, scanning, subscriptions, errors. See session.mjs for how to run it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { Inbox, encodings, eventually, inTime, load, token, url } from "./session.mjs";

const { Redis } = load("@upstash/redis");

const digest = (script) => createHash("sha1").update(script).digest("hex");

for (const responseEncoding of encodings) {
  const config = { url, token, responseEncoding };
  const redis = new Redis(config);
  const session = (name, run) =>
    test(name, async () => {
      assert.equal(await redis.flushall(), "OK");
      assert.equal(await redis.scriptFlush({ sync: true }), "OK");
      await run();
    });

  describe(`responseEncoding ${responseEncoding}`, () => {
    session("scripts", async () => {
      const script = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
      const unknown = await redis.evalsha(digest(script), ["n"], [1]).catch((error) => error);
      assert.match(unknown.message, /NOSCRIPT/);
      assert.equal(await redis.eval(script, ["n"], [2]), 2);
      assert.equal(await redis.evalsha(digest(script), ["n"], [3]), 5);
      const echo = "return {KEYS, ARGV, 1, false, 'text', {'nested', {'deeper'}}, 3.9}";
      const echoed = [["k"], ["a", 1, { b: "🎈" }], 1, null, "text", ["nested", ["deeper"]], 3];
      assert.deepEqual(await redis.eval(echo, ["k"], ["a", 1, { b: "🎈" }]), echoed);
      assert.deepEqual(await redis.evalRo("return ARGV", [], ["OK", ""]), ["OK", ""]);
      assert.equal(await redis.scriptLoad(echo), digest(echo));
      assert.deepEqual(await redis.scriptExists(digest(echo), digest("nothing")), [1, 0]);
      assert.deepEqual(await redis.evalshaRo(digest(echo), ["k"], []), [["k"], [], ...echoed.slice(2)]);
      await assert.rejects(redis.eval("return redis.error_reply('ERR of mine')", [], []), /ERR of mine/);
      await assert.rejects(redis.eval("return nonsense(", [], []), /compiling script/);
      await assert.rejects(redis.evalRo("return redis.call('SET', KEYS[1], 1)", ["k"], []), /Write commands are not allowed/);
    });

    session("a script object sends its text only where it has to", async () => {
      for (const head of ["", "#!lua flags=allow-key-locking\n", "#!lua flags=no-writes,allow-key-locking\n"]) {
        const script = redis.createScript(`${head}return {KEYS[1], ARGV[1], '${head.length}'}`);
        for (let round = 0; round < 3; round += 1) {
          assert.deepEqual(await script.exec(["k"], ["🎈"]), ["k", "🎈", head.length]);
        }
        assert.deepEqual(await script.evalsha(["k"], ["v"]), ["k", "v", head.length]);
        assert.equal(await redis.scriptLoad(script.script), script.sha1);
        assert.deepEqual(await redis.scriptExists(script.sha1), [1]);
        const readonly = redis.createScript(`${head}return redis.call('GET', KEYS[1])`, { readonly: true });
        assert.equal(await readonly.exec(["none"], []), null);
      }
    });

    session("functions", async () => {
      const code = `#!lua name=mine
        redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)
        redis.register_function{function_name='look', flags={'no-writes'},
          callback=function(keys) return redis.call('GET', keys[1]) end}`;
      const { functions } = redis;
      assert.equal(await functions.flush(), "OK");
      assert.equal(await functions.load({ code }), "mine");
      await assert.rejects(functions.load({ code }), /already exists/);
      assert.equal(await functions.load({ code, replace: true }), "mine");
      assert.equal(await functions.call("put", ["k"], ["v, 🎈"]), "OK");
      assert.equal(await functions.callRo("look", ["k"]), "v, 🎈");
      await assert.rejects(functions.callRo("put", ["k"], ["v"]), /write flag/);
      const [library] = await functions.list({ libraryName: "mine", withCode: true });
      assert.deepEqual([library.libraryName, library.engine, library.libraryCode], ["mine", "LUA", code]);
      assert.deepEqual(library.functions.map(({ name }) => name).sort(), ["look", "put"]);
      assert.deepEqual((await functions.stats()).engines.LUA, { librariesCount: 1, functionsCount: 2 });
      assert.equal(await functions.delete("mine"), "OK");
      assert.deepEqual(await functions.list(), []);
    });

    session("a pipeline", async () => {
      const pipeline = redis.pipeline().set("a", { n: 1 }).get("a").hset("h", { f: "OK" }).hgetall("h");
      pipeline.get("none").lpush("l", 1, 2).lrange("l", 0, -1).incr("n").zadd("z", { score: 1.5, member: "m" });
      pipeline.zscore("z", "m").eval("return {1, 'OK', false}", [], []).type("z").smembers("none");
      const expected = [
        "OK", { n: 1 }, 1, { f: "OK" }, null, 2, [2, 1], 1, 1, 1.5, [1, "OK", null], "zset", [],
      ];
      assert.deepEqual(await pipeline.exec(), expected);
      await assert.rejects(redis.pipeline().set("a", 1).lpush("a", 2).exec(), /WRONGTYPE/);
      const each = await redis.pipeline().set("a", 1).lpush("a", 2).incr("a").exec({ keepErrors: true });
      assert.deepEqual([each[0].result, each[2].result], ["OK", 2]);
      assert.match(each[1].error, /^WRONGTYPE /);
      const many = redis.pipeline();
      for (let index = 0; index < 2500; index += 1) many.set(`k${index}`, index).get(`k${index}`);
      const replies = await many.exec();
      assert.equal(replies.length, 5000);
      assert.ok(replies.every((reply, index) => reply === (index % 2 === 0 ? "OK" : (index - 1) / 2)));
    });

    session("a transaction", async () => {
      const transaction = redis.multi().set("a", 1).incr("a").get("a").hset("h", { f: [1] }).hgetall("h").get("none");
      assert.deepEqual(await transaction.exec(), ["OK", 2, 2, 1, { f: [1] }, null]);
      const each = await redis.multi().set("a", 1).lpush("a", 2).incr("a").exec({ keepErrors: true });
      assert.deepEqual([each[0].result, each[2].result], ["OK", 2]);
      assert.match(each[1].error, /^WRONGTYPE /);
      // A command that cannot be queued discards all of them.
      await assert.rejects(redis.multi().set("a", 7).hset("h", {}).exec(), /EXECABORT/);
      assert.equal(await redis.get("a"), 2);
      const counters = Array.from({ length: 50 }, () => redis.multi().incr("n").incr("n").exec());
      const pairs = (await Promise.all(counters)).sort((a, b) => a[0] - b[0]);
      assert.deepEqual(pairs, pairs.map((_, index) => [2 * index + 1, 2 * index + 2]));
    });

    session("commands at the same time travel together", async () => {
      const sent = [];
      const watched = new Redis(config);
      watched.use((request, next) => (sent.push(request.path?.join("/") ?? ""), next(request)));
      const writes = await Promise.all(Array.from({ length: 100 }, (_, index) => watched.set(`k${index}`, index)));
      assert.ok(writes.every((reply) => reply === "OK"));
      const reads = await Promise.all(Array.from({ length: 100 }, (_, index) => watched.get(`k${index}`)));
      assert.deepEqual(reads, reads.map((_, index) => index));
      assert.deepEqual(sent, ["pipeline", "pipeline"]);
      const outcomes = await Promise.allSettled([watched.lpush("k1", "x"), watched.incr("k2"), watched.incr("k3")]);
      assert.deepEqual(outcomes.map(({ status }) => status), ["rejected", "fulfilled", "fulfilled"]);
      const alone = new Redis({ ...config, enableAutoPipelining: false });
      assert.deepEqual(await Promise.all([alone.get("k4"), alone.incr("k5"), alone.get("none")]), [4, 6, null]);
      assert.deepEqual(await alone.exec(["MGET", "k4", "none"]), [4, null]);
    });

    session("the SDK is given a new sync token each time", async () => {
      const client = new Redis({ ...config, enableAutoPipelining: false });
      const seen = new Set();
      for (const ask of [
        () => client.set("a", 1), () => client.eval("return 1", [], []),
        () => client.pipeline().get("a").exec(), () => client.multi().get("a").exec(),
      ]) {
        await ask();
        assert.ok(client.readYourWritesSyncToken);
        seen.add(client.readYourWritesSyncToken);
      }
      assert.equal(seen.size, 4);
    });

    session("scanning sees everything", async () => {
      const keys = Array.from({ length: 300 }, (_, index) => `key:${index}`);
      await redis.mset(Object.fromEntries(keys.map((key) => [key, 1])));
      await redis.hset("hash", Object.fromEntries(keys.map((key) => [key, 1])));
      await redis.sadd("set", ...keys);
      await redis.zadd("zset", ...keys.map((member, score) => ({ score, member })));
      const all = async (scan, step) => {
        const seen = new Set();
        let cursor = "0";
        do {
          const [next, page] = await scan(cursor);
          page.filter((_, index) => index % step === 0).forEach((item) => seen.add(item));
          cursor = next;
        } while (cursor !== "0");
        return [...seen].sort();
      };
      const expected = [...keys].sort();
      const options = { match: "key:*", count: 20 };
      assert.deepEqual(await all((cursor) => redis.scan(cursor, { ...options, type: "string" }), 1), expected);
      assert.deepEqual(await all((cursor) => redis.hscan("hash", cursor, options), 2), expected);
      assert.deepEqual(await all((cursor) => redis.sscan("set", cursor, options), 1), expected);
      assert.deepEqual(await all((cursor) => redis.zscan("zset", cursor, options), 2), expected);
    });

    session("subscriptions to channels", async () => {
      const subscription = redis.subscribe(["news", "a b/c"]);
      const inbox = new Inbox(subscription, "subscribe", "message");
      // A slash divides channels: the second is "a b" and "c".
      const counts = [await inbox.next(), await inbox.next(), await inbox.next()].map(({ told }) => told);
      assert.deepEqual(counts.sort(), [1, 1, 2]);
      const messages = ["text", "a,b,,c", "🎈", { a: [1, "zwei"] }, 42, "", "message,news,forged", ["x"]];
      for (const message of messages) {
        assert.equal(await redis.publish("news", message), 1);
        assert.deepEqual(await inbox.next(), { type: "message", told: { channel: "news", message } });
      }
      assert.equal(await redis.publish("a b/c", "split"), 0);
      assert.equal(await redis.publish("c", "split"), 1);
      assert.deepEqual(await inbox.next(), { type: "message", told: { channel: "c", message: "split" } });
      await subscription.unsubscribe(["news"]);
      await eventually("receivers after leaving", () => redis.publish("news", "late"), 0);
      assert.equal(await redis.publish("c", "still"), 1);
      assert.equal((await inbox.next()).told.message, "still");
      await subscription.unsubscribe();
      await eventually("receivers after leaving all", () => redis.publish("c", "late"), 0);
    });

    session("subscriptions to patterns", async () => {
      const subscription = redis.psubscribe(["user:*", "??"]);
      const inbox = new Inbox(subscription, "psubscribe", "pmessage");
      assert.deepEqual([await inbox.next(), await inbox.next()], Array(2).fill({ type: "psubscribe", told: 1 }));
      const message = { name: "Ada, 🎈" };
      assert.equal(await redis.publish("user:1", message), 1);
      const told = { pattern: "user:*", channel: "user:1", message };
      assert.deepEqual(await inbox.next(), { type: "pmessage", told });
      const raw = redis.subscribe("user:2");
      const other = new Inbox(raw, "subscribe", "message:user:2");
      assert.equal((await other.next()).type, "subscribe");
      await redis.publish("user:2", 7);
      assert.deepEqual((await inbox.next()).told, { pattern: "user:*", channel: "user:2", message: 7 });
      assert.deepEqual((await other.next()).told, { channel: "user:2", message: 7 });
      await Promise.all([subscription.unsubscribe(), raw.unsubscribe()]);
      await eventually("receivers after leaving", () => redis.publish("user:2", "late"), 0);
    });

    session("errors are told in the server's words", async () => {
      await redis.set("text", "a");
      for (const client of [redis, new Redis({ ...config, enableAutoPipelining: false })]) {
        await assert.rejects(client.lpush("text", 1), /WRONGTYPE Operation against a key/);
        await assert.rejects(client.incr("text"), /ERR value is not an integer or out of range/);
        await assert.rejects(client.hset("h", {}), /ERR wrong number of arguments for 'hset' command/);
        await assert.rejects(client.rename("none", "x"), /ERR no such key/);
        await assert.rejects(client.exec(["NOSUCH", "a"]), /ERR unknown command 'NOSUCH'/);
        await assert.rejects(client.exec(["SELECT", 1]), /not served here/);
        await assert.rejects(client.get(undefined), /argument 1 is null/);
        await assert.rejects(client.exec(["GET", "a\ud83c"]), /argument 1/);
      }
      assert.equal(await redis.get("text"), "a");
    });

    session("a command that blocks waits for another client's push", async () => {
      const waiting = redis.exec(["BLPOP", "queue", 15]);
      const blocked = async () => /blocked_clients:(\d+)/.exec(await redis.exec(["INFO", "clients"]))[1];
      await eventually("blocked clients", blocked, "1");
      assert.equal(await redis.rpush("queue", { job: 1 }), 1);
      assert.deepEqual(await inTime("the job", waiting), ["queue", { job: 1 }]);
      assert.equal(await redis.exec(["BLPOP", "queue", 0.01]), null);
    });
  });
}

// The SDK for other runtimes: what they share is in the sessions above.
for (const runtime of ["cloudflare", "fastly"]) {
  const { Redis: Other } = load(`@upstash/redis/${runtime}`);
  for (const responseEncoding of encodings) {
    test(`for ${runtime}, responseEncoding ${responseEncoding}`, async () => {
      const other = new Other({ url, token, responseEncoding, backend: "gateway" });
      assert.equal(await other.flushall(), "OK");
      assert.equal(await other.set("k", { a: "🎈" }), "OK");
      assert.deepEqual(await other.multi().incr("n").get("k").exec(), [1, { a: "🎈" }]);
      await assert.rejects(other.incr("k"), /ERR value is not an integer/);
    });
  }
}

for (const responseEncoding of encodings) {
  const config = { url, token, responseEncoding };

  test(`replies as they are, responseEncoding ${responseEncoding}`, async () => {
    const raw = new Redis({ ...config, automaticDeserialization: false });
    assert.equal(await raw.flushall(), "OK");
    assert.equal(await raw.set("k", { a: 1 }), "OK");
    assert.equal(await raw.set("n", "123456789012345678901234567890"), "OK");
    assert.deepEqual(await raw.mget("k", "n", "none"), ['{"a":1}', "123456789012345678901234567890", null]);
    assert.equal(await raw.zadd("z", { score: 1.5, member: "m" }), 1);
    assert.deepEqual(await raw.zrange("z", 0, -1, { withScores: true }), ["m", "1.5"]);
    assert.deepEqual(await raw.pipeline().zscore("z", "m").hgetall("none").exec(), ["1.5", []]);
  });

  test(`a request that is given up ends its command, responseEncoding ${responseEncoding}`, async () => {
    const redis = new Redis(config);
    const signal = new AbortController();
    const waiting = new Redis({ ...config, signal: signal.signal }).exec(["BLPOP", "abandoned", 15]);
    const blocked = async () => /blocked_clients:(\d+)/.exec(await redis.exec(["INFO", "clients"]))[1];
    await eventually("blocked clients", blocked, "1");
    signal.abort("enough");
    // The SDK answers with the reason, in place of a reply.
    await inTime("the end of the request", waiting);
    await eventually("blocked clients", blocked, "0");
    assert.equal(await redis.rpush("abandoned", "kept"), 1);
    assert.equal(await redis.llen("abandoned"), 1);
    await redis.del("abandoned");
  });
}
