//! Who reads when, and that everybody has their own replies whoever it is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use socket2::Socket;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::command::Command;
use crate::upstream::resp_encode::Packed;

mod end;
mod kept;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// A pipe, and the other end of its connection.
struct Ends {
    runtime: Runtime,
    pipe: Pipe,
    driver: tokio::task::JoinHandle<()>,
    server: Socket,
}

/// One over TCP and one over a Unix socket.
fn each_kind() -> [Ends; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("its address")).expect("a socket");
    client.set_nonblocking(true).expect("a socket");
    let (server, _) = listener.accept().expect("the client");
    let tcp = Ends::new(server.into(), || {
        Box::new(tokio::net::TcpStream::from_std(client).expect("a socket"))
    });
    let (client, server) = UnixStream::pair().expect("sockets");
    client.set_nonblocking(true).expect("a socket");
    let unix = Ends::new(server.into(), || {
        Box::new(tokio::net::UnixStream::from_std(client).expect("a socket"))
    });
    [tcp, unix]
}

impl Ends {
    fn new(server: Socket, stream: impl FnOnce() -> Stream) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let within = runtime.enter();
        let (pipe, driver) = Pipe::new(stream());
        assert!(pipe.end.direct.is_some());
        let driver = tokio::spawn(driver);
        drop(within);
        Self {
            runtime,
            pipe,
            driver,
            server,
        }
    }
}

/// Replies to every command with its last part, until the end.
fn echo(mut stream: &Socket) {
    let (mut reader, mut received) = (Reader::default(), BytesMut::new());
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        received.extend_from_slice(&piece[..length]);
        while let Ok(Some(Reply::Array(parts))) = reader.next(&mut received) {
            let Some(Reply::Bulk(last)) = parts.last() else {
                panic!("not a command: {parts:?}");
            };
            let reply = format!("${}\r\n{}\r\n", last.len(), String::from_utf8_lossy(last));
            if stream.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// What a future comes to, which is soon.
fn soon<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    let within = runtime.block_on(async { tokio::time::timeout(LONG, future).await });
    within.expect("in time")
}

fn echoes(text: &str) -> Command {
    Command::new("ECHO").arg(text.to_owned())
}

fn send(pipe: &Pipe, text: &str) -> (Replies, Pump) {
    let by = Instant::now() + LONG;
    let sent = pipe.send(Packed::one(&echoes(text)), by, usize::MAX);
    sent.expect("a connection")
}

fn text(replies: Result<Vec<Outcome>, Late>) -> String {
    match &replies.expect("in time")[..] {
        [Ok(Reply::Bulk(text))] => String::from_utf8_lossy(text).into_owned(),
        other => panic!("{other:?}"),
    }
}

/// Reads on this thread for at most so long; `None` if nothing has come by then.
fn read_here(replies: &mut Replies, pump: Pump, time: Duration) -> Option<String> {
    let mut come = None;
    pump.run(Instant::now() + time, &mut || {
        let polled = pin!(&mut *replies).poll(&mut Context::from_waker(Waker::noop()));
        if let std::task::Poll::Ready(replies) = polled {
            come = Some(text(replies.expect("the connection lives")));
        }
        come.is_some()
    });
    come
}

#[test]
fn everybody_has_their_own_replies_whoever_reads() {
    for Ends {
        runtime,
        pipe,
        server,
        ..
    } in each_kind()
    {
        thread::scope(|scope| {
            scope.spawn(|| echo(&server));
            let clients = (0..6).map(|client| {
                let (pipe, handle) = (pipe.clone(), runtime.handle().clone());
                scope.spawn(move || {
                    for number in 0..500 {
                        let expected = format!("{client}-{number}");
                        let (mut replies, pump) = send(&pipe, &expected);
                        // Some read themselves, some give up soon, and some leave it all to the driver.
                        let here = match (client + number) % 3 {
                            0 => read_here(&mut replies, pump, LONG),
                            1 => read_here(&mut replies, pump, Duration::from_micros(50)),
                            _ => {
                                drop(pump);
                                None
                            }
                        };
                        let come = here.unwrap_or_else(|| {
                            let replies = handle.block_on(replies);
                            text(replies.expect("the connection lives"))
                        });
                        assert_eq!(come, expected);
                    }
                })
            });
            let clients: Vec<_> = clients.collect();
            for client in clients {
                client.join().expect("its replies");
            }
            server.shutdown(std::net::Shutdown::Both).expect("a socket");
        });
    }
}

#[test]
fn what_is_large_goes_whole_among_what_is_small() {
    for Ends {
        runtime,
        pipe,
        server,
        ..
    } in each_kind()
    {
        thread::scope(|scope| {
            // Nobody reads yet, so that the socket is full before all has been sent.
            let sizes = [3, 100_000, 5, 3_000_000, 7, 70_000, 200_000, 9];
            let sent = sizes.map(|size| {
                let text = size.to_string().repeat(size);
                let (replies, pump) = send(&pipe, &text);
                drop(pump);
                (text, replies)
            });
            scope.spawn(|| echo(&server));
            for (expected, replies) in sent {
                let replies = soon(&runtime, replies).expect("the connection lives");
                assert!(text(replies) == expected, "{} bytes", expected.len());
            }
            server.shutdown(std::net::Shutdown::Both).expect("a socket");
        });
    }
}

#[test]
fn what_a_thread_does_not_wait_for_is_read_by_the_driver() {
    for Ends {
        runtime,
        pipe,
        server,
        ..
    } in each_kind()
    {
        let (mut replies, pump) = send(&pipe, "late");
        assert_eq!(
            read_here(&mut replies, pump, Duration::from_millis(1)),
            None
        );
        thread::scope(|scope| {
            scope.spawn(|| echo(&server));
            let replies = soon(&runtime, replies).expect("the connection lives");
            assert_eq!(text(replies), "late");
            server.shutdown(std::net::Shutdown::Both).expect("a socket");
        });
    }
}

#[test]
fn a_thread_reads_no_longer_than_it_wants_to_however_much_comes() {
    const COUNT: usize = 2_000_000;
    for Ends {
        runtime,
        pipe,
        driver,
        mut server,
    } in each_kind()
    {
        let packed = Packed {
            buffer: WriteBuffer::default(),
            count: COUNT,
        };
        let sent = pipe.send(packed, Instant::now() + LONG, usize::MAX);
        let (_replies, pump) = sent.expect("a connection");
        let (begin, begun) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                let piece = b"+OK\r\n".repeat(COUNT / 1000);
                for _ in 0..1000 {
                    // Nobody reads to the end.
                    let written = server.write_all(&piece);
                    if begin.send(()).is_err() || written.is_err() {
                        return;
                    }
                }
            });
            let mut waits = true;
            pump.run(Instant::now() + Duration::from_millis(5), &mut || {
                if std::mem::take(&mut waits) {
                    begun.recv().expect("it is written");
                }
                false
            });
            let missing = pipe.end.shared.lock().waiting.front().map(|w| w.missing);
            assert!(missing.is_some_and(|missing| missing > 0), "{missing:?}");
            // Or who writes would wait.
            drop((begun, driver, pipe));
            runtime.shutdown_background();
        });
    }
}

#[test]
fn the_end_is_noticed_while_nobody_waits() {
    for Ends {
        runtime,
        pipe,
        driver,
        server,
    } in each_kind()
    {
        thread::scope(|scope| {
            scope.spawn(|| echo(&server));
            // From here on the runtime's poller does not know the socket.
            let (mut replies, pump) = send(&pipe, "here");
            assert_eq!(read_here(&mut replies, pump, LONG).as_deref(), Some("here"));
            server.shutdown(std::net::Shutdown::Both).expect("a socket");
        });
        soon(&runtime, driver).expect("without a panic");
        assert!(
            pipe.send(
                Packed::one(&echoes("no more")),
                Instant::now() + LONG,
                usize::MAX
            )
            .is_none()
        );
    }
}

#[test]
fn the_end_is_told_to_who_reads() {
    for Ends {
        runtime,
        pipe,
        driver,
        server,
    } in each_kind()
    {
        let (replies, pump) = send(&pipe, "never");
        thread::scope(|scope| {
            scope.spawn(|| drop(server));
            pump.run(Instant::now() + LONG, &mut || !replies.is_empty());
        });
        assert!(soon(&runtime, replies).is_err());
        soon(&runtime, driver).expect("without a panic");
    }
}

#[test]
fn nothing_is_handed_out_after_what_is_no_reply() {
    for Ends {
        runtime,
        pipe,
        mut server,
        ..
    } in each_kind()
    {
        let (broken, pump) = send(&pipe, "broken");
        // This one is not to have the driver read.
        let (next, _unused) = send(&pipe, "next");
        server.write_all(b"what?\r\n+next\r\n").expect("a socket");
        // The driver may have read it before.
        let by = Instant::now() + Duration::from_millis(100);
        pump.run(by, &mut || !broken.is_empty());
        assert!(soon(&runtime, broken).is_err());
        assert!(soon(&runtime, next).is_err());
    }
}

#[test]
fn a_thread_that_panics_leaves_nobody_waiting() {
    for Ends {
        runtime,
        pipe,
        server,
        ..
    } in each_kind()
    {
        let (replies, pump) = send(&pipe, "not lost");
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            pump.run(Instant::now() + LONG, &mut || panic!("as a test has it"));
        }));
        assert!(panicked.is_err());
        thread::scope(|scope| {
            scope.spawn(|| echo(&server));
            let replies = soon(&runtime, replies).expect("the connection lives");
            assert_eq!(text(replies), "not lost");
            server.shutdown(std::net::Shutdown::Both).expect("a socket");
        });
    }
}

#[test]
fn a_pipe_that_nobody_needs_ends() {
    for Ends {
        runtime,
        pipe,
        driver,
        server,
    } in each_kind()
    {
        let ended = thread::scope(|scope| {
            scope.spawn(|| echo(&server));
            let (mut replies, pump) = send(&pipe, "last");
            assert_eq!(read_here(&mut replies, pump, LONG).as_deref(), Some("last"));
            drop(pipe);
            let ended = runtime.block_on(async { tokio::time::timeout(LONG, driver).await });
            server.shutdown(std::net::Shutdown::Both).expect("a socket");
            ended
        });
        ended.expect("before the server").expect("without a panic");
    }
}
