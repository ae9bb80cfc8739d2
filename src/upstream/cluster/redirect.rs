//! What a node says instead of running a command: that it is for another node, or not yet possible. Nothing
//! ran then, so it may be sent again.

use crate::config::Address;
use crate::reply::{Reply, ServerError};

/// Where a command has to go instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// MOVED: to the node that has the slot now.
    Moved(Target),
    /// ASK: this once to another node, which has to be told ASKING before.
    Ask(Target),
    /// TRYAGAIN or CLUSTERDOWN: to the same node, later.
    Later,
}

/// A node that another one named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) slot: u16,
    /// `None` where only the port is known: the host is that of the node which named it.
    pub(super) host: Option<String>,
    pub(super) port: u16,
}

impl Redirect {
    /// What a reply says, if it is a redirection.
    pub(super) fn of(reply: &Reply) -> Option<Self> {
        let Reply::Error(error) = reply else {
            return None;
        };
        match error.code() {
            "MOVED" => target(error).map(Self::Moved),
            "ASK" => target(error).map(Self::Ask),
            "TRYAGAIN" | "CLUSTERDOWN" => Some(Self::Later),
            _ => None,
        }
    }

    /// Whether it holds for the moment only.
    pub(super) fn is_ask(&self) -> bool {
        matches!(self, Self::Ask(_))
    }

    /// Whether it can be meant for a command of this slot.
    pub(super) fn is_about(&self, slot: u16) -> bool {
        match self {
            Self::Moved(target) | Self::Ask(target) => target.slot == slot,
            Self::Later => true,
        }
    }
}

impl Target {
    /// The address, as seen by the node at another one.
    pub(super) fn seen_from(&self, node: &Address) -> Address {
        let host = self.host.as_ref().unwrap_or(&node.host);
        Address {
            host: host.clone(),
            port: self.port,
        }
    }
}

fn target(error: &ServerError) -> Option<Target> {
    let (slot, address) = error.detail().split_once(' ')?;
    let (host, port) = address.trim_end().rsplit_once(':')?;
    Some(Target {
        slot: slot.parse().ok()?,
        host: (!host.is_empty() && host != "?").then(|| host.to_owned()),
        port: port.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str, detail: &str) -> Option<Redirect> {
        Redirect::of(&Reply::Error(ServerError::new(code, detail)))
    }

    #[test]
    fn redirections_are_understood() {
        let target = |host: Option<&str>| Target {
            slot: 3999,
            host: host.map(str::to_owned),
            port: 6381,
        };
        let moved = of("MOVED", "3999 127.0.0.1:6381");
        assert_eq!(moved, Some(Redirect::Moved(target(Some("127.0.0.1")))));
        assert_eq!(
            of("ASK", "3999 ::1:6381"),
            Some(Redirect::Ask(target(Some("::1"))))
        );
        assert_eq!(
            of("MOVED", "3999 :6381"),
            Some(Redirect::Moved(target(None)))
        );
        assert_eq!(
            of("MOVED", "3999 ?:6381"),
            Some(Redirect::Moved(target(None)))
        );
        assert_eq!(of("TRYAGAIN", "Multiple keys"), Some(Redirect::Later));
        for wrong in ["", "x", "1 x", "1 x:y", "-1 x:1", "1 x:70000"] {
            assert_eq!(of("MOVED", wrong), None, "{wrong}");
        }
        assert_eq!(of("ERR", "MOVED 3999 127.0.0.1:6381"), None);
    }
}
