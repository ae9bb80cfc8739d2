//! One request of a batch: how it is to be answered, and what its answer needs.

use super::budget::Reservation;
use super::connection::Next;
use super::panics::unwinding;
use super::plan::{Apart, Decide, Listen, Respond, Watch};
use super::problem::Problem;
use super::request::Request;
use super::response::{Form, Response};
use super::service::{Admitted, Service, Trim};
use super::waiting::Waiting;
use crate::command::Command;
use crate::upstream::{Outcome, Ticket};

/// One request.
pub(super) struct Exchange {
    pub(super) form: Form,
    pub(super) trim: Trim,
    pub(super) answer: Answer,
    /// What a large body takes of the memory budget: the commands hold the body.
    pub(super) body: Option<Reservation>,
}

/// How its answer comes about.
pub(super) enum Answer {
    Here(Response),
    /// Of the outcomes of so many commands.
    Asked(usize, Respond, Ticket),
    /// The same, but they may ask for more, once, before there is an answer.
    Between(usize, Decide, Ticket),
    /// Of outcomes that have come already.
    Come(Vec<Outcome>, Respond),
    /// Of a command that blocks; it is started when all before it is answered.
    Apart(Apart, Ticket),
    Stream(Endless),
}

/// What a connection becomes that is not answered as others are.
pub(super) enum Endless {
    Listen(Listen),
    Watch(Watch),
}

/// The first half of a request's way. What it asks of Redis is appended to the batch's commands.
pub(super) fn plan(service: &Service, next: Next, commands: &mut Vec<Command>) -> Exchange {
    match next {
        Next::Request(mut request, form) => {
            let trim = service.trim(&request);
            let admitted =
                unwinding(&trim, || service.plan(&request)).and_then(|admitted| admitted);
            let answer = match admitted {
                Ok(Admitted::Answer(response)) => Answer::Here(response),
                Ok(Admitted::Ask(ask, ticket)) => {
                    let count = ask.commands.len();
                    commands.extend(ask.commands);
                    Answer::Asked(count, ask.respond, ticket)
                }
                Ok(Admitted::Rounds(rounds, ticket)) => {
                    let count = rounds.commands.len();
                    commands.extend(rounds.commands);
                    Answer::Between(count, rounds.decide, ticket)
                }
                Ok(Admitted::Apart(apart, ticket)) => Answer::Apart(apart, ticket),
                Ok(Admitted::Listen(listen)) => Answer::Stream(Endless::Listen(listen)),
                Ok(Admitted::Watch(watch)) => Answer::Stream(Endless::Watch(watch)),
                Err(problem) => Answer::Here(trim.problem(problem)),
            };
            Exchange {
                form,
                trim,
                answer,
                body: request.reservation.take(),
            }
        }
        Next::Refused(request, form, problem) => refused(service, &request, form, problem),
        Next::Fault(form, problem) => Exchange {
            form,
            trim: service.bare_trim(),
            answer: Answer::Here(problem.into()),
            body: None,
        },
    }
}

fn refused(service: &Service, request: &Request, form: Form, problem: Problem) -> Exchange {
    let trim = service.trim(request);
    let answer = Answer::Here(trim.problem(problem));
    Exchange {
        form,
        trim,
        answer,
        body: None,
    }
}

/// Whether nobody knows what became of one of these.
pub(super) fn any_unknown(outcomes: &[Outcome]) -> bool {
    let unknown = |outcome: &Outcome| matches!(outcome, Err(error) if error.outcome_unknown());
    outcomes.iter().any(unknown)
}

impl Exchange {
    /// The answer to a request whose commands went apart and are done.
    pub(super) fn done(waiting: Waiting, outcomes: Vec<Outcome>) -> Self {
        let (mut form, trim, respond) = waiting.into_parts();
        form.keep_alive &= !any_unknown(&outcomes);
        Self {
            form,
            trim,
            answer: Answer::Come(outcomes, respond),
            body: None,
        }
    }

    /// Outcomes that it has already.
    pub(super) fn come(&mut self) -> &mut [Outcome] {
        match &mut self.answer {
            Answer::Come(outcomes, _) => outcomes,
            _ => &mut [],
        }
    }

    /// How many commands it has in the batch.
    pub(super) fn commands(&self) -> usize {
        match self.answer {
            Answer::Asked(count, ..) | Answer::Between(count, ..) => count,
            Answer::Here(_) | Answer::Come(..) | Answer::Apart(..) | Answer::Stream(_) => 0,
        }
    }
}
