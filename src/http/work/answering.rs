//! The second half of the work on a connection: its requests are answered in order, and it goes back to rest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{Answered, Behind, Remaining, Work, size};
use crate::http::budget::Reservation;
use crate::http::event_loop::Shared;
use crate::http::exchange::{Answer, Asker, Exchange, Source};
use crate::http::handover::hand_over;
use crate::http::panics::contain_in_request;
use crate::http::plan::{Apart, Ask, Half, Lane, Step};
use crate::http::problem::Problem;
use crate::http::response::Response;
use crate::http::response_context::ResponseContext;
use crate::http::service::send_apart;
use crate::http::waiting::Waiting;
use crate::upstream::{Outcome, Ticket};

impl Work {
    /// Answers the requests, in order, as far as that can be done. What the outcomes take of the memory budget (`held`) is
    /// handed on to the answers. `None` if the connection waits for something else now, or has ended.
    pub(in crate::http) fn finish(
        mut self,
        shared: &Arc<Shared>,
        mut outcomes: VecDeque<Outcome>,
        held: Option<Reservation>,
        now: Instant,
    ) -> Option<Remaining> {
        // Whether the connection has been given its last answer.
        let mut closed = false;
        let mut exchanges = std::mem::take(&mut self.exchanges).into_iter().peekable();
        while let Some(exchange) = exchanges.next() {
            let Exchange { mut asker, answer } = exchange;
            let (response, held) = match answer {
                Answer::FromOutcomes(source, half) => {
                    let outcomes = source.take(&mut outcomes, &mut asker);
                    if closed {
                        continue;
                    }
                    let held = held.as_ref().map(|held| held.split(size(&outcomes)));
                    match second_half(shared, &asker.context, half, outcomes) {
                        AdmittedStep::Done(response) => (response, held),
                        AdmittedStep::Ask(ask, ticket) => {
                            asker.held.extend(held);
                            return self.ask_again(shared, asker, ask, ticket, now);
                        }
                    }
                }
                _ if closed => continue,
                Answer::Ready(response) => (response, None),
                Answer::Apart(..) if shared.is_stopping() => {
                    let problem =
                        Problem::new(503, "the gateway is shutting down; nothing was done");
                    (asker.context.problem(problem), None)
                }
                Answer::Apart(apart, _)
                    if apart.lane == Lane::Own && self.connection.has_hung_up() =>
                {
                    // Whatever it popped, nobody would be there to take it.
                    closed = true;
                    continue;
                }
                Answer::Apart(apart, ticket) => {
                    self.wait_for(shared, asker, apart, ticket, now);
                    return None;
                }
                answer @ Answer::Stream(_) => {
                    self.connection.become_stream(Exchange { asker, answer });
                    continue;
                }
            };
            let Asker {
                mut form, context, ..
            } = asker;
            form.keep_alive &= !(shared.is_stopping() && exchanges.peek().is_none());
            closed = !form.keep_alive;
            self.connection
                .answer(response, context, &form, &shared.budget, held);
        }
        if closed {
            self.connection.last_answer();
            self.more = false;
            self.behind = None;
        }
        self.connection.invite_body();
        // If the outcomes were large, making answers of them has taken a while.
        let now = held.map_or(now, |_| Instant::now());
        if let Some(behind) = self.behind.take() {
            return self.go_on(shared, behind, now);
        }
        Some(Remaining::Send(Answered(self, now)))
    }

    /// Sends the second round of a request's commands. Requests behind it wait until it has been answered.
    fn ask_again(
        self,
        shared: &Arc<Shared>,
        asker: Asker,
        ask: Ask,
        ticket: Ticket,
        now: Instant,
    ) -> Option<Remaining> {
        let Ask { commands, respond } = ask;
        let half = Half::Respond(respond);
        if ticket.is_bulky() {
            self.wait_for(shared, asker, Apart::bulky(commands, half), ticket, now);
            return None;
        }
        let answer = Answer::FromOutcomes(Source::Batch(commands.len(), ticket), half);
        let behind = Behind::Asks(Box::new(Exchange { asker, answer }), commands);
        self.go_on(shared, behind, now)
    }

    /// Sends the answers that there are, and goes on with the request behind them.
    fn go_on(mut self, shared: &Shared, behind: Behind, now: Instant) -> Option<Remaining> {
        if self.connection.send(now).is_err() {
            self.end(shared);
            return None;
        }
        Some(match behind {
            Behind::Asks(exchange, commands) => {
                self.exchanges.push(*exchange);
                Remaining::Ask(self, commands)
            }
            Behind::Long(next) => Remaining::Plan(self, next),
        })
    }

    /// Sends what there is to send, and puts the connection back to rest.
    pub(super) fn put_back(mut self, shared: &Shared, now: Instant) {
        let broken = self.connection.send(now).is_err();
        if !broken && let Some(exchange) = self.connection.take_stream_request() {
            return hand_over(shared, self.key, *self.connection, exchange);
        }
        let more = self.more || self.connection.has_more();
        if broken || (self.connection.is_over() && !more) {
            return self.end(shared);
        }
        let deadline = self.connection.deadline(&shared.config);
        if shared
            .table
            .put_back(self.key, self.connection, deadline, more)
        {
            shared.wake();
        }
    }

    /// Closes the connection, and only then frees its slot: events that the poller still has for it must not be taken for
    /// those of the next connection in that slot.
    fn end(self, shared: &Shared) {
        drop(self.connection);
        shared.table.remove(self.key);
    }

    /// Sends commands apart from those of others, and lets the connection wait for them.
    fn wait_for(
        mut self,
        shared: &Arc<Shared>,
        asker: Asker,
        apart: Apart,
        ticket: Ticket,
        now: Instant,
    ) {
        let commands = send_apart(&shared.upstream, &apart);
        let (key, table) = (self.key, Arc::clone(shared));
        let arrived = move || {
            table.table.look_at(key);
            table.wake();
        };
        let waiting = Waiting::start(asker, apart, ticket, commands, arrived, &shared.runtime);
        self.connection.wait_for(waiting);
        self.more = false;
        self.put_back(shared, now);
    }
}

/// What the second half of a route comes to, its commands having been admitted.
enum AdmittedStep {
    Done(Response),
    /// The second round.
    Ask(Ask, Ticket),
}

/// Takes a request through the second half of its route.
fn second_half(
    shared: &Shared,
    context: &ResponseContext,
    half: Half,
    outcomes: Vec<Outcome>,
) -> AdmittedStep {
    let step = contain_in_request(context, || half.run(outcomes));
    let admitted = step.and_then(|step| match step {
        Step::Done(response) => Ok(AdmittedStep::Done(response)),
        Step::Ask(ask) => {
            let ticket = shared.upstream.admit(&ask.commands)?;
            Ok(AdmittedStep::Ask(ask, ticket))
        }
    });
    admitted.unwrap_or_else(|problem| AdmittedStep::Done(context.problem(problem)))
}
