//! Content negotiation (RFC 9110, 12), and which bodies are taken.

use tiny_http::Method;

use super::problem::Problem;
use super::request::{Headers, Request};

/// Whether a client wants JSON rather than the value itself.
///
/// JSON is chosen where `Accept` names it with a weight no lower than that of the raw form.
///
/// # Errors
/// 406 where `Accept` excludes both.
pub(super) fn wants_json(headers: &Headers) -> Result<bool, Problem> {
    if takes_anything(headers) {
        return Ok(false);
    }
    let json = weight(headers, &["application/json"], false);
    // What a value's type will be is not known yet: text or bytes.
    let raw = weight(headers, &["text/plain", "application/octet-stream"], true).unwrap_or(0);
    match json {
        Some(json) if json > 0 && json >= raw => Ok(true),
        _ if raw > 0 => Ok(false),
        _ => Err(Problem::new(
            406,
            "this comes as text/plain, application/octet-stream or application/json",
        )),
    }
}

/// Whether a client takes a media type.
pub(super) fn accepts(headers: &Headers, media_type: &str) -> bool {
    takes_anything(headers) || weight(headers, &[media_type], true).is_some_and(|q| q > 0)
}

/// Whether there is no `Accept`, or an empty one, which is no preference either (RFC 9110, 12.5.1).
fn takes_anything(headers: &Headers) -> bool {
    headers.list("Accept").next().is_none()
}

/// Checks that a body is what it will be taken for: the whole of what is sent, and as it is.
///
/// # Errors
/// 415 for one that is encoded, 400 for a part of something (RFC 9110, 14.5).
pub(super) fn check_body(request: &Request) -> Result<(), Problem> {
    if !matches!(request.method, Method::Post | Method::Put | Method::Patch) {
        return Ok(());
    }
    let mut codings = request.headers.list("Content-Encoding");
    if !codings.all(|coding| coding.eq_ignore_ascii_case(b"identity")) {
        let detail = "a body is taken as it is; send it without Content-Encoding";
        return Err(Problem::new(415, detail));
    }
    if request.method == Method::Put && request.headers.get("Content-Range").is_some() {
        let detail = "a PUT replaces the whole; send it without Content-Range";
        return Err(Problem::new(400, detail));
    }
    Ok(())
}

/// The weight in thousandths that `Accept` gives to the best of some media types: that of the type itself
/// or, with `ranges`, of the most specific range that covers it.
fn weight(headers: &Headers, types: &[&str], ranges: bool) -> Option<u16> {
    let of_type = |media_type: &str| {
        let family = media_type.split('/').next().unwrap_or_default();
        let mut best = None;
        for member in headers.list("Accept") {
            let mut parts = member.split(|&b| b == b';').map(<[u8]>::trim_ascii);
            let range = parts.next().unwrap_or_default();
            let closeness = if range.eq_ignore_ascii_case(media_type.as_bytes()) {
                2
            } else if ranges
                && range
                    .strip_suffix(b"/*")
                    .is_some_and(|r| r.eq_ignore_ascii_case(family.as_bytes()))
            {
                1
            } else if ranges && range == b"*/*" {
                0
            } else {
                continue;
            };
            best = best.max(Some((closeness, quality(parts))));
        }
        best.map(|(_, quality)| quality)
    };
    types
        .iter()
        .filter_map(|media_type| of_type(media_type))
        .max()
}

/// The `q` among a range's parameters, in thousandths; 1 without one, 0 where it is malformed.
fn quality<'a>(mut parameters: impl Iterator<Item = &'a [u8]>) -> u16 {
    let value = parameters.find_map(|p| p.strip_prefix(b"q=").or(p.strip_prefix(b"Q=")));
    let Some(value) = value else { return 1000 };
    let number = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok());
    number.map_or(0, |q: f32| (q.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &str, value: &str) -> Headers {
        Request::new(Method::Get, "/")
            .with_header(name, value)
            .headers
    }

    #[test]
    fn json_is_given_to_those_who_ask_for_it() {
        for (accept, json) in [
            ("*/*", Ok(false)),
            ("application/json", Ok(true)),
            ("application/json, text/plain, */*", Ok(true)),
            ("application/json;q=0.5, text/plain", Ok(false)),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Ok(false)),
            ("application/octet-stream", Ok(false)),
            ("application/json;q=0, */*", Ok(false)),
            ("image/png", Err(406)),
            ("*/*;q=0", Err(406)),
            ("", Ok(false)),
            (" , ", Ok(false)),
        ] {
            let wanted = wants_json(&headers("Accept", accept)).map_err(|problem| problem.status);
            assert_eq!(wanted, json, "{accept}");
        }
    }

    #[test]
    fn the_most_specific_range_counts() {
        let accept = headers("Accept", "text/event-stream;q=0, */*");
        assert!(!accepts(&accept, "text/event-stream"));
        assert!(accepts(&accept, "text/plain"));
    }

    #[test]
    fn a_body_is_whole_and_as_it_is() {
        let status = |method, name, value| {
            let request = Request::new(method, "/v1/keys/a").with_header(name, value);
            check_body(&request).map_err(|problem| problem.status)
        };
        for coding in ["", "identity", "Identity, identity"] {
            assert_eq!(
                status(Method::Put, "Content-Encoding", coding),
                Ok(()),
                "{coding}"
            );
        }
        for coding in ["gzip", "identity, gzip"] {
            assert_eq!(
                status(Method::Post, "Content-Encoding", coding),
                Err(415),
                "{coding}"
            );
        }
        assert_eq!(status(Method::Get, "Content-Encoding", "gzip"), Ok(()));
        assert_eq!(
            status(Method::Put, "Content-Range", "bytes 1-2/3"),
            Err(400)
        );
        assert_eq!(status(Method::Post, "Content-Range", "bytes 1-2/3"), Ok(()));
    }
}
