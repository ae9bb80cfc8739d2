//! The shared connection for commands, and the task that keeps it.
//!
//! The task connects, publishes the connection, waits until it ends or is suspected, and connects again with
//! growing pauses. Whoever sends takes the connection that is there; while there is none, nothing is sent
//! and the caller is told at once.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::classes::Classes;
use super::connector::{Connected, Connector};
use super::sentinel::Lead;
use super::{pack, reconnect_pauses};
use crate::config::Config;
use crate::reply::Reply;

/// How long a replaced connection may go on answering what was sent over it.
const GRACE: Duration = Duration::from_secs(60);

/// A connection that ends sooner than this is not replaced at once, or a server that takes connections only
/// to close them would keep the gateway busy.
const SHORT_LIFE: Duration = Duration::from_millis(200);

/// A connection that was there a moment ago.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    /// Counts the connections of this link, so that a late complaint does not hit the next one.
    pub(super) number: u64,
}

/// The connection of the moment.
#[derive(Debug)]
pub(super) struct Link {
    current: Arc<RwLock<Option<Live>>>,
    classes: Arc<RwLock<Arc<Classes>>>,
    /// Numbers of connections that did not answer.
    suspects: mpsc::Sender<u64>,
}

impl Link {
    /// Starts the keeper. Returns once the first attempt to connect has succeeded or failed.
    pub(super) async fn start(connector: Connector, config: &Config) -> Self {
        let current = Arc::new(RwLock::new(None));
        let unknown = Classes::unknown(config.allow_command.clone());
        let classes = Arc::new(RwLock::new(Arc::new(unknown)));
        // One complaint is enough; more of them are dropped.
        let (suspects, complaints) = mpsc::channel(1);
        let (tried, first_try) = tokio::sync::oneshot::channel();
        let keeper = Keeper {
            connector,
            connect_timeout: config.connect_timeout,
            allow_command: config.allow_command.clone(),
            current: Arc::clone(&current),
            classes: Arc::clone(&classes),
            complaints,
        };
        tokio::spawn(keeper.run(tried));
        // An error means that the keeper is gone, which shows at the first command.
        let _ = first_try.await;
        Self {
            current,
            classes,
            suspects,
        }
    }

    /// The connection, if there is one.
    pub(super) fn live(&self) -> Option<Live> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// What is known of the server's commands.
    pub(super) fn classes(&self) -> Arc<Classes> {
        let classes = self.classes.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&classes)
    }

    /// Tells the keeper that a connection of this number did not answer; it makes another.
    pub(super) fn suspect(&self, number: u64) {
        // Full: the keeper has been told.
        let _ = self.suspects.try_send(number);
    }
}

struct Keeper {
    connector: Connector,
    connect_timeout: Duration,
    allow_command: Vec<String>,
    current: Arc<RwLock<Option<Live>>>,
    classes: Arc<RwLock<Arc<Classes>>>,
    complaints: mpsc::Receiver<u64>,
}

impl Keeper {
    async fn run(mut self, tried: tokio::sync::oneshot::Sender<()>) {
        let mut tried = Some(tried);
        let mut number = 0;
        let mut pauses = reconnect_pauses();
        loop {
            let connected = tokio::time::timeout(self.connect_timeout, self.connect()).await;
            let failure = match connected {
                Ok(Ok(connected)) => {
                    let Connected {
                        connection,
                        mut driver,
                        mut lead,
                    } = connected;
                    tracing::info!("connected to the upstream");
                    let since = tokio::time::Instant::now();
                    number += 1;
                    pauses = reconnect_pauses();
                    self.publish(Some(Live { connection, number }));
                    first_try_is_over(&mut tried);
                    let gone = self.until_broken(&mut driver, &mut lead, number).await;
                    self.publish(None);
                    if !gone {
                        let late = driver.abort_handle();
                        tokio::spawn(async move {
                            if tokio::time::timeout(GRACE, driver).await.is_err() {
                                late.abort();
                            }
                        });
                    }
                    tracing::warn!("the connection to the upstream ended");
                    if since.elapsed() < SHORT_LIFE {
                        tokio::time::sleep(SHORT_LIFE).await;
                    }
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            first_try_is_over(&mut tried);
            tracing::warn!(%failure, "cannot connect to the upstream");
            // The pauses never end.
            let pause = pauses.next().unwrap_or(self.connect_timeout);
            tokio::time::sleep(pause).await;
        }
    }

    /// A connection that has answered once.
    async fn connect(&self) -> redis::RedisResult<Connected> {
        let mut connected = self.connector.connect().await?;
        let probe = pack(&[self.connector.probe()]);
        let connection = &mut connected.connection;
        let answered = connection.send_packed_commands(&probe, 0, 1).await;
        let answered = answered.map(|replies| replies.into_iter().next());
        match answered {
            // Who may not send a PING is known, and may send other things.
            Ok(Some(redis::Value::ServerError(error))) if error.code() != "NOPERM" => {
                Err(error.into())
            }
            Ok(_) => {
                self.learn(connection).await?;
                Ok(connected)
            }
            Err(error) => {
                // It took the connection and dropped it at a sound command.
                self.connector.report_fault();
                Err(error)
            }
        }
    }

    /// Asks the server what commands it has. One that does not tell is served all the same.
    async fn learn(&self, connection: &mut MultiplexedConnection) -> redis::RedisResult<()> {
        let Some(question) = self.connector.command_table() else {
            return Ok(());
        };
        let replies = connection
            .send_packed_commands(&pack(&[question]), 0, 1)
            .await?;
        let reply = replies.into_iter().next().map_or(Reply::Nil, Reply::from);
        let classes = Classes::from_reply(&reply, self.allow_command.clone());
        *self.classes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(classes);
        Ok(())
    }

    fn publish(&self, live: Option<Live>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = live;
    }

    /// Waits until the connection has ended (`true`), or is suspected or to the wrong server (`false`).
    async fn until_broken(
        &mut self,
        driver: &mut JoinHandle<()>,
        lead: &mut Lead,
        number: u64,
    ) -> bool {
        loop {
            tokio::select! {
                _ = &mut *driver => return true,
                () = lead.moved() => return false,
                complaint = self.complaints.recv() => match complaint {
                    Some(suspect) if suspect == number => return false,
                    Some(_) => {}
                    // The link is gone, and with it everybody who could send.
                    None => {
                        let _ = driver.await;
                        return true;
                    }
                },
            }
        }
    }
}

fn first_try_is_over(tried: &mut Option<tokio::sync::oneshot::Sender<()>>) {
    if let Some(tried) = tried.take() {
        // Nobody waits any more: fine.
        let _ = tried.send(());
    }
}
