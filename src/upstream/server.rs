//! A Redis server: where it is and how it is reached, over TCP, TLS or a Unix socket.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{RedisError, RedisResult};
use tokio::net::{TcpStream, ToSocketAddrs, UnixStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::failover::FailoverWatch;
use super::role;
use super::sentinel::Sentinel;
use super::transport::{Stream, ask, unusable, wrong};
use crate::config::{Address, Password, Place, Server, Tls};
use crate::reply::Reply;

/// How long a TCP connection may be silent before the kernel asks whether the other end is still there, and
/// how often it asks then. Four unanswered questions end the connection.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A Redis server that connections are made to.
pub(super) struct RedisServer {
    settings: Server,
    tls: Option<TlsConnector>,
    /// Who tells where the server is, if that is not in the settings.
    sentinel: Option<Sentinel>,
    /// When it was last seen that connections lead elsewhere than before.
    moved: watch::Sender<Option<Instant>>,
}

impl RedisServer {
    /// Makes no connection for commands yet; each will have this long to come about.
    ///
    /// # Errors
    /// When there is no certificate to trust, or the one to show is not sound.
    pub(super) fn new(settings: Server, connect_timeout: Duration) -> io::Result<Arc<Self>> {
        let tls = settings.tls.as_ref().map(client_config).transpose()?;
        let sentinel = match &settings.place {
            Place::Sentinel(group) => Some(Sentinel::new(group.clone(), connect_timeout)),
            Place::Tcp(_) | Place::Unix(_) | Place::Cluster(_) => None,
        };
        let server = Arc::new(Self {
            settings,
            tls: tls.map(TlsConnector::from),
            sentinel,
            moved: watch::Sender::new(None),
        });
        if server.sentinel.is_some() {
            tokio::spawn(Sentinel::watch(Arc::downgrade(&server)));
        }
        Ok(server)
    }

    /// Another server of the same kind, at this address.
    pub(super) fn at(&self, address: Address) -> Arc<Self> {
        let settings = Server {
            place: Place::Tcp(address),
            ..self.settings.clone()
        };
        Arc::new(Self {
            settings,
            tls: self.tls.clone(),
            sentinel: None,
            moved: watch::Sender::new(None),
        })
    }

    /// Where it is.
    pub(super) fn place(&self) -> &Place {
        &self.settings.place
    }

    /// Who says where it is, if it can be elsewhere later.
    pub(super) fn sentinel(&self) -> Option<&Sentinel> {
        self.sentinel.as_ref()
    }

    /// Says who the gateway is over a new stream, if that is to be said.
    pub(super) async fn log_in(&self, stream: &mut Stream) -> RedisResult<()> {
        if let Some(login) = self.login() {
            ask(stream, &login).await?.extract_error()?;
        }
        Ok(())
    }

    /// AUTH as the settings have it.
    pub(super) fn login(&self) -> Option<redis::Cmd> {
        login(&self.settings.username, self.settings.password.as_ref())
    }

    /// Asks for the settings' database over a new stream, if it is not the first.
    pub(super) async fn select(&self, stream: &mut Stream) -> RedisResult<()> {
        if let Some(select) = self.selection() {
            ask(stream, &select).await?.extract_error()?;
        }
        Ok(())
    }

    /// SELECT, if the settings' database is not the first.
    pub(super) fn selection(&self) -> Option<redis::Cmd> {
        let database = self.settings.database;
        (database != 0).then(|| redis::cmd("SELECT").arg(database).take())
    }

    /// Whether it is reached over TLS.
    pub(super) fn is_over_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// A way to the server.
    pub(super) async fn open(&self) -> RedisResult<(Stream, FailoverWatch)> {
        let begun = Instant::now();
        let stream: Stream = match (&self.settings.place, &self.sentinel) {
            (_, Some(sentinel)) => return sentinel.open_master(self).await,
            (Place::Tcp(address), None) => self.reach(address).await?,
            (Place::Unix(path), None) => Box::new(UnixStream::connect(path).await?),
            // Not made by `new`, and the nodes of a Cluster are reached by their addresses.
            (Place::Sentinel(_) | Place::Cluster(_), None) => {
                return Err(wrong("not one server"));
            }
        };
        let mut moved = self.moved.subscribe();
        let failover = FailoverWatch::until(async move {
            let since = |at: &Option<Instant>| at.is_some_and(|at| begun < at);
            moved.wait_for(since).await.map(drop)
        });
        Ok((stream, failover))
    }

    /// Looks whether a new connection leads to a master. If so, those from before have to be left.
    pub(super) async fn look_for_master(&self) -> RedisResult<()> {
        let begun = Instant::now();
        let (mut stream, _) = self.open().await?;
        if self.sentinel.is_some() {
            // On the way the Sentinels have been asked, and the master itself; whoever is connected to another was told.
            return Ok(());
        }
        let answer = self.ask_role(&mut stream).await?;
        if role::is_master(&answer).map_err(unusable)? {
            tracing::info!(server = %self.place(), "the master is elsewhere");
            self.moved.send_replace(Some(begun));
        }
        Ok(())
    }

    /// Says who the gateway is over a new stream, and asks for the role of the server that it leads to.
    pub(super) async fn ask_role(&self, stream: &mut Stream) -> RedisResult<Reply> {
        self.log_in(stream).await?;
        let role = ask(stream, &redis::cmd("ROLE")).await?;
        Ok(Reply::from(role))
    }

    /// A way to an address, as safe as the settings want it.
    pub(super) async fn reach(&self, address: &Address) -> RedisResult<Stream> {
        let stream = tcp((address.host.as_str(), address.port)).await?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let Ok(name) = ServerName::try_from(address.host.clone()) else {
            let needed = "TLS needs a host name or an address that a certificate can be for";
            return Err(wrong(needed));
        };
        let connected = tls.connect(name, stream).await;
        Ok(Box::new(
            connected.map_err(|error| wrong(format!("TLS: {error}")))?,
        ))
    }

    /// An error as it can be logged: servers without AUTH repeat what they did not understand.
    pub(super) fn without_secrets(&self, error: RedisError) -> RedisError {
        let text = error.to_string();
        let of_sentinels = match &self.settings.place {
            Place::Sentinel(group) => group.password.as_ref(),
            Place::Tcp(_) | Place::Unix(_) | Place::Cluster(_) => None,
        };
        let mut passwords = self.settings.password.iter().chain(of_sentinels);
        if passwords.any(|password| text.contains(password.reveal())) {
            return wrong("the server did not take the password");
        }
        error
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisServer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// AUTH, if there is a password.
pub(super) fn login(username: &Option<String>, password: Option<&Password>) -> Option<redis::Cmd> {
    let password = password?;
    let mut command = redis::cmd("AUTH");
    if let Some(username) = username {
        command.arg(username);
    }
    command.arg(password.reveal());
    Some(command)
}

/// A TCP connection that notices when the other end is gone.
pub(super) async fn tcp(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(4);
    let socket = socket2::SockRef::from(&stream);
    socket.set_tcp_keepalive(&keepalive)?;
    // Keepalive does not count while something is on its way; this does.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(KEEPALIVE))?;
    Ok(stream)
}

fn client_config(tls: &Tls) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    if let Some(authorities) = &tls.authorities {
        for certificate in authorities.to_vec() {
            let added = roots.add(certificate);
            added.map_err(|error| io::Error::other(format!("--upstream-ca: {error}")))?;
        }
    } else {
        // Some systems have a few that nobody can use: those are left out.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let message = "this system trusts no certificates; --upstream-ca says which to trust";
            return Err(io::Error::other(message));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let config = match &tls.identity {
        None => config.with_no_client_auth(),
        Some(identity) => config
            .with_client_auth_cert(identity.chain(), identity.key())
            .map_err(|error| io::Error::other(format!("--upstream-cert: {error}")))?,
    };
    Ok(Arc::new(config))
}
