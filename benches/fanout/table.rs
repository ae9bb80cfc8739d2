//! The table of `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::process::Command;

use crate::common::machine;
use crate::contender::Contender;
use crate::figures::{Figures, Work};

/// A measure: what it is called, how it is read and shown, and whether a ratio says anything.
type Measure = (&'static str, fn(&Figures) -> f64, usize, bool);

const MEASURES: &[Measure] = &[
    ("CPU a delivery, µs", |run| run.cpu, 2, true),
    ("latency p50, ms", |run| run.p50, 2, true),
    ("latency p99, ms", |run| run.p99, 2, true),
    ("latency, longest, ms", |run| run.longest, 2, true),
    ("memory a subscriber, KB", |run| run.memory_each, 2, true),
    ("memory in all, MB", |run| run.memory, 1, true),
    (
        "descriptors a subscriber",
        |run| run.descriptors_each,
        2,
        false,
    ),
    ("deliveries lost", |run| run.lost, 0, false),
];

/// Whom the gateway is compared with: who does the same work.
const PEER: usize = 2;

/// The figures of each number of subscribers, side by side, those of the gateway with their ratio to nchan's.
pub(crate) fn markdown(
    sizes: &[(Work, [Figures; Contender::ALL.len()])],
    [alone, beside]: &[Figures; 2],
) -> String {
    let mut out = String::new();
    // A String takes whatever is written to it.
    let _ = write!(out, "| subscribers | |");
    for (place, contender) in Contender::ALL.iter().enumerate() {
        let ratio = if place < PEER { " ratio |" } else { "" };
        let _ = write!(out, " {} |{ratio}", contender.name());
    }
    let columns = 2 + Contender::ALL.len() + PEER;
    let _ = writeln!(out, "\n{}|", "|---".repeat(columns));
    for (work, figures) in sizes {
        for (line, &(name, value, digits, ratio)) in MEASURES.iter().enumerate() {
            let label = match line {
                0 => format!("**{}**, {} messages/s", work.subscribers, work.rate),
                _ => String::new(),
            };
            let _ = write!(out, "| {label} | {name} |");
            let peer = value(&figures[PEER]);
            for (place, figures) in figures.iter().enumerate() {
                let value = value(figures);
                let _ = write!(out, " {value:.digits$} |");
                if place < PEER {
                    let shown = ratio && peer > 0.0;
                    let ratio = shown.then(|| format!("{:.2}", value / peer));
                    let _ = write!(out, " {} |", ratio.unwrap_or_default());
                }
            }
            out.push('\n');
        }
    }
    let _ = writeln!(
        out,
        "\nRatios are to nchan over Redis. A hundred subscribers of 200 messages a second of 4 KB each have a p99 of \
         {:.2} ms; beside a hundred who never read, and are given up, {:.2} ms.\n\n({}; {})",
        alone.p99,
        beside.p99,
        versions(),
        machine::line()
    );
    out
}

/// Of those who deliver.
fn versions() -> String {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        // nginx says its version on stderr.
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().to_owned()
    };
    let nginx = said("/usr/sbin/nginx", &["-v"]);
    let nginx = nginx.rsplit('/').next().unwrap_or_default();
    let package = ["-W", "-f", "${Version}", "libnginx-mod-nchan"];
    let nchan = said("dpkg-query", &package);
    let redis = said("redis-server", &["--version"]);
    let redis = redis
        .split("v=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let redis = redis.unwrap_or_default();
    format!("nginx {nginx}, nchan {nchan}, Redis {redis}")
}
