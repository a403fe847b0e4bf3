//! What a model call asks for and what comes back.

use greenroom_protocol::{FinishReason, Message, Sampling, ToolCall, Usage};
use serde_json::Value;

/// One model call. Absent wishes are not sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CompletionRequest {
    /// The prompt; system messages may stand anywhere, they are gathered at the front.
    pub messages: Vec<Message>,
    /// OpenAI tool objects.
    pub tools: Vec<Value>,
    /// OpenAI's `tool_choice`.
    pub tool_choice: Option<Value>,
    /// OpenAI's `parallel_tool_calls`.
    pub parallel_tool_calls: Option<bool>,
    /// Generation parameters.
    pub sampling: Sampling,
    /// End-user tag for the provider.
    pub user: Option<String>,
    /// Sent as `X-Request-Id`, as far as it is a UUID, alone or behind `turn-`.
    pub trace_id: String,
}

/// What a provider's stream yields, in this order: metadata, text and reasoning as they come, then tool calls if there
/// are any, usage, and the finish. A stream that ends without [`Self::Finished`] ended in an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderEvent {
    /// A piece of the answer, exactly as the provider cut it.
    Text(String),
    /// A piece of the model's thinking: never shown or stored as reply text.
    Reasoning(String),
    /// All tool calls of the answer, complete and ordered; at most once.
    ToolCalls(Vec<ToolCall>),
    /// The provider's own name for the model that answers; at most once.
    Metadata {
        /// The name.
        upstream_model: String,
    },
    /// Token counts of this call, reported or estimated; once.
    Usage(Usage),
    /// The end; once.
    Finished(FinishReason),
}
