//! Runs: what became of a job at one instant, for one bot or all.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::error::SchedulerError;
use crate::job::{JobType, optional_time};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It will begin when there is room.
    Pending,
    /// At work.
    Running,
    /// Done.
    Success,
    /// Not done.
    Failed,
    /// There was nothing to do.
    Skipped,
}

impl RunStatus {
    const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Success, Self::Failed, Self::Skipped];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
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

/// Why a run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// It was due.
    Schedule,
    /// Somebody asked for it.
    Manual,
    /// The service began.
    Startup,
    /// Too much had gathered.
    Backlog,
    /// A turn had ended.
    Turn,
}

impl Trigger {
    const ALL: [Self; 5] = [Self::Schedule, Self::Manual, Self::Startup, Self::Backlog, Self::Turn];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Manual => "manual",
            Self::Startup => "startup",
            Self::Backlog => "backlog",
            Self::Turn => "turn",
        }
    }

    pub(crate) fn of_stored(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|trigger| trigger.as_str() == word)
    }
}

/// A run, in the API's shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    /// Of which job.
    pub job_id: Uuid,
    /// What sort of work.
    pub job_type: JobType,
    /// The bot, or `*`.
    pub bot_id: String,
    /// Where it stands.
    pub status: RunStatus,
    /// Why it began.
    pub trigger: Trigger,
    /// The run on `*` that it belongs to.
    pub parent_run_id: Option<Uuid>,
    /// The instant it is for.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub scheduled_for: Timestamp,
    /// Which try of that instant.
    pub attempt: i16,
    /// When it began.
    #[serde(serialize_with = "optional_time")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(serialize_with = "optional_time")]
    pub finished_at: Option<Timestamp>,
    /// How long it took.
    pub duration_ms: Option<i64>,
    /// What went wrong.
    pub error_message: Option<String>,
    /// What came of it; only when that was asked for.
    pub result: Option<Value>,
}

/// Which runs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only of this job.
    pub job_id: Option<Uuid>,
    /// Only of this kind.
    pub job_type: Option<JobType>,
    /// Only of this bot (or `*`).
    pub bot_id: Option<String>,
    /// Only in this state.
    pub status: Option<RunStatus>,
    /// With results.
    pub include_result: bool,
    /// Page size, 1 to 1000.
    pub limit: i64,
    /// Rows to skip.
    pub offset: i64,
}

/// One page of runs, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPage {
    /// The page.
    pub runs: Vec<Run>,
    /// How many pass the filter.
    pub total_count: i64,
}

/// What a manual trigger began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Triggered {
    /// What sort of work.
    pub job_type: JobType,
    /// How many jobs.
    pub jobs_triggered: usize,
    /// Their runs; of a job on `*` the run that its bots' runs belong to.
    pub run_ids: Vec<Uuid>,
}
