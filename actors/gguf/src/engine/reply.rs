//! An answer as it comes.

use tokio::sync::mpsc;

use crate::error::GgufError;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of text, never empty, of whole characters.
    Text(String),
    /// The answer is over. Always the last.
    Finish {
        /// Why.
        reason: Finish,
        /// What it took.
        usage: Usage,
    },
}

/// Why an answer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finish {
    /// The model said so, or a stop sequence came.
    Stop,
    /// It has as many tokens as it may, or the context is full.
    Length,
    /// It was cancelled, or the model unloaded.
    Cancelled,
}

/// Tokens of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Those of them that were still known from the request before.
    pub reused_tokens: u32,
    /// Tokens of the answer.
    pub completion_tokens: u32,
}

/// An answer on its way; dropping it cancels.
#[derive(Debug)]
pub struct Reply {
    events: mpsc::Receiver<Result<Event, GgufError>>,
    is_over: bool,
}

impl Reply {
    pub(super) fn new(events: mpsc::Receiver<Result<Event, GgufError>>) -> Self {
        Self { events, is_over: false }
    }

    /// The next part; `None` after [`Event::Finish`] or an error.
    pub async fn next(&mut self) -> Option<Result<Event, GgufError>> {
        if self.is_over {
            return None;
        }
        // An engine that goes without a word has died.
        let lost = || Err(GgufError::Failed("the engine has died".into()));
        let event = self.events.recv().await.unwrap_or_else(lost);
        self.is_over = !matches!(event, Ok(Event::Text(_)));
        Some(event)
    }
}
