//! Messages as they are stored.

use greenroom_protocol::{BotSlug, Role, TurnId, UserId};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

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
}
