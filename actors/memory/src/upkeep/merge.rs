//! Near-duplicates: finding pairs, and putting one memory in the place of several (memory.md §11.2, §11.5). Which pairs
//! belong together and what the merged text says is decided in the distill room.

use greenroom_protocol::UserId;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use crate::MemoryError;
use crate::exclusive::Exclusive;
use crate::memories::{PreparedMemory, StoreOptions, SupersedeReason, store_on};
use crate::namespace::Namespace;
use crate::repository::{NearRepository, UpkeepRepository};

/// The mark of consolidation.
const KIND: &str = "consolidation";

/// Two active memories of which one is among the nearest of the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimilarPair {
    /// The smaller id.
    pub a: Uuid,
    /// The larger id.
    pub b: Uuid,
    /// Cosine similarity.
    pub similarity: f32,
}

/// An active memory with its vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub id: Uuid,
    /// What it says.
    pub content: String,
    /// Its tags, the primary one first.
    pub tags: Vec<String>,
    /// 0 to 1.
    pub importance: f32,
    /// 0 to 1.
    pub confidence: f32,
    /// How often it was recalled.
    pub access_count: i32,
    /// Whom it is about.
    pub user: Option<UserId>,
    /// Why it was shared.
    pub intent: Option<String>,
    /// The messages it comes from.
    pub sources: Vec<Uuid>,
    /// The summaries it comes from.
    pub summary_sources: Vec<Uuid>,
    /// What its writer noted beside it.
    pub metadata: Option<Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed: what a merge must show.
    pub updated_at: Timestamp,
    /// The model of its vector.
    pub model: Option<String>,
    /// Its vector, of length 1.
    pub vector: Vec<f32>,
}

/// Where the search for pairs begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seeds {
    /// Only memories that changed after this; `None` for all.
    pub since: Option<Timestamp>,
    /// Most seeds, the newest first.
    pub limit: i64,
    /// Least cosine similarity of a pair.
    pub similarity: f32,
}

/// One memory in the place of several.
#[derive(Debug, Clone)]
pub struct Merge {
    /// What takes their place.
    pub merged: PreparedMemory,
    /// The members with their last change as it was seen.
    pub members: Vec<(Uuid, Timestamp)>,
}

/// What came of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// This memory stands for all members now.
    Into(Uuid),
    /// A member changed or went in the meantime: nothing was done.
    Outdated,
}

impl Namespace {
    /// Pairs of near-duplicates, most similar first.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn similar_pairs(&self, seeds: &Seeds) -> Result<Vec<SimilarPair>, MemoryError> {
        let db = self.store().connection().await?;
        let limit = seeds.limit.clamp(1, 5_000);
        NearRepository::pairs_on(&db, self.bot(), seeds.since, limit, f64::from(seeds.similarity)).await
    }

    /// Active memories with their vectors, in no order; those without a vector are left out.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn candidates(&self, ids: &[Uuid]) -> Result<Vec<Candidate>, MemoryError> {
        let db = self.store().connection().await?;
        NearRepository::candidates_on(&db, self.bot(), ids).await
    }

    /// Since when consolidation has looked at everything.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn consolidated_until(&self) -> Result<Option<Timestamp>, MemoryError> {
        let db = self.store().connection().await?;
        UpkeepRepository::mark_on(&db, self.bot(), KIND).await
    }

    /// Notes that consolidation has looked at everything that changed before `at`.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn set_consolidated_until(&self, at: Timestamp) -> Result<(), MemoryError> {
        let db = self.store().connection().await?;
        UpkeepRepository::set_mark_on(&db, self.bot(), KIND, at).await
    }
}

/// Puts one memory in the place of its members, inside a command: afterwards exactly one is active, and all members are
/// superseded. Nothing is done when a member is no longer as it was.
///
/// # Errors
/// [`MemoryError`].
pub async fn merge_on(x: &mut Exclusive<'_>, merge: &Merge) -> Result<Merged, MemoryError> {
    let members = &merge.members;
    if members.len() < 2 || NearRepository::unchanged_on(x.db, x.bot, members).await? != members.len() {
        return Ok(Merged::Outdated);
    }
    let options = StoreOptions {
        force: true,
        replaces: members.iter().map(|(id, _)| *id).collect(),
        reason: Some(SupersedeReason::Consolidation),
        ..StoreOptions::default()
    };
    let stored = store_on(x, &merge.merged, &options, 1.0).await?;
    Ok(Merged::Into(stored.id))
}
