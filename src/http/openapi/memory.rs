//! What bots have learnt.

use http::Method;
use serde_json::{Value, json};

use super::Schemas;
use super::history::message;
use super::operation::{Op, named};

const TAG: &str = "memory";

fn op(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Op {
    Op::new(method, path, id, TAG, summary)
        .query("bot_id", text(), "The default bot without it")
        .refuses(404, "No such bot, or nothing of that id")
        .refuses(429, "Too much waits already")
}

fn text() -> Value {
    json!({"type": "string"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 1})
}

/// One memory, by its id or the beginning of it.
fn one(method: Method, id: &'static str, summary: &'static str) -> Op {
    op(method, "/v1/memory/{memory_id}", id, summary)
        .refuses(400, "No id, and no beginning of one that is long enough")
        .refuses(409, "More than one begins like this, or it has changed since")
}

const LATER: &str = "Answer 202 at once; the work becomes a task";

pub fn operations() -> Vec<Op> {
    let minutes = || json!({"type": "integer", "minimum": 1, "maximum": 52_560_000});
    vec![
        op(Method::GET, "/v1/memory", "listMemories", "Memories, the most important first")
            .query("limit", count(), "At most 500")
            .query("order", json!({"type": "string", "enum": ["importance", "recent"]}), "")
            .gives("Them", "MemoryList"),
        op(Method::GET, "/v1/memory/stats", "memoryStats", "How much there is, and how far the work on it has come")
            .gives("Counts", "MemoryStats"),
        op(Method::POST, "/v1/memory/search", "searchMemories", "Find memories by meaning, words or importance")
            .body("MemorySearch")
            .gives("The hits, best first", "MemoryList")
            .refuses(400, "It cannot be searched for"),
        op(Method::GET, "/v1/memory/message", "getMessage", "One message")
            .required_query(
                "message_id",
                json!({"type": "string", "minLength": 1, "maxLength": 256}),
                "Its id, or the first 8 digits and more",
            )
            .gives("It, or that there is none", "MessageOrNone")
            .refuses(400, "No id, and no beginning of one that is long enough")
            .refuses(409, "More than one begins like this"),
        op(
            Method::POST,
            "/v1/memory/forget",
            "forget",
            "Take messages out of memory, with what was learnt from them alone",
        )
        .body("ForgetRequest")
        .gives("What was forgotten", "ForgetOutcome")
        .refuses(400, "Must specify count, minutes, or message_id")
        .refuses(409, "More than one message begins like this"),
        op(Method::POST, "/v1/memory/restore", "restore", "Bring back what was forgotten")
            .optional_body("RestoreRequest")
            .gives("What came back", "RestoreOutcome"),
        op(Method::GET, "/v1/memory/preview/recent", "previewRecent", "The newest messages")
            .query("count", count(), "At most 500")
            .gives("Oldest first", "MessageList"),
        op(Method::GET, "/v1/memory/preview/minutes", "previewMinutes", "Messages of the last minutes")
            .required_query("minutes", minutes(), "")
            .gives("Oldest first", "MessageList"),
        op(Method::GET, "/v1/memory/preview/ignored", "previewForgotten", "Forgotten messages")
            .query("limit", count(), "At most 500")
            .gives("Oldest first", "ForgottenList"),
        op(Method::POST, "/v1/memory/regenerate-embeddings", "regenerateEmbeddings", "Make vectors anew")
            .query("mode", json!({"type": "string", "enum": ["missing", "all"]}), "`all` without it")
            .query("async", flag(), LATER)
            .optional_body("RegenerateRequest")
            .gives("How many", "RegenerateOutcome")
            .answers(202, "A task was made of it", "application/json", named("TaskAccepted"))
            .refuses(400, "It cannot be done")
            .refuses(409, "It is being done already"),
        op(
            Method::POST,
            "/v1/memory/consolidate",
            "consolidate",
            "Merge memories that say the same; local models only",
        )
        .body("ConsolidateRequest")
        .gives("What was merged", "ConsolidateOutcome")
        .answers(202, "A task was made of it", "application/json", named("TaskAccepted"))
        .refuses(400, "No such model")
        .refuses(409, "It is being done already, or the model is not local")
        .refuses(502, "The model failed")
        .refuses(504, "The model did not answer in time"),
        Op::new(Method::POST, "/v1/memory/embedding", "embedForMemory", TAG, "The vector of a text")
            .body("EmbeddingOfText")
            .gives("It", "TextEmbedding")
            .refuses(429, "Too many texts wait"),
        one(Method::GET, "getMemory", "One memory, with those it took the place of").gives("It", "MemoryDetail"),
        one(Method::PATCH, "patchMemory", "Change text, importance or tags")
            .body("MemoryChange")
            .gives("It", "MemoryItem"),
        one(Method::DELETE, "deleteMemory", "Delete a memory; it can be restored unless `hard`")
            .query("hard", flag(), "For good")
            .query("restore_previous", flag(), "What it took the place of counts again")
            .gives("It is gone", "MemoryDeletion"),
    ]
}

fn item(own: &[(&str, Value)]) -> Value {
    let time_or_null = json!({"type": ["string", "null"]});
    let common = [
        ("id", text()),
        ("content", text()),
        ("importance", json!({"type": "number"})),
        ("relevance", json!({"type": ["number", "null"]})),
        ("tags", json!({"type": "array", "items": {"type": "string"}})),
        ("created_at", json!({"type": "string", "format": "date-time"})),
        ("updated_at", json!({"type": "string", "format": "date-time"})),
        ("last_accessed", time_or_null.clone()),
        ("access_count", json!({"type": "integer"})),
        ("source_message_ids", json!({"type": "array", "items": {"type": "string"}})),
        ("confidence", json!({"type": "number"})),
        ("superseded_by", time_or_null.clone()),
        ("superseded_at", time_or_null),
    ];
    let members = || common.iter().chain(own);
    let names: Vec<&str> = members().map(|(name, _)| *name).filter(|name| *name != "parts").collect();
    let properties: serde_json::Map<String, Value> =
        members().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

fn messages(of: &str) -> Value {
    json!({
        "type": "object",
        "required": ["bot_id", "messages", "total_count"],
        "properties": {
            "bot_id": {"type": "string"}, "messages": {"type": "array", "items": named(of)},
            "total_count": {"type": "integer"},
        },
    })
}

/// Members that may be left out.
fn request(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

/// Members that are all there.
fn answer(properties: Value) -> Value {
    let names: Vec<&String> = properties.as_object().map(|map| map.keys().collect()).unwrap_or_default();
    json!({"type": "object", "required": names, "properties": properties})
}

pub fn schemas() -> Schemas {
    let text_or_null = || json!({"type": ["string", "null"]});
    let number_or_null = || json!({"type": ["number", "null"]});
    let flag_or_null = || json!({"type": ["boolean", "null"]});
    let share = || json!({"type": ["number", "null"], "minimum": 0, "maximum": 1});
    let counts = || json!({"type": ["integer", "null"], "minimum": 1});
    vec![
        ("MemoryItem", item(&[("parts", json!({"type": "object"}))])),
        (
            "MemoryDetail",
            item(&[
                ("intent", text_or_null()),
                ("stakes", text_or_null()),
                ("emotional_charge", number_or_null()),
                ("keywords", json!({"type": "array", "items": {"type": "string"}})),
                ("history", json!({"type": "array", "items": named("MemoryItem")})),
            ]),
        ),
        (
            "MemoryList",
            json!({
                "type": "object",
                "required": ["bot_id", "method", "query", "results", "total_count"],
                "properties": {
                    "bot_id": {"type": "string"}, "method": {"type": "string"}, "query": {"type": "string"},
                    "results": {"type": "array", "items": named("MemoryItem")}, "total_count": {"type": "integer"},
                    "legs": {"type": "object"},
                },
            }),
        ),
        (
            "MemoryStats",
            answer(json!({
                "bot_id": {"type": "string"}, "messages": {"type": "object"}, "memories": {"type": "object"},
                "summaries": {"type": "object"}, "sessions": {"type": "object"}, "index": {"type": "object"},
            })),
        ),
        (
            "MemorySearch",
            request(json!({
                "query": {"type": "string", "maxLength": 8000, "description": "Not needed for high-importance"},
                "bot_id": {"type": ["string", "null"], "maxLength": 256},
                "method": {"type": "string", "enum": ["all", "embedding", "text", "high-importance"]},
                "limit": counts(), "n_results": counts(),
                "min_importance": share(), "min_relevance": share(),
                "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 100},
                "user_id": {"type": ["string", "null"], "maxLength": 128},
                "explain": flag_or_null(),
            })),
        ),
        (
            "MemoryChange",
            request(json!({
                "content": {"type": ["string", "null"], "maxLength": 4000}, "importance": share(),
                "tags": {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": 12},
                "if_updated_at": text_or_null(),
            })),
        ),
        (
            "MemoryDeletion",
            answer(json!({
                "success": {"type": "boolean"}, "memory_id": {"type": "string"}, "message": {"type": "string"},
                "batch_id": text_or_null(), "deleted_ids": {"type": "array", "items": {"type": "string"}},
                "reactivated_ids": {"type": "array", "items": {"type": "string"}},
            })),
        ),
        (
            "MessageDetail",
            message(&[
                ("processed", flag()),
                ("extraction_state", text()),
                ("created_at", json!({"type": "string", "format": "date-time"})),
                ("turn_id", text_or_null()),
                ("summary_metadata", json!({"type": ["object", "null"]})),
            ]),
        ),
        ("MessageOrNone", request(json!({"message": named("MessageDetail"), "error": {"type": "string"}}))),
        ("MessageList", messages("Message")),
        (
            "ForgottenMessage",
            answer(json!({
                "id": {"type": "string"}, "role": text_or_null(), "content": {"type": "string"},
                "timestamp": {"type": "number"}, "batch_id": {"type": "string"},
                "forgotten_at": {"type": "string", "format": "date-time"}, "reason": {"type": "string"},
            })),
        ),
        ("ForgottenList", messages("ForgottenMessage")),
        (
            "ForgetRequest",
            request(json!({
                "message_id": {"type": ["string", "null"], "maxLength": 256}, "count": counts(),
                "minutes": {"type": ["integer", "null"], "minimum": 1, "maximum": 52_560_000},
                "user_id": {"type": ["string", "null"], "maxLength": 128}, "dry_run": flag_or_null(),
            })),
        ),
        (
            "ForgetOutcome",
            answer(json!({
                "success": {"type": "boolean"}, "messages_ignored": {"type": "integer"},
                "memories_deleted": {"type": "integer"}, "memories_trimmed": {"type": "integer"},
                "summaries_stale": {"type": "integer"},
                "message_ids": {"type": "array", "items": {"type": "string"}},
                "memory_ids": {"type": "array", "items": {"type": "string"}},
                "batch_id": text_or_null(), "attributes_forgotten": {"type": "integer"},
                "dry_run": {"type": "boolean"}, "message": {"type": "string"},
            })),
        ),
        (
            "RestoreRequest",
            request(json!({
                "batch_id": {"type": ["string", "null"], "format": "uuid"},
                "ids": {"type": ["array", "null"], "items": {"type": "string", "format": "uuid"}, "maxItems": 1000},
                "dry_run": flag_or_null(),
            })),
        ),
        (
            "RestoreOutcome",
            answer(json!({
                "success": {"type": "boolean"}, "messages_restored": {"type": "integer"},
                "memories_restored": {"type": "integer"}, "summaries_restored": {"type": "integer"},
                "attributes_restored": {"type": "integer"}, "kept": {"type": "integer"}, "dry_run": {"type": "boolean"},
                "message": {"type": "string"},
            })),
        ),
        (
            "RegenerateRequest",
            request(json!({"mode": {"type": "string", "enum": ["missing", "all"]}, "async": flag_or_null()})),
        ),
        (
            "RegenerateOutcome",
            answer(json!({
                "success": {"type": "boolean"}, "updated": {"type": "integer"}, "failed": {"type": "integer"},
                "embedding_dim": {"type": ["integer", "null"]}, "messages_queued": {"type": "integer"},
                "complete": {"type": "boolean"},
                "message": {"type": "string"},
            })),
        ),
        (
            "ConsolidateRequest",
            request(json!({
                "dry_run": flag_or_null(),
                "similarity_threshold": {"type": ["number", "null"], "minimum": 0.5, "maximum": 1},
                "model": {"type": ["string", "null"], "maxLength": 256}, "preview_llm": flag_or_null(),
                "async": flag_or_null(),
            })),
        ),
        (
            "ConsolidateOutcome",
            json!({
                "type": "object",
                "required": ["success", "dry_run", "clusters_found", "clusters_merged", "memories_consolidated",
                             "new_memories_created", "errors", "message"],
                "properties": {
                    "success": {"type": "boolean"}, "dry_run": {"type": "boolean"}, "clusters_found": {"type": "integer"},
                    "clusters_merged": {"type": "integer"}, "memories_consolidated": {"type": "integer"},
                    "new_memories_created": {"type": "integer"}, "clusters_skipped": {"type": "integer"},
                    "similarity_threshold": {"type": "number"}, "method": {"type": "string"},
                    "proposals": {"type": "array", "items": {"type": "object"}}, "message": {"type": "string"},
                    "errors": {"type": "array", "items": {"type": "string"}},
                },
            }),
        ),
        (
            "EmbeddingOfText",
            json!({
                "type": "object",
                "required": ["text"],
                "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 1_000_000}},
            }),
        ),
        (
            "TextEmbedding",
            answer(json!({
                "embedding": {"type": "array", "items": {"type": "number"}}, "model": {"type": "string"},
                "dimension": {"type": "integer"},
            })),
        ),
    ]
}
