//! Messages as they are stored. Plain data; the rules are in the database and in `repository/messages.rs`.

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{BotSlug, Role, TurnId, UserId};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// A conversation ends after this much silence, unless the bot says otherwise.
pub const SESSION_GAP: Duration = Duration::from_secs(3600);

/// Whether a message is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageStatus {
    /// Whole.
    Complete,
    /// The turn broke off or was stopped; this is what had arrived.
    Partial,
}

impl MessageStatus {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
        }
    }
}

/// A message to be stored. Ids and times come from the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    /// Whose memory.
    pub bot: BotSlug,
    /// Row id, unique per bot.
    pub id: Uuid,
    /// Who speaks.
    pub role: Role,
    /// The text; blank messages are not stored.
    pub content: String,
    /// Event time.
    pub ts: Timestamp,
    /// Who spoke, or for whom.
    pub user: UserId,
    /// The turn that made it.
    pub turn: TurnId,
    /// Whole or partial.
    pub status: MessageStatus,
    /// Attachment references, truncation marks and the client's own id, if any.
    pub metadata: Option<Value>,
    /// False keeps fact extraction away from it.
    pub extract: bool,
    /// The session it belongs to, if the caller knows; else the open one of bot and user, or a new one.
    pub session: Option<Uuid>,
    /// How much silence ends a session of this bot.
    pub session_gap: Duration,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    /// Row id.
    pub id: Uuid,
    /// Who speaks.
    pub role: Role,
    /// The text.
    pub content: String,
    /// Event time.
    pub ts: Timestamp,
    /// Tie-break for equal times; all orderings are (ts, seq).
    pub seq: i64,
    /// Who spoke, or for whom.
    pub user: Option<UserId>,
    /// The turn that made it.
    pub turn: Option<TurnId>,
    /// Whether it is whole.
    pub partial: bool,
    /// What the writer noted beside it.
    pub metadata: Option<Value>,
    /// The session it belongs to; messages from before there were sessions have none.
    pub session: Option<Uuid>,
    /// The summary that stands for it.
    pub summary: Option<Uuid>,
    /// When it was brought back from behind a summary.
    pub recalled_at: Option<Timestamp>,
    /// pending, claimed, done, failed or excluded.
    pub extraction: String,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// A stored message as a prompt needs it: reading many of these costs far less than reading whole rows.
#[derive(Debug, Clone, PartialEq)]
pub struct SaidMessage {
    /// Row id.
    pub id: Uuid,
    /// Who speaks.
    pub role: Role,
    /// The text.
    pub content: String,
    /// Event time.
    pub ts: Timestamp,
    /// Tie-break for equal times.
    pub seq: i64,
    /// What was noted beside the result of a tool call; absent for all other messages.
    pub tool: Option<Value>,
}

impl From<StoredMessage> for SaidMessage {
    fn from(row: StoredMessage) -> Self {
        let tool = row.metadata.filter(|_| row.role == Role::Tool);
        Self { id: row.id, role: row.role, content: row.content, ts: row.ts, seq: row.seq, tool }
    }
}

impl StoredMessage {
    /// The client's own id, when it was not a UUID.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.metadata.as_ref()?.get("client_id")?.as_str()
    }
}

/// What the lexical index and the embedding worker need to know of a stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedMessage {
    /// Whose memory.
    pub bot: BotSlug,
    /// Row id.
    pub id: Uuid,
    /// Event time.
    pub ts: Timestamp,
    /// Tie-break for equal times.
    pub seq: i64,
    /// Its session.
    pub session: Option<Uuid>,
    /// Who speaks.
    pub role: Role,
    /// Who spoke, or for whom.
    pub user: Option<UserId>,
    /// The text.
    pub content: Arc<str>,
}

/// What became of a batch of messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a conflict is a message that was not stored"]
pub struct Recorded {
    /// Written, new or overwritten.
    pub stored: Vec<(BotSlug, Uuid)>,
    /// Not written: the id belongs to a message of another role or another person.
    pub conflicts: Vec<(BotSlug, Uuid)>,
}
