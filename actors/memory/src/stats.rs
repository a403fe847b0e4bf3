//! What a namespace holds, in numbers. Times go out as Unix seconds, as everywhere on the wire of messages.

use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::MemoryError;
use crate::namespace::Namespace;
use crate::repository::StatsRepository;

/// A bot with anything in its memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Which.
    pub bot_id: BotSlug,
    /// Active memories.
    pub memories: i64,
    /// Messages.
    pub messages: i64,
}

/// What a namespace holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryStats {
    /// Which.
    pub bot_id: BotSlug,
    /// Raw messages.
    pub messages: MessageStats,
    /// Distilled memories.
    pub memories: DistilledStats,
    /// Summaries.
    pub summaries: SummaryStats,
    /// Sessions.
    pub sessions: SessionStats,
}

/// Raw messages in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MessageStats {
    /// All roles.
    pub total_count: i64,
    /// Those that facts were taken from, or that are kept from it.
    pub processed_count: i64,
    /// Tombstones.
    pub forgotten_count: i64,
    /// Those that wait for their vectors.
    pub unembedded_count: i64,
    /// Those that facts are yet to be taken from.
    pub pending_extraction_count: i64,
    /// Those on which taking facts failed for good.
    pub failed_extraction_count: i64,
    /// Those that a summary stands for.
    pub summarized_count: i64,
    /// Time of the first.
    #[serde(serialize_with = "epoch")]
    pub oldest_timestamp: Option<Timestamp>,
    /// Time of the last.
    #[serde(serialize_with = "epoch")]
    pub newest_timestamp: Option<Timestamp>,
    /// Table, vectors and indexes on disk.
    pub storage_size_bytes: i64,
}

/// Memories in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DistilledStats {
    /// Active ones.
    pub total_count: i64,
    /// Those that others took the place of.
    pub superseded_count: i64,
    /// Tombstones.
    pub forgotten_count: i64,
    /// Active ones without a vector.
    pub unembedded_count: i64,
    /// When the first was learnt.
    #[serde(serialize_with = "epoch")]
    pub oldest_timestamp: Option<Timestamp>,
    /// When the last was learnt.
    #[serde(serialize_with = "epoch")]
    pub newest_timestamp: Option<Timestamp>,
    /// Of active ones.
    pub avg_importance: Option<f64>,
    /// Table and indexes on disk.
    pub storage_size_bytes: i64,
}

/// Summaries in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SummaryStats {
    /// Those that may be shown.
    pub total_count: i64,
    /// Those that are to be written anew.
    pub stale_count: i64,
    /// Roll-ups among the former.
    pub rollup_count: i64,
}

/// Sessions in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SessionStats {
    /// All.
    pub total_count: i64,
    /// Those that go on.
    pub active_count: i64,
}

impl Namespace {
    /// What the namespace holds. Counts rows, so it is for people and not for turns.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn stats(&self) -> Result<MemoryStats, MemoryError> {
        Ok(StatsRepository::stats_on(&self.store().connection().await?, self.bot(), self.name()).await?)
    }
}

fn epoch<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_f64(time.as_microsecond() as f64 / 1e6),
        None => serializer.serialize_none(),
    }
}
