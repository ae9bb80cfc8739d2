//! The servers that are compared, all in front of one Redis.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::common::folder::folder;
use super::common::process::{Process, free_address};
use super::common::{gateway, nginx, redis};
use super::relay::Relay;
use super::work;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Gateway,
    Webdis {
        threads: usize,
    },
    Nginx,
    /// nginx that answers at once and has nothing behind it: no competitor, but what `wrk` and this machine let
    /// through.
    Constant,
}

/// The gateway first; Webdis' own default is four threads.
const KINDS: [Kind; 5] = [
    Kind::Gateway,
    Kind::Webdis { threads: 1 },
    Kind::Webdis { threads: 4 },
    Kind::Nginx,
    Kind::Constant,
];

impl Kind {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Gateway => "gateway".into(),
            Self::Webdis { threads } => format!("webdis-{threads}"),
            Self::Nginx => "nginx-lua".into(),
            Self::Constant => "nginx-alone".into(),
        }
    }

    /// Starts one.
    pub(crate) fn start(self, upstream: SocketAddr) -> Process {
        match self {
            Self::Gateway => gateway::start(upstream, &[]),
            Self::Webdis { threads } => webdis(upstream, threads),
            Self::Nginx => lua(upstream),
            Self::Constant => nginx::start("constant", include_str!("constant.conf")),
        }
    }

    /// Whether it does what the gateway does, so that the two can be compared.
    pub(crate) fn is_peer(self) -> bool {
        !matches!(self, Self::Gateway | Self::Constant)
    }
}

/// Whether a server is among those of these names, or all are meant.
pub(crate) fn wanted(kind: Kind, names: &[String]) -> bool {
    names.is_empty() || names.contains(&kind.name())
}

/// All servers and their Redis, which is ended behind them.
pub(crate) struct Site {
    pub(crate) servers: Vec<(Kind, Process)>,
    pub(crate) redis: Process,
    relay: Option<Relay>,
}

impl Site {
    /// Starts a Redis with the data of the work, this far away, and the servers of these names before it, or
    /// all.
    pub(crate) fn start(away: Duration, names: &[String]) -> Self {
        let redis = redis::start();
        redis::fill(redis.address, work::data());
        let relay = (!away.is_zero()).then(|| Relay::start(redis.address, away / 2));
        let upstream = relay.as_ref().map_or(redis.address, Relay::address);
        let kinds = KINDS.into_iter().filter(|kind| wanted(*kind, names));
        let servers = kinds.map(|kind| (kind, kind.start(upstream)));
        Self {
            servers: servers.collect(),
            redis,
            relay,
        }
    }

    /// Where its servers find Redis.
    pub(crate) fn upstream(&self) -> SocketAddr {
        match &self.relay {
            Some(relay) => relay.address(),
            None => self.redis.address,
        }
    }
}

/// Webdis with its defaults, but that it logs nothing.
fn webdis(upstream: SocketAddr, threads: usize) -> Process {
    let address = free_address();
    let configuration = format!(
        r#"{{"redis_host": "127.0.0.1", "redis_port": {}, "http_host": "127.0.0.1", "http_port": {},
"threads": {threads}, "daemonize": false, "verbosity": 0, "logfile": "/dev/null"}}"#,
        upstream.port(),
        address.port()
    );
    let file = folder(&format!("webdis-{threads}")).join("webdis.json");
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new("webdis");
    command.arg(file).stderr(Stdio::null());
    Process::start(&mut command, address)
}

/// nginx with one worker, and a pool of connections to Redis.
fn lua(upstream: SocketAddr) -> Process {
    let configuration = include_str!("nginx.conf")
        .replace("{lua}", nginx::LUA)
        .replace("{redis port}", &upstream.port().to_string());
    nginx::start("lua", &configuration)
}
