//! Commands out of requests: JSON arrays, and paths with a body and query parameters.

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::command::Command;
use crate::http::budget::SMALL;
use crate::http::problem::not_json;
use crate::http::query::{Query, decode_segment};

/// Why there is no command in what a client sent.
pub(super) type Malformed = String;

/// Commands in one request, and parts of all of them together. Far more than anybody sends; each part costs many times the
/// memory of its bytes.
const MAX_COMMANDS: usize = 100_000;
const MAX_PARTS: usize = 250_000;

/// The command in a JSON array: `["SET","key","value"]`.
///
/// Strings are taken as they are; numbers and booleans as their literal text, so that no digit is lost.
pub(super) fn from_json(body: &Bytes) -> Result<Command, Malformed> {
    const WANTED: &str = r#"the body must be a JSON array such as ["SET","key","value"]"#;
    let Elements(parts) = serde_json::from_slice(body).map_err(|error| not_json(WANTED, &error))?;
    if parts.len() > MAX_PARTS {
        return Err(format!("a command has {MAX_PARTS} arguments at most"));
    }
    from_parts(&parts, body)
}

/// The commands in a JSON array of arrays, each of which may be malformed on its own.
pub(super) fn many_from_json(body: &Bytes) -> Result<Vec<Result<Command, Malformed>>, Malformed> {
    const WANTED: &str =
        r#"the body must be a JSON array of arrays such as [["SET","key","value"],["GET","key"]]"#;
    let Elements(commands) =
        serde_json::from_slice(body).map_err(|error| not_json(WANTED, &error))?;
    if commands.len() > MAX_COMMANDS {
        return Err(format!("{MAX_COMMANDS} commands can be sent at once"));
    }
    let mut room = MAX_PARTS;
    let parsed = commands.into_iter().enumerate().map(|(index, command)| {
        let Ok(Elements(parts)) = serde_json::from_str(command.get()) else {
            return Ok(Err(format!("command {index} is not an array")));
        };
        let left = room.checked_sub(parts.len());
        room = left.ok_or_else(|| {
            format!("the commands of a request have {MAX_PARTS} arguments at most, all together")
        })?;
        Ok(from_parts(&parts, body))
    });
    parsed.collect()
}

/// The elements of a JSON array, each as it is written; one too many at most, however many there are, so that a body cannot
/// take many times its size.
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                let mut elements = Vec::new();
                while elements.len() <= MAX_PARTS
                    && let Some(element) = seq.next_element()?
                {
                    elements.push(element);
                }
                // What is left is passed over, and has to be JSON all the same.
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

/// A command of these parts of a body.
fn from_parts(parts: &[&RawValue], body: &Bytes) -> Result<Command, Malformed> {
    let parts = parts
        .iter()
        .enumerate()
        .map(|(index, part)| argument(index, part.get(), body));
    let parts: Vec<Bytes> = parts.collect::<Result<_, _>>()?;
    match Command::from_parts(parts) {
        Some(command) if !command.name().is_empty() => Ok(command),
        _ => Err("a command begins with its name".to_owned()),
    }
}

fn argument(index: usize, json: &str, body: &Bytes) -> Result<Bytes, Malformed> {
    let kind = match json.as_bytes().first() {
        Some(b'"') => {
            // What is large and not escaped stays where it is in the body, which is counted; the body need not be kept
            // for what is small.
            if json.len() > SMALL
                && let Ok(text) = serde_json::from_str::<&str>(json)
            {
                return Ok(body.slice_ref(text.as_bytes()));
            }
            // Half of a surrogate pair, as a program writes that cuts its strings by UTF-16 units.
            let text: Result<String, _> = serde_json::from_str(json);
            return text
                .map(Bytes::from)
                .map_err(|_| format!("argument {index} is no Unicode text"));
        }
        Some(b'n') => "null",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        // A number, true or false.
        _ if index > 0 => return Ok(Bytes::copy_from_slice(json.as_bytes())),
        _ => "no string",
    };
    Err(format!(
        "argument {index} is {kind}; arguments are strings, numbers or booleans, the first a string"
    ))
}

/// The command in a path: `/set/key/value`. A body goes behind it as the last argument, and the query
/// parameters behind that, as their names and values.
pub(super) fn from_path(
    segments: &[Bytes],
    body: Option<Bytes>,
    query: &Bytes,
) -> Result<Command, Malformed> {
    let told = |problem: crate::http::problem::Problem| problem.detail.into_owned();
    let segments = segments.iter().map(decode_segment);
    let mut parts: Vec<Bytes> = segments.collect::<Result<_, _>>().map_err(told)?;
    parts.extend(body);
    for (name, value) in Query::parse(query).map_err(told)?.into_pairs() {
        parts.push(name);
        if !value.is_empty() {
            parts.push(value);
        }
    }
    Command::from_parts(parts).ok_or_else(|| "a command begins with its name".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &str) -> Result<Vec<String>, Malformed> {
        let command = from_json(&Bytes::copy_from_slice(body.as_bytes()))?;
        let text = |part: &Bytes| String::from_utf8_lossy(part).into_owned();
        Ok(command.parts().iter().map(text).collect())
    }

    #[test]
    fn numbers_keep_their_text() {
        let body = r#"["SET", "k", 1e+21, 13.361389, -0, 9007199254740993, true, false, ""]"#;
        let expected = [
            "SET",
            "k",
            "1e+21",
            "13.361389",
            "-0",
            "9007199254740993",
            "true",
            "false",
            "",
        ];
        assert_eq!(parts(body), Ok(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn what_is_no_argument_is_named_by_its_place() {
        for (body, place) in [
            (r#"["SET","k",null]"#, "argument 2"),
            (r#"["SET",["k"]]"#, "argument 1"),
            (r#"["SET","k",{"a":1}]"#, "argument 2"),
            (r#"[1,"k"]"#, "argument 0"),
            (r#"["GET","a\ud83c"]"#, "argument 1"),
            (r"[]", "name"),
            (r#"[""]"#, "name"),
            (r#"{"a":1}"#, "JSON array"),
            ("", "JSON array"),
            (r#"["GET","k"] x"#, "JSON array"),
        ] {
            let malformed = parts(body).expect_err(body);
            assert!(malformed.contains(place), "{body}: {malformed}");
        }
    }

    #[test]
    fn what_is_large_is_not_copied_unless_it_is_escaped() {
        let (large, small) = ("v".repeat(SMALL), "v".repeat(SMALL - 2));
        for (text, stays) in [
            (large.clone(), true),
            (small, false),
            (format!("{large}\n"), false),
        ] {
            let command = serde_json::json!(["SET", "k", text]).to_string();
            let pipeline = serde_json::json!([["SET", "k", text]]).to_string();
            let (command, pipeline) = (Bytes::from(command), Bytes::from(pipeline));
            let one = from_json(&command).expect("a command");
            let many = many_from_json(&pipeline).expect("an array");
            let first = many[0].as_ref().expect("a command");
            for (command, body) in [(&one, &command), (first, &pipeline)] {
                let value = &command.parts()[2];
                assert_eq!(value, text.as_bytes());
                assert_eq!(body.as_ptr_range().contains(&value.as_ptr()), stays);
            }
        }
    }

    #[test]
    fn one_bad_command_leaves_the_others() {
        let body = Bytes::from_static(br#"[["GET","a"],7,["SET","k",null],["GET","b"]]"#);
        let many = many_from_json(&body).expect("an array");
        let good: Vec<_> = many.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, false, true]);
    }

    #[test]
    fn a_path_takes_a_body_and_parameters_behind_it() {
        let segments = ["set".into(), "a%2Fb".into()];
        let query = Bytes::from_static(b"EX=100&NX&_token=secret");
        let command =
            from_path(&segments, Some(Bytes::from_static(b"\xFF")), &query).expect("a command");
        let expected: [&[u8]; 6] = [b"set", b"a/b", b"\xFF", b"EX", b"100", b"NX"];
        assert_eq!(command.parts(), expected);
        assert!(from_path(&["get".into(), "%zz".into()], None, &Bytes::new()).is_err());
    }
}
