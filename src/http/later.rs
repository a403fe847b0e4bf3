//! Work on the whole of a memory that a client asks for. With the request it runs under the lock of the job that would do
//! the same by schedule; without waiting it becomes a durable task, and the answer is 202 with the task's id.

use std::time::Duration;

use greenroom_scheduler::{Hold, JobType, SchedulerError, TaskDraft, TaskType};
use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::call::Call;
use super::error::ApiError;
use super::whose::Whose;

/// How long a scheduler that is just being connected is waited for, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(8);
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// The lock under which a job runs for the bot.
///
/// # Errors
/// 409 when somebody has it, 503 without a connection.
pub async fn hold(call: &Call, job: JobType, whose: &Whose) -> Result<Hold, ApiError> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match call.house.scheduler.hold(job, whose.bot.slug()).await {
            Err(SchedulerError::Disconnected) if tokio::time::Instant::now() < until => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            done => return Ok(done?),
        }
    }
}

/// Hands the work over.
///
/// # Errors
/// What the queue refuses.
pub async fn submit(call: &Call, whose: &Whose, task_type: TaskType, payload: Value) -> Answer {
    let draft = TaskDraft {
        task_type,
        payload,
        bot: Some(whose.bot.slug().clone()),
        user: call.house.bots.user_or_default(None),
        priority: 0,
    };
    let task = call.house.scheduler.submit(&draft, whose.bot.slug()).await?;
    Ok(answer::json_with(StatusCode::ACCEPTED, &json!({"task_id": task, "status": "pending", "bot_id": whose.slug()})))
}
