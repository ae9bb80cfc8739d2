//! All routes behind one entry, for this gateway's server or any other: a request in, a plan out.
//!
//! Every check that concerns all routes is in `Service::plan`, one after the other.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::join_all;
use tiny_http::Method;
use tokio::runtime::Handle;

use super::access::{Access, Permit};
use super::command_face::{self, Context, Scripts};
use super::handlers::{channels, hashes, keys, operation, streams};
use super::negotiate::check_body;
use super::origin::{self, Cors};
use super::plan::{Apart, Half, Lane, Plan, Step};
use super::problem::Problem;
use super::request::Request;
use super::response::Response;
use super::response_context::ResponseContext;
use super::router::{self, Route};
use crate::auth::Grant;
use crate::command::Command;
use crate::config::Config;
use crate::hub::Topic;
use crate::upstream::{Outcome, Ticket, Upstream};

/// The routes, and what they need. Clones share it.
#[derive(Debug, Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    access: Access,
    upstream: Upstream,
    scripts: Scripts,
    /// Channels, patterns and streams on one event stream.
    max_topics: usize,
    /// Begins the ids of requests that bring none.
    id_prefix: String,
    requests: AtomicU64,
}

/// What a request is for.
enum Found {
    /// A route, with a method that it has.
    Route(Route),
    /// To learn which methods there are: these.
    Options(String),
}

/// A plan whose commands may be sent.
#[derive(Debug)]
pub(super) enum Admitted {
    Answer(Response),
    Ask(Vec<Command>, Half, Ticket),
    Apart(Apart, Ticket),
    Listen(super::plan::Listen),
    Watch(super::plan::Watch),
}

impl Service {
    /// The routes in front of an upstream.
    #[must_use]
    pub fn new(config: &Config, upstream: Upstream) -> Self {
        let id_prefix = std::iter::repeat_with(fastrand::alphanumeric)
            .take(8)
            .collect();
        Self {
            shared: Arc::new(Shared {
                access: Access::new(config),
                upstream,
                scripts: Scripts::default(),
                max_topics: config.max_topics,
                id_prefix,
                requests: AtomicU64::new(0),
            }),
        }
    }

    /// Answers a request, blocking the calling thread while Redis is asked. For a server of one's own; an
    /// event stream, which needs the connection itself, is 501 here.
    ///
    /// # Panics
    /// Inside a runtime.
    #[must_use]
    pub fn answer(&self, request: &Request, runtime: &Handle) -> Response {
        let context = self.context_of(request);
        let responded = self.plan(request);
        let responded = responded.and_then(|admitted| self.carry_out(admitted, runtime));
        let response = responded.unwrap_or_else(|problem| context.problem(problem));
        context.complete(response)
    }

    fn carry_out(&self, admitted: Admitted, runtime: &Handle) -> Result<Response, Problem> {
        let upstream = &self.shared.upstream;
        let (sent, half, ticket) = match admitted {
            Admitted::Answer(response) => return Ok(response),
            Admitted::Ask(commands, half, ticket) => {
                (upstream.send(&commands).boxed(), half, ticket)
            }
            Admitted::Apart(apart, ticket) => {
                (send_apart(upstream, &apart).boxed(), apart.half, ticket)
            }
            Admitted::Listen(_) | Admitted::Watch(_) => {
                let detail = "event streams need the gateway's own server";
                return Err(Problem::new(501, detail));
            }
        };
        let outcomes = crate::bridge::block_on(runtime, sent);
        ticket.note(&outcomes);
        drop(ticket);
        match half.run(outcomes)? {
            Step::Done(response) => Ok(response),
            Step::Ask(ask) => self.carry_out(self.admit(Plan::Ask(ask))?, runtime),
        }
    }

    /// What the response to a request has to have besides what its route says.
    pub(super) fn context_of(&self, request: &Request) -> ResponseContext {
        let theirs = request.headers.text("X-Request-Id").filter(|id| {
            let graphic = id.bytes().all(|b| b.is_ascii_graphic());
            graphic && (1..=128).contains(&id.len())
        });
        let command_face = is_command_face(request);
        ResponseContext {
            request_id: theirs.map_or_else(|| self.new_id(), str::to_owned),
            cors: self.shared.access.cors(request),
            sync_token: command_face.then(|| self.new_id()),
            is_cacheable: matches!(request.method, Method::Get | Method::Head),
        }
    }

    /// The same for a response to what is no request.
    pub(super) fn context_without_request(&self) -> ResponseContext {
        ResponseContext {
            request_id: self.new_id(),
            cors: Cors::None,
            sync_token: None,
            is_cacheable: false,
        }
    }

    fn new_id(&self) -> String {
        let number = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let prefix = &self.shared.id_prefix;
        let mut id = String::with_capacity(prefix.len() + 17);
        id.push_str(prefix);
        // Writing to a string cannot fail.
        let _ = write!(id, "-{number:x}");
        id
    }

    /// Takes a request through every check and the first half of its route.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn plan(&self, request: &Request) -> Result<Admitted, Problem> {
        let (grant, found) = self.check(request)?;
        let plan = match found {
            Found::Route(route) => self.handle(request, route, grant)?,
            Found::Options(allow) => Plan::Answer(origin::options(request, allow)),
        };
        Ok(match self.admit(plan)? {
            // Of an event stream, its head alone.
            Admitted::Listen(listen) if request.method == Method::Head => {
                Admitted::Answer(listen.head)
            }
            Admitted::Watch(watch) if request.method == Method::Head => {
                Admitted::Answer(watch.head)
            }
            admitted => admitted,
        })
    }

    /// Whether a body that has not come is to be read: what somebody unknown may ask takes none.
    ///
    /// # Errors
    /// What can be said before it has come.
    pub(super) fn wants_body(&self, request: &Request) -> Result<bool, Problem> {
        let (grant, _) = self.check(request)?;
        Ok(grant.is_some())
    }

    /// Who asks, and what for; refuses what can be told without knowing the details.
    fn check(&self, request: &Request) -> Result<(Option<Grant>, Found), Problem> {
        // Before anything else, so that nobody unknown learns what is there.
        let grant = self.shared.access.identify(request)?;
        let found = find(request)?;
        check_body(request)?;
        Ok((grant, found))
    }

    /// Whether commands change nothing.
    pub(super) fn only_read(&self, commands: &[Command]) -> bool {
        let permit = Permit {
            grant: None,
            upstream: &self.shared.upstream,
        };
        commands.iter().all(|command| permit.reads(command))
    }

    fn handle(
        &self,
        request: &Request,
        route: Route,
        grant: Option<Grant>,
    ) -> Result<Plan, Problem> {
        let (upstream, max_topics) = (&self.shared.upstream, self.shared.max_topics);
        let permit = Permit { grant, upstream };
        let context = Context {
            upstream,
            scripts: &self.shared.scripts,
            permit,
            could_be_forged: self.shared.access.could_be_forged(request),
        };
        let plan = match route {
            Route::Health => return Ok(operation::health()),
            Route::Ready => return Ok(operation::ready(upstream, permit.includes_operation())),
            Route::Index if request.method == Method::Post => {
                command_face::single(request, context)?
            }
            Route::Pipeline => command_face::pipeline(request, context)?,
            Route::MultiExec => command_face::transaction(request, context)?,
            Route::Subscribe(channels) => command_face::subscribe(&channels, max_topics)?,
            Route::Psubscribe(patterns) => command_face::psubscribe(&patterns, max_topics)?,
            Route::Monitor => command_face::monitor(context)?,
            Route::Command(segments) => command_face::path(request, &segments, context)?,
            Route::Index => operation::index(),
            Route::OpenApiYaml => operation::openapi_yaml(),
            Route::OpenApiJson => operation::openapi_json(),
            Route::Keys => keys::list(request)?,
            Route::Key(key) => keys::key(request, key)?,
            Route::Increment(key) => keys::increment(request, key)?,
            Route::Ttl(key) => keys::ttl(request, key)?,
            Route::Hash(key) => hashes::hash(request, key)?,
            Route::HashField(key, field) => hashes::field(request, key, field)?,
            Route::Entries(key) => streams::entries(request, key)?,
            Route::EntryEvents(key) => streams::events(request, key)?,
            Route::Messages(channel) => channels::publish(request, channel)?,
            Route::ChannelEvents(channel) => channels::events(request, channel)?,
            Route::Events => channels::events_of_several(request, max_topics)?,
        };
        permit.check(&plan)?;
        Ok(plan)
    }

    fn admit(&self, plan: Plan) -> Result<Admitted, Problem> {
        match plan {
            Plan::Answer(response) => Ok(Admitted::Answer(response)),
            Plan::Ask(ask) => {
                if let [command] = &ask.commands[..]
                    && let Some(reply) = self.shared.upstream.cached(command)
                {
                    return (ask.respond)(vec![Ok(reply)]).map(Admitted::Answer);
                }
                self.admit_commands(ask.commands, Half::Respond(ask.respond))
            }
            Plan::Rounds(rounds) => {
                // Before the first round, so that nothing is begun that cannot be finished.
                self.shared.upstream.class(&Command::new(rounds.further))?;
                self.admit_commands(rounds.commands, Half::Decide(rounds.decide))
            }
            Plan::Apart(apart) => {
                let ticket = self.shared.upstream.admit(&apart.commands)?;
                Ok(Admitted::Apart(apart, ticket))
            }
            Plan::Listen(listen) => {
                for topic in &listen.topics {
                    match topic {
                        Topic::Channel(name) => self.shared.upstream.admit_channel(name)?,
                        Topic::Pattern(_) => self.shared.upstream.admit_patterns()?,
                        Topic::Sharded(_) if !self.shared.upstream.admit_sharded()? => {
                            return self.admit(channels::no_sharded());
                        }
                        Topic::Sharded(_) => {}
                        Topic::Stream(_) => self.shared.upstream.admit_streams()?,
                    }
                }
                Ok(Admitted::Listen(listen))
            }
            Plan::Watch(watch) => Ok(Admitted::Watch(watch)),
        }
    }

    /// Admits commands that may be sent together with those of others, unless they are large.
    fn admit_commands(&self, commands: Vec<Command>, half: Half) -> Result<Admitted, Problem> {
        let ticket = self.shared.upstream.admit(&commands)?;
        Ok(if ticket.is_bulky() {
            Admitted::Apart(Apart::bulky(commands, half), ticket)
        } else {
            Admitted::Ask(commands, half, ticket)
        })
    }
}

/// What is asked for.
fn find(request: &Request) -> Result<Found, Problem> {
    if origin::is_options(request) && &request.path[..] == b"*" {
        return Ok(Found::Options(
            "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".into(),
        ));
    }
    let route = Route::parse(&request.path)?;
    let methods = route.methods();
    if methods.contains(&request.method.as_str()) {
        return Ok(Found::Route(route));
    }
    let allow = format!("{}, OPTIONS", methods.join(", "));
    if origin::is_options(request) {
        return Ok(Found::Options(allow));
    }
    Err(Problem::method_not_allowed(request.method.as_str(), allow))
}

/// Sends commands apart from those of others.
pub(super) fn send_apart(
    upstream: &Upstream,
    apart: &Apart,
) -> impl Future<Output = Vec<Outcome>> + Send + 'static {
    match apart.lane {
        Lane::Own => {
            let sent: Vec<_> = apart
                .commands
                .iter()
                .map(|c| upstream.send_own(c))
                .collect();
            join_all(sent).boxed()
        }
        Lane::Guarded => upstream.send_guarded(&apart.commands).boxed(),
        Lane::Bulky => upstream.send_bulky(&apart.commands).boxed(),
        Lane::Nodes => upstream.probe_nodes().map(|reply| vec![Ok(reply)]).boxed(),
    }
}

/// Whether a request is for the command face, whose errors have a form of their own.
fn is_command_face(request: &Request) -> bool {
    let at_index = request.method == Method::Post && matches!(&request.path[..], b"/" | b"//");
    at_index || router::is_of_command_face(&request.path)
}
