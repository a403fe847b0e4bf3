//! Summaries: the proxies that stand for messages which left the context budget, and when a summary is due.
//!
//! Invariant: a message is either visible to context (it has no summary, or a stale one) or stands behind a summary that
//! is active. Every statement that stores, replaces or deletes a summary keeps it, in one transaction under the bot's
//! lock. Level 0 covers messages (`messages.summary_id`), level 1 is a roll-up of level 0 (`summaries.parent_id`).
//! Deliberately absent: writing the text, which is work for a model and lives in the distill room.

mod context;
mod conversation;
mod eligibility;
mod handle;
mod sections;

use greenroom_protocol::{ErrorClass, Role, UserId};
use greenroom_store::StoreError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use context::{context_text, relative_age};
pub use conversation::{Conversation, SourceRow, group};
pub use eligibility::{Cost, HistoryWindow, Position, RESERVED_TOKENS, Rules, estimate_tokens, plan};
pub use handle::{MOST_RECALLED, PAGE_ROWS, RebuildScope, Waiting};
pub use sections::{MARKER, Sections};

use crate::{MemoryError, StoredMessage};

/// How a summary came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// One model call, or one per chunk and one over the chunks.
    Llm,
    /// One model call for several sessions.
    LlmBatch,
    /// By rule, since no model was to be used or none answered.
    Heuristic,
    /// By rule, since the answer of a batch left the session out.
    HeuristicFallback,
}

impl Method {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::LlmBatch => "llm-batch",
            Self::Heuristic => "heuristic",
            Self::HeuristicFallback => "heuristic-fallback",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Llm, Self::LlmBatch, Self::Heuristic, Self::HeuristicFallback]
            .into_iter()
            .find(|method| method.as_str() == word)
    }

    /// Whether a model should do it again when there is one.
    #[must_use]
    pub fn is_makeshift(self) -> bool {
        matches!(self, Self::Heuristic | Self::HeuristicFallback)
    }
}

/// Whether a summary may stand for its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SummaryState {
    /// It stands for them.
    Active,
    /// Some of what it tells was forgotten: it is not shown, its messages are, and it is to be written again.
    Stale,
    /// Another one took its place.
    Replaced,
}

impl SummaryState {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Stale => "stale",
            Self::Replaced => "replaced",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Stale, Self::Replaced].into_iter().find(|state| state.as_str() == word)
    }
}

/// A stored summary.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Row id.
    pub id: Uuid,
    /// 0: of messages; 1: of summaries.
    pub level: i16,
    /// The roll-up that took it in.
    pub parent: Option<Uuid>,
    /// Whose conversation it was; absent in a roll-up over several people.
    pub user: Option<UserId>,
    /// Time of the first covered message.
    pub start: Timestamp,
    /// Time of the last covered message.
    pub end: Timestamp,
    /// Covered messages.
    pub message_count: i32,
    /// Parts it was made of: chunks of a long session, or the summaries of a roll-up.
    pub parts: i16,
    /// Rendered sections, first line [`MARKER`].
    pub content: String,
    /// The sections.
    pub sections: Sections,
    /// How it came about.
    pub method: Method,
    /// Alias of the model that wrote it.
    pub model: Option<String>,
    /// Estimated tokens of the content.
    pub token_estimate: i32,
    /// Whether it may be shown.
    pub state: SummaryState,
    /// When facts were taken from it.
    pub extracted_at: Option<Timestamp>,
    /// First stored.
    pub created_at: Timestamp,
    /// Last written.
    pub updated_at: Timestamp,
}

impl Summary {
    /// The first eight digits of the id, as people and models refer to it.
    #[must_use]
    pub fn short_id(&self) -> String {
        let mut id = self.id.simple().to_string();
        id.truncate(8);
        id
    }
}

/// What a new summary covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covers {
    /// Level 0: these messages, in order, and nothing else.
    Messages(Vec<Uuid>),
    /// Level 1: these summaries of level 0.
    Summaries(Vec<Uuid>),
}

/// A summary to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSummary {
    /// What it covers; never empty.
    pub covers: Covers,
    /// Summaries of the same level whose place it takes. What they covered and this one does not becomes visible again.
    pub replaces: Vec<Uuid>,
    /// Whose conversation it was.
    pub user: Option<UserId>,
    /// The text; not blank.
    pub sections: Sections,
    /// How it came about.
    pub method: Method,
    /// Alias of the model that wrote it.
    pub model: Option<String>,
    /// Parts it was made of, at least 1.
    pub parts: i16,
}

/// What storing a summary led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedSummary {
    /// The summary's id; the same sources always give the same id.
    pub id: Uuid,
    /// False when exactly these sources were already covered by it, and it was left as it is.
    pub created: bool,
    /// Summaries that are gone or were written anew.
    pub replaced: Vec<Uuid>,
}

/// What deleting a summary led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedSummary {
    /// Which.
    pub id: Uuid,
    /// Messages that are visible again; 0 for a roll-up, whose parts stand for themselves again.
    pub messages_restored: u64,
}

/// A summarised conversation in full.
#[derive(Debug, Clone, PartialEq)]
pub struct RecalledSummary {
    /// The summary.
    pub summary: Summary,
    /// What it stands for, oldest first.
    pub messages: Vec<StoredMessage>,
    /// Whether there are more than the limit let through.
    pub truncated: bool,
}

/// A message as the summariser reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceMessage {
    /// Row id.
    pub id: Uuid,
    /// Who speaks.
    pub role: Role,
    /// The text; of a very long one head and tail.
    pub content: String,
    /// Event time.
    pub ts: Timestamp,
    /// The summary that stands for it now.
    pub covered: Option<Uuid>,
}

/// Why something about summaries could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The namespace.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The reference is neither an id nor the beginning of one.
    #[error("a summary is named by its id or by at least its first 8 hexadecimal digits")]
    BadReference,
    /// The reference fits more than one summary.
    #[error("more than one summary begins like that")]
    Ambiguous {
        /// Some that fit, at most ten.
        candidates: Vec<Uuid>,
    },
    /// There is none.
    #[error("summary not found")]
    NotFound,
    /// Nothing to cover, or no text.
    #[error("a summary must cover something and say something")]
    Empty,
    /// Its sources changed while it was written: some are gone or covered by another summary. Take a new look.
    #[error("the summarised messages have changed meanwhile")]
    Outdated,
    /// A stored row that this version cannot read.
    #[error("a stored summary has an unknown {0}")]
    Unreadable(&'static str),
}

impl SummaryError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Memory(error) => error.class(),
            Self::BadReference | Self::Empty => ErrorClass::InvalidRequest,
            Self::Ambiguous { .. } | Self::Outdated => ErrorClass::Conflict,
            Self::NotFound => ErrorClass::NotFound,
            Self::Unreadable(_) => ErrorClass::Internal,
        }
    }
}

impl From<tokio_postgres::Error> for SummaryError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}
