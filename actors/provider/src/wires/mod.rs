//! What model servers speak. A wire is pure: a writer of requests, and a reader that says what one event of an answer means.
//!
//! Calling, framing, stop sequences and the order of an answer's end are common to all and live in [`crate::http`].

use bytes::Bytes;
use serde::Serialize;

use crate::definition::ModelDefinition;
use crate::endpoint::Endpoint;
use crate::error::ProviderError;
use crate::event::CompletionRequest;
use crate::http::fold::{Fold, Framing};
use crate::http::learned::{Learned, Sent};
use crate::http::progress::Progress;
use crate::prompt;

mod chat;
mod inline;
mod messages;
pub(crate) mod ollama;
mod responses;
#[cfg(test)]
mod testing;
pub(crate) mod tool_calls;
pub(crate) mod usage;

/// A protocol that models are called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// OpenAI's Chat Completions, and everything compatible.
    Chat,
    /// OpenAI's Responses API, at OpenAI and xAI.
    Responses,
    /// Anthropic's Messages API.
    Messages,
    /// Ollama's own interface.
    Ollama,
}

/// A request ready to go out.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) body: Bytes,
    /// What it holds, for the parameter search after a refusal.
    pub(crate) sent: Sent,
    /// Stop sequences that are not in it, to be enforced here.
    pub(crate) local_stops: Vec<String>,
}

impl Written {
    /// A request with this body.
    pub(crate) fn new(body: &impl Serialize, sent: Sent, local_stops: Vec<String>) -> Result<Self, ProviderError> {
        let body = serde_json::to_vec(body).map_err(|error| ProviderError::Internal(error.to_string()))?;
        Ok(Self { body: body.into(), sent, local_stops })
    }
}

impl Wire {
    /// Where calls go, below the endpoint's root.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Ollama => "api/chat",
        }
    }

    /// Where the server lists its models, below the endpoint's root.
    pub(crate) fn models_path(self) -> &'static str {
        match self {
            Self::Chat | Self::Responses | Self::Messages => "models",
            Self::Ollama => "api/tags",
        }
    }

    /// What is known about a model before any call.
    pub(crate) fn before_any_call(self, definition: &ModelDefinition, official: bool) -> Learned {
        Learned::before_any_call(definition, official)
    }

    /// Writes a request.
    pub(crate) fn write(
        self,
        definition: &ModelDefinition,
        endpoint: &Endpoint,
        request: &CompletionRequest,
        known: &Learned,
    ) -> Result<Written, ProviderError> {
        match self {
            Self::Chat => chat::write(definition, endpoint, request, known),
            Self::Responses => responses::write(definition, endpoint, request, known),
            Self::Messages => messages::write(definition, endpoint, request, known),
            Self::Ollama => ollama::write(definition, endpoint, request, known),
        }
    }

    /// A fold over the answer to a request.
    pub(crate) fn fold(self, request: &CompletionRequest, local_stops: Vec<String>) -> Fold {
        let (framing, reader) = match self {
            Self::Chat => (Framing::Events, chat::reader(request)),
            Self::Responses => (Framing::Events, responses::reader()),
            Self::Messages => (Framing::Events, messages::reader(request)),
            Self::Ollama => (Framing::Lines, ollama::reader(request)),
        };
        Fold::new(framing, reader, Progress::new(local_stops, prompt::characters(&request.messages)))
    }
}
