// @upstash/redis: every type of value, by the SDK's own methods. What goes out together is in
// upstash_redis_together.mjs. See session.mjs for how to run it.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { encodings, load, refusesAWrongToken, token, url } from "./session.mjs";

const { Redis } = load("@upstash/redis");

const sorted = (list) => [...list].sort();
/** Redis promises no order for these. */
const assertSame = (actual, expected) => assert.deepEqual(sorted(actual), sorted(expected));

for (const responseEncoding of encodings) {
  const redis = new Redis({ url, token, responseEncoding });
  const raw = new Redis({ url, token, responseEncoding, automaticDeserialization: false });
  const session = (name, run) =>
    test(name, async () => {
      assert.equal(await redis.flushall(), "OK");
      await run();
    });

  describe(`responseEncoding ${responseEncoding}`, () => {
    session("values come back as they were", async () => {
      const values = [
        "text", "", "OK", "with \"quotes\", \\ and /", "line\r\nline\n\ttab", "\u0000\u0001\u001f\u007f",
        "🎈👨‍👩‍👧‍👦 ünïcödé 漢字 \u2028\u2029", "=?UTF-8?B?", "a,b,c", "%2F%zz&x=y", "{not json", "007", "1e3", "+1",
        "9007199254740993", "-170141183460469231731687303715884105728", "0.1000000000000000055511151231257827",
        0, 1, -1, 1.5, 1e21, 5e-324, Number.MAX_SAFE_INTEGER, true, false, null,
        { a: { b: [1, "zwei", null, true] }, "ключ": "🎈" }, [1, "a", ["b", []]], [], {},
        "x".repeat(100_000), "é".repeat(50_000),
      ];
      for (const [index, value] of values.entries()) {
        const key = `k${index}`;
        assert.equal(await redis.set(key, value), "OK");
        assert.deepEqual(await redis.get(key), value, `value ${index}`);
        const text = typeof value === "string" ? value : JSON.stringify(value);
        assert.equal(await raw.get(key), text, `text of value ${index}`);
      }
      const keys = values.map((_, index) => `k${index}`);
      assert.deepEqual(await redis.mget(...keys), values);
      assert.equal(await redis.dbsize(), values.length);
    });

    session("keys may be any text", async () => {
      for (const key of ["", " ", "a/b?c#d", "🎈", "\n", "\u0000", "%41", "null", "1"]) {
        assert.equal(await redis.set(key, key), "OK");
        assert.equal(await raw.get(key), key);
        assert.equal(await redis.exists(key), 1);
        assert.equal(await redis.del(key), 1);
        assert.equal(await redis.get(key), null);
      }
    });

    session("strings", async () => {
      assert.equal(await redis.get("none"), null);
      assert.equal(await redis.set("s", "one", { nx: true }), "OK");
      assert.equal(await redis.set("s", "two", { nx: true }), null);
      assert.equal(await redis.set("s", "two", { xx: true, get: true }), "one");
      assert.equal(await redis.set("s", "three", { ex: 100 }), "OK");
      assert.equal(await redis.set("s", "four", { keepTtl: true }), "OK");
      assert.ok((await redis.ttl("s")) > 50);
      assert.equal(await redis.setex("t", 100, "x"), "OK");
      assert.equal(await redis.psetex("t", 100_000, "y"), "OK");
      assert.equal(await redis.setnx("t", "z"), 0);
      assert.equal(await redis.getset("t", "z"), "y");
      assert.equal(await redis.getdel("t"), "z");
      assert.equal(await redis.getdel("t"), null);
      assert.equal(await redis.getex("s", { persist: true }), "four");
      assert.equal(await redis.ttl("s"), -1);
      assert.equal(await redis.append("s", "teen"), 8);
      assert.equal(await redis.strlen("s"), 8);
      assert.equal(await redis.getrange("s", 0, 3), "four");
      assert.equal(await redis.setrange("s", 4, "TEEN"), 8);
      assert.equal(await redis.get("s"), "fourTEEN");
      assert.equal(await redis.mset({ a: 1, b: { c: 2 }, d: "e" }), "OK");
      assert.equal(await redis.msetnx({ a: 2, f: 3 }), 0);
      assert.deepEqual(await redis.mget("a", "none", "b", "d"), [1, null, { c: 2 }, "e"]);
      assert.equal(await redis.incr("a"), 2);
      assert.equal(await redis.incrby("a", 40), 42);
      assert.equal(await redis.decr("a"), 41);
      assert.equal(await redis.decrby("a", 50), -9);
      assert.equal(await redis.incrbyfloat("a", 0.5), -8.5);
      assert.equal(await redis.set("big", "9007199254740990"), "OK");
      assert.equal(await redis.incr("big"), Number.MAX_SAFE_INTEGER);
      assert.equal(await redis.set("big", "9223372036854775806"), "OK");
      assert.equal(await redis.incr("big"), 9223372036854775807);
      assert.equal(await redis.get("big"), "9223372036854775807");
      await assert.rejects(redis.incr("big"), /overflow/);
    });

    session("keys", async () => {
      await redis.mset({ a: 1, b: 2, c: 3 });
      assert.equal(await redis.exists("a", "b", "none"), 2);
      assert.equal(await redis.touch("a", "none"), 1);
      assert.equal(await redis.type("a"), "string");
      assert.equal(await redis.type("none"), "none");
      assert.equal(await redis.expire("a", 100), 1);
      assert.equal(await redis.pexpire("a", 100_000), 1);
      assert.equal(await redis.expireat("a", 4102444800), 1);
      assert.equal(await redis.pexpireat("a", 4102444800000), 1);
      assert.ok((await redis.ttl("a")) > 1000);
      assert.ok((await redis.pttl("a")) > 1_000_000);
      assert.equal(await redis.persist("a"), 1);
      assert.equal(await redis.ttl("a"), -1);
      assert.equal(await redis.ttl("none"), -2);
      assert.equal(await redis.rename("a", "z"), "OK");
      assert.equal(await redis.renamenx("z", "b"), 0);
      assert.equal(await redis.copy("z", "y"), "COPIED");
      assert.equal(await redis.copy("z", "y"), "NOT_COPIED");
      assertSame(await redis.keys("*"), ["b", "c", "y", "z"]);
      assert.ok(["b", "c", "y", "z"].includes(await redis.randomkey()));
      assert.equal(await redis.unlink("y", "z", "none"), 2);
      assert.equal(await redis.flushdb({ async: true }), "OK");
      assert.equal(await redis.dbsize(), 0);
      assert.equal(await redis.randomkey(), null);
      assert.equal(await redis.ping(), "PONG");
      assert.equal(await redis.ping(["🎈"]), "🎈");
      assert.equal(await redis.echo("hello, you"), "hello, you");
      const [seconds, micros] = await redis.time();
      assert.ok(Math.abs(Number(seconds) - Date.now() / 1000) < 60 && Number(micros) < 1_000_000);
    });

    session("hashes", async () => {
      assert.equal(await redis.hgetall("none"), null);
      assert.equal(await redis.hset("h", { a: 1, b: "zwei", c: { d: [3] } }), 3);
      assert.deepEqual(await redis.hgetall("h"), { a: 1, b: "zwei", c: { d: [3] } });
      assert.deepEqual(await redis.hget("h", "c"), { d: [3] });
      assert.equal(await redis.hget("h", "none"), null);
      assert.deepEqual(await redis.hmget("h", "a", "none"), { a: 1, none: null });
      assert.equal(await redis.hmget("h", "none"), null);
      assert.equal(await redis.hmset("h", { e: 5 }), "OK");
      assert.equal(await redis.hincrby("h", "a", 41), 42);
      assert.equal(await redis.hincrbyfloat("h", "a", 0.5), 42.5);
      assert.equal(await redis.hexists("h", "a"), 1);
      assert.equal(await redis.hsetnx("h", "a", 0), 0);
      assert.equal(await redis.hstrlen("h", "b"), 4);
      assert.equal(await redis.hdel("h", "e", "none"), 1);
      assertSame(await redis.hkeys("h"), ["a", "b", "c"]);
      assert.equal((await redis.hvals("h")).length, 3);
      assert.equal(await redis.hlen("h"), 3);
      assert.ok(["a", "b", "c"].includes(await redis.hrandfield("h")));
      assert.equal((await redis.hrandfield("h", 2)).length, 2);
      assert.deepEqual(await redis.hrandfield("h", 3, true), { a: 42.5, b: "zwei", c: { d: [3] } });
      const [cursor, pairs] = await redis.hscan("h", 0, { match: "b", count: 10 });
      assert.deepEqual([cursor, pairs], ["0", ["b", "zwei"]]);
    });

    session("lists", async () => {
      assert.equal(await redis.rpush("l", "a", { b: 1 }, 3), 3);
      assert.equal(await redis.lpush("l", "first"), 4);
      assert.deepEqual(await redis.lrange("l", 0, -1), ["first", "a", { b: 1 }, 3]);
      assert.deepEqual(await redis.lrange("none", 0, -1), []);
      assert.deepEqual(await redis.lindex("l", 2), { b: 1 });
      assert.equal(await redis.lindex("l", 9), null);
      assert.equal(await redis.linsert("l", "before", "a", "OK"), 5);
      assert.deepEqual(await redis.lrange("l", 1, 1), ["OK"]);
      assert.equal(await redis.lset("l", 0, "zero"), "OK");
      assert.equal(await redis.lpos("l", "a"), 2);
      assert.equal(await redis.lpos("l", "none"), null);
      assert.equal(await redis.lrem("l", 0, "OK"), 1);
      assert.equal(await redis.lmove("l", "m", "left", "right"), "zero");
      assert.equal(await redis.llen("l"), 3);
      assert.deepEqual(await redis.lmpop(2, ["none", "l"], "LEFT", 2), ["l", ["a", { b: 1 }]]);
      assert.equal(await redis.lmpop(1, ["none"], "LEFT"), null);
      assert.equal(await redis.rpop("l"), 3);
      assert.equal(await redis.rpop("l"), null);
      assert.equal(await redis.rpushx("l", 1), 0);
      assert.equal(await redis.lpushx("m", 1), 2);
      assert.deepEqual(await redis.lpop("m", 5), [1, "zero"]);
      assert.equal(await redis.lpop("m"), null);
      await redis.rpush("n", 1, 2, 3);
      assert.equal(await redis.ltrim("n", 1, 1), "OK");
      assert.deepEqual(await redis.lrange("n", 0, -1), [2]);
    });

    session("sets", async () => {
      assert.equal(await redis.sadd("a", "x", "y", "🎈"), 3);
      assert.equal(await redis.sadd("b", "y", "z"), 2);
      assertSame(await redis.smembers("a"), ["x", "y", "🎈"]);
      assert.deepEqual(await redis.smembers("none"), []);
      assert.equal(await redis.scard("a"), 3);
      assert.equal(await redis.sismember("a", "x"), 1);
      assert.deepEqual(await redis.smismember("a", ["x", "z"]), [1, 0]);
      assertSame(await redis.sdiff("a", "b"), ["x", "🎈"]);
      assert.deepEqual(await redis.sinter("a", "b"), ["y"]);
      assert.equal(await redis.sintercard(["a", "b"]), 1);
      assertSame(await redis.sunion("a", "b"), ["x", "y", "z", "🎈"]);
      assert.equal(await redis.sdiffstore("c", "a", "b"), 2);
      assert.equal(await redis.sinterstore("c", "a", "b"), 1);
      assert.equal(await redis.sunionstore("c", "a", "b"), 4);
      assert.equal(await redis.smove("a", "b", "x"), 1);
      assert.equal(await redis.srem("b", "x", "none"), 1);
      assert.equal((await redis.srandmember("c", 2)).length, 2);
      assert.equal((await redis.spop("c", 3)).length, 3);
      assert.equal(typeof (await redis.spop("c")), "string");
      assert.equal(await redis.spop("c"), null);
      const [cursor, members] = await redis.sscan("b", 0);
      assert.equal(cursor, "0");
      assertSame(members, ["y", "z"]);
    });

    session("sorted sets", async () => {
      const scores = [{ score: 1, member: "one" }, { score: 2.5, member: "two" }, { score: 3, member: { n: 3 } }];
      assert.equal(await redis.zadd("z", ...scores), 3);
      assert.equal(await redis.zadd("z", { gt: true, ch: true }, { score: 0, member: "one" }), 0);
      assert.equal(await redis.zadd("z", { incr: true }, { score: 1, member: "one" }), 2);
      assert.equal(await redis.zscore("z", "two"), 2.5);
      assert.equal(await redis.zscore("z", "none"), null);
      assert.deepEqual(await redis.zmscore("z", ["two", "none"]), [2.5, null]);
      assert.equal(await redis.zincrby("z", -0.5, "one"), 1.5);
      assert.equal(await redis.zcard("z"), 3);
      assert.equal(await redis.zcount("z", "(1.5", "+inf"), 2);
      assert.equal(await redis.zrank("z", "two"), 1);
      assert.equal(await redis.zrevrank("z", "two"), 1);
      assert.equal(await redis.zrank("z", "none"), null);
      assert.deepEqual(await redis.zrange("z", 0, -1), ["one", "two", { n: 3 }]);
      assert.deepEqual(await redis.zrange("z", 0, 1, { rev: true, withScores: true }), [{ n: 3 }, 3, "two", 2.5]);
      assert.deepEqual(await redis.zrange("z", 2, "+inf", { byScore: true, offset: 0, count: 1 }), ["two"]);
      assert.equal(await redis.zunionstore("u", 2, ["z", "none"], { weights: [2, 1], aggregate: "sum" }), 3);
      assert.equal(await redis.zinterstore("i", 2, ["z", "u"]), 3);
      assert.equal(await redis.zdiffstore("d", 2, "z", "u"), 0);
      assert.deepEqual(await redis.zunion(1, "u", { withScores: true }), ["one", 3, "two", 5, { n: 3 }, 6]);
      await redis.zadd("inf", { score: "-inf", member: "low" }, { score: "+inf", member: "high" });
      assert.deepEqual(await redis.zrange("inf", 0, -1, { withScores: true }), ["low", "-inf", "high", "inf"]);
      assert.deepEqual(await redis.zscan("inf", 0), ["0", ["low", "-inf", "high", "inf"]]);
      await redis.zadd("lex", { score: 0, member: "a" }, { score: 0, member: "b" }, { score: 0, member: "c" });
      assert.equal(await redis.zlexcount("lex", "[a", "(c"), 2);
      assert.deepEqual(await redis.zrange("lex", "[b", "+", { byLex: true }), ["b", "c"]);
      assert.equal(await redis.zremrangebylex("lex", "-", "[a"), 1);
      assert.deepEqual(await redis.zpopmax("z"), [{ n: 3 }, 3]);
      assert.deepEqual(await redis.zpopmin("z", 5), ["one", 1.5, "two", 2.5]);
      assert.deepEqual(await redis.zpopmin("z"), []);
      assert.equal(await redis.zrem("u", "one", "none"), 1);
      assert.equal(await redis.zremrangebyscore("u", 5, 5), 1);
      assert.equal(await redis.zremrangebyrank("u", 0, -1), 1);
    });

    session("streams", async () => {
      assert.equal(await redis.xadd("x", "1-1", { name: "Ada", year: 1815 }), "1-1");
      assert.equal(await redis.xadd("x", "2-1", { name: "🎈", data: { a: [1] } }), "2-1");
      assert.match(await redis.xadd("x", "*", { n: 1 }), /^\d+-\d+$/);
      assert.equal(await redis.xlen("x"), 3);
      const first = { "1-1": { name: "Ada", year: 1815 } };
      assert.deepEqual(await redis.xrange("x", "-", "1-1"), first);
      assert.deepEqual(await redis.xrevrange("x", "2-1", "2-1", 1), { "2-1": { name: "🎈", data: { a: [1] } } });
      assert.deepEqual(await redis.xrange("none", "-", "+"), {});
      const read = await redis.xread(["x"], ["0"], { count: 1 });
      assert.deepEqual(read, [["x", [["1-1", ["name", "Ada", "year", 1815]]]]]);
      assert.equal(await redis.xread("none", "0"), null);
      assert.equal(await redis.xgroup("x", { type: "CREATE", group: "g", id: "0" }), "OK");
      assert.equal(await redis.xgroup("x", { type: "CREATECONSUMER", group: "g", consumer: "other" }), 1);
      const delivered = await redis.xreadgroup("g", "me", ["x"], [">"], { count: 2 });
      assert.deepEqual(delivered[0][1].map(([id]) => id), ["1-1", "2-1"]);
      assert.equal(await redis.xack("x", "g", "1-1"), 1);
      const [[id, consumer, , count]] = await redis.xpending("x", "g", "-", "+", 10);
      assert.deepEqual([id, consumer, count], ["2-1", "me", 1]);
      const claimed = await redis.xclaim("x", "g", "other", 0, "2-1");
      assert.deepEqual(claimed, [["2-1", ["name", "🎈", "data", { a: [1] }]]]);
      const swept = await redis.xautoclaim("x", "g", "me", 0, "0-0", { justId: true });
      assert.deepEqual(swept.slice(0, 2), ["0-0", ["2-1"]]);
      const [group] = await redis.xinfo("x", { type: "GROUPS" });
      assert.deepEqual(group.slice(0, 4), ["name", "g", "consumers", 2]);
      assert.equal((await redis.xinfo("x", { type: "CONSUMERS", group: "g" })).length, 2);
      assert.equal(await redis.xdel("x", "1-1"), 1);
      assert.equal(await redis.xtrim("x", { strategy: "MAXLEN", threshold: 1, exactness: "=" }), 1);
      assert.equal(await redis.xgroup("x", { type: "DESTROY", group: "g" }), 1);
    });

    session("places", async () => {
      const palermo = { longitude: 13.361389, latitude: 38.115556, member: "Palermo" };
      const catania = { longitude: 15.087269, latitude: 37.502669, member: "Catania" };
      assert.equal(await redis.geoadd("g", palermo, catania), 2);
      assert.equal(await redis.geodist("g", "Palermo", "Catania", "KM"), 166.2742);
      assert.equal(await redis.geodist("g", "Palermo", "none"), null);
      assert.deepEqual(await redis.geohash("g", "Palermo", "none"), ["sqc8b49rny0", null]);
      const [position] = await redis.geopos("g", "Palermo", "none");
      assert.ok(Math.abs(position.lng - palermo.longitude) < 1e-5 && Math.abs(position.lat - palermo.latitude) < 1e-5);
      const near = { type: "FROMLONLAT", coordinate: { lon: 15, lat: 37 } };
      const shape = { type: "BYRADIUS", radius: 200, radiusType: "KM" };
      const found = await redis.geosearch("g", near, shape, "ASC", { withDist: true, withCoord: true, withHash: true });
      assert.deepEqual(found.map(({ member, dist }) => [member, dist]), [["Catania", 56.4413], ["Palermo", 190.4424]]);
      assert.ok(found[0].coord && found[0].hash);
      assert.equal(await redis.geosearchstore("s", "g", near, shape, "ASC"), 2);
    });

    session("bits", async () => {
      assert.equal(await redis.setbit("b", 7, 1), 0);
      assert.equal(await redis.getbit("b", 7), 1);
      assert.equal(await redis.bitcount("b", 0, -1), 1);
      assert.equal(await redis.bitpos("b", 1), 7);
      assert.equal(await redis.bitop("not", "n", "b"), 1);
      assert.equal(await redis.bitop("or", "all", "b", "n"), 1);
      // The byte 255, which is no UTF-8.
      assert.equal(await redis.get("all"), "\uFFFD");
      assert.deepEqual(await redis.mget("all", "none"), ["\uFFFD", null]);
      // Auto-pipelining knows no bit fields.
      const alone = new Redis({ url, token, responseEncoding, enableAutoPipelining: false });
      const fields = alone.bitfield("f").set("u8", "#0", 255).overflow("FAIL").incrby("u8", "#0", 1).get("i4", 0);
      assert.deepEqual(await fields.exec(), [0, null, -1]);
      assert.equal(await redis.pfadd("p", "a", "b"), 1);
      assert.equal(await redis.pfadd("q", "c"), 1);
      assert.equal(await redis.pfcount("p", "q"), 3);
      assert.equal(await redis.pfmerge("r", "p", "q"), "OK");
    });
  });
}

refusesAWrongToken((config) => new Redis(config));
