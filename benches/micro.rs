//! What is pure on a request's way, in nanoseconds, so that a slip shows: `cargo bench --bench micro`.

use bytes::{Bytes, BytesMut};
use divan::{Bencher, black_box};
use redis_http_gateway::bridge::Bridge;
use redis_http_gateway::command::Command;
use redis_http_gateway::config::Config;
use redis_http_gateway::http::bench;
use redis_http_gateway::http::response::Response;
use redis_http_gateway::http::service::Service;
use redis_http_gateway::hub::{Format, Shape, Topic, measured_event};
use redis_http_gateway::reply::Reply;
use redis_http_gateway::upstream::{self, Upstream};

fn main() {
    divan::main();
}

/// As `wrk` and most libraries send it.
const SHORT: &[u8] = b"GET /v1/keys/small HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// As a browser sends it.
const LONG: &[u8] = b"GET /v1/keys/small HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\nCache-Control: no-cache\r\n\
Connection: keep-alive\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\n\r\n";

#[divan::bench(args = ["short", "long"])]
fn head(bencher: Bencher<'_, '_>, which: &str) {
    let received = if which == "short" { SHORT } else { LONG };
    assert!(bench::is_head(received));
    bencher.bench(|| bench::is_head(black_box(received)));
}

#[divan::bench(args = ["/v1/keys/small", "/v1/keys/with%20escapes%2F", "/set/a/key/with/a/path/of/arguments"])]
fn route(bencher: Bencher<'_, '_>, path: &'static str) {
    let path = Bytes::from_static(path.as_bytes());
    assert!(bench::is_route(&path));
    bencher.bench(|| bench::is_route(black_box(&path)));
}

fn a_response() -> Response {
    Response::new(200)
        .body("text/plain; charset=utf-8", "sixteen bytes of")
        .header("X-Content-Type-Options", "nosniff")
        .header("ETag", "\"0123456789abcdef0123456789abcdef\"")
        .header("Vary", "Accept")
        .header("X-Request-Id", "abcdefgh-123456")
}

#[divan::bench]
fn response(bencher: Bencher<'_, '_>) {
    let response = a_response();
    let mut out = Vec::new();
    bencher
        .with_inputs(|| response.clone())
        .bench_local_values(|response| {
            out.clear();
            bench::write(response, &mut out);
        });
}

/// The same by `raw_print`, which the gateway does not use.
#[divan::bench]
fn response_by_tiny_http(bencher: Bencher<'_, '_>) {
    let response = a_response();
    let mut out = Vec::new();
    bencher
        .with_inputs(|| response.clone())
        .bench_local_values(|response| {
            out.clear();
            let response = response.into_tiny_http();
            response.raw_print(&mut out, (1, 1).into(), &[], false, None)
        });
}

#[divan::bench(args = ["integer", "string", "array of 100"])]
fn reply_to_json(bencher: Bencher<'_, '_>, which: &str) {
    let string = Reply::Bulk(Bytes::from_static(
        b"a string with \"quotes\" and \xc3\xbcmlauts",
    ));
    let reply = match which {
        "integer" => Reply::Int(1_234_567),
        "string" => string,
        _ => Reply::Array(vec![string; 100]),
    };
    bencher
        .with_inputs(|| reply.clone())
        .bench_values(bench::reply_to_json);
}

#[divan::bench(args = ["raw", "json"])]
fn event(bencher: Bencher<'_, '_>, which: &str) {
    let format = if which == "raw" {
        Format::Raw
    } else {
        Format::Json
    };
    let shape = Shape {
        format,
        named: false,
    };
    let topic = Topic::Channel(Bytes::from_static(b"news"));
    bencher.bench(|| measured_event(shape, black_box(&topic), black_box(b"a message of a line")));
}

/// Pipelines of so many GETs.
#[divan::bench(args = [1, 16, 64])]
fn pack(bencher: Bencher<'_, '_>, count: usize) {
    let commands = vec![Command::new("GET").arg("small"); count];
    // *2, $3, GET, $5 and small, each with its line end.
    assert_eq!(upstream::bench::pack(&commands), 24 * count);
    bencher.bench(|| upstream::bench::pack(black_box(&commands)));
}

/// Replies that have come together.
#[divan::bench(args = ["64 strings", "64 integers", "array of 100"])]
fn read_replies(bencher: Bencher<'_, '_>, which: &str) {
    let string = "$16\r\nsixteen bytes of\r\n";
    let (received, count) = match which {
        "64 strings" => (string.repeat(64), 64),
        "64 integers" => (":1234567\r\n".repeat(64), 64),
        _ => (format!("*100\r\n{}", string.repeat(100)), 1),
    };
    let received = || BytesMut::from(received.as_bytes());
    assert_eq!(upstream::bench::read_replies(received()), count);
    bencher
        .with_inputs(received)
        .bench_values(upstream::bench::read_replies);
}

/// All of a GET but its input and output.
#[divan::bench]
fn whole_get(bencher: Bencher<'_, '_>) {
    let bridge = Bridge::new(1).expect("a runtime");
    let config = Config::default();
    let upstream = bridge
        .block_on(Upstream::start(&config))
        .expect("an engine");
    let service = Service::new(&config, upstream);
    let reply = Reply::Bulk(Bytes::from_static(b"sixteen bytes of"));
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        assert!(bench::serve(
            &service,
            black_box(SHORT),
            reply.clone(),
            &mut out
        ));
    });
}
