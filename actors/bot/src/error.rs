//! Why the bot room could not do something, and the class under which a client learns of it.

use greenroom_kit::{AskError, SupervisorError};
use greenroom_memory::MemoryError;
use greenroom_profile::ProfileError;
use greenroom_prompts::PromptError;
use greenroom_protocol::fields::Complaint;
use greenroom_protocol::{BotSlug, ErrorClass};
use greenroom_provider::ProviderError;
use greenroom_scheduler::SchedulerError;
use greenroom_store::StoreError;
use greenroom_turn::TurnError;

use crate::seeds::SeedError;

/// Why the bot room could not do something.
#[derive(Debug, thiserror::Error)]
pub enum BotsError {
    /// No bot has this slug.
    #[error("Bot '{0}' not found")]
    UnknownBot(String),
    /// No stored profile has this slug.
    #[error("Bot profile not found")]
    NoProfile,
    /// A bot has this slug already.
    #[error("Bot '{0}' already exists")]
    AlreadyExists(BotSlug),
    /// The slug is new, but reads as another bot's wherever slugs become table prefixes.
    #[error("Slug '{slug}' collides with bot '{other}'")]
    SlugCollides {
        /// The new slug.
        slug: BotSlug,
        /// The bot that has the prefix.
        other: BotSlug,
    },
    /// The profile is no longer the version that the client edited.
    #[error("The profile of bot '{slug}' has changed since (its version is now {version})")]
    Stale {
        /// The bot.
        slug: BotSlug,
        /// Its present version, or a word that there is none.
        version: String,
    },
    /// Wrong shape: status 422 with these complaints.
    #[error("{} field(s) of the request are invalid", .0.len())]
    Invalid(Vec<Complaint>),
    /// Right shape, but not possible here: status 400 with this sentence.
    #[error("{0}")]
    Refused(String),
    /// The request holds nothing to answer.
    #[error("No user message found in request")]
    NoPrompt,
    /// Not one model can answer.
    #[error("No models available on service.")]
    NoModel,
    /// Too many requests of this user wait for this bot.
    #[error("Too many requests of this user are waiting for bot '{0}'")]
    QueueFull(BotSlug),
    /// Nothing may be purged under a running turn.
    #[error("A turn of bot '{0}' is running")]
    Running(BotSlug),
    /// Nothing may begin during a purge.
    #[error("The data of bot '{0}' is being purged")]
    BeingPurged(BotSlug),
    /// The bot's actor is being started again, or did not answer in time.
    #[error("Bot '{0}' is not available at the moment")]
    Unavailable(BotSlug),
    /// The room is shutting down.
    #[error("The service is shutting down")]
    ShuttingDown,
    /// The seed file.
    #[error(transparent)]
    Seeds(#[from] SeedError),
    /// A stored row that this version cannot read.
    #[error("a stored bot has an unreadable {0}")]
    Unreadable(&'static str),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The memory room.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The profile room.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The room of prompt templates.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The scheduler.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// The provider room.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The turn room.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// A bot's actor did not start.
    #[error(transparent)]
    Start(#[from] SupervisorError),
    /// The room's supervisor does not answer.
    #[error("the supervisor of the bots does not answer: {0}")]
    Supervisor(AskError),
    /// A task of this room broke off.
    #[error("the change broke off")]
    Broken,
}

impl From<tokio_postgres::Error> for BotsError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

impl BotsError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::UnknownBot(_) | Self::NoProfile => ErrorClass::NotFound,
            Self::AlreadyExists(_)
            | Self::SlugCollides { .. }
            | Self::Stale { .. }
            | Self::Running(_)
            | Self::BeingPurged(_) => ErrorClass::Conflict,
            Self::Invalid(_) | Self::Refused(_) | Self::NoPrompt => ErrorClass::InvalidRequest,
            Self::NoModel => ErrorClass::NoModel,
            Self::QueueFull(_) => ErrorClass::Overloaded,
            Self::Unavailable(_) | Self::ShuttingDown => ErrorClass::Unavailable,
            Self::Seeds(_) | Self::Unreadable(_) | Self::Start(_) | Self::Supervisor(_) | Self::Broken => {
                ErrorClass::Internal
            }
            Self::Store(error) => error.class(),
            Self::Memory(error) => error.class(),
            Self::Profile(error) => error.class(),
            Self::Prompt(error) => error.class(),
            Self::Scheduler(error) => error.class(),
            Self::Provider(error) => error.class(),
            Self::Turn(error) => error.class(),
        }
    }
}
