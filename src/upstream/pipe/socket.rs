//! A pipe over a plain socket, which any thread can read and write.
//!
//! Who waits for a reply reads it there and then, and what came before it for others: the runtime's thread, which
//! would have to be woken only to wake that one, is spared. When nobody does, the driver reads. So that the poller
//! of the runtime is not woken either, the socket is registered with it only while the driver is to read.
//! (Measured beside a driver that always reads: {gain}.)

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use tokio::net;

use super::super::resp::Reader;
use super::{READ_SIZE, Shared, keep_time, log, malformed};

/// What a thread reads at once.
const SCRATCH: usize = 16 * 1024;

/// The socket, and who reads it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    /// Whoever has this reads.
    input: Mutex<Input>,
    watch: Mutex<Watch>,
}

#[derive(Debug)]
struct Input {
    reader: Reader,
    received: BytesMut,
    scratch: Box<[u8]>,
}

/// How the driver learns that it is to read.
#[derive(Debug, Default)]
struct Watch {
    /// The socket at the runtime's poller, while the driver is to read.
    registered: Option<net::TcpStream>,
    /// Whether a thread that waits for its replies reads.
    led: bool,
    /// What that thread found to be wrong.
    failed: Option<io::Error>,
    driver: Option<Waker>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            input: Mutex::new(Input {
                reader: Reader::default(),
                received: BytesMut::new(),
                scratch: vec![0; SCRATCH].into(),
            }),
            watch: Mutex::default(),
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that somebody reads what replies there will be.
    pub(super) fn have_read(&self) {
        let watch = self.watch();
        if !watch.led && watch.registered.is_none() {
            watch.wake();
        }
    }

    /// Reads until this point in time or until it is done; or has it read, if somebody else is at it.
    pub(super) fn read_until(
        &self,
        shared: &Shared,
        by: Instant,
        is_done: &mut dyn FnMut() -> bool,
    ) {
        let Some(mut turn) = Turn::begin(self, shared) else {
            self.have_read();
            return;
        };
        // What is large is the driver's.
        while !is_done() && !turn.input.as_ref().is_some_and(|i| i.reader.lacks_much()) {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let Some(input) = &mut turn.input else { return };
            let read = { self.wait(left) }.and_then(|()| self.read(input, shared));
            if let Err(error) = read {
                turn.failed = Some(error);
                return;
            }
        }
    }

    /// Waits until there is something to read, or for so long.
    fn wait(&self, time: std::time::Duration) -> io::Result<()> {
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what is there, and hands it out.
    fn read(&self, input: &mut Input, shared: &Shared) -> io::Result<()> {
        loop {
            match (&self.stream).read(&mut input.scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    input.received.extend_from_slice(&input.scratch[..count]);
                    input.hand_out(shared)?;
                    if count < input.scratch.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads when it is the driver's to read. Ends with the connection.
    fn poll_read(&self, shared: &Shared, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut watch = self.watch();
        let watch = &mut *watch;
        if let Some(error) = watch.failed.take() {
            return Poll::Ready(Err(error));
        }
        watch.driver = Some(context.waker().clone());
        if watch.led {
            return Poll::Pending;
        }
        if watch.registered.is_none() {
            watch.registered = Some(net::TcpStream::from_std(self.stream.try_clone()?)?);
        }
        let Some(registered) = &watch.registered else {
            return Poll::Pending;
        };
        loop {
            ready!(registered.poll_read_ready(context))?;
            let mut input = match self.input.try_lock() {
                Ok(input) => input,
                // A thread has just begun to read, and will say when it has done.
                Err(TryLockError::WouldBlock) => return Poll::Pending,
                Err(TryLockError::Poisoned(_)) => {
                    return Poll::Ready(Err(io::Error::other("a thread that read panicked")));
                }
            };
            input.received.reserve(READ_SIZE);
            match registered.try_read_buf(&mut input.received) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => input.hand_out(shared)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            if shared.lock().is_done() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Input {
    fn hand_out(&mut self, shared: &Shared) -> io::Result<()> {
        while let Some(reply) = self.reader.next(&mut self.received).map_err(malformed)? {
            shared.hand_out(reply)?;
        }
        shared.note_laden(&self.reader);
        Ok(())
    }
}

/// The time during which a thread reads that waits for its replies.
struct Turn<'a> {
    socket: &'a Socket,
    shared: &'a Shared,
    input: Option<MutexGuard<'a, Input>>,
    failed: Option<io::Error>,
}

impl<'a> Turn<'a> {
    fn begin(socket: &'a Socket, shared: &'a Shared) -> Option<Self> {
        let input = socket.input.try_lock().ok()?;
        let mut watch = socket.watch();
        watch.led = true;
        watch.registered = None;
        drop(watch);
        Some(Self {
            socket,
            shared,
            input: Some(input),
            failed: None,
        })
    }
}

impl Drop for Turn<'_> {
    /// Leaves what is still to be read to the driver.
    fn drop(&mut self) {
        let mut watch = self.socket.watch();
        watch.led = false;
        watch.failed = self.failed.take();
        let is_wanted = watch.failed.is_some() || self.shared.is_waited_for();
        let driver = if is_wanted {
            watch.driver.clone()
        } else {
            None
        };
        drop(watch);
        // It can read from here on, and not before.
        self.input = None;
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl Watch {
    fn wake(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }
}

/// Moves the bytes; ends when the connection has ended, or nobody needs it any more.
pub(super) async fn drive(shared: Arc<Shared>, socket: Arc<Socket>) {
    tokio::select! {
        ended = write(&shared, &socket) => log(ended),
        ended = poll_fn(|context| socket.poll_read(&shared, context)) => log(ended),
        ended = hung_up(&socket) => log(ended),
        () = keep_time(&shared) => {}
    }
    shared.end();
}

/// Writes what senders have left.
async fn write(shared: &Shared, socket: &Socket) -> io::Result<()> {
    loop {
        let out = {
            let mut state = shared.lock();
            if state.is_done() {
                return Ok(());
            }
            let free = !state.writing && !state.out.is_empty();
            state.writing |= free;
            free.then(|| state.out.split())
        };
        let Some(mut out) = out else {
            shared.to_write.notified().await;
            continue;
        };
        let registered = net::TcpStream::from_std(socket.stream.try_clone()?)?;
        while !out.is_empty() {
            registered.writable().await?;
            match registered.try_write(&out) {
                Ok(count) => out.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        shared.lock().writing = false;
    }
}

/// Has the driver read once the other end is closed, while it has nothing else to read: so an end is noticed that comes
/// while nobody waits for anything.
async fn hung_up(socket: &Socket) -> io::Result<()> {
    let end = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &end,
        &socket.stream,
        epoll::EventData::new_u64(0),
        epoll::EventFlags::RDHUP,
    )?;
    // The runtime's poller takes any file by this name.
    let end = net::unix::pipe::Receiver::from_file_unchecked(File::from(end))?;
    end.readable().await?;
    socket.have_read();
    std::future::pending().await
}
