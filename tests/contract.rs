//! The contract as clients not written here see it: the official OpenAI packages of Python and Node, the Vercel AI SDK,
//! LangChain, and schemathesis against `/openapi.json`. `make test` installs them; each suite is a script under
//! `tests/contract/` that talks to a whole house.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a failed test")]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the house is shared by test programs that use different parts of it"
)]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::House;
use greenroom::config::Span;
use tokio::process::Command;

/// Runs one suite against a fresh house and shows what it printed if it fails.
async fn suite(program: &str, script: &str) {
    let house = House::open_with(|config| config.limits.keep_alive = Span::secs(1)).await;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(program)
        .arg(root.join("tests/contract").join(script))
        .env("GREENROOM_URL", house.running.url())
        .env_remove("CONTRACT_DIRECT")
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(Duration::from_secs(300), output).await.expect("the suite ends").expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.lines().last().is_some_and(|line| line.ends_with("0 failed")),
        "{script} (installed by tests/contract/setup.sh):\n{said}\n{complained}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python() {
    suite("python3", "openai_python.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node() {
    suite("node", "openai_node.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vercel_ai_sdk() {
    suite("node", "ai_sdk.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain() {
    suite("python3", "langchain_suite.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_document() {
    suite("python3", "openapi_fuzz.py").await;
}
