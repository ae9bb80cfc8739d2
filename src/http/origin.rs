//! Keeping other sites out: which hosts and origins may use the gateway, and the CORS headers of those that
//! may (the Fetch standard, "HTTP extensions").
//!
//! A page anywhere can send requests to 127.0.0.1, and by DNS rebinding read the answers under a name of its
//! own. So a request must be addressed to an IP address, to localhost or to a configured name, and one that
//! a browser marks as another site's is refused unless that site is allowed. Where a token is asked for, none
//! of that is needed: another site has none. But a password goes along by itself, so for that the site counts.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use tiny_http::Method;

use super::problem::Problem;
use super::request::Request;
use super::response::Response;
use crate::config::{AllowedOrigin, Config};

/// The rules of this gateway.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    hosts: Vec<String>,
    origins: Vec<AllowedOrigin>,
}

/// What a response must say so that a page of an allowed site may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cors {
    /// No site may.
    None,
    /// Other sites may, but this is not one of them, or none was named. A cache must know that.
    Withheld,
    /// Every site may read it.
    Any,
    /// This site may, with credentials.
    Site(String),
}

/// What pages may read of a response's headers, besides the few that they always may.
const EXPOSED: &str = "Allow, ETag, Location, Retry-After, upstash-sync-token, X-Request-Id";

impl Guard {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            hosts: config.allow_host.clone(),
            origins: config.allow_origin.clone(),
        }
    }

    /// Lets a request through, or not, by where it goes and whence it comes.
    ///
    /// # Errors
    /// 403 with the setting that would allow it.
    pub(super) fn check(&self, request: &Request) -> Result<(), Problem> {
        if let Some(authority) = &request.authority {
            let host = host_of(authority);
            if !self.knows(host) {
                let host = String::from_utf8_lossy(host).to_ascii_lowercase();
                let detail = format!(
                    "this gateway is not known as {host:?}; if it should be, start it with --allow-host"
                );
                return Err(Problem::new(403, detail));
            }
        }
        self.check_site(request)
    }

    /// Lets a request through, or not, by the site that it comes from.
    ///
    /// # Errors
    /// 403 with the setting that would allow it.
    pub(super) fn check_site(&self, request: &Request) -> Result<(), Problem> {
        let allowed = matches!(self.cors(request), Cors::Any | Cors::Site(_));
        if allowed || is_same_origin(request) {
            return Ok(());
        }
        let site = request.headers.get("Sec-Fetch-Site");
        let foreign = matches!(site, Some(b"cross-site" | b"same-site"));
        match request.headers.get("Origin") {
            None if !foreign => Ok(()),
            None => Err(Problem::new(403, "this request comes from another site")),
            Some(origin) => {
                let detail = format!(
                    "pages of {:?} may not use this gateway; if they should, start it with --allow-origin",
                    String::from_utf8_lossy(origin)
                );
                Err(Problem::new(403, detail))
            }
        }
    }

    /// What the answer to a request must say to its origin, where that is an allowed one.
    pub(super) fn cors(&self, request: &Request) -> Cors {
        if self.origins.is_empty() {
            return Cors::None;
        }
        let Some(origin) = request.headers.text("Origin") else {
            return Cors::Withheld;
        };
        let origin = origin.to_ascii_lowercase();
        let named = |allowed: &AllowedOrigin| match allowed {
            AllowedOrigin::Any => false,
            AllowedOrigin::Site(site) => *site == origin,
        };
        if self.origins.iter().any(named) {
            Cors::Site(origin)
        } else if self.origins.contains(&AllowedOrigin::Any) {
            Cors::Any
        } else {
            Cors::Withheld
        }
    }

    fn knows(&self, host: &[u8]) -> bool {
        let is_named = |name: &str| host.eq_ignore_ascii_case(name.as_bytes());
        address_of(host).is_some()
            || is_named("localhost")
            || self.hosts.iter().any(|known| is_named(known))
    }
}

impl Cors {
    /// The response with the headers.
    pub(super) fn apply(&self, response: Response) -> Response {
        let response = match self {
            Self::None => return response,
            Self::Withheld => return response.header("Vary", "Origin"),
            Self::Any => response.header("Access-Control-Allow-Origin", "*"),
            Self::Site(site) => response
                .header("Access-Control-Allow-Origin", site.clone())
                .header("Access-Control-Allow-Credentials", "true"),
        };
        response
            .header("Access-Control-Expose-Headers", EXPOSED)
            .header("Vary", "Origin")
    }
}

/// Answers OPTIONS: what is allowed here, and a CORS preflight with it if that is what it is.
pub(super) fn options(request: &Request, allow: String) -> Response {
    let response = Response::new(204).header("Allow", allow.clone());
    if !is_preflight(request) {
        return response;
    }
    let asked = request.headers.text("Access-Control-Request-Headers");
    let asked = asked.filter(|names| {
        let sane = |b: u8| b.is_ascii_alphanumeric() || b"-_, ".contains(&b);
        names.len() < 1024 && names.bytes().all(sane)
    });
    let headers = asked.map_or(Cow::Borrowed("*"), |names| names.to_owned().into());
    response
        .header("Access-Control-Allow-Methods", allow)
        .header("Access-Control-Allow-Headers", headers)
        .header("Access-Control-Max-Age", "600")
}

/// Whether this asks only for leave (and needs no more than that).
pub(super) fn is_options(request: &Request) -> bool {
    request.method == Method::Options
}

/// Whether a browser asks for a page's leave by this (the Fetch standard, "CORS-preflight request"). It
/// never sends credentials with it.
pub(super) fn is_preflight(request: &Request) -> bool {
    let method = request.headers.get("Access-Control-Request-Method");
    is_options(request) && method.is_some()
}

/// Whether the page that sent this came from the gateway itself.
fn is_same_origin(request: &Request) -> bool {
    let origin = request.headers.text("Origin");
    let host = origin
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, host)| host);
    match (host, &request.authority) {
        (Some(host), Some(authority)) => host.as_bytes().eq_ignore_ascii_case(authority),
        _ => false,
    }
}

/// Whether a request is addressed to this machine itself, which is what browsers trust: to such addresses they
/// say where a request comes from.
pub(super) fn is_loopback(authority: &[u8]) -> bool {
    let host = host_of(authority);
    host.eq_ignore_ascii_case(b"localhost")
        || address_of(host).is_some_and(|address| address.is_loopback())
}

/// The address that a host is, if it is one: that of IPv6 in brackets.
fn address_of(host: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(host).ok()?;
    match text.strip_prefix('[') {
        Some(rest) => Some(rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into()),
        None => text.parse().ok(),
    }
}

/// The host of an authority, without its port.
fn host_of(authority: &[u8]) -> &[u8] {
    let port = memchr::memrchr(b':', authority);
    let bracket = memchr::memrchr(b']', authority).unwrap_or(0);
    match port.filter(|&colon| colon > bracket) {
        Some(colon) => &authority[..colon],
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let config = Config {
            allow_host: vec!["redis.example.com".into()],
            allow_origin: vec![AllowedOrigin::Site("https://app.example.com".into())],
            ..Config::default()
        };
        Guard::new(&config)
    }

    fn checked(headers: &[(&str, &str)]) -> Option<u16> {
        let request = Request::new(Method::Get, "/v1/keys/a");
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.with_header(name, value)
        });
        guard().check(&request).err().map(|problem| problem.status)
    }

    #[test]
    fn it_answers_to_addresses_and_known_names_only() {
        for host in [
            "127.0.0.1:8080",
            "localhost",
            "LOCALHOST:80",
            "[::1]:8080",
            "10.0.0.7",
            "redis.example.com",
        ] {
            assert_eq!(checked(&[("Host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8080",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert_eq!(checked(&[("Host", host)]), Some(403), "{host}");
        }
    }

    #[test]
    fn other_sites_are_refused() {
        let host = ("Host", "127.0.0.1:8080");
        for (name, value) in [
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Origin", "http://127.0.0.1:9999"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
        ] {
            assert_eq!(
                checked(&[host, (name, value)]),
                Some(403),
                "{name}: {value}"
            );
        }
        for (name, value) in [
            ("Origin", "http://127.0.0.1:8080"),
            ("Origin", "https://app.example.com"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Sec-Fetch-Site", "none"),
        ] {
            assert_eq!(checked(&[host, (name, value)]), None, "{name}: {value}");
        }
    }

    #[test]
    fn an_allowed_site_is_named_in_the_answer() {
        let request =
            Request::new(Method::Get, "/").with_header("Origin", "https://App.example.com");
        let response = guard().cors(&request).apply(Response::new(200));
        let allowed = (
            "Access-Control-Allow-Origin",
            "https://app.example.com".into(),
        );
        assert!(response.headers.contains(&allowed), "{response:?}");
        let evil = Request::new(Method::Get, "/").with_header("Origin", "https://evil.example");
        assert_eq!(guard().cors(&evil), Cors::Withheld);
    }
}
