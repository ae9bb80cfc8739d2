//! The gateway beside other ways to Redis over HTTP: the same requests to each in turn, by `wrk`.
//!
//! `cargo bench --bench peers` runs everything and takes half an hour; `-- get-16 publish` runs only these kinds
//! of work, `--quick` a short look at each. What has been run in full goes to `docs/benchmarks.md`.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot do its work has nothing better to do than to end"
)]

mod client_cache;
#[path = "../common/mod.rs"]
mod common;
mod measure;
mod neighbours;
mod pipelines;
mod relay;
mod rest;
mod servers;
mod table;
mod work;
mod wrk;

use std::time::Duration;

use clap::Parser;

use common::tools::{Tool, require};
use common::{nginx, page};
use servers::Site;
use work::{WORK, Work};

/// Compares the gateway with Webdis and with nginx and Lua.
#[derive(Debug, Parser)]
struct Options {
    /// The kinds of work to run; all without any. Their names are those of the headings in docs/benchmarks.md.
    names: Vec<String>,
    /// A short look: few connections, one round, nothing written
    #[arg(long)]
    quick: bool,
    /// The numbers of connections, instead of those that each kind of work has; `neighbours` always has 64
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// How often each server has its turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many seconds each turn takes
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Does not write to docs/benchmarks.md
    #[arg(long)]
    dry: bool,
    /// Runs only the servers of these names, and writes nothing
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// How long and how often.
#[derive(Debug, Clone)]
struct Extent {
    rounds: usize,
    turn: Duration,
    /// Instead of those of the work.
    connections: Vec<usize>,
}

impl Options {
    fn extent(&self) -> Extent {
        let quick = Extent {
            rounds: 1,
            turn: Duration::from_secs(1),
            connections: vec![1, 64],
        };
        let full = Extent {
            rounds: self.rounds,
            turn: Duration::from_secs(self.seconds),
            connections: Vec::new(),
        };
        let mut extent = if self.quick { quick } else { full };
        if !self.connections.is_empty() {
            extent.connections.clone_from(&self.connections);
        }
        extent
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }

    fn publish(&self, name: &str, table: &str) {
        println!("\n{name}\n\n{table}");
        let as_it_should_be = self.connections.is_empty() && self.servers.is_empty();
        if as_it_should_be && !self.quick && !self.dry {
            page::replace(name, &format!("{table}\n\n({})", common::machine::line()));
        }
    }
}

fn main() {
    let options = Options::parse();
    common::network::isolate();
    common::machine::load_before();
    require(&[
        Tool {
            file: "redis-server",
            package: "redis-server",
        },
        Tool {
            file: "redis-benchmark",
            package: "redis-tools",
        },
        Tool {
            file: "webdis",
            package: "webdis",
        },
        Tool {
            file: "nginx",
            package: "nginx",
        },
        Tool {
            file: nginx::LUA,
            package: "libnginx-mod-http-lua",
        },
        Tool {
            file: "wrk",
            package: "wrk",
        },
    ]);
    let known = WORK.iter().map(|work| work.name).chain([
        pipelines::NAME,
        rest::NAME,
        neighbours::NAME,
        client_cache::NAME,
    ]);
    let known: Vec<_> = known.collect();
    for name in &options.names {
        assert!(
            known.contains(&&name[..]),
            "{name} is none of {}",
            known.join(", ")
        );
    }
    let extent = options.extent();
    if options.wants(rest::NAME) {
        options.publish(rest::NAME, &rest::table());
    }
    if options.wants(neighbours::NAME) {
        let table = neighbours::table(&extent, &options.servers);
        options.publish(neighbours::NAME, &table);
    }
    if options.wants(client_cache::NAME) {
        options.publish(client_cache::NAME, &client_cache::table(&extent));
    }
    for away in [0, 1, 5] {
        let wanted = |work: &&Work| work.away == away && options.wants(work.name);
        let works: Vec<_> = WORK.iter().filter(wanted).collect();
        let pipelines = away == 0 && options.wants(pipelines::NAME);
        if works.is_empty() && !pipelines {
            continue;
        }
        let site = Site::start(Duration::from_millis(away), &options.servers);
        for work in works {
            let rows = measure::all(&site, work, &extent);
            options.publish(work.name, &table::markdown(&rows));
        }
        if pipelines {
            options.publish(pipelines::NAME, &pipelines::table(&site, &extent));
        }
    }
}
