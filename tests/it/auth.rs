//! Tokens in requests: who is asked for one, in which ways it is shown, and what each allows.

use redis_http_gateway::config::{AllowedOrigin, Config};
use redis_http_gateway::http::router::ENDPOINTS;

use crate::env::{Answer, EventStream, TestGateway, TestRedis};

/// The headers that show the token which may do everything, and the one which may read.
const FULL: (&str, &str) = ("Authorization", "Bearer s3cret");
const READER: (&str, &str) = ("Authorization", "Bearer re4der");

/// Has a gateway ask for a token.
fn with_tokens(config: &mut Config) {
    let tokens = ["s3cret", "other"].map(|token| token.parse().unwrap());
    config.tokens = tokens.into();
    config.readonly_tokens = vec!["re4der".parse().unwrap()];
}

fn gateway() -> TestGateway {
    TestGateway::with(with_tokens)
}

/// Every endpoint with each of its methods and one that it does not have, its names filled in.
fn every_route() -> Vec<(&'static str, String)> {
    let mut routes = Vec::new();
    for (template, methods) in ENDPOINTS {
        let path = template.replace(['{', '}'], "");
        for method in methods.iter().chain(&["OPTIONS", "PATCH"]) {
            routes.push((*method, path.clone()));
        }
    }
    routes
}

/// Fails unless this says that a token is needed, and how to show it.
#[track_caller]
fn assert_unknown(method: &str, answer: &Answer) {
    assert_eq!(answer.status, 401, "{answer:?}");
    match answer.header("content-type") {
        _ if method == "HEAD" => {}
        // The command face has errors of its own form.
        Some("application/json") => assert!(answer.json()["error"].is_string(), "{answer:?}"),
        _ => answer.assert_problem(401, ""),
    }
    let mut challenges = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "www-authenticate");
    let mut is = |start: &str| challenges.next().unwrap().1.starts_with(start);
    assert!(is("Bearer realm=\"redis-http-gateway\""), "{answer:?}");
    assert!(is("Basic realm=\"redis-http-gateway\""), "{answer:?}");
}

#[test]
fn nothing_but_health_is_told_without_a_token() {
    let gateway = gateway();
    let mut client = gateway.connect();
    let nowhere = ["GET", "PUT", "OPTIONS"].map(|method| (method, "/v1/nowhere".to_owned()));
    let malformed = [("GET", "/v1/keys/%zz".into()), ("OPTIONS", "*".into())];
    for (method, path) in every_route().into_iter().chain(nowhere).chain(malformed) {
        let anonymous = client.request(method, &path, &[], b"");
        let is_readiness = path == "/readyz" && matches!(method, "GET" | "HEAD");
        if path == "/healthz" || is_readiness {
            let well = if method == "PATCH" { 405 } else { 200 };
            let well = if method == "OPTIONS" { 204 } else { well };
            assert_eq!(anonymous.status, well, "{method} {path}");
        } else {
            assert_unknown(method, &anonymous);
        }
        let wrong = [("Authorization", "Bearer wrong")];
        let wrong = client.request(method, &path, &wrong, b"");
        if path == "/healthz" {
            assert_eq!(wrong.status, anonymous.status);
        } else {
            assert_unknown(method, &wrong);
            assert_eq!(wrong.status, 401, "{method} {path}");
        }
    }
    // Nobody was known, so nothing was done.
    let there = client.request("GET", "/v1/keys/a", &[FULL], b"");
    there.assert_problem(404, "no such key");
}

#[test]
fn every_way_to_show_a_token_is_good() {
    let gateway = gateway();
    let mut client = gateway.connect();
    for authorization in [
        "Bearer s3cret",
        "bearer s3cret",
        "BEARER  s3cret",
        "Bearer other",
        // anybody:s3cret, :s3cret, and the first without padding
        "Basic YW55Ym9keTpzM2NyZXQ=",
        "basic OnMzY3JldA==",
        "Basic YW55Ym9keTpzM2NyZXQ",
    ] {
        let shown = [("Authorization", authorization)];
        let put = client.request("PUT", "/v1/keys/a", &shown, b"value");
        assert_eq!(put.status, 204, "{authorization}");
        let nowhere = client.request("GET", "/v1/nowhere", &shown, b"");
        nowhere.assert_problem(404, "nothing at this path");
        let wrong_method = client.request("PATCH", "/v1/keys", &shown, b"");
        wrong_method.assert_problem(405, "PATCH");
    }
    for query in ["_token=s3cret", "_token=s3cre%74", "%5Ftoken=s3cret&"] {
        let path = format!("/v1/keys/a?{query}");
        assert_eq!(gateway.get(&path).body, b"value", "{query}");
    }
    let put = gateway.put("/v1/keys/a?ex=60&_token=s3cret", b"soon gone");
    assert_eq!(put.status, 204);
    let typo = gateway.put("/v1/keys/a?exx=60&_token=s3cret", b"");
    typo.assert_problem(400, "exx");
}

#[test]
fn what_is_no_token_is_not_taken_for_one() {
    let gateway = gateway();
    let mut client = gateway.connect();
    for authorization in [
        "",
        "Bearer",
        "Bearer s3cre",
        "Bearer s3cret2",
        "Bearer S3cret",
        "Bearer s3cret,other",
        "Bearer s3cret other",
        "s3cret",
        "Token s3cret",
        "Basic s3cret",
        // s3cret, s3cret:, s3cret:x
        "Basic czNjcmV0",
        "Basic czNjcmV0Og==",
        "Basic czNjcmV0Ong=",
    ] {
        let shown = [("Authorization", authorization)];
        assert_unknown("GET", &client.request("GET", "/v1/keys/a", &shown, b""));
        // A header counts, whatever the query has.
        let path = "/v1/keys/a?_token=s3cret";
        assert_unknown("GET", &client.request("GET", path, &shown, b""));
    }
    for query in ["_token=", "_token", "_token=s3cre", "token=s3cret"] {
        assert_unknown("GET", &gateway.get(&format!("/v1/keys/a?{query}")));
    }
    // Nor does it matter then what the query has.
    let path = "/v1/keys/a?_token=wrong";
    assert_eq!(client.request("GET", path, &[FULL], b"").status, 404);
    // Who would know which of two is meant?
    let twice = client.request("GET", "/v1/keys/a", &[FULL, FULL], b"");
    twice.assert_problem(400, "Authorization");
    gateway
        .get("/v1/keys/a?_token=s3cret&_token=s3cret")
        .assert_problem(400, "_token");
    gateway
        .get("/v1/keys/a?_token=%zz")
        .assert_problem(400, "%25");
}

#[test]
fn an_unknown_client_cannot_make_the_gateway_take_a_body() {
    let gateway = gateway();
    let mut client = gateway.connect();
    let head = "PUT /v1/keys/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    client.send(head.as_bytes());
    assert_unknown("PUT", &client.receive());
    // What everybody may ask is answered at once too, and the connection does not stay busy.
    for (method, path, status) in [
        ("GET", "/healthz", 200),
        ("HEAD", "/readyz", 200),
        ("OPTIONS", "/v1/keys/a", 204),
    ] {
        for length in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
            let mut client = gateway.connect();
            let asked = "Access-Control-Request-Method: PUT";
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{asked}\r\n{length}\r\n\r\n"
            );
            client.send(head.as_bytes());
            let answer = client.receive_head();
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
            assert_eq!(answer.header("connection"), Some("close"));
        }
    }
}

#[test]
fn a_reader_reads_and_listens() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, with_tokens);
    let mut client = gateway.connect();
    redis.cli(&["SET", "a", "1"]);
    for path in [
        "/",
        "/openapi.json",
        "/v1/keys",
        "/v1/keys/a",
        "/v1/keys/a/ttl",
    ] {
        let answer = client.request("GET", path, &[READER], b"");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    for (method, path, body, named) in [
        ("PUT", "/v1/keys/a", "2", "SET"),
        ("DELETE", "/v1/keys/a", "", "DEL"),
        ("POST", "/v1/keys/a/increment", "", "INCR"),
        ("PUT", "/v1/keys/a/ttl", r#"{"seconds":60}"#, "EXPIRE"),
        ("DELETE", "/v1/keys/a/ttl", "", "PERSIST"),
        ("POST", "/v1/channels/a/messages", "hello", "publishing"),
    ] {
        let answer = client.request(method, path, &[READER], body.as_bytes());
        answer.assert_problem(403, named);
        let answer = client.request(method, path, &[FULL], body.as_bytes());
        assert!(
            matches!(answer.status, 200 | 204 | 404),
            "{method} {path}: {answer:?}"
        );
    }
    let mut events = EventStream::open(gateway.address, "/v1/channels/a/events", &[READER]);
    client.request("POST", "/v1/channels/a/messages", &[FULL], b"hello");
    assert_eq!(events.event().data, "hello");
}

#[test]
fn a_reader_has_commands_that_read() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, with_tokens);
    let mut client = gateway.connect();
    redis.cli(&["SET", "a", "1"]);
    for command in [
        r#"["get","a"]"#,
        r#"["ping"]"#,
        r#"["ECHO","a"]"#,
        r#"["OBJECT","ENCODING","a"]"#,
        r#"["XREAD","BLOCK","1","STREAMS","s","$"]"#,
    ] {
        let answer = client.request("POST", "/", &[READER], command.as_bytes());
        assert_eq!(answer.status, 200, "{command}: {answer:?}");
    }
    for command in [
        r#"["set","a","2"]"#,
        r#"["PUBLISH","a","b"]"#,
        r#"["SPUBLISH","a","b"]"#,
        r#"["EVAL_RO","return 1","0"]"#,
        r#"["EVALSHA_RO","0","0"]"#,
        r#"["FCALL_RO","f","0"]"#,
        r#"["EVAL","return 1","0"]"#,
        r#"["BLPOP","l","1"]"#,
        r#"["MONITOR"]"#,
        r#"["FLUSHALL"]"#,
        r#"["OBJECT","FREQ2","a"]"#,
        r#"["no-such-command"]"#,
    ] {
        let answer = client.request("POST", "/", &[READER], command.as_bytes());
        assert_eq!(answer.status, 403, "{command}: {answer:?}");
        assert!(answer.json()["error"].is_string(), "{command}: {answer:?}");
    }
    assert_eq!(
        client
            .request("GET", "/get/a?_token=re4der", &[], b"")
            .status,
        200
    );
    assert_eq!(
        client.request("GET", "/set/a/2", &[READER], b"").status,
        403
    );
    for path in ["/subscribe/a", "/psubscribe/a*?_token=re4der"] {
        let shown = if path.contains("_token") {
            &[][..]
        } else {
            &[READER]
        };
        EventStream::open(gateway.address, path, shown);
    }
    // Each command of a pipeline has its own answer; a transaction is one thing.
    let mixed = br#"[["GET","a"],["SET","a","2"],["PING"]]"#;
    let answers = client.request("POST", "/pipeline", &[READER], mixed).json();
    assert_eq!(answers[0]["result"], "1");
    assert!(answers[1]["error"].as_str().unwrap().contains("SET"));
    assert_eq!(answers[2]["result"], "PONG");
    let refused = client.request("POST", "/multi-exec", &[READER], mixed);
    assert!((400..500).contains(&refused.status), "{refused:?}");
    let reading = br#"[["GET","a"],["PING"]]"#;
    let answers = client.request("POST", "/multi-exec", &[READER], reading);
    assert_eq!(answers.json()[0]["result"], "1", "{answers:?}");
    assert_eq!(redis.cli(&["GET", "a"]), "1");
}

#[test]
fn an_event_source_shows_its_token_in_the_query() {
    let gateway = gateway();
    for path in [
        "/v1/channels/news/events?format=raw&_token=re4der",
        "/v1/events?_token=s3cret&channel=news&format=raw",
    ] {
        let mut events = EventStream::open(gateway.address, path, &[]);
        let published = gateway.post("/v1/channels/news/messages?_token=s3cret", b"it works");
        assert_eq!(published.status, 200);
        assert_eq!(events.event().data, "it works");
    }
    let path = "/v1/channels/news/events?_token=wrong";
    assert_unknown("GET", &gateway.get(path));
}

#[test]
fn readiness_is_told_in_detail_to_those_who_are_known() {
    let gateway = gateway();
    let mut client = gateway.connect();
    let bare = client.request("GET", "/readyz", &[], b"");
    assert_eq!(bare.json(), serde_json::json!({"status": "ok"}));
    let detailed = serde_json::json!({
        "status": "ok",
        "upstream": "embedded",
        "version": env!("CARGO_PKG_VERSION"),
    });
    for shown in [FULL, READER] {
        let answer = client.request("GET", "/readyz", &[shown], b"");
        assert_eq!(answer.json(), detailed);
    }
    // Where nobody is asked, everybody is known.
    assert_eq!(TestGateway::start().get("/readyz").json(), detailed);
    let redis = TestRedis::with(&["--requirepass", "hunter2"]);
    let url = format!("redis://:hunter2@{}", redis.address());
    let over_redis = TestGateway::at(&url);
    let answer = over_redis.get("/readyz");
    assert_eq!(answer.json()["upstream"], "redis");
    assert!(!answer.text().contains("hunter2"), "{answer:?}");
}

#[test]
fn a_page_of_an_allowed_site_can_ask_first_and_read_the_refusal() {
    let gateway = TestGateway::with(|config| {
        with_tokens(config);
        config.allow_origin = vec![AllowedOrigin::Site("https://app.example".into())];
    });
    let mut client = gateway.connect();
    let origin = ("Origin", "https://app.example");
    let preflight = [
        origin,
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let leave = client.request("OPTIONS", "/v1/keys/a", &preflight, b"");
    assert_eq!(leave.status, 204, "{leave:?}");
    let header = |answer: &Answer, name: &str| answer.header(name).map(str::to_owned);
    let headers = header(&leave, "access-control-allow-headers");
    assert_eq!(headers.as_deref(), Some("authorization"));
    let refused = client.request("PUT", "/v1/keys/a", &[origin], b"value");
    assert_unknown("PUT", &refused);
    for answer in [&leave, &refused] {
        let allowed = header(answer, "access-control-allow-origin");
        assert_eq!(allowed.as_deref(), Some("https://app.example"));
    }
    let done = client.request("PUT", "/v1/keys/a", &[origin, FULL], b"value");
    assert_eq!(done.status, 204);
}

#[test]
fn a_token_makes_hosts_and_sites_not_matter() {
    let gateway = gateway();
    let mut client = gateway.connect();
    let elsewhere = [
        ("Host", "redis.example.com"),
        ("Origin", "https://other.example"),
        ("Sec-Fetch-Site", "cross-site"),
    ];
    let headers = [&elsewhere[..], &[FULL]].concat();
    let put = client.request("PUT", "/v1/keys/a", &headers, b"value");
    assert_eq!(put.status, 204, "{put:?}");
    // But such a page cannot read the answer.
    assert_eq!(put.header("access-control-allow-origin"), None);
    assert_unknown("PUT", &client.request("PUT", "/v1/keys/a", &elsewhere, b""));
    // A browser that knows the password sends it along with whatever any page has it send.
    let password = ("Authorization", "Basic OnMzY3JldA==");
    let headers = [&elsewhere[..], &[password]].concat();
    let put = client.request("PUT", "/v1/keys/a", &headers, b"value");
    put.assert_problem(403, "other.example");
    let headers = [password, ("Host", "redis.example.com")];
    let put = client.request("PUT", "/v1/keys/a", &headers, b"value");
    assert_eq!(put.status, 204);
}
