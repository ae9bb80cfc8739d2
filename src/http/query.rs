//! Percent-decoding: path segments to bytes (RFC 3986), and query parameters as HTML forms encode them.

use bytes::Bytes;
use percent_encoding::percent_decode;

use super::problem::Problem;

/// Decodes a path segment, once, to bytes.
///
/// # Errors
/// 400 for a percent sign that no two hexadecimal digits follow.
pub(super) fn decode_segment(segment: &Bytes) -> Result<Bytes, Problem> {
    decode(segment, "the path")
}

fn decode(text: &Bytes, place: &str) -> Result<Bytes, Problem> {
    let Some(first) = memchr::memchr(b'%', text) else {
        return Ok(text.clone());
    };
    let mut rest = &text[first..];
    while let Some(at) = memchr::memchr(b'%', rest) {
        match rest[at + 1..] {
            [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {}
            _ => {
                let detail = format!(
                    "{place} has a percent sign without two hexadecimal digits behind it; \
                     a percent sign itself is %25"
                );
                return Err(Problem::new(400, detail));
            }
        }
        rest = &rest[at + 3..];
    }
    let decoded: Vec<u8> = percent_decode(text).collect();
    Ok(decoded.into())
}

/// The parameter that shows a token, for those who cannot set a header. It belongs to no route.
const TOKEN: &[u8] = b"_token";

/// The token that a query shows.
///
/// # Errors
/// 400 if there are two, or if it has a bad escape. What other parameters have is not looked at.
pub(super) fn token(raw: &Bytes) -> Result<Option<Bytes>, Problem> {
    let mut found = None;
    for (name, value) in pairs(raw) {
        if is_token(name) && found.replace(form_decode(raw, value)?).is_some() {
            return Err(bad("_token", "is given more than once"));
        }
    }
    Ok(found)
}

/// Whether a name, which is still encoded, is that of the token. A bad escape makes it another one.
fn is_token(name: &[u8]) -> bool {
    name == TOKEN || (name.contains(&b'%') && percent_decode(name).eq(TOKEN.iter().copied()))
}

/// The parameters of a request, taken one by one; what is left over at the end is an error.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(Bytes, Bytes)>,
}

impl Query {
    /// Splits and decodes a query. The parameter `_token` is taken off: it belongs to nobody else.
    ///
    /// # Errors
    /// 400 for a bad escape.
    pub(super) fn parse(raw: &Bytes) -> Result<Self, Problem> {
        let mut decoded = Vec::new();
        for (name, value) in pairs(raw) {
            let (name, value) = (form_decode(raw, name)?, form_decode(raw, value)?);
            if &name[..] != TOKEN {
                decoded.push((name, value));
            }
        }
        Ok(Self { pairs: decoded })
    }

    /// Takes every value of a parameter.
    pub(super) fn all(&mut self, name: &str) -> Vec<Bytes> {
        let taken = self.pairs.extract_if(.., |(key, _)| key == name.as_bytes());
        taken.map(|(_, value)| value).collect()
    }

    /// Takes a parameter that may be given once.
    ///
    /// # Errors
    /// 400 if it is there more often.
    pub(super) fn one(&mut self, name: &str) -> Result<Option<Bytes>, Problem> {
        let mut values = self.all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(bad(name, "is given more than once")),
        }
    }

    /// Takes a parameter whose value is one of a few words.
    ///
    /// # Errors
    /// 400 for any other word.
    pub(super) fn word(
        &mut self,
        name: &str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, Problem> {
        let Some(value) = self.one(name)? else {
            return Ok(None);
        };
        match words.iter().find(|word| value == word.as_bytes()) {
            Some(word) => Ok(Some(word)),
            None => Err(bad(name, &format!("must be one of: {}", words.join(", ")))),
        }
    }

    /// Takes a parameter whose value is a whole number.
    ///
    /// # Errors
    /// 400 for anything else.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.one(name)? else {
            return Ok(None);
        };
        let digits = value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(&value)
            .ok()
            .and_then(|text| text.parse().ok());
        match number.filter(|_| digits) {
            Some(number) => Ok(Some(number)),
            None => Err(bad(name, "must be a whole number")),
        }
    }

    /// Takes a parameter that is there or not: `?nx`, `?nx=`, `?nx=true` or `?nx=1`, and `?nx=false` for not.
    ///
    /// # Errors
    /// 400 for any other value.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.one(name)?.as_deref() {
            None | Some(b"false") => Ok(false),
            Some(b"" | b"true" | b"1") => Ok(true),
            Some(_) => Err(bad(name, "must be without a value, true, 1 or false")),
        }
    }

    /// Every parameter, in order.
    pub(super) fn into_pairs(self) -> Vec<(Bytes, Bytes)> {
        self.pairs
    }

    /// Ends the taking.
    ///
    /// # Errors
    /// 400 that names a parameter nobody took: a typo must not silently do less.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(bad(&String::from_utf8_lossy(name), "is not known here")),
        }
    }
}

/// 400 about a query parameter.
pub(super) fn bad(name: &str, what: &str) -> Problem {
    Problem::new(400, format!("the query parameter {name:?} {what}"))
}

/// The names and values of a query, still encoded.
fn pairs(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    raw.split(|&b| b == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            (&pair[..end], &pair[(end + 1).min(pair.len())..])
        })
}

/// Decodes a part of a query.
fn form_decode(raw: &Bytes, text: &[u8]) -> Result<Bytes, Problem> {
    if memchr::memchr(b'+', text).is_none() {
        return decode(&raw.slice_ref(text), "the query");
    }
    let spaced: Vec<u8> = text
        .iter()
        .map(|&b| if b == b'+' { b' ' } else { b })
        .collect();
    decode(&spaced.into(), "the query")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &'static str) -> Result<Bytes, u16> {
        decode_segment(&Bytes::from_static(text.as_bytes())).map_err(|problem| problem.status)
    }

    #[test]
    fn a_segment_is_decoded_once_to_bytes() {
        assert_eq!(decoded("a%20b+c"), Ok("a b+c".into()));
        assert_eq!(decoded("a%2Fb%252F"), Ok("a/b%2F".into()));
        assert_eq!(decoded("%FF%00"), Ok(Bytes::from_static(b"\xFF\0")));
        assert_eq!(decoded(""), Ok(Bytes::new()));
    }

    #[test]
    fn a_bad_escape_is_an_error() {
        for text in ["100%", "%2", "%zz", "a%2Gb", "%%20"] {
            assert_eq!(decoded(text), Err(400), "{text}");
        }
    }

    #[test]
    fn parameters_are_taken_and_the_rest_is_named() {
        let raw = Bytes::from_static(b"ex=60&nx&channel=a+b&channel=%FF&_token=secret&typo=1");
        let mut query = Query::parse(&raw).expect("well formed");
        assert_eq!(query.number("ex").ok(), Some(Some(60)));
        assert_eq!(query.flag("nx").ok(), Some(true));
        assert_eq!(query.flag("xx").ok(), Some(false));
        let channels = query.all("channel");
        assert_eq!(
            channels,
            [Bytes::from_static(b"a b"), Bytes::from_static(b"\xFF")]
        );
        let left = query.finish().expect_err("there is a typo");
        assert!(left.detail.contains("typo"), "{}", left.detail);
    }

    #[test]
    fn a_token_is_found_whatever_is_beside_it() {
        let found = |raw: &'static str| token(&raw.into()).map_err(|problem| problem.status);
        assert_eq!(found(""), Ok(None));
        assert_eq!(found("token=a&_tokens=b&ex=%zz"), Ok(None));
        assert_eq!(found("ex=%zz&_token=a%2Bb+c&nx"), Ok(Some("a+b c".into())));
        assert_eq!(found("%5Ftoken=a"), Ok(Some("a".into())));
        assert_eq!(found("_token"), Ok(Some("".into())));
        assert_eq!(found("_token=%z"), Err(400));
        assert_eq!(found("_token=a&_token=a"), Err(400));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named() {
        for raw in [
            "ex=-1",
            "ex=+1",
            "ex=1.5",
            "ex=",
            "ex=1&ex=1",
            "ex=99999999999999999999",
        ] {
            let mut query = Query::parse(&raw.into()).expect("well formed");
            let problem = query.number("ex").expect_err(raw);
            assert!(problem.detail.contains("ex"), "{raw}: {}", problem.detail);
        }
    }
}
