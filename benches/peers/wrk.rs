//! `wrk`, the load: one thread, so that on two processors the server has its own.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::common::folder::folder;

/// What one run came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Answers over 399, and connections that failed or stalled.
    pub(crate) errors: f64,
}

const REPORT: &str = r"
done = function(summary, latency)
    local e = summary.errors
    local errors = e.connect + e.read + e.write + e.status + e.timeout
    print('result', summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors)
end
";

/// Sends a script's requests over so many connections for this long.
pub(crate) fn run(server: SocketAddr, script: &str, connections: usize, time: Duration) -> Run {
    let file = folder("wrk").join("script.lua");
    fs::write(&file, format!("{script}{REPORT}")).unwrap();
    let output = Command::new("wrk")
        .args(["--threads", "1", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{}s", time.as_secs())])
        .arg("--script")
        .arg(file)
        .arg(format!("http://{server}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find_map(|line| line.strip_prefix("result"));
    let line = line.unwrap_or_else(|| panic!("wrk failed: {output:?}"));
    let numbers: Vec<f64> = line
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let [requests, microseconds, p50, p99, errors] = numbers[..] else {
        panic!("wrk says {line:?}");
    };
    Run {
        requests,
        seconds: microseconds / 1e6,
        p50: p50 / 1e3,
        p99: p99 / 1e3,
        errors,
    }
}
