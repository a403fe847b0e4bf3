//! SQL of the search for memories. One statement gathers the nearest by meaning, the hits by words and everything that
//! scoring needs; scores are made outside. Filters stand in every leg, so that what is filtered takes nobody's place.
//! PostgreSQL's full text only stands in for an index that is being loaded, and ranks 20,000 matches at most: ranking reads
//! every match.

use greenroom_protocol::{BotSlug, UserId};
use greenroom_store::{Connection, StoreError};
use pgvector::Vector;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::memory;
use crate::MemoryError;
use crate::memories::StoredMemory;

/// What a search asks the database for.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryQuery {
    /// The question's vector; `None` leaves the nearest out.
    pub(crate) vector: Option<Vector>,
    /// The vector to compare meanings with.
    pub(crate) meaning: Option<Vector>,
    /// Only rows of this model are compared.
    pub(crate) model: String,
    /// How many of the nearest.
    pub(crate) nearest: i64,
    /// Look at every row instead of the vector index.
    pub(crate) exact: bool,
    /// Hits of the words' index.
    pub(crate) hits: Vec<Uuid>,
    /// Words for PostgreSQL's own full text, in the syntax of `to_tsquery`; `None` leaves it out.
    pub(crate) words: Option<String>,
    /// How many of those.
    pub(crate) worded: i64,
    /// Least importance.
    pub(crate) min_importance: f32,
    /// Any of these tags.
    pub(crate) tags: Option<Vec<String>>,
    /// About this person.
    pub(crate) user: Option<UserId>,
}

/// A memory that some leg found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) bot: BotSlug,
    pub(crate) memory: StoredMemory,
    /// Whether it is among the nearest.
    pub(crate) near: bool,
    /// What PostgreSQL's full text gives it, if that leg found it.
    pub(crate) words: Option<f32>,
    pub(crate) sim: Option<f64>,
    pub(crate) meaning_sim: Option<f64>,
}

/// Reads of the search for memories.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetrievalRepository;

impl RetrievalRepository {
    /// All candidates of a search in one bot.
    pub(crate) async fn find(db: &Connection, bot: &BotSlug, query: &MemoryQuery) -> Result<Vec<Found>, MemoryError> {
        let sql = if query.exact { FIND_EXACT } else { FIND };
        let statement = db.prepare_cached(sql).await?;
        let user = query.user.as_ref().map(|user| user.as_str());
        let binds: [&(dyn ToSql + Sync); 11] = [
            &bot.as_str(),
            &query.vector,
            &query.model,
            &query.min_importance,
            &query.tags,
            &user,
            &query.nearest,
            &query.hits,
            &query.words,
            &query.worded,
            &query.meaning,
        ];
        db.query(&statement, &binds).await?.iter().map(found).collect()
    }

    /// All candidates of a search in several bots: per bot the nearest and the best by full text, and the given hits of
    /// those bots whose words are indexed. `unindexed` names the others.
    pub(crate) async fn find_everywhere(
        db: &Connection,
        bots: &[BotSlug],
        unindexed: &[BotSlug],
        hits: &[(BotSlug, Uuid)],
        query: &MemoryQuery,
    ) -> Result<Vec<Found>, MemoryError> {
        let statement = db.prepare_cached(FIND_EVERYWHERE).await?;
        let slugs = |bots: &[BotSlug]| bots.iter().map(ToString::to_string).collect::<Vec<String>>();
        let (bots, unindexed) = (slugs(bots), slugs(unindexed));
        let owners: Vec<&str> = hits.iter().map(|(bot, _)| bot.as_str()).collect();
        let ids: Vec<Uuid> = hits.iter().map(|(_, id)| *id).collect();
        let user = query.user.as_ref().map(|user| user.as_str());
        let binds: [&(dyn ToSql + Sync); 12] = [
            &bots,
            &query.vector,
            &query.model,
            &query.min_importance,
            &query.tags,
            &user,
            &query.nearest,
            &owners,
            &ids,
            &query.words,
            &query.worded,
            &unindexed,
        ];
        db.query(&statement, &binds).await?.iter().map(found).collect()
    }

    /// The most important memories, most important first.
    pub(crate) async fn important(
        db: &Connection,
        bot: &BotSlug,
        min_importance: f32,
        tags: Option<&[String]>,
        user: Option<&UserId>,
        limit: i64,
    ) -> Result<Vec<Found>, MemoryError> {
        const SQL: &str = "
            SELECT m.bot_id, m.id, m.seq, m.content, m.tags, m.importance, m.confidence, m.source_message_ids,
                   m.source_summary_ids, m.user_id, m.intent, m.stakes, m.emotional_charge, m.recurrence_keywords,
                   m.meaning_updated_at, m.access_count, m.last_accessed_at, m.superseded_by, m.superseded_at,
                   m.supersede_reason, m.embedding_model, m.metadata, m.created_at, m.updated_at,
                   false AS near, NULL::real AS words, NULL::float8 AS sim, NULL::float8 AS meaning_sim
              FROM memories m
             WHERE m.bot_id = $1 AND m.superseded_by IS NULL AND m.importance >= $2
               AND ($3::text[] IS NULL OR m.tags && $3) AND ($4::text IS NULL OR m.user_id = $4)
             ORDER BY m.importance DESC, m.access_count DESC, m.created_at DESC, m.id
             LIMIT $5";
        let statement = db.prepare_cached(SQL).await?;
        let user = user.map(|user| user.as_str());
        let rows = db.query(&statement, &[&bot.as_str(), &min_importance, &tags, &user, &limit]).await?;
        rows.iter().map(found).collect()
    }

    /// Notes uses of memories. Gives how many rows there were.
    pub(crate) async fn accessed(db: &Connection, bot: &BotSlug, uses: &[(Uuid, i32)]) -> Result<u64, StoreError> {
        const SQL: &str = "
            UPDATE memories m
               SET access_count = m.access_count + a.uses, last_accessed_at = now()
              FROM unnest($2::uuid[], $3::integer[]) AS a(id, uses)
             WHERE m.bot_id = $1 AND m.id = a.id";
        let ids: Vec<Uuid> = uses.iter().map(|(id, _)| *id).collect();
        let counts: Vec<i32> = uses.iter().map(|(_, uses)| *uses).collect();
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&bot.as_str(), &ids, &counts]).await?)
    }
}

/// A macro, since the two statements differ only in what the nearest are ordered by: the bare distance, which the vector
/// index serves, or the distance plus nothing, which it cannot, so that every row is looked at.
macro_rules! find {
    ($order:literal) => {
        concat!(
            "
    WITH nearest AS MATERIALIZED (
        SELECT m.id
          FROM memories m
         WHERE $2::vector IS NOT NULL
           AND m.bot_id = $1 AND m.superseded_by IS NULL AND m.embedding IS NOT NULL AND m.embedding_model = $3
           AND m.importance >= $4 AND ($5::text[] IS NULL OR m.tags && $5) AND ($6::text IS NULL OR m.user_id = $6)
         ORDER BY ",
            $order,
            "
         LIMIT $7
    ), worded AS MATERIALIZED (
        SELECT t.id, ts_rank_cd(t.content_tsv, to_tsquery('english', $9), 32) AS words
          FROM (SELECT m.id, m.content_tsv, m.importance
                  FROM memories m
                 WHERE $9::text IS NOT NULL AND m.content_tsv @@ to_tsquery('english', $9)
                   AND m.bot_id = $1 AND m.superseded_by IS NULL AND m.importance >= $4
                   AND ($5::text[] IS NULL OR m.tags && $5) AND ($6::text IS NULL OR m.user_id = $6)
                 LIMIT 20000) AS t
         ORDER BY words DESC, t.importance DESC, t.id
         LIMIT $10
    ), candidates AS (
        SELECT id, bool_or(near) AS near, max(words) AS words
          FROM (SELECT id, true AS near, NULL::real AS words FROM nearest
                UNION ALL SELECT id, false, words FROM worded
                UNION ALL SELECT unnest($8::uuid[]), false, NULL) AS legs
         GROUP BY id
    )
    SELECT m.bot_id, m.id, m.seq, m.content, m.tags, m.importance, m.confidence, m.source_message_ids,
           m.source_summary_ids, m.user_id, m.intent, m.stakes, m.emotional_charge, m.recurrence_keywords,
           m.meaning_updated_at, m.access_count, m.last_accessed_at, m.superseded_by, m.superseded_at,
           m.supersede_reason, m.embedding_model, m.metadata, m.created_at, m.updated_at,
           c.near, c.words,
           CASE WHEN m.embedding_model = $3 THEN 1 - (m.embedding <=> $2) END AS sim,
           CASE WHEN m.embedding_model = $3 THEN 1 - (m.meaning_embedding <=> $11) END AS meaning_sim
      FROM candidates c
      JOIN memories m ON m.bot_id = $1 AND m.id = c.id
     WHERE m.superseded_by IS NULL
       AND m.importance >= $4 AND ($5::text[] IS NULL OR m.tags && $5) AND ($6::text IS NULL OR m.user_id = $6)"
        )
    };
}

const FIND: &str = find!("m.embedding <=> $2");
const FIND_EXACT: &str = find!("(m.embedding <=> $2) + 0");

const FIND_EVERYWHERE: &str = "
    WITH candidates AS (
        SELECT bot_id, id, bool_or(near) AS near, max(words) AS words
          FROM (SELECT b.bot AS bot_id, n.id, true AS near, NULL::real AS words
                  FROM unnest($1::text[]) AS b(bot)
                 CROSS JOIN LATERAL (
                       SELECT m.id
                         FROM memories m
                        WHERE $2::vector IS NOT NULL
                          AND m.bot_id = b.bot AND m.superseded_by IS NULL AND m.embedding IS NOT NULL
                          AND m.embedding_model = $3 AND m.importance >= $4
                          AND ($5::text[] IS NULL OR m.tags && $5) AND ($6::text IS NULL OR m.user_id = $6)
                        ORDER BY m.embedding <=> $2
                        LIMIT $7) AS n
                UNION ALL
                SELECT b.bot, w.id, false, w.words
                  FROM unnest($12::text[]) AS b(bot)
                 CROSS JOIN LATERAL (
                       SELECT t.id, ts_rank_cd(t.content_tsv, to_tsquery('english', $10), 32) AS words
                         FROM (SELECT m.id, m.content_tsv, m.importance
                                 FROM memories m
                                WHERE $10::text IS NOT NULL AND m.content_tsv @@ to_tsquery('english', $10)
                                  AND m.bot_id = b.bot AND m.superseded_by IS NULL AND m.importance >= $4
                                  AND ($5::text[] IS NULL OR m.tags && $5) AND ($6::text IS NULL OR m.user_id = $6)
                                LIMIT 20000) AS t
                        ORDER BY words DESC, t.importance DESC, t.id
                        LIMIT $11) AS w
                UNION ALL
                SELECT h.bot, h.id, false, NULL FROM unnest($8::text[], $9::uuid[]) AS h(bot, id)) AS legs
         GROUP BY bot_id, id
    )
    SELECT m.bot_id, m.id, m.seq, m.content, m.tags, m.importance, m.confidence, m.source_message_ids,
           m.source_summary_ids, m.user_id, m.intent, m.stakes, m.emotional_charge, m.recurrence_keywords,
           m.meaning_updated_at, m.access_count, m.last_accessed_at, m.superseded_by, m.superseded_at,
           m.supersede_reason, m.embedding_model, m.metadata, m.created_at, m.updated_at,
           c.near, c.words,
           CASE WHEN m.embedding_model = $3 THEN 1 - (m.embedding <=> $2) END AS sim,
           NULL::float8 AS meaning_sim
      FROM candidates c
      JOIN memories m ON m.bot_id = c.bot_id AND m.id = c.id
     WHERE m.superseded_by IS NULL
       AND m.importance >= $4 AND ($5::text[] IS NULL OR m.tags && $5) AND ($6::text IS NULL OR m.user_id = $6)";

fn found(row: &tokio_postgres::Row) -> Result<Found, MemoryError> {
    Ok(Found {
        bot: BotSlug::from_stored(row.try_get::<_, String>("bot_id")?),
        memory: memory(row)?,
        near: row.try_get("near")?,
        words: row.try_get("words")?,
        sim: row.try_get("sim")?,
        meaning_sim: row.try_get("meaning_sim")?,
    })
}

#[cfg(test)]
mod plans;
