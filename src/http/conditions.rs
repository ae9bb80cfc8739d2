//! Conditional requests (RFC 9110, 13): what `If-Match` and `If-None-Match` say, and whether it holds.

use super::problem::Problem;
use super::request::Headers;
use super::response::Response;

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
        let mut values = headers.all(name).map(<[u8]>::trim_ascii).peekable();
        if values.peek().is_none() {
            return Ok(None);
        }
        let mut tags = Vec::new();
        for value in values {
            if value == b"*" && headers.list(name).count() == 1 {
                return Ok(Some(Self::Any));
            }
            if !take_tags(value, &mut tags) {
                return Err(malformed(name));
            }
        }
        if tags.is_empty() {
            // Who sends a condition without a tag in it does not want to write without one.
            return Err(malformed(name));
        }
        Ok(Some(Self::Tags(tags)))
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

/// Takes the entity tags out of a list of them, in which there may be empty places; tells whether it is one. What
/// is between the quotes may be a comma.
fn take_tags(mut list: &[u8], tags: &mut Vec<String>) -> bool {
    loop {
        list = list.trim_ascii_start();
        if list.is_empty() {
            return true;
        }
        if list[0] != b',' {
            let weak = if list.starts_with(b"W/") { 2 } else { 0 };
            let Some(opaque) = list[weak..].strip_prefix(b"\"") else {
                return false;
            };
            let Some(length) = memchr::memchr(b'"', opaque) else {
                return false;
            };
            let (tag, rest) = list.split_at(weak + length + 2);
            // None of the gateway's own is anything but ASCII.
            tags.push(String::from_utf8_lossy(tag).into_owned());
            list = rest.trim_ascii_start();
        }
        match list {
            [] => return true,
            [b',', rest @ ..] => list = rest,
            _ => return false,
        }
    }
}

fn malformed(name: &str) -> Problem {
    let detail = format!("{name} must be * or entity tags in double quotes");
    Problem::new(400, detail)
}

/// What `If-Match` and `If-None-Match` of one request say.
#[derive(Debug)]
pub(super) struct Conditions {
    if_match: Option<Condition>,
    if_none_match: Option<Condition>,
}

impl Conditions {
    /// Reads both, of a request that reads. An empty If-None-Match names nothing that the client knows, and is none.
    ///
    /// # Errors
    /// 400 where one is malformed.
    pub(super) fn for_reading(headers: &Headers) -> Result<Self, Problem> {
        let knows_nothing = headers.list("If-None-Match").next().is_none();
        Ok(Self {
            if_match: Condition::parse(headers, "If-Match")?,
            if_none_match: if knows_nothing {
                None
            } else {
                Condition::parse(headers, "If-None-Match")?
            },
        })
    }

    /// Reads both, of a request that writes.
    ///
    /// # Errors
    /// 400 where one is malformed, or empty.
    pub(super) fn for_writing(headers: &Headers) -> Result<Self, Problem> {
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
        if headers.get(name).is_some() {
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
    fn a_condition_is_a_star_or_tags() {
        let parse = |value| Condition::parse(&headers("If-Match", value), "If-Match");
        assert_eq!(parse("*").ok().flatten(), Some(Condition::Any));
        let tags = parse("W/\"a\", \"b\"").ok().flatten().expect("two tags");
        assert!(tags.matches_weakly("\"a\"") && !tags.matches_strongly("\"a\""));
        assert!(tags.matches_strongly("\"b\"") && !tags.matches_weakly("\"c\""));
        let tags = parse(",\"a,b\" ,, W/\"\",").ok().flatten();
        let expected = ["\"a,b\"", "W/\"\""].map(str::to_owned);
        assert_eq!(tags, Some(Condition::Tags(expected.into())));
        for value in [
            "b",
            "",
            ",",
            " , ",
            "\"a",
            "\"a\" \"b\"",
            "\"a\"b",
            "*, *",
            "*, \"a\"",
            "w/\"a\"",
        ] {
            assert_eq!(
                parse(value).map_err(|problem| problem.status),
                Err(400),
                "{value}"
            );
        }
    }

    #[test]
    fn a_star_stands_alone() {
        for other in ["*", "\"a\""] {
            let request = Request::new(Method::Get, "/").with_header("If-Match", "*");
            let headers = request.with_header("If-Match", other).headers;
            let parsed = Condition::parse(&headers, "If-Match");
            assert_eq!(
                parsed.map_err(|problem| problem.status),
                Err(400),
                "{other}"
            );
        }
    }

    #[test]
    fn an_empty_condition_is_none_only_for_who_reads() {
        let status = |conditions: Result<_, Problem>| {
            conditions.map(|_| ()).map_err(|problem| problem.status)
        };
        let empty = headers("If-None-Match", " ,");
        assert_eq!(status(Conditions::for_reading(&empty)), Ok(()));
        assert_eq!(status(Conditions::for_writing(&empty)), Err(400));
        let empty = headers("If-Match", "");
        assert_eq!(status(Conditions::for_reading(&empty)), Err(400));
    }
}
