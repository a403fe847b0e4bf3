//! The room's errors. Their texts are meant for users: no keys, no host names, no SQL, no provider page sources.

use std::fmt;
use std::time::Duration;

use greenroom_kit::{AskError, SupervisorError};
use greenroom_protocol::ErrorClass;
use greenroom_protocol::fields::Complaint;
use greenroom_store::StoreError;

/// Which wait ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Opening the connection.
    Connect,
    /// For the first event of the answer.
    FirstEvent,
    /// For the next event.
    Gap,
    /// For the end of the whole call.
    Whole,
    /// For a place in memory that other local models have.
    Room,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::FirstEvent => "first event",
            Self::Gap => "next event",
            Self::Whole => "whole call",
            Self::Room => "other local models are in use",
        })
    }
}

/// Why a model call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The provider refuses our credentials.
    #[error("the model's provider refuses the configured credentials")]
    Auth,
    /// The provider asks to slow down.
    #[error("the model's provider asks to slow down")]
    RateLimited {
        /// When it may be tried again, if the provider said so.
        retry_after: Option<Duration>,
    },
    /// The provider refuses this request.
    #[error("the model's provider refuses the request: {message}")]
    InvalidRequest {
        /// The provider's own words, shortened and without credentials.
        message: String,
        /// The parameter at fault, when named.
        param: Option<String>,
    },
    /// The model takes no tools by the provider's own tool calls: the same pass may be tried with tools told as text.
    #[error("the model's provider does not support tools with this model")]
    ToolsUnsupported,
    /// The provider refuses the request for its content, before any output.
    #[error("the model's provider refuses the request because of its content")]
    ContentFiltered,
    /// The prompt does not fit the model's window.
    #[error("the conversation is longer than the model's context window")]
    ContextTooLong,
    /// The provider cannot be reached, answers with an error, or is left alone after too many failures.
    #[error("the model's provider is unavailable: {0}")]
    Unavailable(String),
    /// The provider did not answer in time.
    #[error("the model's provider did not answer in time ({0})")]
    Timeout(Waiting),
    /// The answer broke off.
    #[error("the model's answer broke off")]
    Interrupted {
        /// Whether text had been passed on before.
        had_output: bool,
    },
    /// The caller cancelled.
    #[error("the call was cancelled")]
    Cancelled,
    /// No model of this name is defined.
    #[error("model '{0}' not found")]
    NoSuchModel(String),
    /// The model is defined but cannot be used.
    #[error("model '{alias}' is not available: {reason}")]
    NotAvailable {
        /// The model's alias.
        alias: String,
        /// Why.
        reason: String,
    },
    /// The provider already has as many calls open as it may.
    #[error("the model's provider has too many calls open")]
    Busy,
    /// A fault of this service.
    #[error("internal error in the provider room: {0}")]
    Internal(String),
}

impl ProviderError {
    /// The class that the front door maps onto a status.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Auth => ErrorClass::ProviderAuth,
            Self::RateLimited { .. } => ErrorClass::RateLimited,
            Self::InvalidRequest { .. } | Self::ToolsUnsupported | Self::ContentFiltered => ErrorClass::ProviderRefused,
            Self::ContextTooLong => ErrorClass::ContextTooLong,
            Self::Unavailable(_) => ErrorClass::ProviderUnavailable,
            Self::Timeout(_) => ErrorClass::ProviderTimeout,
            Self::Interrupted { .. } => ErrorClass::ProviderInterrupted,
            Self::NoSuchModel(_) | Self::NotAvailable { .. } => ErrorClass::NoModel,
            Self::Busy => ErrorClass::Overloaded,
            Self::Cancelled | Self::Internal(_) => ErrorClass::Internal,
        }
    }

    /// Whether another model may be asked in this one's place, as long as nothing was passed on: the fault lies with this
    /// provider or the way to it, and not with the request.
    #[must_use]
    pub fn may_fall_back(&self) -> bool {
        match self {
            Self::Unavailable(_)
            | Self::Timeout(_)
            | Self::RateLimited { .. }
            | Self::Busy
            | Self::Auth
            | Self::NotAvailable { .. } => true,
            Self::Interrupted { had_output } => !had_output,
            Self::InvalidRequest { .. }
            | Self::ToolsUnsupported
            | Self::ContentFiltered
            | Self::ContextTooLong
            | Self::Cancelled
            | Self::NoSuchModel(_)
            | Self::Internal(_) => false,
        }
    }

    /// When it makes sense to try again, if that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => *retry_after,
            Self::Busy => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

/// Why the catalogue or a definition could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    /// No definition of this alias is stored.
    #[error("Model alias '{0}' not found")]
    NotFound(String),
    /// The definition is not acceptable: status 422 with these complaints.
    #[error("the model definition is not valid")]
    Invalid(Vec<Complaint>),
    /// The database is away.
    #[error("Model definitions database unavailable")]
    Storage(#[source] StoreError),
    /// The seed file cannot be used; the catalogue stays as it was.
    #[error("the model seed file cannot be used: {0}")]
    Seeds(String),
    /// The catalogue actor did not answer.
    #[error("the model catalogue did not answer: {0}")]
    Ask(#[from] AskError),
    /// A provider actor could not be started.
    #[error("a provider could not be started: {0}")]
    Supervisor(#[from] SupervisorError),
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made: {0}")]
    Client(String),
}

impl From<StoreError> for ProvidersError {
    fn from(error: StoreError) -> Self {
        Self::Storage(error)
    }
}

impl ProvidersError {
    /// The class that the front door maps onto a status.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound(_) => ErrorClass::NotFound,
            Self::Invalid(_) => ErrorClass::InvalidRequest,
            Self::Storage(error) => error.class(),
            Self::Seeds(_) | Self::Ask(_) | Self::Supervisor(_) | Self::Client(_) => ErrorClass::Internal,
        }
    }

    /// The complaints of a refused definition.
    #[must_use]
    pub fn complaints(&self) -> &[Complaint] {
        match self {
            Self::Invalid(complaints) => complaints,
            _ => &[],
        }
    }
}

/// Why a provider's own model list cannot be shown (http-api §8.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamModelsError {
    /// No provider was named.
    #[error("provider is required")]
    Required,
    /// The provider is not one of ours.
    #[error("Unknown provider '{0}'. Use openai, codex, or grok.")]
    Unknown(String),
    /// Its key is not configured.
    #[error("{0} is not configured")]
    KeyMissing(&'static str),
    /// It did not answer, or not with a list.
    #[error("Failed to fetch {0} model catalog from upstream")]
    Fetch(String),
}

impl UpstreamModelsError {
    /// The HTTP status of http-api §8.2; a missing key is 503, which no [`ErrorClass`] but storage stands for.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Required | Self::Unknown(_) => 400,
            Self::KeyMissing(_) => 503,
            Self::Fetch(_) => 502,
        }
    }

    /// The nearest class.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Required | Self::Unknown(_) => ErrorClass::InvalidRequest,
            Self::KeyMissing(_) => ErrorClass::ProviderAuth,
            Self::Fetch(_) => ErrorClass::ProviderUnavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_providers_own_troubles_fall_back() {
        let words = String::new;
        for error in [
            ProviderError::Unavailable(words()),
            ProviderError::Timeout(Waiting::FirstEvent),
            ProviderError::RateLimited { retry_after: None },
            ProviderError::Busy,
            ProviderError::Auth,
            ProviderError::NotAvailable { alias: words(), reason: words() },
            ProviderError::Interrupted { had_output: false },
        ] {
            assert!(error.may_fall_back(), "{error:?}");
        }
        for error in [
            ProviderError::Interrupted { had_output: true },
            ProviderError::InvalidRequest { message: words(), param: None },
            ProviderError::ToolsUnsupported,
            ProviderError::ContentFiltered,
            ProviderError::ContextTooLong,
            ProviderError::Cancelled,
        ] {
            assert!(!error.may_fall_back(), "{error:?}");
        }
    }
}
