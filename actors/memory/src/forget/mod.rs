//! Forgetting and restoring (memory.md §3.3): each one transaction, so that a message that arrives meanwhile is neither
//! taken along nor shifts what is. What is forgotten is complete in its tombstone, vectors and links included; a restore
//! puts the tables back as they were. Deliberately absent: profile attributes, which their own room forgets by the ids
//! that are given back here.

mod plan;
mod run;

use greenroom_protocol::UserId;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::memories::TombstoneReason;

/// Most messages that one request forgets.
pub const MOST_FORGOTTEN: i64 = 100_000;

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq)]
pub enum ForgetTarget {
    /// The newest so many things said, by people and models.
    Newest(i64),
    /// Everything said at this time or later.
    Since(Timestamp),
    /// One message, by its id, the first digits of it, or the client's own id.
    Message(String),
    /// A session.
    Session(Uuid),
    /// These messages.
    Ids(Vec<Uuid>),
}

/// A wish to forget.
#[derive(Debug, Clone, PartialEq)]
pub struct ForgetRequest {
    /// What. Tool results of the same turns go with it.
    pub target: ForgetTarget,
    /// Only what this person said or was told.
    pub user: Option<UserId>,
    /// Who wants it.
    pub reason: TombstoneReason,
    /// By name.
    pub by: Option<String>,
    /// Only say what would happen.
    pub dry_run: bool,
}

impl ForgetRequest {
    /// A person's wish about a target.
    #[must_use]
    pub fn new(target: ForgetTarget) -> Self {
        Self { target, user: None, reason: TombstoneReason::User, by: None, dry_run: false }
    }
}

/// What forgetting led to, or would lead to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// The batch under which it can be restored; absent when nothing was forgotten.
    pub batch_id: Option<Uuid>,
    /// Messages, oldest first.
    pub message_ids: Vec<Uuid>,
    /// Memories that rested on nothing else.
    pub memory_ids: Vec<Uuid>,
    /// Memories that lost some of their sources.
    pub memories_trimmed: usize,
    /// Older memories that are active again, since what superseded them was forgotten.
    pub memories_reactivated: Vec<Uuid>,
    /// Summaries that told of it and are to be written anew.
    pub summaries_stale: Vec<Uuid>,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

/// Which tombstones to bring back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RestoreWhat {
    /// All.
    #[default]
    All,
    /// Those of one batch.
    Batch(Uuid),
    /// Those of these rows.
    Ids(Vec<Uuid>),
}

/// A wish to restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreRequest {
    /// Which.
    pub what: RestoreWhat,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// What restoring led to, or would lead to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Messages.
    pub messages_restored: usize,
    /// Memories.
    pub memories_restored: usize,
    /// Summaries that may be shown again.
    pub summaries_restored: usize,
    /// Tombstones that stay, since their id or their words are in use again.
    pub kept: usize,
    /// The batches touched: what the profile room restores by.
    pub batches: Vec<Uuid>,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

/// A forgotten row as a preview shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Row id.
    pub id: Uuid,
    /// A memory; else a message.
    pub is_memory: bool,
    /// What it was forgotten with.
    pub batch_id: Uuid,
    /// Why.
    pub reason: TombstoneReason,
    /// Its text.
    pub content: String,
    /// Of a message: who spoke.
    pub role: Option<String>,
    /// When it was said or learnt.
    pub original_ts: Timestamp,
    /// When it was forgotten.
    pub forgotten_at: Timestamp,
    /// By whom.
    pub forgotten_by: Option<String>,
}
