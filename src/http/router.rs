//! Paths to routes. A path is taken apart once; there is no trying of one route after another.

use bytes::Bytes;

use super::problem::Problem;
use super::query::decode_segment;

/// A resource of the gateway, with what its path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Index,
    Health,
    Ready,
    OpenApiYaml,
    OpenApiJson,
    Keys,
    Key(Bytes),
    Increment(Bytes),
    Ttl(Bytes),
    Hash(Bytes),
    /// A key and a field.
    HashField(Bytes, Bytes),
    Entries(Bytes),
    EntryEvents(Bytes),
    Messages(Bytes),
    ChannelEvents(Bytes),
    Events,
    Pipeline,
    MultiExec,
    /// Channels, percent-encoded.
    Subscribe(Vec<Bytes>),
    /// Patterns, percent-encoded.
    Psubscribe(Vec<Bytes>),
    Monitor,
    /// A command and its arguments, percent-encoded.
    Command(Vec<Bytes>),
}

const READ: &[&str] = &["GET", "HEAD"];
const READ_OR_POST: &[&str] = &["GET", "HEAD", "POST"];
const READ_PUT_OR_DELETE: &[&str] = &["GET", "HEAD", "PUT", "DELETE"];
const READ_PATCH_OR_DELETE: &[&str] = &["GET", "HEAD", "PATCH", "DELETE"];
const READ_POST_OR_PUT: &[&str] = &["GET", "HEAD", "POST", "PUT"];
const POST: &[&str] = &["POST"];

/// The paths of all routes, as OpenAPI writes them, and the methods of each. OPTIONS goes everywhere.
pub static ENDPOINTS: &[(&str, &[&str])] = &[
    ("/", READ_OR_POST),
    ("/healthz", READ),
    ("/readyz", READ),
    ("/openapi.yaml", READ),
    ("/openapi.json", READ),
    ("/v1/keys", READ),
    ("/v1/keys/{key}", READ_PUT_OR_DELETE),
    ("/v1/keys/{key}/increment", POST),
    ("/v1/keys/{key}/ttl", READ_PUT_OR_DELETE),
    ("/v1/hashes/{key}", READ_PATCH_OR_DELETE),
    ("/v1/hashes/{key}/{field}", READ_PUT_OR_DELETE),
    ("/v1/streams/{key}/entries", READ_OR_POST),
    ("/v1/streams/{key}/events", READ),
    ("/v1/channels/{channel}/messages", POST),
    ("/v1/channels/{channel}/events", READ),
    ("/v1/events", READ),
    ("/pipeline", POST),
    ("/multi-exec", POST),
    ("/subscribe/{channels}", READ_OR_POST),
    ("/psubscribe/{patterns}", READ_OR_POST),
    ("/monitor", READ_OR_POST),
    ("/{command}/{arguments}", READ_POST_OR_PUT),
];

/// Paths of up to this many segments are split without allocating. All routes but those of commands have at most four.
const FEW: usize = 5;

/// What the paths of other faces than the command face begin with.
const OTHER_FACES: [&[u8]; 5] = [
    b"v1",
    b"healthz",
    b"readyz",
    b"openapi.yaml",
    b"openapi.json",
];

impl Route {
    /// The route of a path, which is percent-encoded.
    ///
    /// # Errors
    /// 404 where there is none, 400 where it has a bad escape.
    pub(super) fn parse(path: &Bytes) -> Result<Self, Problem> {
        // Clients that are given a base URL with a slash at its end send two.
        let path = match path.strip_prefix(b"//") {
            Some(_) => path.slice(1..),
            None => path.clone(),
        };
        let Some(rest) = path.strip_prefix(b"/") else {
            return Err(not_found());
        };
        let mut few: [&[u8]; FEW] = [b""; FEW];
        let mut many = Vec::new();
        let segments = split(rest, &mut few, &mut many);
        let name = |segment: &[u8]| decode_segment(&path.slice_ref(segment));
        Ok(match *segments {
            [b""] => Self::Index,
            [b"healthz"] => Self::Health,
            [b"readyz"] => Self::Ready,
            [b"openapi.yaml"] => Self::OpenApiYaml,
            [b"openapi.json"] => Self::OpenApiJson,
            [b"v1", b"keys"] => Self::Keys,
            [b"v1", b"keys", key] => Self::Key(name(key)?),
            [b"v1", b"keys", key, b"increment"] => Self::Increment(name(key)?),
            [b"v1", b"keys", key, b"ttl"] => Self::Ttl(name(key)?),
            [b"v1", b"hashes", key] => Self::Hash(name(key)?),
            [b"v1", b"hashes", key, field] => Self::HashField(name(key)?, name(field)?),
            [b"v1", b"streams", key, b"entries"] => Self::Entries(name(key)?),
            [b"v1", b"streams", key, b"events"] => Self::EntryEvents(name(key)?),
            [b"v1", b"channels", channel, b"messages"] => Self::Messages(name(channel)?),
            [b"v1", b"channels", channel, b"events"] => Self::ChannelEvents(name(channel)?),
            [b"v1", b"events"] => Self::Events,
            [b"pipeline"] => Self::Pipeline,
            [b"multi-exec"] => Self::MultiExec,
            [b"subscribe", ref channels @ ..] if !channels.is_empty() => {
                Self::Subscribe(bytes_of(&path, channels))
            }
            [b"psubscribe", ref patterns @ ..] if !patterns.is_empty() => {
                Self::Psubscribe(bytes_of(&path, patterns))
            }
            [b"monitor"] => Self::Monitor,
            // None of these is a Redis command.
            [first, ..] if OTHER_FACES.contains(&first) => return Err(not_found()),
            [b"", ..] => return Err(not_found()),
            ref command => Self::Command(bytes_of(&path, command)),
        })
    }

    /// The methods that it has. They are those of its line in [`ENDPOINTS`].
    pub(super) fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::Health
            | Self::Ready
            | Self::OpenApiYaml
            | Self::OpenApiJson
            | Self::Keys
            | Self::EntryEvents(_)
            | Self::ChannelEvents(_)
            | Self::Events => READ,
            Self::Index
            | Self::Entries(_)
            | Self::Subscribe(_)
            | Self::Psubscribe(_)
            | Self::Monitor => READ_OR_POST,
            Self::Key(_) | Self::Ttl(_) | Self::HashField(..) => READ_PUT_OR_DELETE,
            Self::Hash(_) => READ_PATCH_OR_DELETE,
            Self::Command(_) => READ_POST_OR_PUT,
            Self::Increment(_) | Self::Messages(_) | Self::Pipeline | Self::MultiExec => POST,
        }
    }
}

/// The segments of a path, in `few` if they fit there, else in `many`.
fn split<'m, 'p>(
    path: &'p [u8],
    few: &'m mut [&'p [u8]; FEW],
    many: &'m mut Vec<&'p [u8]>,
) -> &'m [&'p [u8]] {
    let mut count = 0;
    for segment in path.split(|&b| b == b'/') {
        let Some(place) = few.get_mut(count) else {
            many.extend(path.split(|&b| b == b'/'));
            return many;
        };
        *place = segment;
        count += 1;
    }
    &few[..count]
}

/// Whether a path is one that only the command face has; `/` is shared.
pub(super) fn is_of_command_face(path: &[u8]) -> bool {
    let path = if path.starts_with(b"//") {
        &path[1..]
    } else {
        path
    };
    let Some(rest) = path.strip_prefix(b"/") else {
        return false;
    };
    let first = rest.split(|&b| b == b'/').next().unwrap_or_default();
    !first.is_empty() && !OTHER_FACES.contains(&first)
}

fn bytes_of(path: &Bytes, segments: &[&[u8]]) -> Vec<Bytes> {
    segments
        .iter()
        .map(|segment| path.slice_ref(segment))
        .collect()
}

fn not_found() -> Problem {
    let detail = "there is nothing at this path; /openapi.yaml lists the routes, \
                  and a slash inside a key is %2F";
    Problem::new(404, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &'static str) -> Result<Route, u16> {
        Route::parse(&Bytes::from_static(path.as_bytes())).map_err(|problem| problem.status)
    }

    #[test]
    fn a_name_is_decoded_and_may_hold_a_slash() {
        assert_eq!(route("/v1/keys/a%2Fb"), Ok(Route::Key("a/b".into())));
        assert_eq!(route("/v1/keys/ttl/ttl"), Ok(Route::Ttl("ttl".into())));
        assert_eq!(route("/v1/keys/"), Ok(Route::Key("".into())));
        assert_eq!(route("/v1/keys/%zz"), Err(400));
        let field = Route::HashField("a/b".into(), "c d".into());
        assert_eq!(route("/v1/hashes/a%2Fb/c%20d"), Ok(field));
    }

    #[test]
    fn what_is_not_there_is_404() {
        for path in [
            "/v1",
            "/v1/keys/a/b",
            "/v1/keys/a/b/c/d/e",
            "/v1/hashes/a/b/c",
            "/v1/streams/a",
            "///",
            "*",
        ] {
            assert_eq!(route(path), Err(404), "{path}");
        }
    }

    #[test]
    fn a_path_is_of_one_face() {
        let paths = ENDPOINTS
            .iter()
            .map(|(template, _)| template.replace(['{', '}'], ""));
        for path in paths.chain(["//get/a/b/c/d/e/f".into(), "//v1/keys".into()]) {
            let route = Route::parse(&path.clone().into()).expect("a route");
            let of_commands = matches!(
                route,
                Route::Pipeline
                    | Route::MultiExec
                    | Route::Subscribe(_)
                    | Route::Psubscribe(_)
                    | Route::Monitor
                    | Route::Command(_)
            );
            assert_eq!(is_of_command_face(path.as_bytes()), of_commands, "{path}");
        }
    }

    #[test]
    fn every_endpoint_is_a_route_with_its_own_methods() {
        for (template, methods) in ENDPOINTS {
            let path = template.replace(['{', '}'], "");
            let route = Route::parse(&path.into()).expect(template);
            assert_eq!(route.methods(), *methods, "{template}");
        }
    }
}
