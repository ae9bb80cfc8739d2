//! A master that Sentinels watch: they are asked where it is each time a connection is made, and what they
//! say is checked, because one that was cut off does not know of the last failover.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::{ErrorKind, RedisError, RedisResult, Value};

use super::server::{RedisServer, login};
use super::stream::{Stream, ask};
use crate::config::{Address, Sentinels};

/// Sentinels, and which of them to ask first.
pub(super) struct Sentinel {
    group: Sentinels,
    /// How long each may take to answer.
    patience: Duration,
    /// The last one that knew. While one is being asked it is the next, so that giving up halfway (the
    /// deadline is outside) leads to another one.
    first: AtomicUsize,
}

impl Sentinel {
    pub(super) fn new(group: Sentinels, connect_timeout: Duration) -> Self {
        // So that all can be asked in the time there is, and some is left for the master.
        let shares = u32::try_from(group.addresses.len() + 1).unwrap_or(u32::MAX);
        Self {
            patience: connect_timeout / shares,
            group,
            first: AtomicUsize::new(0),
        }
    }

    /// A way to the master.
    pub(super) async fn open_master(&self, server: &RedisServer) -> RedisResult<Stream> {
        let count = self.group.addresses.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut failure = None;
        for at in (first..first + count).map(|at| at % count) {
            self.first.store((at + 1) % count, Ordering::Relaxed);
            let sentinel = &self.group.addresses[at];
            match self.follow(sentinel, server).await {
                Ok(stream) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(stream);
                }
                Err(error) => {
                    let error = server.without_secrets(error);
                    tracing::debug!(%sentinel, %error, "a Sentinel was of no help");
                    failure = Some(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| (ErrorKind::InvalidClientConfig, "no Sentinels").into()))
    }

    /// Goes where one of them says.
    async fn follow(&self, sentinel: &Address, server: &RedisServer) -> RedisResult<Stream> {
        let asked = tokio::time::timeout(self.patience, self.ask(sentinel, server)).await;
        let Ok(answer) = asked else {
            return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        };
        let mut stream = server.reach(&answer?).await?;
        if let Some(login) = server.login() {
            let let_in = ask(&mut stream, &login).await?;
            let_in.extract_error()?;
        }
        if is_master(ask(&mut stream, &redis::cmd("ROLE")).await?)? {
            Ok(stream)
        } else {
            Err(unexpected("the server that a Sentinel named is no master"))
        }
    }

    /// What one of them says.
    async fn ask(&self, sentinel: &Address, server: &RedisServer) -> RedisResult<Address> {
        let mut stream = server.reach(sentinel).await?;
        let group = &self.group;
        let of_their_own = login(&group.username, group.password.as_ref());
        if let Some(login) = &of_their_own {
            ask(&mut stream, login).await?.extract_error()?;
        }
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&group.master);
        let mut answer = ask(&mut stream, &question).await?;
        if let (Value::ServerError(error), None) = (&answer, of_their_own)
            && error.code() == "NOAUTH"
            && let Some(login) = server.login()
        {
            ask(&mut stream, &login).await?.extract_error()?;
            answer = ask(&mut stream, &question).await?;
        }
        match answer.extract_error()? {
            Value::Nil => Err(unexpected("no Sentinel knows a master of this name")),
            answer => {
                let (host, port) = redis::from_redis_value(answer)?;
                Ok(Address { host, port })
            }
        }
    }
}

/// Whether what a server says of its role is that it is a master.
fn is_master(role: Value) -> RedisResult<bool> {
    match role {
        // Whoever may not ask has to believe the Sentinel.
        Value::ServerError(error) if error.code() == "NOPERM" => Ok(true),
        Value::Array(parts) => match parts.into_iter().next() {
            Some(Value::BulkString(role)) => Ok(role == b"master"),
            _ => Ok(false),
        },
        other => other.extract_error().map(|_| false),
    }
}

fn unexpected(what: &'static str) -> RedisError {
    (ErrorKind::UnexpectedReturnType, what).into()
}
