//! What the first half of a route gives: a response, or the commands that it needs and the second half, which makes the
//! response of their outcomes.

use super::problem::Problem;
use super::response::Response;
use crate::command::Command;
use crate::error::Error;
use crate::hub::{Shape, Span, Topic};
use crate::reply::Reply;
use crate::upstream::Outcome;

/// How a request is to be answered.
pub enum Plan {
    /// With this; Redis is not needed.
    Answer(Response),
    /// By sending commands, in order and as one pipeline, and making their outcomes a response.
    Ask(Ask),
    /// By asking Redis twice: the outcomes of the first round decide on the second.
    Rounds(Rounds),
    /// By sending commands apart from those of others.
    Apart(Apart),
    /// By turning the connection into an event stream.
    Listen(Listen),
    /// By turning it into a stream of every command that Redis is sent.
    Watch(Watch),
}

/// Commands, and what their outcomes mean.
pub struct Ask {
    /// At least one.
    pub commands: Vec<Command>,
    /// Takes one outcome for each command, in the same order.
    pub respond: Respond,
}

/// Commands whose outcomes decide on a second round.
pub struct Rounds {
    /// The first round; at least one.
    pub commands: Vec<Command>,
    /// The name of the command that the second round sends. Whether it may be sent is settled before the first.
    pub further: &'static str,
    /// Takes one outcome for each command of the first round.
    pub decide: Decide,
}

/// What the first of two rounds comes to.
#[derive(Debug)]
pub enum Step {
    /// The answer.
    Done(Response),
    /// The second round, whose outcomes are the answer.
    Ask(Ask),
}

/// Commands that do not go among those of others, and what their outcomes mean.
pub struct Apart {
    /// At least one; with [`Lane::Own`] exactly one, with [`Lane::Nodes`] none.
    pub commands: Vec<Command>,
    /// Over which connection.
    pub lane: Lane,
    /// Takes one outcome for each command, in the same order.
    pub half: Half,
}

impl Apart {
    /// What has been found to be large.
    pub(super) fn bulky(commands: Vec<Command>, half: Half) -> Self {
        Self {
            commands,
            lane: Lane::Bulky,
            half,
        }
    }
}

/// A connection to Redis other than the one that nearly all commands share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// One of its own: the command may block.
    Own,
    /// The one for scripts.
    Guarded,
    /// The one for what is large.
    Bulky,
    /// Those to all nodes of a Cluster, which are asked for a sign of life.
    Nodes,
}

/// The second half of a route: what makes a response of outcomes.
pub enum Half {
    /// It makes the response.
    Respond(Respond),
    /// It makes the response, or asks for a second round of commands before there is one.
    Decide(Decide),
}

impl Half {
    /// What the outcomes come to.
    pub(super) fn run(self, outcomes: Vec<Outcome>) -> Result<Step, Problem> {
        match self {
            Self::Respond(respond) => respond(outcomes).map(Step::Done),
            Self::Decide(decide) => decide(outcomes),
        }
    }
}

/// Makes a response of the outcomes.
pub type Respond = Box<dyn FnOnce(Vec<Outcome>) -> Result<Response, Problem> + Send>;

/// Decides by the outcomes of a first round whether there is a second one.
pub type Decide = Box<dyn FnOnce(Vec<Outcome>) -> Result<Step, Problem> + Send>;

/// What an event stream is to carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// What is listened to, each once.
    pub topics: Vec<Topic>,
    /// How events are to look.
    pub shape: Shape,
    /// The id of the last event that the client has seen.
    pub last_event_id: Option<String>,
    /// Set if it is the entries of one stream, under their own ids.
    pub span: Option<Span>,
    /// The head, without those fields that depend on the connection.
    pub head: Response,
}

/// A stream of every command.
pub struct Watch {
    /// The head, without those fields that depend on the connection.
    pub head: Response,
    /// Takes why there is no such stream, as the outcome of MONITOR.
    pub respond: Respond,
}

impl Plan {
    /// Asks one command, whose reply is not an error, for the response.
    pub(super) fn ask(
        command: Command,
        respond: impl FnOnce(Reply) -> Result<Response, Problem> + Send + 'static,
    ) -> Self {
        Self::Ask(Ask {
            commands: vec![command],
            respond: Box::new(move |outcomes| respond(reply(outcomes.into_iter().next())?)),
        })
    }

    /// Asks one command that only reads, whose reply is not an error, and then perhaps another, of the given name.
    pub(super) fn rounds(
        command: Command,
        further: &'static str,
        decide: impl FnOnce(Reply) -> Result<Step, Problem> + Send + 'static,
    ) -> Self {
        Self::Rounds(Rounds {
            commands: vec![command],
            further,
            decide: Box::new(move |outcomes| match outcomes.into_iter().next() {
                // Its own text would say that the command has run. It has, but only to read: what the client asked for was
                // not done.
                Some(Err(Error::TooLarge)) => Err(Problem::new(
                    503,
                    "the value that is there is too large to hold now, while others are under way; nothing was done",
                )),
                outcome => decide(reply(outcome)?),
            }),
        })
    }
}

/// The reply of an outcome, errors of either kind being problems.
pub(super) fn reply(outcome: Option<Outcome>) -> Result<Reply, Problem> {
    match outcome {
        Some(Ok(Reply::Error(error))) => Err(error.into()),
        Some(Ok(reply)) => Ok(reply),
        Some(Err(error)) => Err(error.into()),
        None => Err(Problem::defect()),
    }
}

/// Whether MULTI began a transaction, by its reply.
///
/// # Errors
/// If not, what followed it was none, and may have run all the same; but not while a script keeps Redis busy, which refuses
/// everything.
pub(super) fn check_multi(reply: &Reply) -> Result<(), Problem> {
    match reply {
        Reply::Error(error) if error.code() == "BUSY" => Err(error.clone().into()),
        Reply::Error(error) => {
            let detail = format!("MULTI failed; the commands may have run one by one: {error}");
            Err(Problem::new(502, detail))
        }
        _ => Ok(()),
    }
}

/// A reply of a shape that the command does not have.
pub(super) fn unexpected(reply: &Reply) -> Problem {
    tracing::error!(
        ?reply,
        "Redis replied something that the command does not have"
    );
    Problem::new(
        502,
        "Redis replied something unexpected; the command has run",
    )
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer(response) => f.debug_tuple("Answer").field(response).finish(),
            Self::Ask(ask) => f.debug_tuple("Ask").field(ask).finish(),
            Self::Rounds(rounds) => f.debug_tuple("Rounds").field(rounds).finish(),
            Self::Apart(apart) => f.debug_tuple("Apart").field(apart).finish(),
            Self::Listen(listen) => f.debug_tuple("Listen").field(listen).finish(),
            Self::Watch(watch) => f.debug_tuple("Watch").field(watch).finish(),
        }
    }
}

impl std::fmt::Debug for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Respond(_) => "Respond",
            Self::Decide(_) => "Decide",
        })
    }
}

impl std::fmt::Debug for Apart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Apart")
            .field("commands", &self.commands)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask")
            .field("commands", &self.commands)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Rounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rounds")
            .field("commands", &self.commands)
            .field("further", &self.further)
            .finish_non_exhaustive()
    }
}
