"""upstash-redis for Python: a broad session, with the sync and the asyncio client, with and without base64.

Run with the gateway's address and token in UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN. It is not
named as the package is: Python would import this file in its place.
"""

import inspect
import os
import time
import unittest
from hashlib import sha1

import httpx
from upstash_redis import Redis
from upstash_redis.asyncio import Redis as AsyncRedis
from upstash_redis.errors import UpstashError

URL = os.environ["UPSTASH_REDIS_REST_URL"]
TOKEN = os.environ["UPSTASH_REDIS_REST_TOKEN"]


async def done(answer):
    """An answer, whichever client gives it."""
    return await answer if inspect.isawaitable(answer) else answer


class Session:
    """What every client has to pass."""

    client = None
    encoding = None

    def connect(self, token=TOKEN):
        # Without retries: a reply that has to be asked for twice is a fault.
        return self.client(URL, token, rest_encoding=self.encoding, rest_retries=0)

    async def asyncSetUp(self):
        self.redis = self.connect()
        self.assertTrue(await done(self.redis.flushall()))

    async def asyncTearDown(self):
        await done(self.redis.close())

    async def gives(self, expected, answer):
        self.assertEqual(expected, await done(answer))

    async def gives_any_order(self, expected, answer):
        self.assertEqual(sorted(expected), sorted(await done(answer)))

    async def fails(self, words, ask):
        with self.assertRaisesRegex(UpstashError, words):
            await done(ask())

    async def test_values(self):
        r = self.redis
        values = ["text", "", "OK", "null", "line\r\n\t\n", "\0\x1f\x7f", "🎈👨‍👩‍👧‍👦 漢字 \u2028", '{"a":1}', "1e3", "x" * 100_000]
        for index, value in enumerate(values):
            await self.gives(True, r.set(f"k{index}", value))
            await self.gives(value, r.get(f"k{index}"))
        await self.gives(values, r.mget(*[f"k{index}" for index in range(len(values))]))
        for value, text in [
            (7, "7"), (1.5, "1.5"), (True, "true"), (2**62 + 1, str(2**62 + 1)), ({"a": [1, None, "é"]}, '{"a": [1, null, "\\u00e9"]}'),
        ]:
            await self.gives(True, r.set("k", value))
            await self.gives(text, r.get("k"))
        for key in ["", " ", "a/b?c#d", "🎈", "\0"]:
            await self.gives(True, r.set(key, key))
            await self.gives(key, r.get(key))

    async def test_strings(self):
        r = self.redis
        await self.gives(None, r.get("none"))
        await self.gives(True, r.set("s", "one", nx=True))
        await self.gives(False, r.set("s", "two", nx=True))
        await self.gives("one", r.set("s", "two", xx=True, get=True))
        await self.gives(True, r.set("s", "three", ex=100))
        self.assertGreater(await done(r.ttl("s")), 50)
        await self.gives("three", r.getex("s", persist=True))
        await self.gives(-1, r.ttl("s"))
        await self.gives(True, r.setex("t", 100, "x"))
        await self.gives(True, r.psetex("t", 100_000, "y"))
        await self.gives(False, r.setnx("t", "z"))
        await self.gives("y", r.getset("t", "z"))
        await self.gives("z", r.getdel("t"))
        await self.gives(7, r.append("s", "!!"))
        await self.gives(7, r.strlen("s"))
        await self.gives("three", r.getrange("s", 0, 4))
        await self.gives(7, r.setrange("s", 0, "THREE"))
        await self.gives(True, r.mset({"a": 1, "b": "x"}))
        await self.gives(False, r.msetnx({"a": 2, "c": 3}))
        await self.gives(["1", None, "x"], r.mget("a", "none", "b"))
        await self.gives(42, r.incrby("a", 41))
        await self.gives(41, r.decr("a"))
        await self.gives(41.5, r.incrbyfloat("a", 0.5))
        await self.gives(True, r.set("n", 2**53))
        await self.gives(2**53 + 1, r.incr("n"))
        await self.gives(True, r.set("n", 2**63 - 2))
        await self.gives(2**63 - 1, r.incr("n"))
        await self.fails("overflow", lambda: r.incr("n"))

    async def test_keys(self):
        r = self.redis
        await done(r.mset({f"key:{index}": 1 for index in range(200)}))
        await self.gives(200, r.dbsize())
        cursor, seen = 0, set()
        while True:
            cursor, page = await done(r.scan(cursor, match="key:*", count=20))
            seen.update(page)
            if cursor == 0:
                break
        self.assertEqual(200, len(seen))
        await self.gives(1, r.exists("key:1", "none"))
        await self.gives("string", r.type("key:1"))
        await self.gives(True, r.expire("key:1", 100))
        await self.gives(True, r.expireat("key:1", 4102444800))
        await self.gives(True, r.persist("key:1"))
        await self.gives(True, r.rename("key:1", "x"))
        await self.gives(False, r.renamenx("x", "key:2"))
        await self.gives(True, r.copy("x", "y"))
        await self.gives(2, r.delete("x", "y", "none"))
        await self.gives(1, r.unlink("key:2"))
        await self.gives(1, r.touch("key:3"))
        self.assertIn(await done(r.randomkey()), seen)
        await self.gives_any_order([f"key:{n}" for n in range(30, 40)], r.keys("key:3?"))
        await self.gives("PONG", r.ping())
        await self.gives("🎈", r.ping("🎈"))
        await self.gives("hello", r.echo("hello"))
        seconds, _ = await done(r.time())
        self.assertLess(abs(seconds - time.time()), 60)
        await self.gives(True, r.flushdb("SYNC"))

    async def test_hashes(self):
        r = self.redis
        await self.gives({}, r.hgetall("none"))
        await self.gives(3, r.hset("h", values={"a": 1, "b": "zwei", "c": "🎈"}))
        await self.gives({"a": "1", "b": "zwei", "c": "🎈"}, r.hgetall("h"))
        await self.gives("zwei", r.hget("h", "b"))
        await self.gives(["1", None], r.hmget("h", "a", "none"))
        await self.gives(5, r.hincrby("h", "a", 4))
        await self.gives(5.5, r.hincrbyfloat("h", "a", 0.5))
        await self.gives(True, r.hexists("h", "a"))
        await self.gives(False, r.hsetnx("h", "a", 0))
        await self.gives(4, r.hstrlen("h", "b"))
        await self.gives(1, r.hdel("h", "b", "none"))
        await self.gives_any_order(["a", "c"], r.hkeys("h"))
        await self.gives_any_order(["5.5", "🎈"], r.hvals("h"))
        await self.gives(2, r.hlen("h"))
        await self.gives({"a": "5.5", "c": "🎈"}, r.hrandfield("h", 2, withvalues=True))
        await self.gives((0, {"a": "5.5"}), r.hscan("h", 0, match="a"))

    async def test_lists_and_sets(self):
        r = self.redis
        await self.gives(3, r.rpush("l", "a", 2, "c"))
        await self.gives(["a", "2", "c"], r.lrange("l", 0, -1))
        await self.gives([], r.lrange("none", 0, -1))
        await self.gives("2", r.lindex("l", 1))
        await self.gives(4, r.linsert("l", "BEFORE", "a", "z"))
        await self.gives(True, r.lset("l", 0, "y"))
        await self.gives([1], r.lpos("l", "a", count=0))
        await self.gives("y", r.lmove("l", "m", "LEFT", "RIGHT"))
        await self.gives("c", r.rpoplpush("l", "m"))
        await self.gives(["c", "y"], r.lpop("m", 9))
        await self.gives(None, r.rpop("m"))
        await self.gives(2, r.sadd("a", "x", "y"))
        await self.gives(2, r.sadd("b", "y", "z"))
        await self.gives_any_order(["x", "y"], r.smembers("a"))
        await self.gives([True, False], r.smismember("a", "x", "z"))
        await self.gives(["y"], r.sinter("a", "b"))
        await self.gives(["x"], r.sdiff("a", "b"))
        await self.gives(3, r.sunionstore("c", "a", "b"))
        await self.gives(True, r.smove("a", "b", "x"))
        await self.gives((0, ["y"]), r.sscan("a"))
        await self.gives("y", r.spop("a"))
        await self.gives(None, r.spop("a"))

    async def test_sorted_sets_and_places(self):
        r = self.redis
        await self.gives(3, r.zadd("z", {"one": 1, "two": 2.5, "three": "+inf"}))
        await self.gives(2.0, r.zadd("z", {"one": 1}, incr=True))
        await self.gives([("one", 2.0), ("two", 2.5), ("three", float("inf"))], r.zrange("z", 0, -1, withscores=True))
        await self.gives([2.5, None], r.zmscore("z", ["two", "none"]))
        await self.gives(None, r.zscore("z", "none"))
        await self.gives(1.5, r.zincrby("z", -0.5, "one"))
        await self.gives(2, r.zcount("z", "(1.5", "+inf"))
        await self.gives(1, r.zrank("z", "two"))
        await self.gives(["two", "one"], r.zrevrangebyscore("z", 3, "-inf"))
        await self.gives([("one", 3.0), ("two", 5.0), ("three", float("inf"))], r.zunion(["z"], weights=[2], withscores=True))
        await self.gives((0, [("one", 1.5), ("two", 2.5), ("three", float("inf"))]), r.zscan("z", 0))
        await self.gives([("three", float("inf"))], r.zpopmax("z"))
        await self.gives(2, r.zremrangebyscore("z", "-inf", "+inf"))
        await self.gives(2, r.geoadd("g", (13.361389, 38.115556, "Palermo"), (15.087269, 37.502669, "Catania")))
        await self.gives(166.2742, r.geodist("g", "Palermo", "Catania", unit="KM"))
        await self.gives(["sqc8b49rny0", None], r.geohash("g", "Palermo", "none"))
        (longitude, _), nowhere = await done(r.geopos("g", "Palermo", "none"))
        self.assertAlmostEqual(13.361389, longitude, 5)
        self.assertIsNone(nowhere)
        found = await done(r.geosearch("g", longitude=15, latitude=37, radius=200, unit="KM", withdist=True, withcoord=True, order="ASC"))
        self.assertEqual([("Catania", 56.4413), ("Palermo", 190.4424)], [(place.member, place.distance) for place in found])

    async def test_streams(self):
        r = self.redis
        await self.gives("1-1", r.xadd("x", "1-1", {"name": "Ada", "year": 1815}))
        await self.gives("2-1", r.xadd("x", "2-1", {"name": "🎈"}, maxlen=10, approximate_trim=False))
        first = ["1-1", ["name", "Ada", "year", "1815"]]
        await self.gives([first, ["2-1", ["name", "🎈"]]], r.xrange("x"))
        await self.gives([["2-1", ["name", "🎈"]]], r.xrevrange("x", count=1))
        await self.gives([["x", [first]]], r.xread({"x": "0"}, count=1))
        await self.gives([], r.xread({"x": "9"}))
        await self.gives("OK", r.xgroup_create("x", "g", "0"))
        await self.gives([["x", [first]]], r.xreadgroup("g", "me", {"x": ">"}, count=1))
        await self.gives([1, "1-1", "1-1", [["me", "1"]]], r.xpending("x", "g"))
        await self.gives(["1-1"], r.xclaim("x", "g", "other", 0, "1-1", justid=True))
        await self.gives(1, r.xack("x", "g", "1-1"))
        self.assertEqual(["name", "g"], (await done(r.xinfo_groups("x")))[0][:2])
        await self.gives(True, r.xgroup_destroy("x", "g"))
        await self.gives(1, r.xdel("x", "1-1"))
        await self.gives(1, r.xlen("x"))

    async def test_bits(self):
        r = self.redis
        await self.gives(0, r.setbit("b", 0, 1))
        await self.gives(1, r.getbit("b", 0))
        await self.gives(1, r.bitcount("b"))
        await self.gives([0, None, -1], r.bitfield("f").set("u8", "#0", 255).overflow("FAIL").incrby("u8", "#0", 1).get("i4", 0).execute())
        if self.encoding is None:
            # The byte 128 is no UTF-8; with base64 this client does not take it.
            await self.gives("\ufffd", r.get("b"))
        await self.gives(True, r.pfadd("p", "a", "b"))
        await self.gives(2, r.pfcount("p"))

    async def test_scripts(self):
        r = self.redis
        await self.gives(True, r.script_flush("SYNC"))
        for head in ["", "#!lua flags=allow-key-locking\n"]:
            script = head + "return {KEYS[1], ARGV, 1, false, {'OK', {'deeper'}}}"
            digest = sha1(script.encode()).hexdigest()
            expected = ["k", ["v", "🎈"], 1, None, ["OK", ["deeper"]]]
            await self.fails("NOSCRIPT", lambda: r.evalsha(digest, ["k"], ["v", "🎈"]))
            await self.gives([False], r.script_exists(digest))
            await self.gives(expected, r.eval(script, ["k"], ["v", "🎈"]))
            await self.gives(expected, r.evalsha(digest, ["k"], ["v", "🎈"]))
            await self.gives(digest, r.script_load(script))
            await self.gives([True, False], r.script_exists(digest, "0" * 40))

    async def test_pipelines_and_transactions(self):
        r = self.redis
        for begin in [r.pipeline, r.multi]:
            await done(r.flushdb())
            together = begin()
            together.set("a", 1).incr("a").get("none").hset("h", values={"f": "OK"}).hgetall("h").lpush("l", "x").mget("a", "none")
            await self.gives([True, 2, None, 1, {"f": "OK"}, 1, ["2", None]], together.exec())
            await self.fails("WRONGTYPE", lambda: begin().set("a", 1).lpush("a", 2).exec())
        # This client cannot show why a transaction was refused as a whole: it takes the reply for a list.
        with self.assertRaises((UpstashError, AttributeError)):
            await done(r.multi().set("a", 7).execute(["NOSUCH"]).exec())
        await self.gives("1", r.get("a"))
        await self.gives([], r.pipeline().exec())
        self.assertTrue(r._sync_token)

    async def test_errors(self):
        r = self.redis
        await done(r.set("text", "a"))
        await self.fails("WRONGTYPE Operation against a key", lambda: r.lpush("text", 1))
        await self.fails("ERR value is not an integer", lambda: r.incr("text"))
        await self.fails("ERR wrong number of arguments for 'get' command", lambda: r.execute(["GET"]))
        await self.fails("ERR unknown command 'NOSUCH'", lambda: r.execute(["NOSUCH"]))
        await self.fails("not served here", lambda: r.execute(["SELECT", 1]))
        await self.gives(0, r.publish("nobody", "listens"))
        await self.gives("a", r.get("text"))

    async def test_a_wrong_token(self):
        stranger = self.connect(TOKEN + "x")
        await self.fails("(?i)token|unauthori", lambda: stranger.get("k"))
        with self.assertRaises((UpstashError, AttributeError)):
            await done(stranger.multi().set("k", 1).exec())
        await self.gives(None, self.redis.get("k"))
        await done(stranger.close())
        answer = httpx.post(URL, json=["PING"], headers={"Authorization": f"Bearer {TOKEN}x"})
        self.assertEqual((401, str), (answer.status_code, type(answer.json()["error"])))


class Sync(Session, unittest.IsolatedAsyncioTestCase):
    client, encoding = Redis, "base64"


class SyncPlain(Session, unittest.IsolatedAsyncioTestCase):
    client, encoding = Redis, None


class Async(Session, unittest.IsolatedAsyncioTestCase):
    client, encoding = AsyncRedis, "base64"


class AsyncPlain(Session, unittest.IsolatedAsyncioTestCase):
    client, encoding = AsyncRedis, None


if __name__ == "__main__":
    unittest.main()
