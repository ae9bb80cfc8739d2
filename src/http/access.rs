//! Who sends a request, and whether that is enough for what it asks for: the questions of `auth`, asked of
//! HTTP requests.

use tiny_http::Method;

use super::csrf;
use super::origin::{self, Cors, Guard};
use super::plan::{Apart, Ask, Plan};
use super::problem::Problem;
use super::query;
use super::request::Request;
use crate::auth::{Credentials, Grant, Tokens, Use, is_readonly};
use crate::command::Command;
use crate::config::Config;
use crate::upstream::Upstream;

/// Whom this gateway knows.
#[derive(Debug)]
pub(super) struct Access {
    guard: Guard,
    tokens: Tokens,
}

/// What one request may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permit<'a> {
    /// `None` for somebody unknown.
    pub(super) grant: Option<Grant>,
    /// It knows which commands only read.
    pub(super) upstream: &'a Upstream,
}

/// For whoever shows nothing.
const HOW_TO_SHOW: &str = "a token is needed: as Authorization: Bearer, as the password of \
                           Authorization: Basic, or as ?_token=";

impl Access {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            guard: Guard::new(config),
            tokens: Tokens::new(config),
        }
    }

    /// What the answer to a request must say to its origin.
    pub(super) fn cors(&self, request: &Request) -> Cors {
        self.guard.cors(request)
    }

    /// What the sender of a request may do. `None` where it is somebody unknown, who may have what
    /// everybody may: `/healthz`, a bare `/readyz`, a preflight.
    ///
    /// # Errors
    /// 401 for whoever shows no token that is known, 403 for another site.
    pub(super) fn identify(&self, request: &Request) -> Result<Option<Grant>, Problem> {
        // Whoever checks the gateway's health knows it by any name, and learns nothing by it.
        if &request.path[..] == b"/healthz" {
            return Ok(None);
        }
        if self.tokens.is_empty() {
            self.guard.check(request)?;
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
                self.guard.check_site(request)?;
                password
            }
        };
        match self.tokens.grant(&shown) {
            Some(grant) => Ok(Some(grant)),
            None => Err(Problem::unauthorized("this is not a token of this gateway")),
        }
    }

    /// Whether a page of another site, or a link anywhere, could have had a browser send this request.
    ///
    /// Browsers send a GET for a link or an image without an Origin, and say where it comes from only to
    /// addresses that they trust, such as loopback.
    pub(super) fn could_be_forged(&self, request: &Request) -> bool {
        if !matches!(request.method, Method::Get | Method::Head) || self.is_meant(request) {
            return false;
        }
        match request.headers.get("Sec-Fetch-Mode") {
            // A script of an allowed page, or of the gateway's own, asked for it.
            Some(b"cors" | b"same-origin") => false,
            Some(_) => true,
            None => !request.authority.as_deref().is_none_or(origin::is_loopback),
        }
    }

    /// Whether a request shows a token that was put there by whoever sends it. No browser adds the header Bearer by
    /// itself, as it does a password of Basic. A link can have anything in its query, but no token of this gateway.
    fn is_meant(&self, request: &Request) -> bool {
        match credentials(request) {
            Ok(Credentials::Token(token)) => {
                let in_header = request.headers.get("Authorization").is_some();
                in_header || self.tokens.grant(&token).is_some()
            }
            _ => false,
        }
    }
}

impl Permit<'_> {
    /// Whether it includes all that a plan will do.
    ///
    /// # Errors
    /// 403 that says what not.
    pub(super) fn check(self, plan: &Plan) -> Result<(), Problem> {
        match plan {
            Plan::Answer(_) => self.grant().map(|_| ()),
            Plan::Ask(Ask { commands, .. }) | Plan::Apart(Apart { commands, .. }) => commands
                .iter()
                .try_for_each(|command| self.check_command(command)),
            Plan::Rounds(rounds) => {
                for command in &rounds.commands {
                    self.check_command(command)?;
                }
                self.check_command(&Command::new(rounds.further))
            }
            Plan::Listen(_) => self.check_use(&Use::Subscribe),
            Plan::Watch(_) => self.check_use(&Use::Monitor),
        }
    }

    /// Whether it includes a use.
    ///
    /// # Errors
    /// 403 that names it.
    pub(super) fn check_use(self, what: &Use<'_>) -> Result<(), Problem> {
        Ok(self.grant()?.allows(what)?)
    }

    /// Whether it includes a command.
    ///
    /// # Errors
    /// 403 that names it.
    pub(super) fn check_command(self, command: &Command) -> Result<(), Problem> {
        let grant = self.grant()?;
        if grant == Grant::Full {
            // Everything: the server's table need not be asked.
            return Ok(());
        }
        Ok(grant.allows(&Use::of_command(command.name(), self.reads(command)))?)
    }

    /// Whether a command only reads, by the server's own table where there is one.
    pub(super) fn reads(self, command: &Command) -> bool {
        let reads = self.upstream.classes().reads(command);
        reads.unwrap_or_else(|| is_readonly(command.name()))
    }

    /// Lets a command through that a link could have had a browser send, or not.
    ///
    /// # Errors
    /// 403 that says how else it can be sent.
    pub(super) fn check_forged(self, command: &Command) -> Result<(), Problem> {
        if csrf::is_harmless(command, self.reads(command)) {
            return Ok(());
        }
        let name = command.name();
        let unknown = match self.upstream.classes().reads(command) {
            Some(_) => "",
            None => ", and it is not known as one that changes nothing",
        };
        let detail = format!(
            "{name} by GET is what a link or an image on any page could have a browser do{unknown}; use POST, or \
             show a token as Authorization: Bearer"
        );
        Err(Problem::new(403, detail))
    }

    /// Whether it includes to see how the gateway is doing.
    pub(super) fn includes_operation(self) -> bool {
        let grant = self.grant;
        grant.is_some_and(|grant| grant.allows(&Use::Operation).is_ok())
    }

    fn grant(self) -> Result<Grant, Problem> {
        let unknown = || Problem::unauthorized(HOW_TO_SHOW);
        self.grant.ok_or_else(unknown)
    }
}

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
