//! Jobs: what is to be done regularly, and edits of that.

use std::time::Duration;

use greenroom_protocol::fields::{Field, Fields};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::error::SchedulerError;
use crate::run::RunStatus;

/// The id under which a job concerns all bots.
pub const ALL_BOTS: &str = "*";
/// Longest interval, in minutes.
const INTERVAL_MAX: i64 = 525_600;
/// Longest run, in seconds.
const RUNTIME_MAX: i64 = 86_400;
/// Largest configuration, in bytes of JSON.
const CONFIG_MAX: usize = 16 * 1024;

/// What sort of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobType {
    /// Portraits of users and bots from their attributes.
    ProfileMaintenance,
    /// Summaries of what leaves the context.
    HistorySummarization,
    /// Facts out of new messages.
    MemoryExtraction,
    /// Merging of memories that say the same.
    MemoryConsolidation,
    /// Fading of memories.
    MemoryDecay,
    /// Themes that come back.
    MemoryRecurrence,
    /// Memories whose sources are gone.
    MemoryOrphans,
    /// The end of what was forgotten long ago.
    TombstoneExpiry,
}

impl JobType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ProfileMaintenance,
        Self::HistorySummarization,
        Self::MemoryExtraction,
        Self::MemoryConsolidation,
        Self::MemoryDecay,
        Self::MemoryRecurrence,
        Self::MemoryOrphans,
        Self::TombstoneExpiry,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProfileMaintenance => "profile_maintenance",
            Self::HistorySummarization => "history_summarization",
            Self::MemoryExtraction => "memory_extraction",
            Self::MemoryConsolidation => "memory_consolidation",
            Self::MemoryDecay => "memory_decay",
            Self::MemoryRecurrence => "memory_recurrence",
            Self::MemoryOrphans => "memory_orphans",
            Self::TombstoneExpiry => "tombstone_expiry",
        }
    }

    /// Reads the word, in any case.
    ///
    /// # Errors
    /// [`SchedulerError::BadJobType`].
    pub fn parse(word: &str) -> Result<Self, SchedulerError> {
        let lower = word.trim().to_ascii_lowercase();
        let known = Self::ALL.into_iter().find(|job| job.as_str() == lower);
        known.ok_or_else(|| SchedulerError::BadJobType(word.chars().take(80).collect()))
    }

    /// Whether a job on `*` means a run for each bot; otherwise it is one run for all.
    #[must_use]
    pub fn is_per_bot(self) -> bool {
        self != Self::ProfileMaintenance
    }

    /// How often, unless something else is configured.
    #[must_use]
    pub fn default_interval(self) -> Duration {
        let minutes = match self {
            Self::ProfileMaintenance => 60,
            Self::HistorySummarization | Self::MemoryExtraction => 30,
            Self::MemoryConsolidation | Self::MemoryDecay | Self::MemoryRecurrence => 1440,
            Self::MemoryOrphans | Self::TombstoneExpiry => 10_080,
        };
        Duration::from_secs(minutes * 60)
    }

    /// What a new job is configured with.
    #[must_use]
    pub(crate) fn default_config(self) -> Value {
        match self {
            Self::HistorySummarization => json!({"use_heuristic_fallback": true, "max_tokens_per_chunk": 4000}),
            Self::MemoryExtraction => json!({"batch_size": 50}),
            Self::MemoryConsolidation => json!({"max_clusters": 50}),
            Self::ProfileMaintenance
            | Self::MemoryDecay
            | Self::MemoryRecurrence
            | Self::MemoryOrphans
            | Self::TombstoneExpiry => json!({}),
        }
    }
}

/// A job, in the API's shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// What sort of work.
    pub job_type: JobType,
    /// The bot, or `*`.
    pub bot_id: String,
    /// Whether it runs by itself.
    pub enabled: bool,
    /// How often.
    pub interval_minutes: i32,
    /// When it last began.
    #[serde(serialize_with = "optional_time")]
    pub last_run_at: Option<Timestamp>,
    /// When it will begin.
    #[serde(serialize_with = "optional_time")]
    pub next_run_at: Option<Timestamp>,
    /// When it was made.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub created_at: Timestamp,
    /// How its last run ended.
    pub last_status: Option<RunStatus>,
    /// How long that took.
    pub last_duration_ms: Option<i64>,
    /// What went wrong in it.
    pub last_error: Option<String>,
    /// What the work is told.
    pub config: Value,
    /// Failures in a row.
    pub consecutive_failures: i32,
    /// Longest run, in seconds.
    pub max_runtime_s: i32,
    /// Why the scheduler switched it off.
    pub disabled_reason: Option<String>,
}

pub(crate) fn optional_time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => greenroom_protocol::time::serialize(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// Which jobs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only of this kind.
    pub job_type: Option<JobType>,
    /// Only of this bot (or `*`).
    pub bot_id: Option<String>,
    /// Only those that are on, or off.
    pub enabled: Option<bool>,
    /// Page size, 1 to 500.
    pub limit: i64,
    /// Rows to skip.
    pub offset: i64,
}

/// One page of jobs, by kind and bot.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPage {
    /// The page.
    pub jobs: Vec<Job>,
    /// How many pass the filter.
    pub total_count: i64,
}

/// An edit of a job: absent and null keep.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobPatch {
    /// On or off. Switching on forgives past failures.
    pub enabled: Option<bool>,
    /// How often; counts from the last run.
    pub interval_minutes: Option<i32>,
    /// What the work is told, as a whole.
    pub config: Option<Value>,
    /// Longest run, in seconds.
    pub max_runtime_s: Option<i32>,
}

impl JobPatch {
    /// Reads the body of `PATCH /v1/jobs/{id}`.
    ///
    /// # Errors
    /// [`SchedulerError::Invalid`] with every complaint.
    pub fn read(body: &Value) -> Result<Self, SchedulerError> {
        let mut fields = Fields::of("body", body).map_err(SchedulerError::Invalid)?;
        let enabled = fields.boolean("enabled").some();
        let whole = |field: Field<i64>| field.some().and_then(|number| i32::try_from(number).ok());
        let interval_minutes = whole(fields.integer("interval_minutes", 1, INTERVAL_MAX));
        let max_runtime_s = whole(fields.integer("max_runtime_s", 1, RUNTIME_MAX));
        let config = fields.object("config").map(Map::clone).some().map(Value::Object);
        if let Some(config) = &config {
            if config.to_string().len() > CONFIG_MAX {
                fields.complain("too_long", "config", format!("At most {CONFIG_MAX} bytes of JSON"));
            }
            if config.to_string().contains("\\u0000") {
                fields.complain("value_error", "config", "Text must not contain NUL characters");
            }
        }
        fields.finish().map_err(SchedulerError::Invalid)?;
        Ok(Self { enabled, interval_minutes, config, max_runtime_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_read_as_they_are_written() {
        for job in JobType::ALL {
            assert_eq!(JobType::parse(&job.as_str().to_uppercase()).unwrap(), job);
        }
        assert_eq!(JobType::parse("nap").unwrap_err().to_string(), "Invalid job_type 'nap'");
    }

    #[test]
    fn edits_are_read_strictly() {
        assert_eq!(JobPatch::read(&json!({"enabled": null})).unwrap(), JobPatch::default());
        for bad in [
            json!({"interval_minutes": 0}),
            json!({"interval_minutes": 525_601}),
            json!({"max_runtime_s": 0}),
            json!({"config": [1]}),
            json!({"config": {"a": "\u{0}"}}),
            json!({"config": {"a": "x".repeat(20_000)}}),
            json!({"enabled": "maybe"}),
            json!(1),
        ] {
            assert!(JobPatch::read(&bad).is_err(), "{bad}");
        }
    }
}
