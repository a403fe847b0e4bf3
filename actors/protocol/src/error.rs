//! A closed list of error classes. Each room maps its own errors onto one; the front door maps a class onto a status.

use serde::{Deserialize, Serialize};

/// What kind of failure, as a client needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The request cannot be served as it is.
    InvalidRequest,
    /// Something named in the request does not exist.
    NotFound,
    /// The request collides with the present state.
    Conflict,
    /// The prompt does not fit the model's window.
    ContextTooLong,
    /// This service has no room for another turn.
    Overloaded,
    /// The provider asks to slow down.
    RateLimited,
    /// The provider refuses our credentials.
    ProviderAuth,
    /// The provider refused the request as invalid.
    ProviderRefused,
    /// The provider cannot be reached, or answered with an error.
    ProviderUnavailable,
    /// The provider did not answer in time.
    ProviderTimeout,
    /// The provider's stream broke off.
    ProviderInterrupted,
    /// No model is available.
    NoModel,
    /// The database is away.
    Storage,
    /// A part of this service is being started again, or the service is going down.
    Unavailable,
    /// A fault of this service.
    Internal,
}

impl ErrorClass {
    /// The HTTP status that tells it before a stream has begun.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::ContextTooLong | Self::ProviderRefused | Self::NoModel => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Overloaded | Self::RateLimited => 429,
            Self::ProviderAuth | Self::ProviderUnavailable | Self::ProviderInterrupted => 502,
            Self::ProviderTimeout => 504,
            Self::Storage | Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    /// Stable machine-readable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::ContextTooLong => "context_length_exceeded",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate_limit_exceeded",
            Self::ProviderAuth => "provider_auth",
            Self::ProviderRefused => "provider_refused",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::ProviderTimeout => "provider_timeout",
            Self::ProviderInterrupted => "provider_interrupted",
            Self::NoModel => "no_model",
            Self::Storage => "storage_unavailable",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The inverse of [`Self::code`].
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        const ALL: [ErrorClass; 15] = [
            ErrorClass::InvalidRequest,
            ErrorClass::NotFound,
            ErrorClass::Conflict,
            ErrorClass::ContextTooLong,
            ErrorClass::Overloaded,
            ErrorClass::RateLimited,
            ErrorClass::ProviderAuth,
            ErrorClass::ProviderRefused,
            ErrorClass::ProviderUnavailable,
            ErrorClass::ProviderTimeout,
            ErrorClass::ProviderInterrupted,
            ErrorClass::NoModel,
            ErrorClass::Storage,
            ErrorClass::Unavailable,
            ErrorClass::Internal,
        ];
        ALL.into_iter().find(|class| class.code() == code)
    }

    /// OpenAI's coarse `type` for the class.
    #[must_use]
    pub fn openai_type(self) -> &'static str {
        match self.status() {
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }
}

/// The `error` member of OpenAI error bodies and of a broken stream's last chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For people; never carries secrets, SQL or host names.
    pub message: String,
    /// OpenAI's coarse kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The request parameter at fault.
    pub param: Option<String>,
    /// Stable machine-readable code.
    pub code: Option<String>,
}

impl ErrorBody {
    /// The body for a class.
    #[must_use]
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: class.openai_type().into(), param: None, code: Some(class.code().into()) }
    }
}
