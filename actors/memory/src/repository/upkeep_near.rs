//! SQL that finds memories close to new facts, and pairs of memories that say nearly the same.

use std::collections::HashSet;

use deadpool_postgres::GenericClient;
use greenroom_embedder::Vector;
use greenroom_protocol::{BotSlug, UserId};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::MemoryError;
use crate::upkeep::{Candidate, Neighbour, SimilarPair};

/// Neighbourhoods of memories.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NearRepository;

impl NearRepository {
    /// The nearest active memories of each vector, nearest first.
    pub(crate) async fn by_vectors_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        vectors: &[Vector],
        model: &str,
        user: Option<&str>,
        limit: i64,
        least: f64,
    ) -> Result<Vec<Neighbour>, MemoryError> {
        const SQL: &str = "
            SELECT near.id, near.content, near.importance, (1 - near.distance)::real AS similarity
              FROM unnest($2::vector[]) AS fact(v)
              CROSS JOIN LATERAL (
                   SELECT id, content, importance, embedding <=> fact.v AS distance
                     FROM memories
                    WHERE bot_id = $1 AND superseded_by IS NULL AND embedding_model = $3
                      AND (user_id IS NULL OR user_id IS NOT DISTINCT FROM $4)
                    ORDER BY embedding <=> fact.v
                    LIMIT $5) AS near
             WHERE near.distance <= 1 - $6::float8
             ORDER BY near.distance, near.id";
        let vectors: Vec<pgvector::Vector> =
            vectors.iter().map(|vector| pgvector::Vector::from(vector.as_slice().to_vec())).collect();
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &vectors, &model, &user, &limit, &least]).await?;
        rows.iter().map(neighbour).collect()
    }

    /// The active memories that share most words with each query.
    pub(crate) async fn by_words_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        queries: &[String],
        user: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Neighbour>, MemoryError> {
        const SQL: &str = "
            SELECT near.id, near.content, near.importance, NULL::real AS similarity
              FROM unnest($2::text[]) AS fact(words)
              CROSS JOIN LATERAL (
                   SELECT id, content, importance, ts_rank_cd(content_tsv, to_tsquery('english', fact.words), 32) AS rank
                     FROM memories
                    WHERE bot_id = $1 AND superseded_by IS NULL AND content_tsv @@ to_tsquery('english', fact.words)
                      AND (user_id IS NULL OR user_id IS NOT DISTINCT FROM $3)
                    ORDER BY rank DESC, id
                    LIMIT $4) AS near
             ORDER BY near.rank DESC, near.id";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &queries, &user, &limit]).await?;
        rows.iter().map(neighbour).collect()
    }

    /// The newest active memories that were made for each profile key.
    pub(crate) async fn by_profile_keys_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        keys: &[String],
        user: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Neighbour>, MemoryError> {
        const SQL: &str = "
            SELECT near.id, near.content, near.importance, NULL::real AS similarity
              FROM unnest($2::text[]) AS wanted(key)
              CROSS JOIN LATERAL (
                   SELECT id, content, importance, created_at
                     FROM memories
                    WHERE bot_id = $1 AND superseded_by IS NULL AND metadata ? 'profile'
                      AND metadata -> 'profile' ->> 'key' = wanted.key
                      AND (user_id IS NULL OR user_id IS NOT DISTINCT FROM $3)
                    ORDER BY created_at DESC
                    LIMIT $4) AS near";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &keys, &user, &limit]).await?;
        rows.iter().map(neighbour).collect()
    }

    /// Pairs of active memories of one model, at least `least` similar: each of the seeds with its 20 nearest. Seeds are
    /// those that changed after `since`, newest first, at most `seeds` of them.
    pub(crate) async fn pairs_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        since: Option<Timestamp>,
        seeds: i64,
        least: f64,
    ) -> Result<Vec<SimilarPair>, MemoryError> {
        const SQL: &str = "
            SELECT DISTINCT least(seed.id, near.id) AS a, greatest(seed.id, near.id) AS b,
                   (1 - near.distance)::real AS similarity
              FROM (SELECT id, embedding, embedding_model
                      FROM memories
                     WHERE bot_id = $1 AND superseded_by IS NULL AND embedding IS NOT NULL
                       AND ($2::timestamptz IS NULL OR updated_at > $2)
                     ORDER BY updated_at DESC, id
                     LIMIT $3) AS seed
              CROSS JOIN LATERAL (
                   SELECT id, embedding_model, embedding <=> seed.embedding AS distance
                     FROM memories
                    WHERE bot_id = $1 AND superseded_by IS NULL AND embedding IS NOT NULL
                    ORDER BY embedding <=> seed.embedding
                    LIMIT 21) AS near
             WHERE near.id <> seed.id AND near.embedding_model IS NOT DISTINCT FROM seed.embedding_model
               AND near.distance <= 1 - $4::float8
             ORDER BY similarity DESC, a, b";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &since, &seeds, &least]).await?;
        rows.iter()
            .map(|row| {
                Ok(SimilarPair { a: row.try_get("a")?, b: row.try_get("b")?, similarity: row.try_get("similarity")? })
            })
            .collect()
    }

    /// Memories with their vectors, in no order.
    pub(crate) async fn candidates_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<Vec<Candidate>, MemoryError> {
        const SQL: &str = "
            SELECT id, content, tags, importance, confidence, access_count, user_id, intent, source_message_ids,
                   source_summary_ids, metadata, created_at, updated_at, embedding, embedding_model
              FROM memories
             WHERE bot_id = $1 AND id = ANY($2) AND superseded_by IS NULL AND embedding IS NOT NULL";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &ids]).await?;
        rows.iter().map(candidate).collect()
    }

    /// What these memories say, in no order.
    pub(crate) async fn contents_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<Vec<(Uuid, String)>, MemoryError> {
        const SQL: &str = "SELECT id, content FROM memories WHERE bot_id = $1 AND id = ANY($2)";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &ids]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Writes a memory's vector, if the memory still says this. Gives the number of rows.
    pub(crate) async fn set_vector_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        id: Uuid,
        content: &str,
        vector: &Vector,
        model: &str,
    ) -> Result<u64, MemoryError> {
        const SQL: &str = "
            UPDATE memories SET embedding = $4, embedding_model = $5
             WHERE bot_id = $1 AND id = $2 AND content = $3";
        let vector = pgvector::Vector::from(vector.as_slice().to_vec());
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&bot.as_str(), &id, &content, &vector, &model]).await?)
    }

    /// Which of these memories are active; they stay locked until the end of the transaction.
    pub(crate) async fn active_of_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<HashSet<Uuid>, MemoryError> {
        const SQL: &str = "
            SELECT id FROM memories
             WHERE bot_id = $1 AND id = ANY($2) AND superseded_by IS NULL
             ORDER BY id
               FOR UPDATE";
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &ids]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Which of these memories are still active and unchanged; they stay locked until the end of the transaction.
    pub(crate) async fn unchanged_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        members: &[(Uuid, Timestamp)],
    ) -> Result<usize, MemoryError> {
        const SQL: &str = "
            SELECT m.id
              FROM memories m JOIN unnest($2::uuid[], $3::timestamptz[]) AS seen(id, at)
                ON m.id = seen.id AND m.updated_at = seen.at
             WHERE m.bot_id = $1 AND m.superseded_by IS NULL
               FOR UPDATE OF m";
        let ids: Vec<Uuid> = members.iter().map(|(id, _)| *id).collect();
        let times: Vec<Timestamp> = members.iter().map(|(_, at)| *at).collect();
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.query(&statement, &[&bot.as_str(), &ids, &times]).await?.len())
    }
}

fn neighbour(row: &Row) -> Result<Neighbour, MemoryError> {
    Ok(Neighbour {
        id: row.try_get("id")?,
        content: row.try_get("content")?,
        importance: row.try_get("importance")?,
        similarity: row.try_get("similarity")?,
    })
}

fn candidate(row: &Row) -> Result<Candidate, MemoryError> {
    let embedding: pgvector::Vector = row.try_get("embedding")?;
    Ok(Candidate {
        id: row.try_get("id")?,
        content: row.try_get("content")?,
        tags: row.try_get("tags")?,
        importance: row.try_get("importance")?,
        confidence: row.try_get("confidence")?,
        access_count: row.try_get("access_count")?,
        user: row.try_get::<_, Option<String>>("user_id")?.map(UserId::from_stored),
        intent: row.try_get("intent")?,
        sources: row.try_get("source_message_ids")?,
        summary_sources: row.try_get("source_summary_ids")?,
        metadata: row.try_get("metadata")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        model: row.try_get("embedding_model")?,
        vector: embedding.to_vec(),
    })
}
