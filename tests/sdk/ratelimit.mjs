// @upstash/ratelimit: every algorithm, with the Lua scripts it sends. See session.mjs for how to run it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { encodings, load, token, url } from "./session.mjs";

const { Ratelimit } = load("@upstash/ratelimit");
const { Redis } = load("@upstash/redis");

// So long that no test sees the end of one: windows begin at multiples of it.
const WINDOW = "3650 d";

for (const responseEncoding of encodings) {
  const redis = new Redis({ url, token, responseEncoding });

  for (const [name, limiter] of [
    ["a fixed window", Ratelimit.fixedWindow(3, WINDOW)],
    ["a sliding window", Ratelimit.slidingWindow(3, WINDOW)],
    ["a token bucket", Ratelimit.tokenBucket(3, WINDOW, 3)],
  ]) {
    test(`${name}, responseEncoding ${responseEncoding}`, async () => {
      await redis.flushall();
      // A new server knows no script: the digest has to fail in a way that the SDK understands.
      await redis.scriptFlush();
      const ratelimit = new Ratelimit({ redis, limiter, ephemeralCache: false });
      for (let remaining = 2; remaining >= 0; remaining -= 1) {
        const answer = await ratelimit.limit("me");
        assert.equal(answer.reason, undefined);
        assert.deepEqual([answer.success, answer.limit, answer.remaining], [true, 3, remaining]);
        await answer.pending;
      }
      const refused = await ratelimit.limit("me");
      assert.deepEqual([refused.success, refused.remaining], [false, 0]);
      assert.ok(refused.reset > Date.now());
      assert.equal((await ratelimit.getRemaining("me")).remaining, 0);
      assert.equal((await ratelimit.getRemaining("somebody else")).remaining, 3);
      assert.equal((await ratelimit.limit("somebody else 🎈")).success, true);
      await ratelimit.resetUsedTokens("me");
      assert.equal((await ratelimit.getRemaining("me")).remaining, 3);
      assert.deepEqual((await ratelimit.limit("me", { rate: 2 })).remaining, 1);
    });
  }

  test(`no more pass at once than may, responseEncoding ${responseEncoding}`, async () => {
    await redis.flushall();
    const limiter = Ratelimit.slidingWindow(10, WINDOW);
    const ratelimit = new Ratelimit({ redis, limiter, ephemeralCache: false });
    const answers = await Promise.all(Array.from({ length: 40 }, () => ratelimit.limit("crowd")));
    assert.equal(answers.filter(({ success }) => success).length, 10);
    assert.equal((await ratelimit.blockUntilReady("other", 1000)).success, true);
  });

  test(`a cached window, analytics and a deny list, responseEncoding ${responseEncoding}`, async () => {
    await redis.flushall();
    const limiter = Ratelimit.cachedFixedWindow(2, WINDOW);
    const cached = new Ratelimit({ redis, limiter, ephemeralCache: new Map() });
    const first = await cached.limit("me");
    await first.pending;
    assert.equal(first.success, true);
    const analytics = new Ratelimit({ redis, limiter: Ratelimit.fixedWindow(2, WINDOW), analytics: true });
    const counted = await analytics.limit("me", { country: "IT", ip: "192.0.2.1" });
    await counted.pending;
    assert.equal(counted.success, true);
    assert.equal((await redis.keys("@upstash/ratelimit:events:*")).length, 1);
    const dynamic = new Ratelimit({ redis, limiter: Ratelimit.fixedWindow(2, WINDOW), dynamicLimits: true });
    await dynamic.setDynamicLimit({ limit: 1 });
    assert.deepEqual(await dynamic.getDynamicLimit(), { dynamicLimit: 1 });
    assert.equal((await dynamic.limit("they")).success, true);
    assert.equal((await dynamic.limit("they")).success, false);
    await redis.sadd("@upstash/ratelimit:denyList:all", "bad");
    const guarded = new Ratelimit({ redis, limiter: Ratelimit.fixedWindow(2, WINDOW), enableProtection: false });
    assert.equal((await guarded.limit("good")).success, true);
  });
}

test("a wrong token is refused", async () => {
  const stranger = new Redis({ url, token: `${token}x`, retry: false });
  const ratelimit = new Ratelimit({ redis: stranger, limiter: Ratelimit.fixedWindow(1, WINDOW), timeout: 0 });
  await assert.rejects(ratelimit.limit("me"), /token|unauthori[sz]ed/i);
});
