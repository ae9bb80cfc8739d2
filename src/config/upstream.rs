//! Settings of which Redis to serve and how it lets the gateway in. A password is shown nowhere: not in an
//! error, not in `Debug`, not in `--help`.

mod files;
mod url;

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use clap::error::ErrorKind;

use super::access::Secret;
pub use files::{Certificates, Identity, Key};
use files::{read_certificates, read_key, read_password};

/// The flags that say which Redis to serve.
#[derive(Debug, Clone, Args)]
pub struct UpstreamFlags {
    /// What to serve: `embedded`, a mini-redis inside this process (in memory; GET, SET, PUBLISH and
    /// SUBSCRIBE only), or a Redis server: `redis://user:password@host:port/database` (only the host is
    /// needed), `rediss://…` (the same over TLS), `redis+unix:///path?db=0&user=…&password=…`,
    /// `redis+sentinel://user:password@sentinel:port,sentinel:port/master-name/database`, or
    /// `redis+cluster://user:password@host:port,host:port`, with one or more nodes of a Cluster.
    #[arg(long = "upstream", env = "GATEWAY_UPSTREAM", value_name = "URL", default_value = "embedded", value_parser = Secret(url::parse), hide_env_values = true)]
    pub url: UpstreamUrl,

    /// The user name for Redis, if the URL has none.
    #[arg(
        long = "upstream-username",
        env = "GATEWAY_UPSTREAM_USERNAME",
        value_name = "NAME"
    )]
    pub username: Option<String>,

    /// A file with the password for Redis, such as a Docker secret, if the URL has none. A newline at its
    /// end does not count.
    #[arg(long = "upstream-password-file", env = "GATEWAY_UPSTREAM_PASSWORD_FILE", value_name = "PATH", value_parser = Secret(read_password))]
    pub password_file: Option<Password>,

    /// A PEM file with the certificates of the authorities to trust for Redis' certificate, instead of the
    /// system's.
    #[arg(long = "upstream-ca", env = "GATEWAY_UPSTREAM_CA", value_name = "PATH", value_parser = read_certificates)]
    pub ca: Option<Certificates>,

    /// A PEM file with a client certificate to show to Redis, followed by its intermediate certificates.
    #[arg(long = "upstream-cert", env = "GATEWAY_UPSTREAM_CERT", value_name = "PATH", value_parser = read_certificates)]
    pub cert: Option<Certificates>,

    /// A PEM file with the private key of that certificate.
    #[arg(long = "upstream-key", env = "GATEWAY_UPSTREAM_KEY", value_name = "PATH", value_parser = read_key)]
    pub key: Option<Key>,
}

/// Which Redis to serve.
#[derive(Debug, Clone)]
pub enum UpstreamUrl {
    /// A mini-redis that the gateway runs itself.
    Embedded,
    /// A Redis server.
    Redis(Box<Server>),
}

impl UpstreamUrl {
    /// Whether all commands go to one Redis server.
    #[must_use]
    pub fn is_one_server(&self) -> bool {
        match self {
            Self::Embedded => false,
            Self::Redis(server) => match server.place {
                Place::Tcp(_) | Place::Unix(_) | Place::Sentinel(_) => true,
                Place::Cluster(_) => false,
            },
        }
    }
}

/// Where a Redis server is, and what it asks for.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it is.
    pub place: Place,
    /// How it is spoken to over TLS; `None` for no TLS.
    pub tls: Option<Tls>,
    /// The user to log in as; `None` for the default user. Without a password nobody logs in.
    pub username: Option<String>,
    /// The password, if the server asks for one.
    pub password: Option<Password>,
    /// The number of the database.
    pub database: i64,
}

/// Where a Redis server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At an address.
    Tcp(Address),
    /// At a Unix socket.
    Unix(PathBuf),
    /// Where these Sentinels say.
    Sentinel(Sentinels),
    /// At several addresses: a Cluster, of which these nodes are known; at least one.
    Cluster(Vec<Address>),
}

/// A host, by name or number, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Sentinels, and what to ask them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// Where they are; at least one.
    pub addresses: Vec<Address>,
    /// The name under which they watch the master.
    pub master: String,
    /// The user to log in as there; `None` for the default user.
    pub username: Option<String>,
    /// The password for them. Without one, Sentinels that ask for a password get that of the server.
    pub password: Option<Password>,
}

/// How to speak TLS.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// The authorities whose certificates are trusted; `None` for those that the system trusts.
    pub authorities: Option<Certificates>,
    /// The certificate of its own that the gateway shows, if it has one.
    pub identity: Option<Identity>,
}

/// A password for Redis.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// What Redis wants to hear. It goes nowhere else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Sentinel(group) => write!(f, "master {:?}", group.master),
            Self::Cluster(_) => f.write_str("Cluster"),
        }
    }
}

impl std::str::FromStr for UpstreamUrl {
    type Err = String;

    /// Reads `embedded` or a URL. The error does not repeat what was given: it could hold a password.
    fn from_str(text: &str) -> Result<Self, String> {
        url::parse(text)
    }
}

impl UpstreamFlags {
    /// Whether the flags make sense together.
    ///
    /// # Errors
    /// A usage error that names those that do not.
    pub fn check(&self) -> Result<(), clap::Error> {
        let checked = match &self.url {
            UpstreamUrl::Embedded => self.check_embedded(),
            UpstreamUrl::Redis(server) => self.check_server(server),
        };
        checked.map_err(|message| clap::Error::raw(ErrorKind::ArgumentConflict, message + "\n"))
    }

    fn check_embedded(&self) -> Result<(), String> {
        let others = [
            ("--upstream-username", self.username.is_some()),
            ("--upstream-password-file", self.password_file.is_some()),
            ("--upstream-ca", self.ca.is_some()),
            ("--upstream-cert", self.cert.is_some()),
            ("--upstream-key", self.key.is_some()),
        ];
        match others.iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(format!(
                "{flag} is for a Redis server, and --upstream names none"
            )),
            None => Ok(()),
        }
    }

    fn check_server(&self, server: &Server) -> Result<(), String> {
        if self.username.is_some() && server.username.is_some() {
            return Err("--upstream-username was given, but --upstream has a user in it".into());
        }
        if self.password_file.is_some() && server.password.is_some() {
            let message = "--upstream-password-file was given, but --upstream has a password in it";
            return Err(message.into());
        }
        if self.password_file.is_none() && server.password.is_none() {
            let needs = "needs a password, in --upstream or by --upstream-password-file";
            if self.username.is_some() {
                return Err(format!("--upstream-username {needs}"));
            }
            if server.username.is_some() {
                return Err(format!("the user in --upstream {needs}"));
            }
        }
        let for_tls = [
            ("--upstream-ca", self.ca.is_some()),
            ("--upstream-cert", self.cert.is_some()),
            ("--upstream-key", self.key.is_some()),
        ];
        if server.tls.is_none()
            && let Some((flag, _)) = for_tls.iter().find(|(_, given)| *given)
        {
            return Err(format!(
                "{flag} is for TLS, and --upstream does not begin with rediss"
            ));
        }
        match (&self.cert, &self.key) {
            (Some(_), None) => Err("--upstream-cert needs --upstream-key".into()),
            (None, Some(_)) => Err("--upstream-key needs --upstream-cert".into()),
            (None, None) => Ok(()),
            (Some(cert), Some(key)) => Identity::new(cert, key)
                .check()
                .map_err(|why| format!("--upstream-key does not go with --upstream-cert: {why}")),
        }
    }

    /// All of it together.
    pub(super) fn upstream(&self) -> UpstreamUrl {
        let mut upstream = self.url.clone();
        if let UpstreamUrl::Redis(server) = &mut upstream {
            if self.username.is_some() {
                server.username.clone_from(&self.username);
            }
            if self.password_file.is_some() {
                server.password.clone_from(&self.password_file);
            }
            if let Some(tls) = &mut server.tls {
                tls.authorities.clone_from(&self.ca);
                let identity = self.cert.as_ref().zip(self.key.as_ref());
                tls.identity = identity.map(|(cert, key)| Identity::new(cert, key));
            }
        }
        upstream
    }
}
