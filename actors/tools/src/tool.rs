//! What a tool is: its description, what calling it changes, and the call itself.
//!
//! A tool sees arguments that were checked against its schema already. It never panics on purpose, but may: the session
//! contains that. Deliberately absent: who may call it (`offer.rs`) and how often (`session.rs`).

use std::sync::Arc;
use std::time::Duration;

pub use futures_util::future::BoxFuture;
use greenroom_memory::Namespace;
use greenroom_protocol::{BotSlug, TurnId, UserId};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::outcome::{ErrorKind, ToolOutcome};
use crate::schema;

/// What calling a tool changes. After a crash, only the first two may be called again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effects {
    /// Nothing: such calls may run at the same time.
    ReadOnly,
    /// Something, but the second time nothing more.
    Idempotent,
    /// Something each time, or something that cannot be taken back.
    Dangerous,
}

impl Effects {
    /// The word that is stored and told.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Idempotent => "idempotent",
            Self::Dangerous => "dangerous",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::ReadOnly, Self::Idempotent, Self::Dangerous].into_iter().find(|effects| effects.as_str() == word)
    }
}

/// What must be granted for a tool to be offered: in a turn by the bot's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Tools at all.
    Core,
    /// Tools, and a memory.
    Memory,
    /// The web.
    Search,
    /// The house.
    Home,
    /// Tools, unless the bot is an agent with a model of its own.
    Models,
}

/// Who describes a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// This program: other names that models use are understood, and numbers out of range count as the nearest in it.
    BuiltIn,
    /// Another server: its names and its schema are taken as they are.
    Remote,
}

/// A tool as the catalogue describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Unique; `[a-zA-Z0-9_-]{1,64}`.
    pub name: String,
    /// For the model.
    pub description: String,
    /// JSON schema of the arguments: an object.
    pub parameters: Value,
    /// Longest time a call may take.
    pub timeout: Duration,
    /// What must be granted.
    pub scope: Scope,
    /// Who describes it.
    pub origin: Origin,
}

impl ToolSpec {
    /// A tool of this program, whose schema follows from the type of its arguments.
    #[must_use]
    pub fn built_in<A: JsonSchema>(
        name: impl Into<String>,
        description: impl Into<String>,
        scope: Scope,
        timeout: Duration,
    ) -> Self {
        let parameters = schema::of::<A>();
        Self { name: name.into(), description: description.into(), parameters, timeout, scope, origin: Origin::BuiltIn }
    }

    /// A tool of another server, with the schema as that server gives it.
    #[must_use]
    pub fn remote(
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: Value,
        scope: Scope,
        timeout: Duration,
    ) -> Self {
        Self { name: name.into(), description: description.into(), parameters, timeout, scope, origin: Origin::Remote }
    }
}

/// For whom and in which circumstances a tool is called.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The bot that calls.
    pub bot: BotSlug,
    /// Its display name.
    pub bot_name: String,
    /// Who it talks to.
    pub user: UserId,
    /// Whether the bot sees only what was said with this user and what is known about them.
    pub only_user: bool,
    /// The turn.
    pub turn: TurnId,
    /// The bot's memory.
    pub namespace: Namespace,
    /// The user's clock.
    pub zone: TimeZone,
    /// The present, as the turn takes it.
    pub now: Timestamp,
    /// Whether this is device control.
    pub home_mode: bool,
    /// Cancelled when the turn is aborted; inside a tool also when its time is over.
    pub cancel: CancellationToken,
}

impl CallContext {
    /// The only user whose past the call may see; `None` when it may see everybody's.
    #[must_use]
    pub fn confined_to(&self) -> Option<&UserId> {
        self.only_user.then_some(&self.user)
    }
}

/// Something a model can call.
pub trait Tool: Send + Sync {
    /// Its description; always the same.
    fn spec(&self) -> &ToolSpec;

    /// What a call with these arguments changes.
    fn effects(&self, arguments: &Value) -> Effects;

    /// Whether it can be called now. Asked once a minute at most, and in the background once the answer is known.
    fn available(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }

    /// Calls it with arguments that fit its schema and hold no `null` that the schema does not name.
    fn call<'a>(&'a self, cx: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome>;
}

/// Tools that are known only at run time, such as those of another server.
pub trait ToolFamily: Send + Sync {
    /// What must be granted for any of them.
    fn scope(&self) -> Scope;

    /// Those there are now, in a stable order. Asked as [`Tool::available`] is.
    fn tools(&self) -> BoxFuture<'_, Vec<Arc<dyn Tool>>>;
}

/// Reads arguments into their type.
///
/// # Errors
/// An outcome that says what does not fit.
pub fn parse<T: DeserializeOwned>(arguments: Value) -> Result<T, ToolOutcome> {
    serde_json::from_value(arguments).map_err(|error| {
        ToolOutcome::failed(ErrorKind::InvalidArguments, format!("The arguments do not fit: {error}."))
    })
}
