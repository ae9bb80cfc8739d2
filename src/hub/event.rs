//! An event as it goes over the wire: the event stream format of the HTML standard, section 9.2.6.
//!
//! Pure. One function writes fields, and no CR, LF or NUL gets past it; data becomes one `data:` line for
//! each of its lines, whichever of the three line ends they have.

mod encoded;
mod shape;

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Topic;
use super::entries::encode;
pub(super) use encoded::Encoded;
pub use shape::{Format, Shape};

/// Where in the order of all events of one gateway's life something happened. As an event's id it is safe in
/// a CORS request without a preflight: `[0-9A-Za-z.-]`, and short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position<'a> {
    /// Names the gateway's life.
    pub(super) epoch: &'a str,
    /// Counts its events.
    pub(super) sequence: u64,
}

/// What a stream begins with: a comment, so that something has arrived; how long to wait before
/// reconnecting; and the position, if any, which is kept by the browser although nothing is dispatched. Upstash's
/// SDKs wait for the upstream's confirmations instead.
pub(super) fn opening(
    position: Option<Position<'_>>,
    shape: Shape,
    topics: &[Topic],
    retry: Duration,
) -> Encoded {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(b": connected\n");
    if shape.format == Format::Upstash {
        out.push(b'\n');
        for (index, topic) in topics.iter().enumerate() {
            let kind = match topic {
                Topic::Channel(_) => "subscribe",
                Topic::Pattern(_) => "psubscribe",
                Topic::Sharded(_) => "ssubscribe",
                // There is no such route.
                Topic::Stream(_) => continue,
            };
            let count = (index + 1).to_string();
            upstash(&mut out, &[kind.as_bytes(), topic.name(), count.as_bytes()]);
        }
    } else {
        field(&mut out, "retry", retry.as_millis().to_string().as_bytes());
        if let Some(position) = position {
            id(&mut out, position);
        }
        out.push(b'\n');
    }
    Encoded::new(&out)
}

/// A comment, which browsers pass over; it keeps proxies from giving up and finds out dead peers.
pub(super) fn heartbeat() -> Encoded {
    Encoded::new(b":\n\n")
}

/// A comment with a reason, before the end of a stream.
pub(super) fn farewell(reason: &str) -> Encoded {
    let mut out = b": ".to_vec();
    out.extend(
        reason
            .bytes()
            .map(|b| if is_line_end(b) { b' ' } else { b }),
    );
    out.extend_from_slice(b"\n\n");
    Encoded::new(&out)
}

/// A message of a channel, which came because of a topic; of a stream's topic it is an entry: its id and its
/// fields.
pub(super) fn message(
    position: Position<'_>,
    shape: Shape,
    topic: &Topic,
    channel: &[u8],
    payload: &[u8],
) -> Encoded {
    if shape.format == Format::Entry {
        return encode::entry(String::from_utf8_lossy(channel), payload);
    }
    let mut out = Vec::with_capacity(payload.len() + channel.len() + 64);
    if shape.format == Format::Upstash {
        match topic {
            Topic::Channel(_) | Topic::Stream(_) => {
                upstash(&mut out, &[b"message", channel, payload]);
            }
            Topic::Sharded(_) => upstash(&mut out, &[b"smessage", channel, payload]),
            Topic::Pattern(pattern) => upstash(&mut out, &[b"pmessage", pattern, channel, payload]),
        }
        return Encoded::new(&out);
    }
    id(&mut out, position);
    if shape.named {
        let name = match topic {
            Topic::Stream(key) => String::from_utf8_lossy(key),
            Topic::Channel(_) | Topic::Pattern(_) | Topic::Sharded(_) => {
                String::from_utf8_lossy(channel)
            }
        };
        let name: String = name.chars().filter(|c| !is_line_end_char(*c)).collect();
        // An empty name is the default one.
        field(&mut out, "event", name.as_bytes());
    }
    match std::str::from_utf8(payload) {
        Ok(text) if shape.format == Format::Raw => data(&mut out, text),
        _ => data(&mut out, &json(topic, channel, payload)),
    }
    out.push(b'\n');
    Encoded::new(&out)
}

/// Tells a subscriber that messages may be missing, how many if that is known, and since it carries the position,
/// from where on nothing is. Upstash's SDKs know nothing of it, and pass over comments.
pub(super) fn gap(
    position: Position<'_>,
    shape: Shape,
    reason: &str,
    topics: &[Topic],
    missing: Option<u64>,
) -> Encoded {
    if shape.format == Format::Upstash {
        return farewell(&format!("gap: {reason}"));
    }
    let is_stream = |topic: &&Topic| matches!(topic, Topic::Stream(_));
    let name = |topic: &Topic| Value::from(String::from_utf8_lossy(topic.name()));
    let streams: Vec<_> = topics.iter().filter(is_stream).map(name).collect();
    let names = topics.iter().filter(|topic| !is_stream(topic)).map(name);
    let names: Vec<_> = names.collect();
    let mut out = Vec::with_capacity(128);
    id(&mut out, position);
    field(&mut out, "event", b"gap");
    let mut detail = format!(r#"{{"reason":{}"#, Value::from(reason));
    for (kind, names) in [("channels", names), ("streams", streams)] {
        if !names.is_empty() {
            detail += &format!(r#","{kind}":{}"#, Value::from(names));
        }
    }
    if let Some(missing) = missing {
        detail += &format!(r#","missing":{missing}"#);
    }
    detail += "}";
    data(&mut out, &detail);
    out.push(b'\n');
    Encoded::new(&out)
}

/// One line for Upstash's SDKs, which split it at the first commas and read nothing but lines that begin
/// with `data: `. They cannot be told of a line end within a message: it becomes a space.
fn upstash(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let line = parts.join(&b',');
    let line: Vec<u8> = line
        .into_iter()
        .map(|b| if is_line_end(b) { b' ' } else { b })
        .collect();
    field(out, "data", &line);
    out.push(b'\n');
}

/// The JSON form of a message.
fn json(topic: &Topic, channel: &[u8], payload: &[u8]) -> String {
    if let Topic::Stream(key) = topic {
        return encode::json(key, channel, payload);
    }
    let mut json = String::with_capacity(payload.len() + channel.len() + 32);
    json += "{";
    text_or_base64(&mut json, "channel", "channel_encoding", channel);
    json += ",";
    if let Topic::Pattern(pattern) = topic {
        text_or_base64(&mut json, "pattern", "pattern_encoding", pattern);
        json += ",";
    }
    text_or_base64(&mut json, "message", "encoding", payload);
    json += "}";
    json
}

fn text_or_base64(json: &mut String, name: &str, encoding: &str, value: &[u8]) {
    // A String takes whatever is written to it.
    let _ = match std::str::from_utf8(value) {
        Ok(text) => write!(json, r#""{name}":{}"#, Value::from(text)),
        Err(_) => {
            let value = STANDARD.encode(value);
            write!(json, r#""{name}":"{value}","{encoding}":"base64""#)
        }
    };
}

fn id(out: &mut Vec<u8>, position: Position<'_>) {
    let id = format!("{}-{}", position.epoch, position.sequence);
    field(out, "id", id.as_bytes());
}

/// One `data` line for each line of the text. An empty text is one empty line: without any, nothing would
/// be dispatched.
pub(super) fn data(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
        field(out, "data", &rest[..end]);
        let crlf = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(crlf)..];
    }
    field(out, "data", rest);
}

/// The only writer of fields. The space behind the colon is there to be dropped by the reader, so that a
/// value may begin with one.
pub(super) fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    debug_assert!(!value.iter().any(|&b| b == b'\r' || b == b'\n'));
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}

fn is_line_end_char(c: char) -> bool {
    u8::try_from(c).is_ok_and(is_line_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Position<'static> = Position {
        epoch: "k3x",
        sequence: 7,
    };

    fn text(encoded: &Encoded) -> String {
        String::from_utf8(encoded.bytes(false).to_vec()).expect("text")
    }

    fn news() -> Topic {
        Topic::Channel("news".into())
    }

    fn raw(payload: &[u8]) -> String {
        text(&message(HERE, Shape::default(), &news(), b"news", payload))
    }

    #[test]
    fn a_message_is_its_own_data() {
        assert_eq!(raw(b"hello"), "id: k3x-7\ndata: hello\n\n");
        assert_eq!(raw(b""), "id: k3x-7\ndata: \n\n");
        assert_eq!(raw(b"  two spaces"), "id: k3x-7\ndata:   two spaces\n\n");
        assert_eq!(raw(b"a\0b"), "id: k3x-7\ndata: a\0b\n\n");
    }

    #[test]
    fn every_line_end_makes_a_line() {
        for end in ["\n", "\r", "\r\n"] {
            let payload = format!("a{end}b{end}");
            let expected = "id: k3x-7\ndata: a\ndata: b\ndata: \n\n";
            assert_eq!(raw(payload.as_bytes()), expected, "{end:?}");
        }
        assert_eq!(raw(b"a\n\rb"), "id: k3x-7\ndata: a\ndata: \ndata: b\n\n");
    }

    #[test]
    fn json_names_the_channel_and_is_one_line() {
        let shape = Shape {
            format: Format::Json,
            named: true,
        };
        let event = text(&message(HERE, shape, &news(), b"new\ns", b"a\r\nb"));
        let expected = "id: k3x-7\nevent: news\n\
                        data: {\"channel\":\"new\\ns\",\"message\":\"a\\r\\nb\"}\n\n";
        assert_eq!(event, expected);
    }

    #[test]
    fn what_is_not_utf8_is_base64_in_json() {
        let expected = "id: k3x-7\n\
                        data: {\"channel\":\"news\",\"message\":\"/w==\",\"encoding\":\"base64\"}\n\n";
        assert_eq!(raw(b"\xFF"), expected);
    }

    #[test]
    fn a_chunk_is_one_event() {
        let event = message(HERE, Shape::default(), &news(), b"news", b"hello");
        assert_eq!(
            &event.bytes(true)[..],
            b"17\r\nid: k3x-7\ndata: hello\n\n\r\n"
        );
    }

    #[test]
    fn a_gap_tells_why_and_from_where() {
        let topics = [Topic::Channel("a".into()), Topic::Pattern("b".into())];
        let event = text(&gap(HERE, Shape::default(), "interrupted", &topics, None));
        let expected = "id: k3x-7\nevent: gap\n\
                        data: {\"reason\":\"interrupted\",\"channels\":[\"a\",\"b\"]}\n\n";
        assert_eq!(event, expected);
    }

    #[test]
    fn a_reason_cannot_end_its_comment() {
        assert_eq!(text(&farewell("no\ndata: x")), ": no data: x\n\n");
    }

    #[test]
    fn a_pattern_is_named_beside_the_channel() {
        let shape = Shape {
            format: Format::Json,
            named: false,
        };
        let topic = Topic::Pattern("n*".into());
        let event = text(&message(HERE, shape, &topic, b"news", b"x"));
        let expected = "id: k3x-7\n\
                        data: {\"channel\":\"news\",\"pattern\":\"n*\",\"message\":\"x\"}\n\n";
        assert_eq!(event, expected);
    }

    #[test]
    fn upstash_lines_cannot_be_split() {
        let shape = Shape {
            format: Format::Upstash,
            named: false,
        };
        let topic = Topic::Pattern("n*".into());
        let event = text(&message(
            HERE,
            shape,
            &topic,
            b"news",
            b"a,b\ndata: message,x,y",
        ));
        assert_eq!(event, "data: pmessage,n*,news,a,b data: message,x,y\n\n");
        let opening = text(&opening(
            Some(HERE),
            shape,
            &[news(), topic],
            Duration::ZERO,
        ));
        let expected = ": connected\n\ndata: subscribe,news,1\n\ndata: psubscribe,n*,2\n\n";
        assert_eq!(opening, expected);
    }
}
