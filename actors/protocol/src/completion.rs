//! The non-streaming skin: the same events, collected into one `chat.completion` object.

use serde_json::{Value, json};

use crate::error::ErrorBody;
use crate::event::{FinishReason, TurnEvent, TurnHeader};

/// A turn's events folded into one answer.
#[derive(Debug, Clone, Default)]
pub struct Completion {
    text: String,
    tool_calls: Vec<Value>,
    warnings: Vec<String>,
    finish: Option<FinishReason>,
    model: Option<String>,
    error: Option<ErrorBody>,
    usage: Option<crate::usage::Usage>,
    token_usage: Option<crate::usage::TokenUsage>,
    animation: Option<String>,
}

impl Completion {
    /// Adds one event.
    pub fn add(&mut self, event: &TurnEvent) {
        match event {
            TurnEvent::Text(text) => self.text.push_str(text),
            TurnEvent::ClientToolCall(call) => self.tool_calls.push(json!({
                "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })),
            TurnEvent::Warning(warning) => self.warnings.extend(warning.warnings.iter().cloned()),
            TurnEvent::Finish(finish) => {
                self.finish = Some(finish.reason);
                self.model.clone_from(&finish.model);
                self.error.clone_from(&finish.error);
            }
            TurnEvent::Complete(complete) => {
                self.usage = Some(complete.usage);
                self.token_usage.clone_from(&complete.token_usage);
                self.animation.clone_from(&complete.animation);
                if complete.status == crate::TurnStatus::Cancelled {
                    self.finish = Some(FinishReason::Cancelled);
                }
            }
            TurnEvent::Metadata(_)
            | TurnEvent::ToolCall(_)
            | TurnEvent::ToolResult(_)
            | TurnEvent::Animation(_)
            | TurnEvent::Usage(_) => {}
        }
    }

    /// The answer.
    ///
    /// # Errors
    /// The broken turn's error.
    pub fn into_json(self, header: &TurnHeader) -> Result<Value, ErrorBody> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let calls = !self.tool_calls.is_empty();
        let content = if calls && self.text.is_empty() { Value::Null } else { self.text.into() };
        let mut message = json!({"role": "assistant", "content": content, "name": null, "refusal": null});
        if calls {
            message["tool_calls"] = Value::Array(self.tool_calls);
        }
        let usage = self.usage.unwrap_or_default();
        let mut answer = json!({
            "id": header.completion_id,
            "object": "chat.completion",
            "created": header.created,
            "model": self.model.as_deref().unwrap_or(&header.model),
            "choices": [{
                "index": 0,
                "message": message,
                "logprobs": null,
                "finish_reason": self.finish.unwrap_or(FinishReason::Stop).as_str(),
            }],
            "usage": usage.openai(),
            "usage_estimated": usage.estimated,
            "service": {
                "turn_id": header.turn_id, "bot_id": header.bot_id, "user_id": header.user_id,
                "trigger_message_id": header.trigger_message_id, "token_usage": self.token_usage,
            },
        });
        if let Some(animation) = self.animation {
            answer["service"]["animation"] = animation.into();
        }
        if !self.warnings.is_empty() {
            answer["service"]["warnings"] = self.warnings.into();
        }
        Ok(answer)
    }
}
