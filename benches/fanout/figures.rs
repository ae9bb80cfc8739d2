//! What is measured of a run, and of several runs.

use std::fmt;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::median::median;
use crate::common::redis;
use crate::contender::Contender;
use crate::publisher::{self, Messages};
use crate::subscribers::Subscribers;

/// How long what was published may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is done in a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) subscribers: usize,
    /// Messages a second.
    pub(crate) rate: usize,
    pub(crate) time: Duration,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Further subscribers, who never read.
    pub(crate) silent: usize,
}

/// What one run took.
pub(crate) struct Run {
    /// Processor time for each delivered event, in microseconds.
    pub(crate) cpu: f64,
    /// From when a message was due to be published to when it was read, in milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
    /// Resident memory after the run, in MB.
    pub(crate) memory: f64,
    /// How much of it came with the subscribers, in KB for each.
    pub(crate) memory_each: f64,
    pub(crate) descriptors_each: f64,
    pub(crate) lost: f64,
}

impl Run {
    /// Starts a contender over a Redis server of its own, and has it deliver.
    pub(crate) fn measure(contender: Contender, work: Work) -> Self {
        let redis = redis::start();
        let serving = contender.start(&redis);
        let (address, process) = (serving.process.address, &serving.process);
        let origin = Instant::now();
        let count = work.subscribers;
        let messages = Messages {
            count: work.rate * usize::try_from(work.time.as_secs()).unwrap(),
            apart: Duration::from_secs(1) / u32::try_from(work.rate).unwrap(),
            size: work.size,
        };
        let expected = messages.count * count;
        // One of each first, so that what is made once is not counted to the subscribers.
        let mut first = Subscribers::open(address, serving.listen_path, 1, origin);
        let one = Messages {
            count: 1,
            ..messages
        };
        publisher::publish(serving.way, one, origin);
        first.receive(1, PATIENCE);
        drop(first);
        let (memory, descriptors) = (process.memory(), process.descriptors());
        let silent = (0..work.silent).map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            let path = serving.listen_path;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream
        });
        let silent: Vec<_> = silent.collect();
        let mut all = Subscribers::open(address, serving.listen_path, count, origin);
        let descriptors = process.descriptors() - descriptors;
        let cpu = process.processor_time();
        std::thread::scope(|scope| {
            let way = serving.way;
            scope.spawn(move || publisher::publish(way, messages, origin));
            all.receive(expected, work.time + PATIENCE);
        });
        drop(silent);
        let cpu = process.processor_time() - cpu;
        let memory_after = process.memory();
        let grown = memory_after.saturating_sub(memory);
        let mut latencies = std::mem::take(&mut all.latencies);
        latencies.sort_unstable();
        let delivered = latencies.len();
        assert!(delivered > 0, "{} delivers nothing", contender.name());
        let at = |share: f64| f64::from(latencies[((delivered - 1) as f64 * share) as usize]) / 1e3;
        Self {
            cpu: cpu.as_secs_f64() * 1e6 / delivered as f64,
            p50: at(0.5),
            p99: at(0.99),
            longest: at(1.0),
            memory: memory_after as f64 / 1e6,
            memory_each: grown as f64 / 1e3 / count as f64,
            descriptors_each: descriptors as f64 / count as f64,
            lost: expected.saturating_sub(delivered) as f64,
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} µs a delivery, p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms, {:.1} MB, {:.2} KB and {:.2} descriptors \
             a subscriber, {} lost",
            self.cpu,
            self.p50,
            self.p99,
            self.longest,
            self.memory,
            self.memory_each,
            self.descriptors_each,
            self.lost
        )
    }
}

/// What is shown of several runs: of each measure its median; of losses their sum.
pub(crate) type Figures = Run;

impl Figures {
    pub(crate) fn median(runs: &[Self]) -> Self {
        let of = |measure: fn(&Self) -> f64| median(runs.iter().map(measure));
        Self {
            cpu: of(|run| run.cpu),
            p50: of(|run| run.p50),
            p99: of(|run| run.p99),
            longest: of(|run| run.longest),
            memory: of(|run| run.memory),
            memory_each: of(|run| run.memory_each),
            descriptors_each: of(|run| run.descriptors_each),
            lost: runs.iter().map(|run| run.lost).sum(),
        }
    }
}
