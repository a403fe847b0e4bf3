//! One background call to a model: a system message, a user message, a text.
//!
//! Background work waits for chat: a model on this machine takes one background call at a time, and none while its
//! provider serves somebody else, so that a chat turn is delayed by one such call at most.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{ErrorClass, FinishReason, Message, RequestId, Role, Sampling, Usage};
use greenroom_provider::{CompletionRequest, Engine, ProviderError, ProviderEvent};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::ModelError;

/// Longest answer in bytes; a model that does not stop is left.
const LONGEST: usize = 1024 * 1024;
/// Pause between two looks at whether chat is done with a local model.
const LOOK: Duration = Duration::from_millis(100);
/// How long background work waits for chat before it takes its turn all the same: it must not starve.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is asked of a model.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The neutral role; never a bot's persona.
    pub system: &'a str,
    /// The task with its data.
    pub user: &'a str,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// 0 to 2.
    pub temperature: f64,
    /// Ask for a JSON object where the model can be held to one.
    pub json: bool,
}

/// A model's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The text, trimmed, without the model's thinking.
    pub text: String,
    /// It ended at the output limit.
    pub truncated: bool,
    /// Tokens of the call.
    pub usage: Usage,
}

/// A model bound to its queue of background calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Completer {
    engine: Engine,
    queue: Arc<Semaphore>,
    local: bool,
    limit: Duration,
}

impl Completer {
    pub(crate) fn new(engine: Engine, queue: Arc<Semaphore>, local: bool, limit: Duration) -> Self {
        Self { engine, queue, local, limit }
    }

    /// The model's alias.
    #[must_use]
    pub fn alias(&self) -> &str {
        self.engine.alias()
    }

    /// Whether it runs on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Tokens that fit the model.
    #[must_use]
    pub fn context_window(&self) -> u64 {
        self.engine.context_window()
    }

    /// Most tokens it generates.
    #[must_use]
    pub fn max_output_tokens(&self) -> u32 {
        self.engine.max_output_tokens()
    }

    /// Asks and collects the whole answer. The waiting for one's turn does not count towards the limit.
    ///
    /// # Errors
    /// [`ModelError`], typed; a text that merely talks about errors is an answer.
    pub async fn complete(&self, ask: &Ask<'_>, cancel: &CancellationToken) -> Result<Completion, ModelError> {
        let max_tokens = ask.max_tokens.min(self.max_output_tokens()).max(1);
        let tokens = estimate(ask.system) + estimate(ask.user) + max_tokens as usize;
        if u64::try_from(tokens).unwrap_or(u64::MAX) > self.context_window() {
            return Err(ModelError::TooLong { tokens, window: self.context_window() });
        }
        let _turn = tokio::select! { biased;
            () = cancel.cancelled() => return Err(ModelError::Cancelled),
            turn = self.turn() => turn?,
        };
        let json = ask.json && self.engine.capabilities().response_format;
        let deadline = Instant::now() + self.limit;
        match self.once(ask, max_tokens, json, deadline, cancel).await {
            Err(ModelError::Call(error)) if json && refuses_mode(&error) => {
                tracing::debug!(model = self.alias(), "asked again without JSON mode");
                self.once(ask, max_tokens, false, deadline, cancel).await
            }
            answered => answered,
        }
    }

    /// Waits until this call may go out.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, ModelError> {
        let turn = self.queue.acquire().await.map_err(|_| ModelError::Cancelled)?;
        if self.local {
            // Ours is the only background call to this model and has not begun: what is open belongs to chat.
            let until = Instant::now() + PATIENCE;
            while self.engine.open_calls() > 0 && Instant::now() < until {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(turn)
    }

    async fn once(
        &self,
        ask: &Ask<'_>,
        max_tokens: u32,
        json: bool,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Completion, ModelError> {
        let sampling = Sampling {
            temperature: Some(ask.temperature),
            max_tokens: Some(max_tokens),
            response_format: json.then(|| json!({"type": "json_object"})),
            ..Sampling::default()
        };
        let request = CompletionRequest {
            messages: vec![Message::text(Role::System, ask.system), Message::text(Role::User, ask.user)],
            sampling,
            trace_id: RequestId::random().as_str().to_owned(),
            ..CompletionRequest::default()
        };
        // Dropping the stream closes the connection, so a call that is given up reaches the provider.
        tokio::select! { biased;
            () = cancel.cancelled() => Err(ModelError::Cancelled),
            answered = tokio::time::timeout_at(deadline, collect(&self.engine, request, cancel)) => {
                answered.unwrap_or(Err(ModelError::TimedOut))
            }
        }
    }
}

async fn collect(
    engine: &Engine,
    request: CompletionRequest,
    cancel: &CancellationToken,
) -> Result<Completion, ModelError> {
    let failed = |error| match error {
        ProviderError::Cancelled => ModelError::Cancelled,
        ProviderError::Timeout(_) => ModelError::TimedOut,
        error => ModelError::Call(error),
    };
    let mut stream = engine.stream(request, cancel.clone()).await.map_err(failed)?;
    let (mut text, mut truncated) = (String::new(), false);
    while let Some(batch) = stream.next().await {
        for event in batch.map_err(failed)? {
            match event {
                ProviderEvent::Text(piece) => text.push_str(&piece),
                ProviderEvent::Finished(reason) => truncated = reason == FinishReason::Length,
                ProviderEvent::Reasoning(_)
                | ProviderEvent::ToolCalls(_)
                | ProviderEvent::Metadata { .. }
                | ProviderEvent::Usage(_) => {}
            }
        }
        if text.len() > LONGEST {
            truncated = true;
            break;
        }
    }
    let text = without_thinking(&text).trim();
    if text.is_empty() {
        return Err(ModelError::Empty);
    }
    Ok(Completion { text: text.to_owned(), truncated, usage: stream.usage_so_far() })
}

/// Whether the provider minds JSON mode and not the request as such.
fn refuses_mode(error: &ProviderError) -> bool {
    let ProviderError::InvalidRequest { message, param } = error else {
        return false;
    };
    let about = |text: &str| text.contains("response_format") || text.contains("json");
    error.class() == ErrorClass::ProviderRefused
        && (param.as_deref().is_some_and(about) || about(&message.to_lowercase()))
}

/// Cuts off what a local model thinks aloud in front of its answer.
fn without_thinking(text: &str) -> &str {
    let rest = text.trim_start();
    for (open, close) in [("<think>", "</think>"), ("<thinking>", "</thinking>")] {
        if rest.starts_with(open) {
            return rest.split_once(close).map_or("", |(_, answer)| answer);
        }
    }
    text
}

/// Tokens of a text, estimated like everywhere: four characters each, and four for the message around them.
pub(crate) fn estimate(text: &str) -> usize {
    text.chars().count().div_ceil(4) + 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_is_not_the_answer() {
        assert_eq!(without_thinking("<think>a {b} c</think>\n{\"x\":1}").trim(), "{\"x\":1}");
        assert_eq!(without_thinking("  <thinking>never ends"), "");
        assert_eq!(without_thinking("He wrote <think> once"), "He wrote <think> once");
    }

    #[test]
    fn only_a_refused_mode_is_asked_again() {
        let refused = |message: &str, param: Option<&str>| ProviderError::InvalidRequest {
            message: message.into(),
            param: param.map(Into::into),
        };
        assert!(refuses_mode(&refused("unsupported", Some("response_format"))));
        assert!(refuses_mode(&refused("'response_format.type' must be text", None)));
        assert!(!refuses_mode(&refused("too many stop words", Some("stop"))));
        assert!(!refuses_mode(&ProviderError::ContextTooLong));
    }
}
