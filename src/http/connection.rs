//! One HTTP connection: what has been received and not yet parsed, what has been answered and not yet sent,
//! and by when the client has to make progress.
//!
//! The socket is non-blocking and its events are edge-triggered: code that stops reading before the kernel has no more
//! must see to it that the connection is looked at again (`has_more`).

mod deadlines;
mod pending;

use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use bytes::BytesMut;
use tiny_http::Method;

use super::budget::{Budget, Reservation};
use super::connection_limit::Place;
use super::exchange::Exchange;
use super::head::{Framing, Head, HeadReader, Limits};
use super::incoming_body::IncomingBody;
use super::outbox::{Outbox, WRITE_BEHIND};
use super::problem::Problem;
use super::request::Request;
use super::response::{Form, Response};
use super::response_context::ResponseContext;
use super::service::Service;
use super::waiting::Waiting;

pub(super) use deadlines::LINGER;

/// How many bytes are read ahead of the requests that are being answered.
const READ_AHEAD: usize = 128 * 1024;

/// How many bytes are read before other connections have their turn.
const READ_AT_ONCE: usize = 64 * 1024;

/// What the poller said of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signal {
    pub(super) readable: bool,
    /// The client has ended its side.
    pub(super) closed: bool,
}

impl Signal {
    /// Adds what the poller said later.
    pub(super) fn add(&mut self, later: Self) {
        self.readable |= later.readable;
        self.closed |= later.closed;
    }
}

pub(super) struct Connection {
    stream: TcpStream,
    /// Received and not parsed.
    received: BytesMut,
    answers: Outbox,
    phase: Phase,
    /// When the phase began, or the last progress in it that counts.
    since: Instant,
    /// Whether the kernel may have more to read.
    readable: bool,
    /// Whether the client has ended its side.
    closing: bool,
    /// Whether all that it sent before that has been read.
    ended: bool,
    /// Whether no more requests are taken up until the client has taken its answers.
    held_back: bool,
    /// Whether the client waits for `100 Continue`.
    invite: bool,
    /// Given back when the connection is gone.
    place: Place,
}

enum Phase {
    Head(HeadReader),
    Body(Box<IncomingBody>),
    /// The last request waits for its commands, which were sent apart from those of others.
    Waiting(Box<Waiting>),
    /// The last request asked for an event stream, which begins when all answers before it have been sent.
    BecomingStream(Box<Exchange>),
    /// No more requests are taken up: whatever the client still sends is thrown away until it closes.
    Lingering,
}

/// What a connection brings next.
pub(super) enum Next {
    /// A whole request, and how its answer is to be written.
    Request(Request, Form),
    /// A request that is answered before its body has come; the connection ends with that.
    Refused(Request, Form, Problem),
    /// Something that is no request; the connection ends with its answer.
    Fault(Form, Problem),
}

impl Connection {
    pub(super) fn new(stream: TcpStream, place: Place, now: Instant) -> Self {
        Self {
            stream,
            received: BytesMut::new(),
            answers: Outbox::new(),
            phase: Phase::Head(HeadReader::default()),
            since: now,
            readable: true,
            closing: false,
            ended: false,
            held_back: false,
            invite: false,
            place,
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Notes what the poller said.
    pub(super) fn note(&mut self, signal: Signal) {
        self.readable |= signal.readable || signal.closed;
        self.closing |= signal.closed;
    }

    /// Reads what is there, as far as it is wanted.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) fn receive(&mut self, scratch: &mut [u8], now: Instant) -> io::Result<()> {
        let mut taken = 0;
        while self.wants_more() && taken < READ_AT_ONCE {
            match self.stream.read(scratch) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    taken += count;
                    if matches!(self.phase, Phase::Lingering) {
                        continue;
                    }
                    let is_first = self.received.is_empty() && matches!(self.phase, Phase::Head(_));
                    // Line ends before a head are ignored, so the time for a head does not begin with them.
                    if is_first && !scratch[..count].iter().all(|byte| b"\r\n".contains(byte)) {
                        self.since = now;
                    }
                    self.received.extend_from_slice(&scratch[..count]);
                    // If it was less than there was room for, the kernel has no more, except perhaps the end.
                    self.readable = count == scratch.len() || self.closing;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wants_more(&self) -> bool {
        self.readable && !self.ended && self.received.len() < self.wanted()
    }

    /// How much may be held unparsed.
    fn wanted(&self) -> usize {
        match &self.phase {
            // While it is held back, what is received is not counted in the memory budget.
            Phase::Body(incoming) if !self.held_back => READ_AHEAD.max(incoming.wanted()),
            _ => READ_AHEAD,
        }
    }

    /// Takes the next request off what has been received. `None` if no whole one is there, or if the client is to take the
    /// answers that wait first.
    pub(super) fn next(
        &mut self,
        limits: Limits,
        budget: &Budget,
        service: &Service,
        now: Instant,
    ) -> Option<Next> {
        self.held_back = self.answers.waiting() > WRITE_BEHIND;
        if self.held_back {
            return None;
        }
        if let Phase::Head(reader) = &mut self.phase {
            let head_only = is_head(&self.received);
            match reader.read(&mut self.received, limits) {
                Err(problem) => return Some(self.fault(problem, head_only)),
                Ok(None) => return None,
                Ok(Some(head)) => {
                    self.since = now;
                    if let Some(next) = self.begin(head, service) {
                        return Some(next);
                    }
                }
            }
        }
        if matches!(self.phase, Phase::Body(_)) {
            return self.read_body(limits, budget);
        }
        None
    }

    /// How much has been received and is not parsed.
    pub(super) fn received(&self) -> usize {
        self.received.len()
    }

    /// How many requests to take up before their answers are sent.
    pub(super) fn window(&self) -> usize {
        self.answers.window()
    }

    /// Goes on from a head to its body. Gives a request that has none, or is refused before its body has come.
    fn begin(&mut self, head: Head, service: &Service) -> Option<Next> {
        let Head {
            request,
            framing,
            keep_alive,
            expects_continue,
            fault,
        } = head;
        if let Some(problem) = fault {
            return Some(self.refuse(request, problem));
        }
        let length = match framing {
            Framing::Length(0) => return Some(whole(request, keep_alive)),
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        };
        let is_here = length.is_some_and(|length| length <= self.received.len());
        if !is_here {
            match service.wants_body(&request) {
                Ok(true) => {}
                // What comes of it is thrown away.
                Ok(false) => return Some(whole(request, false)),
                Err(problem) => return Some(self.refuse(request, problem)),
            }
        }
        self.invite = expects_continue && !is_here;
        self.phase = Phase::Body(Box::new(IncomingBody::new(request, framing, keep_alive)));
        None
    }

    fn read_body(&mut self, limits: Limits, budget: &Budget) -> Option<Next> {
        let phase = std::mem::replace(&mut self.phase, Phase::Head(HeadReader::default()));
        let Phase::Body(mut incoming) = phase else {
            self.phase = phase;
            return None;
        };
        match incoming.read(&mut self.received, limits, budget) {
            Err(problem) => Some(self.refuse(incoming.request, problem)),
            Ok(true) => {
                self.invite = false;
                Some(whole(incoming.request, incoming.keep_alive))
            }
            Ok(false) => {
                self.phase = Phase::Body(incoming);
                None
            }
        }
    }

    fn refuse(&mut self, request: Request, problem: Problem) -> Next {
        self.last_answer();
        let form = form_of(&request, false);
        Next::Refused(request, form, problem)
    }

    fn fault(&mut self, problem: Problem, head_only: bool) -> Next {
        self.last_answer();
        let form = Form {
            head_only,
            ..Form::of_a_fault()
        };
        Next::Fault(form, problem)
    }

    /// Appends an answer. `held` is what has been taken of the memory budget for it. If more is needed and not there, it is
    /// replaced by an error.
    pub(super) fn answer(
        &mut self,
        response: Response,
        context: ResponseContext,
        form: &Form,
        budget: &Budget,
        held: Option<Reservation>,
    ) {
        self.answers.answer(response, context, form, budget, held);
    }

    /// Appends an answer that has been written elsewhere.
    pub(super) fn push(&mut self, answer: &[u8]) {
        self.answers.push(answer);
    }

    /// Takes up no more requests: the connection ends behind the answers that it has.
    pub(super) fn last_answer(&mut self) {
        self.phase = Phase::Lingering;
        self.received = BytesMut::new();
        self.invite = false;
    }

    /// Frees the memory of requests that have been taken up.
    pub(super) fn release_received(&mut self) {
        if self.received.is_empty() {
            // An empty buffer would still keep the memory that the requests were split off from.
            self.received = BytesMut::new();
        }
    }

    /// Tells a client that waits for it to go on with its body.
    pub(super) fn invite_body(&mut self) {
        if std::mem::take(&mut self.invite) {
            self.answers.push(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// Sends what the kernel takes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) fn send(&mut self, now: Instant) -> io::Result<()> {
        if self.all_sent() {
            return Ok(());
        }
        self.answers.send(&self.stream, now)?;
        if self.all_sent() {
            self.since = now;
            if matches!(self.phase, Phase::Lingering) {
                // The client may be gone already.
                let _ = self.stream.shutdown(Shutdown::Write);
            }
        }
        Ok(())
    }

    /// Whether the kernel has taken all answers.
    fn all_sent(&self) -> bool {
        self.answers.is_empty()
    }

    /// Whether nothing more can come of it.
    pub(super) fn is_over(&self) -> bool {
        // Whatever else is whole in `received` has been taken up before this is asked.
        let waits = matches!(self.phase, Phase::Waiting(_));
        self.ended && self.all_sent() && !self.held_back && !waits
    }

    /// Whether it has to be looked at again without a further word of the poller.
    pub(super) fn has_more(&self) -> bool {
        self.wants_more() || self.answers.is_paused() || (self.held_back && self.all_sent())
    }

    /// Whether it has been answered for the last time, and only waits for its client to close.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Lingering) && self.all_sent()
    }

    /// Takes the connection apart for the hub: the socket and its place.
    pub(super) fn into_parts(self) -> (TcpStream, Place) {
        (self.stream, self.place)
    }
}

fn whole(request: Request, keep_alive: bool) -> Next {
    let form = form_of(&request, keep_alive);
    Next::Request(request, form)
}

/// Whether a head that may be unfinished or faulty is that of a HEAD: its answer has no body in any case.
fn is_head(received: &[u8]) -> bool {
    received.trim_ascii_start().starts_with(b"HEAD ")
}

pub(super) fn form_of(request: &Request, keep_alive: bool) -> Form {
    Form {
        version: request.version.clone(),
        head_only: request.method == Method::Head,
        keep_alive,
    }
}
