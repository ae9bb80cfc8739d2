//! The kinds of work, as each server wants them asked for.

use super::servers::Kind;

/// A kind of work.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// Milliseconds to Redis and back.
    pub(crate) away: u64,
    pub(crate) connections: &'static [usize],
    task: Task,
}

#[derive(Clone, Copy)]
enum Task {
    Get { key: &'static str },
    Set { bytes: usize },
    Mix,
    Json,
    Publish,
}

/// Keys of the mix.
pub(crate) const KEYS: usize = 100_000;

const ALL: &[usize] = &[1, 16, 64, 256, 1000];

/// Every kind of work; what each is about stands in docs/benchmarks.md.
pub(crate) static WORK: &[Work] = &[
    Work {
        name: "get-16",
        away: 0,
        connections: ALL,
        task: Task::Get { key: "small" },
    },
    Work {
        name: "get-10k",
        away: 0,
        connections: ALL,
        task: Task::Get { key: "large" },
    },
    Work {
        name: "set-100",
        away: 0,
        connections: ALL,
        task: Task::Set { bytes: 100 },
    },
    Work {
        name: "mix",
        away: 0,
        connections: ALL,
        task: Task::Mix,
    },
    Work {
        name: "json",
        away: 0,
        connections: ALL,
        task: Task::Json,
    },
    Work {
        name: "publish",
        away: 0,
        connections: ALL,
        task: Task::Publish,
    },
    Work {
        name: "get-16-1ms",
        away: 1,
        connections: ALL,
        task: Task::Get { key: "small" },
    },
    Work {
        name: "get-16-5ms",
        away: 5,
        connections: ALL,
        task: Task::Get { key: "small" },
    },
];

/// The values that the work is about.
pub(crate) fn data() -> impl Iterator<Item = (String, Vec<u8>)> {
    let named = [("small", 16), ("large", 10 * 1024)];
    let named = named.map(|(key, size)| (key.to_owned(), vec![b'x'; size]));
    let many = (0..KEYS).map(|number| (format!("key:{number}"), vec![b'x'; 100]));
    named.into_iter().chain(many)
}

impl Work {
    /// The requests as a script for `wrk`; `None` where a server cannot do this.
    pub(crate) fn script(&self, kind: Kind) -> Option<String> {
        if kind == Kind::Constant && !self.has_constant() {
            return None;
        }
        Some(match (self.task, kind) {
            (Task::Get { key }, _) => fixed("GET", &get(kind, key), None),
            (Task::Set { bytes }, _) => {
                fixed("PUT", &set(kind, "written"), Some(&"x".repeat(bytes)))
            }
            (Task::Mix, _) => mix(&get(kind, "key:"), &set(kind, "key:")),
            (Task::Json, Kind::Gateway) => fixed("POST", "/", Some(r#"["GET","small"]"#)),
            // Its answer is JSON, and its request the nearest that it has.
            (Task::Json, Kind::Webdis { .. }) => fixed("POST", "/", Some("GET/small")),
            (Task::Json, _) => return None,
            (Task::Publish, Kind::Gateway) => {
                fixed("POST", "/v1/channels/news/messages", Some("hello, world"))
            }
            (Task::Publish, Kind::Webdis { .. }) => {
                fixed("PUT", "/PUBLISH/news", Some("hello, world"))
            }
            (Task::Publish, _) => fixed("PUT", "/publish/news", Some("hello, world")),
        })
    }

    /// Whether one answer without Redis is as large as all that this asks for, and Redis would be near.
    fn has_constant(&self) -> bool {
        self.away == 0 && matches!(self.task, Task::Get { key: "small" } | Task::Set { .. })
    }
}

/// The path of a raw value, as bytes.
pub(crate) fn get(kind: Kind, key: &str) -> String {
    match kind {
        Kind::Gateway => format!("/v1/keys/{key}"),
        Kind::Webdis { .. } => format!("/GET/{key}"),
        Kind::Nginx | Kind::Constant => format!("/get/{key}"),
    }
}

/// The path to put a value to.
pub(crate) fn set(kind: Kind, key: &str) -> String {
    match kind {
        Kind::Gateway => format!("/v1/keys/{key}"),
        Kind::Webdis { .. } => format!("/SET/{key}"),
        Kind::Nginx | Kind::Constant => format!("/set/{key}"),
    }
}

/// GETs of the value of 16 bytes, as a script for `wrk`.
pub(crate) fn get_small(kind: Kind) -> String {
    fixed("GET", &get(kind, "small"), None)
}

/// A request that waits for half a minute, by its bytes: a list that stays empty is popped.
pub(crate) fn blocking_pop(kind: Kind) -> String {
    let command = r#"["BLPOP","nothing","30"]"#;
    match kind {
        Kind::Gateway => {
            let length = command.len();
            format!(
                "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{command}"
            )
        }
        Kind::Webdis { .. } | Kind::Nginx | Kind::Constant => {
            "GET /BLPOP/nothing/30 HTTP/1.1\r\nHost: localhost\r\n\r\n".into()
        }
    }
}

/// One request again and again.
fn fixed(method: &str, path: &str, body: Option<&str>) -> String {
    let body = body.map_or(String::new(), |body| format!("wrk.body = [==[{body}]==]\n"));
    format!("wrk.method = '{method}'\nwrk.path = '{path}'\n{body}")
}

/// Nine GETs to one SET, each of any key.
fn mix(get: &str, set: &str) -> String {
    format!(
        "local body = string.rep('x', 100)
request = function()
    local key = math.random(0, {KEYS} - 1)
    if math.random(10) == 1 then
        return wrk.format('PUT', '{set}' .. key, nil, body)
    end
    return wrk.format('GET', '{get}' .. key)
end
"
    )
}
