//! SQL that reads `memories`: by id and its beginning, lists, chains. Search is elsewhere.

use std::collections::HashSet;

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use greenroom_store::StoreError;
use uuid::Uuid;

use super::memory_rows::memory;
use crate::MemoryError;
use crate::memories::{MemoryOrder, StoredMemory};

/// Links that a walk along a chain follows.
const LONGEST_CHAIN: i32 = 32;

pub(crate) struct MemoryRepository;

impl MemoryRepository {
    /// The memories with these ids, in no particular order; unknown ids are left out.
    pub(crate) async fn by_ids_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<Vec<StoredMemory>, MemoryError> {
        const SQL: &str = "
            SELECT id, seq, content, tags, importance, confidence, source_message_ids, source_summary_ids, user_id,
                   intent, stakes, emotional_charge, recurrence_keywords, meaning_updated_at, access_count,
                   last_accessed_at, superseded_by, superseded_at, supersede_reason, embedding_model, metadata,
                   created_at, updated_at
              FROM memories
             WHERE bot_id = $1 AND id = ANY($2)";
        let statement = db.prepare_cached(SQL).await?;
        db.query(&statement, &[&bot.as_str(), &ids]).await?.iter().map(memory).collect()
    }

    /// One memory, locked until the transaction ends.
    pub(crate) async fn lock_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        id: Uuid,
    ) -> Result<Option<StoredMemory>, MemoryError> {
        const SQL: &str = "
            SELECT id, seq, content, tags, importance, confidence, source_message_ids, source_summary_ids, user_id,
                   intent, stakes, emotional_charge, recurrence_keywords, meaning_updated_at, access_count,
                   last_accessed_at, superseded_by, superseded_at, supersede_reason, embedding_model, metadata,
                   created_at, updated_at
              FROM memories
             WHERE bot_id = $1 AND id = $2
               FOR UPDATE";
        let statement = db.prepare_cached(SQL).await?;
        db.query_opt(&statement, &[&bot.as_str(), &id]).await?.as_ref().map(memory).transpose()
    }

    /// Ids between two bounds, both included: how a prefix is looked up. At most `limit`.
    pub(crate) async fn ids_between_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        bounds: (Uuid, Uuid),
        limit: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "SELECT id FROM memories WHERE bot_id = $1 AND id BETWEEN $2 AND $3 ORDER BY id LIMIT $4";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &bounds.0, &bounds.1, &limit]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Active memories in the given order.
    pub(crate) async fn list_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        order: MemoryOrder,
        min_importance: f32,
        limit: i64,
    ) -> Result<Vec<StoredMemory>, MemoryError> {
        const BY_IMPORTANCE: &str = "
            SELECT id, seq, content, tags, importance, confidence, source_message_ids, source_summary_ids, user_id,
                   intent, stakes, emotional_charge, recurrence_keywords, meaning_updated_at, access_count,
                   last_accessed_at, superseded_by, superseded_at, supersede_reason, embedding_model, metadata,
                   created_at, updated_at
              FROM memories
             WHERE bot_id = $1 AND superseded_by IS NULL AND importance >= $2
             ORDER BY importance DESC, access_count DESC, created_at DESC, id
             LIMIT $3";
        const RECENT: &str = "
            SELECT id, seq, content, tags, importance, confidence, source_message_ids, source_summary_ids, user_id,
                   intent, stakes, emotional_charge, recurrence_keywords, meaning_updated_at, access_count,
                   last_accessed_at, superseded_by, superseded_at, supersede_reason, embedding_model, metadata,
                   created_at, updated_at
              FROM memories
             WHERE bot_id = $1 AND superseded_by IS NULL AND importance >= $2
             ORDER BY created_at DESC, id
             LIMIT $3";
        let sql = match order {
            MemoryOrder::Importance => BY_IMPORTANCE,
            MemoryOrder::Recent => RECENT,
        };
        let statement = db.prepare_cached(sql).await?;
        db.query(&statement, &[&bot.as_str(), &min_importance, &limit]).await?.iter().map(memory).collect()
    }

    /// The id at the end of the chain that begins at `id`: itself when it is active. `None` when it does not exist.
    pub(crate) async fn head_on(db: &impl GenericClient, bot: &BotSlug, id: Uuid) -> Result<Option<Uuid>, StoreError> {
        const SQL: &str = "
            WITH RECURSIVE walk (id, next, depth) AS (
                SELECT id, superseded_by, 0 FROM memories WHERE bot_id = $1 AND id = $2
                UNION ALL
                SELECT m.id, m.superseded_by, w.depth + 1
                  FROM walk w JOIN memories m ON m.bot_id = $1 AND m.id = w.next
                 WHERE w.depth < $3
            )
            SELECT id FROM walk ORDER BY depth DESC LIMIT 1";
        let statement = db.prepare_cached(SQL).await?;
        let row = db.query_opt(&statement, &[&bot.as_str(), &id, &LONGEST_CHAIN]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Everything that led to the head, and the head, by time of their making.
    pub(crate) async fn chain_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        head: Uuid,
    ) -> Result<Vec<StoredMemory>, MemoryError> {
        const SQL: &str = "
            WITH RECURSIVE walk (id, depth) AS (
                SELECT $2::uuid, 0
                UNION ALL
                SELECT m.id, w.depth + 1
                  FROM walk w JOIN memories m ON m.bot_id = $1 AND m.superseded_by = w.id
                 WHERE w.depth < $3
            )
            SELECT m.id, seq, content, tags, importance, confidence, source_message_ids, source_summary_ids, user_id,
                   intent, stakes, emotional_charge, recurrence_keywords, meaning_updated_at, access_count,
                   last_accessed_at, superseded_by, superseded_at, supersede_reason, embedding_model, metadata,
                   created_at, updated_at
              FROM memories m
              JOIN (SELECT id, max(depth) AS depth FROM walk GROUP BY id) w ON w.id = m.id
             WHERE m.bot_id = $1
             ORDER BY w.depth DESC, created_at, m.id
             LIMIT 500";
        let statement = db.prepare_cached(SQL).await?;
        db.query(&statement, &[&bot.as_str(), &head, &LONGEST_CHAIN]).await?.iter().map(memory).collect()
    }

    /// Memories with one of these sources, locked: id, sources, and whether summaries are among its sources, too.
    pub(crate) async fn lock_from_sources_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        messages: &[Uuid],
    ) -> Result<Vec<(Uuid, Vec<Uuid>, bool)>, StoreError> {
        const SQL: &str = "
            SELECT id, source_message_ids, source_summary_ids <> '{}'
              FROM memories
             WHERE bot_id = $1 AND source_message_ids && $2
             ORDER BY id
               FOR UPDATE";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &messages]).await?;
        Ok(rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
            .collect::<Result<_, tokio_postgres::Error>>()?)
    }

    /// The sources of memories, locked.
    pub(crate) async fn lock_sources_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<Vec<(Uuid, Vec<Uuid>)>, StoreError> {
        const SQL: &str = "
            SELECT id, source_message_ids FROM memories WHERE bot_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &ids]).await?;
        let pairs = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        Ok(pairs.collect::<Result<_, tokio_postgres::Error>>()?)
    }

    /// Which of these ids there are.
    pub(crate) async fn existing_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<HashSet<Uuid>, StoreError> {
        const SQL: &str = "SELECT id FROM memories WHERE bot_id = $1 AND id = ANY($2)";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &ids]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }
}
