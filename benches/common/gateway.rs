//! The gateway, as it is built for release.

use std::net::SocketAddr;
use std::process::Command;

use super::process::{Process, free_address};

/// Starts one with its defaults, but for these flags.
pub(crate) fn start(upstream: SocketAddr, flags: &[&str]) -> Process {
    let address = free_address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-http-gateway"));
    command
        .args(["--listen", &address.to_string()])
        .args(["--upstream", &format!("redis://{upstream}")])
        .args(["--log", "warn"])
        .args(flags);
    Process::start(&mut command, address)
}
