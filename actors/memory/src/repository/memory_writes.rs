//! SQL that writes `memories`. Every method runs inside an exclusive command of the bot's namespace, or a transaction
//! that holds the bot's lock.

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, UserId};
use greenroom_store::StoreError;
use jiff::Timestamp;
use pgvector::Vector as PgVector;
use uuid::Uuid;

use super::messages::storable_json;
use crate::memories::{Meaning, MemoryDraft, PreparedMemory, SupersedeReason};

/// Most tags and most sources that reinforcing piles up on a memory.
const MOST_UNITED_TAGS: i32 = 32;
const MOST_UNITED_SOURCES: i32 = 2000;

pub(crate) struct MemoryWrites;

/// What a memory is to become; `None` leaves a field as it is.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    pub(crate) content: Option<String>,
    pub(crate) importance: Option<f32>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) meaning: Option<Meaning>,
    /// A new vector of the content, or none since it could not be made; with `content` only.
    pub(crate) vector: Option<PgVector>,
    /// A new vector of the meaning; the outer `None` leaves it.
    pub(crate) meaning_vector: Option<Option<PgVector>>,
    pub(crate) model: Option<&'static str>,
}

impl MemoryWrites {
    /// The active memory that says exactly this about this person.
    pub(crate) async fn same_words_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        content: &str,
        user: Option<&UserId>,
        except: &[Uuid],
    ) -> Result<Option<Uuid>, StoreError> {
        const SQL: &str = r"
            SELECT id
              FROM memories
             WHERE bot_id = $1 AND superseded_by IS NULL
               AND md5(content_norm) = md5(lower(btrim(regexp_replace($2, '\s+', ' ', 'g'))))
               AND ($3::text IS NULL OR user_id IS NULL OR user_id = $3)
               AND id <> ALL($4)
             ORDER BY user_id IS DISTINCT FROM $3, created_at
             LIMIT 1";
        let statement = db.prepare_cached(SQL).await?;
        let row = db.query_opt(&statement, &[&bot.as_str(), &content, &user.map(UserId::as_str), &except]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// The nearest active memory about this person, and how similar it is.
    pub(crate) async fn nearest_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        vector: &PgVector,
        model: &str,
        user: Option<&UserId>,
        except: &[Uuid],
    ) -> Result<Option<(Uuid, f32)>, StoreError> {
        const SQL: &str = "
            SELECT id, 1 - (embedding <=> $2)
              FROM memories
             WHERE bot_id = $1 AND superseded_by IS NULL AND embedding IS NOT NULL AND embedding_model = $3
               AND ($4::text IS NULL OR user_id IS NULL OR user_id = $4)
               AND id <> ALL($5)
             ORDER BY embedding <=> $2
             LIMIT 1";
        let statement = db.prepare_cached(SQL).await?;
        let user = user.map(UserId::as_str);
        let Some(row) = db.query_opt(&statement, &[&bot.as_str(), vector, &model, &user, &except]).await? else {
            return Ok(None);
        };
        let similarity: f64 = row.try_get(1)?;
        Ok(Some((row.try_get(0)?, similarity as f32)))
    }

    /// The memory was said again: importance rises to the greater, tags and sources are united, and a vector that it
    /// did not have yet is set.
    pub(crate) async fn reinforce_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        id: Uuid,
        again: &PreparedMemory,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const SQL: &str = "
            UPDATE memories
               SET importance = greatest(importance, $3::real),
                   confidence = greatest(confidence, $4::real),
                   tags = (tags || ARRAY(SELECT t FROM unnest($5::text[]) t WHERE t <> ALL(tags)))[1:$6::integer],
                   source_message_ids = (source_message_ids
                       || ARRAY(SELECT s FROM unnest($7::uuid[]) s WHERE s <> ALL(source_message_ids)))[1:$8::integer],
                   source_summary_ids = (source_summary_ids
                       || ARRAY(SELECT s FROM unnest($9::uuid[]) s WHERE s <> ALL(source_summary_ids)))[1:$8],
                   access_count = access_count + 1,
                   embedding = CASE WHEN embedding IS NULL AND $10::boolean THEN $11::vector ELSE embedding END,
                   embedding_model = CASE WHEN embedding IS NULL AND $10 THEN $12::text ELSE embedding_model END,
                   updated_at = $13
             WHERE bot_id = $1 AND id = $2";
        let draft = &again.draft;
        let vector = again.vector.as_ref().map(|v| PgVector::from(v.as_slice().to_vec()));
        // Only the very same words give the vector to a row that has none.
        const SAME: &str = r"
            SELECT content_norm = lower(btrim(regexp_replace($3, '\s+', ' ', 'g')))
              FROM memories WHERE bot_id = $1 AND id = $2";
        let statement = db.prepare_cached(SAME).await?;
        let same = db.query_one(&statement, &[&bot.as_str(), &id, &draft.content]).await?.try_get::<_, bool>(0)?;
        let statement = db.prepare_cached(SQL).await?;
        db.execute(
            &statement,
            &[
                &bot.as_str(),
                &id,
                &draft.importance,
                &draft.confidence,
                &draft.tags,
                &MOST_UNITED_TAGS,
                &draft.sources,
                &MOST_UNITED_SOURCES,
                &draft.summary_sources,
                &(same && vector.is_some()),
                &vector,
                &again.model,
                &now,
            ],
        )
        .await?;
        Ok(())
    }

    /// Inserts a memory in the place of those it replaces: they are superseded in the same statement, so that its words
    /// may be theirs. It takes over their accesses and sources, the greatest importance, and their tags unless they were
    /// contradicted.
    pub(crate) async fn insert_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        id: Uuid,
        new: &PreparedMemory,
        replaces: (&[Uuid], SupersedeReason),
        now: Timestamp,
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "
            WITH old AS (
                UPDATE memories
                   SET superseded_by = $2, superseded_at = $22, supersede_reason = $20::text, updated_at = $22
                 WHERE bot_id = $1 AND id = ANY($19) AND superseded_by IS NULL
                RETURNING id, importance, access_count, tags, source_message_ids, source_summary_ids
            ), all_old AS (
                SELECT coalesce(max(importance), 0) AS importance, coalesce(sum(access_count), 0)::integer AS accesses,
                       ARRAY(SELECT t FROM old, unnest(old.tags) t GROUP BY t ORDER BY count(*) DESC, t) AS tags,
                       ARRAY(SELECT DISTINCT s FROM old, unnest(old.source_message_ids) s) AS sources,
                       ARRAY(SELECT DISTINCT s FROM old, unnest(old.source_summary_ids) s) AS summaries,
                       coalesce(array_agg(old.id), '{}') AS ids
                  FROM old
            ), put AS (
                INSERT INTO memories (bot_id, id, content, tags, importance, confidence, source_message_ids,
                                      source_summary_ids, user_id, intent, stakes, emotional_charge,
                                      recurrence_keywords, meaning_updated_at, access_count, embedding,
                                      meaning_embedding, embedding_model, metadata, created_at, updated_at)
                SELECT $1::text, $2::uuid, $3::text,
                       CASE WHEN $20 = 'contradiction' THEN $4::text[]
                            ELSE ($4 || ARRAY(SELECT t FROM unnest(o.tags) t WHERE t <> ALL($4)))[1:$23::integer] END,
                       greatest($5::real, o.importance), $6::real,
                       ($7::uuid[] || ARRAY(SELECT s FROM unnest(o.sources) s WHERE s <> ALL($7)))[1:$24::integer],
                       ($8::uuid[] || ARRAY(SELECT s FROM unnest(o.summaries) s WHERE s <> ALL($8)))[1:$24],
                       $9::text, $10::text, $11::text, $12::real, $13::text[], $22::timestamptz, o.accesses,
                       $14::vector, $15::vector, $16::text, $17::text::jsonb, $18::timestamptz, $21::timestamptz
                  FROM all_old o
                RETURNING id
            )
            SELECT o.ids FROM all_old o, put";
        let MemoryDraft { content, tags, importance, confidence, sources, summary_sources, meaning, .. } = &new.draft;
        let vector = new.vector.as_ref().map(|v| PgVector::from(v.as_slice().to_vec()));
        let meaning_vector = new.meaning_vector.as_ref().map(|v| PgVector::from(v.as_slice().to_vec()));
        let metadata = new.draft.metadata.as_ref().map(storable_json);
        let statement = db.prepare_cached(SQL).await?;
        let row = db
            .query_one(
                &statement,
                &[
                    &bot.as_str(),
                    &id,
                    content,
                    tags,
                    importance,
                    confidence,
                    sources,
                    summary_sources,
                    &new.draft.user.as_ref().map(UserId::as_str),
                    &meaning.intent,
                    &meaning.stakes,
                    &meaning.emotional_charge,
                    &meaning.keywords,
                    &vector,
                    &meaning_vector,
                    &new.model,
                    &metadata,
                    &new.draft.created_at.unwrap_or(now),
                    &replaces.0,
                    &replaces.1.as_str(),
                    &now,
                    &now,
                    &MOST_UNITED_TAGS,
                    &MOST_UNITED_SOURCES,
                ],
            )
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Changes a memory. Provenance, meaning and vectors stay unless they are given.
    pub(crate) async fn edit_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        id: Uuid,
        edit: &Edit,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const SQL: &str = "
            UPDATE memories
               SET content = coalesce($3::text, content),
                   importance = coalesce($4::real, importance),
                   tags = coalesce($5::text[], tags),
                   embedding = CASE WHEN $3 IS NULL THEN embedding ELSE $6::vector END,
                   embedding_model = CASE WHEN $3 IS NULL THEN coalesce(embedding_model, $7::text) ELSE $7 END,
                   intent = CASE WHEN $8::boolean THEN $9::text ELSE intent END,
                   stakes = CASE WHEN $8 THEN $10::text ELSE stakes END,
                   emotional_charge = CASE WHEN $8 THEN $11::real ELSE emotional_charge END,
                   recurrence_keywords = CASE WHEN $8 THEN $12::text[] ELSE recurrence_keywords END,
                   meaning_updated_at = CASE WHEN $8 THEN $15::timestamptz ELSE meaning_updated_at END,
                   meaning_embedding = CASE WHEN $13::boolean THEN $14::vector ELSE meaning_embedding END,
                   updated_at = $15
             WHERE bot_id = $1 AND id = $2";
        let none = Meaning::default();
        let meaning = edit.meaning.as_ref().unwrap_or(&none);
        let statement = db.prepare_cached(SQL).await?;
        db.execute(
            &statement,
            &[
                &bot.as_str(),
                &id,
                &edit.content,
                &edit.importance,
                &edit.tags,
                &edit.vector,
                &edit.model,
                &edit.meaning.is_some(),
                &meaning.intent,
                &meaning.stakes,
                &meaning.emotional_charge,
                &meaning.keywords,
                &edit.meaning_vector.is_some(),
                &edit.meaning_vector.as_ref().and_then(Option::as_ref),
                &now,
            ],
        )
        .await?;
        Ok(())
    }

    /// Points an active memory to its successor and lets that one inherit (see [`Self::insert_on`]). False when the old
    /// one is not active.
    pub(crate) async fn supersede_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        old: Uuid,
        head: Uuid,
        reason: SupersedeReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "
            WITH old AS (
                UPDATE memories
                   SET superseded_by = $3, superseded_at = $5, supersede_reason = $4::text, updated_at = $5
                 WHERE bot_id = $1 AND id = $2 AND superseded_by IS NULL
                RETURNING importance, access_count, tags, source_message_ids, source_summary_ids
            )
            UPDATE memories m
               SET importance = greatest(m.importance, old.importance),
                   access_count = m.access_count + old.access_count,
                   tags = CASE WHEN $4 IN ('update', 'consolidation')
                               THEN (m.tags || ARRAY(SELECT t FROM unnest(old.tags) t WHERE t <> ALL(m.tags)))[1:$6::integer]
                               ELSE m.tags END,
                   source_message_ids = (m.source_message_ids
                       || ARRAY(SELECT s FROM unnest(old.source_message_ids) s
                                 WHERE s <> ALL(m.source_message_ids)))[1:$7::integer],
                   source_summary_ids = (m.source_summary_ids
                       || ARRAY(SELECT s FROM unnest(old.source_summary_ids) s
                                 WHERE s <> ALL(m.source_summary_ids)))[1:$7],
                   updated_at = $5
              FROM old
             WHERE m.bot_id = $1 AND m.id = $3";
        let statement = db.prepare_cached(SQL).await?;
        let changed = db
            .execute(
                &statement,
                &[&bot.as_str(), &old, &head, &reason.as_str(), &now, &MOST_UNITED_TAGS, &MOST_UNITED_SOURCES],
            )
            .await?;
        Ok(changed > 0)
    }

    /// Sets the sources of memories.
    pub(crate) async fn set_sources_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        sources: &[(Uuid, Vec<Uuid>)],
    ) -> Result<(), StoreError> {
        // Arrays of arrays must be rectangular in PostgreSQL, so each list travels as text.
        const SQL: &str = "
            UPDATE memories m SET source_message_ids = w.sources::uuid[]
              FROM unnest($2::uuid[], $3::text[]) AS w(id, sources)
             WHERE m.bot_id = $1 AND m.id = w.id";
        if sources.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = sources.iter().map(|(id, _)| *id).collect();
        let lists: Vec<String> = sources.iter().map(|(_, list)| array(list)).collect();
        let statement = db.prepare_cached(SQL).await?;
        db.execute(&statement, &[&bot.as_str(), &ids, &lists]).await?;
        Ok(())
    }

    /// Deletes all memories of a bot and the tombstones of such. Gives how many memories and tombstones there were.
    pub(crate) async fn clear_on(db: &impl GenericClient, bot: &BotSlug) -> Result<(u64, u64), StoreError> {
        // Superseded ones first: the foreign key would make them active, which their words might forbid.
        const SUPERSEDED: &str = "DELETE FROM memories WHERE bot_id = $1 AND superseded_by IS NOT NULL";
        const ACTIVE: &str = "DELETE FROM memories WHERE bot_id = $1";
        const TOMBSTONES: &str = "DELETE FROM forgotten WHERE bot_id = $1 AND kind = 'memory'";
        let mut counts = [0; 3];
        for (sql, count) in [SUPERSEDED, ACTIVE, TOMBSTONES].into_iter().zip(&mut counts) {
            let statement = db.prepare_cached(sql).await?;
            *count = db.execute(&statement, &[&bot.as_str()]).await?;
        }
        let [superseded, active, tombstones] = counts;
        Ok((superseded + active, tombstones))
    }
}

/// A list of ids as PostgreSQL writes arrays.
pub(crate) fn array(ids: &[Uuid]) -> String {
    let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    format!("{{{}}}", ids.join(","))
}
