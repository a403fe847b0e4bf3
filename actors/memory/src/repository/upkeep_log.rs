//! SQL of the record of fact extraction, of summaries that wait for it, and of the marks of upkeep.

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, UserId};
use greenroom_store::StoreError;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::MemoryError;
use crate::upkeep::{ExtractableSummary, ExtractionRecord, SummaryClaim};

/// The record of fact extraction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExtractionLog;

impl ExtractionLog {
    pub(crate) async fn write_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        record: &ExtractionRecord,
    ) -> Result<(), MemoryError> {
        const SQL: &str = "
            INSERT INTO extraction_log (id, bot_id, at, source, message_ids, summary_id, user_id, model, method, outcome,
                                        found, stored, dropped, facts, actions, error, took_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let statement = db.prepare_cached(SQL).await?;
        db.execute(
            &statement,
            &[
                &Uuid::new_v4(),
                &bot.as_str(),
                &record.at,
                &record.source.as_str(),
                &record.message_ids,
                &record.summary_id,
                &record.user.as_ref().map(UserId::as_str),
                &record.model,
                &record.method,
                &record.outcome.as_str(),
                &count(record.found),
                &count(record.stored),
                &count(record.dropped),
                &record.facts,
                &record.actions,
                &record.error,
                &i32::try_from(record.took_ms).unwrap_or(i32::MAX),
            ],
        )
        .await?;
        Ok(())
    }

    /// Rows older than `before` go. Gives their number.
    pub(crate) async fn expire_on(db: &impl GenericClient, before: Timestamp) -> Result<u64, MemoryError> {
        const SQL: &str = "DELETE FROM extraction_log WHERE at < $1";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&before]).await?)
    }

    pub(crate) async fn failures_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        summary: Uuid,
        since: Timestamp,
    ) -> Result<i64, MemoryError> {
        const SQL: &str = "
            SELECT count(*) FROM extraction_log
             WHERE bot_id = $1 AND summary_id = $2 AND at >= $3 AND outcome IN ('retry', 'failed')";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.query_one(&statement, &[&bot.as_str(), &summary, &since]).await?.try_get(0)?)
    }

    /// Summaries of sessions without the mark. A summary is read only if some of its messages were not, none of them is
    /// being read just now, and none must not be.
    pub(crate) async fn summaries_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        limit: i64,
    ) -> Result<Vec<ExtractableSummary>, MemoryError> {
        const SQL: &str = "
            SELECT s.id, s.content, lower(s.period) AS start, upper(s.period) AS until, s.user_id, s.updated_at,
                   coalesce(covered.unread, false) AND NOT coalesce(covered.barred, false) AS read
              FROM summaries s
              CROSS JOIN LATERAL (
                   SELECT bool_or(m.extraction_state IN ('pending', 'failed')) AS unread,
                          bool_or(m.extraction_state = 'excluded') AS barred,
                          bool_or(m.extraction_state = 'claimed') AS busy
                     FROM messages m
                    WHERE m.bot_id = $1 AND m.summary_id = s.id AND m.role IN ('user', 'assistant')) AS covered
             WHERE s.bot_id = $1 AND s.extracted_at IS NULL AND s.state = 'active' AND s.level = 0
               AND NOT coalesce(covered.busy, false)
             ORDER BY upper(s.period), s.id
             LIMIT $2";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &limit]).await?;
        rows.iter().map(extractable).collect()
    }

    /// Sets the mark, if the summary is as it was.
    pub(crate) async fn mark_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        summary: Uuid,
        seen: Timestamp,
        now: Timestamp,
    ) -> Result<bool, MemoryError> {
        const SQL: &str = "
            UPDATE summaries SET extracted_at = $4
             WHERE bot_id = $1 AND id = $2 AND updated_at = $3 AND extracted_at IS NULL AND state = 'active'";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&bot.as_str(), &summary, &seen, &now]).await? == 1)
    }
}

fn extractable(row: &Row) -> Result<ExtractableSummary, MemoryError> {
    let start: Option<Timestamp> = row.try_get("start")?;
    let end: Option<Timestamp> = row.try_get("until")?;
    let known = start.or(end).ok_or(MemoryError::Unreadable("period"))?;
    Ok(ExtractableSummary {
        id: row.try_get("id")?,
        content: row.try_get("content")?,
        start: known,
        end: end.unwrap_or(known),
        user: row.try_get::<_, Option<String>>("user_id")?.map(UserId::from_stored),
        claim: if row.try_get("read")? { SummaryClaim::Read } else { SummaryClaim::Mark },
        updated_at: row.try_get("updated_at")?,
    })
}

/// The tables of upkeep that are not partitioned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpkeepRepository;

impl UpkeepRepository {
    /// Deletes what was kept about a bot, inside the caller's transaction. Gives the number of rows.
    pub(crate) async fn purge_on(db: &impl GenericClient, bot: &BotSlug) -> Result<i64, StoreError> {
        const SQL: &str = "
            WITH record AS (DELETE FROM extraction_log WHERE bot_id = $1 RETURNING 1),
                 marks AS (DELETE FROM upkeep_marks WHERE bot_id = $1 RETURNING 1),
                 themes AS (DELETE FROM recurrence_themes WHERE bot_id = $1 RETURNING 1)
            SELECT (SELECT count(*) FROM record) + (SELECT count(*) FROM marks) + (SELECT count(*) FROM themes)";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.query_one(&statement, &[&bot.as_str()]).await?.try_get(0)?)
    }

    /// How far a kind of upkeep has got.
    pub(crate) async fn mark_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        kind: &str,
    ) -> Result<Option<Timestamp>, MemoryError> {
        const SQL: &str = "SELECT at FROM upkeep_marks WHERE bot_id = $1 AND kind = $2";
        let statement = db.prepare_cached(SQL).await?;
        let row = db.query_opt(&statement, &[&bot.as_str(), &kind]).await?;
        row.map(|row| Ok(row.try_get(0)?)).transpose()
    }

    /// Notes how far a kind of upkeep has got; it never goes back.
    pub(crate) async fn set_mark_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        kind: &str,
        at: Timestamp,
    ) -> Result<(), MemoryError> {
        const SQL: &str = "
            INSERT INTO upkeep_marks (bot_id, kind, at) VALUES ($1, $2, $3)
            ON CONFLICT (bot_id, kind) DO UPDATE SET at = greatest(upkeep_marks.at, excluded.at)";
        let statement = db.prepare_cached(SQL).await?;
        db.execute(&statement, &[&bot.as_str(), &kind, &at]).await?;
        Ok(())
    }
}
