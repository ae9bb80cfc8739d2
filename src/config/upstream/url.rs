//! The text of `--upstream`. No error repeats any of it, as it may hold a password.

use std::borrow::Cow;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use super::{Address, Password, Place, Sentinels, Server, Tls, UpstreamUrl};

const WANTED: &str = "`embedded`, or a URL that begins with redis://, rediss://, redis+unix://, \
    redis+sentinel:// or redis+cluster:// is wanted";
const WANTED_TCP: &str = "redis://[user:password@]host[:port][/database] is wanted, with whatever is not \
    a letter or a digit in a password percent-encoded";
const WANTED_UNIX: &str =
    "redis+unix:///path[?db=0&user=…&password=…] is wanted, with the whole path of the socket";
const WANTED_SENTINEL: &str = "redis+sentinel://[user:password@]sentinel[:port][,sentinel[:port]…]/\
    master-name[/database][?sentinel_user=…&sentinel_password=…] is wanted, with whatever is not a letter \
    or a digit in a password percent-encoded";
const WANTED_CLUSTER: &str = "redis+cluster://[user:password@]host[:port][,host[:port]…] is wanted, without \
    a database, as a Cluster has only one, and with whatever is not a letter or a digit in a password \
    percent-encoded";

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

pub(super) fn parse(text: &str) -> Result<UpstreamUrl, String> {
    if text == "embedded" {
        return Ok(UpstreamUrl::Embedded);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(WANTED.into());
    };
    let (parsed, wanted) = match scheme {
        "redis" | "valkey" => (tcp(rest, None), WANTED_TCP),
        "rediss" | "valkeys" => (tcp(rest, Some(Tls::default())), WANTED_TCP),
        "redis+unix" | "valkey+unix" | "unix" => (unix(rest), WANTED_UNIX),
        "redis+sentinel" => (sentinel(rest, None), WANTED_SENTINEL),
        "rediss+sentinel" => (sentinel(rest, Some(Tls::default())), WANTED_SENTINEL),
        "redis+cluster" => (cluster(rest, None), WANTED_CLUSTER),
        "rediss+cluster" => (cluster(rest, Some(Tls::default())), WANTED_CLUSTER),
        _ => return Err(WANTED.into()),
    };
    match parsed {
        Some(server) => Ok(UpstreamUrl::Redis(Box::new(server))),
        None => Err(wanted.into()),
    }
}

fn tcp(rest: &str, tls: Option<Tls>) -> Option<Server> {
    let url = parse_url(rest)?;
    let [] = parameters(&url, [])?;
    let (username, password) = credentials(&url)?;
    Some(Server {
        place: Place::Tcp(address(&url, REDIS_PORT)?),
        tls,
        username,
        password,
        database: database(url.path().strip_prefix('/').unwrap_or_default())?,
    })
}

fn unix(rest: &str) -> Option<Server> {
    let url = Url::parse(&format!("unix://{rest}")).ok()?;
    let socket = decoded(url.path())?;
    if url.host_str().is_some_and(|host| !host.is_empty())
        || url.fragment().is_some()
        || socket.len() < 2
    {
        return None;
    }
    let [db, user, password, pass] = parameters(&url, ["db", "user", "password", "pass"])?;
    Some(Server {
        place: Place::Unix(PathBuf::from(socket)),
        tls: None,
        username: user.filter(|user| !user.is_empty()),
        password: password.or(pass).map(Password),
        database: database(db.as_deref().unwrap_or_default())?,
    })
}

fn sentinel(rest: &str, tls: Option<Tls>) -> Option<Server> {
    let (addresses, url) = several(rest, SENTINEL_PORT)?;
    let (username, password) = credentials(&url)?;
    let mut path = url.path_segments()?;
    let master = decoded(path.next()?)?;
    let database = database(path.next().unwrap_or_default())?;
    let [sentinel_user, sentinel_password] =
        parameters(&url, ["sentinel_user", "sentinel_password"])?;
    let user_alone = sentinel_user.is_some() && sentinel_password.is_none();
    if master.is_empty() || path.next().is_some() || user_alone {
        return None;
    }
    Some(Server {
        place: Place::Sentinel(Sentinels {
            addresses,
            master,
            username: sentinel_user,
            password: sentinel_password.map(Password),
        }),
        tls,
        username,
        password,
        database,
    })
}

fn cluster(rest: &str, tls: Option<Tls>) -> Option<Server> {
    let (addresses, url) = several(rest, REDIS_PORT)?;
    let [] = parameters(&url, [])?;
    let (username, password) = credentials(&url)?;
    if !matches!(url.path(), "" | "/" | "/0") {
        return None;
    }
    Some(Server {
        place: Place::Cluster(addresses),
        tls,
        username,
        password,
        database: 0,
    })
}

/// The hosts of a URL that has several, and the rest of it, with the first of them.
fn several(rest: &str, default_port: u16) -> Option<(Vec<Address>, Url)> {
    // Taken apart by hand as far as URLs have no place for several hosts.
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), authority),
    };
    let mut addresses = Vec::new();
    for host in hosts.split(',') {
        addresses.push(address(&parse_url(host)?, default_port)?);
    }
    let first = hosts.split(',').next()?;
    let url = parse_url(&format!("{login}{first}{path}"))?;
    Some((addresses, url))
}

/// What follows `://`, as a URL that has a host and no fragment.
fn parse_url(rest: &str) -> Option<Url> {
    let url = Url::parse(&format!("redis://{rest}")).ok()?;
    let sound = url.has_host() && url.fragment().is_none();
    sound.then_some(url)
}

fn address(url: &Url, default_port: u16) -> Option<Address> {
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port().unwrap_or(default_port);
    let host = host.to_owned();
    (port != 0).then_some(Address { host, port })
}

/// User and password; an empty one is none. `None` if they are not UTF-8.
fn credentials(url: &Url) -> Option<(Option<String>, Option<Password>)> {
    let username = decoded(url.username())?;
    let password = decoded(url.password().unwrap_or_default())?;
    let some = |text: String| (!text.is_empty()).then_some(text);
    Some((some(username), some(password).map(Password)))
}

fn database(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    text.parse::<u32>().ok().map(i64::from)
}

/// The parameters of these names; `None` if there are others, or one twice.
fn parameters<const N: usize>(url: &Url, names: [&str; N]) -> Option<[Option<String>; N]> {
    let mut values = [const { None }; N];
    let pairs = url.query().unwrap_or_default().split('&');
    for pair in pairs.filter(|pair| !pair.is_empty()) {
        // Not decoded as forms are: a + in a password is a +.
        let (name, value) = pair.split_once('=')?;
        let at = names.iter().position(|known| *known == name)?;
        if values[at].replace(decoded(value)?).is_some() {
            return None;
        }
    }
    Some(values)
}

fn decoded(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok();
    text.map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Server {
        match parse(text) {
            Ok(UpstreamUrl::Redis(server)) => *server,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn at(host: &str, port: u16) -> Address {
        let host = host.to_owned();
        Address { host, port }
    }

    #[test]
    fn an_address_with_what_may_be_left_out() {
        let server = server("redis://cache");
        assert_eq!(server.place, Place::Tcp(at("cache", 6379)));
        assert!(server.tls.is_none() && server.username.is_none() && server.password.is_none());
        assert_eq!(server.database, 0);
        let server = self::server("rediss://app:p%40ss%2Fword@[::1]:7000/3");
        assert_eq!(server.place, Place::Tcp(at("::1", 7000)));
        assert!(server.tls.is_some());
        assert_eq!(server.username.as_deref(), Some("app"));
        assert_eq!(server.password.unwrap().reveal(), "p@ss/word");
        assert_eq!(server.database, 3);
        assert_eq!(self::server("redis://:pw@h/").username, None);
    }

    #[test]
    fn a_socket() {
        let server = server("redis+unix:///run/my%20redis.sock?db=2&user=app&password=a+b");
        assert_eq!(server.place, Place::Unix("/run/my redis.sock".into()));
        assert_eq!(server.database, 2);
        assert_eq!(server.username.as_deref(), Some("app"));
        assert_eq!(server.password.unwrap().reveal(), "a+b");
        assert_eq!(self::server("unix:///s").place, Place::Unix("/s".into()));
    }

    #[test]
    fn sentinels() {
        let server = server(
            "redis+sentinel://u:p@a,b:1,[::1]:2/my%20master/4?sentinel_user=s&sentinel_password=t",
        );
        let Place::Sentinel(group) = server.place else {
            panic!("{server:?}");
        };
        assert_eq!(group.addresses, [at("a", 26379), at("b", 1), at("::1", 2)]);
        assert_eq!(group.master, "my master");
        assert_eq!(group.username.as_deref(), Some("s"));
        assert_eq!(group.password.unwrap().reveal(), "t");
        assert_eq!(server.username.as_deref(), Some("u"));
        assert_eq!(server.password.unwrap().reveal(), "p");
        assert_eq!(server.database, 4);
    }

    #[test]
    fn a_cluster() {
        let server = server("redis+cluster://u:p@a,[::1]:2");
        assert_eq!(
            server.place,
            Place::Cluster(vec![at("a", 6379), at("::1", 2)])
        );
        assert_eq!(server.username.as_deref(), Some("u"));
        assert_eq!(server.password.unwrap().reveal(), "p");
        assert!(server.tls.is_none());
        for text in [
            "rediss+cluster://a",
            "rediss+cluster://a/",
            "rediss+cluster://a/0",
        ] {
            let server = self::server(text);
            assert_eq!(server.place, Place::Cluster(vec![at("a", 6379)]));
            assert!(server.tls.is_some());
        }
    }

    #[test]
    fn what_is_wrong_is_refused_and_not_repeated() {
        for text in [
            "s3cret",
            "http://s3cret@h",
            "redis://",
            "redis://:s3cret@",
            "redis://:s3cret@host:port/x",
            "redis://:s3cret@host/-1",
            "redis://:s3cret@host/1/2",
            "redis://:s3cret@host:0",
            "redis://:s3#cret@host",
            "redis://:s3?cret@host",
            "redis://:s3/cret@host",
            "redis://host?password=s3cret",
            "redis+unix://s3cret",
            "redis+unix://s3cret/path",
            "redis+unix:///",
            "redis+unix:///s3cret?database=1",
            "redis+sentinel://:s3cret@host",
            "redis+sentinel://:s3cret@host/",
            "redis+sentinel://:s3cret@host,/name",
            "redis+sentinel://:s3cret@host/name/x",
            "redis+sentinel://host/name?sentinel_user=s3cret",
            "redis+sentinel://host/name?sentinel_password=s3cret&sentinel_password=s3cret",
            "redis+cluster://",
            "redis+cluster://:s3cret@",
            "redis+cluster://:s3cret@host,",
            "redis+cluster://:s3cret@host/1",
            "redis+cluster://:s3cret@host?password=s3cret",
        ] {
            let error = parse(text).expect_err(text);
            for part in ["s3cret", "s3", "cret@"] {
                assert!(!error.contains(part), "{text}: {error}");
            }
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let shown = format!(
            "{:?}",
            parse("redis+sentinel://u:s3cret@h/m?sentinel_password=s3cret")
        );
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
