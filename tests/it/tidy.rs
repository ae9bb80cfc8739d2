//! The rules of the house that no other tool holds: layers, file heads, sizes, and what must not be left
//! behind.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the top down. Each may use those below it, and itself.
const LAYERS: &[&str] = &[
    "main",
    "gateway",
    "healthcheck",
    "http",
    "auth",
    "hub",
    "upstream",
    "bridge",
    "reply",
    "command",
    "error",
    "config",
    "blocking",
];

/// A file longer than this holds more than one concept.
const MAX_LINES: usize = 400;

fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!files.is_empty(), "no files in {folder}");
    files
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == name)
}

#[test]
fn imports_go_down() {
    for (path, text) in rust_files("src") {
        let top = path
            .components()
            .nth(1)
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let top = top.trim_end_matches(".rs");
        if top == "lib" {
            continue;
        }
        let own = layer(top).unwrap_or_else(|| panic!("{top} has no place among the layers"));
        for line in text.lines() {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at..].split_once("::").unwrap().1;
                let name: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let used = layer(&name).unwrap_or(usize::MAX);
                assert!(
                    used >= own,
                    "{} uses {name}, which is above it",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn only_http_knows_http() {
    for (path, text) in rust_files("src") {
        if !path.starts_with("src/http") {
            for word in [
                "tiny_http::",
                "httparse::",
                "serde_json::from",
                "StatusCode",
            ] {
                assert!(!text.contains(word), "{} knows {word}", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    let folders = ["src", "tests", "examples", "benches"];
    for (path, text) in folders.into_iter().flat_map(rust_files) {
        assert!(
            text.starts_with("//! "),
            "{} does not begin with its purpose",
            path.display()
        );
    }
}

#[test]
fn every_file_can_be_read_in_one_sitting() {
    for (path, text) in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn nothing_is_left_behind() {
    // Written in two pieces, or this file would be the first to be found.
    let words = [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("dbg", "!("),
        ("todo", "!("),
        ("unimplemented", "!("),
    ];
    let words = words.map(|(begin, end)| format!("{begin}{end}"));
    let folders = ["src", "tests", "examples", "benches"];
    for (path, text) in folders.into_iter().flat_map(rust_files) {
        for word in &words {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
        assert!(
            !text.contains(concat!("#[", "ignore")),
            "{} has a test that is not run",
            path.display()
        );
    }
}
