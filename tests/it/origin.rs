//! Who may use the gateway from where: Host, Origin and Sec-Fetch-Site, preflights and CORS headers, over
//! sockets. What a browser makes of it is in `browser`.

use redis_http_gateway::config::AllowedOrigin;

use crate::env::{Answer, EventStream, TestGateway};

const APP: &str = "https://app.example.com";

/// A gateway that allows these origins.
fn allowing(origins: &[&str]) -> TestGateway {
    TestGateway::with(|config| {
        config.allow_origin = origins
            .iter()
            .map(|origin| match *origin {
                "*" => AllowedOrigin::Any,
                site => AllowedOrigin::Site(site.into()),
            })
            .collect();
    })
}

fn send(gateway: &TestGateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    gateway.connect().request(method, path, headers, b"")
}

/// All values of a header, as one list.
fn list(answer: &Answer, name: &str) -> Vec<String> {
    let values = answer.headers.iter().filter(|(key, _)| key == name);
    let members = values.flat_map(|(_, value)| value.split(", "));
    members.map(str::to_owned).collect()
}

fn has_cors(answer: &Answer) -> bool {
    let mut names = answer.headers.iter().map(|(name, _)| name);
    names.any(|name| name.starts_with("access-control-"))
}

#[test]
fn it_answers_to_addresses_localhost_and_configured_names() {
    let gateway = TestGateway::with(|config| config.allow_host = vec!["redis.example.com".into()]);
    gateway.put("/v1/keys/a", b"value");
    for host in [
        "127.0.0.1",
        "127.0.0.1:8080",
        "192.168.1.7:80",
        "[::1]:8080",
        "[2001:db8::1]",
        "localhost",
        "LocalHost:8080",
        "redis.example.com",
        "Redis.Example.Com:443",
    ] {
        let answer = send(&gateway, "GET", "/v1/keys/a", &[("Host", host)]);
        assert_eq!(answer.status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8080",
        "redis.example.com.evil.example",
        "sub.redis.example.com",
        "[::1].evil.example",
        "",
    ] {
        for (method, path) in [
            ("GET", "/v1/keys/a"),
            ("PUT", "/v1/keys/a"),
            ("POST", "/v1/channels/a/messages"),
            ("GET", "/v1/channels/a/events"),
            ("OPTIONS", "/v1/keys/a"),
            ("GET", "/readyz"),
            ("GET", "/"),
            ("GET", "/v1/nowhere"),
        ] {
            let answer = send(&gateway, method, path, &[("Host", host)]);
            answer.assert_problem(403, "--allow-host");
            assert!(!has_cors(&answer));
        }
        // It tells nothing, and whoever checks it may know it by any name.
        let health = send(&gateway, "GET", "/healthz", &[("Host", host)]);
        assert_eq!(health.status, 200, "{host}");
    }
    assert_eq!(gateway.get("/v1/keys/a").body, b"value");
}

#[test]
fn the_target_names_the_host_where_it_has_one() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/a", b"value");
    for (target, host, status) in [
        ("http://127.0.0.1:8080/v1/keys/a", "evil.example", 200),
        ("http://evil.example/v1/keys/a", "127.0.0.1", 403),
        ("http://evil.example:80/v1/keys/a", "localhost", 403),
    ] {
        let answer = send(&gateway, "GET", target, &[("Host", host)]);
        assert_eq!(answer.status, status, "{target} {host}");
    }
    let mut old = gateway.connect();
    old.send(b"GET /v1/keys/a HTTP/1.0\r\n\r\n");
    assert_eq!(old.receive().status, 200);
}

#[test]
fn pages_of_other_sites_are_refused_by_default() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/a", b"value");
    for header in [
        ("Origin", APP),
        ("Origin", "http://localhost:1"),
        ("Origin", "null"),
        ("Origin", ""),
        ("Origin", "file://"),
        ("Origin", "http://localhost.evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        for (method, path) in [
            ("GET", "/v1/keys/a"),
            ("PUT", "/v1/keys/a"),
            ("POST", "/v1/channels/a/messages"),
            ("GET", "/v1/channels/a/events"),
            ("GET", "/openapi.json"),
            ("GET", "/v1/nowhere"),
        ] {
            let answer = send(&gateway, method, path, &[header]);
            answer.assert_problem(403, "");
            assert!(!has_cors(&answer), "{header:?}: {answer:?}");
        }
    }
    assert_eq!(gateway.get("/v1/keys/a").body, b"value");
    let refused = send(&gateway, "GET", "/v1/keys/a", &[("Origin", APP)]);
    refused.assert_problem(403, "--allow-origin");
    refused.assert_problem(403, APP);
}

#[test]
fn its_own_pages_and_the_user_are_let_in() {
    let gateway = TestGateway::start();
    for headers in [
        &[
            ("Host", "localhost:8080"),
            ("Origin", "http://localhost:8080"),
        ][..],
        &[("Host", "10.0.0.7"), ("Origin", "https://10.0.0.7")],
        &[("Sec-Fetch-Site", "same-origin")],
        // Typed into the address bar.
        &[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate")],
        &[("Referer", "https://evil.example/")],
    ] {
        let answer = send(&gateway, "PUT", "/v1/keys/a", headers);
        assert_eq!(answer.status, 204, "{headers:?}: {answer:?}");
        assert!(!has_cors(&answer));
    }
}

#[test]
fn a_preflight_of_another_site_gets_no_leave() {
    let gateway = TestGateway::start();
    let headers = [("Origin", APP), ("Access-Control-Request-Method", "PUT")];
    let answer = send(&gateway, "OPTIONS", "/v1/keys/a", &headers);
    answer.assert_problem(403, "--allow-origin");
    assert!(!has_cors(&answer));
}

#[test]
fn a_preflight_of_an_allowed_site_is_told_what_it_may() {
    let gateway = allowing(&[APP]);
    for (path, methods) in [
        ("/v1/keys/a", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/v1/channels/a/messages", "POST, OPTIONS"),
        ("/v1/channels/a/events", "GET, HEAD, OPTIONS"),
    ] {
        let headers = [
            ("Origin", APP),
            ("Access-Control-Request-Method", "PUT"),
            ("Access-Control-Request-Headers", "if-match,last-event-id"),
        ];
        let answer = send(&gateway, "OPTIONS", path, &headers);
        assert_eq!(answer.status, 204, "{answer:?}");
        for (name, value) in [
            ("allow", methods),
            ("access-control-allow-methods", methods),
            ("access-control-allow-headers", "if-match,last-event-id"),
            ("access-control-allow-origin", APP),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert!(list(&answer, "vary").contains(&"Origin".into()));
    }
    // Names that no header can have are not repeated.
    let strange = [
        ("Origin", APP),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "a\"<b>"),
    ];
    let answer = send(&gateway, "OPTIONS", "/v1/keys/a", &strange);
    assert_eq!(answer.header("access-control-allow-headers"), Some("*"));
}

#[test]
fn an_allowed_site_may_read_every_answer() {
    let gateway = allowing(&["https://other.example", APP]);
    gateway.put("/v1/keys/a", b"value");
    let json = ("Accept", "application/json");
    let html = ("Accept", "text/html");
    for (method, path, header, status) in [
        ("GET", "/v1/keys/a", json, 200),
        ("PUT", "/v1/keys/b", json, 204),
        ("GET", "/v1/keys/absent", json, 404),
        ("GET", "/v1/keys/a?typo", json, 400),
        ("PATCH", "/v1/keys/a", json, 405),
        ("GET", "/v1/events?channel=a", html, 406),
        ("DELETE", "/v1/keys/a", json, 501),
        ("GET", "/v1/nowhere", json, 404),
        ("GET", "/healthz", json, 200),
        ("GET", "/v1/keys/a", ("If-None-Match", "*"), 304),
        ("PUT", "/v1/keys/a", ("Content-Encoding", "gzip"), 415),
    ] {
        let answer = send(&gateway, method, path, &[("Origin", APP), header]);
        assert_eq!(answer.status, status, "{method} {path}");
        for (name, value) in [
            ("access-control-allow-origin", APP),
            ("access-control-allow-credentials", "true"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{method} {path}");
        }
        assert!(
            list(&answer, "vary").contains(&"Origin".into()),
            "{answer:?}"
        );
        let exposed = list(&answer, "access-control-expose-headers");
        for name in ["ETag", "X-Request-Id", "Retry-After", "Allow"] {
            assert!(exposed.contains(&name.into()), "{answer:?}");
        }
    }
    let headers = [("Origin", APP), ("Sec-Fetch-Site", "cross-site")];
    let stream = EventStream::open(gateway.address, "/v1/channels/a/events", &headers);
    let allowed = stream.head.header("access-control-allow-origin");
    assert_eq!(allowed, Some(APP));
    // Others are still kept out, by every letter.
    for origin in [
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://example.com",
        "null",
    ] {
        let answer = send(&gateway, "GET", "/v1/keys/a", &[("Origin", origin)]);
        answer.assert_problem(403, origin);
        assert!(!has_cors(&answer), "{answer:?}");
    }
}

#[test]
fn every_site_can_be_allowed_without_credentials() {
    let gateway = allowing(&["*"]);
    let answer = send(&gateway, "GET", "/healthz", &[("Origin", APP)]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    // With credentials a browser takes no star.
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let rebound = [("Origin", APP), ("Host", "evil.example")];
    let answer = send(&gateway, "GET", "/v1/keys/a", &rebound);
    answer.assert_problem(403, "--allow-host");
}

#[test]
fn a_cache_is_told_that_answers_differ_by_origin() {
    let gateway = allowing(&[APP]);
    gateway.put("/v1/keys/a", b"value");
    // Or it would give an allowed page what it has kept from a request without an origin.
    for headers in [&[][..], &[("Origin", "https://evil.example")]] {
        let answer = send(&gateway, "GET", "/v1/keys/a", headers);
        assert!(
            list(&answer, "vary").contains(&"Origin".into()),
            "{answer:?}"
        );
        assert!(!has_cors(&answer));
    }
    let closed = TestGateway::start();
    closed.put("/v1/keys/a", b"value");
    assert_eq!(list(&closed.get("/v1/keys/a"), "vary"), ["Accept"]);
}
