//! Rows of `messages` read into values. Every statement that gives messages names the same columns.

use greenroom_protocol::{BotSlug, Role, TurnId, UserId};
use jiff::Timestamp;
use tokio_postgres::Row;

use crate::MemoryError;
use crate::message::{IndexedMessage, SaidMessage, StoredMessage};

/// Later than any message and inside PostgreSQL's range.
pub(crate) fn far_future() -> Timestamp {
    Timestamp::from_second(32_503_680_000).unwrap_or(Timestamp::MAX)
}

/// A row of `id, role, content, ts, seq, user_id, turn_id, status, metadata, session_id, summary_id, recalled_at,
/// extraction_state, created_at`, by name.
///
/// # Errors
/// [`MemoryError::Unreadable`] for an unknown role; [`MemoryError::Store`] when a column is missing.
pub(crate) fn stored(row: &Row) -> Result<StoredMessage, MemoryError> {
    let role: &str = row.try_get("role")?;
    let status: &str = row.try_get("status")?;
    Ok(StoredMessage {
        id: row.try_get("id")?,
        role: Role::parse(role).ok_or(MemoryError::Unreadable("role"))?,
        content: row.try_get("content")?,
        ts: row.try_get("ts")?,
        seq: row.try_get("seq")?,
        user: row.try_get::<_, Option<String>>("user_id")?.map(UserId::from_stored),
        turn: row.try_get::<_, Option<String>>("turn_id")?.map(TurnId::from_stored),
        partial: status == "partial",
        metadata: row.try_get("metadata")?,
        session: row.try_get("session_id")?,
        summary: row.try_get("summary_id")?,
        recalled_at: row.try_get("recalled_at")?,
        extraction: row.try_get("extraction_state")?,
        created_at: row.try_get("created_at")?,
    })
}

/// A row of `id, role, content, ts, seq, tool`, by place: this is read by the thousand.
///
/// # Errors
/// As [`stored`].
pub(crate) fn said(row: &Row) -> Result<SaidMessage, MemoryError> {
    Ok(SaidMessage {
        id: row.try_get(0)?,
        role: Role::parse(row.try_get(1)?).ok_or(MemoryError::Unreadable("role"))?,
        content: row.try_get(2)?,
        ts: row.try_get(3)?,
        seq: row.try_get(4)?,
        tool: row.try_get(5)?,
    })
}

/// A row of `bot_id, id, ts, seq, session_id, role, user_id, content`; `None` for a role that is not searched.
///
/// # Errors
/// When a column is missing.
pub(crate) fn indexed(row: &Row) -> Result<Option<IndexedMessage>, tokio_postgres::Error> {
    let role = row.try_get::<_, &str>("role").map(Role::parse)?;
    let Some(role) = role.filter(|role| matches!(role, Role::User | Role::Assistant)) else { return Ok(None) };
    Ok(Some(IndexedMessage {
        bot: BotSlug::from_stored(row.try_get::<_, String>("bot_id")?),
        id: row.try_get("id")?,
        ts: row.try_get("ts")?,
        seq: row.try_get("seq")?,
        session: row.try_get("session_id")?,
        role,
        user: row.try_get::<_, Option<String>>("user_id")?.map(UserId::from_stored),
        content: row.try_get::<_, &str>("content")?.into(),
    }))
}
