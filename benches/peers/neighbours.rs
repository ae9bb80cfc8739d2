//! What a quick client has of the others: `wrk` sends GETs of 16 bytes, alone and beside clients that take their
//! time or take much.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Extent;
use super::common::redis;
use super::measure::{Figures, medians, turn, warm_up};
use super::servers::{Kind, wanted};
use super::work;

pub(crate) const NAME: &str = "neighbours";

/// Of the quick ones.
const CONNECTIONS: usize = 64;

/// Those beside them, but for those who block or want much.
const CROWD: usize = 100;

/// A piece that a slow client reads or sends, and how long it takes until its next one: 64 KiB a second for each
/// of them, 6.4 MB for all.
const PIECE: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(250);

/// The sizes of a value that is read slowly, of which a hundred fit in what the gateway holds at once, and of one
/// that is sent slowly or asked for again and again.
const BIG: usize = 1024 * 1024;
const HUGE: usize = 10 * 1024 * 1024;

/// How long they have been there before the quick ones come: some servers need a while for a hundred big answers.
const AHEAD: Duration = Duration::from_secs(3);

/// Who else asks.
#[derive(Debug, Clone, Copy)]
enum Beside {
    Nobody,
    /// Who ask for a big value, and read it slowly.
    SlowReaders,
    /// Who ask for a big value, and do not read it.
    Silent,
    /// Who send a huge value slowly.
    SlowSenders,
    /// One who asks for a huge value as soon as it has got it.
    Greedy,
    /// The same, but it asks Redis itself: what Redis and the machine do not let others have is nobody else's to give.
    GreedyAtRedis,
    /// One who sends a huge value as soon as the last one is taken.
    Sender,
    /// The same, to Redis itself.
    SenderAtRedis,
    /// Eight who wait for a list that stays empty.
    Blocked,
}

const ALL: [Beside; 9] = [
    Beside::Nobody,
    Beside::SlowReaders,
    Beside::Silent,
    Beside::SlowSenders,
    Beside::Greedy,
    Beside::GreedyAtRedis,
    Beside::Sender,
    Beside::SenderAtRedis,
    Beside::Blocked,
];

/// The table as Markdown.
pub(crate) fn table(extent: &Extent, servers: &[String]) -> String {
    let redis = redis::start();
    let values = [("small", 16), ("big", BIG), ("huge", HUGE)];
    let values = values.map(|(key, size)| (key.to_owned(), vec![b'x'; size]));
    redis::fill(redis.address, values.into_iter());
    let kinds = [Kind::Gateway, Kind::Webdis { threads: 1 }];
    let kinds: Vec<_> = { kinds.into_iter() }
        .filter(|kind| wanted(*kind, servers))
        .collect();
    let mut runs = vec![vec![Vec::new(); ALL.len()]; kinds.len()];
    for _ in 0..extent.rounds {
        for (place, beside) in ALL.into_iter().enumerate() {
            for (kind, runs) in kinds.iter().zip(&mut runs) {
                let figures = measure(*kind, beside, redis.address, extent);
                eprintln!("{NAME:>10} {}: {beside:?} {figures:?}", kind.name());
                runs[place].push(figures);
            }
        }
    }
    let medians = runs
        .iter()
        .map(|runs| runs.iter().map(|runs| medians(runs)).collect());
    markdown(&kinds, &medians.collect::<Vec<_>>())
}

/// One turn of a server of its own, so that nothing is left of those who were beside it before.
fn measure(kind: Kind, beside: Beside, redis: SocketAddr, extent: &Extent) -> Figures {
    let server = kind.start(redis);
    let script = work::get_small(kind);
    warm_up(&server, &script, CONNECTIONS);
    let at = match beside {
        Beside::GreedyAtRedis | Beside::SenderAtRedis => redis,
        _ => server.address,
    };
    let neighbours = Neighbours::start(beside, kind, at);
    thread::sleep(AHEAD);
    let name = format!("{NAME}: {} beside {beside:?}", kind.name());
    let figures = turn(&name, &server, &script, CONNECTIONS, extent.turn);
    neighbours.stop();
    figures
}

/// One row for each measure, with what it is of that without neighbours.
fn markdown(kinds: &[Kind], figures: &[Vec<Option<Figures>>]) -> String {
    type Measure = (&'static str, fn(&Figures) -> f64, usize);
    let measures: [Measure; 3] = [
        ("requests/s", |figures| figures.per_second, 0),
        ("p50, ms", |figures| figures.p50, 2),
        ("p99, ms", |figures| figures.p99, 2),
    ];
    let names: Vec<_> = { kinds.iter() }
        .map(|kind| format!("{} | to alone", kind.name()))
        .collect();
    let mut table = format!(
        "| beside | | {} |\n|---|---|{}\n",
        names.join(" | "),
        "---|---|".repeat(names.len())
    );
    for (place, beside) in ALL.into_iter().enumerate() {
        for (line, (title, of, digits)) in measures.into_iter().enumerate() {
            let whom = if line == 0 {
                beside.name()
            } else {
                String::new()
            };
            let cells = figures.iter().map(|figures| {
                // Who answered nothing has no times.
                let of = |place: usize| {
                    figures[place]
                        .filter(|f| f.per_second > 0.0)
                        .map(|f| of(&f))
                };
                let value = of(place).map(|value| format!("{value:.digits$}"));
                let ratio = of(place)
                    .zip(of(0))
                    .map(|(own, alone)| format!("{:.2}", own / alone));
                format!(
                    "{} | {}",
                    value.as_deref().unwrap_or("none"),
                    ratio.as_deref().unwrap_or("–")
                )
            });
            let cells: Vec<_> = cells.collect();
            table += &format!("| {whom} | {title} | {} |\n", cells.join(" | "));
        }
    }
    table.trim_end().to_owned()
}

impl Beside {
    fn name(self) -> String {
        match self {
            Self::Nobody => "nobody".into(),
            Self::SlowReaders => format!("{CROWD} who read 1 MiB slowly"),
            Self::Silent => format!("{CROWD} who ask for 1 MiB and do not read it"),
            Self::SlowSenders => format!("{CROWD} who send 10 MiB slowly"),
            Self::Greedy => "one who gets 10 MiB again and again".into(),
            Self::GreedyAtRedis => "the same from Redis itself".into(),
            Self::Sender => "one who sends 10 MiB again and again".into(),
            Self::SenderAtRedis => "the same to Redis itself".into(),
            Self::Blocked => "8 in BLPOP".into(),
        }
    }

    fn count(self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::SlowReaders | Self::Silent | Self::SlowSenders => CROWD,
            Self::Greedy | Self::GreedyAtRedis | Self::Sender | Self::SenderAtRedis => 1,
            Self::Blocked => 8,
        }
    }

    /// What each of them sends first.
    fn request(self, kind: Kind) -> String {
        let get = |key| {
            format!(
                "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
                work::get(kind, key)
            )
        };
        let put = format!(
            "PUT {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {HUGE}\r\n\r\n",
            work::set(kind, "sent")
        );
        match self {
            Self::Nobody => String::new(),
            Self::SlowReaders | Self::Silent => get("big"),
            Self::Greedy => get("huge"),
            Self::GreedyAtRedis => "GET huge\r\n".into(),
            Self::SenderAtRedis => {
                let value = "x".repeat(HUGE);
                format!("*3\r\n$3\r\nSET\r\n$4\r\nsent\r\n${HUGE}\r\n{value}\r\n")
            }
            Self::SlowSenders => put,
            Self::Sender => put + &"x".repeat(HUGE),
            Self::Blocked => work::blocking_pop(kind),
        }
    }
}

/// Clients beside the quick ones.
struct Neighbours {
    streams: Vec<TcpStream>,
    over: Arc<AtomicBool>,
    /// The one that reads and sends for all of them, where they do.
    thread: Option<JoinHandle<()>>,
}

impl Neighbours {
    fn start(beside: Beside, kind: Kind, at: SocketAddr) -> Self {
        let request = beside.request(kind);
        let connect = |_| {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        };
        let streams: Vec<_> = (0..beside.count()).map(connect).collect();
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let own = streams.iter().map(|stream| stream.try_clone().unwrap());
        let mut own: Vec<_> = own.collect();
        let thread = match beside {
            Beside::Nobody | Beside::Silent | Beside::Blocked => None,
            Beside::Greedy | Beside::GreedyAtRedis => {
                let mut stream = own.remove(0);
                Some(thread::spawn(move || {
                    again_and_again(&mut stream, request.as_bytes(), HUGE);
                }))
            }
            Beside::Sender | Beside::SenderAtRedis => {
                let mut stream = own.remove(0);
                Some(thread::spawn(move || {
                    again_and_again(&mut stream, request.as_bytes(), 1);
                }))
            }
            Beside::SlowReaders => Some(thread::spawn(move || {
                take_turns(&own, &seen, |mut stream| {
                    let _ = stream.read(&mut [0; PIECE]);
                });
            })),
            Beside::SlowSenders => Some(thread::spawn(move || {
                take_turns(&own, &seen, |mut stream| {
                    let _ = stream.write(&[b'x'; PIECE]);
                });
            })),
        };
        Self {
            streams,
            over,
            thread,
        }
    }

    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        for stream in &self.streams {
            // The server may have ended it.
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread {
            thread.join().unwrap();
        }
    }
}

/// Does something with each stream, evenly over the pause, until it is over. A stream that is not ready passes.
fn take_turns(streams: &[TcpStream], over: &AtomicBool, act: impl Fn(&TcpStream)) {
    let apart = PAUSE / u32::try_from(streams.len()).unwrap();
    for stream in streams {
        stream.set_nonblocking(true).unwrap();
    }
    for stream in streams.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            return;
        }
        act(stream);
        thread::sleep(apart);
    }
}

/// Reads an answer of so many bytes as fast as it comes, and asks for the next one, until the connection ends.
fn again_and_again(stream: &mut TcpStream, request: &[u8], answer: usize) {
    let mut piece = vec![0; 256 * 1024];
    let mut left = answer;
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        // What is around a value makes each answer a little longer, so it is asked for a little early.
        left = left.saturating_sub(length);
        if left == 0 {
            left = answer;
            if stream.write_all(request).is_err() {
                return;
            }
        }
    }
}
