//! Values as HTTP shows them: raw or as JSON, with their entity tags.

use std::fmt::Write;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::http::response::Response;

/// The strong validator of a value's raw or JSON form. The same on every gateway.
pub(crate) fn entity_tag(value: &[u8], json: bool) -> String {
    let form = if json { "-json" } else { "" };
    let mut tag = String::with_capacity(40);
    // Writing to a string cannot fail.
    let _ = write!(tag, "\"{:032x}{form}\"", xxh3_128(value));
    tag
}

/// 200 with the value itself, byte for byte.
pub(crate) fn raw(value: Bytes) -> Response {
    let text = std::str::from_utf8(&value).is_ok();
    let media_type = if text {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    };
    Response::new(200)
        .body(media_type, value)
        // A value is whatever somebody put there: no browser shall take it for a page.
        .header("X-Content-Type-Options", "nosniff")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_one_form_of_one_value() {
        assert_eq!(entity_tag(b"a", false), entity_tag(b"a", false));
        assert_ne!(entity_tag(b"a", false), entity_tag(b"b", false));
        assert_ne!(entity_tag(b"a", false), entity_tag(b"a", true));
    }

    #[test]
    fn only_utf8_is_called_text() {
        let types = [&b"abc\n"[..], b"", b"\xFF"].map(|value| {
            let response = raw(Bytes::from_static(value));
            response.headers[0].1.to_string()
        });
        let text = "text/plain; charset=utf-8";
        assert_eq!(types, [text, text, "application/octet-stream"]);
    }
}
