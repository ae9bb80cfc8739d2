//! Event streams of a Redis stream's entries.

use serde_json::{Value, json};

use super::{Event, EventStream, TestGateway, TestRedis};

/// Where the events of the stream `s` are.
pub(crate) const PATH: &str = "/v1/streams/s/events";

/// What a stream ends with that is over.
pub(crate) const FAREWELL: &str = ": this stream is over";

/// A Redis server and a gateway in front of it.
pub(crate) fn start() -> (TestRedis, TestGateway) {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    (redis, gateway)
}

/// Comes back by the id of the last event.
pub(crate) fn again(gateway: &TestGateway, last: &str) -> EventStream {
    EventStream::open(gateway.address, PATH, &[("Last-Event-ID", last)])
}

/// Adds entries of these ids to the stream `s`, each with its id as the field `n`.
pub(crate) fn add(redis: &TestRedis, ids: &[&str]) {
    for id in ids {
        assert_eq!(redis.cli(&["XADD", "s", id, "n", id]), *id);
    }
}

/// The ids of the next events, which are entries.
pub(crate) fn ids(stream: &mut EventStream, count: usize) -> Vec<String> {
    let mut id = || {
        let event = stream.event();
        assert_eq!(event.name, "message", "{event:?}");
        let fields: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(fields, json!({"n": event.id}));
        event.id
    };
    (0..count).map(|_| id()).collect()
}

/// The next event, which is a gap: its id and what it says.
pub(crate) fn gap(stream: &mut EventStream) -> (String, Value) {
    let Event { id, name, data } = stream.event();
    assert_eq!(name, "gap", "{data}");
    (id, serde_json::from_str(&data).unwrap())
}

/// Waits for the farewell and the end.
pub(crate) fn ends(stream: &mut EventStream) {
    stream.wait_for(FAREWELL);
    assert!(!stream.text().contains("gap"), "{}", stream.text());
    stream.wait_for_end();
}
