//! Tools that behave as a test wants, scripts that call them, and looking at what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use greenroom_protocol::TurnEvent;
use greenroom_protocol::event::{ToolCallEnded, ToolCallStarted};
use greenroom_test_support::upstream::{Piece, Script, ScriptedCall, ToolShape};
use greenroom_tools::{CallContext, Effects, Scope, Tool, ToolOutcome, ToolSpec};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::house::House;

/// What a [`Hand`] does when it is called.
pub enum Deed {
    /// Answers with this text.
    Say(String),
    /// Answers with text from outside.
    Quote(String),
    /// Never answers.
    Hang,
    /// Panics.
    Panic,
    /// Waits until the test lets it go on.
    Wait(Arc<Semaphore>),
}

/// A tool for tests; counts its calls and tells when one begins.
pub struct Hand {
    spec: ToolSpec,
    effects: Effects,
    deed: Deed,
    pub calls: AtomicUsize,
    pub begun: Notify,
    pub running: AtomicUsize,
    pub most_at_once: AtomicUsize,
}

impl Hand {
    pub fn new(name: &str, effects: Effects, deed: Deed) -> Arc<Self> {
        Self::within(name, effects, deed, Duration::from_secs(20))
    }

    pub fn within(name: &str, effects: Effects, deed: Deed, timeout: Duration) -> Arc<Self> {
        let schema =
            json!({"type": "object", "properties": {"n": {"type": "integer"}, "password": {"type": "string"}}});
        Arc::new(Self {
            spec: ToolSpec::remote(name, "A tool for tests.", schema, Scope::Core, timeout),
            effects,
            deed,
            calls: AtomicUsize::new(0),
            begun: Notify::new(),
            running: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        })
    }

    pub fn count(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Counts a call as running for as long as it lives.
struct Running<'a>(&'a Hand);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Tool for Hand {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effects(&self, _: &Value) -> Effects {
        self.effects
    }

    fn call<'a>(&'a self, _: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            let _running = Running(self);
            self.begun.notify_one();
            match &self.deed {
                Deed::Say(text) => ToolOutcome::success(format!("{text} {arguments}")),
                Deed::Quote(text) => ToolOutcome::success(text).untrusted(),
                Deed::Hang => std::future::pending().await,
                Deed::Panic => fall_over(),
                Deed::Wait(gate) => {
                    let _passed = gate.acquire().await;
                    ToolOutcome::success("waited")
                }
            }
        })
    }
}

#[expect(clippy::panic, reason = "that is what it is for")]
fn fall_over() -> ToolOutcome {
    panic!("a tool for tests panics")
}

/// A pass that says `text` and then makes these calls.
pub fn calling(text: &str, calls: &[(&str, &str, Value)]) -> Script {
    let calls: Vec<ScriptedCall> =
        calls.iter().map(|(id, name, arguments)| ScriptedCall::new(id, name, arguments)).collect();
    with_text(text, &calls)
}

/// The same, for calls as they are.
pub fn with_text(text: &str, calls: &[ScriptedCall]) -> Script {
    let words = text.split_inclusive(' ').map(|word| Piece::Text(word.into()));
    let deltas = ToolShape::default().deltas(calls).into_iter().map(Piece::ToolDelta);
    Script::pieces(words.chain(deltas)).finish_reason(Some("tool_calls"))
}

pub fn started(events: &[TurnEvent]) -> Vec<&ToolCallStarted> {
    let calls = events.iter().filter_map(|event| match event {
        TurnEvent::ToolCall(call) => Some(&**call),
        _ => None,
    });
    calls.collect()
}

pub fn ended(events: &[TurnEvent]) -> Vec<&ToolCallEnded> {
    let ends = events.iter().filter_map(|event| match event {
        TurnEvent::ToolResult(end) => Some(&**end),
        _ => None,
    });
    ends.collect()
}

pub fn warnings(events: &[TurnEvent]) -> Vec<String> {
    let warnings = events.iter().filter_map(|event| match event {
        TurnEvent::Warning(warning) => Some(warning.warnings.clone()),
        _ => None,
    });
    warnings.flatten().collect()
}

/// The bodies of all requests so far.
pub fn bodies(house: &House) -> Vec<Value> {
    house.upstream.requests().into_iter().map(|request| request.body).collect()
}

/// `role:id,id` and the beginning of the content of each message behind the last real prompt (a user message that begins
/// with `prompt`).
pub fn behind(body: &Value, prompt: &str) -> Vec<String> {
    let messages = body["messages"].as_array().expect("messages");
    let is_prompt = |m: &Value| m["role"] == "user" && m["content"].as_str().is_some_and(|it| it.starts_with(prompt));
    let at = messages.iter().rposition(is_prompt).expect("the prompt");
    let line = |message: &Value| {
        let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ids: Vec<&str> = calls.iter().filter_map(|call| call["id"].as_str()).collect();
        let id = message["tool_call_id"].as_str().map_or_else(|| ids.join(","), str::to_owned);
        format!("{}:{id}", message["role"].as_str().unwrap_or("?"))
    };
    messages[at + 1..].iter().map(line).collect()
}

/// The contents of the tool messages of a request.
pub fn results(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().expect("messages");
    let tools = messages.iter().filter(|message| message["role"] == "tool");
    tools.map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect()
}
