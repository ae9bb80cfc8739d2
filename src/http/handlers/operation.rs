//! Routes for people and machines that run the gateway.

use serde_json::json;

use crate::http::plan::{Ask, Plan, reply};
use crate::http::problem::Problem;
use crate::http::response::Response;
use crate::upstream::{Outcome, Upstream};

const YAML: &str = include_str!("../../../openapi/openapi.yaml");
const JSON: &str = include_str!("../../../openapi/openapi.json");

/// `GET /`: what this is and where to go on.
pub(crate) fn index() -> Plan {
    Plan::Answer(Response::json(&json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "openapi": "/openapi.json",
    })))
}

/// `GET /healthz`: the process serves.
pub(crate) fn health() -> Plan {
    Plan::Answer(ok())
}

/// `GET /readyz`: Redis answers. Whatever keeps it from doing so, the answer is 503: the question itself
/// can be asked again.
pub(crate) fn ready(upstream: &Upstream) -> Plan {
    let respond = |outcomes: Vec<Outcome>| match reply(outcomes.into_iter().next()) {
        Ok(_) => Ok(ok()),
        Err(_) => Err(Problem::new(503, "Redis does not answer")),
    };
    Plan::Ask(Ask {
        commands: vec![upstream.probe()],
        respond: Box::new(respond),
    })
}

/// `GET /openapi.yaml`.
pub(crate) fn openapi_yaml() -> Plan {
    Plan::Answer(Response::new(200).body("application/yaml", YAML))
}

/// `GET /openapi.json`.
pub(crate) fn openapi_json() -> Plan {
    Plan::Answer(Response::new(200).body("application/json", JSON))
}

fn ok() -> Response {
    Response::json(&json!({"status": "ok"})).header("Cache-Control", "no-store")
}
