//! What this room needs from above: who chooses models, and which other bots there are. Implemented by the front door.

use futures_util::future::BoxFuture;
use greenroom_memory::Namespace;
use greenroom_protocol::{BotSlug, UserId};

/// A model as the `model` tool shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeskModel {
    /// Its name here.
    pub alias: String,
    /// The kind of provider.
    pub kind: String,
    /// Its name there.
    pub model_id: Option<String>,
    /// In a few words.
    pub description: Option<String>,
    /// Whether it is the one that answers now.
    pub current: bool,
}

/// Why the desk could not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeskError {
    /// No model has this name.
    Unknown {
        /// Those that can be chosen.
        known: Vec<String>,
    },
    /// It exists but cannot be chosen; the sentence says why and is shown to the model.
    Refused(String),
    /// Nothing can be said now.
    Unavailable,
}

/// Which model answers, for one bot and one user.
pub trait ModelDesk: Send + Sync {
    /// The model that answers now.
    fn current<'a>(&'a self, bot: &'a BotSlug, user: &'a UserId) -> BoxFuture<'a, Result<DeskModel, DeskError>>;

    /// The models that may be chosen.
    fn list<'a>(&'a self, bot: &'a BotSlug, user: &'a UserId) -> BoxFuture<'a, Result<Vec<DeskModel>, DeskError>>;

    /// Chooses one by its alias, in any case, from the next message on. Choosing the present one succeeds.
    fn switch<'a>(
        &'a self,
        bot: &'a BotSlug,
        user: &'a UserId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<DeskModel, DeskError>>;
}

/// The memories that a bot may look into beside its own.
pub trait Neighbours: Send + Sync {
    /// One for each bot that has a memory.
    fn namespaces(&self) -> Vec<Namespace>;
}
