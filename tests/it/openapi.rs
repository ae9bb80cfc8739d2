//! The OpenAPI document by itself: its two files say the same, it has the router's routes, it is complete in
//! what each operation must have, and a public validator finds it valid. That it tells the truth about
//! answers is seen in `operations`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use redis_http_gateway::http::router::ENDPOINTS;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

/// The keys of a path item that are operations; its others are parameters and descriptions.
const METHODS: [&str; 8] = [
    "get", "head", "put", "post", "patch", "delete", "options", "trace",
];

/// Set, it has the JSON written anew instead of compared.
const UPDATE: &str = "UPDATE_OPENAPI";

/// Names a Python that has the validator.
const VALIDATOR_PYTHON: &str = "OPENAPI_VALIDATOR_PYTHON";

#[test]
fn json_says_what_yaml_says() {
    let (yaml, json) = (
        project("openapi/openapi.yaml"),
        project("openapi/openapi.json"),
    );
    let wanted = to_json(&yaml);
    if env::var_os(UPDATE).is_some() {
        fs::write(&json, &wanted).unwrap();
    }

    let found = fs::read_to_string(&json).unwrap_or_default();
    let difference = found.lines().zip(wanted.lines()).find(|(a, b)| a != b);
    assert!(
        found == wanted,
        "openapi.json does not say what openapi.yaml says, first at (JSON, YAML): {difference:?}\n\
         to write it anew: {UPDATE}=1 cargo test openapi"
    );
    serde_json::from_str::<Value>(&found).expect("what is written is JSON");
}

#[test]
fn every_operation_is_complete() {
    let document = document();
    let mut faults = Vec::new();
    let mut ids = BTreeSet::new();
    let tags: BTreeSet<_> = items(&document["tags"])
        .map(|tag| text(&tag["name"]))
        .collect();

    for (path, item) in entries(&document["paths"]) {
        if item.get("get").is_some() && item.get("head").is_none() {
            faults.push(format!("{path}: GET without HEAD"));
        }
        let methods = METHODS
            .iter()
            .filter_map(|name| Some((name, item.get(*name)?)));
        for (method, operation) in methods {
            let mut fault = |what: String| faults.push(format!("{method} {path}: {what}"));
            if !ids.insert(text(&operation["operationId"])) {
                fault("its operationId is missing or another's".into());
            }
            if text(&operation["summary"]).is_empty() {
                fault("no summary".into());
            }
            let mut known = items(&operation["tags"])
                .map(text)
                .filter(|tag| tags.contains(tag));
            if known.next().is_none() {
                fault("no tag that the document declares".into());
            }
            let is_for_all = path == "/healthz";
            if operation["responses"].get("401").is_some() == is_for_all {
                fault("a token is needed everywhere but for health, so 401 is told of".into());
            }
            check_parameters(&document, path, item, operation, &mut fault);
            check_responses(&document, operation, &mut fault);
        }
    }

    assert!(!ids.is_empty(), "no operations");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(
        text(&document["info"]["version"]),
        env!("CARGO_PKG_VERSION"),
        "info.version is the package's"
    );
}

#[test]
fn it_has_the_routers_routes_and_no_others() {
    let document = document();
    let documented: BTreeSet<_> = operations(&document)
        .map(|(path, method, _)| (path.to_owned(), method.to_uppercase()))
        .collect();
    let routed = ENDPOINTS.iter().flat_map(|(path, methods)| {
        let method = |method: &&str| ((*path).to_owned(), (*method).to_owned());
        methods.iter().map(method)
    });
    let routed: BTreeSet<_> = routed.collect();
    let unknown: Vec<_> = routed.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&routed).collect();
    assert!(unknown.is_empty(), "not in the document: {unknown:?}");
    assert!(invented.is_empty(), "not in the router: {invented:?}");
}

#[test]
fn references_resolve_and_components_are_used() {
    let document = document();
    let mut references = BTreeSet::new();
    collect_references(&document, &mut references);

    let dangling: Vec<_> = references
        .iter()
        .filter(|reference| document.pointer(&reference[1..]).is_none())
        .collect();
    assert!(dangling.is_empty(), "these lead nowhere: {dangling:?}");

    // Schemas of what is inside an event's data: no media type can refer to them.
    let told_in_text = [
        "#/components/schemas/ChannelMessage",
        "#/components/schemas/StreamEntry",
        "#/components/schemas/Gap",
    ];
    let unused: Vec<_> = entries(&document["components"])
        .flat_map(|(kind, all)| {
            entries(all).map(move |(name, _)| format!("#/components/{kind}/{name}"))
        })
        .filter(|name| !references.contains(name) && !told_in_text.contains(&&name[..]))
        .collect();
    assert!(unused.is_empty(), "nothing refers to these: {unused:?}");
}

#[test]
fn public_validator_accepts_it() {
    let own = project("target/test-tools/venv/bin/python");
    let python = match env::var_os(VALIDATOR_PYTHON) {
        Some(named) => PathBuf::from(named),
        None if own.exists() => own,
        None => PathBuf::from("python3"),
    };
    let run = Command::new(&python)
        .args([
            "-m",
            "openapi_spec_validator",
            "--validation-errors",
            "all",
            "--",
        ])
        .arg(project("openapi/openapi.yaml"))
        .output();
    let (well, said) = match run {
        Ok(run) => (
            run.status.success(),
            [run.stdout, run.stderr]
                .map(|text| String::from_utf8_lossy(&text).into_owned())
                .concat(),
        ),
        Err(error) => (false, error.to_string()),
    };
    assert!(
        well,
        "{} -m openapi_spec_validator: {said}\n\
         If it is missing: tests/run installs it, and so does\n    \
         python3 -m venv target/test-tools/venv && \
         target/test-tools/venv/bin/pip install openapi-spec-validator\n\
         Or name a Python that has it in {VALIDATOR_PYTHON}.",
        python.display()
    );
}

/// Every operation with its path and its method.
pub(crate) fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    entries(&document["paths"]).flat_map(|(path, item)| {
        let of_item = entries(item).filter(|(name, _)| METHODS.contains(&name.as_str()));
        of_item.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

/// A path's variables are declared, each once and as required, and nothing else is.
fn check_parameters(
    document: &Value,
    path: &str,
    item: &Value,
    operation: &Value,
    fault: &mut impl FnMut(String),
) {
    let mut declared = BTreeSet::new();
    let mut in_path = BTreeSet::new();
    for parameter in items(&item["parameters"]).chain(items(&operation["parameters"])) {
        let parameter = resolve(document, parameter);
        let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
        if !declared.insert((name, place)) {
            fault(format!("{place} parameter {name} is declared twice"));
        }
        if text(&parameter["description"]).is_empty() {
            fault(format!("{place} parameter {name} is not described"));
        }
        if place == "path" {
            in_path.insert(name);
            if parameter["required"] != true {
                fault(format!("path parameter {name} is not required"));
            }
        }
    }
    let variables: BTreeSet<_> = path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .collect();
    if variables != in_path {
        fault(format!(
            "has the variables {variables:?}, declares {in_path:?}"
        ));
    }
}

/// There is a success and a refusal; every response has its headers, every error its problem document.
fn check_responses(document: &Value, operation: &Value, fault: &mut impl FnMut(String)) {
    let responses = &operation["responses"];
    for class in ['2', '4'] {
        if !entries(responses).any(|(status, _)| status.starts_with(class)) {
            fault(format!("no {class}xx"));
        }
    }
    for (status, response) in entries(responses) {
        let response = resolve(document, response);
        let named = match status.as_str() {
            "304" => &["X-Request-Id", "ETag"][..],
            "401" => &["X-Request-Id", "WWW-Authenticate"],
            "405" => &["X-Request-Id", "Allow"],
            "503" => &["X-Request-Id", "Retry-After"],
            _ => &["X-Request-Id"],
        };
        for header in named {
            if response["headers"].get(header).is_none() {
                fault(format!("{status} without {header}"));
            }
        }
        if operation["tags"][0] == "commands" {
            // This face has errors of its own form.
            let fault_schema = &response["content"]["application/json"]["schema"]["$ref"];
            if status.as_str() >= "400" && fault_schema != "#/components/schemas/CommandFault" {
                fault(format!("{status} is not an error of the command face"));
            }
            continue;
        }
        let problem = &response["content"]["application/problem+json"];
        let is_error = status.as_str() >= "400";
        if is_error && problem["schema"]["$ref"] != "#/components/schemas/Problem" {
            fault(format!("{status} is not a problem document"));
        }
        if is_error && problem["example"]["status"].as_u64() != status.parse().ok() {
            fault(format!(
                "{status} has no example, or that of another status"
            ));
        }
    }
}

/// What a `$ref` stands for; anything else as it is.
pub(crate) fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref") {
        Some(reference) => document
            .pointer(&text(reference)[1..])
            .unwrap_or(&Value::Null),
        None => value,
    }
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    if let Some(Value::String(reference)) = value.get("$ref") {
        found.insert(reference.clone());
    }
    // Security schemes are referred to by their bare names.
    for (scheme, _) in items(&value["security"]).flat_map(entries) {
        found.insert(format!("#/components/securitySchemes/{scheme}"));
    }
    entries(value).for_each(|(_, value)| collect_references(value, found));
    items(value).for_each(|value| collect_references(value, found));
}

pub(crate) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(crate) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The document, as its source has it.
pub(crate) fn document() -> Value {
    serde_json::from_str(&to_json(&project("openapi/openapi.yaml"))).unwrap()
}

/// A YAML file as JSON: two spaces a level, and the keys in the file's order, which `serde_json` would keep
/// only with a feature that the program itself does without.
fn to_json(file: &Path) -> String {
    let documents = YamlLoader::load_from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let [document] = &documents[..] else {
        panic!("{} has {} documents", file.display(), documents.len());
    };
    let mut json = String::new();
    write_json(&mut json, document, 0);
    json + "\n"
}

fn write_json(out: &mut String, yaml: &Yaml, depth: usize) {
    let open = |out: &mut String, first: bool| {
        let separator = if first { "" } else { "," };
        write!(out, "{separator}\n{:1$}", "", 2 * (depth + 1)).unwrap();
    };
    let close = |out: &mut String| write!(out, "\n{:1$}", "", 2 * depth).unwrap();
    match yaml {
        Yaml::Null => out.push_str("null"),
        Yaml::Boolean(truth) => write!(out, "{truth}").unwrap(),
        Yaml::Integer(number) => write!(out, "{number}").unwrap(),
        Yaml::Real(number) => out.push_str(number),
        Yaml::String(text) => out.push_str(&serde_json::to_string(text).unwrap()),
        Yaml::Array(items) if items.is_empty() => out.push_str("[]"),
        Yaml::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                open(out, n == 0);
                write_json(out, item, depth + 1);
            }
            close(out);
            out.push(']');
        }
        Yaml::Hash(entries) if entries.is_empty() => out.push_str("{}"),
        Yaml::Hash(entries) => {
            out.push('{');
            for (n, (key, value)) in entries.iter().enumerate() {
                let key = key.as_str().expect("every key is a string: quote it");
                open(out, n == 0);
                write!(out, "{}: ", serde_json::to_string(key).unwrap()).unwrap();
                write_json(out, value, depth + 1);
            }
            close(out);
            out.push('}');
        }
        Yaml::Alias(_) | Yaml::BadValue => panic!("what JSON cannot say: {yaml:?}"),
    }
}
