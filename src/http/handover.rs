//! How a connection becomes an event stream: its socket and its place go to the hub, its slot is freed.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use super::connection::Connection;
use super::event_loop::Shared;
use super::exchange::{Answer, Asker, Endless, Exchange};
use super::panics::respond_to;
use super::plan::{Listen, Respond};
use super::problem::Problem;
use super::response::{Form, Response};
use super::response_context::ResponseContext;
use crate::hub::{Crowded, Refuse, Refused, Seat, Shape, Subscription, Topic, Watch};
use crate::reply::{Reply, ServerError};
use crate::upstream::NoMonitor;

/// What a client is told if there is no room for its stream. The second half is for those who write web pages.
const TOO_MANY: &str = "there are as many event streams as there may be; an EventSource does not try again after \
                        this answer, so make a new one in a while";
const BUSY: &str = "too many event streams are being opened; an EventSource does not try again after this answer, so \
                    make a new one in a while";
const TOO_MANY_OF_ONE: &str = "this address has as many event streams as one may have; an EventSource does not \
                               try again after this answer, so close another one and make a new one";

/// Gives the connection of a slot to the hub. All answers before the stream have been sent.
pub(super) fn hand_over(shared: &Shared, key: usize, connection: Connection, exchange: Exchange) {
    let Exchange { asker, answer } = exchange;
    let Asker { form, context, .. } = asker;
    let unwatched = shared.unwatch(connection.stream());
    shared.table.remove(key);
    let (Ok(()), Answer::Stream(stream)) = (unwatched, answer) else {
        return;
    };
    // The end of the stream is the end of the connection.
    let form = Form {
        keep_alive: false,
        ..form
    };
    match stream {
        Endless::Listen(Listen {
            topics,
            shape,
            last_event_id,
            span,
            head,
        }) => {
            let mut seat = seat(connection, head, shape, &context, &form);
            seat.refuse = Some(refuse(&context, &form));
            let subscription = Subscription {
                topics,
                last_event_id,
                span,
                seat,
            };
            if let Err(back) = shared.hub.join(subscription) {
                if shared.hub.has_ended() {
                    end_stream(&back.seat);
                } else {
                    refuse_stream(&back.seat, context, &form);
                }
            }
        }
        Endless::Watch(watch) => {
            let seat = seat(connection, watch.head, Shape::default(), &context, &form);
            let refuse = Box::new(move |failure| {
                let answer = no_monitor(failure, watch.respond, context);
                answer.into_bytes(&form).into()
            });
            shared.hub.watch(Watch { seat, refuse });
        }
    }
}

/// What the hub needs of a connection.
fn seat(
    connection: Connection,
    head: Response,
    shape: Shape,
    context: &ResponseContext,
    form: &Form,
) -> Seat {
    let (stream, place) = connection.into_parts();
    Seat {
        stream,
        head: context.clone().complete(head).into_bytes(form).into(),
        chunked: form.version > (1, 0),
        shape,
        refuse: None,
        place: Box::new(place),
    }
}

/// The answer to a client whose MONITOR Redis does not run.
fn no_monitor(failure: NoMonitor, respond: Respond, context: ResponseContext) -> Response {
    let outcome = match failure {
        NoMonitor::Failed(error) => Err(error),
        NoMonitor::Refused(error) => Ok(Reply::Error(error)),
    };
    let response = respond_to(&context, respond, vec![outcome]);
    context.complete(response)
}

/// What makes the answer if the hub refuses the stream.
fn refuse(context: &ResponseContext, form: &Form) -> Refuse {
    let (context, form) = (context.clone(), form.clone());
    Box::new(move |refused| {
        let response = match refused {
            Refused::Crowded(Crowded::Everywhere) => context.problem(Problem::new(503, TOO_MANY)),
            Refused::Crowded(Crowded::Address) => {
                context.problem(Problem::new(429, TOO_MANY_OF_ONE))
            }
            Refused::Upstream(topic, error) => context.problem(not_allowed(&topic, error)),
            // The key may be there again: nobody is to keep this.
            Refused::Over => Response::new(204).header("Cache-Control", "no-store"),
        };
        context.complete(response).into_bytes(&form).into()
    })
}

/// An error of Redis' about something to listen to, which it does not name itself.
fn not_allowed(topic: &Topic, error: ServerError) -> Problem {
    let kind = match topic {
        Topic::Channel(_) => "channel",
        Topic::Pattern(_) => "pattern",
        Topic::Sharded(_) => "sharded channel",
        Topic::Stream(_) => "stream",
    };
    let mut problem = Problem::from(error);
    let name = String::from_utf8_lossy(topic.name());
    problem.detail = format!("{}: the {kind} {name:?}", problem.detail).into();
    problem
}

/// The gateway is at its end: the client gets a stream that ends at once, so that it comes back, to another one.
fn end_stream(seat: &Seat) {
    let end: &[u8] = if seat.chunked { b"0\r\n\r\n" } else { b"" };
    send_at_once(&seat.stream, &[&seat.head, end].concat());
}

/// The hub is busy: the client is told so.
fn refuse_stream(seat: &Seat, context: ResponseContext, form: &Form) {
    let busy = context.problem(Problem::new(503, BUSY));
    send_at_once(&seat.stream, &context.complete(busy).into_bytes(form));
}

/// Sends as much as the socket takes at once, and ends the connection.
fn send_at_once(mut stream: &TcpStream, answer: &[u8]) {
    // A client that is gone, or takes nothing, is not told.
    let _ = stream.write(answer);
    let _ = stream.shutdown(Shutdown::Write);
}
