//! Jobs and their runs (http-api §15). When what runs is the scheduler's.

use greenroom_protocol::BotSlug;
use greenroom_protocol::fields::Fields;
use greenroom_scheduler::{JobFilter, JobPatch, JobType, RunFilter, RunStatus, SchedulerError};
use serde_json::json;
use uuid::Uuid;

use super::answer::{self, Answer};
use super::bots::page_number;
use super::call::Call;
use super::error::ApiError;
use super::whose::whole_memory;

/// What clients are told when the database is away.
const AWAY: &str = "Job scheduler requires database connection";

impl From<SchedulerError> for ApiError {
    fn from(error: SchedulerError) -> Self {
        match error {
            SchedulerError::Invalid(complaints) => Self::Invalid(complaints),
            SchedulerError::AlreadyRunning { run: Some(run) } => {
                Self::Detailed { class: error.class(), detail: json!({"message": error.to_string(), "run_id": run}) }
            }
            error => Self::room(error.class(), error).away(AWAY),
        }
    }
}

fn filters(fields: &mut Fields<'_>, most: i64) -> (Option<String>, Option<String>, i64, i64) {
    let (job_type, bot) = (fields.text_max("job_type", 80).some(), fields.text_max("bot_id", 128).some());
    let limit = page_number(fields, "limit", 1, most, 100) as i64;
    (job_type, bot, limit, page_number(fields, "offset", 0, 1_000_000, 0) as i64)
}

/// `GET /v1/jobs`: by kind and bot.
pub async fn list(call: Call) -> Answer {
    let mut fields = call.query().fields();
    let (job_type, bot_id, limit, offset) = filters(&mut fields, 500);
    let enabled = fields.boolean("enabled").some();
    fields.finish()?;
    let job_type = job_type.as_deref().map(JobType::parse).transpose()?;
    let filter = JobFilter { job_type, bot_id, enabled, limit, offset };
    let page = call.house.scheduler.jobs(&filter).await?;
    answer::json(&json!({
        "jobs": page.jobs,
        "total_count": page.total_count,
        "filters": {
            "job_type": filter.job_type, "bot_id": filter.bot_id, "enabled": filter.enabled, "limit": limit,
            "offset": offset,
        },
    }))
}

/// `GET /v1/jobs/runs`: newest first.
pub async fn runs(call: Call) -> Answer {
    whole_memory(&call)?;
    let mut fields = call.query().fields();
    let (job_type, bot_id, limit, offset) = filters(&mut fields, 1000);
    let include_result = fields.boolean("include_result").some().unwrap_or(false);
    let status = fields.text_max("status", 80).some();
    let job_id = fields.text_max("job_id", 64).some().and_then(|text| {
        let id = Uuid::parse_str(text.trim()).ok();
        if id.is_none() {
            fields.complain("uuid_parsing", "job_id", "Input should be a valid UUID");
        }
        id
    });
    fields.finish()?;
    let job_type = job_type.as_deref().map(JobType::parse).transpose()?;
    let status = status.as_deref().map(RunStatus::parse).transpose()?;
    let filter = RunFilter { job_id, job_type, bot_id, status, include_result, limit, offset };
    let page = call.house.scheduler.runs(&filter).await?;
    answer::json(&json!({
        "runs": page.runs,
        "total_count": page.total_count,
        "filters": {
            "job_id": filter.job_id, "job_type": filter.job_type, "bot_id": filter.bot_id, "status": filter.status,
            "include_result": include_result, "limit": limit, "offset": offset,
        },
    }))
}

/// `POST /v1/jobs/{job_type}/trigger`: at once, not at the next check.
pub async fn trigger(mut call: Call) -> Answer {
    let (root, members) = call.either().await?;
    let mut fields = Fields::of_map(root, &members);
    let force = fields.boolean("force").some().unwrap_or(false);
    let bot = fields.text_max("bot_id", 128).some().filter(|bot| !bot.trim().is_empty() && bot != "*");
    let bot = bot.and_then(|text| match BotSlug::parse(&text) {
        Ok(slug) => Some(slug),
        Err(bad) => {
            fields.complain("value_error", "bot_id", bad.to_string());
            None
        }
    });
    fields.finish()?;
    let job = JobType::parse(call.param("job_type"))?;
    let triggered = call.house.scheduler.trigger(job, bot.as_ref(), force).await?;
    answer::json(&json!({
        "success": true, "job_type": triggered.job_type, "jobs_triggered": triggered.jobs_triggered,
        "run_ids": triggered.run_ids, "scheduler_running": call.house.scheduler.is_running(),
    }))
}

/// `PATCH /v1/jobs/{job_id}`.
pub async fn patch(mut call: Call) -> Answer {
    let patch = JobPatch::read(&call.json().await?)?;
    let id = id(&call, "job_id", "Job not found")?;
    answer::json(&call.house.scheduler.patch_job(id, &patch).await?)
}

/// `DELETE /v1/jobs/runs/{run_id}`: asks a run to stop.
pub async fn cancel(call: Call) -> Answer {
    let id = id(&call, "run_id", "Run not found")?;
    call.house.scheduler.cancel_run(id).await?;
    answer::json(&json!({"success": true, "run_id": id}))
}

/// An id of the path. One that cannot be an id names nothing.
pub(super) fn id(call: &Call, name: &str, missing: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(call.param(name)).map_err(|_| ApiError::not_found(missing))
}
