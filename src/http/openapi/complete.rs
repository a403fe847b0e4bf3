//! One prompt, one answer.

use http::Method;
use serde_json::json;

use super::Schemas;
use super::operation::{Op, object};

pub fn operations() -> Vec<Op> {
    let summary = "Ask a model once, without bot, past, memory and tools";
    vec![
        Op::new(Method::POST, "/v1/llm/complete", "complete", "chat", summary)
            .body("CompleteRequest")
            .gives("What it said; X-Turn-Id names its row in the turn logs", "CompleteAnswer")
            .refuses(400, "The model cannot be used, or its provider refuses the request")
            .refuses(404, "No such model")
            .refuses(409, "The model runs on this machine and is not loaded")
            .refuses(429, "No room for another turn, or the provider asks to slow down")
            .refuses(502, "The provider failed")
            .refuses(504, "The provider did not answer in time"),
    ]
}

pub fn schemas() -> Schemas {
    vec![
        (
            "CompleteRequest",
            json!({
                "type": "object",
                "required": ["prompt"],
                "properties": {
                    "prompt": {"type": "string", "minLength": 1, "maxLength": 1_000_000},
                    "system": {"type": ["string", "null"], "maxLength": 1_000_000},
                    "model": {
                        "type": ["string", "null"], "maxLength": 256,
                        "description": "Its alias; without it the model for maintenance, or the default bot's",
                    },
                    "max_tokens": {"type": ["integer", "null"], "minimum": 1, "maximum": 1_000_000, "default": 500},
                    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2, "default": 0.7},
                },
            }),
        ),
        (
            "CompleteAnswer",
            object(&[
                ("content", json!({"type": "string"})),
                ("model", json!({"type": "string", "description": "The alias that answered"})),
                ("tokens", json!({"type": "integer", "minimum": 0, "description": "Of the answer"})),
                ("elapsed_ms", json!({"type": "integer", "minimum": 0})),
            ]),
        ),
    ]
}
