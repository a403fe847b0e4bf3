//! What can go wrong in background work and what it means to a client. Deliberately absent: what was said or answered.

use std::time::Duration;

use greenroom_memory::MemoryError;
use greenroom_profile::ProfileError;
use greenroom_prompts::PromptError;
use greenroom_protocol::ErrorClass;

use crate::model::ModelError;

/// Why a piece of background work failed. What it had not committed is as before.
#[derive(Debug, thiserror::Error)]
pub enum DistillError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The bot's memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The profiles.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The prompts.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The model answered twice with something that is not what was asked for.
    #[error("the model's answer cannot be read: {0}")]
    Unreadable(&'static str),
    /// The request makes no sense as it is.
    #[error("{0}")]
    Invalid(String),
}

impl DistillError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Model(error) => error.class(),
            Self::Memory(error) => error.class(),
            Self::Profile(error) => error.class(),
            Self::Prompt(error) => error.class(),
            Self::Unreadable(_) => ErrorClass::ProviderInterrupted,
            Self::Invalid(_) => ErrorClass::InvalidRequest,
        }
    }

    /// How long to wait before another try makes sense; `None` when that is not known or waiting will not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Memory(error) => error.retry_after(),
            Self::Model(ModelError::Call(error)) => error.retry_after(),
            _ => None,
        }
    }

    /// Whether the caller gave up.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Model(ModelError::Cancelled))
    }

    /// Whether it says something about the text that was worked on, and not only about the service or the provider as they
    /// are just now.
    pub(crate) fn is_about_the_text(&self) -> bool {
        match self {
            Self::Model(error) => !matches!(
                error.class(),
                ErrorClass::Overloaded | ErrorClass::RateLimited | ErrorClass::Unavailable | ErrorClass::NoModel
            ),
            Self::Unreadable(_) | Self::Invalid(_) => true,
            Self::Memory(error) => matches!(error.class(), ErrorClass::InvalidRequest | ErrorClass::Conflict),
            Self::Profile(_) | Self::Prompt(_) => false,
        }
    }
}
