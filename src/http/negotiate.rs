//! Content negotiation and conditional requests (RFC 9110, 12 and 13).

use super::problem::Problem;
use super::request::Headers;
use super::response::Response;

/// Whether a client wants JSON rather than the value itself.
///
/// JSON is chosen where `Accept` names it with a weight no lower than that of the raw form.
///
/// # Errors
/// 406 where `Accept` excludes both.
pub(super) fn wants_json(headers: &Headers) -> Result<bool, Problem> {
    if headers.get("Accept").is_none() {
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
    headers.get("Accept").is_none() || weight(headers, &[media_type], true).is_some_and(|q| q > 0)
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

/// What `If-Match` or `If-None-Match` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// `*`: any value there is.
    Any,
    /// One of these entity tags, as they were sent.
    Tags(Vec<String>),
}

impl Condition {
    /// Reads the condition of this header.
    ///
    /// # Errors
    /// 400 where it is neither `*` nor a list of entity tags.
    pub(super) fn parse(headers: &Headers, name: &str) -> Result<Option<Self>, Problem> {
        let members: Vec<_> = headers.list(name).collect();
        if members.is_empty() {
            return Ok(None);
        }
        if members == [b"*"] {
            return Ok(Some(Self::Any));
        }
        let tags = members.iter().map(|member| {
            let tag = std::str::from_utf8(member).ok()?;
            let opaque = tag.strip_prefix("W/").unwrap_or(tag);
            let quoted = opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"');
            quoted.then(|| tag.to_owned())
        });
        match tags.collect() {
            Some(tags) => Ok(Some(Self::Tags(tags))),
            None => {
                let detail = format!("{name} must be * or entity tags in double quotes");
                Err(Problem::new(400, detail))
            }
        }
    }

    /// Whether a representation that exists and has this strong tag meets it, by weak comparison, as
    /// If-None-Match asks for.
    pub(super) fn matches_weakly(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags
                .iter()
                .any(|t| t.strip_prefix("W/").unwrap_or(t) == tag),
        }
    }

    /// The same by strong comparison, as If-Match asks for: a weak tag never matches.
    pub(super) fn matches_strongly(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.iter().any(|t| t == tag),
        }
    }
}

/// What `If-Match` and `If-None-Match` of one request say.
#[derive(Debug)]
pub(super) struct Conditions {
    if_match: Option<Condition>,
    if_none_match: Option<Condition>,
}

impl Conditions {
    /// Reads both.
    ///
    /// # Errors
    /// 400 where one is malformed.
    pub(super) fn parse(headers: &Headers) -> Result<Self, Problem> {
        Ok(Self {
            if_match: Condition::parse(headers, "If-Match")?,
            if_none_match: Condition::parse(headers, "If-None-Match")?,
        })
    }

    /// Whether something has to be there, whatever it is: `If-Match: *`.
    pub(super) fn want_something(&self) -> bool {
        self.if_match == Some(Condition::Any)
    }

    /// Whether nothing may be there: `If-None-Match: *`.
    pub(super) fn want_nothing(&self) -> bool {
        self.if_none_match == Some(Condition::Any)
    }

    /// Whether it takes the value that is there to tell if they hold.
    pub(super) fn need_value(&self) -> bool {
        let both = [&self.if_match, &self.if_none_match];
        both.iter()
            .any(|condition| matches!(condition, Some(Condition::Tags(_))))
    }

    /// Whether a request that writes may go on: what is there has one of these strong tags, one for each of its
    /// forms; there is nothing if there are none.
    ///
    /// # Errors
    /// 412 where a condition does not hold.
    pub(super) fn check(&self, tags: &[String]) -> Result<(), Problem> {
        let matches =
            |condition: &Condition| tags.iter().any(|tag| condition.matches_strongly(tag));
        if self.if_match.as_ref().is_some_and(|c| !matches(c)) {
            return Err(changed());
        }
        let is_known = |condition: &Condition| tags.iter().any(|tag| condition.matches_weakly(tag));
        if self.if_none_match.as_ref().is_some_and(is_known) {
            return Err(Problem::new(412, "the value is one of If-None-Match"));
        }
        Ok(())
    }

    /// What to say where there is nothing to read: 412 if the client took it to be there, else 404.
    pub(super) fn absent(&self, detail: &'static str) -> Problem {
        match self.if_match {
            Some(_) => changed(),
            None => Problem::new(404, detail),
        }
    }

    /// The answer to who asks for something that has this strong tag: 304, or the thing itself.
    ///
    /// # Errors
    /// 412 where it is not what `If-Match` says.
    pub(super) fn apply(
        &self,
        tag: String,
        response: impl FnOnce() -> Response,
    ) -> Result<Response, Problem> {
        let is_other = |condition: &Condition| !condition.matches_strongly(&tag);
        if self.if_match.as_ref().is_some_and(is_other) {
            return Err(changed());
        }
        let is_known = |condition: &Condition| condition.matches_weakly(&tag);
        let response = if self.if_none_match.as_ref().is_some_and(is_known) {
            Response::new(304)
        } else {
            response()
        };
        Ok(response.header("ETag", tag))
    }
}

/// 412: what is there is not what the client took it for.
pub(super) fn changed() -> Problem {
    Problem::new(412, "the value is not the one of If-Match")
}

/// For a request that writes where conditions cannot be kept: they are never ignored.
///
/// # Errors
/// 501 if there is one.
pub(super) fn refuse_conditions(headers: &Headers) -> Result<(), Problem> {
    for name in ["If-Match", "If-None-Match"] {
        if Condition::parse(headers, name)?.is_some() {
            let detail = format!("{name} is not supported for this method here");
            return Err(Problem::new(501, detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tiny_http::Method;

    use super::super::request::Request;
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
    fn a_condition_is_a_star_or_tags() {
        let parse = |value| Condition::parse(&headers("If-Match", value), "If-Match");
        assert_eq!(parse("*").ok().flatten(), Some(Condition::Any));
        let tags = parse("W/\"a\", \"b\"").ok().flatten().expect("two tags");
        assert!(tags.matches_weakly("\"a\"") && !tags.matches_strongly("\"a\""));
        assert!(tags.matches_strongly("\"b\"") && !tags.matches_weakly("\"c\""));
        assert_eq!(parse("b").map_err(|problem| problem.status), Err(400));
    }
}
