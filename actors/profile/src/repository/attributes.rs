//! SQL over `profile_attributes` and their history.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::attribute::{
    ATTRIBUTES_MAX, Attribute, AttributeDraft, AttributeFilter, AttributePatch, HistoryEntry, Outcome, Source, Upserted,
};
use crate::entity::{Entity, EntityType};
use crate::error::ProfileError;

/// Longest name of whoever does something, in characters.
const ACTOR_MAX: usize = 128;

/// The attributes of all profiles.
pub(crate) struct AttributeRepository;

impl AttributeRepository {
    /// Stores an attribute of a locked profile, or notes it as a candidate; one statement decides, writes the history and
    /// raises the profile's version. `None` when the profile is full.
    pub(crate) async fn upsert_on(
        db: &impl GenericClient,
        draft: &AttributeDraft,
        now: Timestamp,
    ) -> Result<Option<Upserted>, ProfileError> {
        const SQL: &str = "
            WITH old AS (
                SELECT id, entity_type, entity_id, category, key, value, confidence, source, source_rank,
                       source_message_id, source_memory_id, source_bot_id, created_at, updated_at
                  FROM profile_attributes
                 WHERE entity_type = $1 AND entity_id = $2 AND category = $3 AND key = $4
            ), put AS (
                INSERT INTO profile_attributes AS a
                       (entity_type, entity_id, category, key, value, confidence, source, source_message_id,
                        source_memory_id, source_bot_id, created_at, updated_at)
                SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11
                 WHERE EXISTS (SELECT FROM old)
                    OR (SELECT count(*) FROM profile_attributes WHERE entity_type = $1 AND entity_id = $2) < $13
                    ON CONFLICT (entity_type, entity_id, category, key) DO UPDATE
                   SET value = excluded.value,
                       confidence = CASE
                           WHEN a.value <> excluded.value THEN excluded.confidence
                           WHEN excluded.source_rank > a.source_rank THEN
                                greatest(excluded.confidence, least(1, round((a.confidence + 0.05)::numeric, 6)))
                           ELSE least(1, round((a.confidence + 0.05)::numeric, 6)) END,
                       (source, source_message_id, source_memory_id, source_bot_id) = (
                           SELECT kept.* FROM (
                               SELECT a.source, a.source_message_id, a.source_memory_id, a.source_bot_id
                                WHERE a.value = excluded.value AND a.source_rank >= excluded.source_rank
                               UNION ALL
                               SELECT excluded.source, excluded.source_message_id, excluded.source_memory_id,
                                      excluded.source_bot_id
                                WHERE a.value <> excluded.value OR a.source_rank < excluded.source_rank) kept),
                       updated_at = excluded.updated_at
                 WHERE (a.value = excluded.value AND (a.confidence < 1 OR a.source_rank < excluded.source_rank))
                    OR (a.value <> excluded.value
                        AND (excluded.source_rank >= a.source_rank
                             OR excluded.confidence >= a.confidence + 0.2 - 1e-9
                             OR a.updated_at < excluded.updated_at - interval '180 days'))
                RETURNING id, entity_type, entity_id, category, key, value, confidence, source, source_message_id,
                          source_memory_id, source_bot_id, created_at, updated_at
            ), noted AS (
                INSERT INTO profile_attribute_history
                       (attribute_id, entity_type, entity_id, category, key, action, old_value, new_value,
                        old_confidence, new_confidence, old_source, new_source, actor, at)
                SELECT coalesce(put.id, old.id), $1, $2, $3, $4,
                       CASE WHEN put.id IS NULL THEN 'candidate' WHEN old.id IS NULL THEN 'set'
                            WHEN old.value = put.value THEN 'confirmed' ELSE 'replaced' END,
                       old.value, $5, old.confidence, coalesce(put.confidence, $6), old.source, $7, $12, $11
                  FROM (SELECT) AS once LEFT JOIN old ON true LEFT JOIN put ON true
                 WHERE put.id IS NOT NULL
                    OR (old.value <> $5
                        AND NOT EXISTS (SELECT FROM profile_attribute_history h
                                         WHERE h.attribute_id = old.id AND h.action = 'candidate'
                                           AND h.new_value = $5 AND h.new_source = $7))
            ), touched AS (
                UPDATE profiles
                   SET version = version + 1, summary_stale = true, updated_at = $11
                 WHERE entity_type = $1 AND entity_id = $2 AND EXISTS (SELECT FROM put)
            )
            SELECT put.*, CASE WHEN old.id IS NULL THEN 'created' WHEN old.value = put.value THEN 'confirmed'
                               ELSE 'replaced' END AS outcome
              FROM put LEFT JOIN old ON true
             UNION ALL
            SELECT id, entity_type, entity_id, category, key, value, confidence, source, source_message_id,
                   source_memory_id, source_bot_id, created_at, updated_at,
                   CASE WHEN value = $5 THEN 'unchanged' ELSE 'candidate' END
              FROM old
             WHERE NOT EXISTS (SELECT FROM put)";
        let bot = draft.source_bot.as_ref().map(BotSlug::as_str);
        let actor = shortened(draft.actor.as_deref());
        let statement = db.prepare_cached(SQL).await?;
        let parameters: [&(dyn ToSql + Sync); 13] = [
            &draft.entity.kind().as_str(),
            &draft.entity.id(),
            &draft.category,
            &draft.key,
            &draft.value,
            &draft.confidence,
            &draft.source.as_str(),
            &draft.source_message,
            &draft.source_memory,
            &bot,
            &now,
            &actor,
            &ATTRIBUTES_MAX,
        ];
        let Some(row) = db.query_opt(&statement, &parameters).await? else { return Ok(None) };
        let outcome = match row.try_get("outcome")? {
            "created" => Outcome::Created,
            "replaced" => Outcome::Replaced,
            "confirmed" => Outcome::Confirmed,
            "unchanged" => Outcome::Unchanged,
            _ => Outcome::Candidate,
        };
        Ok(Some(Upserted { attribute: attribute(&row)?, outcome }))
    }

    /// Whose attribute it is.
    pub(crate) async fn owner_on(db: &impl GenericClient, id: i64) -> Result<Option<Entity>, ProfileError> {
        const SQL: &str = "SELECT entity_type, entity_id FROM profile_attributes WHERE id = $1";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&id]).await?;
        row.map(|row| Entity::from_stored(row.try_get(0)?, row.try_get(1)?)).transpose()
    }

    /// Edits an attribute of a locked profile.
    pub(crate) async fn patch_on(
        db: &impl GenericClient,
        id: i64,
        patch: &AttributePatch,
        actor: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Attribute>, ProfileError> {
        const SQL: &str = "
            WITH old AS (
                SELECT id, value, confidence, source FROM profile_attributes WHERE id = $1
            ), put AS (
                UPDATE profile_attributes
                   SET value = coalesce($2, value), confidence = coalesce($3, confidence),
                       source = coalesce($4, source), updated_at = $5
                 WHERE id = $1
             RETURNING id, entity_type, entity_id, category, key, value, confidence, source, source_message_id,
                       source_memory_id, source_bot_id, created_at, updated_at
            ), noted AS (
                INSERT INTO profile_attribute_history
                       (attribute_id, entity_type, entity_id, category, key, action, old_value, new_value,
                        old_confidence, new_confidence, old_source, new_source, actor, at)
                SELECT put.id, put.entity_type, put.entity_id, put.category, put.key, 'edited', old.value, put.value,
                       old.confidence, put.confidence, old.source, put.source, $6, $5
                  FROM put JOIN old USING (id)
            )
            SELECT * FROM put";
        let source = patch.source.map(Source::as_str);
        let statement = db.prepare_cached(SQL).await?;
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&id, &patch.value, &patch.confidence, &source, &now, &shortened(actor)];
        db.query_opt(&statement, &parameters).await?.as_ref().map(attribute).transpose()
    }

    /// Deletes what a locked profile has of these: all that pass every given test. Gives what is gone.
    pub(crate) async fn delete_on(
        db: &impl GenericClient,
        entity: &Entity,
        which: &Which<'_>,
        actor: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Attribute>, ProfileError> {
        const SQL: &str = "
            WITH gone AS (
                DELETE FROM profile_attributes
                 WHERE entity_type = $1 AND entity_id = $2
                   AND ($3::bigint IS NULL OR id = $3)
                   AND ($4::text IS NULL OR category = $4)
                   AND ($5::text IS NULL OR key = $5)
                   AND ($6::text IS NULL OR strpos(replace(key, '_', ' ') || ' ' || lower(value::text), $6) > 0
                                         OR strpos(key, $6) > 0)
             RETURNING id, entity_type, entity_id, category, key, value, confidence, source, source_message_id,
                       source_memory_id, source_bot_id, created_at, updated_at
            ), noted AS (
                INSERT INTO profile_attribute_history
                       (attribute_id, entity_type, entity_id, category, key, action, old_value, old_confidence,
                        old_source, actor, at)
                SELECT id, entity_type, entity_id, category, key, 'deleted', value, confidence, source, $7, $8
                  FROM gone
            )
            SELECT * FROM gone ORDER BY category, key";
        let statement = db.prepare_cached(SQL).await?;
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &entity.kind().as_str(),
            &entity.id(),
            &which.id,
            &which.category,
            &which.key,
            &which.words,
            &shortened(actor),
            &now,
        ];
        db.query(&statement, &parameters).await?.iter().map(attribute).collect()
    }

    /// All attributes of these entities, by entity, category and key.
    pub(crate) async fn of_on(db: &impl GenericClient, entities: &[&Entity]) -> Result<Vec<Attribute>, ProfileError> {
        const SQL: &str = "
            SELECT a.id, a.entity_type, a.entity_id, category, key, value, confidence, source, source_message_id,
                   source_memory_id, source_bot_id, created_at, updated_at
              FROM unnest($1::text[], $2::text[]) AS wanted(entity_type, entity_id)
              JOIN profile_attributes a USING (entity_type, entity_id)
             ORDER BY a.entity_type, a.entity_id, category COLLATE \"C\", key COLLATE \"C\"";
        let kinds: Vec<&str> = entities.iter().map(|entity| entity.kind().as_str()).collect();
        let ids: Vec<&str> = entities.iter().map(|entity| entity.id()).collect();
        let rows = db.query(&db.prepare_cached(SQL).await?, &[&kinds, &ids]).await?;
        rows.iter().map(attribute).collect()
    }

    /// One page of the attributes that pass a canonical filter, and how many pass it.
    pub(crate) async fn page_on(
        db: &impl GenericClient,
        filter: &AttributeFilter,
    ) -> Result<(Vec<Attribute>, i64), ProfileError> {
        const PAGE: &str = "
            SELECT id, entity_type, entity_id, category, key, value, confidence, source, source_message_id,
                   source_memory_id, source_bot_id, created_at, updated_at
              FROM profile_attributes
             WHERE ($1::text IS NULL OR entity_type = $1) AND ($2::text IS NULL OR entity_id = $2)
               AND ($3::text IS NULL OR category = $3) AND ($4::text IS NULL OR key = $4)
               AND ($5::text IS NULL OR source = $5) AND ($6::float8 IS NULL OR confidence >= $6)
             ORDER BY updated_at DESC, id DESC
             LIMIT $7 OFFSET $8";
        const COUNT: &str = "
            SELECT count(*)
              FROM profile_attributes
             WHERE ($1::text IS NULL OR entity_type = $1) AND ($2::text IS NULL OR entity_id = $2)
               AND ($3::text IS NULL OR category = $3) AND ($4::text IS NULL OR key = $4)
               AND ($5::text IS NULL OR source = $5) AND ($6::float8 IS NULL OR confidence >= $6)";
        let kind = filter.entity_type.map(EntityType::as_str);
        let tests: [&(dyn ToSql + Sync); 6] =
            [&kind, &filter.entity_id, &filter.category, &filter.key, &filter.source, &filter.min_confidence];
        let mut page = tests.to_vec();
        page.extend([&filter.limit as &(dyn ToSql + Sync), &filter.offset]);
        let rows = db.query(&db.prepare_cached(PAGE).await?, &page).await?;
        let total = db.query_one(&db.prepare_cached(COUNT).await?, &tests).await?.try_get(0)?;
        Ok((rows.iter().map(attribute).collect::<Result<_, _>>()?, total))
    }

    /// What was said about an entity's attributes, newest first.
    pub(crate) async fn history_on(
        db: &impl GenericClient,
        entity: &Entity,
        limit: i64,
    ) -> Result<Vec<HistoryEntry>, ProfileError> {
        const SQL: &str = "
            SELECT attribute_id, category, key, action, old_value, new_value, old_confidence, new_confidence, old_source,
                   new_source, actor, at
              FROM profile_attribute_history
             WHERE entity_type = $1 AND entity_id = $2
             ORDER BY id DESC
             LIMIT $3";
        let rows = db.query(&db.prepare_cached(SQL).await?, &[&entity.kind().as_str(), &entity.id(), &limit]).await?;
        let read = |row: &Row| {
            Ok(HistoryEntry {
                attribute_id: row.try_get("attribute_id")?,
                category: row.try_get("category")?,
                key: row.try_get("key")?,
                action: row.try_get("action")?,
                old_value: row.try_get("old_value")?,
                new_value: row.try_get("new_value")?,
                old_confidence: row.try_get("old_confidence")?,
                new_confidence: row.try_get("new_confidence")?,
                old_source: row.try_get("old_source")?,
                new_source: row.try_get("new_source")?,
                actor: row.try_get("actor")?,
                at: row.try_get("at")?,
            })
        };
        rows.iter().map(read).collect()
    }
}

/// Which attributes of an entity are meant; every given test must hold.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Which<'a> {
    pub id: Option<i64>,
    pub category: Option<&'a str>,
    pub key: Option<&'a str>,
    /// Lower-cased words that occur in key or value.
    pub words: Option<&'a str>,
}

fn shortened(actor: Option<&str>) -> Option<String> {
    actor.map(|actor| actor.chars().filter(|c| *c != '\0').take(ACTOR_MAX).collect())
}

fn attribute(row: &Row) -> Result<Attribute, ProfileError> {
    Ok(Attribute {
        id: row.try_get("id")?,
        entity: Entity::from_stored(row.try_get("entity_type")?, row.try_get("entity_id")?)?,
        category: row.try_get("category")?,
        key: row.try_get("key")?,
        value: row.try_get::<_, Value>("value")?,
        confidence: row.try_get("confidence")?,
        source: Source::parse(row.try_get("source")?).ok_or(ProfileError::Unreadable("source"))?,
        source_message_id: row.try_get("source_message_id")?,
        source_memory_id: row.try_get("source_memory_id")?,
        source_bot_id: row.try_get::<_, Option<String>>("source_bot_id")?.map(BotSlug::from_stored),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
