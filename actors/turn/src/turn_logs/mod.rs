//! Reading turns back: lists, one turn in full, tool calls, exact replay. Writing is the journal's.

mod entry;
mod repository;

pub use entry::ToolCallEntry;
pub use repository::TurnLogs;

use greenroom_protocol::TokenUsage;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// Which turns a list shows; `None` does not filter. Texts are compared as they are, except that bot, user, model and
/// status are compared without regard to case.
#[derive(Debug, Clone, Default)]
pub struct TurnFilter {
    /// Bot slug.
    pub bot_id: Option<String>,
    /// User id.
    pub user_id: Option<String>,
    /// Model alias.
    pub model: Option<String>,
    /// Request id.
    pub request_id: Option<String>,
    /// Status word.
    pub status: Option<String>,
    /// Streamed or not.
    pub stream: Option<bool>,
    /// With or without tool calls.
    pub has_tools: Option<bool>,
    /// Created at or after.
    pub after: Option<Timestamp>,
    /// Created before.
    pub before: Option<Timestamp>,
    /// Continue behind this position (the last item's creation time and id).
    pub cursor: Option<(Timestamp, String)>,
    /// Page size.
    pub limit: i64,
    /// Items to skip.
    pub offset: i64,
    /// Length of `response_preview` in characters.
    pub preview_chars: i32,
}

/// One page of turns, newest first.
#[derive(Debug, Clone, Serialize)]
pub struct TurnPage {
    /// The turns.
    pub turns: Vec<TurnSummary>,
    /// How many match in all, whatever the page.
    pub total_count: i64,
}

/// A turn in a list.
#[derive(Debug, Clone, Serialize)]
pub struct TurnSummary {
    /// Turn id.
    pub id: String,
    /// When it began.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub created_at: Timestamp,
    /// The request it came by.
    pub request_id: String,
    /// Route template.
    pub path: String,
    /// Streamed or not.
    pub stream: bool,
    /// Model alias.
    pub model: String,
    /// Bot.
    pub bot_id: String,
    /// User.
    pub user_id: String,
    /// Status word.
    pub status: String,
    /// Model time in milliseconds.
    pub latency_ms: Option<f64>,
    /// What the user said.
    pub user_prompt: String,
    /// Beginning of the answer.
    pub response_preview: Option<String>,
    /// Length of the answer in characters.
    pub response_chars: i32,
    /// Whether the preview is not all of it.
    pub response_preview_truncated: bool,
    /// Tool calls.
    pub tool_call_count: i64,
    /// Why it did not end well.
    pub error_text: Option<String>,
    /// Chosen avatar animation.
    pub animation: Option<String>,
    /// Agent session, for agent bots.
    pub agent_session_key: Option<String>,
    /// Agent request, for agent bots.
    pub agent_request_id: Option<String>,
    /// Stored user message.
    pub trigger_message_id: Option<String>,
    /// Token accounting.
    pub token_usage: Option<TokenUsage>,
}

/// A turn in full.
#[derive(Debug, Clone, Serialize)]
pub struct TurnDetail {
    /// Turn id.
    pub id: String,
    /// When it began.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub created_at: Timestamp,
    /// The request it came by.
    pub request_id: String,
    /// Route template.
    pub path: String,
    /// Streamed or not.
    pub stream: bool,
    /// Model alias.
    pub model: String,
    /// Bot.
    pub bot_id: String,
    /// User.
    pub user_id: String,
    /// Status word.
    pub status: String,
    /// Model time in milliseconds.
    pub latency_ms: Option<f64>,
    /// Time to the first piece in milliseconds.
    pub first_token_ms: Option<f64>,
    /// What the user said.
    pub user_prompt: String,
    /// The assembled prompt and parameters: what the model saw.
    pub request: Value,
    /// The answer, or what there is of it.
    pub response: Option<String>,
    /// Tool calls.
    pub tool_calls: Vec<ToolCallEntry>,
    /// Why it did not end well.
    pub error_text: Option<String>,
    /// Chosen avatar animation.
    pub animation: Option<String>,
    /// Agent session, for agent bots.
    pub agent_session_key: Option<String>,
    /// Agent request, for agent bots.
    pub agent_request_id: Option<String>,
    /// Stored user message.
    pub trigger_message_id: Option<String>,
    /// Token accounting.
    pub token_usage: Option<TokenUsage>,
    /// Milliseconds per stage.
    pub stage_timings: Option<Value>,
}

/// Which tool calls are wanted.
#[derive(Debug, Clone, Default)]
pub struct ToolCallFilter {
    /// Bot slug.
    pub bot_id: Option<String>,
    /// User id.
    pub user_id: Option<String>,
    /// Message ids; those shorter than 36 characters are prefixes. Empty does not filter.
    pub message_ids: Vec<String>,
    /// Created at or after.
    pub after: Option<Timestamp>,
    /// Created before.
    pub before: Option<Timestamp>,
    /// Most turns.
    pub limit: i64,
}

/// The tool calls of one turn.
#[derive(Debug, Clone, Serialize)]
pub struct ToolCallEvent {
    /// Turn id.
    pub turn_id: String,
    /// When the turn began.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub created_at: Timestamp,
    /// The request it came by.
    pub request_id: String,
    /// Model alias.
    pub model: String,
    /// Bot.
    pub bot_id: String,
    /// User.
    pub user_id: String,
    /// The message that triggered the turn, else the turn's own id.
    pub message_id: String,
    /// Always `user`.
    pub message_role: &'static str,
    /// When the message was said.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub message_timestamp: Timestamp,
    /// How many calls.
    pub tool_call_count: usize,
    /// The calls.
    pub tool_calls: Vec<ToolCallEntry>,
}
