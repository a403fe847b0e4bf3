//! Distilled memories: facts with tags, importance, provenance, meaning and a vector.
//!
//! Invariants: an active memory says what no other active memory of the same person says in the same words; a superseded
//! one stays for the record and points to its successor; provenance survives every edit. Deliberately absent: search
//! (`retrieval/`) and what decides that a fact supersedes another (the distill room).

mod change;
mod draft;
mod handle;
pub mod meaning;
mod prepare;
mod store;
mod supersede;

use greenroom_embedder::Vector;
use greenroom_protocol::UserId;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

pub(crate) use draft::checked_for_import;
pub use draft::{MOST_CHARS, MOST_SOURCES, MOST_TAG_CHARS, MOST_TAGS, clean_tag};
pub use store::store_on;
pub use supersede::{Reach, supersede_on, tombstone_on};

/// Why something was shared, what hangs on it, how charged it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Meaning {
    /// Why it was shared.
    pub intent: Option<String>,
    /// critical, important or low, perhaps with words of explanation behind.
    pub stakes: Option<String>,
    /// 0 to 1.
    pub emotional_charge: Option<f32>,
    /// Words by which it comes up again.
    pub keywords: Vec<String>,
}

/// A memory to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryDraft {
    /// The id it shall have; an existing one is overwritten.
    pub id: Option<Uuid>,
    /// The fact, 1 to 4000 characters.
    pub content: String,
    /// The first is the primary one, which decides how fast it fades.
    pub tags: Vec<String>,
    /// 0 to 1.
    pub importance: f32,
    /// 0 to 1.
    pub confidence: f32,
    /// Whom it is about.
    pub user: Option<UserId>,
    /// Messages it was taken from.
    pub sources: Vec<Uuid>,
    /// Summaries it was taken from.
    pub summary_sources: Vec<Uuid>,
    /// What is known of its meaning; the rest is guessed by rule.
    pub meaning: Meaning,
    /// When it was learnt; now when absent.
    pub created_at: Option<Timestamp>,
    /// Notes beside it.
    pub metadata: Option<Value>,
}

impl MemoryDraft {
    /// A draft with everything else at its default.
    #[must_use]
    pub fn new(content: impl Into<String>) -> Self {
        Self {
            id: None,
            content: content.into(),
            tags: Vec::new(),
            importance: 0.5,
            confidence: 1.0,
            user: None,
            sources: Vec::new(),
            summary_sources: Vec::new(),
            meaning: Meaning::default(),
            created_at: None,
            metadata: None,
        }
    }
}

/// A draft that was checked and, where possible, embedded: what a transaction needs.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedMemory {
    pub(crate) draft: MemoryDraft,
    pub(crate) vector: Option<Vector>,
    pub(crate) meaning_vector: Option<Vector>,
    pub(crate) model: Option<&'static str>,
}

impl PreparedMemory {
    /// The checked draft.
    #[must_use]
    pub fn draft(&self) -> &MemoryDraft {
        &self.draft
    }

    /// The vector of its content.
    #[must_use]
    pub fn vector(&self) -> Option<&Vector> {
        self.vector.as_ref()
    }
}

/// How a memory is stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreOptions {
    /// Store even beside a very similar memory. The very same words are never stored twice.
    pub force: bool,
    /// Active memories that the new one takes the place of; they do not count as duplicates.
    pub replaces: Vec<Uuid>,
    /// Why; `Consolidation` when absent.
    pub reason: Option<SupersedeReason>,
    /// The bot's own threshold for similar memories.
    pub dedup_similarity: Option<f32>,
}

/// What became of a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A new row.
    Inserted,
    /// An active memory says the same and was reinforced.
    Duplicate,
    /// The row with the given id was overwritten.
    Updated,
}

/// What storing led to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stored {
    /// The row that now says it.
    pub id: Uuid,
    /// How.
    pub outcome: Outcome,
    /// Similarity to the memory that it turned out to be; 1 for the same words.
    pub similarity: Option<f32>,
}

/// Why a memory was superseded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SupersedeReason {
    /// The same fact, newer.
    Update,
    /// The opposite turned out to be true.
    Contradiction,
    /// Several were merged.
    Consolidation,
    /// Somebody said so.
    Manual,
}

impl SupersedeReason {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Contradiction => "contradiction",
            Self::Consolidation => "consolidation",
            Self::Manual => "manual",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Update, Self::Contradiction, Self::Consolidation, Self::Manual]
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }
}

/// Why something was put among the tombstones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TombstoneReason {
    /// A person asked for it.
    User,
    /// A model did, through a tool.
    Tool,
    /// It faded.
    Decay,
    /// Its sources are gone.
    Orphan,
    /// The operator.
    Admin,
}

impl TombstoneReason {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tool => "tool",
            Self::Decay => "decay",
            Self::Orphan => "orphan",
            Self::Admin => "admin",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::User, Self::Tool, Self::Decay, Self::Orphan, Self::Admin].into_iter().find(|r| r.as_str() == word)
    }
}

/// A change to a memory; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryPatch {
    /// New words.
    pub content: Option<String>,
    /// 0 to 1.
    pub importance: Option<f32>,
    /// All tags anew.
    pub tags: Option<Vec<String>>,
    /// Refuse when the memory has been changed since.
    pub if_updated_at: Option<Timestamp>,
}

/// A change to a memory's meaning; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MeaningPatch {
    /// Why it was shared.
    pub intent: Option<String>,
    /// What hangs on it.
    pub stakes: Option<String>,
    /// 0 to 1.
    pub emotional_charge: Option<f32>,
    /// All keywords anew.
    pub keywords: Option<Vec<String>>,
    /// All tags anew.
    pub tags: Option<Vec<String>>,
}

/// How a memory is deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// For good, without a tombstone.
    pub hard: bool,
    /// Only this one: what it superseded last is active again. Otherwise what it superseded goes with it.
    pub restore_previous: bool,
    /// Why; `User` when absent.
    pub reason: Option<TombstoneReason>,
    /// Who.
    pub by: Option<String>,
}

/// What deleting led to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// Rows that are gone.
    pub deleted: Vec<Uuid>,
    /// The batch under which they can be restored; absent after a deletion for good.
    pub batch_id: Option<Uuid>,
    /// Memories that are active again.
    pub reactivated: Vec<Uuid>,
}

/// The order of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryOrder {
    /// The most important first.
    Importance,
    /// The newest first.
    Recent,
}

/// A stored memory, all but its vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMemory {
    /// Row id.
    pub id: Uuid,
    /// Order of arrival.
    pub seq: i64,
    /// The fact.
    pub content: String,
    /// The first is the primary one.
    pub tags: Vec<String>,
    /// 0 to 1, as it was given; fading is applied when reading.
    pub importance: f32,
    /// 0 to 1.
    pub confidence: f32,
    /// Messages it was taken from.
    pub sources: Vec<Uuid>,
    /// Summaries it was taken from.
    pub summary_sources: Vec<Uuid>,
    /// Whom it is about.
    pub user: Option<UserId>,
    /// Its meaning.
    pub meaning: Meaning,
    /// When the meaning was last set.
    pub meaning_updated_at: Option<Timestamp>,
    /// How often it was recalled or restated.
    pub access_count: i32,
    /// When it was last recalled.
    pub last_accessed_at: Option<Timestamp>,
    /// Its successor, if it has one.
    pub superseded_by: Option<Uuid>,
    /// Since when.
    pub superseded_at: Option<Timestamp>,
    /// Why.
    pub supersede_reason: Option<SupersedeReason>,
    /// The model of its vectors; absent when it is not embedded.
    pub embedding_model: Option<String>,
    /// Notes beside it.
    pub metadata: Option<Value>,
    /// When it was learnt.
    pub created_at: Timestamp,
    /// When content, tags, importance or meaning last changed.
    pub updated_at: Timestamp,
}

impl StoredMemory {
    /// The tag that decides how fast it fades.
    #[must_use]
    pub fn primary_tag(&self) -> &str {
        self.tags.first().map_or("misc", String::as_str)
    }

    /// The first eight digits of the id, as people and models refer to it.
    #[must_use]
    pub fn short_id(&self) -> String {
        let mut id = self.id.simple().to_string();
        id.truncate(8);
        id
    }
}
