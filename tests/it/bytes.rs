//! Any bytes, in by every form that a request may have, and out again the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::env::{Client, TestGateway, TestRedis};

/// How many values are sent.
const ROUNDS: u64 = 150;

/// Bytes that mean something somewhere on the way: in URLs, in headers, in JSON, in RESP, in UTF-8.
const SPECIAL: &[&[u8]] = &[
    b"%",
    b"%2F",
    b"%zz",
    b"/",
    b"//",
    b"?",
    b"&",
    b"=",
    b"#",
    b"+",
    b" ",
    b"..",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\"",
    b"\\",
    b"\\u0000",
    b"$-1\r\n",
    b"*1\r\n",
    b"OK",
    b"null",
    b"[]",
    b"\xFF",
    b"\xC0\x80",
    b"\xED\xA0\xBD",
    b"\xEF\xBB\xBF",
    b"\x7F",
    b"\xE2\x80\xA8",
    b"\xF0\x9F\x8E\x88",
];

/// Some bytes, of which a request line holds a key and a value: at times any, at times such as make trouble.
fn bytes(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    let long = random.u8(..) < 10;
    for _ in 0..random.usize(..if long { 300 } else { 12 }) {
        if random.bool() {
            bytes.push(random.u8(..));
        } else {
            bytes.extend_from_slice(SPECIAL[random.usize(..SPECIAL.len())]);
        }
    }
    bytes
}

/// Percent-encoded: what has to be, and at random what need not.
fn encoded(bytes: &[u8], random: &mut fastrand::Rng) -> String {
    let mut text = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() && random.bool() {
            text.push(byte.into());
        } else if random.bool() {
            text += &format!("%{byte:02X}");
        } else {
            text += &format!("%{byte:02x}");
        }
    }
    text
}

/// The gateway, and a connection that all requests go over.
struct Ways {
    client: Client,
}

impl Ways {
    fn ok(&mut self, method: &str, path: &str, body: &[u8]) {
        let answer = self.client.request(method, path, &[], body);
        assert_eq!(answer.text(), r#"{"result":"OK"}"#, "{method} {path}");
    }

    /// The reply to a command, a path or an array, decoded from base64.
    fn decoded(&mut self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let headers = [("Upstash-Encoding", "base64")];
        let answer = self.client.request(method, path, &headers, body);
        let json = answer.json();
        // Of a pipeline its only item, and of a list its only element.
        let item = json.get(0).unwrap_or(&json);
        let result = &item["result"];
        let text = result.get(0).unwrap_or(result).as_str();
        let text = text.unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
        STANDARD.decode(text).unwrap()
    }

    /// The value of a key, read in every way that takes any key.
    fn assert_value(&mut self, key: &str, value: &[u8], way: &str) {
        let plain = self
            .client
            .request("GET", &format!("/v1/keys/{key}"), &[], b"");
        assert_eq!((plain.status, &plain.body[..]), (200, value), "{way}");
        let path = format!("/get/{key}");
        assert_eq!(self.decoded("GET", &path, b""), value, "{way}");
        let resp2 = [("Upstash-Response-Format", "resp2")];
        let resp = self.client.request("GET", &path, &resp2, b"");
        let head = format!("${}\r\n", value.len());
        let expected = [head.as_bytes(), value, b"\r\n"].concat();
        assert_eq!(resp.body, expected, "{way}");
    }
}

/// Random numbers, whose seed a test that fails has printed; and the ways through a gateway over a Redis.
fn start() -> (fastrand::Rng, TestRedis, TestGateway, Ways) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    let client = gateway.connect();
    let random = fastrand::Rng::with_seed(seed);
    (random, redis, gateway, Ways { client })
}

#[test]
fn bytes_come_back_as_they_went_in() {
    let (mut random, _redis, _gateway, mut ways) = start();
    for _ in 0..ROUNDS {
        let (key, value) = (bytes(&mut random), bytes(&mut random));
        let key = encoded(&[b"k", &key[..]].concat(), &mut random);
        let in_path = encoded(&value, &mut random);
        if !value.is_empty() {
            ways.ok("GET", &format!("/set/{key}/{in_path}"), b"");
            ways.assert_value(&key, &value, "in the path");
            ways.ok("POST", &format!("/set/{key}"), &value);
            ways.assert_value(&key, &value, "as a POST's body");
        }
        ways.ok("PUT", &format!("/set/{key}?EX=1000"), &value);
        ways.assert_value(&key, &value, "as a PUT's body");
        ways.client
            .request("DELETE", &format!("/v1/keys/{key}"), &[], b"");
        let put = ways
            .client
            .request("PUT", &format!("/v1/keys/{key}"), &[], &value);
        assert_eq!(put.status, 204, "{put:?}");
        ways.assert_value(&key, &value, "by /v1");
    }
}

#[test]
fn keys_come_back_as_they_went_in() {
    let (mut random, _redis, _gateway, mut ways) = start();
    for _ in 0..ROUNDS {
        let key = [b"k", &bytes(&mut random)[..]].concat();
        let path = format!("/v1/keys/{}", encoded(&key, &mut random));
        assert_eq!(ways.client.request("PUT", &path, &[], b"v").status, 204);
        assert_eq!(ways.decoded("GET", "/keys/*", b""), key);
        assert_eq!(ways.decoded("POST", "/pipeline", br#"[["KEYS","*"]]"#), key);
        let listed = ways.client.request("GET", "/v1/keys", &[], b"").json();
        let listed = &listed["keys"][0];
        match (listed.as_str(), std::str::from_utf8(&key)) {
            (Some(listed), Ok(key)) => assert_eq!(listed, key),
            (None, Err(_)) => assert_eq!(listed["key"], STANDARD.encode(&key)),
            _ => panic!("{listed} for {key:?}"),
        }
        assert_eq!(ways.client.request("DELETE", &path, &[], b"").status, 204);
    }
}

#[test]
fn text_in_json_comes_back_as_it_went_in() {
    let (mut random, _redis, _gateway, mut ways) = start();
    for _ in 0..ROUNDS {
        // JSON carries text alone.
        let text = String::from_utf8_lossy(&bytes(&mut random)).into_owned();
        let set = json!(["SET", &text, &text]).to_string();
        ways.ok("POST", "/", set.as_bytes());
        let get = json!(["GET", &text]);
        for (path, body) in [
            ("/", get.to_string()),
            ("/pipeline", json!([&get]).to_string()),
            ("/multi-exec", json!([&get]).to_string()),
            ("/", json!(["MGET", &text, "none"]).to_string()),
        ] {
            let value = ways.decoded("POST", path, body.as_bytes());
            assert_eq!(value, text.as_bytes(), "{path}");
        }
        // Without base64 text is itself, and nothing else.
        let plain = ways
            .client
            .request("POST", "/", &[], get.to_string().as_bytes());
        assert_eq!(plain.json(), json!({"result": &text}));
        ways.assert_value(
            &encoded(text.as_bytes(), &mut random),
            text.as_bytes(),
            "in JSON",
        );
    }
}
