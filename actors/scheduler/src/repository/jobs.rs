//! SQL over `scheduled_jobs`.

use std::time::Duration;

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::error::SchedulerError;
use crate::job::{ALL_BOTS, Job, JobFilter, JobPatch, JobType};
use crate::run::RunStatus;

/// The jobs.
pub(crate) struct JobRepository;

/// A job as the scheduler needs it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DueJob {
    pub id: Uuid,
    pub job_type: JobType,
    pub bot: String,
    pub enabled: bool,
    pub interval: Duration,
    pub slot: Timestamp,
    pub failures: i32,
}

impl DueJob {
    /// Whether it means a run for each bot.
    pub(crate) fn fans_out(&self) -> bool {
        self.bot == ALL_BOTS && self.job_type.is_per_bot()
    }
}

impl JobRepository {
    /// Creates a job unless there is one of this kind on `*`.
    pub(crate) async fn ensure_on(
        db: &impl GenericClient,
        job: JobType,
        interval: Duration,
        next_run_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), SchedulerError> {
        const SQL: &str = "
            INSERT INTO scheduled_jobs (id, job_type, bot_id, interval_minutes, config, next_run_at, created_at, updated_at)
            VALUES ($1, $2, '*', $3, $4, $5, $6, $6)
                ON CONFLICT (job_type, bot_id) DO NOTHING";
        let minutes = i32::try_from((interval.as_secs() / 60).clamp(1, 525_600)).unwrap_or(60);
        let statement = db.prepare_cached(SQL).await?;
        let id = Uuid::new_v4();
        db.execute(&statement, &[&id, &job.as_str(), &minutes, &job.default_config(), &next_run_at, &now]).await?;
        Ok(())
    }

    /// A due job, locked; jobs that another scheduler is looking at are passed over.
    pub(crate) async fn due_on(db: &impl GenericClient, now: Timestamp) -> Result<Option<DueJob>, SchedulerError> {
        const SQL: &str = "
            SELECT id, job_type, bot_id, enabled, interval_minutes, coalesce(next_run_at, $1) AS slot,
                   consecutive_failures
              FROM scheduled_jobs
             WHERE enabled AND coalesce(next_run_at, $1) <= $1
             ORDER BY next_run_at NULLS FIRST, id
             LIMIT 1
               FOR UPDATE SKIP LOCKED";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&now]).await?;
        row.as_ref().map(due).transpose()
    }

    /// Notes that a job began, and when it will the next time.
    pub(crate) async fn advance_on(
        db: &impl GenericClient,
        id: Uuid,
        began: Timestamp,
        next_run_at: Timestamp,
    ) -> Result<(), SchedulerError> {
        const SQL: &str = "UPDATE scheduled_jobs SET last_run_at = $2, next_run_at = $3, updated_at = $2 WHERE id = $1";
        db.execute(&db.prepare_cached(SQL).await?, &[&id, &began, &next_run_at]).await?;
        Ok(())
    }

    /// One job, locked.
    pub(crate) async fn locked_on(db: &impl GenericClient, id: Uuid) -> Result<Option<DueJob>, SchedulerError> {
        const SQL: &str = "
            SELECT id, job_type, bot_id, enabled, interval_minutes, coalesce(next_run_at, created_at) AS slot,
                   consecutive_failures
              FROM scheduled_jobs
             WHERE id = $1
               FOR UPDATE";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&id]).await?;
        row.as_ref().map(due).transpose()
    }

    /// Notes how a locked job's scheduled run ended.
    pub(crate) async fn judge_on(
        db: &impl GenericClient,
        id: Uuid,
        failures: i32,
        next_run_at: Option<Timestamp>,
        disabled_reason: Option<&str>,
    ) -> Result<(), SchedulerError> {
        const SQL: &str = "
            UPDATE scheduled_jobs
               SET consecutive_failures = $2, next_run_at = coalesce($3, next_run_at),
                   enabled = enabled AND $4::text IS NULL, disabled_reason = coalesce($4, disabled_reason)
             WHERE id = $1";
        db.execute(&db.prepare_cached(SQL).await?, &[&id, &failures, &next_run_at, &disabled_reason]).await?;
        Ok(())
    }

    /// The jobs of a kind, the one on `*` last: of a bot its own before that one when `bot` is given, else all.
    pub(crate) async fn of_type_on(
        db: &impl GenericClient,
        job: JobType,
        bot: Option<&BotSlug>,
    ) -> Result<Vec<DueJob>, SchedulerError> {
        const SQL: &str = "
            SELECT id, job_type, bot_id, enabled, interval_minutes, coalesce(next_run_at, created_at) AS slot,
                   consecutive_failures
              FROM scheduled_jobs
             WHERE job_type = $1 AND ($2::text IS NULL OR bot_id IN ($2, '*'))
             ORDER BY bot_id = '*', bot_id";
        let rows = db.query(&db.prepare_cached(SQL).await?, &[&job.as_str(), &bot.map(BotSlug::as_str)]).await?;
        rows.iter().map(due).collect()
    }

    /// One page of jobs with their last runs, and how many pass the filter.
    pub(crate) async fn page_on(
        db: &impl GenericClient,
        filter: &JobFilter,
    ) -> Result<(Vec<Job>, i64), SchedulerError> {
        const PAGE: &str = "
            SELECT j.id, j.job_type, j.bot_id, j.enabled, j.interval_minutes, j.last_run_at, j.next_run_at, j.created_at,
                   j.config, j.consecutive_failures, j.max_runtime_s, j.disabled_reason, last.status, last.duration_ms,
                   last.error_message
              FROM scheduled_jobs j
              LEFT JOIN LATERAL (
                   SELECT status, duration_ms, error_message
                     FROM scheduled_job_runs r
                    WHERE r.job_id = j.id AND r.parent_run_id IS NULL AND r.started_at IS NOT NULL
                    ORDER BY r.started_at DESC
                    LIMIT 1) last ON true
             WHERE ($1::text IS NULL OR j.job_type = $1) AND ($2::text IS NULL OR j.bot_id = $2)
               AND ($3::boolean IS NULL OR j.enabled = $3) AND ($4::uuid IS NULL OR j.id = $4)
             ORDER BY j.job_type, j.bot_id
             LIMIT $5 OFFSET $6";
        const COUNT: &str = "
            SELECT count(*)
              FROM scheduled_jobs
             WHERE ($1::text IS NULL OR job_type = $1) AND ($2::text IS NULL OR bot_id = $2)
               AND ($3::boolean IS NULL OR enabled = $3)";
        let (kind, bot) = (filter.job_type.map(JobType::as_str), filter.bot_id.as_deref());
        let (limit, offset) = (filter.limit.clamp(1, 500), filter.offset.max(0));
        let any = None::<Uuid>;
        let parameters: [&(dyn ToSql + Sync); 6] = [&kind, &bot, &filter.enabled, &any, &limit, &offset];
        let rows = db.query(&db.prepare_cached(PAGE).await?, &parameters).await?;
        let total = db.query_one(&db.prepare_cached(COUNT).await?, &parameters[..3]).await?.try_get(0)?;
        Ok((rows.iter().map(job).collect::<Result<_, _>>()?, total))
    }

    /// One job with its last run.
    pub(crate) async fn get_on(db: &impl GenericClient, id: Uuid) -> Result<Option<Job>, SchedulerError> {
        const SQL: &str = "
            SELECT j.id, j.job_type, j.bot_id, j.enabled, j.interval_minutes, j.last_run_at, j.next_run_at, j.created_at,
                   j.config, j.consecutive_failures, j.max_runtime_s, j.disabled_reason, last.status, last.duration_ms,
                   last.error_message
              FROM scheduled_jobs j
              LEFT JOIN LATERAL (
                   SELECT status, duration_ms, error_message
                     FROM scheduled_job_runs r
                    WHERE r.job_id = j.id AND r.parent_run_id IS NULL AND r.started_at IS NOT NULL
                    ORDER BY r.started_at DESC
                    LIMIT 1) last ON true
             WHERE j.id = $1";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&id]).await?;
        row.as_ref().map(job).transpose()
    }

    /// Edits a job; false when there is none. Switching on forgives failures and lets the job run; a new interval counts from
    /// the last run.
    pub(crate) async fn patch_on(
        db: &impl GenericClient,
        id: Uuid,
        patch: &JobPatch,
        now: Timestamp,
    ) -> Result<bool, SchedulerError> {
        const SQL: &str = "
            UPDATE scheduled_jobs
               SET enabled = coalesce($2, enabled),
                   consecutive_failures = CASE WHEN $2 AND NOT enabled THEN 0 ELSE consecutive_failures END,
                   disabled_reason = CASE WHEN $2 IS NULL THEN disabled_reason END,
                   interval_minutes = coalesce($3, interval_minutes),
                   config = coalesce($4, config),
                   max_runtime_s = coalesce($5, max_runtime_s),
                   next_run_at = CASE WHEN $3 IS NOT NULL THEN coalesce(last_run_at, $6) + $3 * interval '1 minute'
                                      WHEN $2 AND NOT enabled THEN least(next_run_at, $6)
                                      ELSE next_run_at END,
                   updated_at = $6
             WHERE id = $1";
        let statement = db.prepare_cached(SQL).await?;
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&id, &patch.enabled, &patch.interval_minutes, &patch.config, &patch.max_runtime_s, &now];
        Ok(db.execute(&statement, &parameters).await? == 1)
    }

    /// Removes a bot's jobs, and with them their runs.
    pub(crate) async fn purge_on(db: &impl GenericClient, bot: &BotSlug) -> Result<u64, SchedulerError> {
        const SQL: &str = "DELETE FROM scheduled_jobs WHERE bot_id = $1";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&bot.as_str()]).await?)
    }
}

pub(crate) fn minutes(count: i32) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(1).max(1) * 60)
}

pub(crate) fn job_type(row: &Row) -> Result<JobType, SchedulerError> {
    JobType::parse(row.try_get("job_type")?).map_err(|_| SchedulerError::Unreadable("job_type"))
}

fn due(row: &Row) -> Result<DueJob, SchedulerError> {
    Ok(DueJob {
        id: row.try_get("id")?,
        job_type: job_type(row)?,
        bot: row.try_get("bot_id")?,
        enabled: row.try_get("enabled")?,
        interval: minutes(row.try_get("interval_minutes")?),
        slot: row.try_get("slot")?,
        failures: row.try_get("consecutive_failures")?,
    })
}

fn job(row: &Row) -> Result<Job, SchedulerError> {
    let status: Option<&str> = row.try_get("status")?;
    Ok(Job {
        id: row.try_get("id")?,
        job_type: job_type(row)?,
        bot_id: row.try_get("bot_id")?,
        enabled: row.try_get("enabled")?,
        interval_minutes: row.try_get("interval_minutes")?,
        last_run_at: row.try_get("last_run_at")?,
        next_run_at: row.try_get("next_run_at")?,
        created_at: row.try_get("created_at")?,
        last_status: status.map(RunStatus::parse).transpose()?,
        last_duration_ms: row.try_get("duration_ms")?,
        last_error: row.try_get("error_message")?,
        config: row.try_get::<_, Value>("config")?,
        consecutive_failures: row.try_get("consecutive_failures")?,
        max_runtime_s: row.try_get("max_runtime_s")?,
        disabled_reason: row.try_get("disabled_reason")?,
    })
}
