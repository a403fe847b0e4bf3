//! SQL of the embedding worker: what waits for vectors, the neighbours of a message, and writing vectors. Nothing here
//! runs while a text is being embedded.

use greenroom_protocol::{BotSlug, Role};
use greenroom_store::{Connection, StoreError};
use jiff::Timestamp;
use pgvector::{HalfVector, Vector};
use uuid::Uuid;

use crate::MemoryError;
use crate::memories::Meaning;

/// A text that waits, with its place in the queue. `text` is `None` when the message is gone.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) seq: i64,
    pub(crate) stamp: i64,
    pub(crate) text: Option<Said>,
}

/// A message as far as embedding needs it.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) id: Uuid,
    pub(crate) session: Option<Uuid>,
    pub(crate) place: (Timestamp, i64),
    pub(crate) role: Role,
    pub(crate) content: String,
    /// Whether it has vectors of the present model.
    pub(crate) embedded: bool,
}

/// Vectors of one message.
#[derive(Debug, Clone)]
pub(crate) struct MessageVectors {
    pub(crate) id: Uuid,
    pub(crate) seq: i64,
    pub(crate) stamp: i64,
    pub(crate) own: HalfVector,
    pub(crate) context: HalfVector,
}

/// A memory without vector, or with one that is to be made again.
#[derive(Debug, Clone)]
pub(crate) struct BareMemory {
    pub(crate) id: Uuid,
    pub(crate) seq: i64,
    pub(crate) content: String,
    pub(crate) meaning: Meaning,
}

/// Vectors of one memory and the text they are of.
#[derive(Debug, Clone)]
pub(crate) struct MemoryVectors {
    pub(crate) id: Uuid,
    pub(crate) content: String,
    pub(crate) own: Vector,
    pub(crate) meaning: Option<Vector>,
}

/// What the worker reads and writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VectorRepository;

impl VectorRepository {
    /// The bots some of whose messages wait for vectors.
    pub(crate) async fn bots_waiting_on(db: &Connection) -> Result<Vec<BotSlug>, StoreError> {
        const SQL: &str = "SELECT DISTINCT bot_id FROM message_embedding_queue";
        let rows = db.query(&db.prepare_cached(SQL).await?, &[]).await?;
        rows.iter().map(|row| Ok(BotSlug::from_stored(row.try_get::<_, String>(0)?))).collect()
    }

    /// The newest messages of the queue, newest first, at most `limit`, without those in `skipped`.
    pub(crate) async fn waiting(
        db: &Connection,
        bot: &BotSlug,
        skipped: &[i64],
        limit: i64,
    ) -> Result<Vec<Waiting>, MemoryError> {
        const SQL: &str = "
            SELECT q.seq AS place, q.stamp, m.id, m.session_id, m.ts, m.seq, m.role, left(m.content, 32768) AS content,
                   false AS embedded
              FROM message_embedding_queue q
              LEFT JOIN messages m ON m.bot_id = q.bot_id AND m.id = q.message_id
             WHERE q.bot_id = $1 AND q.seq <> ALL ($2)
             ORDER BY q.seq DESC
             LIMIT $3";
        let statement = db.prepare_cached(SQL).await?;
        let mut waiting = Vec::new();
        for row in db.query(&statement, &[&bot.as_str(), &skipped, &limit]).await? {
            let here = row.try_get::<_, Option<Uuid>>("id")?.is_some();
            let text = if here { Some(said(&row)?) } else { None };
            waiting.push(Waiting { seq: row.try_get("place")?, stamp: row.try_get("stamp")?, text });
        }
        Ok(waiting)
    }

    /// The neighbours of places in sessions: up to `before` messages before each and `after` behind it, in no order, each
    /// once.
    pub(crate) async fn neighbours(
        db: &Connection,
        bot: &BotSlug,
        model: &str,
        of: &[(Uuid, (Timestamp, i64))],
        before: i64,
        after: i64,
    ) -> Result<Vec<Said>, MemoryError> {
        const SQL: &str = "
            SELECT DISTINCT ON (n.id) n.id, n.session_id, n.ts, n.seq, n.role, n.content,
                   EXISTS (SELECT FROM message_vectors v
                            WHERE v.bot_id = $1 AND v.message_id = n.id AND v.model = $7) AS embedded
              FROM unnest($2::uuid[], $3::timestamptz[], $4::bigint[]) AS p(session_id, ts, seq)
             CROSS JOIN LATERAL (
                   (SELECT m.id, m.session_id, m.ts, m.seq, m.role, left(m.content, 32768) AS content
                      FROM messages m
                     WHERE m.bot_id = $1 AND m.session_id = p.session_id AND (m.ts, m.seq) < (p.ts, p.seq)
                       AND m.role IN ('user', 'assistant')
                     ORDER BY m.ts DESC, m.seq DESC LIMIT $5)
                    UNION ALL
                   (SELECT m.id, m.session_id, m.ts, m.seq, m.role, left(m.content, 32768) AS content
                      FROM messages m
                     WHERE m.bot_id = $1 AND m.session_id = p.session_id AND (m.ts, m.seq) > (p.ts, p.seq)
                       AND m.role IN ('user', 'assistant')
                     ORDER BY m.ts, m.seq LIMIT $6)) AS n";
        let statement = db.prepare_cached(SQL).await?;
        let sessions: Vec<Uuid> = of.iter().map(|(session, _)| *session).collect();
        let times: Vec<Timestamp> = of.iter().map(|(_, (ts, _))| *ts).collect();
        let seqs: Vec<i64> = of.iter().map(|(_, (_, seq))| *seq).collect();
        let rows = db.query(&statement, &[&bot.as_str(), &sessions, &times, &seqs, &before, &after, &model]).await?;
        rows.iter().map(said).collect()
    }

    /// Writes vectors of queued messages and takes these off the queue, unless their text changed meanwhile; and new
    /// vectors of the surroundings of others. One statement. Gives how many messages were written.
    pub(crate) async fn put(
        db: &Connection,
        bot: &BotSlug,
        model: &str,
        messages: &[MessageVectors],
        surroundings: &[(Uuid, HalfVector)],
    ) -> Result<u64, StoreError> {
        const SQL: &str = "
            WITH made AS (
                SELECT * FROM unnest($3::bigint[], $4::bigint[], $5::uuid[], $6::halfvec[], $7::halfvec[])
                    AS m(seq, stamp, id, own, context)
            ), done AS (
                DELETE FROM message_embedding_queue q
                 USING made
                 WHERE q.bot_id = $1 AND q.seq = made.seq AND q.stamp = made.stamp
                RETURNING q.seq
            ), renewed AS (
                UPDATE message_vectors v
                   SET context_embedding = s.context
                  FROM unnest($8::uuid[], $9::halfvec[]) AS s(id, context)
                 WHERE v.bot_id = $1 AND v.message_id = s.id AND v.model = $2
            )
            INSERT INTO message_vectors (bot_id, message_id, model, embedding, context_embedding, ts)
            SELECT m.bot_id, m.id, $2, made.own, made.context, m.ts
              FROM made
              JOIN done ON done.seq = made.seq
              JOIN messages m ON m.bot_id = $1 AND m.id = made.id
            ON CONFLICT (bot_id, message_id) DO UPDATE
               SET model = excluded.model, embedding = excluded.embedding,
                   context_embedding = excluded.context_embedding, ts = excluded.ts";
        let seqs: Vec<i64> = messages.iter().map(|m| m.seq).collect();
        let stamps: Vec<i64> = messages.iter().map(|m| m.stamp).collect();
        let ids: Vec<Uuid> = messages.iter().map(|m| m.id).collect();
        let own: Vec<&HalfVector> = messages.iter().map(|m| &m.own).collect();
        let context: Vec<&HalfVector> = messages.iter().map(|m| &m.context).collect();
        let others: Vec<Uuid> = surroundings.iter().map(|(id, _)| *id).collect();
        let renewed: Vec<&HalfVector> = surroundings.iter().map(|(_, vector)| vector).collect();
        let statement = db.prepare_cached(SQL).await?;
        let binds: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
            [&bot.as_str(), &model, &seqs, &stamps, &ids, &own, &context, &others, &renewed];
        Ok(db.execute(&statement, &binds).await?)
    }

    /// Takes places off the queue whose messages are gone or have nothing to embed.
    pub(crate) async fn dismiss(db: &Connection, bot: &BotSlug, places: &[(i64, i64)]) -> Result<u64, StoreError> {
        const SQL: &str = "
            DELETE FROM message_embedding_queue q
             USING unnest($2::bigint[], $3::bigint[]) AS d(seq, stamp)
             WHERE q.bot_id = $1 AND q.seq = d.seq AND q.stamp = d.stamp";
        let seqs: Vec<i64> = places.iter().map(|(seq, _)| *seq).collect();
        let stamps: Vec<i64> = places.iter().map(|(_, stamp)| *stamp).collect();
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&bot.as_str(), &seqs, &stamps]).await?)
    }

    /// Active memories without a vector, stored before `before`, newest first.
    pub(crate) async fn bare_memories(
        db: &Connection,
        bot: &BotSlug,
        before: i64,
        limit: i64,
    ) -> Result<Vec<BareMemory>, StoreError> {
        const SQL: &str = "
            SELECT id, seq, content, intent, stakes, emotional_charge, recurrence_keywords
              FROM memories
             WHERE bot_id = $1 AND embedding IS NULL AND superseded_by IS NULL AND seq < $2
             ORDER BY seq DESC
             LIMIT $3";
        let statement = db.prepare_cached(SQL).await?;
        bare(&db.query(&statement, &[&bot.as_str(), &before, &limit]).await?)
    }

    /// Memories, superseded ones too, whose vector is missing or of another model, or all, behind the place `after` in the
    /// order of their ids.
    pub(crate) async fn memories_to_renew(
        db: &Connection,
        bot: &BotSlug,
        model: &str,
        all: bool,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<BareMemory>, StoreError> {
        const SQL: &str = "
            SELECT id, seq, content, intent, stakes, emotional_charge, recurrence_keywords
              FROM memories
             WHERE bot_id = $1 AND id > $2
               AND ($3 OR embedding IS NULL OR embedding_model IS DISTINCT FROM $4)
             ORDER BY id
             LIMIT $5";
        let statement = db.prepare_cached(SQL).await?;
        let after = after.unwrap_or_default();
        bare(&db.query(&statement, &[&bot.as_str(), &after, &all, &model, &limit]).await?)
    }

    /// Gives memories their vectors, unless their text changed meanwhile. Gives how many were written.
    pub(crate) async fn put_memories(
        db: &Connection,
        bot: &BotSlug,
        model: &str,
        memories: &[MemoryVectors],
    ) -> Result<u64, StoreError> {
        const SQL: &str = "
            UPDATE memories m
               SET embedding = n.own, meaning_embedding = coalesce(n.meaning, m.meaning_embedding), embedding_model = $2
              FROM unnest($3::uuid[], $4::text[], $5::vector[], $6::vector[]) AS n(id, content, own, meaning)
             WHERE m.bot_id = $1 AND m.id = n.id AND m.content = n.content";
        let ids: Vec<Uuid> = memories.iter().map(|m| m.id).collect();
        let contents: Vec<&str> = memories.iter().map(|m| m.content.as_str()).collect();
        let own: Vec<&Vector> = memories.iter().map(|m| &m.own).collect();
        let meaning: Vec<Option<&Vector>> = memories.iter().map(|m| m.meaning.as_ref()).collect();
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&bot.as_str(), &model, &ids, &contents, &own, &meaning]).await?)
    }

    /// Queues messages for embedding: those without vectors of the model, or all. Gives how many were added.
    pub(crate) async fn enqueue(db: &Connection, bot: &BotSlug, model: &str, all: bool) -> Result<u64, StoreError> {
        const SQL: &str = "
            INSERT INTO message_embedding_queue (bot_id, seq, message_id)
            SELECT m.bot_id, m.seq, m.id
              FROM messages m
              LEFT JOIN message_vectors v ON v.bot_id = $1 AND v.message_id = m.id AND v.model = $2
             WHERE m.bot_id = $1 AND m.role IN ('user', 'assistant') AND ($3 OR v.message_id IS NULL)
             ORDER BY m.seq
            ON CONFLICT (bot_id, seq) DO NOTHING";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&bot.as_str(), &model, &all]).await?)
    }
}

fn said(row: &tokio_postgres::Row) -> Result<Said, MemoryError> {
    let role: &str = row.try_get("role")?;
    Ok(Said {
        id: row.try_get("id")?,
        session: row.try_get("session_id")?,
        place: (row.try_get("ts")?, row.try_get("seq")?),
        role: Role::parse(role).ok_or(MemoryError::Unreadable("role"))?,
        content: row.try_get("content")?,
        embedded: row.try_get("embedded")?,
    })
}

fn bare(rows: &[tokio_postgres::Row]) -> Result<Vec<BareMemory>, StoreError> {
    let memory = |row: &tokio_postgres::Row| {
        Ok(BareMemory {
            id: row.try_get("id")?,
            seq: row.try_get("seq")?,
            content: row.try_get("content")?,
            meaning: Meaning {
                intent: row.try_get("intent")?,
                stakes: row.try_get("stakes")?,
                emotional_charge: row.try_get("emotional_charge")?,
                keywords: row.try_get("recurrence_keywords")?,
            },
        })
    };
    rows.iter().map(memory).collect()
}
