//! Error answers: problem documents (RFC 9457), and the one place where faults become HTTP statuses.

use std::borrow::Cow;

use serde_json::error::Category;
use tiny_http::StatusCode;

use super::response::Response;
use crate::auth::Denied;
use crate::error::Error;
use crate::reply::ServerError;

/// An error answer to be.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What was wrong with this request, and what would be right; for people.
    pub detail: Cow<'static, str>,
    /// Redis' own words, where it was Redis that refused.
    pub redis_error: Option<String>,
    /// Headers that go with the status.
    headers: Vec<(&'static str, Cow<'static, str>)>,
}

/// The ways in which a token can be shown in a header.
const CHALLENGES: &[&str] = &[
    r#"Bearer realm="redis-http-gateway""#,
    r#"Basic realm="redis-http-gateway", charset="UTF-8""#,
];

impl Problem {
    /// A problem of a status, with an explanation for people.
    #[must_use]
    pub fn new(status: u16, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry = ("Retry-After", Cow::Borrowed("1"));
        Self {
            status,
            detail: detail.into(),
            redis_error: None,
            headers: if matches!(status, 429 | 503) {
                vec![retry]
            } else {
                vec![]
            },
        }
    }

    /// 405: the route is there, but not for this method.
    #[must_use]
    pub fn method_not_allowed(method: &str, allow: String) -> Self {
        let detail = format!("{method} is not allowed here; these are: {allow}");
        let mut problem = Self::new(405, detail);
        problem.headers.push(("Allow", allow.into()));
        problem
    }

    /// 401: it is not known who asks. Says how to show a token.
    #[must_use]
    pub fn unauthorized(detail: &'static str) -> Self {
        let mut problem = Self::new(401, detail);
        for challenge in CHALLENGES {
            problem
                .headers
                .push(("WWW-Authenticate", (*challenge).into()));
        }
        problem
    }

    /// The response of this status, with its headers and this body.
    pub(super) fn with_body(
        self,
        media_type: &'static str,
        body: impl Into<bytes::Bytes>,
    ) -> Response {
        let response = Response::new(self.status).body(media_type, body);
        self.headers
            .into_iter()
            .fold(response, |response, (name, value)| {
                response.header(name, value)
            })
    }

    /// 500: a defect of the gateway, told without detail.
    #[must_use]
    pub fn defect() -> Self {
        Self::new(500, "a defect of the gateway; it has been logged")
    }
}

/// What to say of a JSON body that is not the one wanted; with the place, if it is no JSON at all.
pub(super) fn not_json(wanted: &str, error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Syntax | Category::Eof => format!("{wanted}, and this is no JSON: {error}"),
        Category::Data | Category::Io => wanted.to_owned(),
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let title = match problem.status {
            // RFC 9110 has renamed it.
            413 => "Content Too Large",
            status => StatusCode(status).default_reason_phrase(),
        };
        let mut body = format!(
            r#"{{"type":"about:blank","title":"{title}","status":{},"detail":{}"#,
            problem.status,
            serde_json::Value::from(&*problem.detail),
        );
        if let Some(error) = &problem.redis_error {
            body += r#","redis_error":"#;
            body += &serde_json::Value::from(error.as_str()).to_string();
        }
        body += "}\n";
        problem.with_body("application/problem+json", body)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Refused(_) => 400,
            Error::Unsupported(_) => 501,
            Error::BrokenOff | Error::TooLarge => 502,
            Error::Full | Error::NotLetIn(_) | Error::Unreachable => 503,
            Error::TimedOut => 504,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::new(403, denied.to_string())
    }
}

impl From<ServerError> for Problem {
    /// The status of an error that Redis replied, by its code. Redis did nothing then.
    fn from(error: ServerError) -> Self {
        let detail = error.detail();
        let (status, detail) = match error.code() {
            "WRONGTYPE" | "BUSYKEY" | "BUSYGROUP" => (409, "the data that is there is in the way"),
            "NOPERM" => (403, "Redis does not allow the gateway's user to do this"),
            // Redis itself cannot serve now; the request is not to blame.
            "BUSY" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "MISCONF" | "NOAUTH"
            | "NOREPLICAS" | "OOM" | "READONLY" | "TRYAGAIN" | "UNKILLABLE" | "WRONGPASS" => {
                (503, "Redis cannot do this at the moment; nothing was done")
            }
            "ERR" if detail.starts_with("unknown command") => {
                (501, "this Redis server does not have the command")
            }
            // The gateway wrote the command: it is right, for a server that knows it.
            "ERR"
                if detail.starts_with("syntax error")
                    || detail.starts_with("wrong number of arguments") =>
            {
                (
                    501,
                    "this Redis server does not have this option of the command",
                )
            }
            // An id that XADD was given.
            "ERR" if detail.contains("equal or smaller than the target stream top item") => {
                (409, "the data that is there is in the way")
            }
            _ => (400, "Redis refused the command"),
        };
        let mut problem = Self::new(status, detail);
        problem.redis_error = Some(error.to_string());
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_json_whatever_its_detail() {
        let response = Response::from(Problem::new(400, "a \"quote\"\nand a line"));
        let json: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(json["status"], 400);
        assert_eq!(json["title"], "Bad Request");
        assert_eq!(json["detail"], "a \"quote\"\nand a line");
    }

    #[test]
    fn redis_errors_have_the_status_of_who_is_to_blame() {
        for (code, detail, status) in [
            ("ERR", "value is not an integer or out of range", 400),
            (
                "ERR",
                "unknown command 'foo', with args beginning with: ",
                501,
            ),
            (
                "WRONGTYPE",
                "Operation against a key holding the wrong kind of value",
                409,
            ),
            ("NOPERM", "this user has no permissions", 403),
            ("LOADING", "Redis is loading the dataset in memory", 503),
        ] {
            let problem = Problem::from(ServerError::new(code, detail));
            assert_eq!(problem.status, status, "{code} {detail}");
            assert_eq!(problem.redis_error, Some(format!("{code} {detail}")));
        }
    }
}
