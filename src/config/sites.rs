//! Settings of which sites may use the gateway, and by which names.

/// An entry of the list of sites whose pages may use the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Every site.
    Any,
    /// A site as browsers write it in `Origin`: scheme, host and, unless it is the default, port.
    Site(String),
}

pub(super) fn parse_origin(text: &str) -> Result<AllowedOrigin, String> {
    if text == "*" {
        return Ok(AllowedOrigin::Any);
    }
    let host = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match host {
        Some(host) if is_authority(host) => Ok(AllowedOrigin::Site(text.to_ascii_lowercase())),
        _ => {
            Err("an origin such as https://app.example.com, without a path, or * is wanted".into())
        }
    }
}

pub(super) fn parse_host(text: &str) -> Result<String, String> {
    if is_authority(text) && !text.contains(':') {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a DNS name such as redis.example.com, without a port, is wanted".into())
    }
}

/// Whether this can be a host with an optional port.
fn is_authority(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}
