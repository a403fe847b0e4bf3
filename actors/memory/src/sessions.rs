//! Sessions: conversations as records, opened and closed by what is said and found by id, bot and time.
//!
//! Invariant: a bot and a user share at most one open session. Deliberately absent: opening one by hand; the first
//! message does it (see [`crate::MessageRepository::record_on`]).

use std::time::Duration;

use greenroom_protocol::{BotSlug, UserId};
use greenroom_store::Store;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::MemoryError;
use crate::repository::SessionRepository;

/// Most sessions that one listing gives.
const MOST: i64 = 500;

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionStatus {
    /// The next message may join it.
    Active,
    /// Closed.
    Completed,
}

impl SessionStatus {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Active, Self::Completed].into_iter().find(|status| status.as_str() == word)
    }
}

/// Why a session was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CloseReason {
    /// Silence.
    Gap,
    /// The user began anew.
    Reset,
    /// Somebody closed it, or another session took its place.
    Explicit,
    /// The server stopped.
    Shutdown,
    /// Found open at the start of a server, silent for too long.
    Recovered,
    /// It came whole, by import.
    Imported,
}

impl CloseReason {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Reset => "reset",
            Self::Explicit => "explicit",
            Self::Shutdown => "shutdown",
            Self::Recovered => "recovered",
            Self::Imported => "imported",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Gap, Self::Reset, Self::Explicit, Self::Shutdown, Self::Recovered, Self::Imported]
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }
}

/// One conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Session {
    /// Row id.
    pub id: Uuid,
    /// The bot that opened it.
    #[serde(rename = "bot_id")]
    pub bot: BotSlug,
    /// The person.
    #[serde(rename = "user_id")]
    pub user: Option<UserId>,
    /// Time of the first message.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub started_at: Timestamp,
    /// Time of the last message.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub last_activity_at: Timestamp,
    /// When it ended; absent while it goes on.
    #[serde(serialize_with = "wire_option")]
    pub ended_at: Option<Timestamp>,
    /// Whether it goes on.
    pub status: SessionStatus,
    /// Why it ended.
    pub closed_reason: Option<CloseReason>,
    /// Messages written in it.
    pub message_count: i32,
    /// Bots that spoke in it.
    pub participants: Vec<BotSlug>,
    /// Notes.
    pub metadata: Option<Value>,
}

fn wire_option<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => greenroom_protocol::time::serialize(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// Which sessions to list.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Opened by this bot, or with it.
    pub bot: Option<BotSlug>,
    /// Of this person.
    pub user: Option<UserId>,
    /// Begun at this time or later.
    pub since: Option<Timestamp>,
    /// Of this status.
    pub status: Option<SessionStatus>,
    /// Most to give: 1 to 500; 50 when absent.
    pub limit: Option<i64>,
}

impl SessionFilter {
    pub(crate) fn limit(&self) -> i64 {
        self.limit.unwrap_or(50).clamp(1, MOST)
    }
}

/// Handle to the sessions of all bots.
#[derive(Debug, Clone)]
pub struct Sessions {
    store: Store,
}

impl Sessions {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Sessions, newest first.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn list(&self, filter: &SessionFilter) -> Result<Vec<Session>, MemoryError> {
        SessionRepository::list_on(&self.store.connection().await?, filter).await
    }

    /// One session.
    ///
    /// # Errors
    /// [`MemoryError::NotFound`], the database.
    pub async fn get(&self, id: Uuid) -> Result<Session, MemoryError> {
        let found = SessionRepository::get_on(&self.store.connection().await?, id).await?;
        found.ok_or_else(|| MemoryError::NotFound("session", id.to_string()))
    }

    /// The open sessions of a bot, of one user if given, the latest first.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn active(&self, bot: &BotSlug, user: Option<&UserId>) -> Result<Vec<Session>, MemoryError> {
        SessionRepository::active_on(&self.store.connection().await?, bot, user).await
    }

    /// Closes a session; false when it was not open.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn close(&self, id: Uuid, reason: CloseReason) -> Result<bool, MemoryError> {
        Ok(SessionRepository::close_on(&self.store.connection().await?, id, reason, Timestamp::now()).await?)
    }

    /// Closes the open session of a bot and a user, so that the next message begins another. Gives its id.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn reset(&self, bot: &BotSlug, user: &UserId) -> Result<Option<Uuid>, MemoryError> {
        Ok(SessionRepository::reset_on(&self.store.connection().await?, bot, user, Timestamp::now()).await?)
    }

    /// Closes what an earlier process left open and what has been silent for longer than `gap`; for boot. Gives how
    /// many.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub async fn recover(&self, gap: Duration) -> Result<u64, MemoryError> {
        let now = Timestamp::now();
        let silent = now.checked_sub(gap).unwrap_or(now);
        Ok(SessionRepository::recover_on(&self.store.connection().await?, silent).await?)
    }
}
