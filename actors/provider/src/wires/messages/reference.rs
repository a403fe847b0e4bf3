//! What the official `anthropic` package sends for a conversation, held against what is written here for the same one.
//!
//! `tests/contract/anthropic_wire.py` keeps the package's bodies in `tests/wire` (with `CONTRACT_RECORD=1`), and fails when
//! the package sends something else.

use std::fs;
use std::path::PathBuf;

use greenroom_protocol::message::Part;
use greenroom_protocol::{Message, Role, Sampling, ToolCall};
use serde_json::{Value, json};

use super::write;
use crate::event::CompletionRequest;
use crate::wires::testing;

fn kept(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// What is written, without what the kept bodies leave out: the model, and breakpoints of the cache.
fn written(request: &CompletionRequest) -> Value {
    let entry = json!({"type": "anthropic", "model_id": "m", "api_key": "k", "max_tokens": 256});
    let (mut body, _) = testing::written(entry, request, write);
    let system = body["system"].as_array().cloned().unwrap_or_default();
    body["system"] = system.iter().filter_map(|block| block["text"].as_str()).collect::<String>().into();
    body["tools"] = body.get("tools").cloned().unwrap_or_else(|| json!([]));
    body.as_object_mut().unwrap().remove("model");
    body
}

#[test]
fn a_tool_turn_is_sent_as_the_package_sends_it() {
    let kept = kept("messages_tool_turn.json");
    let pixel = kept["messages"][0]["content"][1]["source"]["data"].as_str().unwrap();
    let image = Part::Image { url: format!("data:image/png;base64,{pixel}"), detail: Some("high".into()) };
    let call = |id: &str, city: &str| ToolCall {
        id: id.into(),
        name: "get_weather".into(),
        arguments: json!({"city": city}).to_string(),
    };
    let result = |id: &str, text: &str, is_error| Message {
        tool_call_id: Some(id.into()),
        is_error,
        ..Message::text(Role::Tool, text)
    };
    let tool = &kept["tools"][0];
    let function =
        json!({"name": tool["name"], "description": tool["description"], "parameters": tool["input_schema"]});
    let request = CompletionRequest {
        messages: vec![
            Message::text(Role::System, "You are the weather service of a small island."),
            Message { parts: vec![image], ..Message::text(Role::User, "What will it be like there? [[parallel]]") },
            Message {
                tool_calls: vec![call("call_scripted_0", "Oslo"), call("call_scripted_1", "Lima")],
                ..Message::text(Role::Assistant, "")
            },
            result("call_scripted_0", "Rain in Oslo.", false),
            result("call_scripted_1", "no such station", true),
        ],
        tools: vec![json!({"type": "function", "function": function})],
        tool_choice: Some("auto".into()),
        sampling: Sampling { stop: vec!["END".into()], ..Sampling::default() },
        ..CompletionRequest::default()
    };
    assert_eq!(written(&request), kept);
}

#[test]
fn structured_output_is_asked_for_as_the_package_does() {
    let mut kept = kept("messages_structured_output.json");
    kept["stream"] = true.into(); // every call here is a stream
    let prompt = kept["messages"][0]["content"][0]["text"].as_str().unwrap();
    let schema = &kept["output_config"]["format"]["schema"];
    let format = json!({"type": "json_schema", "json_schema": {"name": "City", "schema": schema, "strict": true}});
    let request = CompletionRequest {
        messages: vec![Message::text(Role::User, prompt)],
        sampling: Sampling { response_format: Some(format), ..Sampling::default() },
        ..CompletionRequest::default()
    };
    assert_eq!(written(&request), kept);
}
