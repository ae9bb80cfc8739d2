//! `/pipeline` of 100 commands, beside `redis-benchmark -P 100`, which is as fast as Redis is asked at all.

use std::process::Command;

use super::Extent;
use super::common::median::median;
use super::servers::{Kind, Site};
use super::wrk;

pub(crate) const NAME: &str = "pipeline";

/// Commands in one request.
const COMMANDS: usize = 100;

/// The table as Markdown.
pub(crate) fn table(site: &Site, extent: &Extent) -> String {
    let connections = match &extent.connections[..] {
        [] => &[1, 16, 64],
        given => given,
    };
    let mut table = "| connections | gateway, commands/s | CPU, µs a command | redis-benchmark -P 100, commands/s | \
                     gateway to it |\n|---|---|---|---|---|\n"
        .to_owned();
    for connections in connections {
        let mut rounds = Vec::new();
        for _ in 0..extent.rounds {
            rounds.push((
                gateway(site, *connections, extent),
                limit(site, *connections, extent),
            ));
        }
        let own = median(rounds.iter().map(|((own, _), _)| *own));
        let processor = median(rounds.iter().map(|((_, processor), _)| *processor));
        let limit = median(rounds.iter().map(|(_, limit)| *limit));
        let ratio = own / limit;
        table +=
            &format!("| {connections} | {own:.0} | {processor:.2} | {limit:.0} | {ratio:.2} |\n");
    }
    table.trim_end().to_owned()
}

/// Commands a second, and processor time of each.
fn gateway(site: &Site, connections: usize, extent: &Extent) -> (f64, f64) {
    let (_, server) = { site.servers.iter() }
        .find(|(kind, _)| *kind == Kind::Gateway)
        .unwrap();
    let commands = vec![r#"["GET","small"]"#; COMMANDS].join(",");
    let script =
        format!("wrk.method = 'POST'\nwrk.path = '/pipeline'\nwrk.body = '[{commands}]'\n");
    let before = server.processor_time();
    let run = wrk::run(server.address, &script, connections, extent.turn);
    let used = server.processor_time() - before;
    assert!(run.errors == 0.0, "{run:?}");
    let commands = run.requests * COMMANDS as f64;
    (commands / run.seconds, used.as_secs_f64() * 1e6 / commands)
}

fn limit(site: &Site, connections: usize, extent: &Extent) -> f64 {
    let requests = 500_000 * extent.turn.as_secs();
    let port = site.redis.address.port().to_string();
    let output = Command::new("redis-benchmark")
        .args(["-p", &port, "-c", &connections.to_string()])
        .args([
            "-P",
            &COMMANDS.to_string(),
            "-n",
            &requests.to_string(),
            "--csv",
        ])
        .args(["GET", "small"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // "GET small","1234567.00",…
    let line = said.lines().find(|line| line.starts_with("\"GET"));
    let field = line.and_then(|line| line.split(',').nth(1));
    let number = field.and_then(|field| field.trim_matches('"').parse().ok());
    number.unwrap_or_else(|| panic!("redis-benchmark says {said:?}"))
}
