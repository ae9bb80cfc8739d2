//! A network of the benchmark's own: where a machine tracks connections, for containers or a firewall, every packet
//! on loopback pays for that, whatever server it comes from.

use std::env;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What makes a network namespace: root needs no more than the first; for others it belongs to a user namespace.
const FLAGS: [&[&str]; 2] = [&["--net"], &["--net", "--map-current-user", "--keep-caps"]];

/// Begins again in a network namespace (`network_namespaces(7)`) that has nothing but loopback; says so and goes on
/// where none can be made. To be called once options are parsed, and before anything else.
pub(crate) fn isolate() {
    if is_own() {
        return;
    }
    let mut why = String::new();
    for flags in FLAGS {
        match attempt(flags) {
            Ok(()) => {
                let program = env::current_exe().unwrap();
                let mut again = within(flags);
                let error = again.arg(program).args(env::args_os().skip(1)).exec();
                panic!("{again:?}: {error}");
            }
            Err(error) => why = error.to_string(),
        }
    }
    eprintln!(
        "in this machine's network, its firewall included, because it lets no other be made: {why}"
    );
}

/// Whether there is nothing but loopback here.
pub(crate) fn is_own() -> bool {
    let devices = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    // Two lines are headings.
    let mut names = devices
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'));
    names.all(|(name, _)| name.trim() == "lo")
}

fn attempt(flags: &[&str]) -> io::Result<()> {
    let output = within(flags).arg("true").output()?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(why.trim().to_owned()))
}

/// Runs what is appended in a network namespace.
fn within(flags: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(flags);
    command.args(["sh", "-c", r#"ip link set lo up && exec "$@""#, "sh"]);
    command
}
