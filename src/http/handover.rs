//! How a connection becomes an event stream: its socket and its place go to the hub, its slot is freed.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use super::connection::Connection;
use super::plan::Listen;
use super::problem::Problem;
use super::response::Form;
use super::service::Trim;
use super::turn::Shared;
use crate::hub::{Crowded, Seat, Subscription, TurnedAway};

/// What a client is told for whose stream there is no room. Whoever writes a page has to know the second half.
const TOO_MANY: &str = "there are as many event streams as there may be; an EventSource does not try again after \
                        this answer, so make a new one in a while";
const BUSY: &str = "too many event streams are being opened; an EventSource does not try again after this answer, so \
                    make a new one in a while";
const TOO_MANY_OF_ONE: &str = "this address has as many event streams as one may have; an EventSource does not \
                               try again after this answer, so close another one and make a new one";

/// Gives the connection of a slot to the hub.
pub(super) fn hand_over(
    shared: &Shared,
    key: usize,
    mut connection: Connection,
    listen: Listen,
    form: Form,
    trim: &Trim,
    now: Instant,
) {
    connection.becomes_stream();
    let sent = connection.send(now);
    let unwatched = sent.and_then(|()| shared.unwatch(connection.stream()));
    shared.table.remove(key);
    if unwatched.is_err() {
        return;
    }
    let (stream, mut head, place) = connection.into_parts();
    let owes = !head.is_empty();
    // The end of the stream is the end of the connection.
    let form = Form {
        keep_alive: false,
        ..form
    };
    let chunked = form.version > (1, 0);
    trim.apply(listen.head).write(&mut head, &form);
    let subscription = Subscription {
        topics: listen.topics,
        last_event_id: listen.last_event_id,
        seat: Seat {
            stream,
            head: head.into(),
            chunked,
            shape: listen.shape,
            turned_away: shared
                .config
                .limits_subscribers()
                .then(|| turned_away(trim, &form)),
            place: Box::new(place),
        },
    };
    if let Err(back) = shared.hub.join(subscription)
        && !owes
    {
        if shared.hub.has_ended() {
            end_stream(&back.seat);
        } else {
            refuse_stream(&back.seat, trim, &form);
        }
    }
}

/// What answers somebody for whom there is no room.
fn turned_away(trim: &Trim, form: &Form) -> TurnedAway {
    let (trim, form) = (trim.clone(), form.clone());
    Box::new(move |crowded| {
        let mut answer = Vec::new();
        let problem = match crowded {
            Crowded::Everywhere => Problem::new(503, TOO_MANY),
            Crowded::Address => Problem::new(429, TOO_MANY_OF_ONE),
        };
        trim.apply(trim.problem(problem)).write(&mut answer, &form);
        answer.into()
    })
}

/// The gateway is at its end: the client gets a stream that ends at once, so that it comes back, to another one.
fn end_stream(seat: &Seat) {
    let end: &[u8] = if seat.chunked { b"0\r\n\r\n" } else { b"" };
    send_at_once(&seat.stream, &[&seat.head, end].concat());
}

/// The hub is busy: the client is told so.
fn refuse_stream(seat: &Seat, trim: &Trim, form: &Form) {
    let mut answer = Vec::new();
    let busy = Problem::new(503, BUSY);
    trim.apply(trim.problem(busy)).write(&mut answer, form);
    send_at_once(&seat.stream, &answer);
}

/// Sends as much as the socket takes at once, and ends the connection.
fn send_at_once(mut stream: &TcpStream, answer: &[u8]) {
    // A client that is gone, or takes nothing, is not told.
    let _ = stream.write(answer);
    let _ = stream.shutdown(Shutdown::Write);
}
