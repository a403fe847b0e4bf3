//! SQL over `forgotten`: rows buried and brought back, and the links of supersede chains around buried memories. Every
//! method that writes runs inside an exclusive command of the bot's namespace.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use greenroom_store::StoreError;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::MemoryError;
use crate::memories::TombstoneReason;

pub(crate) struct ForgottenRepository;

/// What taking memories out of their chains changed.
#[derive(Debug, Default)]
pub(crate) struct Unlinked {
    /// What each doomed memory's tombstone must remember.
    pub(crate) of_doomed: HashMap<Uuid, Value>,
    /// Memories that point elsewhere now.
    pub(crate) changed: Vec<Uuid>,
    /// Those of them that are active again.
    pub(crate) reactivated: Vec<Uuid>,
}

/// A memory whose successor is doomed.
struct Orphaned {
    id: Uuid,
    successor: Uuid,
    at: Option<Timestamp>,
    reason: Option<String>,
}

impl ForgottenRepository {
    /// These memories and everything that they superseded, directly or not.
    pub(crate) async fn with_predecessors_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "
            WITH RECURSIVE doomed (id) AS (
                SELECT id FROM memories WHERE bot_id = $1 AND id = ANY($2)
                UNION
                SELECT m.id FROM doomed d JOIN memories m ON m.bot_id = $1 AND m.superseded_by = d.id
            )
            SELECT id FROM doomed";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &ids]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Points what the doomed memories superseded elsewhere, before the foreign key would make it active: to the
    /// successor of the doomed one if it has one that stays; else the newest becomes active and the others point to it.
    /// One whose words another active memory has points to that one instead.
    pub(crate) async fn unlink_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        doomed: &[Uuid],
    ) -> Result<Unlinked, StoreError> {
        const SUCCESSORS: &str = "SELECT id, superseded_by FROM memories WHERE bot_id = $1 AND id = ANY($2)";
        const ORPHANED: &str = "
            SELECT id, superseded_by, superseded_at, supersede_reason
              FROM memories
             WHERE bot_id = $1 AND superseded_by = ANY($2) AND id <> ALL($2)
             ORDER BY superseded_at DESC, created_at DESC, id
               FOR UPDATE";
        const SAME_WORDS: &str = "
            SELECT o.id
              FROM memories m
              JOIN memories o ON o.bot_id = m.bot_id AND md5(o.content_norm) = md5(m.content_norm)
                             AND coalesce(o.user_id, '') = coalesce(m.user_id, '')
                             AND o.superseded_by IS NULL AND o.id <> ALL($3) AND o.id <> m.id
             WHERE m.bot_id = $1 AND m.id = $2
             LIMIT 1";
        const POINT: &str = "
            UPDATE memories
               SET superseded_by = $3,
                   superseded_at = CASE WHEN $3::uuid IS NULL THEN NULL ELSE superseded_at END,
                   supersede_reason = CASE WHEN $3::uuid IS NULL THEN NULL ELSE supersede_reason END
             WHERE bot_id = $1 AND id = $2";
        let statement = db.prepare_cached(SUCCESSORS).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &doomed]).await?;
        let successors = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        let successors: HashMap<Uuid, Option<Uuid>> = successors.collect::<Result<_, tokio_postgres::Error>>()?;
        let statement = db.prepare_cached(ORPHANED).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &doomed]).await?;
        let (same_words, point) = (db.prepare_cached(SAME_WORDS).await?, db.prepare_cached(POINT).await?);
        let mut unlinked = Unlinked::default();
        let mut heirs: HashMap<Uuid, Uuid> = HashMap::new();
        for row in &rows {
            let orphan = Orphaned {
                id: row.try_get(0)?,
                successor: row.try_get(1)?,
                at: row.try_get(2)?,
                reason: row.try_get(3)?,
            };
            let mut target = surviving(orphan.successor, &successors).or(heirs.get(&orphan.successor).copied());
            if target.is_none() {
                let twin = db.query_opt(&same_words, &[&bot.as_str(), &orphan.id, &doomed]).await?;
                target = twin.map(|row| row.try_get(0)).transpose()?;
                heirs.insert(orphan.successor, target.unwrap_or(orphan.id));
            }
            db.execute(&point, &[&bot.as_str(), &orphan.id, &target]).await?;
            unlinked.changed.push(orphan.id);
            if target.is_none() {
                unlinked.reactivated.push(orphan.id);
            }
            let links = unlinked.of_doomed.entry(orphan.successor).or_insert_with(|| json!({"predecessors": []}));
            if let Some(list) = links["predecessors"].as_array_mut() {
                let at = orphan.at.map(|at| at.to_string());
                list.push(json!({"id": orphan.id, "at": at, "reason": orphan.reason, "moved_to": target}));
            }
        }
        Ok(unlinked)
    }

    /// Buries memories. Gives those that existed.
    pub(crate) async fn bury_memories_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
        links: &HashMap<Uuid, Value>,
        why: (TombstoneReason, Option<&str>),
        batch: Uuid,
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "
            INSERT INTO forgotten (bot_id, kind, id, batch_id, reason, payload, links, original_ts, forgotten_by)
            SELECT m.bot_id, 'memory', m.id, $3, $4, to_jsonb(m) - 'content_tsv' - 'content_norm', l.links::jsonb,
                   m.created_at, $5
              FROM memories m
              LEFT JOIN unnest($6::uuid[], $7::text[]) AS l(id, links) ON l.id = m.id
             WHERE m.bot_id = $1 AND m.id = ANY($2)
            ON CONFLICT (bot_id, kind, id) DO UPDATE
               SET batch_id = excluded.batch_id, reason = excluded.reason, payload = excluded.payload,
                   links = excluded.links, original_ts = excluded.original_ts, forgotten_at = now(),
                   forgotten_by = excluded.forgotten_by";
        let statement = db.prepare_cached(SQL).await?;
        let (linked, texts): (Vec<Uuid>, Vec<String>) = links.iter().map(|(id, json)| (*id, json.to_string())).unzip();
        db.execute(&statement, &[&bot.as_str(), &ids, &batch, &why.0.as_str(), &why.1, &linked, &texts]).await?;
        Self::erase_memories_on(db, bot, ids).await
    }

    /// Deletes memories. Gives those that existed.
    pub(crate) async fn erase_memories_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "DELETE FROM memories WHERE bot_id = $1 AND id = ANY($2) RETURNING id";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &ids]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Buries messages with their vectors, counts them out of their sessions, and takes them out of the embedding queue.
    /// `links` is what each tombstone must remember of memories that came from the message.
    pub(crate) async fn bury_messages_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
        links: &HashMap<Uuid, Value>,
        why: (TombstoneReason, Option<&str>),
        batch: Uuid,
    ) -> Result<(), StoreError> {
        const BURY: &str = "
            INSERT INTO forgotten (bot_id, kind, id, batch_id, reason, payload, links, original_ts, forgotten_by)
            SELECT m.bot_id, 'message', m.id, $3, $4,
                   to_jsonb(m) - 'content_tsv' || jsonb_build_object(
                       'vectors', to_jsonb(v) - 'bot_id' - 'message_id', 'queued', q.seq IS NOT NULL),
                   l.links::jsonb, m.ts, $5
              FROM messages m
              LEFT JOIN message_vectors v ON v.bot_id = m.bot_id AND v.message_id = m.id
              LEFT JOIN message_embedding_queue q ON q.bot_id = m.bot_id AND q.seq = m.seq
              LEFT JOIN unnest($6::uuid[], $7::text[]) AS l(id, links) ON l.id = m.id
             WHERE m.bot_id = $1 AND m.id = ANY($2)
            ON CONFLICT (bot_id, kind, id) DO UPDATE
               SET batch_id = excluded.batch_id, reason = excluded.reason, payload = excluded.payload,
                   links = excluded.links, original_ts = excluded.original_ts, forgotten_at = now(),
                   forgotten_by = excluded.forgotten_by";
        const UNCOUNT: &str = "
            UPDATE sessions s SET message_count = greatest(s.message_count - c.messages, 0)
              FROM (SELECT session_id, count(*)::integer AS messages FROM messages
                     WHERE bot_id = $1 AND id = ANY($2) AND session_id IS NOT NULL GROUP BY session_id) c
             WHERE s.id = c.session_id";
        const UNQUEUE: &str = "
            DELETE FROM message_embedding_queue q USING messages m
             WHERE m.bot_id = $1 AND m.id = ANY($2) AND q.bot_id = $1 AND q.seq = m.seq";
        const DELETE: &str = "DELETE FROM messages WHERE bot_id = $1 AND id = ANY($2)";
        // The log of extraction keeps its counts, not what was found in forgotten messages.
        const REDACT: &str = "
            UPDATE extraction_log SET facts = '[]', actions = '[]'
             WHERE bot_id = $1 AND message_ids && $2 AND facts <> '[]'";
        let (linked, texts): (Vec<Uuid>, Vec<String>) = links.iter().map(|(id, json)| (*id, json.to_string())).unzip();
        let statement = db.prepare_cached(BURY).await?;
        db.execute(&statement, &[&bot.as_str(), &ids, &batch, &why.0.as_str(), &why.1, &linked, &texts]).await?;
        for sql in [UNCOUNT, UNQUEUE, DELETE, REDACT] {
            let statement = db.prepare_cached(sql).await?;
            db.execute(&statement, &[&bot.as_str(), &ids]).await?;
        }
        Ok(())
    }

    /// Brings back messages with their vectors. Gives those that came back; an id that is in use again stays buried.
    pub(crate) async fn revive_messages_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<Vec<Uuid>, StoreError> {
        const MESSAGES: &str = "
            INSERT INTO messages (bot_id, id, role, content, ts, seq, user_id, session_id, turn_id, status, metadata,
                                  extraction_state, extraction_attempts, lease_until, summary_id, recalled_at,
                                  created_at)
            OVERRIDING SYSTEM VALUE
            SELECT p.bot_id, p.id, p.role, p.content, p.ts, p.seq, p.user_id, p.session_id, p.turn_id, p.status,
                   p.metadata,
                   CASE p.extraction_state WHEN 'claimed' THEN 'pending' ELSE p.extraction_state END,
                   p.extraction_attempts,
                   CASE p.extraction_state WHEN 'claimed' THEN NULL ELSE p.lease_until END,
                   (SELECT s.id FROM summaries s
                     WHERE s.bot_id = p.bot_id AND s.id = p.summary_id AND s.state <> 'replaced'),
                   p.recalled_at, p.created_at
              FROM forgotten f, jsonb_populate_record(NULL::messages, f.payload) p
             WHERE f.bot_id = $1 AND f.kind = 'message' AND f.id = ANY($2)
             ORDER BY p.seq
            ON CONFLICT DO NOTHING
            RETURNING id";
        const VECTORS: &str = "
            INSERT INTO message_vectors (bot_id, message_id, model, embedding, context_embedding, ts)
            SELECT f.bot_id, f.id, v.model, v.embedding, v.context_embedding, v.ts
              FROM forgotten f, jsonb_populate_record(NULL::message_vectors, f.payload -> 'vectors') v
             WHERE f.bot_id = $1 AND f.kind = 'message' AND f.id = ANY($2)
               AND jsonb_typeof(f.payload -> 'vectors') = 'object'
            ON CONFLICT DO NOTHING";
        const QUEUE: &str = "
            INSERT INTO message_embedding_queue (bot_id, seq, message_id)
            SELECT f.bot_id, (f.payload ->> 'seq')::bigint, f.id
              FROM forgotten f
             WHERE f.bot_id = $1 AND f.kind = 'message' AND f.id = ANY($2) AND (f.payload ->> 'queued')::boolean
            ON CONFLICT DO NOTHING";
        const COUNT: &str = "
            UPDATE sessions s SET message_count = s.message_count + c.messages
              FROM (SELECT session_id, count(*)::integer AS messages FROM messages
                     WHERE bot_id = $1 AND id = ANY($2) AND session_id IS NOT NULL GROUP BY session_id) c
             WHERE s.id = c.session_id";
        let statement = db.prepare_cached(MESSAGES).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &ids]).await?;
        let back: Vec<Uuid> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        for sql in [VECTORS, QUEUE, COUNT] {
            let statement = db.prepare_cached(sql).await?;
            db.execute(&statement, &[&bot.as_str(), &back]).await?;
        }
        Ok(back)
    }

    /// Brings back memories, each pointing to the given successor. Gives those that came back; one whose id is in use
    /// again, or whose words an active memory has, stays buried.
    pub(crate) async fn revive_memories_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        wanted: &[(Uuid, Option<Uuid>)],
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "
            INSERT INTO memories (bot_id, id, seq, content, tags, importance, confidence, source_message_ids,
                                  source_summary_ids, user_id, intent, stakes, emotional_charge, recurrence_keywords,
                                  meaning_updated_at, access_count, last_accessed_at, superseded_by, superseded_at,
                                  supersede_reason, embedding, meaning_embedding, embedding_model, metadata,
                                  created_at, updated_at)
            OVERRIDING SYSTEM VALUE
            SELECT p.bot_id, p.id, p.seq, p.content, p.tags, p.importance, p.confidence, p.source_message_ids,
                   p.source_summary_ids, p.user_id, p.intent, p.stakes, p.emotional_charge, p.recurrence_keywords,
                   p.meaning_updated_at, p.access_count, p.last_accessed_at, w.successor,
                   CASE WHEN w.successor IS NULL THEN NULL ELSE p.superseded_at END,
                   CASE WHEN w.successor IS NULL THEN NULL ELSE p.supersede_reason END,
                   p.embedding, p.meaning_embedding, p.embedding_model, p.metadata, p.created_at, p.updated_at
              FROM unnest($2::uuid[], $3::uuid[]) AS w(id, successor)
              JOIN forgotten f ON f.bot_id = $1 AND f.kind = 'memory' AND f.id = w.id,
                   jsonb_populate_record(NULL::memories, f.payload) p
             ORDER BY p.seq
            ON CONFLICT DO NOTHING
            RETURNING id";
        let statement = db.prepare_cached(SQL).await?;
        let (ids, successors): (Vec<Uuid>, Vec<Option<Uuid>>) = wanted.iter().copied().unzip();
        let rows = db.query(&statement, &[&bot.as_str(), &ids, &successors]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Points memories that a restored one had superseded back to it, unless somebody else did something to them.
    pub(crate) async fn relink_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        successor: Uuid,
        links: &Value,
    ) -> Result<Vec<Uuid>, MemoryError> {
        const SQL: &str = "
            UPDATE memories m
               SET superseded_by = $2, superseded_at = coalesce(l.at, now()), supersede_reason = l.reason
              FROM jsonb_to_recordset($3::text::jsonb) AS l(id uuid, at timestamptz, reason text, moved_to uuid)
             WHERE m.bot_id = $1 AND m.id = l.id AND m.superseded_by IS NOT DISTINCT FROM l.moved_to
            RETURNING m.id";
        let Some(list) = links.get("predecessors") else { return Ok(Vec::new()) };
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &successor, &list.to_string()]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Removes tombstones.
    pub(crate) async fn remove_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        kind: &str,
        ids: &[Uuid],
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM forgotten WHERE bot_id = $1 AND kind = $2 AND id = ANY($3)";
        let statement = db.prepare_cached(SQL).await?;
        db.execute(&statement, &[&bot.as_str(), &kind, &ids]).await?;
        Ok(())
    }
}

/// Follows successors until one that is not doomed. `None` when the chain ends before.
fn surviving(doomed: Uuid, successors: &HashMap<Uuid, Option<Uuid>>) -> Option<Uuid> {
    let mut seen = HashSet::new();
    let mut at = doomed;
    while let Some(next) = successors.get(&at) {
        at = (*next)?;
        if !seen.insert(at) {
            return None;
        }
    }
    Some(at)
}
