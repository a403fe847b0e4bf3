//! SQL that reads messages for the summariser: the window of what is visible, sizes without texts, texts of one
//! conversation. Every statement is bounded by its limit, whatever has been imported.

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, Role, UserId};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::repository::message_rows::{said, stored};
use crate::summaries::{Cost, HistoryWindow, Position, Rules, SourceMessage, SourceRow, SummaryError};
use crate::{MemoryError, SaidMessage, StoredMessage};

/// Messages as material for summaries.
#[derive(Debug, Clone, Copy)]
pub struct SummarySources;

impl SummarySources {
    /// Measures the visible messages of a history, newest first and no further than could fit.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn window_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
        rules: &Rules,
    ) -> Result<HistoryWindow, SummaryError> {
        const SQL: &str = "
            WITH newest AS (
                SELECT ts, seq, (octet_length(content) + 3) / 4 + 4 AS tokens
                  FROM messages
                 WHERE bot_id = $1 AND summary_id IS NULL AND role <> 'system' AND ($2::text IS NULL OR user_id = $2)
                 ORDER BY ts DESC, seq DESC
                 LIMIT $3
            ), measured AS (
                SELECT ts, seq, row_number() OVER newest_first AS n, sum(tokens) OVER newest_first AS running
                  FROM newest
                WINDOW newest_first AS (ORDER BY ts DESC, seq DESC ROWS UNBOUNDED PRECEDING)
            )
            SELECT coalesce((SELECT max(running) FROM measured), 0)::bigint AS total,
                   coalesce((SELECT max(running) FROM measured WHERE n <= $4 OR running <= $5), 0)::bigint AS kept,
                   overflow.ts AS overflow_ts, overflow.seq AS overflow_seq,
                   protected.ts AS protected_ts, protected.seq AS protected_seq
              FROM (SELECT) AS one
              LEFT JOIN (SELECT ts, seq FROM measured WHERE n > $4 AND running > $5 ORDER BY n LIMIT 1) AS overflow
                     ON true
              LEFT JOIN (SELECT ts, seq FROM measured WHERE n <= $4 ORDER BY n DESC LIMIT 1) AS protected ON true";
        // No message counts for less than five tokens.
        let enough = (rules.high_water() / 5).saturating_add(rules.protected_messages()).saturating_add(2);
        let (enough, protected) = (bounded(enough), bounded(rules.protected_messages()));
        let (user, low_water) = (user.map(UserId::as_str), bounded(rules.low_water()));
        let statement = db.prepare_cached(SQL).await?;
        let row = db.query_one(&statement, &[&bot.as_str(), &user, &enough, &protected, &low_water]).await?;
        let position = |ts: &str, seq: &str| -> Result<Option<Position>, SummaryError> {
            let (ts, seq): (Option<Timestamp>, Option<i64>) = (row.try_get(ts)?, row.try_get(seq)?);
            Ok(ts.zip(seq))
        };
        Ok(HistoryWindow {
            total: cost(row.try_get("total")?),
            kept: cost(row.try_get("kept")?),
            overflow: position("overflow_ts", "overflow_seq")?,
            protected: position("protected_ts", "protected_seq")?,
        })
    }

    /// The people with visible messages, who for a bot with one history per user have one each.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn users_on(db: &impl GenericClient, bot: &BotSlug) -> Result<Vec<UserId>, SummaryError> {
        // A loose scan of the index on (bot_id, user_id, …): one step per user, not per message.
        const SQL: &str = "
            WITH RECURSIVE users AS (
                (SELECT user_id FROM messages WHERE bot_id = $1 AND user_id IS NOT NULL ORDER BY user_id LIMIT 1)
                UNION ALL
                SELECT (SELECT m.user_id FROM messages m
                         WHERE m.bot_id = $1 AND m.user_id > users.user_id ORDER BY m.user_id LIMIT 1)
                  FROM users WHERE users.user_id IS NOT NULL
            )
            SELECT user_id FROM users WHERE user_id IS NOT NULL";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str()]).await?;
        rows.iter().map(|row| Ok(UserId::from_stored(row.try_get::<_, String>(0)?))).collect()
    }

    /// The oldest visible messages, oldest first, without texts.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn oldest_visible_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
        limit: i64,
    ) -> Result<Vec<SourceRow>, SummaryError> {
        const SQL: &str = "
            SELECT id, role, ts, seq, user_id, session_id, octet_length(content) AS size, summary_id
              FROM messages
             WHERE bot_id = $1 AND summary_id IS NULL AND role <> 'system' AND ($2::text IS NULL OR user_id = $2)
             ORDER BY ts, seq
             LIMIT $3";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &user.map(UserId::as_str), &limit]).await?;
        rows.iter().map(source_row).collect()
    }

    /// Messages to rebuild summaries from, newest first, without texts: those that are covered, and the visible ones up
    /// to `overflow`, all of them older than `before`.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn rebuildable_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
        overflow: Option<Position>,
        before: Position,
        limit: i64,
    ) -> Result<Vec<SourceRow>, SummaryError> {
        const SQL: &str = "
            SELECT id, role, ts, seq, user_id, session_id, octet_length(content) AS size, summary_id
              FROM messages
             WHERE bot_id = $1 AND role <> 'system' AND ($2::text IS NULL OR user_id = $2)
               AND (summary_id IS NOT NULL OR (ts, seq) <= ($3, $4)) AND (ts, seq) < ($5, $6)
             ORDER BY ts DESC, seq DESC
             LIMIT $7";
        let (ts, seq) = overflow.unwrap_or((Timestamp::UNIX_EPOCH, i64::MIN));
        let user = user.map(UserId::as_str);
        let statement = db.prepare_cached(SQL).await?;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&bot.as_str(), &user, &ts, &seq, &before.0, &before.1, &limit];
        db.query(&statement, &parameters).await?.iter().map(source_row).collect()
    }

    /// What a summary stands for, oldest first, without texts.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn covered_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        summary: Uuid,
        limit: i64,
    ) -> Result<Vec<SourceRow>, SummaryError> {
        const SQL: &str = "
            SELECT id, role, ts, seq, user_id, session_id, octet_length(content) AS size, summary_id
              FROM messages
             WHERE bot_id = $1 AND summary_id = $2
             ORDER BY ts, seq
             LIMIT $3";
        let statement = db.prepare_cached(SQL).await?;
        db.query(&statement, &[&bot.as_str(), &summary, &limit]).await?.iter().map(source_row).collect()
    }

    /// The newest messages that context may show, newest first: at most `limit`, older than `before`.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn visible_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
        before: Position,
        limit: i64,
    ) -> Result<Vec<SaidMessage>, MemoryError> {
        // Two branches, so that the first is a walk along the index of what no summary covers.
        const SQL: &str = "
            (SELECT id, role, content, ts, seq, CASE role WHEN 'tool' THEN metadata END AS tool
               FROM messages
              WHERE bot_id = $1 AND summary_id IS NULL AND (ts, seq) < ($2, $3) AND ($4::text IS NULL OR user_id = $4)
              ORDER BY ts DESC, seq DESC
              LIMIT $5)
            UNION ALL
            (SELECT m.id, m.role, m.content, m.ts, m.seq, CASE m.role WHEN 'tool' THEN m.metadata END
               FROM summaries s JOIN messages m ON m.bot_id = s.bot_id AND m.summary_id = s.id
              WHERE s.bot_id = $1 AND s.state = 'stale' AND (m.ts, m.seq) < ($2, $3)
                AND ($4::text IS NULL OR m.user_id = $4)
              ORDER BY m.ts DESC, m.seq DESC
              LIMIT $5)
            ORDER BY ts DESC, seq DESC
            LIMIT $5";
        let statement = db.prepare_cached(SQL).await?;
        let user = user.map(UserId::as_str);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&bot.as_str(), &before.0, &before.1, &user, &limit];
        db.query(&statement, &parameters).await?.iter().map(said).collect()
    }

    /// The messages behind summaries of level 0, oldest first.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn behind_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        summaries: &[Uuid],
        limit: i64,
    ) -> Result<Vec<StoredMessage>, MemoryError> {
        const SQL: &str = "
            SELECT id, role, content, ts, seq, user_id, turn_id, status, metadata, session_id, summary_id, recalled_at,
                   extraction_state, created_at
              FROM messages
             WHERE bot_id = $1 AND summary_id = ANY($2)
             ORDER BY ts, seq
             LIMIT $3";
        let statement = db.prepare_cached(SQL).await?;
        db.query(&statement, &[&bot.as_str(), &summaries, &limit]).await?.iter().map(stored).collect()
    }

    /// The texts of these messages, oldest first; of one longer than 40,000 characters its first 24,000 and its last
    /// 12,000.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn texts_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<Vec<SourceMessage>, SummaryError> {
        const SQL: &str = "
            SELECT id, role, ts, summary_id,
                   CASE WHEN char_length(content) <= 40000 THEN content
                        ELSE left(content, 24000) || E'\\n[… shortened …]\\n' || right(content, 12000) END AS content
              FROM messages
             WHERE bot_id = $1 AND id = ANY($2)
             ORDER BY ts, seq";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &ids]).await?;
        rows.iter()
            .map(|row| {
                Ok(SourceMessage {
                    id: row.try_get("id")?,
                    role: role(row)?,
                    content: row.try_get("content")?,
                    ts: row.try_get("ts")?,
                    covered: row.try_get("summary_id")?,
                })
            })
            .collect()
    }
}

fn source_row(row: &Row) -> Result<SourceRow, SummaryError> {
    let size: i32 = row.try_get("size")?;
    Ok(SourceRow {
        id: row.try_get("id")?,
        role: role(row)?,
        ts: row.try_get("ts")?,
        seq: row.try_get("seq")?,
        user: row.try_get::<_, Option<String>>("user_id")?.map(UserId::from_stored),
        session: row.try_get("session_id")?,
        tokens: crate::summaries::estimate_tokens(usize::try_from(size).unwrap_or(0)),
        covered: row.try_get("summary_id")?,
    })
}

fn role(row: &Row) -> Result<Role, SummaryError> {
    Role::parse(row.try_get("role")?).ok_or(SummaryError::Unreadable("role"))
}

fn cost(tokens: i64) -> Cost {
    Cost::try_from(tokens).unwrap_or(0)
}

fn bounded(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
