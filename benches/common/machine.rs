//! Where and when figures were measured.

use std::fs;
use std::sync::OnceLock;
use std::time::SystemTime;

use super::network;

/// What else the machine was doing when this was first asked, as processes that run or want to: the load average of
/// the last minute.
pub(crate) fn load_before() -> &'static str {
    static LOAD: OnceLock<String> = OnceLock::new();
    LOAD.get_or_init(|| {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        load.split(' ').next().unwrap_or_default().to_owned()
    })
}

/// One line on this machine and this day.
pub(crate) fn line() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let day = now.split('T').next().unwrap_or_default();
    format!(
        "{day}; {processors} × {}, Linux {}, {}; {}; load before: {}",
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into()),
        release.split(['-', '\n']).next().unwrap_or_default(),
        field("/etc/os-release", "PRETTY_NAME").unwrap_or_else(|| "unknown system".into()),
        if network::is_own() {
            "a network of its own"
        } else {
            "the machine's network"
        },
        load_before(),
    )
}

/// The first value of a name in a file of lines such as `name: value` or `NAME="value"`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let (_, value) = line.split_once([':', '='])?;
    Some(value.trim().trim_matches('"').to_owned())
}
