//! SQL over `background_tasks`.

use std::time::Duration;

use deadpool_postgres::GenericClient;
use greenroom_protocol::{BotSlug, UserId};
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::error::SchedulerError;
use crate::task::{Task, TaskDraft, TaskFilter, TaskStatus, TaskType};

/// Most tasks that may wait.
const WAITING_MAX: i64 = 10_000;
/// How long one try may take before its lease is over, beside the grace.
pub(crate) const TASK_LIMIT: Duration = Duration::from_secs(900);

/// The tasks.
pub(crate) struct TaskRepository;

impl TaskRepository {
    /// Puts a task into the queue; false when the queue is full.
    pub(crate) async fn insert_on(
        db: &impl GenericClient,
        id: Uuid,
        draft: &TaskDraft,
        bot: &BotSlug,
        now: Timestamp,
    ) -> Result<bool, SchedulerError> {
        const SQL: &str = "
            INSERT INTO background_tasks (id, task_type, payload, bot_id, user_id, priority, status, not_before, created_at)
            SELECT $1, $2, $3, $4, $5, $6, 'pending', $7, $7
             WHERE (SELECT count(*) FROM (SELECT FROM background_tasks WHERE status = 'pending' LIMIT $8) waiting) < $8";
        let statement = db.prepare_cached(SQL).await?;
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &id,
            &draft.task_type.as_str(),
            &draft.payload,
            &bot.as_str(),
            &draft.user.as_str(),
            &draft.priority,
            &now,
            &WAITING_MAX,
        ];
        Ok(db.execute(&statement, &parameters).await? == 1)
    }

    /// Takes the next waiting task whose bot is not busy: the highest priority first, then the oldest.
    pub(crate) async fn claim_on(
        db: &impl GenericClient,
        owner: Uuid,
        busy: &[String],
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Option<Task>, SchedulerError> {
        const SQL: &str = "
            UPDATE background_tasks
               SET status = 'running', owner = $1, started_at = $2, lease_until = $4, attempts = attempts + 1
             WHERE id = (SELECT id
                           FROM background_tasks
                          WHERE status = 'pending' AND bot_id <> ALL($3) AND not_before <= $2
                          ORDER BY priority DESC, created_at, id
                          LIMIT 1
                            FOR UPDATE SKIP LOCKED)
         RETURNING id, task_type, payload, bot_id, user_id, priority, status, attempts, created_at, completed_at,
                   processing_time_ms, result, error";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&owner, &now, &busy, &lease_until]).await?;
        row.as_ref().map(task).transpose()
    }

    /// Ends a running task that `owner` still has (or anybody).
    pub(crate) async fn end_on(
        db: &impl GenericClient,
        id: Uuid,
        owner: Option<Uuid>,
        outcome: Result<&Value, &str>,
        now: Timestamp,
    ) -> Result<bool, SchedulerError> {
        const SQL: &str = "
            UPDATE background_tasks
               SET status = CASE WHEN $4::text IS NULL THEN 'completed' ELSE 'failed' END, result = $3, error = $4,
                   completed_at = $5, lease_until = NULL,
                   processing_time_ms = greatest(0, extract(epoch FROM $5::timestamptz - coalesce(started_at, $5)) * 1000)::bigint
             WHERE id = $1 AND status = 'running' AND ($2::uuid IS NULL OR owner = $2)";
        let statement = db.prepare_cached(SQL).await?;
        Ok(db.execute(&statement, &[&id, &owner, &outcome.ok(), &outcome.err(), &now]).await? == 1)
    }

    /// Puts a running task back into the queue.
    pub(crate) async fn requeue_on(
        db: &impl GenericClient,
        id: Uuid,
        owner: Option<Uuid>,
        why: &str,
        not_before: Timestamp,
    ) -> Result<bool, SchedulerError> {
        const SQL: &str = "
            UPDATE background_tasks
               SET status = 'pending', owner = NULL, lease_until = NULL, error = $3, not_before = $4
             WHERE id = $1 AND status = 'running' AND ($2::uuid IS NULL OR owner = $2)";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&id, &owner, &why, &not_before]).await? == 1)
    }

    /// Ends a waiting task without doing it.
    pub(crate) async fn withdraw_on(
        db: &impl GenericClient,
        id: Uuid,
        why: &str,
        now: Timestamp,
    ) -> Result<bool, SchedulerError> {
        const SQL: &str = "
            UPDATE background_tasks
               SET status = 'failed', error = $2, completed_at = $3
             WHERE id = $1 AND status = 'pending'";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&id, &why, &now]).await? == 1)
    }

    /// Running tasks that nobody works on any more, with the number of their tries; see
    /// [`super::RunRepository::orphaned_on`].
    pub(crate) async fn orphaned_on(
        db: &impl GenericClient,
        owner: Uuid,
        now: Timestamp,
    ) -> Result<Vec<(Uuid, i16)>, SchedulerError> {
        const SQL: &str = "
            WITH owners AS MATERIALIZED (
                SELECT DISTINCT owner FROM background_tasks WHERE status = 'running' AND owner <> $1
            ), gone AS MATERIALIZED (
                SELECT owner FROM owners
                 WHERE pg_try_advisory_xact_lock(hashtextextended('scheduler owner:' || owner::text, 0))
            )
            SELECT id, attempts
              FROM background_tasks
             WHERE status = 'running' AND (lease_until < $2 OR owner IN (SELECT owner FROM gone))
             ORDER BY id";
        let rows = db.query(&db.prepare_cached(SQL).await?, &[&owner, &now]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// One task.
    pub(crate) async fn get_on(db: &impl GenericClient, id: Uuid) -> Result<Option<Task>, SchedulerError> {
        const SQL: &str = "
            SELECT id, task_type, payload, bot_id, user_id, priority, status, attempts, created_at, completed_at,
                   processing_time_ms, result, error
              FROM background_tasks
             WHERE id = $1";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&id]).await?;
        row.as_ref().map(task).transpose()
    }

    /// One page of tasks, newest first, without payloads and results, and how many pass the filter.
    pub(crate) async fn page_on(
        db: &impl GenericClient,
        filter: &TaskFilter,
    ) -> Result<(Vec<Task>, i64), SchedulerError> {
        const PAGE: &str = "
            SELECT id, task_type, '{}'::jsonb AS payload, bot_id, user_id, priority, status, attempts, created_at,
                   completed_at, processing_time_ms, NULL::jsonb AS result, error
              FROM background_tasks
             WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR task_type = $2)
               AND ($3::text IS NULL OR bot_id = $3) AND ($4::text IS NULL OR user_id = $4)
             ORDER BY created_at DESC, id DESC
             LIMIT $5 OFFSET $6";
        const COUNT: &str = "
            SELECT count(*)
              FROM background_tasks
             WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR task_type = $2)
               AND ($3::text IS NULL OR bot_id = $3) AND ($4::text IS NULL OR user_id = $4)";
        let status = filter.status.map(TaskStatus::as_str);
        let kind = filter.task_type.map(TaskType::as_str);
        let (limit, offset) = (filter.limit.clamp(1, 1000), filter.offset.max(0));
        let parameters: [&(dyn ToSql + Sync); 6] = [&status, &kind, &filter.bot_id, &filter.user_id, &limit, &offset];
        let rows = db.query(&db.prepare_cached(PAGE).await?, &parameters).await?;
        let total = db.query_one(&db.prepare_cached(COUNT).await?, &parameters[..4]).await?.try_get(0)?;
        Ok((rows.iter().map(task).collect::<Result<_, _>>()?, total))
    }

    /// Removes tasks that ended before a time.
    pub(crate) async fn prune_on(db: &impl GenericClient, before: Timestamp) -> Result<u64, SchedulerError> {
        const SQL: &str = "DELETE FROM background_tasks WHERE completed_at < $1";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&before]).await?)
    }

    /// Removes a bot's tasks.
    pub(crate) async fn purge_on(db: &impl GenericClient, bot: &BotSlug) -> Result<u64, SchedulerError> {
        const SQL: &str = "DELETE FROM background_tasks WHERE bot_id = $1";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&bot.as_str()]).await?)
    }
}

fn task(row: &Row) -> Result<Task, SchedulerError> {
    Ok(Task {
        id: row.try_get("id")?,
        task_type: TaskType::parse(row.try_get("task_type")?).map_err(|_| SchedulerError::Unreadable("task_type"))?,
        payload: row.try_get("payload")?,
        bot: BotSlug::from_stored(row.try_get::<_, String>("bot_id")?),
        user: UserId::from_stored(row.try_get::<_, String>("user_id")?),
        priority: row.try_get("priority")?,
        status: TaskStatus::parse(row.try_get("status")?).map_err(|_| SchedulerError::Unreadable("status"))?,
        attempts: row.try_get("attempts")?,
        created_at: row.try_get("created_at")?,
        completed_at: row.try_get("completed_at")?,
        processing_time_ms: row.try_get("processing_time_ms")?,
        result: row.try_get("result")?,
        error: row.try_get("error")?,
    })
}
