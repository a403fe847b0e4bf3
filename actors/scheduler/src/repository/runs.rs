//! SQL over `scheduled_job_runs`.

use std::time::Duration;

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::jobs::{job_type, minutes};
use crate::error::SchedulerError;
use crate::job::JobType;
use crate::run::{Run, RunFilter, RunStatus, Trigger};
use crate::timing::MOST_ATTEMPTS;

/// The runs.
pub(crate) struct RunRepository;

/// A run to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewRun<'a> {
    pub id: Uuid,
    pub job: Uuid,
    pub bot: &'a str,
    pub parent: Option<Uuid>,
    pub fan_out: bool,
    pub trigger: Trigger,
    pub forced: bool,
    pub scheduled_for: Timestamp,
    pub attempt: i16,
}

/// A run that this process owns now.
#[derive(Debug, Clone)]
pub(crate) struct ClaimedRun {
    pub id: Uuid,
    pub job: Uuid,
    pub job_type: JobType,
    pub bot: String,
    pub trigger: Trigger,
    pub forced: bool,
    pub config: Value,
    pub interval: Duration,
    pub max_runtime: Duration,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub status: RunStatus,
    pub result: Value,
    pub error: Option<String>,
    pub interrupted: bool,
}

/// What a run that has ended belonged to.
#[derive(Debug, Clone)]
pub(crate) struct EndedRun {
    pub job: Uuid,
    pub bot: String,
    pub parent: Option<Uuid>,
    pub trigger: Trigger,
    pub forced: bool,
    pub scheduled_for: Timestamp,
    pub attempt: i16,
    /// It broke off through no fault of its own and is to be tried again.
    pub interrupted: bool,
}

/// A parent run whose children have all ended.
#[derive(Debug, Clone)]
pub(crate) struct SettledParent {
    pub job: Uuid,
    pub trigger: Trigger,
    /// Not one child did its work, and at least one failed.
    pub is_failure: bool,
}

/// How a job went for a bot lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub last_success: Option<Timestamp>,
    pub failures: i32,
    pub last_failure: Option<Timestamp>,
}

impl RunRepository {
    /// Makes a run, unless the job runs or waits for this bot already, or this instant has had its run. A run with `fan_out`
    /// begins at once.
    pub(crate) async fn insert_on(
        db: &impl GenericClient,
        run: &NewRun<'_>,
        now: Timestamp,
    ) -> Result<bool, SchedulerError> {
        const SQL: &str = "
            INSERT INTO scheduled_job_runs
                   (id, job_id, bot_id, parent_run_id, fan_out, trigger, forced, status, scheduled_for, attempt, created_at,
                    started_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $5 THEN 'running' ELSE 'pending' END, $8, $9, $10,
                    CASE WHEN $5 THEN $10::timestamptz END)
                ON CONFLICT DO NOTHING";
        let statement = db.prepare_cached(SQL).await?;
        let parameters: [&(dyn ToSql + Sync); 10] = [
            &run.id,
            &run.job,
            &run.bot,
            &run.parent,
            &run.fan_out,
            &run.trigger.as_str(),
            &run.forced,
            &run.scheduled_for,
            &run.attempt,
            &now,
        ];
        Ok(db.execute(&statement, &parameters).await? == 1)
    }

    /// Notes children that were not made because their job was at work for their bot.
    pub(crate) async fn insert_skipped_on(
        db: &impl GenericClient,
        parent: &NewRun<'_>,
        bots: &[&str],
        now: Timestamp,
    ) -> Result<(), SchedulerError> {
        const SQL: &str = "
            INSERT INTO scheduled_job_runs
                   (id, job_id, bot_id, parent_run_id, trigger, status, scheduled_for, created_at, started_at, finished_at,
                    duration_ms, result)
            SELECT gen_random_uuid(), $1, bot, $2, $3, 'skipped', $4, $5, $5, $5, 0, '{\"reason\": \"already running\"}'
              FROM unnest($6::text[]) AS bot
                ON CONFLICT DO NOTHING";
        let statement = db.prepare_cached(SQL).await?;
        let trigger = parent.trigger.as_str();
        db.execute(&statement, &[&parent.job, &parent.id, &trigger, &parent.scheduled_for, &now, &bots]).await?;
        Ok(())
    }

    /// The run that keeps another of this kind from beginning for a bot (or `*`).
    pub(crate) async fn active_on(
        db: &impl GenericClient,
        job: JobType,
        bot: &str,
    ) -> Result<Option<Uuid>, SchedulerError> {
        const SQL: &str = "
            SELECT r.id
              FROM scheduled_job_runs r JOIN scheduled_jobs j ON j.id = r.job_id
             WHERE j.job_type = $1 AND r.bot_id = $2 AND r.status IN ('pending', 'running')
             ORDER BY r.status DESC
             LIMIT 1";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&job.as_str(), &bot]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Takes the next waiting run whose bot is not busy: what people asked for first, then by age.
    pub(crate) async fn claim_on(
        db: &impl GenericClient,
        owner: Uuid,
        busy: &[String],
        now: Timestamp,
    ) -> Result<Option<ClaimedRun>, SchedulerError> {
        const SQL: &str = "
            UPDATE scheduled_job_runs r
               SET status = 'running', owner = $1, started_at = $2,
                   lease_until = $2::timestamptz + (j.max_runtime_s + 60) * interval '1 second'
              FROM scheduled_jobs j
             WHERE j.id = r.job_id
               AND r.id = (SELECT id
                             FROM scheduled_job_runs
                            WHERE status = 'pending' AND bot_id <> ALL($3)
                            ORDER BY trigger <> 'manual', created_at, bot_id
                            LIMIT 1
                              FOR UPDATE SKIP LOCKED)
         RETURNING r.id, r.job_id, j.job_type, r.bot_id, r.trigger, r.forced, j.config, j.interval_minutes,
                   j.max_runtime_s";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&owner, &now, &busy]).await?;
        row.as_ref().map(claimed).transpose()
    }

    /// Ends a run, once. `owner` is who must still have it, or nobody in particular.
    pub(crate) async fn end_on(
        db: &impl GenericClient,
        id: Uuid,
        owner: Option<Uuid>,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<Option<EndedRun>, SchedulerError> {
        const SQL: &str = "
            UPDATE scheduled_job_runs
               SET status = $3, result = $4, error_message = $5, interrupted = $6 AND attempt < $8,
                   finished_at = $7,
                   duration_ms = greatest(0, extract(epoch FROM $7::timestamptz - coalesce(started_at, $7)) * 1000)::bigint,
                   lease_until = NULL
             WHERE id = $1 AND status IN ('pending', 'running') AND NOT fan_out AND ($2::uuid IS NULL OR owner = $2)
         RETURNING job_id, bot_id, parent_run_id, trigger, forced, scheduled_for, attempt, interrupted";
        let statement = db.prepare_cached(SQL).await?;
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &id,
            &owner,
            &ending.status.as_str(),
            &ending.result,
            &ending.error,
            &ending.interrupted,
            &now,
            &MOST_ATTEMPTS,
        ];
        db.query_opt(&statement, &parameters).await?.as_ref().map(ended).transpose()
    }

    /// Runs that nobody works on any more: their lease is over, or their owner is not alive. An owner's lock that can be had
    /// has no holder; the test gives it back at the statement's end.
    pub(crate) async fn orphaned_on(
        db: &impl GenericClient,
        owner: Uuid,
        now: Timestamp,
    ) -> Result<Vec<Uuid>, SchedulerError> {
        const SQL: &str = "
            WITH owners AS MATERIALIZED (
                SELECT DISTINCT owner FROM scheduled_job_runs
                 WHERE status = 'running' AND NOT fan_out AND owner <> $1
            ), gone AS MATERIALIZED (
                SELECT owner FROM owners
                 WHERE pg_try_advisory_xact_lock(hashtextextended('scheduler owner:' || owner::text, 0))
            )
            SELECT id
              FROM scheduled_job_runs
             WHERE status = 'running' AND NOT fan_out AND (lease_until < $2 OR owner IN (SELECT owner FROM gone))
             ORDER BY id";
        let rows = db.query(&db.prepare_cached(SQL).await?, &[&owner, &now]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Ends parents whose children have all ended. Of several tries for a bot the last one counts.
    pub(crate) async fn settle_on(
        db: &impl GenericClient,
        now: Timestamp,
    ) -> Result<Vec<SettledParent>, SchedulerError> {
        const SQL: &str = "
            WITH idle AS (
                SELECT p.id
                  FROM scheduled_job_runs p
                 WHERE p.status = 'running' AND p.fan_out
                   AND NOT EXISTS (SELECT FROM scheduled_job_runs c
                                    WHERE c.parent_run_id = p.id AND c.status IN ('pending', 'running'))
                   FOR UPDATE SKIP LOCKED
            ), last AS (
                SELECT DISTINCT ON (c.parent_run_id, c.bot_id) c.parent_run_id, c.status
                  FROM scheduled_job_runs c JOIN idle ON idle.id = c.parent_run_id
                 ORDER BY c.parent_run_id, c.bot_id, c.attempt DESC
            ), counts AS (
                SELECT idle.id, count(last.status) FILTER (WHERE last.status = 'success') AS success,
                       count(last.status) FILTER (WHERE last.status = 'failed') AS failed,
                       count(last.status) FILTER (WHERE last.status = 'skipped') AS skipped
                  FROM idle LEFT JOIN last ON last.parent_run_id = idle.id
                 GROUP BY idle.id
            )
            UPDATE scheduled_job_runs p
               SET status = CASE WHEN counts.failed > 0 THEN 'failed' ELSE 'success' END,
                   error_message = CASE WHEN counts.failed > 0 THEN counts.failed || ' of '
                                        || counts.success + counts.failed + counts.skipped || ' bots failed' END,
                   result = jsonb_build_object('success', counts.success, 'failed', counts.failed,
                                               'skipped', counts.skipped),
                   finished_at = $1,
                   duration_ms = greatest(0, extract(epoch FROM $1::timestamptz - p.started_at) * 1000)::bigint
              FROM counts
             WHERE p.id = counts.id
         RETURNING p.job_id, p.trigger, counts.failed > 0 AND counts.success + counts.skipped = 0";
        let rows = db.query(&db.prepare_cached(SQL).await?, &[&now]).await?;
        let read =
            |row: &Row| Ok(SettledParent { job: row.try_get(0)?, trigger: trigger(row)?, is_failure: row.try_get(2)? });
        rows.iter().map(read).collect()
    }

    /// How a job went for a bot lately. What was interrupted does not count against it.
    pub(crate) async fn standing_on(db: &impl GenericClient, job: Uuid, bot: &str) -> Result<Standing, SchedulerError> {
        const SQL: &str = "
            WITH good AS (
                SELECT started_at, finished_at
                  FROM scheduled_job_runs
                 WHERE job_id = $1 AND bot_id = $2 AND status = 'success'
                 ORDER BY finished_at DESC
                 LIMIT 1
            )
            SELECT (SELECT started_at FROM good), count(*), max(finished_at)
              FROM scheduled_job_runs
             WHERE job_id = $1 AND bot_id = $2 AND status = 'failed' AND NOT interrupted
               AND finished_at > coalesce((SELECT finished_at FROM good), '-infinity')";
        let row = db.query_one(&db.prepare_cached(SQL).await?, &[&job, &bot]).await?;
        let failures: i64 = row.try_get(1)?;
        Ok(Standing {
            last_success: row.try_get(0)?,
            failures: i32::try_from(failures).unwrap_or(i32::MAX),
            last_failure: row.try_get(2)?,
        })
    }

    /// One page of runs, newest first, and how many pass the filter.
    pub(crate) async fn page_on(
        db: &impl GenericClient,
        filter: &RunFilter,
    ) -> Result<(Vec<Run>, i64), SchedulerError> {
        const PAGE: &str = "
            SELECT r.id, r.job_id, j.job_type, r.bot_id, r.status, r.trigger, r.parent_run_id, r.scheduled_for, r.attempt,
                   r.started_at, r.finished_at, r.duration_ms, r.error_message, CASE WHEN $5 THEN r.result END AS result
              FROM scheduled_job_runs r JOIN scheduled_jobs j ON j.id = r.job_id
             WHERE ($1::uuid IS NULL OR r.job_id = $1) AND ($2::text IS NULL OR j.job_type = $2)
               AND ($3::text IS NULL OR r.bot_id = $3) AND ($4::text IS NULL OR r.status = $4)
             ORDER BY r.created_at DESC, r.id DESC
             LIMIT $6 OFFSET $7";
        const COUNT: &str = "
            SELECT count(*)
              FROM scheduled_job_runs r JOIN scheduled_jobs j ON j.id = r.job_id
             WHERE ($1::uuid IS NULL OR r.job_id = $1) AND ($2::text IS NULL OR j.job_type = $2)
               AND ($3::text IS NULL OR r.bot_id = $3) AND ($4::text IS NULL OR r.status = $4)";
        let kind = filter.job_type.map(JobType::as_str);
        let status = filter.status.map(RunStatus::as_str);
        let (limit, offset) = (filter.limit.clamp(1, 1000), filter.offset.max(0));
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&filter.job_id, &kind, &filter.bot_id, &status, &filter.include_result, &limit, &offset];
        let rows = db.query(&db.prepare_cached(PAGE).await?, &parameters).await?;
        let total = db.query_one(&db.prepare_cached(COUNT).await?, &parameters[..4]).await?.try_get(0)?;
        Ok((rows.iter().map(run).collect::<Result<_, _>>()?, total))
    }

    /// One run with its result.
    pub(crate) async fn get_on(db: &impl GenericClient, id: Uuid) -> Result<Option<Run>, SchedulerError> {
        const SQL: &str = "
            SELECT r.id, r.job_id, j.job_type, r.bot_id, r.status, r.trigger, r.parent_run_id, r.scheduled_for, r.attempt,
                   r.started_at, r.finished_at, r.duration_ms, r.error_message, r.result
              FROM scheduled_job_runs r JOIN scheduled_jobs j ON j.id = r.job_id
             WHERE r.id = $1";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&id]).await?;
        row.as_ref().map(run).transpose()
    }

    /// Removes runs that ended before a time.
    pub(crate) async fn prune_on(db: &impl GenericClient, before: Timestamp) -> Result<u64, SchedulerError> {
        const SQL: &str = "DELETE FROM scheduled_job_runs WHERE finished_at < $1";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&before]).await?)
    }

    /// Removes a bot's runs.
    pub(crate) async fn purge_on(db: &impl GenericClient, bot: &BotSlug) -> Result<u64, SchedulerError> {
        const SQL: &str = "DELETE FROM scheduled_job_runs WHERE bot_id = $1";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&bot.as_str()]).await?)
    }
}

fn trigger(row: &Row) -> Result<Trigger, SchedulerError> {
    Trigger::of_stored(row.try_get("trigger")?).ok_or(SchedulerError::Unreadable("trigger"))
}

fn claimed(row: &Row) -> Result<ClaimedRun, SchedulerError> {
    let seconds: i32 = row.try_get("max_runtime_s")?;
    Ok(ClaimedRun {
        id: row.try_get("id")?,
        job: row.try_get("job_id")?,
        job_type: job_type(row)?,
        bot: row.try_get("bot_id")?,
        trigger: trigger(row)?,
        forced: row.try_get("forced")?,
        config: row.try_get("config")?,
        interval: minutes(row.try_get("interval_minutes")?),
        max_runtime: Duration::from_secs(u64::try_from(seconds).unwrap_or(1).max(1)),
    })
}

fn ended(row: &Row) -> Result<EndedRun, SchedulerError> {
    Ok(EndedRun {
        job: row.try_get("job_id")?,
        bot: row.try_get("bot_id")?,
        parent: row.try_get("parent_run_id")?,
        trigger: trigger(row)?,
        forced: row.try_get("forced")?,
        scheduled_for: row.try_get("scheduled_for")?,
        attempt: row.try_get("attempt")?,
        interrupted: row.try_get("interrupted")?,
    })
}

fn run(row: &Row) -> Result<Run, SchedulerError> {
    Ok(Run {
        id: row.try_get("id")?,
        job_id: row.try_get("job_id")?,
        job_type: job_type(row)?,
        bot_id: row.try_get("bot_id")?,
        status: RunStatus::parse(row.try_get("status")?).map_err(|_| SchedulerError::Unreadable("status"))?,
        trigger: trigger(row)?,
        parent_run_id: row.try_get("parent_run_id")?,
        scheduled_for: row.try_get("scheduled_for")?,
        attempt: row.try_get("attempt")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
        duration_ms: row.try_get("duration_ms")?,
        error_message: row.try_get("error_message")?,
        result: row.try_get("result")?,
    })
}
