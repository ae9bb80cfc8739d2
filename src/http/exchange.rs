//! One request of a batch: how it is to be answered, and what its answer needs.

use std::collections::VecDeque;

use super::budget::Reservation;
use super::connection::Next;
use super::panics::unwinding;
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

/// What is known of whoever is to have an answer.
pub(super) struct Asker {
    pub(super) form: Form,
    pub(super) context: ResponseContext,
    /// What its commands hold of the memory budget: a large body, and a value that they are to compare.
    pub(super) held: Vec<Reservation>,
}

/// How its answer comes about.
pub(super) enum Answer {
    Here(Response),
    /// Of outcomes, by the second half of the request's way.
    Of(Source, Half),
    /// Of a command that blocks; it is started when all before it is answered.
    Apart(Apart, Ticket),
    Stream(Endless),
}

/// Where outcomes come from.
pub(super) enum Source {
    /// From the batch, which has so many commands for them.
    Batch(usize, Ticket),
    /// They have come already.
    Here(Vec<Outcome>),
}

/// What a connection becomes that is not answered as others are.
pub(super) enum Endless {
    Listen(Listen),
    Watch(Watch),
}

/// The first half of a request's way. What it asks of Redis is appended to the batch's commands.
pub(super) fn plan(service: &Service, next: Next, commands: &mut Vec<Command>) -> Exchange {
    match next {
        Next::Request(request, form) => {
            let context = service.context_of(&request);
            let admitted =
                unwinding(&context, || service.plan(&request)).and_then(|admitted| admitted);
            let answer = match admitted {
                Ok(Admitted::Answer(response)) => Answer::Here(response),
                Ok(Admitted::Ask(asked, half, ticket)) => {
                    let count = asked.len();
                    commands.extend(asked);
                    Answer::Of(Source::Batch(count, ticket), half)
                }
                Ok(Admitted::Apart(apart, ticket)) => Answer::Apart(apart, ticket),
                Ok(Admitted::Listen(listen)) => Answer::Stream(Endless::Listen(listen)),
                Ok(Admitted::Watch(watch)) => Answer::Stream(Endless::Watch(watch)),
                Err(problem) => Answer::Here(context.problem(problem)),
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

/// Whether nobody knows what became of one of these.
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
            answer: Answer::Here(response),
        }
    }

    /// The answer to a request whose commands went apart and are done.
    pub(super) fn done(waiting: Waiting, outcomes: Vec<Outcome>) -> Self {
        let (mut asker, half) = waiting.into_parts();
        asker.note(&outcomes);
        Self {
            asker,
            answer: Answer::Of(Source::Here(outcomes), half),
        }
    }

    /// Whether it may ask for more before there is an answer: what is behind it waits for that.
    pub(super) fn may_go_on(&self) -> bool {
        let half = match &self.answer {
            Answer::Of(_, half) => half,
            Answer::Apart(apart, _) => &apart.half,
            Answer::Here(_) | Answer::Stream(_) => return false,
        };
        matches!(half, Half::Decide(_))
    }

    /// Outcomes that it has already.
    pub(super) fn come(&mut self) -> &mut [Outcome] {
        match &mut self.answer {
            Answer::Of(Source::Here(outcomes), _) => outcomes,
            _ => &mut [],
        }
    }

    /// How many commands it has in the batch.
    pub(super) fn commands(&self) -> usize {
        match self.answer {
            Answer::Of(Source::Batch(count, _), _) => count,
            _ => 0,
        }
    }
}

impl Asker {
    /// After an outcome that nobody knows the connection ends, and what was pipelined behind it is not taken up: it
    /// could overtake.
    fn note(&mut self, outcomes: &[Outcome]) {
        self.form.keep_alive &= !any_unknown(outcomes);
    }
}

impl Source {
    /// The outcomes. They have to be taken off the batch's whether or not they are answered.
    pub(super) fn take(self, batch: &mut VecDeque<Outcome>, asker: &mut Asker) -> Vec<Outcome> {
        match self {
            Self::Here(outcomes) => outcomes,
            Self::Batch(count, ticket) => {
                let share: Vec<_> = take_first(batch, count).into();
                ticket.note(&share);
                // Before anybody is told.
                drop(ticket);
                asker.note(&share);
                share
            }
        }
    }
}
