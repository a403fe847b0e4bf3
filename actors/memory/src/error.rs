//! What can go wrong in the memory room and what it means to a client. Deliberately absent: message text and SQL.

use std::time::Duration;

use greenroom_embedder::EmbedError;
use greenroom_kit::{AskError, SupervisorError};
use greenroom_protocol::ErrorClass;
use greenroom_store::StoreError;
use uuid::Uuid;

/// How long a caller is asked to wait when the namespace has too much to do or is being started again.
const SOON: Duration = Duration::from_secs(1);

/// Why the memory room could not do something.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The namespace's actor.
    #[error("the memory of the bot is not available: {0}")]
    Actor(#[from] AskError),
    /// The namespace's actor did not start.
    #[error(transparent)]
    Start(#[from] SupervisorError),
    /// A text could not be embedded where a vector is indispensable.
    #[error(transparent)]
    Embedding(#[from] EmbedError),
    /// A stored row that this version cannot read.
    #[error("a stored row has an unknown {0}")]
    Unreadable(&'static str),
    /// The request makes no sense as it is.
    #[error("{0}")]
    Invalid(String),
    /// Nothing has this id.
    #[error("{0} '{1}' not found")]
    NotFound(&'static str, String),
    /// More than one row begins with the given prefix.
    #[error("more than one {what} begins with '{prefix}'")]
    Ambiguous {
        /// What was looked for.
        what: &'static str,
        /// The prefix.
        prefix: String,
        /// Some that fit, at most ten.
        candidates: Vec<Uuid>,
    },
    /// The request collides with what is stored.
    #[error("{0}")]
    Conflict(String),
    /// The namespace has too much to do already.
    #[error("the memory of the bot is busy")]
    Busy,
}

impl MemoryError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Actor(_) | Self::Start(_) => ErrorClass::Storage,
            Self::Embedding(error) => error.class(),
            Self::Unreadable(_) => ErrorClass::Internal,
            Self::Invalid(_) => ErrorClass::InvalidRequest,
            Self::NotFound(..) => ErrorClass::NotFound,
            Self::Ambiguous { .. } | Self::Conflict(_) => ErrorClass::Conflict,
            Self::Busy => ErrorClass::Overloaded,
        }
    }

    /// How long to wait before another try makes sense; `None` when waiting will not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Store(error) => error.retry_after(),
            Self::Embedding(error) => error.retry_after(),
            Self::Actor(_) | Self::Start(_) | Self::Busy => Some(SOON),
            _ => None,
        }
    }

    /// Whether what was asked for may have been done all the same: the connection or the actor was lost on the way.
    pub(crate) fn is_in_doubt(&self) -> bool {
        match self {
            Self::Actor(_) => true,
            Self::Store(error) => error.class() == ErrorClass::Storage,
            _ => false,
        }
    }
}

impl From<tokio_postgres::Error> for MemoryError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}
