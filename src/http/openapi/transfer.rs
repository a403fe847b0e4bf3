//! Moving house.

use http::Method;
use serde_json::{Value, json};

use super::Schemas;
use super::operation::{Op, named};

const TAG: &str = "transfer";

pub fn operations() -> Vec<Op> {
    let lines =
        json!({"type": "string", "description": "One record per line; the last line has kind `end` and counts"});
    vec![
        Op::new(
            Method::POST,
            "/v1/import",
            "importRecords",
            TAG,
            "Bring in messages and memories, one record per line",
        )
        .body_of_lines("TransferRecord")
        .gives("What went in, and which lines did not", "ImportOutcome")
        .refuses(400, "It cannot be imported")
        .refuses(429, "Too much waits already"),
        Op::new(Method::GET, "/v1/export", "exportRecords", TAG, "All messages and memories, one record per line")
            .query("bot_id", json!({"type": "string", "maxLength": 256}), "All bots without it")
            .query("kind", json!({"type": "string", "enum": ["message", "memory"]}), "Both without it")
            .answers(200, "Records that an import takes", "application/x-ndjson", lines)
            .refuses(404, "No such bot"),
    ]
}

fn totals() -> Value {
    named("TransferTotals")
}

pub fn schemas() -> Schemas {
    let text_or_null = || json!({"type": ["string", "null"]});
    vec![
        (
            "TransferRecord",
            json!({
                "type": "object",
                "required": ["kind", "bot_id", "content"],
                "properties": {
                    "kind": {"type": "string", "enum": ["message", "memory"]},
                    "bot_id": {"type": "string", "minLength": 1, "maxLength": 64},
                    "content": {"type": "string", "minLength": 1},
                    "role": {"type": "string", "enum": ["user", "assistant", "system", "tool"], "description": "Of messages"},
                    "at": {"type": ["string", "number", "null"], "description": "RFC 3339; messages must have it"},
                    "user_id": text_or_null(), "session": text_or_null(), "id": text_or_null(),
                    "partial": {"type": "boolean"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "importance": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
                    "source_message_ids": {"type": "array", "items": {"type": "string"}},
                },
            }),
        ),
        (
            "TransferTotals",
            json!({
                "type": "object",
                "required": ["messages", "memories"],
                "properties": {"messages": {"type": "integer"}, "memories": {"type": "integer"}},
            }),
        ),
        (
            "ImportOutcome",
            json!({
                "type": "object",
                "required": ["received", "stored", "known", "forgotten", "failed", "errors"],
                "properties": {
                    "received": {"type": "integer"},
                    "stored": totals(), "known": totals(), "forgotten": totals(),
                    "failed": {"type": "integer"},
                    "errors": {
                        "type": "array",
                        "description": "The first thousand",
                        "items": {
                            "type": "object",
                            "required": ["line", "detail"],
                            "properties": {"line": {"type": "integer"}, "detail": {"type": "string"}},
                        },
                    },
                },
            }),
        ),
    ]
}
