//! The contract as clients not written here see it: the official OpenAI packages of Python and Node, the Vercel AI SDK,
//! LangChain, the official Anthropic package, and schemathesis against `/openapi.json`. `make test` installs them; each
//! suite is a script under `tests/contract/` that talks to a whole house.
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
use greenroom_test_support::upstream::Script;
use serde_json::json;
use tokio::process::Command;

/// A house with what the suites talk to: a bot that has tools, a model that cannot be held to a form, and one that calls
/// tools in text, one that refuses a form when asked for it. What stands here about answers could not be said by a marker in the prompt.
async fn house() -> House {
    let house = House::open_with(|config| config.limits.keep_alive = Span::secs(1)).await;
    for (alias, tool_support) in [("formless", "none"), ("textual", "react"), ("learning", "native")] {
        let extra = json!({"base_url": house.upstream.base_url(), "api_key": "scripted-key-0123456789",
            "context_window": 32000, "max_tokens": 4096, "tool_support": tool_support});
        let definition = json!({"type": "openai", "model_id": alias, "extra": extra});
        let (status, body) = house.put(&format!("/v1/models/definitions/{alias}"), &definition).await;
        assert_eq!(status, 200, "{body}");
    }
    let handy = json!({"name": "Handy", "system_prompt": "You have hands.", "uses_tools": true, "uses_search": false,
        "requires_memory": false});
    let (status, body) = house.put("/v1/bots/handy/profile", &handy).await;
    assert_eq!(status, 200, "{body}");
    let upstream = &house.upstream;
    upstream.script_for("That does not have the required form", Script::text(r#"{"city": "Oslo"}"#));
    let call = "Thought: I need the weather.\nAction: get_weather\nAction Input: {\"city\": \"Oslo\"}";
    upstream.script_for("Weather in words?", Script::text(call));
    upstream.script_for("pouring", Script::text("It rains in Oslo."));
    house
}

/// Runs one suite against a fresh house and shows what it printed if it fails.
async fn suite(program: &str, script: &str) {
    let house = house().await;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(program)
        .arg(root.join("tests/contract").join(script))
        .env("GREENROOM_URL", house.running.url())
        .env("CONTRACT_UPSTREAM", house.upstream.base_url())
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
async fn anthropic_python() {
    suite("python3", "anthropic_wire.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_document() {
    suite("python3", "openapi_fuzz.py").await;
}
