//! The page's own EventSource in Chromium, on a page of another origin: what it makes of event streams, and how it
//! comes back. And an event stream behind nginx.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redis_http_gateway::config::{AllowedOrigin, Config};
use serde_json::Value;

use crate::env::{Balancer, Chromium, EventStream, TestGateway, TestNginx, TestRedis};

/// For a browser to start, or to come back, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of the page, and what the page reports.
struct Site {
    origin: String,
    server: Arc<tiny_http::Server>,
    thread: Option<JoinHandle<()>>,
    reports: Receiver<Value>,
}

impl Site {
    fn start() -> Self {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let port = server.server_addr().to_ip().unwrap().port();
        let (sender, reports) = channel();
        let serving = Arc::clone(&server);
        let thread = std::thread::spawn(move || {
            for mut request in serving.incoming_requests() {
                let mut body = String::new();
                request.as_reader().read_to_string(&mut body).unwrap();
                if request.url() == "/report" {
                    // The test may have seen enough.
                    let _ = sender.send(serde_json::from_str(&body).unwrap());
                }
                let html = tiny_http::Header::from_bytes("Content-Type", "text/html").unwrap();
                let page = tiny_http::Response::from_string(include_str!("event_source.html"));
                // The browser may have been killed.
                let _ = request.respond(page.with_header(html));
            }
        });
        Self {
            origin: format!("http://page.example:{port}"),
            server,
            thread: Some(thread),
            reports,
        }
    }

    /// Opens the page in a browser, to listen to these paths of a gateway.
    fn listen(&self, name: &str, gateway: SocketAddr, paths: &[&str], more: &str) -> Chromium {
        let url = |path: &&str| format!("url={}&", encoded(&format!("http://{gateway}{path}")));
        let urls: String = paths.iter().map(url).collect();
        Chromium::open(name, &format!("{}/page?{urls}{more}", self.origin))
    }

    /// The next report of one of these types; others are passed over.
    #[track_caller]
    fn next(&self, types: &[&str]) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let report = self.reports.recv_timeout(left);
            let report = report.unwrap_or_else(|_| panic!("the page reported none of {types:?}"));
            if types.iter().any(|name| report["type"] == *name) {
                return report;
            }
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            // A panic of it has failed the test already.
            let _ = thread.join();
        }
    }
}

fn encoded(text: &str) -> String {
    text.replace('%', "%25")
        .replace('&', "%26")
        .replace('?', "%3F")
        .replace('=', "%3D")
}

/// A gateway whose streams the page may read, and which it may come back to soon.
fn gateway(site: &Site, redis: Option<&TestRedis>) -> TestGateway {
    TestGateway::with(|config: &mut Config| {
        config.allow_origin = vec![AllowedOrigin::Site(site.origin.clone())];
        config.retry = Duration::from_millis(100);
        config.linger = Duration::from_secs(300);
        if let Some(redis) = redis {
            config.upstream = redis.url().parse().unwrap();
        }
    })
}

fn publish(gateway: &TestGateway, channel: &str, message: &str) {
    let path = format!("/v1/channels/{channel}/messages");
    assert_eq!(gateway.post(&path, message.as_bytes()).status, 200);
}

/// The id with which a request comes back.
fn last_event_id(head: &str) -> Option<&str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut ids = lines.filter(|(name, _)| name.eq_ignore_ascii_case("Last-Event-ID"));
    ids.next().map(|(_, id)| id)
}

#[test]
fn a_page_comes_back_by_the_last_id_and_misses_nothing() {
    let site = Site::start();
    let gateway = gateway(&site, None);
    let balancer = Balancer::start(gateway.address);
    let path = "/v1/channels/a/events";
    let _browser = site.listen("back", balancer.address, &[path], "");
    assert_eq!(site.next(&["open", "error"])["type"], "open");
    publish(&gateway, "a", "one\ntwo");
    let first = site.next(&["message", "error"]);
    assert_eq!(first["data"], "one\ntwo");
    // The connection is cut, and something is published before the browser is back.
    balancer.lead(None);
    let error = site.next(&["error", "message"]);
    // It is connecting again, and has not given up.
    assert_eq!(
        (&error["type"], &error["state"]),
        (&"error".into(), &0.into())
    );
    publish(&gateway, "a", "missed");
    balancer.lead(Some(gateway.address));
    let missed = site.next(&["message", "gap"]);
    assert_eq!(missed["data"], "missed");
    let heads = balancer.heads(path);
    assert_eq!(last_event_id(&heads[0]), None);
    let id = last_event_id(heads.last().unwrap());
    assert_eq!(id, first["id"].as_str(), "{heads:?}");
    // The gateway is started anew: it cannot know what was missed, and says so.
    let other = self::gateway(&site, None);
    balancer.lead(Some(other.address));
    gateway.shutdown();
    let gap = site.next(&["message", "gap"]);
    assert_eq!(gap["type"], "gap");
    let told: Value = serde_json::from_str(gap["data"].as_str().unwrap()).unwrap();
    assert_eq!(told["reason"], "unknown-id");
    publish(&other, "a", "after");
    assert_eq!(site.next(&["message", "gap"])["data"], "after");
}

#[test]
fn a_redis_stream_goes_on_at_another_gateway() {
    let site = Site::start();
    let redis = TestRedis::start();
    let first = gateway(&site, Some(&redis));
    let balancer = Balancer::start(first.address);
    let path = "/v1/streams/s/events";
    let _browser = site.listen("stream", balancer.address, &[path], "");
    assert_eq!(site.next(&["open", "error"])["type"], "open");
    redis.cli(&["XADD", "s", "1-0", "n", "1"]);
    let event = site.next(&["message", "gap"]);
    assert_eq!(
        (&event["id"], &event["data"]),
        (&"1-0".into(), &r#"{"n":"1"}"#.into())
    );
    // The gateway ends as one that is shut down does; another takes over later.
    balancer.lead(None);
    first.shutdown();
    redis.cli(&["XADD", "s", "2-0", "n", "2"]);
    let second = gateway(&site, Some(&redis));
    balancer.lead(Some(second.address));
    assert_eq!(site.next(&["message", "gap"])["id"], "2-0");
    redis.cli(&["XADD", "s", "3-0", "n", "3"]);
    assert_eq!(site.next(&["message", "gap"])["id"], "3-0");
    assert_eq!(
        last_event_id(balancer.heads(path).last().unwrap()),
        Some("1-0")
    );
}

#[test]
fn a_clean_end_of_the_stream_is_come_back_from() {
    let site = Site::start();
    let redis = TestRedis::start();
    let first = gateway(&site, Some(&redis));
    let balancer = Balancer::start(first.address);
    let _browser = site.listen("end", balancer.address, &["/v1/streams/s/events"], "");
    assert_eq!(site.next(&["open", "error"])["type"], "open");
    redis.cli(&["XADD", "s", "1-0", "n", "1"]);
    assert_eq!(site.next(&["message"])["id"], "1-0");
    let second = gateway(&site, Some(&redis));
    balancer.lead_new(Some(second.address));
    // Its streams end with their last chunk.
    first.shutdown();
    redis.cli(&["XADD", "s", "2-0", "n", "2"]);
    assert_eq!(site.next(&["message", "gap"])["id"], "2-0");
}

#[test]
fn a_page_gives_up_when_the_key_is_gone_if_that_is_what_it_asked_for() {
    let site = Site::start();
    let redis = TestRedis::start();
    let gateway = gateway(&site, Some(&redis));
    let balancer = Balancer::start(gateway.address);
    let path = "/v1/streams/s/events?until=gone";
    let _browser = site.listen("over", balancer.address, &[path], "");
    assert_eq!(site.next(&["open", "error"])["type"], "open");
    redis.cli(&["XADD", "s", "1-0", "n", "1"]);
    assert_eq!(site.next(&["message", "error"])["id"], "1-0");
    redis.cli(&["DEL", "s"]);
    // The stream ends, and the browser comes back as ever; then it is told that this is the end.
    let states: Vec<_> = (0..2)
        .map(|_| site.next(&["error", "message", "gap", "open"])["state"].clone())
        .collect();
    assert_eq!(states, [0, 2]);
    let heads = balancer.heads(path);
    assert_eq!(last_event_id(heads.last().unwrap()), Some("1-0"));
    assert_eq!(heads.len(), 2);
}

#[test]
fn many_channels_come_over_one_connection_under_their_names() {
    let site = Site::start();
    let redis = TestRedis::start();
    let gateway = gateway(&site, Some(&redis));
    let balancer = Balancer::start(gateway.address);
    let channels: Vec<_> = (0..20).map(|n| format!("c{n}")).collect();
    let query: Vec<_> = channels
        .iter()
        .map(|name| format!("channel={name}"))
        .collect();
    let path = format!(
        "/v1/events?{}&stream=s&format=raw&event=channel",
        query.join("&")
    );
    let names: Vec<_> = channels.iter().map(|name| format!("name={name}")).collect();
    let fetch = encoded(&format!("http://{}/healthz", balancer.address));
    let more = format!("{}&name=s&fetch={fetch}", names.join("&"));
    let _browser = site.listen("many", balancer.address, &[&path], &more);
    let mut begun = [
        site.next(&["open", "fetched", "error"]),
        site.next(&["open", "fetched", "error"]),
    ];
    begun.sort_by_key(|report| report["type"].to_string());
    assert_eq!(
        (&begun[0]["type"], &begun[1]["type"]),
        (&"fetched".into(), &"open".into())
    );
    for name in &channels {
        publish(&gateway, name, &format!("in {name}"));
        let event = site.next(&[name, "message", "error"]);
        assert_eq!(
            (&event["type"], &event["data"]),
            (&name[..].into(), &format!("in {name}").into())
        );
    }
    redis.cli(&["XADD", "s", "1-0", "n", "1"]);
    assert_eq!(
        site.next(&["s", "message", "error"])["data"],
        r#"{"n":"1"}"#
    );
    assert_eq!(balancer.heads("/v1/events").len(), 1);
}

#[test]
fn another_origin_listens_with_and_without_credentials_if_it_may() {
    let site = Site::start();
    let allowed = gateway(&site, None);
    let path = "/v1/channels/a/events";
    for (name, more) in [("without", ""), ("with", "credentials")] {
        let _browser = site.listen(name, allowed.address, &[path], more);
        assert_eq!(site.next(&["open", "error"])["type"], "open", "{name}");
        publish(&allowed, "a", name);
        assert_eq!(site.next(&["message", "error"])["data"], name);
    }
    let closed = TestGateway::start();
    let _browser = site.listen("closed", closed.address, &[path], "");
    let error = site.next(&["open", "error"]);
    // It is told to give up.
    assert_eq!(
        (&error["type"], &error["state"]),
        (&"error".into(), &2.into())
    );
}

#[test]
fn nginx_passes_every_event_on_at_once() {
    let gateway = TestGateway::start();
    let nginx = TestNginx::start(gateway.address, "");
    let mut stream = EventStream::open(nginx.address, "/v1/channels/a/events", &[]);
    // Nothing follows that could push these out.
    stream.wait_for("retry");
    publish(&gateway, "a", "first");
    assert_eq!(stream.event().data, "first");
    publish(&gateway, "a", "second");
    assert_eq!(stream.event().data, "second");
}
