//! Why the turn room could not do something, in terms that the front door maps onto a status.

use greenroom_kit::{AskError, SupervisorError};
use greenroom_protocol::ErrorClass;
use greenroom_store::StoreError;

/// Why the room could not do something.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// No turn of this id.
    #[error("turn not found")]
    NotFound,
    /// The database is away.
    #[error("the store is not available")]
    Storage,
    /// The service is shutting down.
    #[error("the service is shutting down")]
    Draining,
    /// A question to an actor failed.
    #[error("the turn could not be started: {0}")]
    Actor(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A group did not start.
    #[error(transparent)]
    Start(#[from] SupervisorError),
    /// A stored turn that this version cannot read.
    #[error("the stored turn cannot be read")]
    Unreadable,
}

impl From<AskError> for TurnError {
    fn from(error: AskError) -> Self {
        Self::Actor(error.to_string())
    }
}

impl TurnError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound => ErrorClass::NotFound,
            Self::Storage | Self::Draining => ErrorClass::Storage,
            Self::Store(error) => error.class(),
            Self::Actor(_) | Self::Start(_) | Self::Unreadable => ErrorClass::Internal,
        }
    }
}
