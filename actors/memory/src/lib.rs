//! What bots remember. For now the first layer: raw messages, one partition per bot.
//!
//! [`Memory`] hands out one [`Namespace`] per bot. Reads go straight to the pool; the namespace's actor owns what must
//! happen once, in order, for its bot: creating the partitions. Messages are written by the journal of the turn room
//! through [`MessageRepository`], in the transaction that closes the turn, so that a stored answer and a stored status
//! never disagree.

mod memory;
mod message;
mod namespace;
mod repository;

pub use memory::Memory;
pub use message::{MessageStatus, NewMessage, StoredMessage};
pub use namespace::{Namespace, NamespaceName};
pub use repository::MessageRepository;

use greenroom_kit::{AskError, SupervisorError};
use greenroom_protocol::ErrorClass;
use greenroom_store::StoreError;

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
    /// A stored row that this version cannot read.
    #[error("a stored message has an unknown {0}")]
    Unreadable(&'static str),
}

impl MemoryError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Actor(_) | Self::Start(_) => ErrorClass::Storage,
            Self::Unreadable(_) => ErrorClass::Internal,
        }
    }
}
