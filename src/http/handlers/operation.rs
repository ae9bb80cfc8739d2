//! Routes for people and machines that run the gateway.

use serde_json::{Value, json};

use crate::http::plan::{Ask, Plan, reply};
use crate::http::problem::Problem;
use crate::http::response::Response;
use crate::reply::Reply;
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
    Plan::Answer(fresh(&json!({"status": "ok"})))
}

/// `GET /readyz`: Redis answers. Whatever keeps it from doing so, the answer is 503: the question itself
/// can be asked again. How it is set up is not for everybody.
pub(crate) fn ready(upstream: &Upstream, with_details: bool) -> Plan {
    let mut ready = match (with_details, upstream.embedded_address()) {
        (false, _) => json!({"status": "ok"}),
        (true, address) => json!({
            "status": "ok",
            "upstream": if address.is_some() { "embedded" } else { "redis" },
            "version": env!("CARGO_PKG_VERSION"),
        }),
    };
    if with_details && let Some(cache) = upstream.cache_stats() {
        ready["client_cache"] = json!({
            "values": cache.values,
            "bytes": cache.bytes,
            "hits": cache.hits,
            "misses": cache.misses,
        });
    }
    let respond = move |outcomes: Vec<Outcome>| match outcomes.into_iter().next() {
        // Who may not send a PING may send other things.
        Some(Ok(Reply::Error(error))) if error.code() == "NOPERM" => Ok(fresh(&ready)),
        outcome => match reply(outcome) {
            Ok(_) => Ok(fresh(&ready)),
            Err(_) => Err(Problem::new(503, "Redis does not answer")),
        },
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

/// A state of this moment.
fn fresh(state: &Value) -> Response {
    Response::json(state).header("Cache-Control", "no-store")
}
