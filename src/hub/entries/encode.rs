//! Entries as events: the data is the entry's fields as a JSON object, and the id the entry's own.
//!
//! Pure, as all of `event`.

use std::fmt::Display;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{EntryId, Loss};
use crate::hub::event::{Encoded, data, field};
use crate::reply::fields::put_bytes;

/// What the stream begins with; the id is kept by the browser although nothing is dispatched.
pub(in crate::hub) fn opening(id: Option<EntryId>, retry: Duration) -> Encoded {
    let mut out = b": connected\n".to_vec();
    field(&mut out, "retry", retry.as_millis().to_string().as_bytes());
    if let Some(id) = id {
        field(&mut out, "id", id.to_string().as_bytes());
    }
    out.push(b'\n');
    Encoded::new(&out)
}

/// An entry by itself: its id, and its fields as JSON.
pub(in crate::hub) fn entry(id: impl Display, fields: &[u8]) -> Encoded {
    let mut out = Vec::with_capacity(fields.len() + 64);
    field(&mut out, "id", id.to_string().as_bytes());
    data(&mut out, &String::from_utf8_lossy(fields));
    out.push(b'\n');
    Encoded::new(&out)
}

/// Tells that entries may be missing.
pub(in crate::hub) fn gap(loss: &Loss, reason: &str, key: &[u8]) -> Encoded {
    let mut detail = Map::new();
    detail.insert("reason".into(), reason.into());
    let names = vec![Value::from(String::from_utf8_lossy(key))];
    detail.insert("streams".into(), names.into());
    if let Some(missing) = loss.missing {
        detail.insert("missing".into(), missing.into());
    }
    let mut out = Vec::with_capacity(128);
    field(&mut out, "id", loss.up_to.to_string().as_bytes());
    field(&mut out, "event", b"gap");
    data(&mut out, &Value::from(detail).to_string());
    out.push(b'\n');
    Encoded::new(&out)
}

/// An entry beside those of other streams and messages of channels: of which stream it is, its id and its fields.
pub(in crate::hub) fn json(key: &[u8], id: &[u8], fields: &[u8]) -> String {
    let mut names = Map::new();
    put_bytes(&mut names, "stream", "stream_encoding", key);
    put_bytes(&mut names, "id", "id_encoding", id);
    let mut json = Value::from(names).to_string();
    // The fields are JSON already.
    json.pop();
    json += r#","fields":"#;
    json += &String::from_utf8_lossy(fields);
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::entries::Reason;

    fn text(encoded: &Encoded) -> String {
        String::from_utf8(encoded.bytes(false).to_vec()).expect("text")
    }

    #[test]
    fn an_entry_has_its_own_id() {
        let id = EntryId::parse(b"5-1").expect("an id");
        let event = text(&entry(id, br#"{"a":"b"}"#));
        assert_eq!(event, "id: 5-1\ndata: {\"a\":\"b\"}\n\n");
        let time = Duration::from_secs(2);
        let begin = text(&opening(Some(id), time));
        assert_eq!(begin, ": connected\nretry: 2000\nid: 5-1\n\n");
        let begin = text(&opening(None, time));
        assert_eq!(begin, ": connected\nretry: 2000\n\n");
    }

    #[test]
    fn a_gap_says_what_is_known() {
        let mut loss = Loss::new(Reason::NotKept, EntryId::parse(b"5").expect("an id"));
        loss.missing = Some(3);
        let event = text(&gap(&loss, loss.reason.text(), b"a\n\xFF"));
        let expected = "id: 5-0\nevent: gap\n\
                        data: {\"missing\":3,\"reason\":\"not-kept\",\"streams\":[\"a\\n\u{FFFD}\"]}\n\n";
        assert_eq!(event, expected);
    }

    #[test]
    fn beside_others_it_names_its_stream() {
        let json = json(b"\xFF", b"5-1", br#"{"a":"b"}"#);
        let expected =
            r#"{"id":"5-1","stream":"/w==","stream_encoding":"base64","fields":{"a":"b"}}"#;
        assert_eq!(json, expected);
    }
}
