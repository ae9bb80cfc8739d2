//! The embedded mini-redis: run inside this process on a loopback port of its own, supervised, and kept from
//! what it cannot take.
//!
//! mini-redis 0.4 drops the connection, and with it every command under way on it, at a key that is not
//! UTF-8 or a SET it does not know; an expiry that overflows panics with its store's lock held, after which
//! every command fails. [`admit`] lets none of these through. A server that dies all the same is started
//! anew, without its data.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use crate::command::Command;
use crate::error::Error;

/// The bounds of an expiry that mini-redis computes safely.
const EXPIRY: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The running server; clones name the same one.
#[derive(Debug, Clone)]
pub struct Embedded {
    address: Arc<Mutex<SocketAddr>>,
    /// Told when the server did not answer as a sound one would.
    fault: Arc<Notify>,
    /// Why the server is gone for good, once it is.
    failure: watch::Receiver<Option<String>>,
}

impl Embedded {
    /// Starts a server on a free loopback port, and the task that supervises it.
    pub(super) async fn start() -> std::io::Result<Self> {
        let (listener, bound) = bind().await?;
        let address = Arc::new(Mutex::new(bound));
        let fault = Arc::new(Notify::new());
        let (failed, failure) = watch::channel(None);
        tokio::spawn(supervise(
            listener,
            Arc::clone(&address),
            Arc::clone(&fault),
            failed,
        ));
        Ok(Self {
            address,
            fault,
            failure,
        })
    }

    /// Where it listens at the moment.
    pub(super) fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the server replaced.
    pub(super) fn report_fault(&self) {
        self.fault.notify_one();
    }

    /// Resolves with the reason when the server could not be started anew.
    pub(super) async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The supervisor ends only with its runtime.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn bind() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    // mini-redis leaves Nagle's algorithm on, which holds a small message back until the one before it has
    // been acknowledged, up to 40 ms. The connections that a socket accepts inherit this from it.
    socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn supervise(
    mut listener: TcpListener,
    address: Arc<Mutex<SocketAddr>>,
    fault: Arc<Notify>,
    failed: watch::Sender<Option<String>>,
) {
    loop {
        let forever = std::future::pending::<()>();
        let mut server = tokio::spawn(mini_redis::server::run(listener, forever));
        tokio::select! {
            _ = &mut server => {}
            () = fault.notified() => {
                // Ending the task ends its connections too.
                server.abort();
                let _ = server.await;
            }
        }
        tracing::error!("the embedded server died; a new, empty one takes its place");
        listener = match bind().await {
            Ok((listener, bound)) => {
                *address.lock().unwrap_or_else(PoisonError::into_inner) = bound;
                listener
            }
            Err(error) => {
                let reason = format!("the embedded server cannot be started anew: {error}");
                // Nobody listens any more: the gateway is going down.
                let _ = failed.send(Some(reason));
                return;
            }
        };
    }
}

/// Whether mini-redis can take a command.
///
/// # Errors
/// [`Error::Unsupported`] for a command or option it does not have, [`Error::Refused`] for arguments that
/// would bring its connection or itself down.
pub fn admit(command: &Command) -> Result<(), Error> {
    let args = command.args();
    match (command.name(), args) {
        ("GET", [key]) | ("SET", [key, _]) => admit_text("key", key),
        ("SET", [key, _, option, time]) if &option[..] == b"EX" || &option[..] == b"PX" => {
            admit_text("key", key)?;
            admit_expiry(option, time)
        }
        ("PUBLISH", [channel, _]) => admit_text("channel", channel),
        ("SET", [_, _, options @ ..]) if !options.is_empty() => {
            // Behind an expiry, which it has, stands what it has not.
            let option = match options {
                [expiry, _, other, ..] if matches!(&expiry[..], b"EX" | b"PX") => other,
                [option, ..] => option,
                [] => return Err(unsupported("SET")),
            };
            let option = String::from_utf8_lossy(option);
            Err(unsupported(&format!("SET with {option}")))
        }
        (name @ ("GET" | "SET" | "PUBLISH"), _) => {
            let message = format!("wrong number of arguments for '{name}' command");
            Err(Error::Refused(message))
        }
        (name, _) => Err(unsupported(name)),
    }
}

/// Whether mini-redis can take a key or channel: it must be UTF-8.
pub(super) fn admit_text(what: &str, name: &[u8]) -> Result<(), Error> {
    match std::str::from_utf8(name) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Refused(format!(
            "this {what} is not UTF-8, which the embedded engine (mini-redis) cannot take; \
             a Redis server can: start the gateway with --upstream redis://host:6379"
        ))),
    }
}

fn admit_expiry(option: &[u8], time: &[u8]) -> Result<(), Error> {
    let count = std::str::from_utf8(time)
        .ok()
        .and_then(|time| time.parse().ok());
    let time = count.map(|count| match option {
        b"EX" => Duration::from_secs(count),
        _ => Duration::from_millis(count),
    });
    match time {
        Some(time) if EXPIRY.contains(&time) => Ok(()),
        _ => Err(Error::Refused(
            "the expiry must be from 1 ms to 10 years with the embedded engine (mini-redis)".into(),
        )),
    }
}

/// The error for a command or option that mini-redis does not have.
pub(super) fn unsupported(what: &str) -> Error {
    Error::Unsupported(format!(
        "the embedded engine (mini-redis) has GET, SET (with EX or PX), PUBLISH and SUBSCRIBE only, and \
         not {what}; to use a Redis server, start the gateway with --upstream redis://host:6379"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    type Cases<'a> = [(&'static str, &'a [&'static [u8]])];

    fn command(name: &'static str, args: &[&'static [u8]]) -> Command {
        args.iter().fold(Command::new(name), |command, arg| {
            command.arg(Bytes::from_static(arg))
        })
    }

    #[test]
    fn what_mini_redis_has_passes() {
        let cases: &Cases<'_> = &[
            ("GET", &[b"key"]),
            ("GET", &["ключ 🔑".as_bytes()]),
            ("SET", &[b"key", b"\x00\xFF any bytes"]),
            ("SET", &[b"key", b"", b"EX", b"60"]),
            ("SET", &[b"key", b"", b"PX", b"1"]),
            ("SET", &[b"key", b"", b"EX", b"315360000"]),
            ("PUBLISH", &[b"channel", b"\xFF"]),
        ];
        for (name, args) in cases {
            assert_eq!(admit(&command(name, args)), Ok(()), "{name} {args:?}");
        }
    }

    #[test]
    fn what_would_bring_it_down_is_refused() {
        let cases: &Cases<'_> = &[
            ("GET", &[b"\xFF"]),
            ("GET", &[]),
            ("GET", &[b"a", b"b"]),
            ("SET", &[b"\xFF", b"value"]),
            ("SET", &[b"key"]),
            ("SET", &[b"key", b"value", b"EX", b"9223372036854775807"]),
            ("SET", &[b"key", b"value", b"EX", b"315360001"]),
            ("SET", &[b"key", b"value", b"EX", b"99999999999999999999"]),
            ("SET", &[b"key", b"value", b"PX", b"0"]),
            ("SET", &[b"key", b"value", b"PX", b"-1"]),
            ("SET", &[b"key", b"value", b"PX", b"soon"]),
            ("PUBLISH", &[b"\xC0", b"message"]),
        ];
        for (name, args) in cases {
            let admitted = admit(&command(name, args));
            assert!(
                matches!(admitted, Err(Error::Refused(_))),
                "{name} {args:?}: {admitted:?}"
            );
        }
    }

    #[test]
    fn what_it_lacks_is_unsupported() {
        let cases: &Cases<'_> = &[
            ("DEL", &[b"key"]),
            ("PING", &[]),
            ("SET", &[b"key", b"value", b"NX"]),
            ("SET", &[b"key", b"value", b"EX", b"60", b"NX"]),
            ("SET", &[b"key", b"value", b"KEEPTTL"]),
        ];
        for (name, args) in cases {
            let admitted = admit(&command(name, args));
            assert!(
                matches!(admitted, Err(Error::Unsupported(_))),
                "{name} {args:?}: {admitted:?}"
            );
        }
    }
}
