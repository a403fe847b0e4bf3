//! Background tasks: work that somebody asked for once.

use greenroom_protocol::fields::{Complaint, Field, Fields};
use greenroom_protocol::{BotSlug, UserId};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::error::SchedulerError;
use crate::job::optional_time;
use crate::payload::checked;

/// Largest payload, in bytes of JSON.
const PAYLOAD_MAX: usize = 1024 * 1024;

/// What sort of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// A conversation shortened to a number of tokens.
    ContextCompaction,
    /// Vectors of texts or memories.
    EmbeddingGeneration,
    /// Merging of memories that say the same.
    MemoryConsolidation,
    /// What a memory means to the user.
    MeaningUpdate,
    /// Several kinds of upkeep at once.
    MemoryMaintenance,
    /// One portrait.
    ProfileMaintenance,
    /// Summaries of what leaves the context.
    HistorySummarization,
    /// Facts out of new messages.
    MemoryExtraction,
}

impl TaskType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ContextCompaction,
        Self::EmbeddingGeneration,
        Self::MemoryConsolidation,
        Self::MeaningUpdate,
        Self::MemoryMaintenance,
        Self::ProfileMaintenance,
        Self::HistorySummarization,
        Self::MemoryExtraction,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContextCompaction => "context_compaction",
            Self::EmbeddingGeneration => "embedding_generation",
            Self::MemoryConsolidation => "memory_consolidation",
            Self::MeaningUpdate => "meaning_update",
            Self::MemoryMaintenance => "memory_maintenance",
            Self::ProfileMaintenance => "profile_maintenance",
            Self::HistorySummarization => "history_summarization",
            Self::MemoryExtraction => "memory_extraction",
        }
    }

    /// Reads the word, in any case.
    ///
    /// # Errors
    /// [`SchedulerError::BadTaskType`].
    pub fn parse(word: &str) -> Result<Self, SchedulerError> {
        let lower = word.trim().to_ascii_lowercase();
        let known = Self::ALL.into_iter().find(|task| task.as_str() == lower);
        known.ok_or_else(|| SchedulerError::BadTaskType(word.chars().take(80).collect()))
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// It will begin when there is room.
    Pending,
    /// At work.
    Running,
    /// Done.
    Completed,
    /// Not done: it failed, was cancelled, or broke off three times.
    Failed,
}

impl TaskStatus {
    const ALL: [Self; 4] = [Self::Pending, Self::Running, Self::Completed, Self::Failed];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }

    /// Reads the word, in any case.
    ///
    /// # Errors
    /// [`SchedulerError::BadStatus`].
    pub fn parse(word: &str) -> Result<Self, SchedulerError> {
        let lower = word.trim().to_ascii_lowercase();
        let known = Self::ALL.into_iter().find(|status| status.as_str() == lower);
        known.ok_or_else(|| SchedulerError::BadStatus(word.chars().take(80).collect()))
    }
}

/// A task, in the API's shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Task {
    /// Its id.
    #[serde(rename = "task_id")]
    pub id: Uuid,
    /// What sort of task.
    pub task_type: TaskType,
    /// What it is told; checked, with its defaults.
    #[serde(skip)]
    pub payload: Value,
    /// On whose memory.
    #[serde(rename = "bot_id")]
    pub bot: BotSlug,
    /// For whom.
    #[serde(rename = "user_id")]
    pub user: UserId,
    /// Higher goes first.
    pub priority: i32,
    /// Where it stands.
    pub status: TaskStatus,
    /// How often it was begun.
    pub attempts: i16,
    /// When it was asked for.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub created_at: Timestamp,
    /// When it ended.
    #[serde(serialize_with = "optional_time")]
    pub completed_at: Option<Timestamp>,
    /// How long it took.
    pub processing_time_ms: Option<i64>,
    /// What came of it.
    pub result: Option<Value>,
    /// What went wrong.
    pub error: Option<String>,
}

/// A task to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskDraft {
    /// What sort of task.
    pub task_type: TaskType,
    /// What it is told; checked, with its defaults.
    pub payload: Value,
    /// On whose memory; the front door puts the default bot here when none is named.
    pub bot: Option<BotSlug>,
    /// For whom.
    pub user: UserId,
    /// Higher goes first.
    pub priority: i32,
}

impl TaskDraft {
    /// Reads the body of `POST /v1/tasks`.
    ///
    /// # Errors
    /// [`SchedulerError::BadTaskType`], [`SchedulerError::Invalid`] with every complaint.
    pub fn read(body: &Value) -> Result<Self, SchedulerError> {
        let mut fields = Fields::of("body", body).map_err(SchedulerError::Invalid)?;
        let word = fields.required_text("task_type", 80);
        let user = fields.required_text("user_id", 512);
        let bot = fields.text_max("bot_id", 128).some().filter(|bot| !bot.trim().is_empty());
        let priority = fields.integer("priority", i64::from(i32::MIN), i64::from(i32::MAX)).some().unwrap_or(0);
        let payload = match fields.object("payload") {
            Field::Value(map) => Value::Object(map.clone()),
            Field::Absent | Field::Null => Value::Object(serde_json::Map::new()),
        };
        if payload.to_string().len() > PAYLOAD_MAX {
            fields.complain("too_long", "payload", format!("At most {PAYLOAD_MAX} bytes of JSON"));
        }
        let parsed = (BotSlug::parse(bot.as_deref().unwrap_or("none")), UserId::parse(&user));
        if let Err(bad) = &parsed.0 {
            fields.complain("value_error", "bot_id", bad.to_string());
        }
        if let (Err(bad), false) = (&parsed.1, user.is_empty()) {
            fields.complain("value_error", "user_id", bad.to_string());
        }
        fields.finish().map_err(SchedulerError::Invalid)?;
        let task_type = TaskType::parse(&word)?;
        let payload = checked(task_type, &payload).map_err(SchedulerError::Invalid)?;
        let (Ok(slug), Ok(user)) = parsed else {
            return Err(SchedulerError::Invalid(vec![Complaint::new(
                "missing",
                &["body"],
                "Field required",
                Value::Null,
            )]));
        };
        let priority = i32::try_from(priority).unwrap_or_default();
        Ok(Self { task_type, payload, bot: bot.map(|_| slug), user, priority })
    }
}

/// Which tasks to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Only in this state.
    pub status: Option<TaskStatus>,
    /// Only of this kind.
    pub task_type: Option<TaskType>,
    /// Only of this bot.
    pub bot_id: Option<String>,
    /// Only of this user.
    pub user_id: Option<String>,
    /// Page size, 1 to 1000.
    pub limit: i64,
    /// Rows to skip.
    pub offset: i64,
}

/// One page of tasks, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskPage {
    /// The page.
    pub tasks: Vec<Task>,
    /// How many pass the filter.
    pub total_count: i64,
}
