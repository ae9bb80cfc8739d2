//! A master that Sentinels watch: they are asked where it is each time a connection is made, and what they
//! say is checked, because one that was cut off does not know of the last failover. Between times one of them
//! is asked again and again: for seconds after a failover the old master takes writes that will be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::{RedisResult, Value};
use tokio::sync::watch;

use super::connector::BUSY;
use super::failover::FailoverWatch;
use super::failure::Failure;
use super::role;
use super::server::{RedisServer, login};
use super::transport::{Stream, ask, unusable, wrong};
use crate::config::{Address, Sentinels};

/// How often a Sentinel is asked whether the master has moved.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sentinels, and which of them to ask first.
pub(super) struct Sentinel {
    group: Sentinels,
    /// How long each may take to answer.
    patience: Duration,
    /// The last one that knew; the one behind it if that was of no help, or was asked until time was up.
    first: AtomicUsize,
    /// Where the master was when somebody last looked.
    master: watch::Sender<Option<Address>>,
}

impl Sentinel {
    pub(super) fn new(group: Sentinels, connect_timeout: Duration) -> Self {
        // So that all can be asked in the time there is, and some is left for the master.
        let shares = u32::try_from(group.addresses.len() + 1).unwrap_or(u32::MAX);
        Self {
            patience: connect_timeout / shares,
            group,
            first: AtomicUsize::new(0),
            master: watch::Sender::new(None),
        }
    }

    /// A way to the master.
    pub(super) async fn open_master(
        &self,
        server: &RedisServer,
    ) -> RedisResult<(Stream, FailoverWatch)> {
        let count = self.group.addresses.len();
        let first = self.first.load(Ordering::Relaxed);
        let (mut refused, mut failures) = (None, Vec::new());
        for at in (first..first + count).map(|at| at % count) {
            let mut next = Next {
                first: &self.first,
                at: (at + 1) % count,
            };
            let sentinel = &self.group.addresses[at];
            match self.follow(sentinel, server).await {
                Ok(found) => {
                    next.at = at;
                    return Ok(found);
                }
                Err(error) => {
                    let error = server.without_secrets(error);
                    tracing::debug!(%sentinel, %error, "a Sentinel was of no help");
                    failures.push(format!("{sentinel}: {error}"));
                    refused = refused.or(error.code().is_some().then_some(error));
                }
            }
        }
        // What a master says is for those who wanted to get there.
        Err(refused.unwrap_or_else(|| wrong(failures.join("; "))))
    }

    /// Goes where one of them says.
    async fn follow(
        &self,
        sentinel: &Address,
        server: &RedisServer,
    ) -> RedisResult<(Stream, FailoverWatch)> {
        let asked = async {
            let mut stream = self.greet(sentinel, server).await?;
            self.ask(&mut stream, server).await
        };
        // Its refusal is none of the master's.
        let no_help = |error| wrong(Failure::from(error).to_string());
        let mut master = self.master.subscribe();
        let address = self.in_time(asked).await.map_err(no_help)?;
        let elsewhere = async {
            while master.changed().await.is_ok() && master.borrow().as_ref() == Some(&address) {}
        };
        // A server that is gone may answer nothing at all.
        let stream = tokio::select! {
            stream = visit(&address, server) => stream?,
            () = elsewhere => return Err(wrong("another master was named meanwhile")),
        };
        self.found(&address);
        Ok((stream, self.failover(address)))
    }

    /// Looks whether the master has moved, for as long as the server is in use.
    pub(super) async fn watch(server: std::sync::Weak<RedisServer>) {
        let mut to_sentinel = None;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(server) = server.upgrade() else {
                return;
            };
            let Some(sentinel) = server.sentinel() else {
                return;
            };
            to_sentinel = sentinel.look(&server, to_sentinel).await;
        }
    }

    /// Asks a Sentinel once, over a stream of an earlier time if there is one; gives it back if it is good.
    async fn look(&self, server: &Arc<RedisServer>, stream: Option<Stream>) -> Option<Stream> {
        let at = self.first.load(Ordering::Relaxed);
        let asked = self.in_time(async {
            let mut stream = match stream {
                Some(stream) => stream,
                None => self.greet(&self.group.addresses[at], server).await?,
            };
            let address = self.ask(&mut stream, server).await?;
            Ok((stream, address))
        });
        let Ok((stream, address)) = asked.await else {
            // The next one may know more.
            self.first
                .store((at + 1) % self.group.addresses.len(), Ordering::Relaxed);
            return None;
        };
        let has_moved = self.master.borrow().as_ref() != Some(&address);
        if has_moved && self.in_time(visit(&address, server)).await.is_ok() {
            self.found(&address);
        }
        Some(stream)
    }

    /// What tells when the master is no longer here.
    fn failover(&self, here: Address) -> FailoverWatch {
        let mut master = self.master.subscribe();
        FailoverWatch::until(async move {
            let elsewhere =
                |master: &Option<Address>| master.as_ref().is_some_and(|at| *at != here);
            master.wait_for(elsewhere).await.map(drop)
        })
    }

    /// What tells when another master is named than at the moment.
    pub(super) fn news(&self) -> FailoverWatch {
        let mut master = self.master.subscribe();
        FailoverWatch::until(async move { master.changed().await })
    }

    fn found(&self, address: &Address) {
        self.master.send_if_modified(|master| {
            let has_moved = master.as_ref() != Some(address);
            if has_moved {
                tracing::info!(%address, "the Sentinels name this master");
                *master = Some(address.clone());
            }
            has_moved
        });
    }

    async fn in_time<T>(&self, asked: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let late = || Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        let done = tokio::time::timeout(self.patience, asked).await;
        done.unwrap_or_else(|_| late())
    }

    /// A way to one of them.
    async fn greet(&self, sentinel: &Address, server: &RedisServer) -> RedisResult<Stream> {
        let mut stream = server.reach(sentinel).await?;
        if let Some(login) = self.login() {
            ask(&mut stream, &login).await?.extract_error()?;
        }
        Ok(stream)
    }

    /// Where one of them says that the master is.
    async fn ask(&self, stream: &mut Stream, server: &RedisServer) -> RedisResult<Address> {
        let mut question = redis::cmd("SENTINEL");
        question
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.group.master);
        let mut answer = ask(stream, &question).await?;
        if let (Value::ServerError(error), None) = (&answer, self.login())
            && error.code() == "NOAUTH"
            && let Some(login) = server.login()
        {
            ask(stream, &login).await?.extract_error()?;
            answer = ask(stream, &question).await?;
        }
        match answer.extract_error()? {
            Value::Nil => Err(wrong("it knows no master of this name")),
            answer => {
                let (host, port) = redis::from_redis_value(answer)?;
                Ok(Address { host, port })
            }
        }
    }

    fn login(&self) -> Option<redis::Cmd> {
        login(&self.group.username, self.group.password.as_ref())
    }
}

/// Which Sentinel is to be asked first, set when this is dropped: the deadline is outside. Not before, or those who ask
/// at the same moment, as all do after a failover, would each ask another one, which may not have heard of it.
struct Next<'a> {
    first: &'a AtomicUsize,
    at: usize,
}

impl Drop for Next<'_> {
    fn drop(&mut self) {
        self.first.store(self.at, Ordering::Relaxed);
    }
}

/// A way to a server that says of itself that it is a master.
async fn visit(address: &Address, server: &RedisServer) -> RedisResult<Stream> {
    let mut stream = server.reach(address).await?;
    match role::is_master(&server.ask_role(&mut stream).await?) {
        Ok(true) => Ok(stream),
        Ok(false) => Err(wrong("the server that it names is no master")),
        // Whoever may not ask has to believe the Sentinel, and who asks a server that a script keeps busy.
        Err(error) if matches!(error.code(), "NOPERM" | BUSY) => Ok(stream),
        Err(error) => Err(unusable(error)),
    }
}
