//! The published SDKs against the gateway, each as a program of its own that knows no more than a URL and a
//! token. What they do and expect is in tests/sdk.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::env::{TestGateway, TestRedis};

const TOKEN: &str = "token-of-the-sdk-sessions";

/// Where tests/run puts what the sessions need.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools")
}

/// Runs a script of tests/sdk against a gateway of its own, in the folder of the tools.
fn session(program: &Path, script: &str) {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.tokens = vec![TOKEN.parse().unwrap()];
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sdk")
        .join(script);
    let output = Command::new(program)
        .arg(&script)
        .current_dir(tools())
        .env(
            "UPSTASH_REDIS_REST_URL",
            format!("http://{}", gateway.address),
        )
        .env("UPSTASH_REDIS_REST_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| {
        let program = program.display();
        panic!("{program}: {error}. Run tests/run, or install by hand: apt-get install nodejs npm")
    });
    assert!(
        output.status.success(),
        "{} failed:\n{}\n{}",
        script.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs a session of an npm package.
fn node(script: &str, packages: &[&str]) {
    for package in packages {
        let at = tools().join("node_modules").join(package);
        assert!(
            at.is_dir(),
            "{package} is missing. Run tests/run, or install by hand: \
             npm install --no-save --prefix target/test-tools {package}"
        );
    }
    session(Path::new("node"), script);
}

#[test]
fn upstash_redis_reads_and_writes_every_type() {
    node("upstash_redis.mjs", &["@upstash/redis"]);
}

#[test]
fn upstash_redis_runs_scripts_transactions_and_subscriptions() {
    node("upstash_redis_together.mjs", &["@upstash/redis"]);
}

#[test]
fn upstash_ratelimit_limits() {
    node("ratelimit.mjs", &["@upstash/redis", "@upstash/ratelimit"]);
}

#[test]
fn vercel_kv_works() {
    node("vercel_kv.mjs", &["@upstash/redis", "@vercel/kv"]);
}

#[test]
fn upstash_redis_for_python_works() {
    let python = tools().join("venv/bin/python");
    let has = Command::new(&python)
        .args(["-c", "import upstash_redis"])
        .output();
    assert!(
        has.is_ok_and(|output| output.status.success()),
        "upstash-redis is missing. Run tests/run, or install by hand: python3 -m venv \
         target/test-tools/venv && target/test-tools/venv/bin/python -m pip install upstash-redis"
    );
    session(&python, "upstash_redis_py.py");
}
