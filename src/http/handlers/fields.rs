//! Fields with their values, of hashes and of stream entries, out of a JSON object.

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::http::problem::{Problem, not_json};

/// The most fields in one JSON body. Redis has taken a million arguments in a command, and no more, for most
/// of its life, and breaks off at one too many; a field may be two.
const MAX_FIELDS: usize = 100_000;

/// The field with its new value; `None` for `null`.
pub(crate) type Given = (Bytes, Option<Bytes>);

/// Reads a JSON object of strings, numbers, booleans and nulls; in the order in which it names its fields. A
/// number keeps its text, digit by digit.
///
/// # Errors
/// 400 for anything else, with the name of the field whose value it is, and for a name that is given twice; 413
/// for too many fields.
pub(crate) fn parse(body: &[u8], wanted: &'static str) -> Result<Vec<Given>, Problem> {
    let members = members(body, wanted)?;
    let given = members.into_iter().map(|(name, value)| {
        let value = scalar(&name, value.get())?;
        Ok((name.into(), value))
    });
    given.collect()
}

/// The members of a JSON object, in the order in which it names them, each with its value as it is written.
///
/// # Errors
/// As [`parse`], but for what the values are.
pub(crate) fn members<'a>(
    body: &'a [u8],
    wanted: &'static str,
) -> Result<Vec<(String, &'a RawValue)>, Problem> {
    let Members(members) = serde_json::from_slice(body)
        .map_err(|error| Problem::new(400, not_json(wanted, &error)))?;
    if members.len() > MAX_FIELDS {
        let detail = format!("a request may name {MAX_FIELDS} fields at most");
        return Err(Problem::new(413, detail));
    }
    let mut names: Vec<_> = members.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let detail = format!("the field {:?} is given more than once", twice[0]);
        return Err(Problem::new(400, detail));
    }
    Ok(members)
}

/// The members of a JSON object, in the order in which they stand; one too many at most, however many there
/// are, so that a body cannot take many times its size.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while members.len() <= MAX_FIELDS
                    && let Some(member) = map.next_entry()?
                {
                    members.push(member);
                }
                // What is left is passed over, and has to be JSON all the same.
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn scalar(name: &str, json: &str) -> Result<Option<Bytes>, Problem> {
    let kind = match json.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        Some(b'"') => match serde_json::from_str::<String>(json) {
            Ok(text) => return Ok(Some(text.into())),
            // Half of a surrogate pair: JSON can write what no text is.
            Err(_) => "no text",
        },
        // A number, true or false.
        _ => return Ok(Some(Bytes::copy_from_slice(json.as_bytes()))),
    };
    let detail =
        format!("the field {name:?} is {kind}; it must be a string, a number or a boolean");
    Err(Problem::new(400, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str = "an object";

    #[test]
    fn fields_come_in_order_and_numbers_as_they_are_written() {
        let body = br#"{"z":"a\n","a":1e+21,"n":null,"b":true,"":9007199254740993,"c":-0}"#;
        let given = parse(body, WANTED).expect("an object");
        let text = |(name, value): &Given| {
            let value = value.as_ref().map(|value| String::from_utf8_lossy(value));
            format!("{}={value:?}", String::from_utf8_lossy(name))
        };
        let given: Vec<_> = given.iter().map(text).collect();
        let expected = [
            r#"z=Some("a\n")"#,
            r#"a=Some("1e+21")"#,
            "n=None",
            r#"b=Some("true")"#,
            r#"=Some("9007199254740993")"#,
            r#"c=Some("-0")"#,
        ];
        assert_eq!(given, expected);
    }

    #[test]
    fn what_is_no_value_is_named() {
        for (body, said) in [
            (r#"{"a":1,"b":[1]}"#, r#""b" is an array"#),
            (r#"{"a":{"b":1}}"#, r#""a" is an object"#),
            (r#"{"a":1,"b":2,"a":3}"#, r#""a" is given more than once"#),
            (r#"{"a":"\ud800"}"#, r#""a" is no text"#),
            ("[]", WANTED),
            ("", WANTED),
            (r#"{"a":1} x"#, WANTED),
        ] {
            let problem = parse(body.as_bytes(), WANTED).expect_err(body);
            assert_eq!(problem.status, 400);
            assert!(problem.detail.contains(said), "{body}: {}", problem.detail);
        }
    }
}
