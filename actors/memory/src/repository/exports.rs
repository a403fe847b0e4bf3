//! SQL that gives out whole tables in pages.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::Timestamp;

use super::memory_rows::memory;
use super::message_rows::stored;
use crate::MemoryError;
use crate::memories::StoredMemory;
use crate::message::StoredMessage;

pub(crate) struct ExportRepository;

impl ExportRepository {
    pub(crate) async fn messages_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        after: Option<(Timestamp, i64)>,
        limit: i64,
    ) -> Result<Vec<StoredMessage>, MemoryError> {
        const SQL: &str = "
            SELECT id, role, content, ts, seq, user_id, turn_id, status, metadata, session_id, summary_id, recalled_at,
                   extraction_state, created_at
              FROM messages
             WHERE bot_id = $1 AND (ts, seq) > ($2, $3)
             ORDER BY ts, seq
             LIMIT $4";
        // Earlier than any message and inside PostgreSQL's range.
        let first = Timestamp::from_second(-62_135_596_800).unwrap_or(Timestamp::MIN);
        let (ts, seq) = after.unwrap_or((first, i64::MIN));
        let statement = db.prepare_cached(SQL).await?;
        db.query(&statement, &[&bot.as_str(), &ts, &seq, &limit]).await?.iter().map(stored).collect()
    }

    pub(crate) async fn memories_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        after: Option<i64>,
        limit: i64,
    ) -> Result<Vec<StoredMemory>, MemoryError> {
        const SQL: &str = "
            SELECT id, seq, content, tags, importance, confidence, source_message_ids, source_summary_ids, user_id,
                   intent, stakes, emotional_charge, recurrence_keywords, meaning_updated_at, access_count,
                   last_accessed_at, superseded_by, superseded_at, supersede_reason, embedding_model, metadata,
                   created_at, updated_at
              FROM memories
             WHERE bot_id = $1 AND superseded_by IS NULL AND seq > $2
             ORDER BY seq
             LIMIT $3";
        let statement = db.prepare_cached(SQL).await?;
        let after = after.unwrap_or(i64::MIN);
        db.query(&statement, &[&bot.as_str(), &after, &limit]).await?.iter().map(memory).collect()
    }
}
