//! SQL over `runtime_settings`.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;

use crate::error::BotsError;
use crate::tunable::ScopeType;

/// The stored settings.
pub(crate) struct SettingRepository;

/// One stored setting.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingRow {
    /// Whom it concerns.
    pub scope_type: ScopeType,
    /// `*`, or the bot's slug.
    pub scope_id: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Value,
    /// When it was set.
    pub updated_at: Timestamp,
}

/// Which settings to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingFilter {
    /// Only of this scope.
    pub scope_type: Option<ScopeType>,
    /// Only of this bot (or `*`).
    pub scope_id: Option<String>,
    /// Only this key.
    pub key: Option<String>,
    /// Only keys that begin like this.
    pub key_prefix: Option<String>,
}

impl SettingRepository {
    /// All settings, by scope and key.
    pub(crate) async fn all_on(db: &impl GenericClient) -> Result<Vec<SettingRow>, BotsError> {
        const SQL: &str = "
            SELECT scope_type, scope_id, key, value_json, updated_at
              FROM runtime_settings
             ORDER BY scope_type, scope_id, key COLLATE \"C\"";
        db.query(&db.prepare_cached(SQL).await?, &[]).await?.iter().map(setting).collect()
    }

    /// One page of the settings that pass the filter, and how many pass it.
    pub(crate) async fn page_on(
        db: &impl GenericClient,
        filter: &SettingFilter,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<SettingRow>, i64), BotsError> {
        const PAGE: &str = "
            SELECT scope_type, scope_id, key, value_json, updated_at
              FROM runtime_settings
             WHERE ($1::text IS NULL OR scope_type = $1) AND ($2::text IS NULL OR scope_id = $2)
               AND ($3::text IS NULL OR key = $3) AND ($4::text IS NULL OR starts_with(key, $4))
             ORDER BY scope_type, scope_id, key COLLATE \"C\"
             LIMIT $5 OFFSET $6";
        const COUNT: &str = "
            SELECT count(*)
              FROM runtime_settings
             WHERE ($1::text IS NULL OR scope_type = $1) AND ($2::text IS NULL OR scope_id = $2)
               AND ($3::text IS NULL OR key = $3) AND ($4::text IS NULL OR starts_with(key, $4))";
        let scope = filter.scope_type.map(ScopeType::as_str);
        let (id, key, prefix) = (&filter.scope_id, &filter.key, &filter.key_prefix);
        let page = db.prepare_cached(PAGE).await?;
        let rows = db.query(&page, &[&scope, id, key, prefix, &limit, &offset]).await?;
        let count = db.query_one(&db.prepare_cached(COUNT).await?, &[&scope, id, key, prefix]).await?;
        Ok((rows.iter().map(setting).collect::<Result<_, _>>()?, count.try_get(0)?))
    }

    /// Sets a value.
    pub(crate) async fn put_on(db: &impl GenericClient, row: &SettingRow) -> Result<(), BotsError> {
        const SQL: &str = "
            INSERT INTO runtime_settings (scope_type, scope_id, key, value_json, updated_at)
            VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (scope_type, scope_id, key)
                DO UPDATE SET value_json = excluded.value_json, updated_at = excluded.updated_at";
        let scope = row.scope_type.as_str();
        let statement = db.prepare_cached(SQL).await?;
        db.execute(&statement, &[&scope, &row.scope_id, &row.key, &row.value, &row.updated_at]).await?;
        Ok(())
    }

    /// Sets a value unless the key has one.
    pub(crate) async fn put_if_absent_on(db: &impl GenericClient, row: &SettingRow) -> Result<(), BotsError> {
        const SQL: &str = "
            INSERT INTO runtime_settings (scope_type, scope_id, key, value_json, updated_at)
            VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (scope_type, scope_id, key) DO NOTHING";
        let scope = row.scope_type.as_str();
        let statement = db.prepare_cached(SQL).await?;
        db.execute(&statement, &[&scope, &row.scope_id, &row.key, &row.value, &row.updated_at]).await?;
        Ok(())
    }

    /// Takes a value away; false when there was none.
    pub(crate) async fn delete_on(
        db: &impl GenericClient,
        scope_type: ScopeType,
        scope_id: &str,
        key: &str,
    ) -> Result<bool, BotsError> {
        const SQL: &str = "DELETE FROM runtime_settings WHERE scope_type = $1 AND scope_id = $2 AND key = $3";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&scope_type.as_str(), &scope_id, &key]).await? > 0)
    }

    /// Takes all of a bot's values away.
    pub(crate) async fn purge_on(db: &impl GenericClient, bot: &BotSlug) -> Result<i64, BotsError> {
        const SQL: &str = "DELETE FROM runtime_settings WHERE scope_type = 'bot' AND scope_id = $1";
        let deleted = db.execute(&db.prepare_cached(SQL).await?, &[&bot.as_str()]).await?;
        Ok(i64::try_from(deleted).unwrap_or(i64::MAX))
    }
}

fn setting(row: &Row) -> Result<SettingRow, BotsError> {
    Ok(SettingRow {
        scope_type: ScopeType::parse(row.try_get("scope_type")?).ok_or(BotsError::Unreadable("scope_type"))?,
        scope_id: row.try_get("scope_id")?,
        key: row.try_get("key")?,
        value: row.try_get("value_json")?,
        updated_at: row.try_get("updated_at")?,
    })
}
