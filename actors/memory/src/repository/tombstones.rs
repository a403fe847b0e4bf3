//! SQL that reads what is to be forgotten and what was: targets, tombstones, and the summaries that tell of them.

use std::collections::HashSet;

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, UserId};
use greenroom_store::StoreError;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use super::SessionRepository;
use crate::MemoryError;
use crate::forget::Tombstone;

pub(crate) struct TombstoneRepository;

/// A tombstone as a restore reads it.
#[derive(Debug, Clone)]
pub(crate) struct Buried {
    pub(crate) id: Uuid,
    pub(crate) batch: Uuid,
    pub(crate) is_memory: bool,
    pub(crate) links: Option<Value>,
    /// Of a memory: its successor when it was buried.
    pub(crate) successor: Option<Uuid>,
}

impl TombstoneRepository {
    /// The newest things said.
    pub(crate) async fn newest_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
        count: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "
            SELECT id FROM messages
             WHERE bot_id = $1 AND role IN ('user', 'assistant') AND ($2::text IS NULL OR user_id = $2)
             ORDER BY ts DESC, seq DESC
             LIMIT $3";
        let statement = db.prepare_cached(SQL).await?;
        ids(&db.query(&statement, &[&bot.as_str(), &user.map(UserId::as_str), &count]).await?)
    }

    /// Things said at or after a time, the newest first, at most `limit`.
    pub(crate) async fn since_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
        since: Timestamp,
        limit: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "
            SELECT id FROM messages
             WHERE bot_id = $1 AND role IN ('user', 'assistant') AND ($2::text IS NULL OR user_id = $2) AND ts >= $3
             ORDER BY ts DESC, seq DESC
             LIMIT $4";
        let statement = db.prepare_cached(SQL).await?;
        ids(&db.query(&statement, &[&bot.as_str(), &user.map(UserId::as_str), &since, &limit]).await?)
    }

    /// Everything of a session, at most `limit`.
    pub(crate) async fn of_session_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
        session: Uuid,
        limit: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "
            SELECT id FROM messages
             WHERE bot_id = $1 AND session_id = $3 AND ($2::text IS NULL OR user_id = $2)
             ORDER BY ts DESC, seq DESC
             LIMIT $4";
        let statement = db.prepare_cached(SQL).await?;
        ids(&db.query(&statement, &[&bot.as_str(), &user.map(UserId::as_str), &session, &limit]).await?)
    }

    /// Locks messages and the tool results of the same turns; gives those that exist.
    pub(crate) async fn lock_with_tools_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        targets: &[Uuid],
    ) -> Result<Vec<Uuid>, StoreError> {
        const TOOLS: &str = "
            SELECT id FROM messages
             WHERE bot_id = $1 AND role = 'tool'
               AND turn_id IN (SELECT turn_id FROM messages
                                WHERE bot_id = $1 AND id = ANY($2) AND turn_id IS NOT NULL)";
        const SESSIONS: &str = "
            SELECT DISTINCT session_id FROM messages
             WHERE bot_id = $1 AND id = ANY($2) AND session_id IS NOT NULL";
        const LOCK: &str = "SELECT id FROM messages WHERE bot_id = $1 AND id = ANY($2) ORDER BY ts, seq FOR UPDATE";
        let statement = db.prepare_cached(TOOLS).await?;
        let mut all = ids(&db.query(&statement, &[&bot.as_str(), &targets]).await?)?;
        all.extend(targets);
        let statement = db.prepare_cached(SESSIONS).await?;
        let sessions = ids(&db.query(&statement, &[&bot.as_str(), &all]).await?)?;
        SessionRepository::lock_on(db, bot, Some(&sessions)).await?;
        let statement = db.prepare_cached(LOCK).await?;
        ids(&db.query(&statement, &[&bot.as_str(), &all]).await?)
    }

    /// Summaries that tell of these messages, and the roll-ups that tell of those. With `mark`, they are stale from now
    /// on.
    pub(crate) async fn summaries_of_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        messages: &[Uuid],
        mark: bool,
    ) -> Result<Vec<Uuid>, StoreError> {
        const FIND: &str = "
            WITH told AS (
                SELECT DISTINCT s.id, s.parent_id
                  FROM messages m JOIN summaries s ON s.bot_id = m.bot_id AND s.id = m.summary_id
                 WHERE m.bot_id = $1 AND m.id = ANY($2) AND s.state = 'active'
            )
            SELECT id FROM told
            UNION
            SELECT p.id FROM told JOIN summaries p ON p.bot_id = $1 AND p.id = told.parent_id AND p.state = 'active'";
        const MARK: &str = "
            UPDATE summaries SET state = 'stale', stale_reason = 'forget' WHERE bot_id = $1 AND id = ANY($2)";
        let statement = db.prepare_cached(FIND).await?;
        let found = ids(&db.query(&statement, &[&bot.as_str(), &messages]).await?)?;
        if mark && !found.is_empty() {
            let statement = db.prepare_cached(MARK).await?;
            db.execute(&statement, &[&bot.as_str(), &found]).await?;
        }
        Ok(found)
    }

    /// Summaries that forgetting made stale and that have all their messages again are active again, and so are roll-ups
    /// whose parts are.
    pub(crate) async fn revive_summaries_on(db: &impl GenericClient, bot: &BotSlug) -> Result<u64, StoreError> {
        const OF_MESSAGES: &str = "
            UPDATE summaries s SET state = 'active', stale_reason = NULL
             WHERE s.bot_id = $1 AND s.state = 'stale' AND s.stale_reason = 'forget' AND s.level = 0
               AND s.message_count = (SELECT count(*) FROM messages m WHERE m.bot_id = $1 AND m.summary_id = s.id)";
        const OF_SUMMARIES: &str = "
            UPDATE summaries s SET state = 'active', stale_reason = NULL
             WHERE s.bot_id = $1 AND s.state = 'stale' AND s.stale_reason = 'forget' AND s.level = 1
               AND NOT EXISTS (SELECT FROM summaries c
                                WHERE c.bot_id = $1 AND c.parent_id = s.id AND c.state <> 'active')";
        let mut revived = 0;
        for sql in [OF_MESSAGES, OF_SUMMARIES] {
            let statement = db.prepare_cached(sql).await?;
            revived += db.execute(&statement, &[&bot.as_str()]).await?;
        }
        Ok(revived)
    }

    /// Tombstones of a batch, of ids, or all, locked.
    pub(crate) async fn lock_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        batch: Option<Uuid>,
        wanted: Option<&[Uuid]>,
    ) -> Result<Vec<Buried>, MemoryError> {
        const SQL: &str = "
            SELECT id, batch_id, kind, links, (payload ->> 'superseded_by')::uuid AS successor,
                   (payload ->> 'session_id')::uuid AS session
              FROM forgotten
             WHERE bot_id = $1 AND ($2::uuid IS NULL OR batch_id = $2) AND ($3::uuid[] IS NULL OR id = ANY($3))
             ORDER BY original_ts, id
               FOR UPDATE";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &batch, &wanted]).await?;
        let sessions = rows.iter().map(|row| row.try_get("session")).collect::<Result<Vec<Option<Uuid>>, _>>()?;
        let sessions: HashSet<Uuid> = sessions.into_iter().flatten().collect();
        SessionRepository::lock_on(db, bot, Some(&sessions.into_iter().collect::<Vec<_>>())).await?;
        let buried = rows.iter().map(|row| {
            Ok(Buried {
                id: row.try_get("id")?,
                batch: row.try_get("batch_id")?,
                is_memory: row.try_get::<_, &str>("kind")? == "memory",
                links: row.try_get("links")?,
                successor: row.try_get("successor")?,
            })
        });
        buried.collect()
    }

    /// Sources of memories that are buried, locked.
    pub(crate) async fn sources_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        memories: &[Uuid],
    ) -> Result<Vec<(Uuid, Vec<Uuid>)>, StoreError> {
        const SQL: &str = "
            SELECT f.id, p.source_message_ids
              FROM forgotten f, jsonb_populate_record(NULL::memories, f.payload) p
             WHERE f.bot_id = $1 AND f.kind = 'memory' AND f.id = ANY($2)";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &memories]).await?;
        let pairs = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        Ok(pairs.collect::<Result<_, tokio_postgres::Error>>()?)
    }

    /// Sets the sources of buried memories.
    pub(crate) async fn set_sources_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        sources: &[(Uuid, Vec<Uuid>)],
    ) -> Result<(), StoreError> {
        const SQL: &str = "
            UPDATE forgotten f
               SET payload = jsonb_set(f.payload, '{source_message_ids}', to_jsonb(w.sources::uuid[]))
              FROM unnest($2::uuid[], $3::text[]) AS w(id, sources)
             WHERE f.bot_id = $1 AND f.kind = 'memory' AND f.id = w.id";
        let ids: Vec<Uuid> = sources.iter().map(|(id, _)| *id).collect();
        let lists: Vec<String> = sources.iter().map(|(_, list)| super::memory_writes::array(list)).collect();
        let statement = db.prepare_cached(SQL).await?;
        db.execute(&statement, &[&bot.as_str(), &ids, &lists]).await?;
        Ok(())
    }

    /// Which of these ids are among the tombstones of messages.
    pub(crate) async fn among_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        kind: &str,
        wanted: &[Uuid],
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "SELECT id FROM forgotten WHERE bot_id = $1 AND kind = $2 AND id = ANY($3)";
        let statement = db.prepare_cached(SQL).await?;
        ids(&db.query(&statement, &[&bot.as_str(), &kind, &wanted]).await?)
    }

    /// Tombstones, the latest forgotten first and within a batch by their own time.
    pub(crate) async fn list_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        kind: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Tombstone>, MemoryError> {
        const SQL: &str = "
            SELECT id, kind, batch_id, reason, payload ->> 'content' AS content, payload ->> 'role' AS role,
                   original_ts, forgotten_at, forgotten_by
              FROM forgotten
             WHERE bot_id = $1 AND ($2::text IS NULL OR kind = $2)
             ORDER BY forgotten_at DESC, original_ts DESC, id
             LIMIT $3";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &kind, &limit]).await?;
        rows.iter().map(tombstone).collect()
    }
}

fn ids(rows: &[Row]) -> Result<Vec<Uuid>, StoreError> {
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

fn tombstone(row: &Row) -> Result<Tombstone, MemoryError> {
    Ok(Tombstone {
        id: row.try_get("id")?,
        is_memory: row.try_get::<_, &str>("kind")? == "memory",
        batch_id: row.try_get("batch_id")?,
        reason: crate::memories::TombstoneReason::parse(row.try_get("reason")?)
            .ok_or(MemoryError::Unreadable("tombstone reason"))?,
        content: row.try_get::<_, Option<String>>("content")?.unwrap_or_default(),
        role: row.try_get("role")?,
        original_ts: row.try_get("original_ts")?,
        forgotten_at: row.try_get("forgotten_at")?,
        forgotten_by: row.try_get("forgotten_by")?,
    })
}
