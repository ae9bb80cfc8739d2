//! How a connection becomes an event stream: its socket and its place go to the hub, its slot is freed.

use std::io::Write;
use std::time::Instant;

use super::connection::Connection;
use super::plan::Listen;
use super::problem::Problem;
use super::response::Form;
use super::service::Trim;
use super::turn::Shared;
use crate::hub::{Refusal, Seat, Subscription, Topic};
use crate::reply::ServerError;

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
    let refusal = refusal(&listen.topics, trim, &form);
    let subscription = Subscription {
        topics: listen.topics,
        last_event_id: listen.last_event_id,
        begin: listen.begin,
        seat: Seat {
            stream,
            head: head.into(),
            chunked,
            shape: listen.shape,
            refusal,
            place: Box::new(place),
        },
    };
    if let Err(back) = shared.hub.join(subscription)
        && !owes
    {
        refuse_stream(back.seat, trim, &form);
    }
}

/// What makes an answer of Redis' refusal to have a stream read, such as a key that is none.
fn refusal(topics: &[Topic], trim: &Trim, form: &Form) -> Option<Refusal> {
    let any = topics.iter().any(|topic| matches!(topic, Topic::Stream(_)));
    let (trim, form) = (trim.clone(), form.clone());
    let answer = move |error: ServerError| {
        let mut answer = Vec::new();
        trim.apply(trim.problem(error.into()))
            .write(&mut answer, &form);
        answer.into()
    };
    any.then(|| Box::new(answer) as Refusal)
}

/// The hub is busy: the client is told so as far as its socket takes it at once.
fn refuse_stream(seat: Seat, trim: &Trim, form: &Form) {
    let mut answer = Vec::new();
    let busy = Problem::new(503, "too many event streams are being opened; try again");
    trim.apply(trim.problem(busy)).write(&mut answer, form);
    let mut stream = seat.stream;
    // A client that is gone, or takes nothing, is not told.
    let _ = stream.write(&answer);
    let _ = stream.shutdown(std::net::Shutdown::Write);
}
