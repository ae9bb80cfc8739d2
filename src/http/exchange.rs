//! One request of a batch: how it is to be answered, and what its answer needs.

use std::collections::VecDeque;

use super::budget::Reservation;
use super::connection::Next;
use super::panics::contain_in_request;
use super::plan::{Apart, Half, Listen, Watch};
use super::response::{Form, Response};
use super::response_context::ResponseContext;
use super::service::{Admitted, Service};
use super::waiting::Waiting;
use crate::command::Command;
use crate::upstream::{Outcome, Ticket, take_first};

/// One request.
pub(super) struct Exchange {
    pub(super) asker: Asker,
    pub(super) answer: Answer,
}

/// What is kept of a request until its answer can be written.
pub(super) struct Asker {
    pub(super) form: Form,
    pub(super) context: ResponseContext,
    /// What its commands take of the memory budget: a large body, and a value that they are to compare.
    pub(super) held: Vec<Reservation>,
}

/// How a request is answered.
pub(super) enum Answer {
    /// With this.
    Ready(Response),
    /// With what the second half of its route makes of outcomes.
    FromOutcomes(Source, Half),
    /// With what comes of commands that are sent apart from others, when all requests before it have been answered.
    Apart(Apart, Ticket),
    /// With an event stream, when all requests before it have been answered.
    Stream(Endless),
}

/// Where outcomes come from.
pub(super) enum Source {
    /// From the batch, in which the request has this many commands.
    Batch(usize, Ticket),
    /// They are there already.
    Ready(Vec<Outcome>),
}

/// A response without an end.
pub(super) enum Endless {
    Listen(Listen),
    Watch(Watch),
}

/// Takes a request through the first half of its route. The commands that it has for the batch are appended to `commands`.
pub(super) fn plan(service: &Service, next: Next, commands: &mut Vec<Command>) -> Exchange {
    match next {
        Next::Request(request, form) => {
            let context = service.context_of(&request);
            let admitted = contain_in_request(&context, || service.plan(&request));
            let answer = match admitted {
                Ok(Admitted::Answer(response)) => Answer::Ready(response),
                Ok(Admitted::Ask(asked, half, ticket)) => {
                    let count = asked.len();
                    commands.extend(asked);
                    Answer::FromOutcomes(Source::Batch(count, ticket), half)
                }
                Ok(Admitted::Apart(apart, ticket)) => Answer::Apart(apart, ticket),
                Ok(Admitted::Listen(listen)) => Answer::Stream(Endless::Listen(listen)),
                Ok(Admitted::Watch(watch)) => Answer::Stream(Endless::Watch(watch)),
                Err(problem) => Answer::Ready(context.problem(problem)),
            };
            let held = request.reservation.into_iter().collect();
            let asker = Asker {
                form,
                context,
                held,
            };
            Exchange { asker, answer }
        }
        Next::Refused(request, form, problem) => {
            let context = service.context_of(&request);
            let answer = context.problem(problem);
            Exchange::answered(form, context, answer)
        }
        Next::Fault(form, problem) => {
            Exchange::answered(form, service.context_without_request(), problem.into())
        }
    }
}

/// Whether it is unknown of one of these commands whether it has run.
fn any_unknown(outcomes: &[Outcome]) -> bool {
    let unknown = |outcome: &Outcome| matches!(outcome, Err(error) if error.outcome_unknown());
    outcomes.iter().any(unknown)
}

impl Exchange {
    fn answered(form: Form, context: ResponseContext, response: Response) -> Self {
        Self {
            asker: Asker {
                form,
                context,
                held: Vec::new(),
            },
            answer: Answer::Ready(response),
        }
    }

    /// A request that has waited for commands which were sent apart from others, with their outcomes.
    pub(super) fn done(waiting: Waiting, outcomes: Vec<Outcome>) -> Self {
        let (mut asker, half) = waiting.into_parts();
        asker.note(&outcomes);
        Self {
            asker,
            answer: Answer::FromOutcomes(Source::Ready(outcomes), half),
        }
    }

    /// Whether its first outcomes may lead to a second round of commands before there is an answer.
    pub(super) fn may_ask_again(&self) -> bool {
        let half = match &self.answer {
            Answer::FromOutcomes(_, half) => half,
            Answer::Apart(apart, _) => &apart.half,
            Answer::Ready(_) | Answer::Stream(_) => return false,
        };
        matches!(half, Half::Decide(_))
    }

    /// The outcomes that it has besides those of the batch.
    pub(super) fn ready_outcomes(&mut self) -> &mut [Outcome] {
        match &mut self.answer {
            Answer::FromOutcomes(Source::Ready(outcomes), _) => outcomes,
            _ => &mut [],
        }
    }

    /// How many commands it has in the batch.
    pub(super) fn commands(&self) -> usize {
        match self.answer {
            Answer::FromOutcomes(Source::Batch(count, _), _) => count,
            _ => 0,
        }
    }
}

impl Asker {
    /// If it is unknown whether a command has run, the connection ends behind this answer, and requests that were pipelined
    /// behind it are not taken up: they could overtake the command.
    fn note(&mut self, outcomes: &[Outcome]) {
        self.form.keep_alive &= !any_unknown(outcomes);
    }
}

impl Source {
    /// Takes the request's outcomes, also if the connection has ended and they are of no use: what is left in the batch
    /// belongs to the requests behind it.
    pub(super) fn take(self, batch: &mut VecDeque<Outcome>, asker: &mut Asker) -> Vec<Outcome> {
        match self {
            Self::Ready(outcomes) => outcomes,
            Self::Batch(count, ticket) => {
                let share: Vec<_> = take_first(batch, count).into();
                ticket.note(&share);
                // Before the client can be answered.
                drop(ticket);
                asker.note(&share);
                share
            }
        }
    }
}
