//! Background tasks (http-api §14): work that somebody asks for once.

use std::time::Duration;

use greenroom_protocol::ErrorClass;
use greenroom_scheduler::{Task, TaskDraft, TaskFilter, TaskStatus, TaskType};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{self, Answer};
use super::bots::page_number;
use super::call::Call;
use super::error::ApiError;
use super::whose::{Whose, whole_memory};

/// Longest wait for a result, in seconds.
const LONGEST_WAIT: f64 = 300.0;

/// `POST /v1/tasks`.
pub async fn submit(mut call: Call) -> Answer {
    let draft = TaskDraft::read(&call.json().await?)?;
    let whose = Whose::named(&call.house, draft.bot.as_ref().map(|bot| bot.as_str()))?;
    let task = call.house.scheduler.submit(&draft, whose.bot.slug()).await?;
    answer::json(&json!({"task_id": task, "status": TaskStatus::Pending}))
}

/// `GET /v1/tasks/{task_id}`. Clients rely on `pending` for an id that is not known; `strict=true` asks for the truth.
pub async fn get(call: Call) -> Answer {
    whole_memory(&call)?;
    let mut fields = call.query().fields();
    let wait = fields.boolean("wait").some().unwrap_or(false);
    let strict = fields.boolean("strict").some().unwrap_or(false);
    let timeout = fields.number("timeout", 0.0, LONGEST_WAIT).some().unwrap_or(30.0);
    fields.finish()?;
    let limit = wait.then(|| Duration::from_secs_f64(timeout));
    let task = match Uuid::parse_str(call.param("task_id")) {
        Ok(id) => call.house.scheduler.task(id, limit).await?,
        Err(_) => None,
    };
    match task {
        Some(task) => answer::json(&outcome(&task)),
        None if strict => Err(ApiError::not_found("Task not found")),
        None => answer::json(&json!({
            "task_id": call.param("task_id"), "status": "pending", "result": null, "error": null,
            "processing_time_ms": null,
        })),
    }
}

fn outcome(task: &Task) -> Value {
    json!({
        "task_id": task.id, "status": task.status, "result": task.result, "error": task.error,
        "processing_time_ms": task.processing_time_ms,
    })
}

/// `GET /v1/tasks`: newest first.
pub async fn list(call: Call) -> Answer {
    whole_memory(&call)?;
    let mut fields = call.query().fields();
    let mut text = |name: &str| fields.text_max(name, 128).some();
    let (status, task_type, bot_id, user_id) = (text("status"), text("task_type"), text("bot_id"), text("user_id"));
    let limit = page_number(&mut fields, "limit", 1, 1000, 100) as i64;
    let offset = page_number(&mut fields, "offset", 0, 1_000_000, 0) as i64;
    fields.finish()?;
    let status = status.as_deref().map(TaskStatus::parse).transpose();
    let status = status.map_err(|_| ApiError::said(ErrorClass::InvalidRequest, "Invalid status filter"))?;
    let task_type = task_type.as_deref().map(TaskType::parse).transpose()?;
    let filter = TaskFilter { status, task_type, bot_id, user_id, limit, offset };
    let page = call.house.scheduler.tasks(&filter).await?;
    let tasks: Vec<Value> = page
        .tasks
        .iter()
        .map(|task| {
            let mut shown = json!(task);
            if let Some(shown) = shown.as_object_mut() {
                shown.remove("result");
            }
            shown
        })
        .collect();
    answer::json(&json!({
        "tasks": tasks,
        "total_count": page.total_count,
        "filters": {
            "status": filter.status, "task_type": filter.task_type, "bot_id": filter.bot_id,
            "user_id": filter.user_id, "limit": limit, "offset": offset,
        },
    }))
}

/// `DELETE /v1/tasks/{task_id}`: a waiting task is not begun, a running one is asked to stop.
pub async fn cancel(call: Call) -> Answer {
    let id = super::jobs::id(&call, "task_id", "Task not found")?;
    call.house.scheduler.cancel_task(id).await?;
    answer::json(&json!({"success": true, "task_id": id}))
}
