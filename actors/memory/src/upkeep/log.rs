//! The record of fact extraction, and summaries that wait for it (memory.md §8.6, §8.7).

use greenroom_protocol::UserId;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::MemoryError;
use crate::exclusive::Exclusive;
use crate::namespace::Namespace;
use crate::repository::ExtractionLog;

/// What was read for facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtractionSource {
    /// A window of messages.
    Messages,
    /// A summary.
    Summary,
    /// Messages given to a tool.
    Tool,
}

impl ExtractionSource {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Summary => "summary",
            Self::Tool => "tool",
        }
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtractionOutcome {
    /// There were facts.
    Done,
    /// There was nothing to remember.
    Empty,
    /// It failed and will be tried again.
    Retry,
    /// It failed and the messages are left alone.
    Failed,
}

impl ExtractionOutcome {
    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Empty => "empty",
            Self::Retry => "retry",
            Self::Failed => "failed",
        }
    }
}

/// One row of the record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExtractionRecord {
    /// When.
    pub at: Timestamp,
    /// What was read.
    pub source: ExtractionSource,
    /// The messages.
    pub message_ids: Vec<Uuid>,
    /// The summary.
    pub summary_id: Option<Uuid>,
    /// Whom it is about.
    pub user: Option<UserId>,
    /// Alias of the model.
    pub model: Option<String>,
    /// `llm`, `heuristic` or `none`.
    pub method: &'static str,
    /// How it went.
    pub outcome: ExtractionOutcome,
    /// Facts that were found.
    pub found: usize,
    /// Memories that came of them.
    pub stored: usize,
    /// Facts that were dropped by a check.
    pub dropped: usize,
    /// The facts with what became of each: a JSON array.
    pub facts: Value,
    /// The actions that were taken: a JSON array.
    pub actions: Value,
    /// Why it failed.
    pub error: Option<String>,
    /// Milliseconds it took.
    pub took_ms: i64,
}

/// A summary whose facts are not extracted yet.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtractableSummary {
    /// Its id.
    pub id: Uuid,
    /// Its text.
    pub content: String,
    /// First covered message.
    pub start: Timestamp,
    /// Last covered message.
    pub end: Timestamp,
    /// Whom it is about.
    pub user: Option<UserId>,
    /// What to do with it.
    pub claim: SummaryClaim,
    /// Its last change: what a commit must show.
    pub updated_at: Timestamp,
}

/// What is to be done with a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SummaryClaim {
    /// Some of its messages were not read for facts: it is read in their place.
    Read,
    /// All its messages were read, or some must not be: it is only marked.
    Mark,
}

impl Namespace {
    /// Active summaries of sessions that were not read for facts, oldest first.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn summaries_to_extract(&self, limit: i64) -> Result<Vec<ExtractableSummary>, MemoryError> {
        let db = self.store().connection().await?;
        ExtractionLog::summaries_on(&db, self.bot(), limit.clamp(1, 500)).await
    }

    /// Writes a row of the record outside of a command: for attempts that failed.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn log_extraction(&self, record: &ExtractionRecord) -> Result<(), MemoryError> {
        let db = self.store().connection().await?;
        ExtractionLog::write_on(&db, self.bot(), record).await
    }

    /// How often a summary failed to be read for facts since its last change.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub async fn summary_failures(&self, summary: &ExtractableSummary) -> Result<i64, MemoryError> {
        let db = self.store().connection().await?;
        ExtractionLog::failures_on(&db, self.bot(), summary.id, summary.updated_at).await
    }
}

/// Writes a row of the record inside a command.
///
/// # Errors
/// [`MemoryError::Store`].
pub async fn log_extraction_on(x: &Exclusive<'_>, record: &ExtractionRecord) -> Result<(), MemoryError> {
    ExtractionLog::write_on(x.db, x.bot, record).await
}

impl ExtractableSummary {
    /// Marks the summary as read inside a command.
    ///
    /// # Errors
    /// [`MemoryError::Conflict`] when it changed or is gone; [`MemoryError::Store`].
    pub async fn finish_on(&self, x: &Exclusive<'_>, now: Timestamp) -> Result<(), MemoryError> {
        if ExtractionLog::mark_on(x.db, x.bot, self.id, self.updated_at, now).await? {
            return Ok(());
        }
        Err(MemoryError::Conflict("the summary changed in the meantime".into()))
    }
}
