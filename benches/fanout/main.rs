//! Fan-out compared: the gateway and nginx with nchan deliver the same messages to the same number of
//! subscribers, in turn, over the same Redis server.
//!
//! `cargo bench --bench fanout` prints what each takes for it, side by side, and writes the table in
//! `docs/benchmarks.md`; `-- --help` says what else it can do. nchan is published to by HTTP, its only way; the gateway too, and
//! in Redis, which is what it is for. nchan without Redis, which does less, is shown beside them.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark on a machine that lacks something can only end"
)]

#[path = "../common/mod.rs"]
mod common;
mod contender;
mod figures;
mod publisher;
mod subscribers;
mod table;

use std::time::Duration;

use clap::Parser;
use common::tools::{Tool, require};
use common::{nginx, page};
use contender::Contender;
use figures::{Figures, Run, Work};

/// Compares the gateway with nginx and nchan.
#[derive(Debug, Parser)]
struct Options {
    /// A short look: few subscribers, one round, nothing written
    #[arg(long)]
    quick: bool,
    /// Measures the gateway alone, and writes nothing
    #[arg(long)]
    gateway: bool,
    /// How often each of them has its turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is done.
struct Plan {
    subscribers: &'static [usize],
    /// How long messages are published for.
    time: Duration,
    rounds: usize,
}

impl Options {
    fn plan(&self) -> Plan {
        if self.quick {
            return Plan {
                subscribers: &[100, 1_000],
                time: Duration::from_secs(2),
                rounds: 1,
            };
        }
        Plan {
            subscribers: &[100, 1_000, 5_000],
            time: Duration::from_secs(4),
            rounds: self.rounds,
        }
    }
}

/// Deliveries a second, whatever the number of subscribers: about half of what the slowest contender can do
/// on a core.
const DELIVERIES: usize = 40_000;

/// What a hundred subscribers who never read cost a hundred who do: the gateway without them and with them.
fn silence(plan: &Plan) -> [Figures; 2] {
    let mut runs = [Vec::new(), Vec::new()];
    for _ in 0..plan.rounds {
        for (silent, runs) in [0, 100].into_iter().zip(&mut runs) {
            let work = Work {
                subscribers: 100,
                rate: 200,
                time: plan.time,
                // Large enough that those who do not read are given up within the run.
                size: 4_000,
                silent,
            };
            let run = Run::measure(Contender::Gateway, work);
            println!("100 subscribers beside {silent} who never read: {run}");
            runs.push(run);
        }
    }
    runs.map(|runs| Figures::median(&runs))
}

fn main() {
    let options = Options::parse();
    common::network::isolate();
    let plan = options.plan();
    common::machine::load_before();
    require(&[
        Tool {
            file: "redis-server",
            package: "redis-server",
        },
        Tool {
            file: "nginx",
            package: "nginx",
        },
        Tool {
            file: nginx::NCHAN,
            package: "libnginx-mod-nchan",
        },
    ]);
    // Each subscriber is a descriptor here, and one in the contender, which inherits the limit.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let mut sizes = Vec::new();
    for &subscribers in plan.subscribers {
        let work = Work {
            subscribers,
            rate: DELIVERIES / subscribers,
            time: plan.time,
            size: 100,
            silent: 0,
        };
        let mut runs = Contender::ALL.map(|_| Vec::new());
        // Interleaved, so that what disturbs the machine for a while disturbs all of them.
        for _ in 0..plan.rounds {
            for (contender, runs) in Contender::ALL.iter().zip(&mut runs) {
                if options.gateway && *contender != Contender::Gateway {
                    continue;
                }
                let run = Run::measure(*contender, work);
                println!("{subscribers} subscribers, {}: {run}", contender.name());
                runs.push(run);
            }
        }
        if options.gateway {
            continue;
        }
        let figures = runs.map(|runs| Figures::median(&runs));
        sizes.push((work, figures));
    }
    if options.gateway {
        return;
    }
    let table = table::markdown(&sizes, &silence(&plan));
    println!("\n{table}");
    if !options.quick {
        page::replace("fanout", &table);
    }
}
