//! What a request is for: its target, and the authority in it.

use bytes::{Buf, Bytes};

use crate::http::problem::Problem;

/// RFC 9112, 3.2: origin-form, absolute-form, or the asterisk of OPTIONS.
pub(super) struct Target {
    pub(super) path: Bytes,
    pub(super) query: Bytes,
    pub(super) authority: Option<Bytes>,
}

impl Target {
    pub(super) fn parse(target: &Bytes, options: bool) -> Result<Self, Problem> {
        let mut authority = None;
        let mut rest = target.clone();
        if !target.starts_with(b"/") {
            if options && &target[..] == b"*" {
                return Ok(Self {
                    path: rest,
                    query: Bytes::new(),
                    authority,
                });
            }
            let lower = target.to_ascii_lowercase();
            let scheme = [&b"http://"[..], b"https://"];
            let Some(scheme) = scheme.iter().find(|scheme| lower.starts_with(scheme)) else {
                let detail = "the request target must be a path that begins with a slash";
                return Err(Problem::new(400, detail));
            };
            rest.advance(scheme.len());
            let end = rest.iter().position(|&b| b == b'/' || b == b'?');
            let host = rest.split_to(end.unwrap_or(rest.len()));
            check_authority(&host)?;
            authority = Some(host);
        }
        let end = memchr::memchr(b'?', &rest).unwrap_or(rest.len());
        let path = rest.split_to(end);
        rest.advance(usize::from(!rest.is_empty()));
        Ok(Self {
            path: if path.is_empty() {
                Bytes::from_static(b"/")
            } else {
                path
            },
            query: rest,
            authority,
        })
    }
}

pub(super) fn check_authority(host: &[u8]) -> Result<(), Problem> {
    let sane = |b: &u8| b.is_ascii_alphanumeric() || b"-._:[]%".contains(b);
    if host.iter().all(sane) {
        Ok(())
    } else {
        Err(Problem::new(
            400,
            "the host of the request is not a valid one",
        ))
    }
}
