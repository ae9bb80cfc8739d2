//! Fields with their values, of hashes and of stream entries, as JSON shows them. No I/O.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::Reply;

/// What Redis replied as names and values by turns.
pub(crate) fn in_pairs(replies: &[Reply]) -> Option<Vec<(Bytes, Bytes)>> {
    let pairs = replies.chunks(2).map(|pair| match pair {
        [Reply::Bulk(name), Reply::Bulk(value)] => Some((name.clone(), value.clone())),
        _ => None,
    });
    pairs.collect()
}

/// Fields as a JSON object, sorted by name.
///
/// A value that is not UTF-8 is an object with its base64. A field that cannot be a name in JSON, as it is not
/// UTF-8 or is there twice, is in a list under the empty name; no field has a list for its value, so that
/// one cannot be taken for the other.
pub(crate) fn object(fields: impl IntoIterator<Item = (Bytes, Bytes)>) -> Map<String, Value> {
    let mut object = Map::new();
    let mut others = Vec::new();
    for (name, value) in fields {
        match std::str::from_utf8(&name) {
            Ok(text) if !object.contains_key(text) => {
                object.insert(text.into(), one(&value));
            }
            _ => others.push(other(&name, &value)),
        }
    }
    if !others.is_empty() {
        if let Some(value) = object.remove("") {
            let mut first = Map::new();
            first.insert("field".into(), "".into());
            match value {
                Value::Object(encoded) => first.extend(encoded),
                value => {
                    first.insert("value".into(), value);
                }
            }
            others.insert(0, first.into());
        }
        object.insert(String::new(), others.into());
    }
    object
}

fn one(value: &[u8]) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "value", "encoding", value);
    match object.len() {
        1 => object.remove("value").unwrap_or_default(),
        _ => object.into(),
    }
}

fn other(name: &[u8], value: &[u8]) -> Value {
    let mut object = Map::new();
    put_bytes(&mut object, "field", "field_encoding", name);
    put_bytes(&mut object, "value", "encoding", value);
    object.into()
}

/// Puts bytes into a JSON object under a name: as a string where they are UTF-8, else as base64, with that
/// said beside it.
pub(crate) fn put_bytes(object: &mut Map<String, Value>, name: &str, encoding: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            object.insert(name.into(), text.into());
        }
        Err(_) => {
            object.insert(name.into(), STANDARD.encode(bytes).into());
            object.insert(encoding.into(), "base64".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(fields: &[(&'static [u8], &'static [u8])]) -> Value {
        let bytes = |&(name, value)| (Bytes::from_static(name), Bytes::from_static(value));
        object(fields.iter().map(bytes)).into()
    }

    #[test]
    fn no_field_is_lost_in_json() {
        assert_eq!(
            shown(&[(b"b", b"1"), (b"a", b"")]),
            json!({"a": "", "b": "1"})
        );
        let encoded = json!({"value": "/w==", "encoding": "base64"});
        assert_eq!(shown(&[(b"a", b"\xFF")]), json!({"a": encoded}));
        assert_eq!(shown(&[(b"", b"1")]), json!({"": "1"}));
        assert_eq!(
            shown(&[
                (b"a", b"1"),
                (b"a", b"2"),
                (b"\xFE", b"\xFF"),
                (b"", b"\xFF")
            ]),
            json!({"a": "1", "": [
                {"field": "", "value": "/w==", "encoding": "base64"},
                {"field": "a", "value": "2"},
                {"field": "/g==", "field_encoding": "base64", "value": "/w==", "encoding": "base64"},
            ]})
        );
    }
}
