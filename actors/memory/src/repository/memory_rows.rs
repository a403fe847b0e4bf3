//! Rows of `memories` read into values. Every statement that gives memories names the same columns; vectors travel only
//! in statements that need them.

use greenroom_protocol::UserId;
use tokio_postgres::Row;

use crate::MemoryError;
use crate::memories::{Meaning, StoredMemory, SupersedeReason};

/// A row of `id, seq, content, tags, importance, confidence, source_message_ids, source_summary_ids, user_id, intent,
/// stakes, emotional_charge, recurrence_keywords, meaning_updated_at, access_count, last_accessed_at, superseded_by,
/// superseded_at, supersede_reason, embedding_model, metadata, created_at, updated_at`, by name.
///
/// # Errors
/// [`MemoryError::Unreadable`], or [`MemoryError::Store`] when a column is missing.
pub(crate) fn memory(row: &Row) -> Result<StoredMemory, MemoryError> {
    let reason: Option<&str> = row.try_get("supersede_reason")?;
    Ok(StoredMemory {
        id: row.try_get("id")?,
        seq: row.try_get("seq")?,
        content: row.try_get("content")?,
        tags: row.try_get("tags")?,
        importance: row.try_get("importance")?,
        confidence: row.try_get("confidence")?,
        sources: row.try_get("source_message_ids")?,
        summary_sources: row.try_get("source_summary_ids")?,
        user: row.try_get::<_, Option<String>>("user_id")?.map(UserId::from_stored),
        meaning: Meaning {
            intent: row.try_get("intent")?,
            stakes: row.try_get("stakes")?,
            emotional_charge: row.try_get("emotional_charge")?,
            keywords: row.try_get("recurrence_keywords")?,
        },
        meaning_updated_at: row.try_get("meaning_updated_at")?,
        access_count: row.try_get("access_count")?,
        last_accessed_at: row.try_get("last_accessed_at")?,
        superseded_by: row.try_get("superseded_by")?,
        superseded_at: row.try_get("superseded_at")?,
        supersede_reason: reason
            .map(|word| SupersedeReason::parse(word).ok_or(MemoryError::Unreadable("supersede reason")))
            .transpose()?,
        embedding_model: row.try_get("embedding_model")?,
        metadata: row.try_get("metadata")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
