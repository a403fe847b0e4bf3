//! Turn logs and tool calls.

use http::Method;
use serde_json::{Value, json};

use super::Schemas;
use super::operation::{Op, anything, named};

const TAG: &str = "turn logs";

fn get(path: &'static str, id: &'static str, summary: &'static str) -> Op {
    Op::new(Method::GET, path, id, TAG, summary)
}

pub fn operations() -> Vec<Op> {
    let text = || json!({"type": "string"});
    let flag = || json!({"type": "boolean"});
    let moment = "Unix seconds or an RFC 3339 time";
    let hours = || json!({"type": "integer", "minimum": 1, "maximum": 168});
    vec![
        get("/v1/turn-logs", "listTurnLogs", "Turns, newest first")
            .query("bot_id", text(), "")
            .query("user_id", text(), "")
            .query("model", text(), "")
            .query("request_id", text(), "")
            .query("status", text(), "")
            .query("stream", flag(), "")
            .query("has_tools", flag(), "")
            .query("since_hours", hours(), "Ignored when `after` or `before` is given")
            .query("after", text(), moment)
            .query("before", text(), moment)
            .query("cursor", text(), "`next_cursor` of the page before")
            .query("limit", json!({"type": "integer", "minimum": 1, "maximum": 200}), "")
            .query("offset", json!({"type": "integer", "minimum": 0, "maximum": 1_000_000}), "")
            .query("preview_chars", json!({"type": "integer", "minimum": 0, "maximum": 100_000}), "")
            .gives("A page", "TurnLogPage"),
        get("/v1/turn-logs/{turn_id}", "getTurnLog", "A turn in full; while it runs, what there is of it")
            .query("wait_s", json!({"type": "number", "minimum": 0, "maximum": 30}), "Wait so long for a change")
            .header("If-None-Match", text(), "The ETag of the last answer")
            .gives("The turn", "TurnLog")
            .turns_away(304, "It has not changed")
            .refuses(404, "Turn log not found"),
        get("/v1/tool-calls", "listToolCalls", "Turns that called tools, oldest first")
            .query("bot_id", text(), "")
            .query("user_id", text(), "")
            .query("message_id", text(), "The user message that began the turn, or a prefix of its id")
            .query("message_ids", text(), "Several of them, with commas or repeated")
            .query("after", text(), moment)
            .query("before", text(), moment)
            .query("since_hours", hours(), "Ignored when `after` or `before` is given")
            .query("limit", json!({"type": "integer", "minimum": 1, "maximum": 1000}), "")
            .gives("The turns", "ToolCallList"),
    ]
}

fn turn(own: Value, names: &[&str]) -> Value {
    let text_or_null = json!({"type": ["string", "null"]});
    let mut properties = json!({
        "id": {"type": "string"}, "created_at": {"type": "string", "format": "date-time"},
        "request_id": {"type": "string"}, "path": {"type": "string"}, "stream": {"type": "boolean"},
        "model": {"type": "string"}, "bot_id": {"type": "string"}, "user_id": {"type": "string"},
        "status": {"type": "string", "enum": [
            "pending", "streaming", "ok", "timeout", "cancelled", "error", "aborted", "disconnected",
        ]},
        "latency_ms": {"type": ["number", "null"]}, "user_prompt": {"type": "string"}, "error_text": text_or_null,
        "animation": text_or_null, "agent_session_key": text_or_null, "agent_request_id": text_or_null,
        "trigger_message_id": text_or_null, "token_usage": {"type": ["object", "null"]},
    });
    let mut required: Vec<String> = properties.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    required.extend(names.iter().map(|name| (*name).to_owned()));
    if let (Some(all), Value::Object(own)) = (properties.as_object_mut(), own) {
        all.extend(own);
    }
    json!({"type": "object", "required": required, "properties": properties})
}

pub fn schemas() -> Schemas {
    vec![
        (
            "TurnSummary",
            turn(
                json!({
                    "response_preview": {"type": ["string", "null"]}, "response_chars": {"type": "integer"},
                    "response_preview_truncated": {"type": "boolean"}, "tool_call_count": {"type": "integer"},
                }),
                &["response_preview", "response_chars", "response_preview_truncated", "tool_call_count"],
            ),
        ),
        (
            "TurnLogPage",
            json!({
                "type": "object",
                "required": ["turns", "total_count", "next_cursor", "filters"],
                "properties": {
                    "turns": {"type": "array", "items": named("TurnSummary")},
                    "total_count": {"type": "integer"},
                    "next_cursor": {"type": ["string", "null"]},
                    "filters": {"type": "object"},
                },
            }),
        ),
        (
            "TurnLog",
            turn(
                json!({
                    "first_token_ms": {"type": ["number", "null"]}, "request": anything(), "response": {"type": ["string", "null"]},
                    "tool_calls": {"type": "array", "items": named("ToolCall")},
                    "stage_timings": {"type": ["object", "null"]},
                }),
                &["first_token_ms", "request", "response", "tool_calls", "stage_timings"],
            ),
        ),
        (
            "ToolCall",
            json!({
                "type": "object",
                "required": ["index", "iteration", "name", "tool", "arguments", "parameters", "result", "status", "call_id",
                             "started_at", "ended_at", "duration_ms", "ok", "effects"],
                "properties": {
                    "index": {"type": "integer"}, "iteration": {"type": "integer"}, "name": {"type": "string"},
                    "tool": {"type": "string"}, "arguments": anything(), "parameters": anything(), "result": {"type": ["string", "null"]},
                    "status": {"type": "string", "enum": ["pending", "completed"]}, "call_id": {"type": ["string", "null"]},
                    "started_at": {"type": ["number", "null"]}, "ended_at": {"type": ["number", "null"]},
                    "duration_ms": {"type": ["number", "null"]}, "ok": {"type": ["boolean", "null"]},
                    "effects": {"type": ["string", "null"], "enum": ["read_only", "idempotent", "dangerous", null]},
                },
            }),
        ),
        (
            "ToolCallEvent",
            json!({
                "type": "object",
                "required": ["turn_id", "created_at", "request_id", "model", "bot_id", "user_id", "message_id",
                             "message_role", "message_timestamp", "tool_call_count", "tool_calls"],
                "properties": {
                    "turn_id": {"type": "string"}, "created_at": {"type": "string", "format": "date-time"},
                    "request_id": {"type": "string"}, "model": {"type": "string"}, "bot_id": {"type": "string"},
                    "user_id": {"type": "string"}, "message_id": {"type": "string"}, "message_role": {"type": "string"},
                    "message_timestamp": {"type": "string", "format": "date-time"},
                    "tool_call_count": {"type": "integer"}, "tool_calls": {"type": "array", "items": named("ToolCall")},
                },
            }),
        ),
        (
            "ToolCallList",
            json!({
                "type": "object",
                "required": ["events", "total_count", "filters"],
                "properties": {
                    "events": {"type": "array", "items": named("ToolCallEvent")},
                    "total_count": {"type": "integer"},
                    "filters": {"type": "object"},
                },
            }),
        ),
    ]
}
