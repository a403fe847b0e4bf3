//! SQL of the claims on messages for fact extraction. Waiting is `pending` with `lease_until` empty or past; a failed
//! attempt puts its back-off there. Claimed is `claimed` with the end of the lease.

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, Role, UserId};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::MemoryError;
use crate::upkeep::{ClaimRules, WindowMessage};

/// Failed attempts after which messages are left alone.
const MOST_ATTEMPTS: i32 = crate::upkeep::MOST_ATTEMPTS;

/// Whose window it is.
#[derive(Debug, Clone)]
pub(crate) struct WindowHead {
    pub(crate) session: Option<Uuid>,
    pub(crate) user: Option<UserId>,
}

/// Claims on messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExtractionClaims;

impl ExtractionClaims {
    /// The oldest waiting message decides session and user; its window is locked, rows that others hold are passed over.
    pub(crate) async fn lock_window_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        rules: &ClaimRules,
        now: Timestamp,
    ) -> Result<Option<(WindowHead, Vec<(WindowMessage, i64)>)>, MemoryError> {
        const HEAD: &str = "
            SELECT m.session_id, m.user_id
              FROM messages m
             WHERE m.bot_id = $1 AND m.extraction_state = 'pending' AND m.role IN ('user', 'assistant')
               AND (m.lease_until IS NULL OR m.lease_until <= $2)
               AND (m.ts <= $3 OR EXISTS (SELECT FROM messages a
                                           WHERE a.bot_id = $1 AND a.turn_id = m.turn_id AND a.role = 'assistant'))
             ORDER BY m.ts, m.seq
             LIMIT 1
               FOR UPDATE OF m SKIP LOCKED";
        const ROWS: &str = "
            SELECT m.id, m.role, m.ts, m.seq,
                   CASE WHEN char_length(m.content) > 16000
                        THEN left(m.content, 10000) || E'\\n…\\n' || right(m.content, 5000)
                        ELSE m.content END AS content
              FROM messages m
             WHERE m.bot_id = $1 AND m.extraction_state = 'pending' AND m.role IN ('user', 'assistant')
               AND (m.lease_until IS NULL OR m.lease_until <= $2)
               AND (m.ts <= $3 OR EXISTS (SELECT FROM messages a
                                           WHERE a.bot_id = $1 AND a.turn_id = m.turn_id AND a.role = 'assistant'))
               AND m.session_id IS NOT DISTINCT FROM $4 AND m.user_id IS NOT DISTINCT FROM $5
             ORDER BY m.ts, m.seq
             LIMIT $6
               FOR UPDATE OF m SKIP LOCKED";
        let settled = now.checked_sub(rules.settled).unwrap_or(now);
        let statement = db.prepare_cached(HEAD).await?;
        let Some(row) = db.query_opt(&statement, &[&bot.as_str(), &now, &settled]).await? else {
            return Ok(None);
        };
        let (session, user): (Option<Uuid>, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        let limit = i64::try_from(rules.rows.clamp(1, 500)).unwrap_or(50);
        let statement = db.prepare_cached(ROWS).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &now, &settled, &session, &user.as_deref(), &limit]).await?;
        let messages = rows
            .iter()
            .map(|row| Ok((window_message(row)?, row.try_get("seq")?)))
            .collect::<Result<_, MemoryError>>()?;
        Ok(Some((WindowHead { session, user: user.map(UserId::from_stored) }, messages)))
    }

    /// Claims locked rows until `until`. Gives the end of the lease as it is stored.
    pub(crate) async fn claim_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
        until: Timestamp,
    ) -> Result<Timestamp, MemoryError> {
        const SQL: &str = "
            UPDATE messages SET extraction_state = 'claimed', lease_until = $3
             WHERE bot_id = $1 AND id = ANY($2)
            RETURNING lease_until";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &ids, &until]).await?;
        rows.first().map_or(Ok(until), |row| Ok(row.try_get(0)?))
    }

    /// The messages just before a window that were dealt with already, oldest first. What must not be extracted is not
    /// shown either.
    pub(crate) async fn context_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        head: &WindowHead,
        before: (Timestamp, i64),
        limit: usize,
    ) -> Result<Vec<WindowMessage>, MemoryError> {
        const SQL: &str = "
            SELECT id, role, ts, left(content, 1000) AS content
              FROM messages
             WHERE bot_id = $1 AND session_id = $2 AND user_id IS NOT DISTINCT FROM $3
               AND (ts, seq) < ($4, $5) AND role IN ('user', 'assistant')
               AND extraction_state IN ('done', 'failed')
             ORDER BY ts DESC, seq DESC
             LIMIT $6";
        let Some(session) = head.session else { return Ok(Vec::new()) };
        let limit = i64::try_from(limit).unwrap_or(0);
        let user = head.user.as_ref().map(UserId::as_str);
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &session, &user, &before.0, &before.1, &limit]).await?;
        rows.iter().rev().map(window_message).collect()
    }

    /// Marks claimed messages as done. Gives those that were, and how many belong to somebody else by now.
    pub(crate) async fn finish_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
        lease: Timestamp,
    ) -> Result<(Vec<Uuid>, usize), MemoryError> {
        const LOST: &str = "
            SELECT id FROM messages
             WHERE bot_id = $1 AND id = ANY($2)
               AND (extraction_state <> 'claimed' OR lease_until IS DISTINCT FROM $3)
               FOR UPDATE";
        const DONE: &str = "
            UPDATE messages SET extraction_state = 'done', lease_until = NULL
             WHERE bot_id = $1 AND id = ANY($2) AND extraction_state = 'claimed' AND lease_until = $3
            RETURNING id";
        let statement = db.prepare_cached(LOST).await?;
        let lost = db.query(&statement, &[&bot.as_str(), &ids, &lease]).await?.len();
        let statement = db.prepare_cached(DONE).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &ids, &lease]).await?;
        let done = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok((done, lost))
    }

    /// Marks waiting and failed messages behind a summary as done.
    pub(crate) async fn finish_covered_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        summary: Uuid,
    ) -> Result<u64, MemoryError> {
        const SQL: &str = "
            UPDATE messages SET extraction_state = 'done', lease_until = NULL
             WHERE bot_id = $1 AND summary_id = $2 AND extraction_state IN ('pending', 'failed')";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&bot.as_str(), &summary]).await?)
    }

    /// Gives claimed messages back, as an attempt that failed or as if nothing had been.
    pub(crate) async fn release_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
        lease: Timestamp,
        failed: bool,
        now: Timestamp,
    ) -> Result<(), MemoryError> {
        const FAILED: &str = "
            UPDATE messages
               SET extraction_attempts = extraction_attempts + 1,
                   extraction_state = CASE WHEN extraction_attempts + 1 >= $4 THEN 'failed' ELSE 'pending' END,
                   lease_until = CASE WHEN extraction_attempts + 1 < $4
                                      THEN $5::timestamptz + interval '5 minutes' * (2 ^ (extraction_attempts + 1)) END
             WHERE bot_id = $1 AND id = ANY($2) AND extraction_state = 'claimed' AND lease_until = $3";
        const UNTOUCHED: &str = "
            UPDATE messages SET extraction_state = 'pending', lease_until = NULL
             WHERE bot_id = $1 AND id = ANY($2) AND extraction_state = 'claimed' AND lease_until = $3";
        if failed {
            let statement = db.prepare_cached(FAILED).await?;
            db.execute(&statement, &[&bot.as_str(), &ids, &lease, &MOST_ATTEMPTS, &now]).await?;
        } else {
            let statement = db.prepare_cached(UNTOUCHED).await?;
            db.execute(&statement, &[&bot.as_str(), &ids, &lease]).await?;
        }
        Ok(())
    }

    /// Frees messages whose lease ran out, of one bot or of all. It counts as a failed attempt, so that a message that
    /// kills its extractor is not tried for ever; the next attempt need not wait.
    pub(crate) async fn recover_on(
        db: &impl GenericClient,
        bot: Option<&BotSlug>,
        now: Timestamp,
    ) -> Result<u64, MemoryError> {
        const OF_BOT: &str = "
            UPDATE messages
               SET extraction_attempts = extraction_attempts + 1, lease_until = NULL,
                   extraction_state = CASE WHEN extraction_attempts + 1 >= $2 THEN 'failed' ELSE 'pending' END
             WHERE bot_id = $3 AND extraction_state = 'claimed' AND (lease_until IS NULL OR lease_until <= $1)";
        const OF_ALL: &str = "
            UPDATE messages
               SET extraction_attempts = extraction_attempts + 1, lease_until = NULL,
                   extraction_state = CASE WHEN extraction_attempts + 1 >= $2 THEN 'failed' ELSE 'pending' END
             WHERE extraction_state = 'claimed' AND (lease_until IS NULL OR lease_until <= $1)";
        let recovered = match bot {
            Some(bot) => {
                let statement = db.prepare_cached(OF_BOT).await?;
                db.execute(&statement, &[&now, &MOST_ATTEMPTS, &bot.as_str()]).await?
            }
            None => {
                let statement = db.prepare_cached(OF_ALL).await?;
                db.execute(&statement, &[&now, &MOST_ATTEMPTS]).await?
            }
        };
        if recovered > 0 {
            tracing::warn!(bot = bot.map(BotSlug::as_str), recovered, "claims on messages ran out");
        }
        Ok(recovered)
    }

    /// Messages that wait and could be claimed, counted up to 1,000. Those of running turns count, too.
    pub(crate) async fn waiting_on(db: &impl GenericClient, bot: &BotSlug, now: Timestamp) -> Result<i64, MemoryError> {
        const SQL: &str = "
            SELECT count(*) FROM (
                SELECT FROM messages
                 WHERE bot_id = $1 AND role IN ('user', 'assistant')
                   AND (extraction_state = 'pending' AND (lease_until IS NULL OR lease_until <= $2)
                        OR extraction_state = 'claimed' AND lease_until <= $2)
                 LIMIT 1000) AS waiting";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.query_one(&statement, &[&bot.as_str(), &now]).await?.try_get(0)?)
    }

    /// Lets messages that failed for good wait again.
    pub(crate) async fn requeue_on(db: &impl GenericClient, bot: &BotSlug) -> Result<u64, MemoryError> {
        const SQL: &str = "
            UPDATE messages SET extraction_state = 'pending', extraction_attempts = 0, lease_until = NULL
             WHERE bot_id = $1 AND extraction_state = 'failed'";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&bot.as_str()]).await?)
    }
}

fn window_message(row: &Row) -> Result<WindowMessage, MemoryError> {
    let role: &str = row.try_get("role")?;
    Ok(WindowMessage {
        id: row.try_get("id")?,
        role: Role::parse(role).ok_or(MemoryError::Unreadable("role"))?,
        content: row.try_get("content")?,
        ts: row.try_get("ts")?,
    })
}
