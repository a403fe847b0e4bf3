//! What was said, and its summaries.

use http::Method;
use serde_json::{Value, json};

use super::Schemas;
use super::operation::{Op, named};

const TAG: &str = "history";

fn op(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Op {
    Op::new(method, path, id, TAG, summary)
        .query("bot_id", text(), "The default bot without it")
        .refuses(404, "No such bot")
}

fn text() -> Value {
    json!({"type": "string"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn model() -> Value {
    json!({"type": "string", "maxLength": 256})
}

const LATER: &str = "Answer 202 at once; the work becomes a task";

fn summarizing(op: Op) -> Op {
    op.query("use_heuristic", flag(), "By rule, where no model answers; else such sessions wait")
        .query("model", model(), "Alias of the model; the configured one without it")
        .query("async", flag(), LATER)
        .gives("What was summarised", "SummarizeResult")
        .answers(202, "A task was made of it", "application/json", named("TaskAccepted"))
        .refuses(400, "No such model")
        .refuses(409, "Summaries of the bot are being made already, or the model may not be used")
        .refuses(429, "Too much waits already")
        .refuses(502, "The model failed")
        .refuses(504, "The model did not answer in time")
}

pub fn operations() -> Vec<Op> {
    let number = || json!({"type": "number", "minimum": 0, "maximum": 253_402_300_799.0});
    vec![
        op(Method::GET, "/v1/history", "listHistory", "What was said, in order, the newest page first")
            .query("limit", json!({"type": "integer"}), "At most 1000; 0 and less mean that, too")
            .query(
                "before",
                json!({"type": "string", "maxLength": 256}),
                "Unix seconds, an RFC 3339 time or a message id",
            )
            .query("include_summarized", flag(), "False leaves out what a summary stands for")
            .query("user_id", json!({"type": "string", "maxLength": 128}), "Only with this user")
            .gives("A page", "HistoryPage")
            .refuses(400, "Invalid 'before' cursor")
            .refuses(409, "The id before which to look is not unique")
            .refuses(429, "Too much waits already"),
        op(Method::DELETE, "/v1/history", "clearHistory", "Delete what was said, and what was learnt")
            .query("include_memories", flag(), "False keeps what was learnt")
            .gives("What was deleted", "HistoryCleared")
            .refuses(409, "A turn of the bot is running")
            .refuses(429, "Too much waits already"),
        op(Method::POST, "/v1/history/search", "searchHistory", "Find what was said, by meaning and by words")
            .query("query", json!({"type": "string", "maxLength": 8000}), "Members of the body may stand here, too")
            .query("limit", json!({"type": "integer", "minimum": 1}), "At most 500")
            .query("mode", json!({"type": "string", "enum": ["hybrid", "text", "vector"]}), "`hybrid` without it")
            .query("sort", json!({"type": "string", "enum": ["score", "time"]}), "Best first, or oldest first")
            .query("explain", flag(), "What each score is made of")
            .optional_body("HistorySearch")
            .gives("The hits", "HistoryHits")
            .refuses(400, "It cannot be searched for")
            .refuses(429, "Too much waits already"),
        op(Method::GET, "/v1/history/summarize/preview", "previewSummaries", "Which sessions are due for a summary")
            .gives("The sessions", "SummaryPreview"),
        summarizing(op(Method::POST, "/v1/history/summarize", "summarizeHistory", "Summarise what is due")),
        summarizing(
            op(Method::POST, "/v1/history/summarize/rebuild", "rebuildSummaries", "Make summaries anew")
                .query(
                    "sessions",
                    json!({"type": "integer", "minimum": 0, "maximum": 2000}),
                    "The newest so many; 0 = all",
                )
                .query("start_ts", number(), "Sessions that reach behind this")
                .query("end_ts", number(), "Sessions that begin before this")
                .query("purge_existing", flag(), "Delete the old ones of what is made anew"),
        ),
        op(Method::GET, "/v1/history/summaries", "listSummaries", "Summaries, newest first")
            .query("limit", json!({"type": "integer", "minimum": 1}), "At most 5000")
            .gives("Them", "SummaryList"),
        op(
            Method::DELETE,
            "/v1/history/summary/{summary_id}",
            "deleteSummary",
            "Delete a summary; its messages come back",
        )
        .gives("Whether there was one", "SummaryDeletion")
        .refuses(400, "No id, and no beginning of one that is long enough")
        .refuses(409, "More than one begins like this")
        .refuses(429, "Too much waits already"),
    ]
}

/// What every message has.
pub(super) fn message(own: &[(&str, Value)]) -> Value {
    let text_or_null = json!({"type": ["string", "null"]});
    let common = [
        ("id", text()),
        ("client_id", text_or_null.clone()),
        ("role", text()),
        ("content", text()),
        ("timestamp", json!({"type": "number", "description": "Unix seconds"})),
        ("user_id", text_or_null.clone()),
        ("session_id", text_or_null),
        ("summarized", flag()),
        ("partial", flag()),
    ];
    let members = || common.iter().chain(own);
    let names: Vec<&str> = members().map(|(name, _)| *name).filter(|name| *name != "parts").collect();
    let properties: serde_json::Map<String, Value> =
        members().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

fn list_of(member: &str, of: &str, own: &[(&str, Value)]) -> Value {
    let mut required = vec!["bot_id", "total_count", member];
    let mut properties = json!({
        "bot_id": {"type": "string"}, "total_count": {"type": "integer"},
        member: {"type": "array", "items": named(of)},
    });
    for (name, schema) in own {
        if *name != "legs" {
            required.push(name);
        }
        properties[*name] = schema.clone();
    }
    json!({"type": "object", "required": required, "properties": properties})
}

pub fn schemas() -> Schemas {
    let text_or_null = json!({"type": ["string", "null"]});
    let number_or_null = json!({"type": ["number", "null"]});
    vec![
        ("Message", message(&[])),
        ("HistoryPage", list_of("messages", "Message", &[("has_more", flag()), ("oldest_timestamp", number_or_null)])),
        (
            "HistoryCleared",
            json!({
                "type": "object",
                "required": ["success", "message", "deleted_count", "memories_deleted", "summaries_deleted", "forgotten_deleted"],
                "properties": {
                    "success": {"type": "boolean"}, "message": {"type": "string"},
                    "deleted_count": {"type": "integer"}, "memories_deleted": {"type": "integer"},
                    "summaries_deleted": {"type": "integer"}, "forgotten_deleted": {"type": "integer"},
                },
            }),
        ),
        (
            "HistorySearch",
            json!({
                "type": "object",
                "properties": {
                    "query": {"type": "string", "minLength": 1, "maxLength": 8000},
                    "bot_id": {"type": ["string", "null"], "maxLength": 256},
                    "limit": {"type": ["integer", "null"], "minimum": 1},
                    "mode": {"type": "string", "enum": ["hybrid", "text", "vector"]},
                    "sort": {"type": "string", "enum": ["score", "time"]},
                    "user_id": {"type": ["string", "null"], "maxLength": 128},
                    "role": {"type": "string", "enum": ["user", "assistant"]},
                    "since": {"type": ["string", "number", "null"]},
                    "until": {"type": ["string", "number", "null"]},
                    "now": {"type": ["string", "number", "null"], "description": "What 'last week' is relative to"},
                    "exclude": {"type": "array", "items": {"type": "string", "format": "uuid"}, "maxItems": 1000},
                    "explain": {"type": "boolean"},
                },
            }),
        ),
        (
            "HistoryHit",
            message(&[("score", json!({"type": "number"})), ("snippet", text()), ("parts", json!({"type": "object"}))]),
        ),
        (
            "HistoryHits",
            list_of(
                "messages",
                "HistoryHit",
                &[("query", text()), ("mode", text()), ("legs", json!({"type": "object"}))],
            ),
        ),
        (
            "SummaryPreview",
            json!({
                "type": "object",
                "required": ["bot_id", "sessions", "total_messages"],
                "properties": {
                    "bot_id": {"type": "string"},
                    "sessions": {"type": "array", "items": {"type": "object"}},
                    "total_messages": {"type": "integer"},
                },
            }),
        ),
        (
            "SummarizeResult",
            json!({
                "type": "object",
                "required": ["success", "sessions_summarized", "messages_summarized", "errors"],
                "properties": {
                    "success": {"type": "boolean"},
                    "sessions_summarized": {"type": "integer"},
                    "messages_summarized": {"type": "integer"},
                    "sessions_targeted": {"type": "integer"}, "summaries_replaced": {"type": "integer"},
                    "summaries_purged": {"type": "integer"}, "roll_ups": {"type": "integer"},
                    "errors": {"type": "array", "items": {"type": "string"}},
                },
            }),
        ),
        (
            "TaskAccepted",
            json!({
                "type": "object",
                "required": ["task_id", "status", "bot_id"],
                "properties": {
                    "task_id": {"type": "string"},
                    "status": {"type": "string", "enum": ["pending"]},
                    "bot_id": {"type": "string"},
                },
            }),
        ),
        (
            "Summary",
            json!({
                "type": "object",
                "required": ["id", "content", "timestamp", "session_start_time", "session_end_time", "session_start",
                             "session_end", "message_count", "method", "level", "parent_id", "state", "model", "user_id",
                             "created_at"],
                "properties": {
                    "id": {"type": "string"}, "content": {"type": "string"}, "timestamp": {"type": "number"},
                    "session_start_time": text_or_null, "session_end_time": text_or_null,
                    "session_start": {"type": "string", "format": "date-time"},
                    "session_end": {"type": "string", "format": "date-time"},
                    "message_count": {"type": "integer"},
                    "method": {"type": "string", "enum": ["llm", "llm-batch", "heuristic", "heuristic-fallback"]},
                    "level": {"type": "integer"}, "parent_id": text_or_null,
                    "state": {"type": "string", "enum": ["active", "stale", "replaced"]}, "model": text_or_null,
                    "user_id": text_or_null, "created_at": {"type": "string", "format": "date-time"},
                },
            }),
        ),
        ("SummaryList", list_of("summaries", "Summary", &[])),
        (
            "SummaryDeletion",
            json!({
                "type": "object",
                "required": ["success", "summary_id", "messages_restored", "detail"],
                "properties": {
                    "success": {"type": "boolean"}, "summary_id": text_or_null,
                    "messages_restored": {"type": "integer"}, "detail": text_or_null,
                },
            }),
        ),
    ]
}
