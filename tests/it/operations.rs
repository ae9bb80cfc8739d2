//! Every operation of the OpenAPI document, tried on a gateway: the answer's status, media type, headers and
//! JSON are those documented.

mod tries;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::env::{Answer, Client, TestGateway, TestRedis};
use crate::openapi::{document, entries, items, operations, resolve, text};
use tries::{TRIES, TRIES_OVER_REDIS, Try};

#[test]
fn every_operation_answers_as_documented() {
    let gateway = TestGateway::start();
    gateway.put("/v1/keys/text", b"value");
    gateway.put("/v1/keys/bytes", b"\xFF");
    let document = document();
    let tried = try_all(&gateway, &document, TRIES);
    for (_, _, operation) in operations(&document) {
        let name = text(&operation["operationId"]);
        assert!(tried.contains(name), "{name} is not tried");
    }
}

#[test]
fn over_a_redis_server_they_answer_as_documented_too() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    for key in ["text", "other"] {
        gateway.put(&format!("/v1/keys/{key}"), b"value");
    }
    for path in ["hash/a", "hash/old", "gone/a"] {
        gateway.put(&format!("/v1/hashes/{path}"), b"\xFF");
    }
    gateway.post("/v1/streams/a/entries?id=1-1", b"{\"a\":1}");
    try_all(&gateway, &document(), TRIES_OVER_REDIS);
}

/// Makes the tries, and gives the operations that they are of.
fn try_all(gateway: &TestGateway, document: &Value, tries: &[Try]) -> BTreeSet<String> {
    let mut tried = BTreeSet::new();
    for (path, method, operation) in operations(document) {
        let name = text(&operation["operationId"]);
        for attempt in tries.iter().filter(|attempt| attempt.operation == name) {
            assert!(
                matches(path, attempt.path),
                "{} is not {path}",
                attempt.path
            );
            let what = format!("{method} {} -> {}", attempt.path, attempt.status);
            let answer = ask(gateway, method, attempt);
            assert_eq!(answer.status, attempt.status, "{what}: {answer:?}");
            check(document, operation, &what, method, &answer);
            tried.insert(name.to_owned());
        }
    }
    for attempt in tries {
        assert!(
            tried.contains(attempt.operation),
            "no {}",
            attempt.operation
        );
    }
    tried
}

#[test]
fn a_method_that_is_not_documented_is_405() {
    let gateway = TestGateway::start();
    let document = document();
    for (path, item) in entries(&document["paths"]) {
        let path = path.replace(['{', '}'], "");
        let mut client = gateway.connect();
        for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "QUERY"] {
            if item.get(method.to_lowercase()).is_none() {
                let answer = client.request(method, &path, &[], b"");
                assert_eq!(answer.status, 405, "{method} {path}");
                let allow = answer.header("allow").unwrap();
                assert!(!allow.split(", ").any(|allowed| allowed == method));
            }
        }
    }
}

#[test]
fn it_serves_its_own_document() {
    let gateway = TestGateway::start();
    assert_eq!(gateway.get("/openapi.json").json(), document());
    let yaml = gateway.get("/openapi.yaml");
    assert!(yaml.text() == include_str!("../../openapi/openapi.yaml"));
    let index = gateway.get("/").json();
    assert_eq!(gateway.get(text(&index["openapi"])).status, 200);
}

/// Whether a target is one of a documented path.
fn matches(template: &str, target: &str) -> bool {
    let path = target.split('?').next().unwrap();
    let segments = template.split('/').zip(path.split('/'));
    template.split('/').count() == path.split('/').count()
        && segments
            .into_iter()
            .all(|(wanted, found)| wanted.starts_with('{') || wanted == found)
}

fn ask(gateway: &TestGateway, method: &str, attempt: &Try) -> Answer {
    let mut client = Client::connect(gateway.address);
    let method = method.to_uppercase();
    if attempt
        .headers
        .iter()
        .any(|(name, _)| *name == "Transfer-Encoding")
    {
        // Never beside a Content-Length.
        let (name, value) = attempt.headers[0];
        let path = attempt.path;
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{name}: {value}\r\n\r\n");
        client.send(head.as_bytes());
        return client.receive();
    }
    client.send_request(
        &method,
        attempt.path,
        attempt.headers,
        attempt.body.as_bytes(),
    );
    let head = client.receive_head();
    // A stream has no end to wait for.
    let stream = head.header("content-type") == Some("text/event-stream");
    if method == "HEAD" || stream || matches!(head.status, 204 | 304) {
        return head;
    }
    let length = head.header("content-length").unwrap().parse().unwrap();
    let body = client.receive_bytes(length);
    Answer { body, ..head }
}

/// Holds an answer to what is documented for its status.
fn check(document: &Value, operation: &Value, what: &str, method: &str, answer: &Answer) {
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{what} is not documented");
    let response = resolve(document, response);
    let named = entries(&response["headers"]).map(|(name, _)| name.to_lowercase());
    for name in named.chain(["x-request-id".to_owned()]) {
        assert!(answer.header(&name).is_some(), "{what} without {name}");
    }
    let media_type = answer.header("content-type");
    let essence = media_type.map(|media_type| media_type.split(';').next().unwrap());
    let Some(content) = response.get("content") else {
        assert_eq!(essence, None, "{what} has no content");
        return;
    };
    let essence = essence.unwrap_or_else(|| panic!("{what} without a Content-Type"));
    let form = content.get(essence);
    let form = form.unwrap_or_else(|| panic!("{what}: {essence} is not documented"));
    if essence.ends_with("json") && method != "head" {
        check_json(
            document,
            resolve(document, &form["schema"]),
            what,
            &answer.json(),
        );
    }
}

/// A JSON object has what its schema requires, and nothing that it does not know.
fn check_json(document: &Value, schema: &Value, what: &str, json: &Value) {
    for name in items(&schema["required"]) {
        assert!(
            json.get(text(name)).is_some(),
            "{what} without {name}: {json}"
        );
    }
    let Some(properties) = schema.get("properties") else {
        return;
    };
    for (name, value) in entries(json) {
        let property = properties.get(name);
        let property = property.unwrap_or_else(|| panic!("{what}: {name} is not documented"));
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let kinds = &resolve(document, property)["type"];
        let is_number = kinds == "number" && value.is_number();
        let fits = is_number || kinds == kind || items(kinds).any(|one| one == kind);
        assert!(fits, "{what}: {name} is no {kinds} but {value}");
    }
}
