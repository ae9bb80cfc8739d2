//! Where and when figures were measured.

use std::fs;
use std::time::SystemTime;

/// One line on this machine and this day.
pub(crate) fn line() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let day = now.split('T').next().unwrap_or_default();
    format!(
        "{day}; {processors} × {}, Linux {}, {}",
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into()),
        fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim(),
        field("/etc/os-release", "PRETTY_NAME").unwrap_or_else(|| "unknown system".into()),
    )
}

/// The first value of a name in a file of lines such as `name: value` or `NAME="value"`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let (_, value) = line.split_once([':', '='])?;
    Some(value.trim().trim_matches('"').to_owned())
}
