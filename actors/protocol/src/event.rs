//! Turn events: what happens in a turn, once, in order. A turn's log is a list of these; every skin (Chat Completions
//! frames, the turn log, later Responses and Messages) is a rendering of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::ErrorBody;
use crate::ids::{BotSlug, MessageId, TurnId, UserId};
use crate::status::TurnStatus;
use crate::usage::{TokenUsage, Usage};

/// What is constant over a turn's whole stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnHeader {
    /// The turn.
    pub turn_id: TurnId,
    /// `chatcmpl-…`, the `id` of every chunk.
    pub completion_id: String,
    /// Creation time in Unix seconds, the `created` of every chunk.
    pub created: i64,
    /// The resolved model alias.
    pub model: String,
    /// The bot that answers.
    pub bot_id: BotSlug,
    /// Who asked.
    pub user_id: UserId,
    /// The stored user message this turn answers.
    pub trigger_message_id: Option<MessageId>,
}

/// Why generation stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// The output limit was reached.
    Length,
    /// The model wants client tools executed.
    ToolCalls,
    /// The provider withheld the rest.
    ContentFilter,
    /// The answer is broken; an `error` member says why.
    Error,
    /// A newer request took over before this one answered.
    Cancelled,
}

impl FinishReason {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

/// `turn_metadata` (http-api §3.6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnMetadata {
    /// The request's id.
    pub request_id: String,
    /// The route template the turn came in by.
    pub path: String,
    /// The agent backend's name, for agent bots.
    pub agent_backend: Option<String>,
    /// Effective speech mode.
    pub tts_mode: bool,
    /// Whether memories may be injected.
    pub augment_memory: bool,
    /// The model's window in tokens.
    pub context_window: Option<u64>,
    /// The provider's own model name, once it is known.
    pub upstream_model: Option<String>,
    /// Start in Unix seconds.
    pub started_at: f64,
    /// Event time in Unix seconds.
    pub ts: f64,
}

/// `service.warning`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// One text per warning, prefixed by its kind where it has one.
    pub warnings: Vec<String>,
    /// For failures: the class in machine-readable form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// A tool call handed to the client, which offered the tool and executes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientToolCall {
    /// Position in the batch, from 0.
    pub index: u32,
    /// Call id.
    pub id: String,
    /// Tool name.
    pub name: String,
    /// Arguments as JSON text.
    pub arguments: String,
}

/// `tool_call`: the server is about to execute a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCallStarted {
    /// Call id, unique in the turn.
    pub call_id: String,
    /// Tool name.
    pub name: String,
    /// Arguments as an object.
    pub arguments: Value,
    /// Position in the batch, from 0.
    pub index: u32,
    /// Model pass, from 1.
    pub iteration: u32,
    /// Agent bridge that runs the tool, if any.
    pub provider: Option<String>,
    /// What running it twice would do: `read_only`, `idempotent` or `dangerous`, when the tool declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<String>,
    /// Event time in Unix seconds.
    pub ts: f64,
}

/// `tool_result`: the server executed a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCallEnded {
    /// Call id of the matching [`ToolCallStarted`].
    pub call_id: String,
    /// Tool name.
    pub name: String,
    /// Result, at most 2000 characters.
    pub result: String,
    /// Whether the result was cut.
    pub result_truncated: bool,
    /// Whether the tool succeeded.
    pub ok: bool,
    /// Run time in milliseconds.
    pub duration_ms: f64,
    /// Model pass, from 1.
    pub iteration: u32,
    /// Agent bridge that ran the tool, if any.
    pub provider: Option<String>,
    /// Event time in Unix seconds.
    pub ts: f64,
}

/// `turn_complete`: the last event of every turn, exactly once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnComplete {
    /// Terminal status.
    pub status: TurnStatus,
    /// Chosen avatar animation.
    pub animation: Option<String>,
    /// Token accounting for a usage display.
    pub token_usage: Option<TokenUsage>,
    /// Totals for the OpenAI triple.
    pub usage: Usage,
    /// From just before the model call to the end of generation, in milliseconds.
    pub latency_ms: f64,
    /// Tool calls of the turn.
    pub tool_call_count: u32,
    /// Why, for a turn that did not end well.
    pub error_text: Option<String>,
    /// Event time in Unix seconds.
    pub ts: f64,
}

/// One thing that happened in a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
pub enum TurnEvent {
    /// First event; repeated once when the backend reports its real model.
    Metadata(Box<TurnMetadata>),
    /// Something the user should know that is not part of the answer.
    Warning(Box<Warning>),
    /// A piece of the answer as clients see it.
    Text(Box<str>),
    /// A call of one of the client's own tools.
    ClientToolCall(Box<ClientToolCall>),
    /// The server starts a tool.
    ToolCall(Box<ToolCallStarted>),
    /// The server finished a tool.
    ToolResult(Box<ToolCallEnded>),
    /// The avatar animation that goes with the answer.
    Animation(Box<str>),
    /// Generation is over. `model` is the provider's real model name when it reported one.
    Finish(Box<Finish>),
    /// Token totals, for clients that asked for them.
    Usage(Usage),
    /// The end.
    Complete(Box<TurnComplete>),
}

/// How generation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// Why.
    pub reason: FinishReason,
    /// The provider's real model name.
    pub model: Option<String>,
    /// For [`FinishReason::Error`]: what clients raise.
    pub error: Option<ErrorBody>,
}

impl TurnEvent {
    /// The event's name in the journal.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Metadata(_) => "metadata",
            Self::Warning(_) => "warning",
            Self::Text(_) => "text",
            Self::ClientToolCall(_) => "client_tool_call",
            Self::ToolCall(_) => "tool_call",
            Self::ToolResult(_) => "tool_result",
            Self::Animation(_) => "animation",
            Self::Finish(_) => "finish",
            Self::Usage(_) => "usage",
            Self::Complete(_) => "complete",
        }
    }
}
