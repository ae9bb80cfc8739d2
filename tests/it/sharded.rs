//! Sharded channels: a name space of their own, over one server and over a Cluster.

use std::time::Duration;

use serde_json::json;

use crate::env::{Answer, EventStream, KEYS, TestCluster, TestGateway, TestRedis, wait_until};

const EVENTS: &str = "/v1/channels/a/events?sharded=true";

fn start() -> (TestRedis, TestGateway) {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    (redis, gateway)
}

/// Publishes, which has to reach this many of the server's subscribers.
#[track_caller]
fn publish(gateway: &TestGateway, channel: &str, query: &str, message: &[u8], receivers: u32) {
    let path = format!("/v1/channels/{channel}/messages{query}");
    let answer = gateway.post(&path, message);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), json!({"receivers": receivers}));
}

/// What a server says of the sharded channels that somebody listens to.
fn listened_to(redis: &TestRedis) -> String {
    redis.cli(&["PUBSUB", "SHARDCHANNELS"])
}

/// The stream tells of an interruption, and delivers what is published behind it.
#[track_caller]
fn assert_goes_on(gateway: &TestGateway, stream: &mut EventStream) {
    assert_eq!(stream.event().name, "gap");
    wait_until("commands reach it too", || {
        gateway
            .post("/v1/channels/a/messages?sharded", b"after")
            .status
            == 200
    });
    assert_eq!(stream.event().data, "after");
}

#[test]
fn a_sharded_channel_is_not_the_channel_of_its_name() {
    let (redis, gateway) = start();
    let mut sharded = gateway.listen(EVENTS);
    let mut plain = gateway.listen("/v1/channels/a/events");
    publish(&gateway, "a", "", b"plain 1", 1);
    publish(&gateway, "a", "?sharded=true", b"sharded 1", 1);
    assert_eq!(redis.cli(&["PUBLISH", "a", "plain 2"]), "1");
    assert_eq!(redis.cli(&["SPUBLISH", "a", "sharded 2"]), "1");
    let answer = gateway.post("/", br#"["SPUBLISH","a","sharded 3"]"#);
    assert_eq!(answer.text(), r#"{"result":1}"#);
    for (stream, kind, count) in [(&mut plain, "plain", 2), (&mut sharded, "sharded", 3)] {
        for number in 1..=count {
            assert_eq!(stream.event().data, format!("{kind} {number}"));
        }
        assert_eq!(stream.text(), "");
    }
}

#[test]
fn one_stream_carries_several_with_any_bytes() {
    let (_redis, gateway) = start();
    let mut stream = gateway.listen("/v1/events?channel=a&channel=%FF&sharded=true");
    publish(&gateway, "%FF", "?sharded", b"\xFF\x00", 1);
    publish(&gateway, "a", "?sharded", b"line\nend", 1);
    let told = stream.event().data;
    let expected =
        r#"{"channel":"/w==","channel_encoding":"base64","message":"/wA=","encoding":"base64"}"#;
    assert_eq!(told, expected);
    let expected = r#"{"channel":"a","message":"line\nend"}"#;
    assert_eq!(stream.event().data, expected);
}

#[test]
fn each_is_resumed_by_its_own_past() {
    let (_redis, gateway) = start();
    let mut sharded = gateway.listen(EVENTS);
    let mut plain = gateway.listen("/v1/channels/a/events");
    publish(&gateway, "a", "?sharded", b"seen", 1);
    let seen = sharded.event();
    drop(sharded);
    publish(&gateway, "a", "", b"plain", 1);
    publish(&gateway, "a", "?sharded", b"missed", 1);
    assert_eq!(plain.event().data, "plain");
    let last = [("Last-Event-ID", &*seen.id)];
    let mut again = EventStream::open(gateway.address, EVENTS, &last);
    let missed = again.event();
    assert_eq!((&*missed.name, &*missed.data), ("message", "missed"));
    publish(&gateway, "a", "?sharded", b"new", 1);
    assert_eq!(again.event().data, "new");
}

#[test]
fn it_is_left_with_its_last_listener() {
    let (redis, gateway) = start();
    let before = redis.clients();
    let other = gateway.listen("/v1/channels/b/events?sharded");
    let (first, second) = (gateway.listen(EVENTS), gateway.listen(EVENTS));
    assert_eq!(listened_to(&redis).lines().count(), 2);
    // One connection for all of them.
    assert_eq!(redis.clients(), before + 1);
    drop(first);
    publish(&gateway, "a", "?sharded", b"to the second", 1);
    drop(second);
    wait_until("it is left", || listened_to(&redis) == "b");
    drop(other);
    wait_until("the connection is closed", || redis.clients() == before);
    // And all of that once more.
    let mut again = gateway.listen(EVENTS);
    publish(&gateway, "a", "?sharded", b"again", 1);
    assert_eq!(again.event().data, "again");
}

#[test]
fn an_interruption_is_one_gap_and_no_other_streams() {
    let (redis, gateway) = start();
    let mut sharded = gateway.listen(EVENTS);
    let mut both = gateway.listen("/v1/channels/a/events");
    let list = redis.cli(&["CLIENT", "LIST"]);
    let line = list.lines().find(|line| line.contains("cmd=ssubscribe"));
    let id = line.unwrap().split([' ', '=']).nth(1).unwrap();
    assert_eq!(redis.cli(&["CLIENT", "KILL", "ID", id]), "1");
    let gap = sharded.event();
    assert_eq!(gap.name, "gap");
    assert!(gap.data.contains("interrupted"), "{gap:?}");
    publish(&gateway, "a", "?sharded", b"after", 1);
    assert_eq!(sharded.event().data, "after");
    publish(&gateway, "a", "", b"plain", 1);
    assert_eq!(both.event().data, "plain");
}

#[test]
fn a_server_that_comes_back_is_listened_to_again() {
    let (mut redis, gateway) = start();
    let mut stream = gateway.listen(EVENTS);
    redis.kill();
    redis.restart();
    assert_goes_on(&gateway, &mut stream);
}

#[test]
fn a_connection_that_is_silent_is_replaced() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.heartbeat = Duration::from_millis(100);
        config.command_timeout = Duration::from_millis(300);
    });
    let mut stream = gateway.listen(EVENTS);
    redis.signal("STOP");
    // It is found out while the server stands still, and told when it goes on.
    stream.wait_for(":\n\n:\n\n:\n\n:\n\n:\n\n:\n\n");
    redis.signal("CONT");
    assert_goes_on(&gateway, &mut stream);
}

#[test]
fn a_password_opens_them_too() {
    let redis = TestRedis::with(&["--requirepass", "pa55"]);
    let gateway = TestGateway::at(&format!("redis://:pa55@{}", redis.address()));
    let mut stream = gateway.listen(EVENTS);
    publish(&gateway, "a", "?sharded", b"in", 1);
    assert_eq!(stream.event().data, "in");
}

#[test]
fn a_server_without_them_says_so_itself() {
    // As servers before Redis 7.
    let without = [
        "--rename-command",
        "SSUBSCRIBE",
        "",
        "--rename-command",
        "SPUBLISH",
        "",
    ];
    let redis = TestRedis::with(&without);
    let gateway = TestGateway::over(&redis);
    for answer in [
        gateway.get(EVENTS),
        gateway.get("/v1/events?channel=a&sharded"),
        gateway.post("/v1/channels/a/messages?sharded", b"x"),
    ] {
        answer.assert_problem(501, "does not have the command");
        let json = answer.json();
        let told = json["redis_error"].as_str().unwrap_or_default();
        assert!(told.starts_with("ERR unknown command"), "{json}");
    }
    let mut stream = gateway.listen("/v1/channels/a/events");
    publish(&gateway, "a", "?sharded=false", b"plain", 1);
    assert_eq!(stream.event().data, "plain");
}

#[test]
fn the_embedded_engine_has_none() {
    let gateway = TestGateway::start();
    gateway.get(EVENTS).assert_problem(501, "SSUBSCRIBE");
    let answer = gateway.post("/v1/channels/a/messages?sharded", b"x");
    answer.assert_problem(501, "SPUBLISH");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (_redis, gateway) = start();
    let answer = gateway.get("/v1/events?channel=a&pattern=b*&sharded=true");
    answer.assert_problem(400, "pattern");
    let answer = gateway.get("/v1/channels/a/events?sharded=perhaps");
    answer.assert_problem(400, "sharded");
    let answer = gateway.get("/ssubscribe/a");
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("?sharded=true"), "{answer:?}");
}

#[test]
fn a_reader_listens_and_does_not_publish() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.readonly_tokens = vec!["reading".parse().unwrap()];
    });
    let token = [("Authorization", "Bearer reading")];
    let mut stream = EventStream::open(gateway.address, EVENTS, &token);
    let path = "/v1/channels/a/messages?sharded=true";
    let refused: Answer = gateway.connect().request("POST", path, &token, b"x");
    refused.assert_problem(403, "publishing");
    assert_eq!(redis.cli(&["SPUBLISH", "a", "from elsewhere"]), "1");
    assert_eq!(stream.event().data, "from elsewhere");
}

#[test]
fn on_a_cluster_each_is_listened_to_at_its_own_node() {
    let cluster = TestCluster::start(&[]);
    let gateway = TestGateway::at(&cluster.url());
    let query = KEYS.map(|key| format!("channel={key}&")).concat();
    let mut all = gateway.listen(&format!("/v1/events?{query}sharded=true"));
    for (at, key) in KEYS.iter().enumerate() {
        assert_eq!(listened_to(cluster.master(at)), *key);
        publish(&gateway, key, "?sharded", b"x", 1);
        let told = all.event();
        assert_eq!(
            told.data,
            json!({"channel": key, "message": "x"}).to_string()
        );
    }
}

#[test]
fn on_a_cluster_a_moved_channel_is_followed() {
    let cluster = TestCluster::start(&[]);
    let gateway = TestGateway::at(&cluster.url());
    let [from, to] = [0, 1].map(|at| cluster.master(at));
    let (moving, staying) = (KEYS[0], KEYS[2]);
    let mut stream = gateway.listen(&format!("/v1/channels/{moving}/events?sharded"));
    let mut other = gateway.listen(&format!("/v1/channels/{staying}/events?sharded"));
    let slot = cluster.slot(moving);
    cluster.begin_to_move(slot, from, to);
    cluster.end_move(slot, to);
    assert_eq!(stream.event().name, "gap");
    assert_eq!(listened_to(to), moving);
    publish(&gateway, moving, "?sharded", b"at the new node", 1);
    assert_eq!(stream.event().data, "at the new node");
    // Whoever comes now is led there too.
    let mut late = gateway.listen(&format!("/v1/channels/{moving}/events?sharded"));
    publish(&gateway, moving, "?sharded", b"to both", 1);
    assert_eq!(late.event().data, "to both");
    assert_eq!(stream.event().data, "to both");
    publish(&gateway, staying, "?sharded", b"as ever", 1);
    assert_eq!(other.event().data, "as ever");
}

#[test]
fn on_a_cluster_a_failover_is_followed() {
    let mut cluster = TestCluster::with_replica();
    let gateway = TestGateway::at(&cluster.url());
    let channel = KEYS[0];
    let mut stream = gateway.listen(&format!("/v1/channels/{channel}/events?sharded"));
    cluster.master_mut(0).kill();
    assert_eq!(stream.event().name, "gap");
    assert_eq!(listened_to(cluster.replica()), channel);
    wait_until("commands reach the new master", || {
        let path = format!("/v1/channels/{channel}/messages?sharded");
        gateway.post(&path, b"after").status == 200
    });
    assert_eq!(stream.event().data, "after");
}

#[test]
fn a_cluster_that_is_not_there_yet_is_waited_for() {
    let cluster = TestCluster::start(&[]);
    for at in 0..KEYS.len() {
        cluster.master(at).signal("STOP");
    }
    let gateway = TestGateway::at_with(&cluster.url(), |config| {
        config.connect_timeout = Duration::from_millis(300);
    });
    // The head comes although nobody knows yet whose the channels are.
    let query = KEYS.map(|key| format!("channel={key}&")).concat();
    let mut stream = gateway.listen(&format!("/v1/events?{query}sharded"));
    for at in 0..KEYS.len() {
        cluster.master(at).signal("CONT");
    }
    assert_eq!(stream.event().name, "gap");
    for key in KEYS {
        wait_until("it can be published", || {
            let path = format!("/v1/channels/{key}/messages?sharded");
            gateway.post(&path, b"x").status == 200
        });
        // It may have been published more than once.
        let expected = json!({"channel": key, "message": "x"}).to_string();
        while stream.event().data != expected {}
    }
}
