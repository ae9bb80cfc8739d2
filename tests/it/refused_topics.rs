//! Channels that Redis does not let the gateway's user have: who has been answered nothing is told so by a status, so
//! that a browser does not try again for ever.

use serde_json::json;

use crate::env::{EventStream, TestGateway, TestRedis, wait_until};

/// A Redis whose user may have channels that begin with `allowed` only, and a gateway in front of it as that user.
fn start() -> (TestRedis, TestGateway) {
    let redis = TestRedis::start();
    let gateway = TestGateway::as_user(&redis, &["~*", "+@all", "resetchannels", "&allowed*"]);
    (redis, gateway)
}

/// An allowed channel is served, whatever was refused beside it.
fn assert_served(redis: &TestRedis, mut allowed: EventStream) {
    redis.cli(&["PUBLISH", "allowed", "hello"]);
    assert_eq!(allowed.event().data, "hello");
}

#[test]
fn a_channel_that_is_not_allowed_is_refused_by_name() {
    let (redis, gateway) = start();
    let allowed = gateway.listen("/v1/channels/allowed/events");
    // Again and again: it is asked for each time.
    for _ in 0..3 {
        let answer = gateway.get("/v1/channels/secret/events");
        answer.assert_problem(403, r#"the channel "secret""#);
        let error = answer.json()["redis_error"].as_str().unwrap().to_owned();
        assert!(error.starts_with("NOPERM "), "{error}");
    }
    let sharded = gateway.get("/v1/channels/secret/events?sharded=true");
    sharded.assert_problem(403, r#"the sharded channel "secret""#);
    assert_served(&redis, allowed);
    // As soon as it is allowed it is served.
    redis.cli(&["ACL", "SETUSER", "gateway", "&secret"]);
    let mut stream = gateway.listen("/v1/channels/secret/events");
    redis.cli(&["PUBLISH", "secret", "hello"]);
    assert_eq!(stream.event().data, "hello");
}

#[test]
fn one_of_several_refuses_the_whole() {
    let (redis, gateway) = start();
    let allowed = gateway.listen("/v1/channels/allowed/events");
    for (query, named) in [
        ("channel=allowed&channel=secret", r#"the channel "secret""#),
        ("channel=allowed&pattern=*", r#"the pattern "*""#),
        ("stream=s&channel=%22%FF", "the channel \"\\\"\u{FFFD}\""),
    ] {
        let answer = gateway.get(&format!("/v1/events?{query}"));
        answer.assert_problem(403, named);
    }
    let mut both = gateway.listen("/v1/events?channel=allowed&pattern=allowed*");
    redis.cli(&["PUBLISH", "allowed", "hello"]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&both.event().data).unwrap()["channel"],
        "allowed"
    );
    drop(both);
    let mut allowed = allowed;
    assert_eq!(allowed.event().data, "hello");
    assert_served(&redis, allowed);
    // Nothing is left of those that were refused.
    wait_until("the channels are left", || {
        redis.cli(&["PUBSUB", "CHANNELS"]).is_empty()
    });
}

#[test]
fn the_command_face_gives_redis_own_words() {
    let (_redis, gateway) = start();
    for path in ["/subscribe/secret", "/psubscribe/*"] {
        let answer = gateway.get(path);
        assert_eq!(answer.status, 400, "{answer:?}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with("NOPERM "), "{error}");
        assert_eq!(answer.json(), json!({ "error": error }));
    }
}

#[test]
fn who_listens_already_has_his_stream_ended() {
    let (redis, gateway) = start();
    redis.cli(&["ACL", "SETUSER", "gateway", "&secret"]);
    let mut stream = gateway.listen("/v1/channels/secret/events");
    let allowed = gateway.listen("/v1/channels/allowed/events");
    // Redis ends the connections of a user that listens to what it may not any more.
    redis.cli(&["ACL", "SETUSER", "gateway", "resetchannels", "&allowed*"]);
    stream.wait_for("the upstream refused the subscription");
    stream.wait_for_end();
    let answer = gateway.get("/v1/channels/secret/events");
    answer.assert_problem(403, "secret");
    let mut allowed = allowed;
    assert_eq!(allowed.event().name, "gap");
    assert_served(&redis, allowed);
}
