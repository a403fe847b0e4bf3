//! SQL that forgets attributes with the messages they came from, and restores them. A forgotten attribute is kept whole in
//! the history until its batch is restored or expires.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use uuid::Uuid;

use crate::entity::Entity;
use crate::error::ProfileError;

/// What is forgotten.
pub(crate) struct ForgetRepository;

impl ForgetRepository {
    /// Locks the profiles that have extracted attributes from these messages of a bot, and names them.
    pub(crate) async fn concerned_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        messages: &[String],
    ) -> Result<Vec<Entity>, ProfileError> {
        const SQL: &str = "
            SELECT p.entity_type, p.entity_id
              FROM profiles p
             WHERE EXISTS (SELECT FROM profile_attributes a
                            WHERE (a.entity_type, a.entity_id) = (p.entity_type, p.entity_id)
                              AND a.source = 'extracted' AND a.source_message_id = ANY($2)
                              AND coalesce(a.source_bot_id, $1) = $1)
             ORDER BY p.entity_type, p.entity_id
               FOR UPDATE OF p";
        let rows = db.query(&db.prepare_cached(SQL).await?, &[&bot.as_str(), &messages]).await?;
        rows.iter().map(|row| Entity::from_stored(row.try_get(0)?, row.try_get(1)?)).collect()
    }

    /// Moves those attributes into the history.
    pub(crate) async fn forget_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        messages: &[String],
        batch: Uuid,
        now: Timestamp,
    ) -> Result<u64, ProfileError> {
        const SQL: &str = "
            WITH gone AS (
                DELETE FROM profile_attributes
                 WHERE source = 'extracted' AND source_message_id = ANY($2) AND coalesce(source_bot_id, $1) = $1
             RETURNING *
            )
            INSERT INTO profile_attribute_history
                   (attribute_id, entity_type, entity_id, category, key, action, old_source, at, batch_id, payload)
            SELECT id, entity_type, entity_id, category, key, 'forgotten', source, $4, $3, to_jsonb(gone)
              FROM gone";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&bot.as_str(), &messages, &batch, &now]).await?)
    }

    /// Locks the profiles that lost attributes in a batch, and names them.
    pub(crate) async fn bereft_on(db: &impl GenericClient, batch: Uuid) -> Result<Vec<Entity>, ProfileError> {
        const SQL: &str = "
            SELECT p.entity_type, p.entity_id
              FROM profiles p
             WHERE EXISTS (SELECT FROM profile_attribute_history h
                            WHERE (h.entity_type, h.entity_id) = (p.entity_type, p.entity_id) AND h.batch_id = $1)
             ORDER BY p.entity_type, p.entity_id
               FOR UPDATE OF p";
        let rows = db.query(&db.prepare_cached(SQL).await?, &[&batch]).await?;
        rows.iter().map(|row| Entity::from_stored(row.try_get(0)?, row.try_get(1)?)).collect()
    }

    /// Puts the attributes of a batch back, each as it was; one that is known again by now stays as it is.
    pub(crate) async fn restore_on(db: &impl GenericClient, batch: Uuid) -> Result<u64, ProfileError> {
        const SQL: &str = "
            WITH taken AS (
                DELETE FROM profile_attribute_history WHERE batch_id = $1 RETURNING payload
            )
            INSERT INTO profile_attributes
                   (id, entity_type, entity_id, category, key, value, confidence, source, source_message_id,
                    source_memory_id, source_bot_id, created_at, updated_at)
            SELECT a.id, a.entity_type, a.entity_id, a.category, a.key, taken.payload -> 'value', a.confidence, a.source,
                   a.source_message_id, a.source_memory_id, a.source_bot_id, a.created_at, a.updated_at
              FROM taken, jsonb_populate_record(NULL::profile_attributes, taken.payload) a
                ON CONFLICT DO NOTHING";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&batch]).await?)
    }

    /// Removes what was forgotten before a time, for good.
    pub(crate) async fn expire_on(db: &impl GenericClient, before: Timestamp) -> Result<u64, ProfileError> {
        const SQL: &str = "DELETE FROM profile_attribute_history WHERE batch_id IS NOT NULL AND at < $1";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&before]).await?)
    }
}
