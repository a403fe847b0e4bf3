//! SQL over `sessions`.

use std::time::Duration;

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, UserId};
use greenroom_store::StoreError;
use jiff::Timestamp;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use crate::MemoryError;
use crate::sessions::{CloseReason, Session, SessionFilter, SessionStatus};

pub(crate) struct SessionRepository;

/// A session that messages about to be written need.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) bot: &'a str,
    pub(crate) user: &'a str,
    /// The session that the caller names.
    pub(crate) named: Option<Uuid>,
    /// Times of the first and the last message.
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) gap: Duration,
}

/// Statements and binds, ready to be sent without waiting.
pub(crate) struct Opening {
    close: Statement,
    open: Option<Statement>,
    name: Option<Statement>,
    rows: Vec<Place>,
}

/// A wanted session with the values that its statements take.
struct Place {
    bot: String,
    user: String,
    /// An open session without a message since then is over.
    silent: Timestamp,
    named: Option<Uuid>,
    id: Uuid,
    first: Timestamp,
    last: Timestamp,
}

impl SessionRepository {
    /// Prepares what [`Self::open_on`] sends.
    pub(crate) async fn prepare_on(db: &impl GenericClient, wanted: &[&Wanted<'_>]) -> Result<Opening, StoreError> {
        const CLOSE: &str = "
            UPDATE sessions s
               SET status = 'completed', ended_at = s.last_activity_at,
                   closed_reason = CASE WHEN s.last_activity_at < w.silent THEN 'gap' ELSE 'explicit' END
              FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[]) AS w(bot_id, user_id, silent, named)
             WHERE s.bot_id = w.bot_id AND coalesce(s.user_id, '') = w.user_id AND s.status = 'active'
               AND (w.named IS NULL AND s.last_activity_at < w.silent OR s.id <> w.named)";
        const OPEN: &str = "
            INSERT INTO sessions (id, bot_id, user_id, started_at, last_activity_at, participants)
            SELECT id, bot_id, user_id, began, latest, ARRAY[bot_id]
              FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
                   AS w(id, bot_id, user_id, began, latest)
             ORDER BY bot_id, user_id
            ON CONFLICT (bot_id, coalesce(user_id, '')) WHERE status = 'active' DO UPDATE
               SET last_activity_at = greatest(sessions.last_activity_at, excluded.last_activity_at)";
        // A closed session is opened again only by the person and the bot it belongs to.
        const NAME: &str = "
            INSERT INTO sessions (id, bot_id, user_id, started_at, last_activity_at, participants)
            SELECT DISTINCT ON (id) id, bot_id, user_id, began, max(latest) OVER (PARTITION BY id), ARRAY[bot_id]
              FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
                   AS w(id, bot_id, user_id, began, latest)
             ORDER BY id, began
            ON CONFLICT (id) DO UPDATE
               SET last_activity_at = greatest(sessions.last_activity_at, excluded.last_activity_at),
                   status = CASE WHEN sessions.bot_id = excluded.bot_id THEN 'active' ELSE sessions.status END,
                   ended_at = CASE WHEN sessions.bot_id = excluded.bot_id OR sessions.status = 'active' THEN NULL
                                   ELSE greatest(sessions.ended_at, excluded.last_activity_at) END,
                   closed_reason = CASE WHEN sessions.bot_id = excluded.bot_id THEN NULL ELSE sessions.closed_reason END
             WHERE sessions.status = 'active' OR sessions.user_id = excluded.user_id";
        let any = |named: bool| wanted.iter().any(|w| w.named.is_some() == named);
        let rows = wanted.iter().map(|w| Place {
            bot: w.bot.to_owned(),
            user: w.user.to_owned(),
            silent: w.first.checked_sub(w.gap).unwrap_or(w.first),
            named: w.named,
            id: w.named.unwrap_or_else(Uuid::new_v4),
            first: w.first,
            last: w.last,
        });
        let rows = rows.collect();
        Ok(Opening {
            close: db.prepare_cached(CLOSE).await?,
            open: if any(false) { Some(db.prepare_cached(OPEN).await?) } else { None },
            name: if any(true) { Some(db.prepare_cached(NAME).await?) } else { None },
            rows,
        })
    }

    /// Closes sessions that have been silent for too long or that another one replaces, then opens or touches the wanted
    /// ones. All statements are sent on the first poll.
    pub(crate) async fn open_on(db: &impl GenericClient, opening: &Opening) -> Result<(), StoreError> {
        let rows = &opening.rows;
        let bots: Vec<&str> = rows.iter().map(|row| row.bot.as_str()).collect();
        let users: Vec<&str> = rows.iter().map(|row| row.user.as_str()).collect();
        let silent: Vec<Timestamp> = rows.iter().map(|row| row.silent).collect();
        let named: Vec<Option<Uuid>> = rows.iter().map(|row| row.named).collect();
        let put = async |statement: &Option<Statement>, is_named: bool| {
            let Some(statement) = statement else { return Ok(0) };
            let part: Vec<&Place> = rows.iter().filter(|row| row.named.is_some() == is_named).collect();
            db.execute(
                statement,
                &[
                    &part.iter().map(|row| row.id).collect::<Vec<Uuid>>(),
                    &part.iter().map(|row| row.bot.as_str()).collect::<Vec<&str>>(),
                    &part.iter().map(|row| row.user.as_str()).collect::<Vec<&str>>(),
                    &part.iter().map(|row| row.first).collect::<Vec<Timestamp>>(),
                    &part.iter().map(|row| row.last).collect::<Vec<Timestamp>>(),
                ],
            )
            .await
        };
        let close: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&bots, &users, &silent, &named];
        let (closed, opened, touched) = tokio::join!(
            biased;
            db.execute(&opening.close, &close),
            put(&opening.open, false),
            put(&opening.name, true),
        );
        closed.and(opened).and(touched)?;
        Ok(())
    }

    /// Sessions, newest first.
    pub(crate) async fn list_on(db: &impl GenericClient, filter: &SessionFilter) -> Result<Vec<Session>, MemoryError> {
        const SQL: &str = "
            SELECT id, bot_id, user_id, started_at, last_activity_at, ended_at, status, closed_reason, message_count,
                   participants, metadata
              FROM sessions
             WHERE ($1::text IS NULL OR bot_id = $1 OR participants @> ARRAY[$1])
               AND ($2::text IS NULL OR user_id = $2)
               AND ($3::timestamptz IS NULL OR started_at >= $3)
               AND ($4::text IS NULL OR status = $4)
             ORDER BY started_at DESC, id
             LIMIT $5";
        let statement = db.prepare_cached(SQL).await?;
        let bot = filter.bot.as_ref().map(BotSlug::as_str);
        let user = filter.user.as_ref().map(UserId::as_str);
        let status = filter.status.map(SessionStatus::as_str);
        let rows = db.query(&statement, &[&bot, &user, &filter.since, &status, &filter.limit()]).await?;
        rows.iter().map(session).collect()
    }

    pub(crate) async fn get_on(db: &impl GenericClient, id: Uuid) -> Result<Option<Session>, MemoryError> {
        const SQL: &str = "
            SELECT id, bot_id, user_id, started_at, last_activity_at, ended_at, status, closed_reason, message_count,
                   participants, metadata
              FROM sessions WHERE id = $1";
        let statement = db.prepare_cached(SQL).await?;
        db.query_opt(&statement, &[&id]).await?.as_ref().map(session).transpose()
    }

    /// The open sessions of a bot, of one user if given, the latest first.
    pub(crate) async fn active_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
    ) -> Result<Vec<Session>, MemoryError> {
        const SQL: &str = "
            SELECT id, bot_id, user_id, started_at, last_activity_at, ended_at, status, closed_reason, message_count,
                   participants, metadata
              FROM sessions
             WHERE bot_id = $1 AND ($2::text IS NULL OR user_id = $2) AND status = 'active'
             ORDER BY last_activity_at DESC, id
             LIMIT 500";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &user.map(UserId::as_str)]).await?;
        rows.iter().map(session).collect()
    }

    /// Closes a session; false when it was not open.
    pub(crate) async fn close_on(
        db: &impl GenericClient,
        id: Uuid,
        reason: CloseReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "
            UPDATE sessions
               SET status = 'completed', ended_at = greatest(last_activity_at, $3), closed_reason = $2
             WHERE id = $1 AND status = 'active'";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&id, &reason.as_str(), &now]).await? > 0)
    }

    /// Closes the open session of a bot and a user because it is to begin anew. Gives its id.
    pub(crate) async fn reset_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Option<Uuid>, StoreError> {
        const SQL: &str = "
            UPDATE sessions
               SET status = 'completed', ended_at = greatest(last_activity_at, $3), closed_reason = 'reset'
             WHERE bot_id = $1 AND coalesce(user_id, '') = $2 AND status = 'active'
            RETURNING id";
        let statement = db.prepare_cached(SQL).await?;
        let row = db.query_opt(&statement, &[&bot.as_str(), &user.as_str(), &now]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Closes what has been silent since before `silent`: leftovers of an earlier process.
    pub(crate) async fn recover_on(db: &impl GenericClient, silent: Timestamp) -> Result<u64, StoreError> {
        const SQL: &str = "
            UPDATE sessions
               SET status = 'completed', ended_at = last_activity_at, closed_reason = 'recovered'
             WHERE status = 'active' AND last_activity_at < $1";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&silent]).await?)
    }

    /// Locks sessions, in the order in which messages are written: whoever is about to lock messages and count them out
    /// of their sessions does this first.
    pub(crate) async fn lock_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: Option<&[Uuid]>,
    ) -> Result<(), StoreError> {
        const OF_BOT: &str = "
            SELECT FROM sessions WHERE bot_id = $1 ORDER BY coalesce(user_id, ''), id FOR UPDATE";
        const BY_ID: &str = "
            SELECT FROM sessions WHERE id = ANY($1) ORDER BY bot_id, coalesce(user_id, ''), id FOR UPDATE";
        match ids {
            None => db.query(&db.prepare_cached(OF_BOT).await?, &[&bot.as_str()]).await?,
            Some(ids) => db.query(&db.prepare_cached(BY_ID).await?, &[&ids]).await?,
        };
        Ok(())
    }

    /// Removes a bot's sessions. One in which other bots spoke goes on as theirs.
    pub(crate) async fn purge_on(db: &impl GenericClient, bot: &BotSlug) -> Result<u64, StoreError> {
        const DELETE: &str = "DELETE FROM sessions WHERE bot_id = $1 AND participants <@ ARRAY[$1]";
        const HAND_OVER: &str = "
            UPDATE sessions
               SET participants = array_remove(participants, $1),
                   bot_id = CASE WHEN bot_id = $1 THEN (array_remove(participants, $1))[1] ELSE bot_id END,
                   status = 'completed', ended_at = coalesce(ended_at, last_activity_at),
                   closed_reason = coalesce(closed_reason, 'explicit')
             WHERE participants @> ARRAY[$1]";
        let statement = db.prepare_cached(DELETE).await?;
        let gone = db.execute(&statement, &[&bot.as_str()]).await?;
        let statement = db.prepare_cached(HAND_OVER).await?;
        db.execute(&statement, &[&bot.as_str()]).await?;
        Ok(gone)
    }
}

fn session(row: &Row) -> Result<Session, MemoryError> {
    let reason: Option<&str> = row.try_get("closed_reason")?;
    Ok(Session {
        id: row.try_get("id")?,
        bot: BotSlug::from_stored(row.try_get::<_, String>("bot_id")?),
        user: row.try_get::<_, Option<String>>("user_id")?.map(UserId::from_stored),
        started_at: row.try_get("started_at")?,
        last_activity_at: row.try_get("last_activity_at")?,
        ended_at: row.try_get("ended_at")?,
        status: SessionStatus::parse(row.try_get("status")?).ok_or(MemoryError::Unreadable("session status"))?,
        closed_reason: reason.and_then(CloseReason::parse),
        message_count: row.try_get("message_count")?,
        participants: row.try_get::<_, Vec<String>>("participants")?.into_iter().map(BotSlug::from_stored).collect(),
        metadata: row.try_get("metadata")?,
    })
}
