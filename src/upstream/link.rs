//! The shared connection for commands, and the task that keeps it.
//!
//! The task connects, publishes the connection, waits until it ends or is suspected, and connects again with
//! growing pauses. Whoever sends takes the connection that is there; while there is none, nothing is sent
//! and the caller is told at once. Where a server lets the gateway in no further than to an error, because a script keeps
//! it busy or its password is another, that error is what the caller is told.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::command_table::CommandTable;
use super::connector::{BUSY, Connector, Driver, Piped};
use super::failover::FailoverWatch;
use super::failure::{Failure, LastWords};
use super::pipe::Pipe;
use super::transport::wrong;
use super::{Outcome, reconnect_pauses};
use crate::error::Error;
use crate::reply::Reply;

/// How long a replaced connection may go on answering what was sent over it.
const GRACE: Duration = Duration::from_secs(60);

/// A connection that ends sooner than this is not replaced at once, or a server that takes connections only
/// to close them would keep the gateway busy.
const SHORT_LIFE: Duration = Duration::from_millis(200);

/// How long after a server has said that it is busy it is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// A connection that was there a moment ago.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) pipe: Pipe,
    /// Counts the connections of this link, so that a late complaint does not hit the next one.
    pub(super) number: u64,
}

/// What there is at a moment.
#[derive(Debug)]
enum Current {
    Live(Live),
    Nothing(Failure),
}

impl Current {
    fn live(&self) -> Option<&Live> {
        match self {
            Self::Live(live) => Some(live),
            Self::Nothing(_) => None,
        }
    }
}

fn look(current: &RwLock<Current>) -> RwLockReadGuard<'_, Current> {
    current.read().unwrap_or_else(PoisonError::into_inner)
}

/// The connection of the moment. Dropping this ends the keeper.
#[derive(Debug)]
pub(super) struct Link {
    current: Arc<RwLock<Current>>,
    /// Whether the first attempt to connect is over.
    tried: watch::Receiver<bool>,
    complaints: Complaints,
}

/// Numbers of connections that did not answer.
#[derive(Debug, Clone)]
pub(super) struct Complaints {
    suspects: mpsc::Sender<u64>,
}

impl Link {
    /// Starts the keeper. What the server says of its commands goes to `command_table`, if it is to be asked. The links
    /// to one server share `last_words`, so that what is so for all of them is logged once.
    pub(super) fn start(
        connector: Connector,
        connect_timeout: Duration,
        command_table: Option<Arc<CommandTable>>,
        last_words: Arc<LastWords>,
    ) -> Self {
        let nothing = Current::Nothing(wrong("nothing has been tried yet").into());
        let current = Arc::new(RwLock::new(nothing));
        // One complaint is enough; more of them are dropped.
        let (suspects, complaints) = mpsc::channel(1);
        let (tell_tried, tried) = watch::channel(false);
        let keeper = Keeper {
            connector,
            connect_timeout,
            command_table,
            last_words,
            current: Arc::clone(&current),
            complaints,
            tried: tell_tried,
        };
        tokio::spawn(keeper.run());
        Self {
            current,
            tried,
            complaints: Complaints { suspects },
        }
    }

    /// Resolves when the first attempt to connect has succeeded or failed.
    pub(super) async fn tried(&self) {
        // An error means that the keeper is gone, which shows at the first command.
        let _ = self.tried.clone().wait_for(|tried| *tried).await;
    }

    /// The connection, if there is one.
    pub(super) fn live(&self) -> Option<Live> {
        look(&self.current).live().cloned()
    }

    /// The number of the connection, if there is one.
    pub(super) fn number(&self) -> Option<u64> {
        look(&self.current).live().map(|live| live.number)
    }

    /// What becomes of a command for which there is no connection.
    pub(super) fn unsent(&self) -> Outcome {
        match &*look(&self.current) {
            Current::Nothing(failure) => failure.unsent(),
            // It has come about this moment: too late for who has looked before.
            Current::Live(_) => Err(Error::Unreachable),
        }
    }

    /// The way to the keeper for those who wait for replies.
    pub(super) fn complaints(&self) -> Complaints {
        self.complaints.clone()
    }
}

impl Complaints {
    /// Tells the keeper that a connection of this number did not answer; it makes another.
    pub(super) fn suspect(&self, number: u64) {
        // Full: the keeper has been told.
        let _ = self.suspects.try_send(number);
    }
}

struct Keeper {
    connector: Connector,
    connect_timeout: Duration,
    command_table: Option<Arc<CommandTable>>,
    last_words: Arc<LastWords>,
    current: Arc<RwLock<Current>>,
    complaints: mpsc::Receiver<u64>,
    tried: watch::Sender<bool>,
}

/// How the time of a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It broke.
    Broken,
    /// It is suspected, or leads to the wrong server.
    Replaced,
    /// The link was dropped.
    Unwanted,
}

impl Keeper {
    async fn run(mut self) {
        let mut number = 0;
        let mut pauses = reconnect_pauses();
        loop {
            // Not later, or what comes during the attempt would be missed.
            let mut news = self.connector.news();
            let connected = tokio::time::timeout(self.connect_timeout, self.connect()).await;
            let pause = match connected {
                Ok(Ok(connected)) => {
                    if self.last_words.are_not("connected") {
                        tracing::info!(upstream = %self.connector, "connected");
                    }
                    let since = Instant::now();
                    number += 1;
                    pauses = reconnect_pauses();
                    let end = self.keep(connected, number).await;
                    if end == End::Unwanted {
                        return;
                    }
                    if self.last_words.are_not("ended") {
                        tracing::warn!(upstream = %self.connector, "the connection ended");
                    }
                    if since.elapsed() < SHORT_LIFE {
                        SHORT_LIFE
                    } else {
                        Duration::ZERO
                    }
                }
                failed => {
                    let failure = match failed {
                        Ok(Err(failure)) => failure,
                        _ => self.connector.late().into(),
                    };
                    let is_busy = matches!(failure, Failure::Busy(_));
                    self.give_up(failure);
                    if is_busy {
                        pauses = reconnect_pauses();
                        BUSY_PAUSE
                    } else {
                        // The pauses never end.
                        pauses.next().unwrap_or(self.connect_timeout)
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = news.moved() => {}
                () = self.unwanted() => return,
            }
        }
    }

    /// Publishes a connection for as long as it is good.
    async fn keep(&mut self, connected: Piped, number: u64) -> End {
        let Piped {
            pipe,
            mut driver,
            mut failover,
        } = connected;
        self.publish(Current::Live(Live { pipe, number }));
        self.tried.send_replace(true);
        let end = self.until_broken(&mut driver, &mut failover, number).await;
        let nothing = Failure::from(wrong("the connection ended"));
        self.publish(Current::Nothing(nothing));
        if end != End::Broken {
            tokio::spawn(async move { tokio::time::timeout(GRACE, driver.ended()).await });
        }
        end
    }

    /// Has everybody told why there is no connection.
    fn give_up(&self, failure: Failure) {
        if self.last_words.are_not(&failure.to_string()) {
            tracing::warn!(upstream = %self.connector, %failure, "cannot connect");
        } else {
            tracing::debug!(upstream = %self.connector, "it is still so");
        }
        self.publish(Current::Nothing(failure));
        self.tried.send_replace(true);
    }

    /// A connection that has answered once.
    async fn connect(&self) -> Result<Piped, Failure> {
        let connected = self.connector.pipe().await?;
        let probe = self.connector.probe();
        match connected.pipe.ask(&probe, self.connect_timeout).await {
            // Who may not send a PING is known, and may send other things.
            Ok(Reply::Error(error)) if error.code() != "NOPERM" => Err(error.into()),
            Ok(_) => {
                self.learn(&connected.pipe).await?;
                Ok(connected)
            }
            Err(error) => {
                // It took the connection and dropped it at a sound command.
                self.connector.report_fault();
                Err(error.into())
            }
        }
    }

    /// Asks the server what commands it has. One that does not tell is served all the same.
    async fn learn(&self, pipe: &Pipe) -> Result<(), Failure> {
        if let (Some(command_table), Some(question)) =
            (&self.command_table, self.connector.command_table())
        {
            match pipe.ask(&question, self.connect_timeout).await? {
                // What is known of it holds until it can be asked.
                Reply::Error(error) if error.code() == BUSY => return Err(error.into()),
                table => command_table.learn(&table),
            }
        }
        Ok(())
    }

    fn publish(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// Waits until the connection is no longer to be used.
    async fn until_broken(
        &mut self,
        driver: &mut Driver,
        failover: &mut FailoverWatch,
        number: u64,
    ) -> End {
        loop {
            tokio::select! {
                () = driver.ended() => return End::Broken,
                () = failover.moved() => return End::Replaced,
                complaint = self.complaints.recv() => match complaint {
                    Some(suspect) if suspect == number => return End::Replaced,
                    Some(_) => {}
                    None => return End::Unwanted,
                },
            }
        }
    }

    /// Resolves when the link has been dropped.
    async fn unwanted(&mut self) {
        // What is complained of is gone already.
        while self.complaints.recv().await.is_some() {}
    }
}
