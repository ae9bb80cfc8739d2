// What the sessions of the JavaScript SDKs have in common: where the gateway is, the packages, waiting for
// messages, and the tests that every SDK has to pass.
//
// Run with the folder that holds node_modules as the current one, and with the gateway's address and token in
// UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN; the gateway with --token and, as the sessions wait until a channel
// has been left, with --linger 50ms.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, test } from "node:test";

/** Loads a package from the current folder's node_modules. */
export const load = createRequire(`${process.cwd()}/`);

export const url = process.env.UPSTASH_REDIS_REST_URL;
export const token = process.env.UPSTASH_REDIS_REST_TOKEN;
assert.ok(url && token, "UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN have to be set");

/** Both ways in which the SDK can ask for its replies. */
export const encodings = ["base64", false];

/** By when anything that is waited for has to have happened. Far more than it takes. */
const PATIENCE = 20_000;

/** Waits for a promise, but not for ever. */
export function inTime(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Those that have been listened to: an open one would keep a session that failed from ending. */
const subscriptions = [];
after(() => Promise.all(subscriptions.map((subscription) => subscription.unsubscribe())));

/** Whatever a subscription tells, in order: `next` waits for it. */
export class Inbox {
  #arrived = [];
  #waiting = [];

  constructor(subscription, ...types) {
    subscriptions.push(subscription);
    for (const type of types) subscription.on(type, (told) => this.#take({ type, told }));
    subscription.on("error", (error) => this.#take({ type: "error", told: String(error) }));
  }

  next() {
    if (this.#arrived.length > 0) return Promise.resolve(this.#arrived.shift());
    return inTime("a message", new Promise((resolve) => this.#waiting.push(resolve)));
  }

  #take(event) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(event);
    else this.#arrived.push(event);
  }
}

/** Asks until the answer is as expected. */
export async function eventually(what, ask, expected) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const answer = await ask();
    if (answer === expected) return;
    assert.ok(Date.now() < deadline, `${what}: ${answer} instead of ${expected}`);
  }
}

/** A client with a wrong token is told so, whatever it asks. */
export function refusesAWrongToken(make) {
  test("a wrong token is refused", async () => {
    const stranger = make({ url, token: `${token}x`, retry: false });
    const unauthorized = /token|unauthori[sz]ed/i;
    await assert.rejects(stranger.get("k"), unauthorized);
    await assert.rejects(stranger.dbsize(), unauthorized);
    await assert.rejects(stranger.pipeline().get("k").exec(), unauthorized);
    await assert.rejects(stranger.multi().get("k").exec(), unauthorized);
    const subscription = stranger.subscribe("c");
    const told = await new Inbox(subscription, "subscribe").next();
    assert.equal(told.type, "error");
    const headers = { authorization: `Bearer ${token}x` };
    const response = await fetch(url, { method: "POST", body: '["PING"]', headers });
    assert.equal(response.status, 401);
    assert.equal(typeof (await response.json()).error, "string");
  });
}
