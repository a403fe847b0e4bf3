//! Refusing what Anthropic's API refuses, so that a history that would fail there fails here too.
//!
//! Deliberately absent: judging requests of other wires, whose servers take nearly anything.

use std::collections::HashSet;

use http::HeaderMap;
use serde_json::{Value, json};

use super::messages::{error_of, list};
use super::script::Script;

/// The refusal of a request that Anthropic's API would refuse.
pub(super) fn complaint(headers: &HeaderMap, body: &Value) -> Option<Script> {
    let refuse = |status, kind, words: &str| Some(Script::refusal(status, &error_of(kind, &json!(words))));
    if !headers.contains_key("x-api-key") && !headers.contains_key("authorization") {
        return refuse(401, "authentication_error", "x-api-key header is required");
    }
    if !headers.contains_key("anthropic-version") {
        return refuse(400, "invalid_request_error", "anthropic-version: header is required");
    }
    let problem = problem(body)?;
    refuse(400, "invalid_request_error", &problem)
}

/// What is wrong with a request's shape, in the API's words.
fn problem(body: &Value) -> Option<String> {
    if body["max_tokens"].as_u64().is_none_or(|limit| limit == 0) {
        return Some("max_tokens: Field required".into());
    }
    if body["temperature"].as_f64().is_some_and(|temperature| !(0.0..=1.0).contains(&temperature)) {
        return Some("temperature: range: 0..1".into());
    }
    if body.get("temperature").is_some() && body.get("top_p").is_some() {
        return Some("`temperature` and `top_p` cannot both be specified for this model. Please use only one.".into());
    }
    if let Some(unknown) = ["stop", "response_format", "user", "seed"].into_iter().find(|name| !body[*name].is_null()) {
        return Some(format!("{unknown}: Extra inputs are not permitted"));
    }
    for (at, tool) in list(&body["tools"]).iter().enumerate() {
        if !tool["name"].is_string() || tool["input_schema"]["type"] != "object" {
            return Some(format!("tools.{at}.custom.input_schema.type: Field required"));
        }
    }
    let messages = list(&body["messages"]);
    if messages.is_empty() {
        return Some("messages: at least one message is required".into());
    }
    let (mut open, mut known) = (Vec::new(), HashSet::new());
    for (at, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if !["user", "assistant"].contains(&role) {
            return Some(format!("messages.{at}.role: Input should be 'user' or 'assistant'"));
        }
        if at == 0 && role != "user" {
            return Some("messages: first message must use the \"user\" role".into());
        }
        if let Some(problem) = problem_in(at, role, message, &mut open, &mut known) {
            return Some(problem);
        }
    }
    if !known.is_empty() && list(&body["tools"]).is_empty() {
        return Some("Requests which include `tool_use` or `tool_result` blocks must define tools".into());
    }
    (!open.is_empty()).then(|| unanswered(messages.len(), &open))
}

fn unanswered(at: usize, open: &[&str]) -> String {
    let ids = open.join(", ");
    format!("messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {ids}")
}

/// Checks one message; `open` holds the calls that the message before asked for, `known` all ids so far.
fn problem_in<'a>(
    at: usize,
    role: &str,
    message: &'a Value,
    open: &mut Vec<&'a str>,
    known: &mut HashSet<&'a str>,
) -> Option<String> {
    let expected = std::mem::take(open);
    let mut answered = HashSet::new();
    if message["content"].as_str().is_some_and(|text| text.trim().is_empty()) {
        return Some(format!("messages.{at}: text content blocks must be non-empty"));
    }
    for (number, block) in list(&message["content"]).iter().enumerate() {
        let id = |name: &str| block[name].as_str().unwrap_or_default();
        match (role, block["type"].as_str().unwrap_or_default()) {
            (_, "text") if block["text"].as_str().is_none_or(|text| text.trim().is_empty()) => {
                return Some(format!("messages.{at}.content.{number}: text content blocks must be non-empty"));
            }
            (_, "text") | ("user", "image") => {}
            ("assistant", "tool_use") => {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                if id("id").is_empty() || !id("id").chars().all(plain) || !block["input"].is_object() {
                    return Some(format!("messages.{at}.content.{number}.tool_use: Input should be valid"));
                }
                if !known.insert(block["id"].as_str()?) {
                    return Some(format!("messages.{at}.content.{number}: `tool_use` ids must be unique"));
                }
                open.push(block["id"].as_str()?);
            }
            ("user", "tool_result") if expected.contains(&id("tool_use_id")) && answered.insert(id("tool_use_id")) => {}
            ("user", "tool_result") => {
                return Some(format!(
                    "messages.{at}.content.{number}: unexpected `tool_use_id` found in `tool_result`"
                ));
            }
            (_, other) => return Some(format!("messages.{at}.content.{number}: Input tag '{other}' is not expected")),
        }
    }
    let missing: Vec<&str> = expected.into_iter().filter(|id| !answered.contains(id)).collect();
    (!missing.is_empty()).then(|| unanswered(at, &missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_that_the_api_refuses_are_refused() {
        let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]});
        let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]});
        let user = json!({"role": "user", "content": "hi"});
        let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
        let judged = |messages: Value| problem(&json!({"max_tokens": 1, "messages": messages, "tools": tools}));
        assert_eq!(judged(json!([user, call, result, user])), None);
        for bad in [
            json!([]),
            json!([call, result]),
            json!([user, call]),
            json!([user, call, user]),
            json!([user, result]),
            json!([user, call, result, call, result]),
            json!([{"role": "user", "content": " "}]),
            json!([{"role": "system", "content": "x"}]),
        ] {
            assert!(judged(bad.clone()).is_some(), "{bad}");
        }
        assert!(problem(&json!({"max_tokens": 1, "messages": [user, call, result]})).is_some());
    }
}
