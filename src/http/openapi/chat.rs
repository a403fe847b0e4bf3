//! The chat surface.

use http::Method;
use serde_json::{Value, json};

use super::Schemas;
use super::operation::{Op, named};

const TAG: &str = "chat";

fn post(path: &'static str, id: &'static str, summary: &'static str) -> Op {
    Op::new(Method::POST, path, id, TAG, summary)
}

/// A turn: the three ways to begin one differ in where bot and user come from.
fn turn(op: Op) -> Op {
    let text = || json!({"type": "string"});
    op.body("ChatRequest")
        .refuses(400, "There is no user message, no model, or a wish that cannot be met")
        .header("X-Service-Events", text(), "`off` leaves the four kinds of service frames out")
        .header("X-Tool-Deltas", text(), "`on` shows the server's own tool calls as `delta.tool_calls` too")
        .header("X-Cancel-On-Disconnect", text(), "`true` ends the turn some time after its last viewer has left")
        .answers_either(
            200,
            "The answer, or with `stream: true` its stream",
            &[("application/json", named("ChatCompletion")), ("text/event-stream", named("StreamEvent"))],
        )
        .refuses(404, "No such bot (in strict mode)")
        .refuses(409, "The bot's data is being purged")
        .refuses(429, "No room for another turn, or the provider asks to slow down")
        .refuses(502, "The provider failed")
        .refuses(504, "The provider did not answer in time")
}

pub fn operations() -> Vec<Op> {
    vec![
        turn(post("/v1/chat/completions", "chatCompletions", "Answer a message (OpenAI Chat Completions)")),
        turn(post(
            "/v1/botchat/{bot_id}/{user_id}/chat/completions",
            "botChatCompletions",
            "The same for a bot and a user named by the path; system messages become the client's context",
        )),
        turn(post(
            "/v1/bots/{bot_id}/chat",
            "botChat",
            "The same for a bot named by the path; system messages become the client's context",
        )),
        post("/v1/chat/abort", "abortTurn", "Stop a turn; its text so far is kept")
            .body("AbortRequest")
            .gives("It is stopped, or had ended before", "AbortOutcome")
            .refuses(404, "Turn not found"),
        post("/v1/chat/session/reset", "resetSession", "End the conversation; the next message begins another")
            .body("SessionResetRequest")
            .gives("It starts anew with the next message", "SessionResetOutcome")
            .refuses(404, "No such bot"),
        Op::new(
            Method::GET,
            "/v1/botchat/{bot_id}/{user_id}/models",
            "botChatModels",
            TAG,
            "The model list for clients that know only the bot-scoped address",
        )
        .gives("Models and bots", "ModelList"),
        Op::new(
            Method::GET,
            "/v1/turns/{turn_id}/stream",
            "turnStream",
            TAG,
            "Watch a turn, running or finished, from any event on",
        )
        .header("Last-Event-ID", json!({"type": "string"}), "The last event seen")
        .header("X-Service-Events", json!({"type": "string"}), "`off` leaves the four kinds of service frames out")
        .query("last_event_id", json!({"type": "integer", "minimum": 0}), "The same, for clients without headers")
        .query("include_usage", json!({"type": "boolean"}), "With the usage chunk")
        .answers(200, "The events behind it", "text/event-stream", named("StreamEvent"))
        .refuses(404, "Turn not found"),
    ]
}

fn nullable(kind: &str) -> Value {
    json!({"type": [kind, "null"]})
}

fn number(minimum: i32, maximum: i32) -> Value {
    json!({"type": ["number", "null"], "minimum": minimum, "maximum": maximum})
}

pub fn schemas() -> Schemas {
    vec![
        (
            "StreamEvent",
            json!({
                "type": "object",
                "description": "One event. `data` is a chunk as JSON, or `[DONE]`; `id` counts the turn's events.",
                "required": ["data"],
                "properties": {"data": {"type": "string"}, "id": {"type": "string"}, "event": {"type": "string"}},
            }),
        ),
        (
            "ChatRequest",
            json!({
                "type": "object",
                "required": ["messages"],
                "properties": {
                    "messages": {"type": "array", "items": named("ChatMessage")},
                    "model": {"type": ["string", "null"], "maxLength": 256, "description": "A model's alias, or a bot's slug."},
                    "stream": nullable("boolean"),
                    "stream_options": {"anyOf": [named("StreamOptions"), {"type": "null"}]},
                    "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 1},
                    "temperature": number(0, 2),
                    "top_p": number(0, 1),
                    "max_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": 4_294_967_295_u32},
                    "max_completion_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": 4_294_967_295_u32},
                    "stop": {"anyOf": [
                        {"type": ["string", "null"]},
                        {"type": "array", "maxItems": 64, "items": {"type": "string"}},
                    ]},
                    "presence_penalty": number(-2, 2),
                    "frequency_penalty": number(-2, 2),
                    "seed": {"type": ["integer", "null"], "minimum": i64::MIN, "maximum": i64::MAX},
                    "reasoning_effort": {"type": ["string", "null"], "maxLength": 32},
                    "response_format": nullable("object"),
                    "tools": {"type": ["array", "null"], "items": named("Tool")},
                    "tool_choice": {"anyOf": [{"type": ["string", "null"]}, {"type": "object"}]},
                    "parallel_tool_calls": nullable("boolean"),
                    "user": {"type": ["string", "null"], "maxLength": 128, "description": "Who is speaking."},
                    "bot_id": {"type": ["string", "null"], "maxLength": 64, "description": "Which bot is meant."},
                    "augment_memory": nullable("boolean"),
                    "extract_memory": nullable("boolean"),
                    "include_summaries": nullable("boolean"),
                    "tts_mode": nullable("boolean"),
                    "user_message_id": {"type": ["string", "null"], "maxLength": 128},
                    "animations": {"type": ["array", "null"], "items": {"type": "object"}},
                    "avatar_visible": nullable("boolean"),
                },
            }),
        ),
        (
            "ChatMessage",
            json!({
                "type": "object",
                "required": ["role"],
                "properties": {
                    "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "function", "tool"]},
                    "content": {"anyOf": [
                        {"type": ["string", "null"]},
                        {"type": "array", "maxItems": 16, "items": named("ContentPart")},
                    ]},
                    "name": nullable("string"),
                    "tool_calls": {"type": ["array", "null"], "items": {"type": "object"}},
                    "tool_call_id": {"type": ["string", "null"], "maxLength": 256},
                },
            }),
        ),
        (
            "ContentPart",
            json!({
                "type": "object",
                "required": ["type"],
                "properties": {
                    "type": {"type": "string"},
                    "text": nullable("string"),
                    "image_url": {"anyOf": [{"type": ["string", "null"]}, {"type": "object"}]},
                },
            }),
        ),
        (
            "StreamOptions",
            json!({
                "type": "object",
                "properties": {"include_usage": nullable("boolean")},
            }),
        ),
        (
            "Tool",
            json!({
                "type": "object",
                "required": ["type", "function"],
                "properties": {
                    "type": {"type": "string", "enum": ["function"]},
                    "function": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string", "minLength": 1}},
                    },
                },
            }),
        ),
        (
            "ChatCompletion",
            json!({
                "type": "object",
                "required": ["id", "object", "created", "model", "choices", "usage", "usage_estimated", "service"],
                "properties": {
                    "id": {"type": "string"},
                    "object": {"type": "string", "enum": ["chat.completion"]},
                    "created": {"type": "integer"},
                    "model": {"type": "string"},
                    "choices": {"type": "array", "items": named("Choice")},
                    "usage": named("Usage"),
                    "usage_estimated": {"type": "boolean"},
                    "service": {
                        "type": "object",
                        "required": ["turn_id", "bot_id", "user_id", "trigger_message_id", "token_usage"],
                        "properties": {
                            "turn_id": {"type": "string"},
                            "bot_id": {"type": "string"},
                            "user_id": {"type": "string"},
                            "trigger_message_id": nullable("string"),
                            "token_usage": nullable("object"),
                            "warnings": {"type": "array", "items": {"type": "string"}},
                        },
                    },
                },
            }),
        ),
        (
            "Choice",
            json!({
                "type": "object",
                "required": ["index", "message", "finish_reason"],
                "properties": {
                    "index": {"type": "integer"},
                    "message": {
                        "type": "object",
                        "required": ["role", "content"],
                        "properties": {
                            "role": {"type": "string", "enum": ["assistant"]},
                            "content": nullable("string"),
                            "name": nullable("string"),
                            "refusal": nullable("string"),
                            "tool_calls": {"type": "array", "items": {"type": "object"}},
                        },
                    },
                    "finish_reason": {
                        "type": "string", "enum": ["stop", "length", "tool_calls", "content_filter", "cancelled"],
                    },
                },
            }),
        ),
        (
            "Usage",
            json!({
                "type": "object",
                "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
                "properties": {
                    "prompt_tokens": {"type": "integer"},
                    "completion_tokens": {"type": "integer"},
                    "total_tokens": {"type": "integer"},
                    "prompt_tokens_details": {"type": "object"},
                    "completion_tokens_details": {"type": "object"},
                },
            }),
        ),
        (
            "AbortRequest",
            json!({
                "type": "object",
                "required": ["turn_id"],
                "properties": {"turn_id": {"type": "string", "minLength": 1, "maxLength": 256}},
            }),
        ),
        (
            "AbortOutcome",
            json!({
                "type": "object",
                "required": ["ok", "detail", "turn_id", "backend_aborted", "backend_detail"],
                "properties": {
                    "ok": {"type": "boolean"},
                    "detail": {"type": "string", "enum": ["aborted", "already_completed"]},
                    "turn_id": {"type": "string"},
                    "backend_aborted": {"type": "boolean"},
                    "backend_detail": nullable("string"),
                },
            }),
        ),
        (
            "SessionResetRequest",
            json!({
                "type": "object",
                "required": ["bot_id"],
                "properties": {
                    "bot_id": {"type": "string", "minLength": 1, "maxLength": 128},
                    "user": {"type": ["string", "null"], "maxLength": 128},
                },
            }),
        ),
        (
            "SessionResetOutcome",
            json!({
                "type": "object",
                "required": ["ok", "bot_id"],
                "properties": {
                    "ok": {"type": "boolean"},
                    "bot_id": {"type": "string"},
                    "session_key": nullable("string"),
                    "session_id": nullable("string"),
                    "detail": nullable("string"),
                },
            }),
        ),
    ]
}
