//! SQL over `prompt_templates` and `prompt_template_versions`. Times come from the caller.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use crate::error::PromptError;
use crate::template::{Scope, Stored, Version};

/// Most rows that one listing reads.
const LIST_MAX: i64 = 2000;
/// Most versions that are shown.
const VERSIONS_MAX: i64 = 1000;

/// The stored prompts.
pub(crate) struct PromptRepository;

impl PromptRepository {
    /// Makes writers of one prompt wait for each other until the transaction's end.
    pub(crate) async fn lock_on(db: &impl GenericClient, key: &str, scope: &Scope) -> Result<(), PromptError> {
        const SQL: &str = "
            SELECT pg_advisory_xact_lock(hashtextextended('greenroom prompt ' || $1::text || ' ' || $2::text, 0))";
        db.execute(&db.prepare_cached(SQL).await?, &[&key, &scope.id()]).await?;
        Ok(())
    }

    /// The row of exactly this scope.
    pub(crate) async fn exact_on(
        db: &impl GenericClient,
        key: &str,
        scope: &Scope,
    ) -> Result<Option<Stored>, PromptError> {
        const SQL: &str = "
            SELECT key, scope_type, scope_id, title, category, format, body, required_vars, metadata, updated_at,
                   (SELECT max(version) FROM prompt_template_versions v
                     WHERE (v.key, v.scope_type, v.scope_id) = (t.key, t.scope_type, t.scope_id)) AS version
              FROM prompt_templates t
             WHERE key = $1 AND scope_type = $2 AND scope_id = $3";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&key, &scope.kind(), &scope.id()]).await?;
        row.as_ref().map(stored).transpose()
    }

    /// The row that wins for a bot: its own before the global one.
    pub(crate) async fn winning_on(
        db: &impl GenericClient,
        key: &str,
        bot: Option<&BotSlug>,
    ) -> Result<Option<Stored>, PromptError> {
        const SQL: &str = "
            SELECT key, scope_type, scope_id, title, category, format, body, required_vars, metadata, updated_at,
                   (SELECT max(version) FROM prompt_template_versions v
                     WHERE (v.key, v.scope_type, v.scope_id) = (t.key, t.scope_type, t.scope_id)) AS version
              FROM prompt_templates t
             WHERE key = $1 AND (scope_type = 'global' OR (scope_type = 'bot' AND scope_id = $2))
             ORDER BY scope_type
             LIMIT 1";
        let bot = bot.map(BotSlug::as_str);
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&key, &bot]).await?;
        row.as_ref().map(stored).transpose()
    }

    /// All rows of the global scope (when `global`) and of a bot, the bot's first, each by key.
    pub(crate) async fn list_on(
        db: &impl GenericClient,
        global: bool,
        bot: Option<&BotSlug>,
    ) -> Result<Vec<Stored>, PromptError> {
        const SQL: &str = "
            SELECT key, scope_type, scope_id, title, category, format, body, required_vars, metadata, updated_at,
                   (SELECT max(version) FROM prompt_template_versions v
                     WHERE (v.key, v.scope_type, v.scope_id) = (t.key, t.scope_type, t.scope_id)) AS version
              FROM prompt_templates t
             WHERE ($1 AND scope_type = 'global') OR (scope_type = 'bot' AND scope_id = $2)
             ORDER BY scope_type, key COLLATE \"C\"
             LIMIT $3";
        let bot = bot.map(BotSlug::as_str);
        let rows = db.query(&db.prepare_cached(SQL).await?, &[&global, &bot, &LIST_MAX]).await?;
        rows.iter().map(stored).collect()
    }

    /// Writes the active row.
    pub(crate) async fn put_on(
        db: &impl GenericClient,
        row: &Stored,
        updated_by: Option<&str>,
    ) -> Result<(), PromptError> {
        const SQL: &str = "
            INSERT INTO prompt_templates (key, scope_type, scope_id, title, category, format, body, required_vars, metadata,
                                          updated_by, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
                ON CONFLICT (key, scope_type, scope_id) DO UPDATE
               SET title = excluded.title, category = excluded.category, format = excluded.format,
                   body = excluded.body, required_vars = excluded.required_vars, metadata = excluded.metadata,
                   updated_by = excluded.updated_by, updated_at = excluded.updated_at";
        let statement = db.prepare_cached(SQL).await?;
        db.execute(
            &statement,
            &[
                &row.key,
                &row.scope.kind(),
                &row.scope.id(),
                &row.title,
                &row.category,
                &row.format,
                &row.body,
                &row.required_vars,
                &Json(&row.metadata),
                &updated_by,
                &row.updated_at,
            ],
        )
        .await?;
        Ok(())
    }

    /// Deletes the active row and gives what it was.
    pub(crate) async fn delete_on(
        db: &impl GenericClient,
        key: &str,
        scope: &Scope,
    ) -> Result<Option<Stored>, PromptError> {
        const SQL: &str = "
            DELETE FROM prompt_templates
             WHERE key = $1 AND scope_type = $2 AND scope_id = $3
         RETURNING key, scope_type, scope_id, title, category, format, body, required_vars, metadata, updated_at,
                   NULL::integer AS version";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&key, &scope.kind(), &scope.id()]).await?;
        row.as_ref().map(stored).transpose()
    }

    /// Appends a version; the caller holds the prompt's lock. Gives its number.
    pub(crate) async fn append_on(
        db: &impl GenericClient,
        key: &str,
        scope: &Scope,
        body: &str,
        note: Option<&str>,
        by: Option<&str>,
        now: Timestamp,
    ) -> Result<i32, PromptError> {
        const SQL: &str = "
            INSERT INTO prompt_template_versions (key, scope_type, scope_id, version, body, change_note, created_by,
                                                  created_at)
            SELECT $1, $2, $3, coalesce(max(version), 0) + 1, $4, $5, $6, $7
              FROM prompt_template_versions
             WHERE key = $1 AND scope_type = $2 AND scope_id = $3
         RETURNING version";
        let statement = db.prepare_cached(SQL).await?;
        let row = db.query_one(&statement, &[&key, &scope.kind(), &scope.id(), &body, &note, &by, &now]).await?;
        Ok(row.try_get(0)?)
    }

    /// The versions, newest first.
    pub(crate) async fn versions_on(
        db: &impl GenericClient,
        key: &str,
        scope: &Scope,
    ) -> Result<Vec<Version>, PromptError> {
        const SQL: &str = "
            SELECT version, body, change_note, created_by, created_at
              FROM prompt_template_versions
             WHERE key = $1 AND scope_type = $2 AND scope_id = $3
             ORDER BY version DESC
             LIMIT $4";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&key, &scope.kind(), &scope.id(), &VERSIONS_MAX]).await?;
        rows.iter().map(version).collect()
    }

    /// One version.
    pub(crate) async fn version_on(
        db: &impl GenericClient,
        key: &str,
        scope: &Scope,
        number: i32,
    ) -> Result<Option<Version>, PromptError> {
        const SQL: &str = "
            SELECT version, body, change_note, created_by, created_at
              FROM prompt_template_versions
             WHERE key = $1 AND scope_type = $2 AND scope_id = $3 AND version = $4";
        let statement = db.prepare_cached(SQL).await?;
        let row = db.query_opt(&statement, &[&key, &scope.kind(), &scope.id(), &number]).await?;
        row.as_ref().map(version).transpose()
    }

    /// Removes everything of a bot; gives the number of rows in the two tables.
    pub(crate) async fn purge_on(db: &impl GenericClient, bot: &BotSlug) -> Result<(u64, u64), PromptError> {
        const VERSIONS: &str = "DELETE FROM prompt_template_versions WHERE scope_type = 'bot' AND scope_id = $1";
        const ROWS: &str = "DELETE FROM prompt_templates WHERE scope_type = 'bot' AND scope_id = $1";
        let versions = db.execute(&db.prepare_cached(VERSIONS).await?, &[&bot.as_str()]).await?;
        let rows = db.execute(&db.prepare_cached(ROWS).await?, &[&bot.as_str()]).await?;
        Ok((rows, versions))
    }
}

fn stored(row: &Row) -> Result<Stored, PromptError> {
    let scope_id: String = row.try_get("scope_id")?;
    let scope = match row.try_get("scope_type")? {
        "global" => Scope::Global,
        "bot" => Scope::Bot(BotSlug::from_stored(scope_id)),
        _ => return Err(PromptError::Unreadable("scope_type")),
    };
    Ok(Stored {
        key: row.try_get("key")?,
        scope,
        title: row.try_get("title")?,
        category: row.try_get("category")?,
        format: row.try_get("format")?,
        body: row.try_get("body")?,
        required_vars: row.try_get("required_vars")?,
        metadata: row.try_get::<_, Json<Map<String, Value>>>("metadata")?.0,
        updated_at: row.try_get("updated_at")?,
        version: row.try_get("version")?,
    })
}

fn version(row: &Row) -> Result<Version, PromptError> {
    Ok(Version {
        version: row.try_get("version")?,
        body: row.try_get("body")?,
        change_note: row.try_get("change_note")?,
        created_by: row.try_get("created_by")?,
        created_at: row.try_get("created_at")?,
    })
}
