//! The routes behind one door, whatever server they stand behind: a request in, a plan out.
//!
//! Every check that concerns all routes is in [`Service::plan`], one after the other.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tiny_http::Method;
use tokio::runtime::Handle;

use super::handlers::{channels, keys, operation};
use super::origin::{self, Cors, Guard};
use super::plan::{Ask, Plan};
use super::problem::Problem;
use super::query;
use super::request::Request;
use super::response::Response;
use super::router::Route;
use crate::auth::{Credentials, Grant, Tokens, Use, is_readonly};
use crate::config::Config;
use crate::upstream::{Ticket, Upstream};

/// The routes, and what they need. Clones share it.
#[derive(Debug, Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    guard: Guard,
    tokens: Tokens,
    upstream: Upstream,
    /// Begins the ids of requests that bring none.
    id_prefix: String,
    requests: AtomicU64,
}

/// What every answer to a request carries, whatever it is.
#[derive(Debug, Clone)]
pub(super) struct Trim {
    request_id: String,
    cors: Cors,
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
    Ask(Ask, Ticket),
    Listen(super::plan::Listen),
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
                guard: Guard::new(config),
                tokens: Tokens::new(config),
                upstream,
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
        let trim = self.trim(request);
        let response = match self.plan(request) {
            Admitted::Answer(response) => response,
            Admitted::Ask(ask, ticket) => {
                let sent = self.shared.upstream.send(&ask.commands);
                let outcomes = crate::bridge::block_on(runtime, sent);
                drop(ticket);
                (ask.respond)(outcomes).unwrap_or_else(Response::from)
            }
            Admitted::Listen(_) => {
                let detail = "event streams need the gateway's own server";
                Problem::new(501, detail).into()
            }
        };
        trim.apply(response)
    }

    /// What every answer to this request carries.
    pub(super) fn trim(&self, request: &Request) -> Trim {
        let theirs = request.headers.text("X-Request-Id").filter(|id| {
            let graphic = id.bytes().all(|b| b.is_ascii_graphic());
            graphic && (1..=128).contains(&id.len())
        });
        Trim {
            request_id: theirs.map_or_else(|| self.new_id(), str::to_owned),
            cors: self.shared.guard.cors(request),
        }
    }

    /// What the answer to something that is no request carries.
    pub(super) fn bare_trim(&self) -> Trim {
        Trim {
            request_id: self.new_id(),
            cors: Cors::None,
        }
    }

    fn new_id(&self) -> String {
        let number = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:x}", self.shared.id_prefix)
    }

    /// The first half of a request's way: every check, then its route.
    pub(super) fn plan(&self, request: &Request) -> Admitted {
        let checked = self.check(request);
        let planned = checked.and_then(|(grant, found)| match found {
            Found::Route(route) => self.handle(request, route, grant),
            Found::Options(allow) => Ok(Plan::Answer(origin::options(request, allow))),
        });
        let admitted = planned.and_then(|plan| self.admit(plan));
        admitted.unwrap_or_else(|problem| Admitted::Answer(problem.into()))
    }

    /// What can be said before the body has come; `None` if the body is to be read.
    pub(super) fn refuse_early(&self, request: &Request) -> Option<Response> {
        self.check(request).err().map(Response::from)
    }

    /// Who asks, and what for; refuses what can be told without knowing the details.
    fn check(&self, request: &Request) -> Result<(Option<Grant>, Found), Problem> {
        // First of all: whoever is not known learns nothing of what is there.
        let grant = self.identify(request)?;
        let found = find(request)?;
        Ok((grant, found))
    }

    /// What the sender of a request may do. `None` where it is somebody unknown, who may have what
    /// everybody may: `/healthz`, a bare `/readyz`, a preflight.
    fn identify(&self, request: &Request) -> Result<Option<Grant>, Problem> {
        // Whoever checks the gateway's health knows it by any name, and learns nothing by it.
        if &request.path[..] == b"/healthz" {
            return Ok(None);
        }
        let Shared { guard, tokens, .. } = &*self.shared;
        if tokens.is_empty() {
            guard.check(request)?;
            return Ok(Some(Grant::Full));
        }
        if origin::is_preflight(request) {
            return Ok(None);
        }
        let shown = match credentials(request)? {
            Credentials::Absent if asks_whether_ready(request) => return Ok(None),
            Credentials::Absent => return Err(Problem::unauthorized(HOW_TO_SHOW)),
            Credentials::Unusable(why) => return Err(Problem::unauthorized(why)),
            Credentials::Token(token) => token,
            Credentials::Password(password) => {
                guard.check_site(request)?;
                password
            }
        };
        match tokens.grant(&shown) {
            Some(grant) => Ok(Some(grant)),
            None => Err(Problem::unauthorized("this is not a token of this gateway")),
        }
    }

    fn handle(
        &self,
        request: &Request,
        route: Route,
        grant: Option<Grant>,
    ) -> Result<Plan, Problem> {
        let plan = match route {
            Route::Health => return Ok(operation::health()),
            Route::Ready => {
                let may_look = |grant: Grant| grant.allows(&Use::Operation).is_ok();
                let upstream = &self.shared.upstream;
                return Ok(operation::ready(upstream, grant.is_some_and(may_look)));
            }
            Route::Index => operation::index(),
            Route::OpenApiYaml => operation::openapi_yaml(),
            Route::OpenApiJson => operation::openapi_json(),
            Route::Keys => keys::list(request)?,
            Route::Key(key) => keys::key(request, key)?,
            Route::Increment(key) => keys::increment(request, key)?,
            Route::Ttl(key) => keys::ttl(request, key)?,
            Route::Messages(channel) => channels::publish(request, channel)?,
            Route::ChannelEvents(channel) => channels::events(request, channel)?,
            Route::Events => channels::events_of_several(request)?,
        };
        let grant = grant.ok_or_else(|| Problem::unauthorized(HOW_TO_SHOW))?;
        permit(grant, &plan)?;
        Ok(plan)
    }

    fn admit(&self, plan: Plan) -> Result<Admitted, Problem> {
        match plan {
            Plan::Answer(response) => Ok(Admitted::Answer(response)),
            Plan::Ask(ask) => {
                let ticket = self.shared.upstream.admit(&ask.commands)?;
                Ok(Admitted::Ask(ask, ticket))
            }
            Plan::Listen(listen) => {
                for channel in &listen.channels {
                    self.shared.upstream.admit_channel(channel)?;
                }
                Ok(Admitted::Listen(listen))
            }
        }
    }
}

/// For whoever shows nothing.
const HOW_TO_SHOW: &str = "a token is needed: as Authorization: Bearer, as the password of \
                           Authorization: Basic, or as ?_token=";

/// What a request shows of its sender. A header counts before the query.
fn credentials(request: &Request) -> Result<Credentials<'_>, Problem> {
    let mut headers = request.headers.all("Authorization");
    match (headers.next(), headers.next()) {
        (Some(_), Some(_)) => Err(Problem::new(400, "there is more than one Authorization")),
        (Some(value), None) => Ok(Credentials::of_header(value)),
        (None, _) => Ok(match query::token(&request.query)? {
            Some(token) => Credentials::Token(token.to_vec().into()),
            None => Credentials::Absent,
        }),
    }
}

/// Whether this asks for yes or no, which everybody may.
fn asks_whether_ready(request: &Request) -> bool {
    let is_read = matches!(request.method, Method::Get | Method::Head);
    is_read && &request.path[..] == b"/readyz"
}

/// What is asked for.
fn find(request: &Request) -> Result<Found, Problem> {
    if let Some(coding) = request.headers.text("Content-Encoding")
        && !coding.eq_ignore_ascii_case("identity")
    {
        let detail = "a body is taken as it is; send it without Content-Encoding";
        return Err(Problem::new(415, detail));
    }
    if origin::is_options(request) && &request.path[..] == b"*" {
        return Ok(Found::Options(
            "GET, HEAD, POST, PUT, DELETE, OPTIONS".into(),
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

/// Whether a grant includes all that a plan will do.
fn permit(grant: Grant, plan: &Plan) -> Result<(), Problem> {
    match plan {
        Plan::Answer(_) => {}
        Plan::Ask(ask) => {
            for command in &ask.commands {
                let name = command.name();
                grant.allows(&Use::of_command(name, is_readonly(name)))?;
            }
        }
        Plan::Listen(_) => grant.allows(&Use::Subscribe)?,
    }
    Ok(())
}

impl Trim {
    /// The response with what every answer carries.
    pub(super) fn apply(&self, response: Response) -> Response {
        let id: Cow<'static, str> = self.request_id.clone().into();
        self.cors.apply(response.header("X-Request-Id", id))
    }

    /// The id of the request, for the log.
    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }
}
