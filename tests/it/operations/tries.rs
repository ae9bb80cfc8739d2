//! The requests that are tried, a few for each operation.

/// A request to try, by the operation that it is one of, and the status that it has to get from the embedded
/// engine.
pub(super) struct Try {
    pub(super) operation: &'static str,
    pub(super) path: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: &'static str,
    pub(super) status: u16,
}

const fn of(operation: &'static str, path: &'static str, status: u16) -> Try {
    Try {
        operation,
        path,
        headers: &[],
        body: "",
        status,
    }
}

impl Try {
    const fn with(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }

    const fn body(self, body: &'static str) -> Self {
        Self { body, ..self }
    }
}

const JSON: &[(&str, &str)] = &[("Accept", "application/json")];
const PNG: &[(&str, &str)] = &[("Accept", "image/png")];
const ANY: &[(&str, &str)] = &[("If-None-Match", "*")];
const OTHER: &[(&str, &str)] = &[("If-Match", "\"other\"")];
const GZIP: &[(&str, &str)] = &[("Content-Encoding", "gzip")];
const EVIL: &[(&str, &str)] = &[("Origin", "https://evil.example")];
const EXPECT: &[(&str, &str)] = &[("Expect", "a miracle")];
const CODED: &[(&str, &str)] = &[("Transfer-Encoding", "gzip, chunked")];

pub(super) const TRIES: &[Try] = &[
    of("getIndex", "/", 200),
    of("getIndex", "/", 403).with(EVIL),
    of("headIndex", "/", 200),
    of(
        "listKeys",
        "/v1/keys?match=a*&type=string&count=10&cursor=1",
        501,
    ),
    of("listKeys", "/v1/keys?count=0", 400),
    of("headKeys", "/v1/keys", 501),
    of("getKey", "/v1/keys/text", 200),
    of("getKey", "/v1/keys/bytes", 200),
    of("getKey", "/v1/keys/text", 200).with(JSON),
    of("getKey", "/v1/keys/bytes", 200).with(JSON),
    of("getKey", "/v1/keys/text", 304).with(ANY),
    of("getKey", "/v1/keys/%zz", 400),
    of("getKey", "/v1/keys/text", 403).with(EVIL),
    of("getKey", "/v1/keys/absent", 404),
    of("getKey", "/v1/keys/text", 406).with(PNG),
    of("getKey", "/v1/keys/text", 412).with(OTHER),
    of("getKey", "/v1/keys/text", 417).with(EXPECT),
    of("headKey", "/v1/keys/text", 200),
    of("headKey", "/v1/keys/text", 304).with(ANY),
    of("headKey", "/v1/keys/absent", 404),
    of("headKey", "/v1/keys/text", 406).with(PNG),
    of("putKey", "/v1/keys/new?ex=60", 204).body("value"),
    of("putKey", "/v1/keys/new?ex=0", 400).body("value"),
    of("putKey", "/v1/keys/new", 403).with(EVIL),
    of("putKey", "/v1/keys/new", 415).with(GZIP).body("value"),
    of("putKey", "/v1/keys/new?nx", 501).body("value"),
    of("putKey", "/v1/keys/new", 501).with(OTHER).body("value"),
    of("deleteKey", "/v1/keys/text", 501),
    of("deleteKey", "/v1/keys/text", 501).with(OTHER),
    of("incrementKey", "/v1/keys/text/increment", 501),
    of("incrementKey", "/v1/keys/text/increment", 400).body("{"),
    of("incrementKey", "/v1/keys/text/increment", 415)
        .with(GZIP)
        .body("{}"),
    of("getTtl", "/v1/keys/text/ttl", 501),
    of("headTtl", "/v1/keys/text/ttl", 501),
    of("putTtl", "/v1/keys/text/ttl", 501).body("{\"seconds\":60}"),
    of("putTtl", "/v1/keys/text/ttl", 400).body("{\"hours\":60}"),
    of("deleteTtl", "/v1/keys/text/ttl", 501),
    of("getHash", "/v1/hashes/a", 501),
    of("getHash", "/v1/hashes/a?a=1", 400),
    of("getHash", "/v1/hashes/a", 406).with(PNG),
    of("headHash", "/v1/hashes/a", 501),
    of("patchHash", "/v1/hashes/a", 501).body("{\"a\":1,\"b\":null}"),
    of("patchHash", "/v1/hashes/a", 400).body("{\"a\":[1]}"),
    of("patchHash", "/v1/hashes/a", 415).with(GZIP).body("{}"),
    of("deleteHash", "/v1/hashes/a", 501),
    of("getField", "/v1/hashes/a/b", 501),
    of("getField", "/v1/hashes/a/b", 406).with(PNG),
    of("headField", "/v1/hashes/a/b", 501),
    of("putField", "/v1/hashes/a/b", 501).body("value"),
    of("putField", "/v1/hashes/a/b", 501)
        .with(OTHER)
        .body("value"),
    of("putField", "/v1/hashes/a/b", 415)
        .with(GZIP)
        .body("value"),
    of("deleteField", "/v1/hashes/a/b", 501),
    of(
        "listEntries",
        "/v1/streams/a/entries?start=1&end=2&count=3&rev",
        501,
    ),
    of("listEntries", "/v1/streams/a/entries?count=0", 400),
    of("listEntries", "/v1/streams/a/entries", 406).with(PNG),
    of("headEntries", "/v1/streams/a/entries", 501),
    of("addEntry", "/v1/streams/a/entries?maxlen=9&id=1-1", 501).body("{\"a\":1}"),
    of("addEntry", "/v1/streams/a/entries", 400).body("{}"),
    of("addEntry", "/v1/streams/a/entries", 415)
        .with(GZIP)
        .body("{}"),
    of("streamEntries", "/v1/streams/a/events?from=0", 501),
    of("streamEntries", "/v1/streams/a/events?from=x", 400),
    of("streamEntries", "/v1/streams/a/events", 406).with(JSON),
    of("headEntryStream", "/v1/streams/a/events", 501),
    of("publish", "/v1/channels/a/messages", 200).body("message"),
    of("publish", "/v1/channels/%FF/messages", 400).body("message"),
    of("publish", "/v1/channels/a/messages", 415)
        .with(GZIP)
        .body("message"),
    of("getIndex", "/", 501).with(CODED),
    of("streamChannel", "/v1/channels/a/events", 200),
    of("streamChannel", "/v1/channels/a/events?format=xml", 400),
    of("streamChannel", "/v1/channels/a/events", 406).with(JSON),
    of("headChannelStream", "/v1/channels/a/events", 200),
    of("headChannelStream", "/v1/channels/a/events", 406).with(JSON),
    of("streamEvents", "/v1/events?channel=a&channel=b", 200),
    of("streamEvents", "/v1/events", 400),
    of("streamEvents", "/v1/events?channel=a", 406).with(JSON),
    of("headEvents", "/v1/events?channel=a", 200),
    of("runCommand", "/", 200).body("[\"GET\",\"text\"]"),
    of("runCommand", "/", 400).body("{}"),
    of("runCommand", "/", 403)
        .with(EVIL)
        .body("[\"GET\",\"text\"]"),
    of("runCommand", "/", 417)
        .with(EXPECT)
        .body("[\"GET\",\"text\"]"),
    of("runCommand", "/", 501).body("[\"PING\"]"),
    of("runPipeline", "/pipeline", 200).body("[[\"GET\",\"text\"],[\"PING\"]]"),
    of("runPipeline", "/pipeline", 400).body("7"),
    of("runTransaction", "/multi-exec", 400).body("7"),
    of("runTransaction", "/multi-exec", 501).body("[[\"GET\",\"text\"]]"),
    of("subscribe", "/subscribe/a", 200),
    of("subscribeHead", "/subscribe/a", 200),
    of("subscribePost", "/subscribe/a", 200),
    of("psubscribe", "/psubscribe/a", 501),
    of("psubscribeHead", "/psubscribe/a", 501),
    of("psubscribePost", "/psubscribe/a", 501),
    of("monitor", "/monitor", 501),
    of("monitorHead", "/monitor", 501),
    of("monitorPost", "/monitor", 501),
    of("getCommand", "/get/text", 200),
    of("getCommand", "/get/%zz", 400),
    of("headCommand", "/get/text", 200),
    of("postCommand", "/set/new", 200).body("value"),
    of("putCommand", "/set/new", 200).body("value"),
    of("putCommand", "/set/new", 415).with(GZIP).body("value"),
    of("getHealth", "/healthz", 200),
    of("headHealth", "/healthz", 200),
    of("getReadiness", "/readyz", 200),
    of("headReadiness", "/readyz", 200),
    of("getOpenapiYaml", "/openapi.yaml", 200),
    of("headOpenapiYaml", "/openapi.yaml", 200),
    of("getOpenapiJson", "/openapi.json", 200),
    of("headOpenapiJson", "/openapi.json", 200),
];

/// What takes a Redis server.
pub(super) const TRIES_OVER_REDIS: &[Try] = &[
    of("monitor", "/monitor", 200),
    of("monitorHead", "/monitor", 200),
    of("psubscribeHead", "/psubscribe/a", 200),
    of("headEntryStream", "/v1/streams/a/events", 200),
    of("listKeys", "/v1/keys?match=t*&count=100", 200),
    of("getKey", "/v1/keys/hash", 409),
    of("putKey", "/v1/keys/text?get", 200).body("new"),
    of("putKey", "/v1/keys/text?nx", 412).body("new"),
    of("putKey", "/v1/keys/text", 412).with(OTHER),
    of("putKey", "/v1/keys/hash", 409).with(OTHER),
    of("deleteKey", "/v1/keys/text", 412).with(OTHER),
    of("deleteKey", "/v1/keys/hash", 409).with(OTHER),
    of("deleteKey", "/v1/keys/other", 204),
    of("deleteKey", "/v1/keys/other", 404),
    of("incrementKey", "/v1/keys/number/increment", 200),
    of("incrementKey", "/v1/keys/hash/increment", 409),
    of("putTtl", "/v1/keys/text/ttl", 204).body("{\"seconds\":60}"),
    of("getTtl", "/v1/keys/text/ttl", 200),
    of("deleteTtl", "/v1/keys/absent/ttl", 404),
    of("getHash", "/v1/hashes/hash", 200),
    of("getHash", "/v1/hashes/hash", 304).with(ANY),
    of("getHash", "/v1/hashes/absent", 404),
    of("getHash", "/v1/hashes/text", 409),
    of("getHash", "/v1/hashes/hash", 412).with(OTHER),
    of("headHash", "/v1/hashes/hash", 200),
    of("patchHash", "/v1/hashes/hash", 204).body("{\"b\":1,\"c\":null}"),
    of("patchHash", "/v1/hashes/text", 409).body("{\"b\":1,\"c\":null}"),
    of("deleteHash", "/v1/hashes/gone", 204),
    of("deleteHash", "/v1/hashes/gone", 404),
    of("deleteHash", "/v1/hashes/text", 409),
    of("deleteHash", "/v1/hashes/hash", 501).with(OTHER),
    of("getField", "/v1/hashes/hash/a", 200),
    of("getField", "/v1/hashes/hash/a", 200).with(JSON),
    of("getField", "/v1/hashes/hash/a", 304).with(ANY),
    of("getField", "/v1/hashes/hash/absent", 404),
    of("putField", "/v1/hashes/hash/new", 201).body("value"),
    of("putField", "/v1/hashes/hash/new", 204).body("value"),
    of("deleteField", "/v1/hashes/hash/old", 204),
    of("deleteField", "/v1/hashes/hash/old", 404),
    of("listEntries", "/v1/streams/a/entries", 200),
    of("listEntries", "/v1/streams/text/entries", 409),
    of("streamEntries", "/v1/streams/a/events?from=0", 200),
    of(
        "streamEntries",
        "/v1/streams/absent/events?until=gone&last_event_id=1-0",
        204,
    ),
    of("streamEntries", "/v1/streams/text/events", 409),
    of("streamEvents", "/v1/events?channel=a&stream=b", 200),
    of("streamEvents", "/v1/events?stream=text", 409),
    of("addEntry", "/v1/streams/a/entries?id=2-1", 201).body("{\"a\":1}"),
    of("addEntry", "/v1/streams/a/entries?id=1-1", 409).body("{\"a\":1}"),
];
