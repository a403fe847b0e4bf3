//! SQL that reads `summaries`, and the messages behind them. Nothing here writes.

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, UserId};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::summaries::{Method, Sections, Summary, SummaryError, SummaryState};

/// The summaries of all bots; every method names the bot, which selects the partition.
#[derive(Debug, Clone, Copy)]
pub struct SummaryRepository;

impl SummaryRepository {
    /// All levels and states but `replaced`, newest end first.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn list_on(db: &impl GenericClient, bot: &BotSlug, limit: i64) -> Result<Vec<Summary>, SummaryError> {
        const SQL: &str = "
            SELECT id, level, parent_id, user_id, lower(period) AS starts, upper(period) AS ends, message_count,
                   chunk_count, content, sections, method, model, token_estimate, state, extracted_at, created_at,
                   updated_at
              FROM summaries
             WHERE bot_id = $1 AND state <> 'replaced'
             ORDER BY upper(period) DESC, id
             LIMIT $2";
        let statement = db.prepare_cached(SQL).await?;
        db.query(&statement, &[&bot.as_str(), &limit]).await?.iter().map(summary).collect()
    }

    /// How many [`Self::list_on`] could give.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn count_on(db: &impl GenericClient, bot: &BotSlug) -> Result<i64, SummaryError> {
        const SQL: &str = "SELECT count(*) FROM summaries WHERE bot_id = $1 AND state <> 'replaced'";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.query_one(&statement, &[&bot.as_str()]).await?.try_get(0)?)
    }

    /// The summaries of these ids, oldest first.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn get_on(db: &impl GenericClient, bot: &BotSlug, ids: &[Uuid]) -> Result<Vec<Summary>, SummaryError> {
        const SQL: &str = "
            SELECT id, level, parent_id, user_id, lower(period) AS starts, upper(period) AS ends, message_count,
                   chunk_count, content, sections, method, model, token_estimate, state, extracted_at, created_at,
                   updated_at
              FROM summaries
             WHERE bot_id = $1 AND id = ANY($2)
             ORDER BY upper(period), id";
        let statement = db.prepare_cached(SQL).await?;
        db.query(&statement, &[&bot.as_str(), &ids]).await?.iter().map(summary).collect()
    }

    /// Ids between two, which is what a prefix of an id means; at most `limit`.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn between_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        first: Uuid,
        last: Uuid,
        limit: i64,
    ) -> Result<Vec<Uuid>, SummaryError> {
        const SQL: &str = "
            SELECT id FROM summaries
             WHERE bot_id = $1 AND id BETWEEN $2 AND $3 AND state <> 'replaced'
             ORDER BY id LIMIT $4";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &first, &last, &limit]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// What context may show: the newest `limit` active ones of level 0 and the newest active roll-up, in no order. With
    /// a user, only his.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn for_context_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
        limit: i64,
    ) -> Result<Vec<Summary>, SummaryError> {
        const SQL: &str = "
            (SELECT id, level, parent_id, user_id, lower(period) AS starts, upper(period) AS ends, message_count,
                    chunk_count, content, sections, method, model, token_estimate, state, extracted_at, created_at,
                    updated_at
               FROM summaries
              WHERE bot_id = $1 AND state = 'active' AND level = 0 AND ($2::text IS NULL OR user_id = $2)
              ORDER BY upper(period) DESC, id
              LIMIT $3)
            UNION ALL
            (SELECT id, level, parent_id, user_id, lower(period) AS starts, upper(period) AS ends, message_count,
                    chunk_count, content, sections, method, model, token_estimate, state, extracted_at, created_at,
                    updated_at
               FROM summaries
              WHERE bot_id = $1 AND state = 'active' AND level = 1 AND ($2::text IS NULL OR user_id = $2)
              ORDER BY upper(period) DESC, id
              LIMIT 1)";
        let statement = db.prepare_cached(SQL).await?;
        let user = user.map(UserId::as_str);
        db.query(&statement, &[&bot.as_str(), &user, &limit]).await?.iter().map(summary).collect()
    }

    /// Active summaries of level 0 that were made by rule and whose time to be written by a model has come, newest first.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn makeshift_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<Uuid>, SummaryError> {
        const SQL: &str = "
            SELECT id FROM summaries
             WHERE bot_id = $1 AND redo_after <= $2 AND level = 0 AND state = 'active'
             ORDER BY upper(period) DESC, id LIMIT $3";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &now, &limit]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Stale summaries of one level, oldest first.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn stale_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        level: i16,
        limit: i64,
    ) -> Result<Vec<Uuid>, SummaryError> {
        const SQL: &str = "
            SELECT id FROM summaries
             WHERE bot_id = $1 AND state = 'stale' AND level = $2
             ORDER BY upper(period), id LIMIT $3";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &level, &limit]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// The oldest active summaries of level 0 that no roll-up has taken in, of a history (one user's, or the whole bot's)
    /// that has more than `keep` of them: at most `limit`, oldest first, all of one history.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn to_roll_up_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        per_user: bool,
        keep: i64,
        limit: i64,
    ) -> Result<Vec<Summary>, SummaryError> {
        const SQL: &str = "
            WITH free AS (
                SELECT CASE WHEN $2 THEN coalesce(user_id, '') ELSE '' END AS history, id
                  FROM summaries
                 WHERE bot_id = $1 AND level = 0 AND state = 'active' AND parent_id IS NULL
            ), crowded AS (
                SELECT history FROM free GROUP BY history HAVING count(*) > $3 ORDER BY history LIMIT 1
            )
            SELECT s.id, level, parent_id, user_id, lower(period) AS starts, upper(period) AS ends, message_count,
                   chunk_count, content, sections, method, model, token_estimate, state, extracted_at, created_at,
                   updated_at
              FROM crowded JOIN free USING (history) JOIN summaries s ON s.bot_id = $1 AND s.id = free.id
             ORDER BY upper(period), s.id
             LIMIT $4";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &per_user, &keep, &limit]).await?;
        rows.iter().map(summary).collect()
    }

    /// The summaries that a roll-up took in, oldest first.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn children_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        parent: Uuid,
    ) -> Result<Vec<Summary>, SummaryError> {
        const SQL: &str = "
            SELECT id, level, parent_id, user_id, lower(period) AS starts, upper(period) AS ends, message_count,
                   chunk_count, content, sections, method, model, token_estimate, state, extracted_at, created_at,
                   updated_at
              FROM summaries
             WHERE bot_id = $1 AND parent_id = $2
             ORDER BY upper(period), id";
        let statement = db.prepare_cached(SQL).await?;
        db.query(&statement, &[&bot.as_str(), &parent]).await?.iter().map(summary).collect()
    }

    /// Summaries of level 0 that were written before `before`, whose period lies within `from..=to`.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn within_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        (from, to): (Timestamp, Timestamp),
        before: Timestamp,
    ) -> Result<Vec<Uuid>, SummaryError> {
        const SQL: &str = "
            SELECT id FROM summaries
             WHERE bot_id = $1 AND level = 0 AND state <> 'replaced' AND updated_at < $4
               AND period <@ tstzrange($2, $3, '[]')";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &from, &to, &before]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

fn summary(row: &Row) -> Result<Summary, SummaryError> {
    let method: &str = row.try_get("method")?;
    let state: &str = row.try_get("state")?;
    let sections: serde_json::Value = row.try_get("sections")?;
    Ok(Summary {
        id: row.try_get("id")?,
        level: row.try_get("level")?,
        parent: row.try_get("parent_id")?,
        user: row.try_get::<_, Option<String>>("user_id")?.map(UserId::from_stored),
        start: row.try_get("starts")?,
        end: row.try_get("ends")?,
        message_count: row.try_get("message_count")?,
        parts: row.try_get("chunk_count")?,
        content: row.try_get("content")?,
        // Sections of a shape that is not ours are read from the text by whoever needs them.
        sections: serde_json::from_value::<Sections>(sections).unwrap_or_default(),
        method: Method::parse(method).ok_or(SummaryError::Unreadable("method"))?,
        model: row.try_get("model")?,
        token_estimate: row.try_get("token_estimate")?,
        state: SummaryState::parse(state).ok_or(SummaryError::Unreadable("state"))?,
        extracted_at: row.try_get("extracted_at")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
