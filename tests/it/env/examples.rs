//! The examples, as programs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Where an example's program is.
pub(crate) fn example(name: &str) -> &'static Path {
    &EXAMPLES[name]
}

/// Where the examples' programs are, by name. They are built here, once, because cargo does not
/// always build them along with this test, nor does it say where.
static EXAMPLES: LazyLock<HashMap<String, PathBuf>> = LazyLock::new(|| {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--examples", "--offline"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // In the profile of this test, so that what has been built for it can be used again.
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }

    let output = cargo.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|artifact| artifact["target"]["kind"][0] == "example")
        .filter_map(|artifact| {
            let name = artifact["target"]["name"].as_str()?.to_owned();
            Some((name, artifact["executable"].as_str()?.into()))
        })
        .collect()
});
