//! The client cache: GETs of one hot key, of a gateway with it and of one without, in turn.

use std::time::Duration;

use super::Extent;
use super::common::gateway;
use super::common::median::median;
use super::common::process::Process;
use super::measure::{Figures, medians, turn, warm_up};
use super::servers::{Kind, Site};
use super::work;

pub(crate) const NAME: &str = "client-cache";

const CONNECTIONS: &[usize] = &[1, 16, 64, 256];

/// Milliseconds to Redis and back.
const AWAY: [u64; 2] = [0, 1];

/// What the two gateways are started with.
const FLAGS: [(&str, &[&str]); 2] = [("without", &[]), ("with", &["--client-cache", "64MiB"])];

/// One turn: what the gateway came to, and microseconds of Redis' processor time per request.
type Run = (Figures, f64);

/// The table as Markdown.
pub(crate) fn table(extent: &Extent) -> String {
    let connections = match &extent.connections[..] {
        [] => CONNECTIONS,
        given => given,
    };
    let mut table = "| Redis | connections | client cache | requests/s | to without | p50, ms | p99, ms | \
                     CPU a request, µs: gateway | redis-server |\n|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for away in AWAY {
        // No servers but the two here.
        let site = Site::start(Duration::from_millis(away), &[String::new()]);
        let gateways = FLAGS.map(|(_, flags)| gateway::start(site.upstream(), flags));
        for connections in connections {
            let runs = runs(&site, &gateways, *connections, extent);
            let mut without = None;
            for ((which, _), runs) in FLAGS.iter().zip(&runs) {
                let figures: Vec<_> = runs.iter().map(|(figures, _)| *figures).collect();
                let Some(figures) = medians(&figures) else {
                    continue;
                };
                let of_redis = median(runs.iter().map(|(_, of_redis)| *of_redis));
                let distance = match away {
                    0 => "local".to_owned(),
                    away => format!("{away} ms away"),
                };
                let per_second = figures.per_second;
                let ratio = per_second / *without.get_or_insert(per_second);
                table += &format!(
                    "| {distance} | {connections} | {which} | {per_second:.0} | {ratio:.2} | {:.2} | {:.2} | {:.1} | \
                     {of_redis:.1} |\n",
                    figures.p50, figures.p99, figures.processor
                );
            }
        }
    }
    table.trim_end().to_owned()
}

/// The turns of each gateway, interleaved.
fn runs(
    site: &Site,
    gateways: &[Process; 2],
    connections: usize,
    extent: &Extent,
) -> [Vec<Run>; 2] {
    let script = work::get_small(Kind::Gateway);
    let mut runs = [Vec::new(), Vec::new()];
    for gateway in gateways {
        warm_up(gateway, &script, connections);
    }
    for _ in 0..extent.rounds {
        for ((gateway, runs), (which, _)) in gateways.iter().zip(&mut runs).zip(FLAGS) {
            let before = site.redis.processor_time();
            let figures = turn(which, gateway, &script, connections, extent.turn);
            let of_redis = site.redis.processor_time() - before;
            let requests = figures.per_second * extent.turn.as_secs_f64();
            eprintln!("{NAME:>10} {connections:>5} {which} {figures:?}");
            runs.push((figures, of_redis.as_secs_f64() * 1e6 / requests.max(1.0)));
        }
    }
    runs
}
