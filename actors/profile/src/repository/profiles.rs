//! SQL over `profiles`.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use crate::entity::{Entity, EntityType};
use crate::error::ProfileError;
use crate::profile::{Header, ProfilePatch};

/// The heads of profiles.
pub(crate) struct ProfileRepository;

impl ProfileRepository {
    /// Makes sure that the profile exists and locks it until the transaction's end.
    pub(crate) async fn lock_on(db: &impl GenericClient, entity: &Entity, now: Timestamp) -> Result<(), ProfileError> {
        const SQL: &str = "
            INSERT INTO profiles (entity_type, entity_id, created_at, updated_at)
            VALUES ($1, $2, $3, $3)
                ON CONFLICT (entity_type, entity_id) DO UPDATE SET entity_id = excluded.entity_id";
        let statement = db.prepare_cached(SQL).await?;
        db.execute(&statement, &[&entity.kind().as_str(), &entity.id(), &now]).await?;
        Ok(())
    }

    /// Raises the version of a locked profile whose attributes have changed: its portrait is stale.
    pub(crate) async fn touch_on(db: &impl GenericClient, entity: &Entity, now: Timestamp) -> Result<(), ProfileError> {
        const SQL: &str = "
            UPDATE profiles
               SET version = version + 1, summary_stale = true, updated_at = $3
             WHERE entity_type = $1 AND entity_id = $2";
        let statement = db.prepare_cached(SQL).await?;
        db.execute(&statement, &[&entity.kind().as_str(), &entity.id(), &now]).await?;
        Ok(())
    }

    /// The versions of a user's and a bot's profile; 0 for one that does not exist.
    pub(crate) async fn versions_on(
        db: &impl GenericClient,
        user: Option<&Entity>,
        bot: Option<&Entity>,
    ) -> Result<(i64, i64), ProfileError> {
        const SQL: &str = "
            SELECT coalesce((SELECT version FROM profiles WHERE entity_type = 'user' AND entity_id = $1), 0),
                   coalesce((SELECT version FROM profiles WHERE entity_type = 'bot' AND entity_id = $2), 0)";
        let statement = db.prepare_cached(SQL).await?;
        let row = db.query_one(&statement, &[&user.map(Entity::id), &bot.map(Entity::id)]).await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }

    /// One head.
    pub(crate) async fn find_on(db: &impl GenericClient, entity: &Entity) -> Result<Option<Header>, ProfileError> {
        const SQL: &str = "
            SELECT entity_type, entity_id, email, display_name, description, summary, summary_updated_at,
                   summary_stale, version, created_at, updated_at
              FROM profiles
             WHERE entity_type = $1 AND entity_id = $2";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&entity.kind().as_str(), &entity.id()]).await?;
        row.as_ref().map(header).transpose()
    }

    /// The head of whoever has this id, a user before a bot.
    pub(crate) async fn find_any_on(db: &impl GenericClient, id: &str) -> Result<Option<Header>, ProfileError> {
        const SQL: &str = "
            SELECT entity_type, entity_id, email, display_name, description, summary, summary_updated_at,
                   summary_stale, version, created_at, updated_at
              FROM profiles
             WHERE entity_type IN ('user', 'bot') AND entity_id = $1
             ORDER BY entity_type DESC
             LIMIT 1";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&id]).await?;
        row.as_ref().map(header).transpose()
    }

    /// The user with this address.
    pub(crate) async fn by_email_on(db: &impl GenericClient, email: &str) -> Result<Option<Header>, ProfileError> {
        const SQL: &str = "
            SELECT entity_type, entity_id, email, display_name, description, summary, summary_updated_at,
                   summary_stale, version, created_at, updated_at
              FROM profiles
             WHERE email = $1 AND entity_type = 'user'";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&email]).await?;
        row.as_ref().map(header).transpose()
    }

    /// A page of heads, users first.
    pub(crate) async fn page_on(
        db: &impl GenericClient,
        kind: Option<EntityType>,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<Header>, i64), ProfileError> {
        const PAGE: &str = "
            SELECT entity_type, entity_id, email, display_name, description, summary, summary_updated_at,
                   summary_stale, version, created_at, updated_at
              FROM profiles
             WHERE $1::text IS NULL OR entity_type = $1
             ORDER BY entity_type DESC, entity_id COLLATE \"C\"
             LIMIT $2 OFFSET $3";
        const COUNT: &str = "SELECT count(*) FROM profiles WHERE $1::text IS NULL OR entity_type = $1";
        let kind = kind.map(EntityType::as_str);
        let rows = db.query(&db.prepare_cached(PAGE).await?, &[&kind, &limit, &offset]).await?;
        let total = db.query_one(&db.prepare_cached(COUNT).await?, &[&kind]).await?.try_get(0)?;
        Ok((rows.iter().map(header).collect::<Result<_, _>>()?, total))
    }

    /// Edits a locked head.
    pub(crate) async fn patch_on(
        db: &impl GenericClient,
        entity: &Entity,
        patch: &ProfilePatch,
        now: Timestamp,
    ) -> Result<(), ProfileError> {
        const SQL: &str = "
            UPDATE profiles
               SET display_name = CASE WHEN $3::text IS NULL THEN display_name ELSE nullif($3, '') END,
                   description = CASE WHEN $4::text IS NULL THEN description ELSE nullif($4, '') END,
                   email = CASE WHEN $5::text IS NULL THEN email ELSE nullif($5, '') END,
                   summary = CASE WHEN $6::text IS NULL THEN summary ELSE nullif($6, '') END,
                   summary_updated_at = CASE WHEN $6::text IS NULL THEN summary_updated_at ELSE $7 END,
                   summary_stale = CASE WHEN $6::text IS NULL THEN summary_stale ELSE $6 = '' END,
                   version = version + 1, updated_at = $7
             WHERE entity_type = $1 AND entity_id = $2";
        let statement = db.prepare_cached(SQL).await?;
        let done = db
            .execute(
                &statement,
                &[
                    &entity.kind().as_str(),
                    &entity.id(),
                    &patch.display_name,
                    &patch.description,
                    &patch.email,
                    &patch.summary,
                    &now,
                ],
            )
            .await;
        match done {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Err(ProfileError::EmailTaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Names a locked profile; false when it has this name already.
    pub(crate) async fn rename_on(
        db: &impl GenericClient,
        entity: &Entity,
        name: &str,
        now: Timestamp,
    ) -> Result<bool, ProfileError> {
        const SQL: &str = "
            UPDATE profiles
               SET display_name = $3, version = version + 1, updated_at = $4
             WHERE entity_type = $1 AND entity_id = $2 AND display_name IS DISTINCT FROM $3";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&entity.kind().as_str(), &entity.id(), &name, &now]).await? == 1)
    }

    /// Profiles whose portrait must be made anew, the longest waiting first.
    pub(crate) async fn stale_on(db: &impl GenericClient, limit: i64) -> Result<Vec<Entity>, ProfileError> {
        const SQL: &str = "
            SELECT entity_type, entity_id
              FROM profiles p
             WHERE summary_stale
               AND EXISTS (SELECT FROM profile_attributes a
                            WHERE (a.entity_type, a.entity_id) = (p.entity_type, p.entity_id))
             ORDER BY updated_at
             LIMIT $1";
        let rows = db.query(&db.prepare_cached(SQL).await?, &[&limit]).await?;
        rows.iter().map(|row| Entity::from_stored(row.try_get(0)?, row.try_get(1)?)).collect()
    }

    /// Stores a portrait, unless anything has changed since `seen`.
    pub(crate) async fn portray_on(
        db: &impl GenericClient,
        entity: &Entity,
        seen: i64,
        summary: Option<&str>,
        display_name: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, ProfileError> {
        const SQL: &str = "
            UPDATE profiles
               SET summary = $4, summary_updated_at = $6, summary_stale = false,
                   display_name = coalesce($5, display_name), version = version + 1, updated_at = $6
             WHERE entity_type = $1 AND entity_id = $2 AND version = $3";
        let statement = db.prepare_cached(SQL).await?;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&entity.kind().as_str(), &entity.id(), &seen, &summary, &display_name, &now];
        Ok(db.execute(&statement, &parameters).await? == 1)
    }

    /// Removes a bot's profile with everything that hangs on it, and the references to the bot in other profiles. Gives the
    /// numbers of profiles, attributes and references.
    pub(crate) async fn purge_on(db: &impl GenericClient, bot: &BotSlug) -> Result<[i64; 3], ProfileError> {
        const ATTRIBUTES: &str = "DELETE FROM profile_attributes WHERE entity_type = 'bot' AND entity_id = $1";
        const HEAD: &str = "DELETE FROM profiles WHERE entity_type = 'bot' AND entity_id = $1";
        const REFERENCES: &str = "UPDATE profile_attributes SET source_bot_id = NULL WHERE source_bot_id = $1";
        let mut counts = [0; 3];
        for (count, sql) in counts.iter_mut().zip([ATTRIBUTES, HEAD, REFERENCES]) {
            let changed = db.execute(&db.prepare_cached(sql).await?, &[&bot.as_str()]).await?;
            *count = i64::try_from(changed).unwrap_or(i64::MAX);
        }
        let [attributes, heads, references] = counts;
        Ok([heads, attributes, references])
    }
}

fn header(row: &Row) -> Result<Header, ProfileError> {
    let stale: bool = row.try_get("summary_stale")?;
    Ok(Header {
        entity: Entity::from_stored(row.try_get("entity_type")?, row.try_get("entity_id")?)?,
        email: row.try_get("email")?,
        display_name: row.try_get("display_name")?,
        description: row.try_get("description")?,
        summary: row.try_get::<_, Option<String>>("summary")?.filter(|_| !stale),
        summary_updated_at: row.try_get("summary_updated_at")?,
        summary_stale: stale,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
