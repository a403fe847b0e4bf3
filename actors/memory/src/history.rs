//! Raw messages as people page through them: whatever a summary stands for is shown, too, unless the caller wants the view
//! that the context has.

use greenroom_protocol::{Role, TurnId, UserId};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::MemoryError;
use crate::message::{NewMessage, Recorded, StoredMessage};
use crate::namespace::Namespace;
use crate::reference::{MOST_CANDIDATES, Reference, client_id, only, shown, unusable};
use crate::repository::{MemoryWrites, MessageRepository, UpkeepRepository};

/// Most messages of a page.
pub(crate) const MOST_PAGED: i64 = 1000;
/// Most ids that one look-up takes.
const MOST_IDS: usize = 10_000;

/// A position in the history: before it is what is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    ts: Timestamp,
    seq: i64,
}

impl Cursor {
    /// The position before everything that was said at this time.
    #[must_use]
    pub fn at(ts: Timestamp) -> Self {
        Self { ts, seq: i64::MIN }
    }

    /// The position of a message.
    #[must_use]
    pub fn of(message: &StoredMessage) -> Self {
        Self { ts: message.ts, seq: message.seq }
    }

    /// A time as a number of seconds since 1970 or in ISO 8601; without an offset it is UTC.
    #[must_use]
    pub fn time(text: &str) -> Option<Timestamp> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            let micros = (seconds * 1e6).round();
            let in_range = micros.is_finite() && micros.abs() < 1e17;
            return in_range.then(|| Timestamp::from_microsecond(micros as i64).ok()).flatten();
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Some(time);
        }
        let local: jiff::civil::DateTime = text.parse().ok()?;
        local.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    }
}

/// Which messages to give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only what is older.
    pub before: Option<Cursor>,
    /// How many: 1 to 1000; anything else means 1000.
    pub limit: i64,
    /// Leave out what a summary stands for.
    pub without_summarized: bool,
    /// Only of this person.
    pub user: Option<UserId>,
}

/// A page of the history.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryPage {
    /// Oldest first. What was said at the same time is never torn apart, so a page may be a little longer than asked for,
    /// and the time of its first message is as good a cursor as its id.
    pub messages: Vec<StoredMessage>,
    /// Whether there is something older.
    pub has_more: bool,
}

/// What clearing removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cleared {
    /// Messages.
    pub messages: u64,
    /// Summaries.
    pub summaries: u64,
    /// Memories, superseded ones included.
    pub memories: u64,
    /// Tombstones.
    pub tombstones: u64,
}

impl Namespace {
    /// The newest messages of all roles, newest first; see [`MessageRepository::latest_on`].
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn latest(
        &self,
        user: Option<&UserId>,
        before: Option<(Timestamp, i64)>,
        limit: i64,
    ) -> Result<Vec<StoredMessage>, MemoryError> {
        let db = self.store().connection().await?;
        MessageRepository::latest_on(&db, self.bot(), user, before, limit).await
    }

    /// A page of what people and models said.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, MemoryError> {
        let limit = if (1..=MOST_PAGED).contains(&query.limit) { query.limit } else { MOST_PAGED };
        let (bot, user, raw) = (self.bot(), query.user.as_ref(), query.without_summarized);
        let before = query.before.map(|cursor| (cursor.ts, cursor.seq));
        let db = self.store().connection().await?;
        let mut said = MessageRepository::said_on(&db, bot, user, before, None, raw, limit + 1).await?;
        let mut has_more = said.len() as i64 > limit;
        if has_more && let (Some(next), Some(last)) = (said.pop(), said.last()) {
            let last = Cursor::of(last);
            if next.ts == last.ts {
                let rest = (Some((last.ts, last.seq)), Some(last.ts));
                let same = MessageRepository::said_on(&db, bot, user, rest.0, rest.1, raw, MOST_PAGED).await?;
                has_more = same.len() as i64 == MOST_PAGED;
                said.extend(same);
                if !has_more {
                    let older = Some((last.ts, i64::MIN));
                    has_more = !MessageRepository::said_on(&db, bot, user, older, None, raw, 1).await?.is_empty();
                }
            }
        }
        said.reverse();
        Ok(HistoryPage { messages: said, has_more })
    }

    /// The position that a text means: a number of seconds since 1970, a time in ISO 8601, or a message's id, tried in
    /// this order.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] when it is none of these, or no message has the id.
    pub async fn cursor(&self, text: &str) -> Result<Cursor, MemoryError> {
        if let Some(time) = Cursor::time(text) {
            return Ok(Cursor::at(time));
        }
        match self.message(text).await {
            Ok(message) => Ok(Cursor::of(&message)),
            Err(MemoryError::NotFound(..) | MemoryError::Invalid(_) | MemoryError::Ambiguous { .. }) => {
                Err(MemoryError::Invalid("Invalid 'before' cursor".into()))
            }
            Err(error) => Err(error),
        }
    }

    /// One message, by its id, the first eight digits of it, or the client's own id.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`], [`MemoryError::NotFound`], [`MemoryError::Ambiguous`], the database.
    pub async fn message(&self, reference: &str) -> Result<StoredMessage, MemoryError> {
        let id = self.message_id(reference).await?;
        let found = self.messages(&[id]).await?.pop();
        found.ok_or_else(|| MemoryError::NotFound("message", shown(reference)))
    }

    /// The id of an existing message.
    pub(crate) async fn message_id(&self, reference: &str) -> Result<Uuid, MemoryError> {
        let db = self.store().connection().await?;
        let parsed = Reference::parse(reference);
        let found = match parsed {
            Some(Reference::Exact(id)) => MessageRepository::ids_between_on(&db, self.bot(), (id, id), 1).await?,
            Some(Reference::Between(low, high)) => {
                MessageRepository::ids_between_on(&db, self.bot(), (low, high), MOST_CANDIDATES).await?
            }
            None => Vec::new(),
        };
        if !found.is_empty() {
            return only("message", reference, &found);
        }
        let own = client_id(self.bot(), reference).ok_or_else(|| unusable("message"))?;
        let found = MessageRepository::ids_between_on(&db, self.bot(), (own, own), 1).await?;
        if found.is_empty() && parsed.is_none() && (reference.trim().len() < 8 || reference.contains('%')) {
            return Err(unusable("message"));
        }
        only("message", reference, &found)
    }

    /// The messages with these ids, oldest first; unknown ones are left out.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] for more than 10,000 ids, the database.
    pub async fn messages(&self, ids: &[Uuid]) -> Result<Vec<StoredMessage>, MemoryError> {
        if ids.len() > MOST_IDS {
            return Err(MemoryError::Invalid(format!("at most {MOST_IDS} message ids at once")));
        }
        MessageRepository::by_ids_on(&self.store().connection().await?, self.bot(), ids).await
    }

    /// Stores messages of this bot in a transaction of their own, all or none. Turns do not come this way: their messages
    /// go through the journal.
    ///
    /// # Errors
    /// [`MemoryError::Conflict`] when an id belongs to a message of another role or person, or a session to somebody
    /// else; [`MemoryError::Invalid`] for another bot's message; the database.
    pub async fn record(&self, messages: &[NewMessage]) -> Result<Recorded, MemoryError> {
        if messages.iter().any(|message| message.bot != *self.bot()) {
            return Err(MemoryError::Invalid("a message of another bot".into()));
        }
        self.open().await?;
        let mut db = self.store().connection().await?;
        let transaction = db.transaction().await?;
        let recorded = MessageRepository::record_on(&transaction, messages).await?;
        if let Some((_, id)) = recorded.conflicts.first() {
            return Err(MemoryError::Conflict(format!("the message {id} is somebody else's, or its session is")));
        }
        transaction.commit().await?;
        self.stored(&recorded.stored.iter().map(|(_, id)| *id).collect::<Vec<_>>());
        Ok(recorded)
    }

    /// Messages of this bot were stored and are committed.
    pub fn stored(&self, ids: &[Uuid]) {
        self.recall().messages_changed(ids);
    }

    /// Removes the unfinished answer of an aborted turn, if it is the newest message. False when it is not.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn remove_partial(&self, role: Role, turn: &TurnId) -> Result<bool, MemoryError> {
        let db = self.store().connection().await?;
        let gone = MessageRepository::remove_partial_on(&db, self.bot(), role, turn).await?;
        self.recall().messages_changed(gone.as_slice());
        Ok(gone.is_some())
    }

    /// Deletes all messages, summaries and their tombstones for good; with `memories`, those and theirs as well. Profiles
    /// stay. No turn of the bot may be running.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn clear(&self, memories: bool) -> Result<Cleared, MemoryError> {
        self.exclusive("clear", move |x| {
            Box::pin(async move {
                let (messages, summaries, tombstones) = MessageRepository::clear_on(x.db, x.bot).await?;
                let mut cleared = Cleared { messages, summaries, tombstones, memories: 0 };
                if memories {
                    let (gone, tombstones) = MemoryWrites::clear_on(x.db, x.bot).await?;
                    UpkeepRepository::purge_on(x.db, x.bot).await?;
                    cleared.memories = gone;
                    cleared.tombstones += tombstones;
                }
                x.changes.everything();
                Ok::<_, MemoryError>(cleared)
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_three_ways() {
        let time = Timestamp::from_microsecond(1_790_000_000_123_457).expect("a time");
        for text in ["1790000000.123457", "2026-09-21T14:13:20.123457Z", "2026-09-21T16:13:20.123457+02:00"] {
            assert_eq!(Cursor::time(text), Some(time), "{text}");
        }
        assert_eq!(Cursor::time("2026-09-21T14:13:20.123457"), Some(time));
        assert_eq!(Cursor::time("0").map(Timestamp::as_second), Some(0));
        for bad in ["", "NaN", "inf", "1e300", "yesterday", "2026-99-99", "%"] {
            assert_eq!(Cursor::time(bad), None, "{bad}");
        }
    }
}
