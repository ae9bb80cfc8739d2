//! A page on another origin, in Chromium: what it can do to a gateway, and what it can read of it.
//!
//! The page (`page.html`) tries every way there is, and reports what came of each to the server it came from.
//! Whether a command has run is looked up behind the gateway's back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use redis_http_gateway::BlockingClient;
use redis_http_gateway::config::AllowedOrigin;
use serde_json::Value;

use crate::env::{Chromium, Client, EventStream, TestGateway};

/// For a browser to start and a page to try everything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const SECRET: &str = "the secret of the key";

/// A server of pages, at any name that the browser takes for it.
struct Site {
    address: SocketAddr,
    server: Arc<tiny_http::Server>,
    thread: Option<JoinHandle<()>>,
    reports: Receiver<Value>,
}

impl Site {
    /// Serves the page, collects its reports, and hands everything else on to a gateway: a name that leads
    /// here for the page and there for the rest is what DNS rebinding makes.
    fn start(gateway: SocketAddr) -> Self {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let (sender, reports) = channel();
        let serving = Arc::clone(&server);
        let thread = std::thread::spawn(move || {
            for request in serving.incoming_requests() {
                serve(request, gateway, &sender);
            }
        });
        Self {
            address: server.server_addr().to_ip().unwrap(),
            server,
            thread: Some(thread),
            reports,
        }
    }

    /// Where the page is, by a name, with the gateway that it is to try.
    fn page(&self, name: &str, gateway: &str) -> String {
        let port = self.address.port();
        format!("http://{name}:{port}/page?{gateway}")
    }

    fn report(&self) -> Value {
        let report = self.reports.recv_timeout(PATIENCE);
        report.expect("the page reports what it has found")
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

fn serve(mut request: tiny_http::Request, gateway: SocketAddr, reports: &Sender<Value>) {
    let mut body = Vec::new();
    // To tiny_http the body of an Upgrade is whatever comes until the connection ends.
    let upgrade = request
        .headers()
        .iter()
        .any(|header| header.field.equiv("Upgrade"));
    if !upgrade {
        request.as_reader().read_to_end(&mut body).unwrap();
    }
    let path = request.url().split('?').next().unwrap().to_owned();
    let response = match &*path {
        "/page" => {
            let html = tiny_http::Header::from_bytes("Content-Type", "text/html").unwrap();
            tiny_http::Response::from_string(include_str!("page.html")).with_header(html)
        }
        "/report" => {
            // Who waits for it may have failed.
            let _ = reports.send(serde_json::from_slice(&body).unwrap());
            tiny_http::Response::from_string("thanks")
        }
        _ => {
            let answer = rebound(&request, gateway, &body);
            tiny_http::Response::from_data(answer.body).with_status_code(answer.status)
        }
    };
    // The browser may have been killed.
    let _ = request.respond(response);
}

/// What the gateway answers to the request as the browser sent it, under a name that it thinks is the
/// page's own.
fn rebound(request: &tiny_http::Request, gateway: SocketAddr, body: &[u8]) -> crate::env::Answer {
    let headers = request.headers().iter();
    let headers = headers.map(|header| (header.field.as_str().as_str(), header.value.as_str()));
    let own = ["content-length", "connection", "transfer-encoding"];
    let headers: Vec<_> = headers
        .filter(|(name, _)| !own.contains(&&*name.to_ascii_lowercase()))
        .collect();
    let method = request.method().as_str();
    Client::connect(gateway).request(method, request.url(), &headers, body)
}

/// A gateway with what the page is after, and a listener of the channel it publishes to.
fn target(gateway: &TestGateway) -> (BlockingClient, EventStream) {
    let redis = gateway.gateway().upstream().embedded_address().unwrap();
    let mut redis = BlockingClient::connect(redis).unwrap();
    redis.set("secret", SECRET.into()).unwrap();
    let script = "window.stolen = true";
    redis.set("script", script.into()).unwrap();
    (redis, gateway.listen("/v1/channels/a/events"))
}

fn text<'a>(report: &'a Value, attempt: &str) -> &'a str {
    let found = report["results"][attempt].as_str();
    found.unwrap_or_else(|| panic!("{attempt} was not tried: {report}"))
}

#[test]
fn a_page_of_another_site_can_neither_command_nor_read() {
    let gateway = TestGateway::start();
    let (mut redis, mut listener) = target(&gateway);
    let site = Site::start(gateway.address);
    let address = gateway.address.to_string();
    let localhost = format!("localhost:{}", gateway.address.port());
    // Another site; the same site by another port; and under a name that leads to the gateway.
    let pages = [
        site.page("evil.example", &address),
        site.page("evil.example", &localhost),
        site.page("127.0.0.1", &address),
        site.page(
            "evil.example",
            &format!("evil.example:{}", gateway.address.port()),
        ),
        site.page(
            "rebound.example",
            &format!("rebound.example:{}", site.address.port()),
        ),
    ];
    for (n, page) in pages.iter().enumerate() {
        let browser = Chromium::open(&format!("denied-{n}"), page);
        let report = site.report();
        drop(browser);
        assert!(!report.to_string().contains(SECRET), "{page}: {report}");
        for attempt in [
            "get",
            "get with credentials",
            "put",
            "put with a preflight",
            "post",
        ] {
            let result = text(&report, attempt);
            // Under the page's own name it may read the refusal, and nothing else.
            let refused = result.starts_with("failed") || result.starts_with("403 ");
            assert!(refused, "{page} {attempt}: {result}");
        }
        for attempt in ["events", "image", "script", "websocket"] {
            assert_eq!(text(&report, attempt), "failed", "{page}: {report}");
        }
        for attempt in ["get without cors", "post without cors"] {
            let result = text(&report, attempt);
            let blind = result.starts_with("0 opaque") || result.starts_with("403 ");
            assert!(blind, "{page} {attempt}: {result}");
        }
        for attempt in ["form", "beacon", "frame"] {
            text(&report, attempt);
        }
        // Nothing of what it tried has come to pass.
        assert_eq!(redis.get("secret").unwrap().unwrap(), SECRET);
        assert_eq!(redis.get("written").unwrap(), None);
        redis.publish("a", format!("{n}").into()).unwrap();
        assert_eq!(listener.event().data, n.to_string(), "{page}");
    }
}

#[test]
fn the_same_page_of_an_allowed_site_can() {
    // Which port the site has is known before the gateway is told.
    let beside = TestGateway::start();
    let site = Site::start(beside.address);
    let origin = format!("http://good.example:{}", site.address.port());
    let gateway = TestGateway::with(|config| {
        config.allow_origin = vec![AllowedOrigin::Site(origin)];
    });
    let (mut redis, mut listener) = target(&gateway);
    let page = site.page("good.example", &gateway.address.to_string());
    let _browser = Chromium::open("allowed", &page);
    let report = site.report();
    let secret = format!("200 cors {SECRET}");
    assert_eq!(text(&report, "get"), secret, "{report}");
    assert_eq!(text(&report, "get with credentials"), secret, "{report}");
    assert!(text(&report, "put").starts_with("204 cors"), "{report}");
    assert_eq!(
        text(&report, "put with a preflight"),
        "204 cors ",
        "{report}"
    );
    assert!(text(&report, "post").starts_with("200 cors {\"receivers\":"));
    assert_eq!(text(&report, "events"), "from the page", "{report}");
    assert_eq!(redis.get("written").unwrap().unwrap(), "by the page");
    // Every way to post has force: what was kept out before was not so by chance.
    let mut posted: Vec<_> = (0..4).map(|_| listener.event().data).collect();
    posted.sort();
    assert_eq!(posted, ["a=form\n", "beacon", "post", "post without cors"]);
}
