//! SQL that stores, replaces and deletes summaries. Every method runs inside the transaction of an exclusive command of
//! the bot's namespace and touches `summaries` before `messages`.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::summaries::{CommittedSummary, Covers, DeletedSummary, NewSummary, SummaryError, estimate_tokens};

/// When a model that failed over a makeshift summary is asked again.
const REDO_LATER: SignedDuration = SignedDuration::from_hours(24);

/// Changes to the summaries of a bot.
#[derive(Debug, Clone, Copy)]
pub struct SummaryWriter;

impl SummaryWriter {
    /// Stores a summary and points what it covers at it. Summaries whose place it takes go, and what only they covered
    /// becomes visible.
    ///
    /// # Errors
    /// [`SummaryError::Outdated`] when a source is gone, or stands behind a summary that is not replaced;
    /// [`SummaryError::Empty`], [`SummaryError::Store`].
    pub async fn commit_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        new: &NewSummary,
        now: Timestamp,
    ) -> Result<CommittedSummary, SummaryError> {
        let (level, sources) = match &new.covers {
            Covers::Messages(ids) => (0_i16, ids),
            Covers::Summaries(ids) => (1_i16, ids),
        };
        if sources.is_empty() || new.sections.is_blank() {
            return Err(SummaryError::Empty);
        }
        let id = id_of(bot, level, sources);
        mark_parents_stale(db, bot, &new.replaces, id).await?;
        let found = match level {
            0 => lock_messages(db, bot, sources).await?,
            _ => lock_summaries(db, bot, sources).await?,
        };
        if found.sources != sources.len() {
            return Err(SummaryError::Outdated);
        }
        if found.behind.iter().all(|cover| *cover == Some(id)) && !new.replaces.contains(&id) {
            return Ok(CommittedSummary { id, created: false, replaced: Vec::new() });
        }
        if found.behind.iter().flatten().any(|cover| !new.replaces.contains(cover)) {
            return Err(SummaryError::Outdated);
        }
        let replaced = remove(db, bot, level, &new.replaces, id).await?;
        write(db, bot, (id, level), new, &found, now).await?;
        match level {
            0 => cover_messages(db, bot, sources, id).await?,
            _ => cover_summaries(db, bot, sources, id).await?,
        }
        Ok(CommittedSummary { id, created: true, replaced })
    }

    /// Deletes a summary; what it stood for is visible again. A roll-up above it becomes stale.
    ///
    /// # Errors
    /// [`SummaryError::NotFound`], [`SummaryError::Store`].
    pub async fn delete_on(db: &impl GenericClient, bot: &BotSlug, id: Uuid) -> Result<DeletedSummary, SummaryError> {
        // The foreign keys would do the same; this way the messages are counted and their recall marks go, too.
        const SHOW: &str = "
            UPDATE messages SET summary_id = NULL, recalled_at = NULL WHERE bot_id = $1 AND summary_id = $2";
        const DELETE: &str = "DELETE FROM summaries WHERE bot_id = $1 AND id = $2";
        mark_parents_stale(db, bot, &[id], Uuid::nil()).await?;
        let show = db.prepare_cached(SHOW).await?;
        let messages_restored = db.execute(&show, &[&bot.as_str(), &id]).await?;
        let delete = db.prepare_cached(DELETE).await?;
        if db.execute(&delete, &[&bot.as_str(), &id]).await? == 0 {
            return Err(SummaryError::NotFound);
        }
        remove_childless(db, bot).await?;
        Ok(DeletedSummary { id, messages_restored })
    }

    /// A model failed over a makeshift summary: it stays, and its time comes again later.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn postpone_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        id: Uuid,
        now: Timestamp,
    ) -> Result<(), SummaryError> {
        const SQL: &str = "
            UPDATE summaries SET redo_after = $3 WHERE bot_id = $1 AND id = $2 AND redo_after IS NOT NULL";
        let later = now.checked_add(REDO_LATER).unwrap_or(now);
        let statement = db.prepare_cached(SQL).await?;
        db.execute(&statement, &[&bot.as_str(), &id, &later]).await?;
        Ok(())
    }

    /// Notes that messages were recalled from behind their summary.
    ///
    /// # Errors
    /// [`SummaryError::Store`].
    pub async fn mark_recalled_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        messages: &[Uuid],
        now: Timestamp,
    ) -> Result<u64, SummaryError> {
        const SQL: &str = "
            UPDATE messages SET recalled_at = $3
             WHERE bot_id = $1 AND id = ANY($2) AND summary_id IS NOT NULL";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&bot.as_str(), &messages, &now]).await?)
    }
}

/// The id of the summary of these sources: the same sources in the same order always give the same one, so that storing
/// twice is storing once.
fn id_of(bot: &BotSlug, level: i16, sources: &[Uuid]) -> Uuid {
    let mut name = format!("summary\0{bot}\0{level}\0").into_bytes();
    for source in sources {
        name.extend_from_slice(source.as_bytes());
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &name)
}

struct Found {
    sources: usize,
    /// What stands for each source now.
    behind: Vec<Option<Uuid>>,
    start: Timestamp,
    end: Timestamp,
    messages: i32,
}

async fn lock_messages(db: &impl GenericClient, bot: &BotSlug, ids: &[Uuid]) -> Result<Found, SummaryError> {
    const SQL: &str = "
        SELECT id, ts, summary_id FROM messages WHERE bot_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE";
    let statement = db.prepare_cached(SQL).await?;
    let rows = db.query(&statement, &[&bot.as_str(), &ids]).await?;
    let mut found = Found::none(i32::try_from(rows.len()).unwrap_or(i32::MAX));
    for row in rows {
        let ts: Timestamp = row.try_get("ts")?;
        found.add(row.try_get("summary_id")?, ts, ts);
    }
    Ok(found)
}

async fn lock_summaries(db: &impl GenericClient, bot: &BotSlug, ids: &[Uuid]) -> Result<Found, SummaryError> {
    const SQL: &str = "
        SELECT id, parent_id, lower(period) AS starts, upper(period) AS ends, message_count
          FROM summaries
         WHERE bot_id = $1 AND id = ANY($2) AND level = 0 AND state = 'active'
         ORDER BY id FOR UPDATE";
    let statement = db.prepare_cached(SQL).await?;
    let rows = db.query(&statement, &[&bot.as_str(), &ids]).await?;
    let mut found = Found::none(0);
    for row in rows {
        found.messages = found.messages.saturating_add(row.try_get("message_count")?);
        found.add(row.try_get("parent_id")?, row.try_get("starts")?, row.try_get("ends")?);
    }
    Ok(found)
}

impl Found {
    fn none(messages: i32) -> Self {
        Self { sources: 0, behind: Vec::new(), start: Timestamp::MAX, end: Timestamp::MIN, messages }
    }

    fn add(&mut self, behind: Option<Uuid>, start: Timestamp, end: Timestamp) {
        self.sources += 1;
        self.behind.push(behind);
        (self.start, self.end) = (self.start.min(start), self.end.max(end));
    }
}

/// Roll-ups over any of these no longer tell what their parts tell.
async fn mark_parents_stale(
    db: &impl GenericClient,
    bot: &BotSlug,
    ids: &[Uuid],
    except: Uuid,
) -> Result<(), SummaryError> {
    const SQL: &str = "
        UPDATE summaries SET state = 'stale', stale_reason = 'parts changed'
         WHERE bot_id = $1 AND level = 1 AND state = 'active' AND id <> $3
           AND id IN (SELECT parent_id FROM summaries WHERE bot_id = $1 AND id = ANY($2) AND level = 0)";
    let statement = db.prepare_cached(SQL).await?;
    db.execute(&statement, &[&bot.as_str(), &ids, &except]).await?;
    Ok(())
}

/// Takes away the summaries whose place `except` takes; itself it stays, to be written over.
async fn remove(
    db: &impl GenericClient,
    bot: &BotSlug,
    level: i16,
    ids: &[Uuid],
    except: Uuid,
) -> Result<Vec<Uuid>, SummaryError> {
    const SHOW: &str = "
        UPDATE messages SET summary_id = NULL, recalled_at = NULL WHERE bot_id = $1 AND summary_id = ANY($2)";
    const FREE: &str = "UPDATE summaries SET parent_id = NULL WHERE bot_id = $1 AND parent_id = ANY($2)";
    const DELETE: &str = "
        DELETE FROM summaries WHERE bot_id = $1 AND id = ANY($2) AND id <> $3 AND level = $4 RETURNING id";
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let detach = db.prepare_cached(if level == 0 { SHOW } else { FREE }).await?;
    db.execute(&detach, &[&bot.as_str(), &ids]).await?;
    let delete = db.prepare_cached(DELETE).await?;
    let rows = db.query(&delete, &[&bot.as_str(), &ids, &except, &level]).await?;
    let mut replaced: Vec<Uuid> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if ids.contains(&except) {
        replaced.push(except);
    }
    if level == 0 {
        remove_childless(db, bot).await?;
    }
    Ok(replaced)
}

/// A roll-up of nothing says nothing.
async fn remove_childless(db: &impl GenericClient, bot: &BotSlug) -> Result<(), SummaryError> {
    const SQL: &str = "
        DELETE FROM summaries p
         WHERE p.bot_id = $1 AND p.level = 1 AND p.state = 'stale'
           AND NOT EXISTS (SELECT FROM summaries c WHERE c.bot_id = $1 AND c.parent_id = p.id)";
    let statement = db.prepare_cached(SQL).await?;
    db.execute(&statement, &[&bot.as_str()]).await?;
    Ok(())
}

async fn write(
    db: &impl GenericClient,
    bot: &BotSlug,
    (id, level): (Uuid, i16),
    new: &NewSummary,
    found: &Found,
    now: Timestamp,
) -> Result<(), SummaryError> {
    const SQL: &str = "
        INSERT INTO summaries AS old
               (bot_id, id, level, period, message_count, chunk_count, content, sections, method, model,
                token_estimate, user_id, redo_after, created_at, updated_at)
        VALUES ($1, $2, $3, tstzrange($4, $5, '[]'), $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)
        ON CONFLICT (bot_id, id) DO UPDATE
           SET period = excluded.period, message_count = excluded.message_count, chunk_count = excluded.chunk_count,
               content = excluded.content, sections = excluded.sections, method = excluded.method,
               model = excluded.model, token_estimate = excluded.token_estimate, user_id = excluded.user_id,
               redo_after = excluded.redo_after, state = 'active', stale_reason = NULL,
               extracted_at = CASE WHEN old.content = excluded.content THEN old.extracted_at END,
               updated_at = excluded.updated_at";
    let content = new.sections.render();
    let tokens = i32::try_from(estimate_tokens(content.len())).unwrap_or(i32::MAX);
    let redo_after = new.method.is_makeshift().then_some(now);
    let user = new.user.as_ref().map(greenroom_protocol::UserId::as_str);
    let statement = db.prepare_cached(SQL).await?;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 15] = [
        &bot.as_str(),
        &id,
        &level,
        &found.start,
        &found.end,
        &found.messages,
        &new.parts.max(1),
        &content,
        &Json(&new.sections),
        &new.method.as_str(),
        &new.model,
        &tokens,
        &user,
        &redo_after,
        &now,
    ];
    db.execute(&statement, &parameters).await?;
    Ok(())
}

async fn cover_messages(db: &impl GenericClient, bot: &BotSlug, ids: &[Uuid], by: Uuid) -> Result<(), SummaryError> {
    const SQL: &str = "UPDATE messages SET summary_id = $3, recalled_at = NULL WHERE bot_id = $1 AND id = ANY($2)";
    let statement = db.prepare_cached(SQL).await?;
    db.execute(&statement, &[&bot.as_str(), &ids, &by]).await?;
    Ok(())
}

async fn cover_summaries(db: &impl GenericClient, bot: &BotSlug, ids: &[Uuid], by: Uuid) -> Result<(), SummaryError> {
    const SQL: &str = "UPDATE summaries SET parent_id = $3 WHERE bot_id = $1 AND id = ANY($2)";
    let statement = db.prepare_cached(SQL).await?;
    db.execute(&statement, &[&bot.as_str(), &ids, &by]).await?;
    Ok(())
}
