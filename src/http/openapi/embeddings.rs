//! Vectors of texts.

use http::Method;
use serde_json::json;

use super::Schemas;
use super::operation::{Op, named};

pub fn operations() -> Vec<Op> {
    vec![
        Op::new(
            Method::POST,
            "/v1/embeddings",
            "createEmbeddings",
            "embeddings",
            "Vectors of texts, in OpenAI's shape",
        )
        .body("EmbeddingsRequest")
        .gives("One vector per text, in order", "Embeddings")
        .refuses(400, "Token ids instead of texts, or a dimension that the model does not have")
        .refuses(404, "No such model")
        .refuses(429, "Too many texts wait"),
    ]
}

pub fn schemas() -> Schemas {
    vec![
        (
            "EmbeddingsRequest",
            json!({
                "type": "object",
                "required": ["model", "input"],
                "properties": {
                    "model": {
                        "type": "string", "minLength": 1, "maxLength": 256,
                        "description": "The embedder's model, or `default`",
                    },
                    "input": {"anyOf": [
                        {"type": "string", "minLength": 1, "maxLength": 1_000_000},
                        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": 2048},
                    ]},
                    "encoding_format": {"type": ["string", "null"], "enum": ["float", "base64", null]},
                    "dimensions": {"type": ["integer", "null"], "description": "Only that of the model"},
                    "user": {"type": ["string", "null"], "maxLength": 256},
                },
            }),
        ),
        (
            "Embeddings",
            json!({
                "type": "object",
                "required": ["object", "data", "model", "usage"],
                "properties": {
                    "object": {"type": "string", "enum": ["list"]},
                    "data": {"type": "array", "items": named("Embedding")},
                    "model": {"type": "string"},
                    "usage": {
                        "type": "object",
                        "required": ["prompt_tokens", "total_tokens"],
                        "properties": {"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}},
                    },
                },
            }),
        ),
        (
            "Embedding",
            json!({
                "type": "object",
                "required": ["object", "index", "embedding"],
                "properties": {
                    "object": {"type": "string", "enum": ["embedding"]},
                    "index": {"type": "integer"},
                    "embedding": {
                        "anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}],
                        "description": "Numbers, or little-endian 32-bit floats in base64",
                    },
                },
            }),
        ),
    ]
}
