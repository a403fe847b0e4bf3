//! SQL over `model_overrides`.

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, UserId};
use jiff::Timestamp;

use crate::error::BotsError;

/// The stored switches.
pub(crate) struct ModelOverrideRepository;

/// The model a user switched a bot to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelOverride {
    pub(crate) bot: BotSlug,
    pub(crate) user: UserId,
    pub(crate) alias: String,
    pub(crate) expires_at: Timestamp,
}

impl ModelOverrideRepository {
    /// All switches that still hold; the others are deleted.
    pub(crate) async fn live_on(db: &impl GenericClient, now: Timestamp) -> Result<Vec<ModelOverride>, BotsError> {
        const EXPIRED: &str = "DELETE FROM model_overrides WHERE expires_at <= $1";
        const LIVE: &str = "SELECT bot_id, user_id, model_alias, expires_at FROM model_overrides";
        db.execute(&db.prepare_cached(EXPIRED).await?, &[&now]).await?;
        let rows = db.query(&db.prepare_cached(LIVE).await?, &[]).await?;
        let read = |row: &tokio_postgres::Row| {
            Ok(ModelOverride {
                bot: BotSlug::from_stored(row.try_get::<_, String>(0)?),
                user: UserId::from_stored(row.try_get::<_, String>(1)?),
                alias: row.try_get(2)?,
                expires_at: row.try_get(3)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Records a switch in place of an earlier one.
    pub(crate) async fn put_on(db: &impl GenericClient, switch: &ModelOverride) -> Result<(), BotsError> {
        const SQL: &str = "
            INSERT INTO model_overrides (bot_id, user_id, model_alias, expires_at)
            VALUES ($1, $2, $3, $4)
                ON CONFLICT (bot_id, user_id)
                DO UPDATE SET model_alias = excluded.model_alias, expires_at = excluded.expires_at";
        let statement = db.prepare_cached(SQL).await?;
        let ModelOverride { bot, user, alias, expires_at } = switch;
        db.execute(&statement, &[&bot.as_str(), &user.as_str(), alias, expires_at]).await?;
        Ok(())
    }

    /// Takes away all switches of a bot, or all.
    pub(crate) async fn clear_on(db: &impl GenericClient, bot: Option<&BotSlug>) -> Result<i64, BotsError> {
        const SQL: &str = "DELETE FROM model_overrides WHERE $1::text IS NULL OR bot_id = $1";
        let bot = bot.map(BotSlug::as_str);
        let deleted = db.execute(&db.prepare_cached(SQL).await?, &[&bot]).await?;
        Ok(i64::try_from(deleted).unwrap_or(i64::MAX))
    }
}
