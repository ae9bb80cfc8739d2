//! The subcommand `healthcheck`: asks the gateway whether it serves, for Docker's HEALTHCHECK.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Time for each step; Docker's own limit is around it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the gateway that listens at an address for `/healthz`.
///
/// # Errors
/// When it cannot be reached, or answers anything but 200.
pub fn check(listen: SocketAddr) -> io::Result<()> {
    let address = reachable(listen);
    // In a container it is this that shows where it looked.
    let at = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    ask(address).map_err(at)
}

fn ask(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    let line = answer.split(|&b| b == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    Err(io::Error::other(format!("it answers {line:?}")))
}

/// From where a gateway that listens everywhere is reached.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
