//! SQL that takes in batches of messages and memories: whole columns as arrays, one statement for a batch.

use std::collections::HashSet;
use std::time::Duration;

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, Role, UserId};
use greenroom_store::StoreError;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use super::memory_writes::array;
use super::messages::storable_json;
use crate::memories::MemoryDraft;

pub(crate) struct ImportRepository;

/// A message as it is inserted.
#[derive(Debug, Clone)]
pub(crate) struct ImportedMessage {
    pub(crate) id: Uuid,
    pub(crate) role: Role,
    pub(crate) content: String,
    pub(crate) at: Timestamp,
    pub(crate) user: Option<UserId>,
    pub(crate) label: Option<String>,
    pub(crate) session: Uuid,
    pub(crate) partial: bool,
    pub(crate) metadata: Option<Value>,
}

/// A memory as it is inserted.
#[derive(Debug, Clone)]
pub(crate) struct ImportedMemory {
    pub(crate) id: Uuid,
    pub(crate) draft: MemoryDraft,
}

/// A session that a batch needs.
#[derive(Debug, Clone)]
pub(crate) struct SessionSpan {
    pub(crate) id: Uuid,
    pub(crate) user: Option<UserId>,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) label: Option<String>,
}

impl ImportRepository {
    pub(crate) async fn known_messages_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        wanted: &[Uuid],
    ) -> Result<HashSet<Uuid>, StoreError> {
        const SQL: &str = "SELECT id FROM messages WHERE bot_id = $1 AND id = ANY($2)";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &wanted]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// For each span the session of a stored message of the same person within it or not further than `gap` from it.
    pub(crate) async fn nearby_sessions_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        spans: &[SessionSpan],
        gap: Duration,
    ) -> Result<Vec<Option<Uuid>>, StoreError> {
        const SQL: &str = "
            SELECT near.session_id
              FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY
                   AS w(user_id, first, last, n)
              LEFT JOIN LATERAL (
                   SELECT m.session_id FROM messages m
                    WHERE m.bot_id = $1 AND m.user_id = w.user_id AND m.session_id IS NOT NULL
                      AND m.ts BETWEEN w.first AND w.last
                    ORDER BY m.ts DESC, m.seq DESC LIMIT 1) near ON true
             ORDER BY w.n";
        let users: Vec<Option<&str>> = spans.iter().map(|s| s.user.as_ref().map(UserId::as_str)).collect();
        let first: Vec<Timestamp> = spans.iter().map(|s| s.first.checked_sub(gap).unwrap_or(s.first)).collect();
        let last: Vec<Timestamp> = spans.iter().map(|s| s.last.checked_add(gap).unwrap_or(s.last)).collect();
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &users, &first, &last]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Which of the spans' sessions exist and belong to other bots.
    pub(crate) async fn foreign_sessions_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        spans: &[SessionSpan],
    ) -> Result<HashSet<Uuid>, StoreError> {
        const SQL: &str = "SELECT id FROM sessions WHERE id = ANY($2) AND bot_id <> $1";
        let wanted: Vec<Uuid> = spans.iter().map(|s| s.id).collect();
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &wanted]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Makes the sessions of a batch, closed, or widens those that exist.
    pub(crate) async fn put_sessions_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        spans: &[SessionSpan],
    ) -> Result<(), StoreError> {
        const SQL: &str = "
            INSERT INTO sessions (id, bot_id, user_id, started_at, last_activity_at, ended_at, status, closed_reason,
                                  participants, metadata)
            SELECT id, $1, min(user_id), min(first), max(last), max(last), 'completed', 'imported', ARRAY[$1],
                   jsonb_strip_nulls(jsonb_build_object('label', min(label)))
              FROM unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[])
                   AS w(id, user_id, first, last, label)
             GROUP BY id ORDER BY id
            ON CONFLICT (id) DO UPDATE
               SET started_at = least(sessions.started_at, excluded.started_at),
                   last_activity_at = greatest(sessions.last_activity_at, excluded.last_activity_at),
                   ended_at = CASE WHEN sessions.status = 'completed'
                                   THEN greatest(sessions.ended_at, excluded.ended_at) END";
        let statement = db.prepare_cached(SQL).await?;
        let users: Vec<Option<&str>> = spans.iter().map(|s| s.user.as_ref().map(UserId::as_str)).collect();
        db.execute(
            &statement,
            &[
                &bot.as_str(),
                &spans.iter().map(|s| s.id).collect::<Vec<Uuid>>(),
                &users,
                &spans.iter().map(|s| s.first).collect::<Vec<Timestamp>>(),
                &spans.iter().map(|s| s.last).collect::<Vec<Timestamp>>(),
                &spans.iter().map(|s| s.label.as_deref().map(clean)).collect::<Vec<Option<String>>>(),
            ],
        )
        .await?;
        Ok(())
    }

    /// Inserts messages, queues them for embedding and counts them in their sessions. Gives the new ids.
    pub(crate) async fn put_messages_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        messages: &[ImportedMessage],
        extract: bool,
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "
            WITH put AS (
                INSERT INTO messages (bot_id, id, role, content, ts, user_id, session_id, status, metadata,
                                      extraction_state)
                SELECT $1, id, role, content, ts, user_id, session_id,
                       CASE WHEN partial THEN 'partial' ELSE 'complete' END, metadata::jsonb,
                       CASE WHEN $10 THEN 'pending' ELSE 'excluded' END
                  FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::uuid[],
                              $8::boolean[], $9::text[]) WITH ORDINALITY
                       AS m(id, role, content, ts, user_id, session_id, partial, metadata, n)
                 ORDER BY n
                ON CONFLICT (bot_id, id) DO NOTHING
                RETURNING id, seq, role, session_id
            ), queued AS (
                INSERT INTO message_embedding_queue (bot_id, seq, message_id)
                SELECT $1, seq, id FROM put WHERE role IN ('user', 'assistant')
                ON CONFLICT DO NOTHING
            ), counted AS (
                UPDATE sessions s SET message_count = s.message_count + c.messages
                  FROM (SELECT session_id, count(*)::integer AS messages FROM put GROUP BY session_id) c
                 WHERE s.id = c.session_id
            )
            SELECT id FROM put";
        let statement = db.prepare_cached(SQL).await?;
        let metadata: Vec<Option<String>> = messages.iter().map(|m| m.metadata.as_ref().map(storable_json)).collect();
        let users: Vec<Option<&str>> = messages.iter().map(|m| m.user.as_ref().map(UserId::as_str)).collect();
        let rows = db
            .query(
                &statement,
                &[
                    &bot.as_str(),
                    &messages.iter().map(|m| m.id).collect::<Vec<Uuid>>(),
                    &messages.iter().map(|m| m.role.as_str()).collect::<Vec<&str>>(),
                    &messages.iter().map(|m| m.content.as_str()).collect::<Vec<&str>>(),
                    &messages.iter().map(|m| m.at).collect::<Vec<Timestamp>>(),
                    &users,
                    &messages.iter().map(|m| m.session).collect::<Vec<Uuid>>(),
                    &messages.iter().map(|m| m.partial).collect::<Vec<bool>>(),
                    &metadata,
                    &extract,
                ],
            )
            .await?;
        ids(&rows)
    }

    /// Inserts memories without vectors. Gives the new ids; a known id or the words of an active memory are skipped.
    pub(crate) async fn put_memories_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        memories: &[ImportedMemory],
    ) -> Result<Vec<Uuid>, StoreError> {
        // Arrays of arrays must be rectangular in PostgreSQL, so lists travel as JSON or as array text.
        const SQL: &str = "
            INSERT INTO memories (bot_id, id, content, tags, importance, confidence, source_message_ids, user_id,
                                  intent, stakes, emotional_charge, recurrence_keywords, meaning_updated_at, metadata,
                                  created_at)
            SELECT $1, id, content, ARRAY(SELECT jsonb_array_elements_text(tags::jsonb)), importance, confidence,
                   sources::uuid[], user_id, intent, stakes, charge,
                   ARRAY(SELECT jsonb_array_elements_text(keywords::jsonb)), now(), metadata::jsonb,
                   coalesce(created_at, now())
              FROM unnest($2::uuid[], $3::text[], $4::text[], $5::real[], $6::real[], $7::text[], $8::text[],
                          $9::text[], $10::text[], $11::real[], $12::text[], $13::text[], $14::timestamptz[])
                   WITH ORDINALITY
                   AS m(id, content, tags, importance, confidence, sources, user_id, intent, stakes, charge, keywords,
                        metadata, created_at, n)
             ORDER BY n
            ON CONFLICT DO NOTHING
            RETURNING id";
        let statement = db.prepare_cached(SQL).await?;
        let drafts: Vec<&MemoryDraft> = memories.iter().map(|m| &m.draft).collect();
        let rows = db
            .query(
                &statement,
                &[
                    &bot.as_str(),
                    &memories.iter().map(|m| m.id).collect::<Vec<Uuid>>(),
                    &drafts.iter().map(|d| d.content.as_str()).collect::<Vec<&str>>(),
                    &drafts.iter().map(|d| Value::from(d.tags.clone()).to_string()).collect::<Vec<String>>(),
                    &drafts.iter().map(|d| d.importance).collect::<Vec<f32>>(),
                    &drafts.iter().map(|d| d.confidence).collect::<Vec<f32>>(),
                    &drafts.iter().map(|d| array(&d.sources)).collect::<Vec<String>>(),
                    &drafts.iter().map(|d| d.user.as_ref().map(UserId::as_str)).collect::<Vec<Option<&str>>>(),
                    &drafts.iter().map(|d| d.meaning.intent.as_deref()).collect::<Vec<Option<&str>>>(),
                    &drafts.iter().map(|d| d.meaning.stakes.as_deref()).collect::<Vec<Option<&str>>>(),
                    &drafts.iter().map(|d| d.meaning.emotional_charge).collect::<Vec<Option<f32>>>(),
                    &drafts
                        .iter()
                        .map(|d| Value::from(d.meaning.keywords.clone()).to_string())
                        .collect::<Vec<String>>(),
                    &drafts.iter().map(|d| d.metadata.as_ref().map(storable_json)).collect::<Vec<Option<String>>>(),
                    &drafts.iter().map(|d| d.created_at).collect::<Vec<Option<Timestamp>>>(),
                ],
            )
            .await?;
        ids(&rows)
    }
}

fn clean(label: &str) -> String {
    label.replace('\0', "\u{fffd}")
}

fn ids(rows: &[Row]) -> Result<Vec<Uuid>, StoreError> {
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}
