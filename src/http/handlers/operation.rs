//! Routes for people and machines that run the gateway.

use serde_json::{Value, json};

use crate::error::Error;
use crate::http::plan::{Apart, Ask, Half, Lane, Plan, reply};
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

/// `GET /readyz`: Redis answers, or some node of a Cluster. Whatever keeps it from doing so, the answer is 503:
/// the question itself can be asked again. How it is set up is not for everybody.
pub(crate) fn ready(upstream: &Upstream, with_details: bool) -> Plan {
    if upstream.is_cluster() {
        return cluster_ready(with_details);
    }
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
        Some(Ok(reply)) if is_sign_of_life(&reply) => Ok(fresh(&ready)),
        Some(Err(error @ Error::NotLetIn(_))) if with_details => Err(error.into()),
        _ => Err(Problem::new(503, "Redis does not answer")),
    };
    Plan::Ask(Ask {
        commands: vec![upstream.probe()],
        respond: Box::new(respond),
    })
}

fn cluster_ready(with_details: bool) -> Plan {
    let respond = move |outcomes: Vec<Outcome>| {
        let nodes = nodes(reply(outcomes.into_iter().next())?);
        if !nodes.iter().any(|(_, answers)| *answers) {
            return Err(Problem::new(503, "no node of the Cluster answers"));
        }
        if !with_details {
            return Ok(fresh(&json!({"status": "ok"})));
        }
        let node = |(address, answers)| json!({"address": address, "answers": answers});
        Ok(fresh(&json!({
            "status": "ok",
            "upstream": "cluster",
            "nodes": nodes.into_iter().map(node).collect::<Vec<_>>(),
            "version": env!("CARGO_PKG_VERSION"),
        })))
    };
    Plan::Apart(Apart {
        commands: Vec::new(),
        lane: Lane::Nodes,
        half: Half::Respond(Box::new(respond)),
    })
}

/// Addresses of nodes and whether they answer, from what [`Upstream::probe_nodes`] gives.
fn nodes(reply: Reply) -> Vec<(String, bool)> {
    let Reply::Array(nodes) = reply else {
        return Vec::new();
    };
    let node = |node| match node {
        Reply::Array(pair) => match &pair[..] {
            [Reply::Bulk(address), reply] => {
                let address = String::from_utf8_lossy(address).into_owned();
                let answers = !matches!(reply, Reply::Nil) && is_sign_of_life(reply);
                Some((address, answers))
            }
            _ => None,
        },
        _ => None,
    };
    nodes.into_iter().filter_map(node).collect()
}

/// Whether a reply to the probe says that the server serves.
fn is_sign_of_life(reply: &Reply) -> bool {
    match reply {
        // Who may not send a PING may send other things.
        Reply::Error(error) => error.code() == "NOPERM",
        _ => true,
    }
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
