//! SQL over `messages`: writing, reading by position, by id and by the beginning of an id.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, Role, TurnId, UserId};
use greenroom_store::StoreError;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::message_rows::{far_future, stored};
use super::sessions::{SessionRepository, Wanted};
use crate::MemoryError;
use crate::message::{NewMessage, Recorded, StoredMessage};

/// The messages of all bots; every method names the bot, which selects the partition.
#[derive(Debug, Clone, Copy)]
pub struct MessageRepository;

impl MessageRepository {
    /// Stores messages inside the caller's transaction, each in its session: the one it names, or the open one of its bot
    /// and user, which is closed and replaced when it has been silent for too long. What is stored is queued for
    /// embedding. A message whose id exists already is overwritten when role and user are the same, so that writing
    /// twice is harmless; otherwise it is reported as a conflict and not written, like one that names a closed session of
    /// somebody else.
    ///
    /// Once its statements are prepared this is one round trip. A batch must not name an id twice.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_on(db: &impl GenericClient, messages: &[NewMessage]) -> Result<Recorded, StoreError> {
        const SQL: &str = r"
            WITH wanted AS (
                SELECT m.*, coalesce(m.named, s.id) AS session_id
                  FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[],
                              $8::text[], $9::text[], $10::text[], $11::uuid[]) WITH ORDINALITY
                       AS m(bot_id, id, role, content, ts, user_id, turn_id, status, metadata, extraction_state, named, n)
                  LEFT JOIN sessions s ON s.bot_id = m.bot_id AND coalesce(s.user_id, '') = m.user_id
                                      AND s.status = 'active' AND m.named IS NULL
                 WHERE m.named IS NULL
                    OR EXISTS (SELECT FROM sessions o
                                WHERE o.id = m.named AND (o.status = 'active' OR o.user_id = m.user_id))
            ), put AS (
                INSERT INTO messages (bot_id, id, role, content, ts, user_id, turn_id, status, metadata,
                                      extraction_state, session_id)
                SELECT bot_id, id, role, content, ts, user_id, turn_id, status, metadata::jsonb, extraction_state,
                       session_id
                  FROM wanted ORDER BY n
                ON CONFLICT (bot_id, id) DO UPDATE
                   SET content = excluded.content, status = excluded.status, metadata = excluded.metadata,
                       extraction_state = CASE WHEN messages.content <> excluded.content
                                                AND messages.extraction_state IN ('done', 'failed')
                                               THEN excluded.extraction_state ELSE messages.extraction_state END
                 WHERE messages.role = excluded.role AND messages.user_id IS NOT DISTINCT FROM excluded.user_id
                RETURNING bot_id, id, seq, session_id, role, created_at = now() AS is_new
            ), queued AS (
                INSERT INTO message_embedding_queue (bot_id, seq, message_id)
                SELECT bot_id, seq, id FROM put WHERE role IN ('user', 'assistant') ORDER BY bot_id, seq
                ON CONFLICT (bot_id, seq) DO UPDATE SET stamp = DEFAULT
            ), counted AS (
                UPDATE sessions s
                   SET message_count = s.message_count + c.messages,
                       participants = CASE WHEN s.participants @> c.bots THEN s.participants
                                           ELSE s.participants || c.bots END
                  FROM (SELECT session_id, count(*)::integer AS messages, array_agg(DISTINCT bot_id) AS bots
                          FROM put WHERE is_new GROUP BY session_id) c
                 WHERE s.id = c.session_id
            )
            SELECT bot_id, id FROM put";
        let (messages, segments) = arrange(messages);
        if messages.is_empty() {
            return Ok(Recorded::default());
        }
        let statement = db.prepare_cached(SQL).await?;
        let mut recorded = Recorded::default();
        for round in segments {
            let mut places: Vec<usize> = round.iter().flat_map(|(_, places)| places.iter().copied()).collect();
            places.sort_unstable();
            let batch: Vec<&NewMessage> = places.iter().map(|at| messages[*at]).collect();
            let contents: Vec<Cow<'_, str>> = batch.iter().map(|m| storable(&m.content)).collect();
            let metadata: Vec<Option<String>> = batch.iter().map(|m| m.metadata.as_ref().map(storable_json)).collect();
            let column = |f: fn(&NewMessage) -> &str| batch.iter().map(|m| f(m)).collect::<Vec<&str>>();
            let (bots, roles) = (column(|m| m.bot.as_str()), column(|m| m.role.as_str()));
            let ids: Vec<Uuid> = batch.iter().map(|m| m.id).collect();
            let times: Vec<Timestamp> = batch.iter().map(|m| m.ts).collect();
            let (users, turns) = (column(|m| m.user.as_str()), column(|m| m.turn.as_str()));
            let (statuses, named) =
                (column(|m| m.status.as_str()), batch.iter().map(|m| m.session).collect::<Vec<_>>());
            let extraction = column(|m| if m.extract { "pending" } else { "excluded" });
            let wanted: Vec<&Wanted<'_>> = round.iter().map(|(wanted, _)| wanted).collect();
            let sessions = SessionRepository::prepare_on(db, &wanted).await?;
            let binds: [&(dyn tokio_postgres::types::ToSql + Sync); 11] =
                [&bots, &ids, &roles, &contents, &times, &users, &turns, &statuses, &metadata, &extraction, &named];
            // Sent in this order without waiting for one another: one round trip.
            let (opened, rows) =
                tokio::join!(biased; SessionRepository::open_on(db, &sessions), db.query(&statement, &binds));
            opened?;
            let rows = rows?;
            let written = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
            let written: HashSet<(&str, Uuid)> = written.collect::<Result<_, StoreError>>()?;
            for message in batch {
                let known = written.contains(&(message.bot.as_str(), message.id));
                let list = if known { &mut recorded.stored } else { &mut recorded.conflicts };
                list.push((message.bot.clone(), message.id));
            }
        }
        Ok(recorded)
    }

    /// The newest messages of a bot, newest first: at most `limit`, older than `before` (a `(ts, seq)` position), and
    /// only those of `user` when one is given.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn latest_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
        before: Option<(Timestamp, i64)>,
        limit: i64,
    ) -> Result<Vec<StoredMessage>, MemoryError> {
        const OF_ALL: &str = "
            SELECT id, role, content, ts, seq, user_id, turn_id, status, metadata, session_id, summary_id, recalled_at,
                   extraction_state, created_at
              FROM messages
             WHERE bot_id = $1 AND (ts, seq) < ($2, $3)
             ORDER BY ts DESC, seq DESC
             LIMIT $4";
        const OF_USER: &str = "
            SELECT id, role, content, ts, seq, user_id, turn_id, status, metadata, session_id, summary_id, recalled_at,
                   extraction_state, created_at
              FROM messages
             WHERE bot_id = $1 AND (ts, seq) < ($2, $3) AND user_id = $5
             ORDER BY ts DESC, seq DESC
             LIMIT $4";
        let (ts, seq) = before.unwrap_or((far_future(), i64::MAX));
        let rows = match user {
            None => {
                let statement = db.prepare_cached(OF_ALL).await?;
                db.query(&statement, &[&bot.as_str(), &ts, &seq, &limit]).await?
            }
            Some(user) => {
                let statement = db.prepare_cached(OF_USER).await?;
                db.query(&statement, &[&bot.as_str(), &ts, &seq, &limit, &user.as_str()]).await?
            }
        };
        rows.iter().map(stored).collect()
    }

    /// What people and models said, newest first, older than `before`. `since` leaves out what is older; `only_raw`
    /// leaves out what an active summary stands for.
    pub(crate) async fn said_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        user: Option<&UserId>,
        before: Option<(Timestamp, i64)>,
        since: Option<Timestamp>,
        only_raw: bool,
        limit: i64,
    ) -> Result<Vec<StoredMessage>, MemoryError> {
        const SQL: &str = "
            SELECT id, role, content, ts, seq, user_id, turn_id, status, metadata, session_id, summary_id, recalled_at,
                   extraction_state, created_at
              FROM messages m
             WHERE bot_id = $1 AND role IN ('user', 'assistant') AND (ts, seq) < ($2, $3)
               AND ($4::text IS NULL OR user_id = $4)
               AND ($5::timestamptz IS NULL OR ts >= $5)
               AND (NOT $6 OR summary_id IS NULL
                    OR EXISTS (SELECT FROM summaries s
                                WHERE s.bot_id = $1 AND s.id = m.summary_id AND s.state = 'stale'))
             ORDER BY ts DESC, seq DESC
             LIMIT $7";
        let (ts, seq) = before.unwrap_or((far_future(), i64::MAX));
        let statement = db.prepare_cached(SQL).await?;
        let user = user.map(UserId::as_str);
        let rows = db.query(&statement, &[&bot.as_str(), &ts, &seq, &user, &since, &only_raw, &limit]).await?;
        rows.iter().map(stored).collect()
    }

    /// The messages with these ids, oldest first; unknown ids are left out.
    pub(crate) async fn by_ids_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        ids: &[Uuid],
    ) -> Result<Vec<StoredMessage>, MemoryError> {
        const SQL: &str = "
            SELECT id, role, content, ts, seq, user_id, turn_id, status, metadata, session_id, summary_id, recalled_at,
                   extraction_state, created_at
              FROM messages
             WHERE bot_id = $1 AND id = ANY($2)
             ORDER BY ts, seq";
        let statement = db.prepare_cached(SQL).await?;
        db.query(&statement, &[&bot.as_str(), &ids]).await?.iter().map(stored).collect()
    }

    /// Ids between two bounds, both included: how a prefix is looked up. At most `limit`.
    pub(crate) async fn ids_between_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        bounds: (Uuid, Uuid),
        limit: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "SELECT id FROM messages WHERE bot_id = $1 AND id BETWEEN $2 AND $3 ORDER BY id LIMIT $4";
        let statement = db.prepare_cached(SQL).await?;
        let rows = db.query(&statement, &[&bot.as_str(), &bounds.0, &bounds.1, &limit]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Deletes the newest message of the bot if it is the unfinished one of that role and turn. Gives its id.
    pub(crate) async fn remove_partial_on(
        db: &impl GenericClient,
        bot: &BotSlug,
        role: Role,
        turn: &TurnId,
    ) -> Result<Option<Uuid>, StoreError> {
        const SQL: &str = "
            WITH newest AS (
                SELECT id FROM messages WHERE bot_id = $1 ORDER BY ts DESC, seq DESC LIMIT 1
            ), gone AS (
                DELETE FROM messages m USING newest n
                 WHERE m.bot_id = $1 AND m.id = n.id AND m.role = $2 AND m.turn_id = $3 AND m.status = 'partial'
                RETURNING m.id, m.seq, m.session_id
            ), counted AS (
                UPDATE sessions s SET message_count = greatest(s.message_count - 1, 0)
                  FROM gone WHERE s.id = gone.session_id
            ), unqueued AS (
                DELETE FROM message_embedding_queue q USING gone WHERE q.bot_id = $1 AND q.seq = gone.seq
            )
            SELECT id FROM gone";
        let statement = db.prepare_cached(SQL).await?;
        let row = db.query_opt(&statement, &[&bot.as_str(), &role.as_str(), &turn.as_str()]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Deletes all messages of a bot, its summaries, the tombstones of messages and its sessions. Gives how many
    /// messages, summaries and tombstones there were.
    pub(crate) async fn clear_on(db: &impl GenericClient, bot: &BotSlug) -> Result<(u64, u64, u64), StoreError> {
        const QUEUE: &str = "DELETE FROM message_embedding_queue WHERE bot_id = $1";
        const VECTORS: &str = "DELETE FROM message_vectors WHERE bot_id = $1";
        const ROLL_UPS: &str = "DELETE FROM summaries WHERE bot_id = $1 AND level > 0";
        const UNCOVER: &str = "DELETE FROM messages WHERE bot_id = $1";
        const SUMMARIES: &str = "DELETE FROM summaries WHERE bot_id = $1";
        const TOMBSTONES: &str = "DELETE FROM forgotten WHERE bot_id = $1 AND kind = 'message'";
        SessionRepository::lock_on(db, bot, None).await?;
        let mut counts = [0; 6];
        for (sql, count) in [QUEUE, VECTORS, UNCOVER, ROLL_UPS, SUMMARIES, TOMBSTONES].into_iter().zip(&mut counts) {
            let statement = db.prepare_cached(sql).await?;
            *count = db.execute(&statement, &[&bot.as_str()]).await?;
        }
        let [_, _, messages, roll_ups, summaries, tombstones] = counts;
        SessionRepository::purge_on(db, bot).await?;
        Ok((messages, roll_ups + summaries, tombstones))
    }

    /// How many messages a bot has. Counts rows, so it is for status pages and not for turns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_on(db: &impl GenericClient, bot: &BotSlug) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT count(*) FROM messages WHERE bot_id = $1";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.query_one(&statement, &[&bot.as_str()]).await?.try_get(0)?)
    }
}

/// Text that PostgreSQL takes: without NUL characters.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// JSON that `jsonb` takes: without escaped NUL characters. An escaped backslash before `u0000` is not one.
pub(crate) fn storable_json(json: &Value) -> String {
    let json = json.to_string();
    if !json.contains("\\u0000") {
        return json;
    }
    let mut out = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (escape, behind) = if rest[at..].starts_with("\\u0000") {
            ("\\ufffd", &rest[at + 6..])
        } else {
            let end = rest[at + 1..].chars().next().map_or(at + 1, |c| at + 1 + c.len_utf8());
            (&rest[at..end], &rest[end..])
        };
        out.push_str(escape);
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// A session and the messages for it, by their places in the batch.
type Segment<'a> = (Wanted<'a>, Vec<usize>);

/// Sorts a batch into rounds of sessions to be opened. One round is the rule; silence *within* a batch, or another session
/// of the same bot and user, makes a later one. Blank messages are left out.
fn arrange(messages: &[NewMessage]) -> (Vec<&NewMessage>, Vec<Vec<Segment<'_>>>) {
    let kept: Vec<&NewMessage> = messages.iter().filter(|m| !m.content.trim().is_empty()).collect();
    if kept.len() < messages.len() {
        tracing::warn!(blank = messages.len() - kept.len(), "blank messages are not stored");
    }
    // In the order of bots and users, so that two writers take row locks in one order.
    let mut groups: BTreeMap<(&str, &str, Option<Uuid>), Vec<usize>> = BTreeMap::new();
    for (at, message) in kept.iter().enumerate() {
        groups.entry((message.bot.as_str(), message.user.as_str(), message.session)).or_default().push(at);
    }
    let mut rounds: Vec<Vec<Segment<'_>>> = Vec::new();
    let mut next_round: HashMap<(&str, &str), usize> = HashMap::new();
    for ((bot, user, named), mut places) in groups {
        places.sort_by_key(|at| (kept[*at].ts, *at));
        let mut segments: Vec<Segment<'_>> = Vec::new();
        for at in places {
            let (ts, gap) = (kept[at].ts, kept[at].session_gap);
            match segments.last_mut() {
                Some((wanted, places)) if named.is_some() || ts.duration_since(wanted.last).unsigned_abs() <= gap => {
                    wanted.last = ts;
                    places.push(at);
                }
                _ => segments.push((Wanted { bot, user, named, first: ts, last: ts, gap }, vec![at])),
            }
        }
        // A bot and a user can have only one session open in a round.
        let round = next_round.entry((bot, user)).or_default();
        for segment in segments {
            if rounds.len() == *round {
                rounds.push(Vec::new());
            }
            rounds[*round].push(segment);
            *round += 1;
        }
    }
    (kept, rounds)
}
