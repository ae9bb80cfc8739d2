//! One kind of work on all servers in turn: A B C, A B C, so that a machine whose speed drifts is the same to all.

use std::time::Duration;

use super::Extent;
use super::common::median::median;
use super::common::process::Process;
use super::servers::{Kind, Site};
use super::work::Work;
use super::wrk;

/// Medians of one server at one number of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Microseconds of the server's processor time per request.
    pub(crate) processor: f64,
}

/// What all servers came to at one number of connections.
pub(crate) struct Row {
    pub(crate) connections: usize,
    pub(crate) figures: Vec<(Kind, Figures)>,
}

/// Runs one kind of work at each number of connections.
pub(crate) fn all(site: &Site, work: &Work, extent: &Extent) -> Vec<Row> {
    let connections = match &extent.connections[..] {
        [] => work.connections,
        given => given,
    };
    let at = |connections: &usize| row(site, work, *connections, extent);
    connections.iter().map(at).collect()
}

/// Has a server answer requests for a second that does not count.
pub(crate) fn warm_up(server: &Process, script: &str, connections: usize) {
    wrk::run(server.address, script, connections, Duration::from_secs(1));
}

/// One turn of a server. What it is called is for errors, which are told at once: they do not fit into figures.
pub(crate) fn turn(
    name: &str,
    server: &Process,
    script: &str,
    connections: usize,
    time: Duration,
) -> Figures {
    let before = server.processor_time();
    let run = wrk::run(server.address, script, connections, time);
    let used = server.processor_time() - before;
    if run.errors > 0.0 {
        eprintln!("{name} at {connections} had {} errors", run.errors);
    }
    Figures {
        per_second: run.requests / run.seconds,
        p50: run.p50,
        p99: run.p99,
        processor: used.as_secs_f64() * 1e6 / run.requests.max(1.0),
    }
}

fn row(site: &Site, work: &Work, connections: usize, extent: &Extent) -> Row {
    let scripts = site
        .servers
        .iter()
        .filter_map(|(kind, server)| Some((*kind, server, work.script(*kind)?)));
    let scripts: Vec<_> = scripts.collect();
    let mut runs = vec![Vec::new(); scripts.len()];
    for round in 0..=extent.rounds {
        for ((kind, server, script), runs) in scripts.iter().zip(&mut runs) {
            if round == 0 {
                warm_up(server, script, connections);
            } else {
                let name = format!("{}: {}", work.name, kind.name());
                runs.push(turn(&name, server, script, connections, extent.turn));
            }
        }
    }
    let kinds = scripts.iter().map(|(kind, ..)| *kind);
    let figures = kinds
        .zip(&runs)
        .filter_map(|(kind, runs)| Some((kind, medians(runs)?)));
    let row = Row {
        connections,
        figures: figures.collect(),
    };
    row.show(work.name);
    row
}

impl Row {
    /// Progress, for whoever waits.
    fn show(&self, name: &str) {
        eprint!("{name:>10} {:>5}", self.connections);
        for (kind, figures) in &self.figures {
            let (per_second, processor) = (figures.per_second, figures.processor);
            eprint!(
                "  {} {per_second:.0}/s {processor:.1} µs p99 {:.2}",
                kind.name(),
                figures.p99
            );
        }
        eprintln!();
    }
}

/// Of each figure its median; `None` where there was no turn.
pub(crate) fn medians(runs: &[Figures]) -> Option<Figures> {
    if runs.is_empty() {
        return None;
    }
    let of = |what: fn(&Figures) -> f64| median(runs.iter().map(what));
    Some(Figures {
        per_second: of(|run| run.per_second),
        p50: of(|run| run.p50),
        p99: of(|run| run.p99),
        processor: of(|run| run.processor),
    })
}
