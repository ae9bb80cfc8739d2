//! What a link or an image on any page could have a browser send: by GET, with nothing that only its sender knows.

use crate::env::{Answer, TestGateway, TestRedis, wait_until};

/// An address to which browsers do not tell where a request comes from.
const LAN: (&str, &str) = ("Host", "10.0.0.7:8080");

/// A link in a mail, on this machine.
const LINK: [(&str, &str); 2] = [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate")];

fn start(tokens: &[&str], readonly_tokens: &[&str]) -> (TestRedis, TestGateway) {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.tokens = tokens.iter().map(|token| token.parse().unwrap()).collect();
        config.readonly_tokens = readonly_tokens
            .iter()
            .map(|token| token.parse().unwrap())
            .collect();
    });
    (redis, gateway)
}

fn ask(gateway: &TestGateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    gateway.connect().request(method, path, headers, b"")
}

#[test]
fn a_link_only_reads() {
    let (_redis, gateway) = start(&[], &[]);
    let set = |method, headers: &[_]| ask(&gateway, method, "/set/k/v", headers).status;
    assert_eq!(set("GET", &[LAN]), 403);
    assert_eq!(set("HEAD", &[LAN]), 403);
    assert_eq!(set("GET", &LINK), 403);
    assert_eq!(gateway.get("/get/k").text(), r#"{"result":null}"#);
    // What no link does.
    assert_eq!(set("GET", &[]), 200);
    assert_eq!(set("POST", &[LAN]), 200);
    assert_eq!(set("GET", &[LAN, ("Authorization", "Bearer any")]), 200);
    let read = ask(&gateway, "GET", "/get/k", &[LAN]);
    assert_eq!(read.text(), r#"{"result":"v"}"#);
}

#[test]
fn where_no_token_is_asked_for_none_in_the_query_counts() {
    let (_redis, gateway) = start(&[], &[]);
    let referer = ("Referer", "https://evil.example/");
    let basic = ("Authorization", "Basic YTpi");
    let digest = ("Authorization", "Digest x");
    for query in [
        "_token=x",
        "_token=",
        "_token",
        "%5Ftoken=x",
        "_token=x&_token=x",
    ] {
        let path = format!("/set/k/v?{query}");
        for headers in [
            &[LAN][..],
            &[LAN, referer],
            &LINK,
            &[LAN, basic],
            &[LAN, digest],
        ] {
            for method in ["GET", "HEAD"] {
                let answer = ask(&gateway, method, &path, headers);
                assert_eq!(answer.status, 403, "{method} {path} {headers:?}");
            }
        }
    }
    assert_eq!(gateway.get("/get/k").text(), r#"{"result":null}"#);
    let by_program = ask(&gateway, "GET", "/set/k/v?_token=x", &[]);
    assert_eq!(by_program.status, 200, "{by_program:?}");
}

#[test]
fn where_a_token_is_asked_for_one_that_is_known_counts() {
    let (_redis, gateway) = start(&["s3cret"], &["re4der"]);
    let bearer = ("Authorization", "Bearer s3cret");
    let wrong = ("Authorization", "Bearer x");
    // In it is "s3cret", which a browser that was once told it sends by itself.
    let basic = ("Authorization", "Basic OnMzY3JldA==");
    for here in [&[LAN][..], &LINK] {
        for (query, header, status) in [
            ("", None, 401),
            ("?_token=x", None, 401),
            ("?_token=x", Some(wrong), 401),
            ("?_token=s3cret", Some(wrong), 401),
            ("?_token=re4der", None, 403),
            ("", Some(basic), 403),
            ("?_token=s3cret", Some(basic), 403),
            ("?_token=s3cret", None, 200),
            ("?_token=x", Some(bearer), 200),
            ("", Some(bearer), 200),
        ] {
            let headers: Vec<_> = here.iter().copied().chain(header).collect();
            let answer = ask(&gateway, "GET", &format!("/set/k/v{query}"), &headers);
            assert_eq!(answer.status, status, "{query} {headers:?}: {answer:?}");
        }
    }
}

#[test]
fn what_only_tells_something_may_be_linked_to() {
    let (_redis, gateway) = start(&[], &[]);
    let ask = |path: &str| ask(&gateway, "GET", path, &[LAN]);
    wait_until("it is known which commands read", || {
        ask("/dbsize").status == 200
    });
    for path in [
        "/info",
        "/time",
        "/ping",
        "/client/id",
        "/client/setinfo/LIB-NAME/x",
        "/command/count",
        "/object/encoding/k",
    ] {
        let answer = ask(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
}

#[test]
fn what_changes_something_or_runs_a_script_may_not() {
    let (_redis, gateway) = start(&[], &[]);
    for (path, told) in [
        ("/eval_ro/return%201/0", "EVAL_RO by GET"),
        ("/evalsha_ro/x/0", "EVALSHA_RO by GET"),
        ("/fcall_ro/f/0", "FCALL_RO by GET"),
        ("/publish/a/b", "PUBLISH by GET"),
        ("/config/resetstat", "CONFIG by GET"),
        ("/client/kill/ID/1", "CLIENT KILL is not served"),
        ("/no-such/a", "not known as one that changes nothing"),
    ] {
        let answer = ask(&gateway, "GET", path, &[LAN]);
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        let error = answer.json()["error"].to_string();
        assert!(error.contains(told), "{path}: {error}");
    }
}
