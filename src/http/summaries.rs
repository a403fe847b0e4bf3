//! Summaries (http-api §10.4 to §10.6): what is due, making them, listing and deleting them. The summariser is the
//! distill room's; this translates, and hands long work to the task queue when a client does not want to wait.

use greenroom_distill::summaries::{RebuildOptions, RunOptions};
use greenroom_memory::summaries::{Summary, SummaryError};
use greenroom_protocol::fields::Fields;
use greenroom_protocol::time::wire_time;
use greenroom_scheduler::{JobType, TaskType};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer};
use super::call::Call;
use super::error::ApiError;
use super::history::seconds;
use super::later;
use super::whose::{Whose, whole_memory};

/// Most summaries of a listing.
const MOST: i64 = 5000;

/// `GET /v1/history/summarize/preview`.
pub async fn preview(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let preview = call.house.summaries.preview(&call.house.brief(&whose.bot)).await?;
    answer::json(&preview)
}

/// `POST /v1/history/summarize`.
pub async fn summarize(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let mut fields = call.query().fields();
    let use_heuristic = fields.boolean("use_heuristic").some().unwrap_or(false);
    let model = model(&mut fields);
    let later = fields.boolean("async").some().unwrap_or(false);
    fields.finish()?;
    if later {
        let payload = json!({"use_heuristic": use_heuristic, "model": model});
        return later::submit(&call, &whose, TaskType::HistorySummarization, payload).await;
    }
    let _hold = later::hold(&call, JobType::HistorySummarization, &whose).await?;
    let options = RunOptions { use_heuristic, model, on_demand: true, max_tokens_per_chunk: None };
    // When the client leaves, the work ends with it: the token is cancelled as it is dropped.
    let cancel = CancellationToken::new();
    let _stop = cancel.clone().drop_guard();
    let done = call.house.summaries.run(&call.house.brief(&whose.bot), &options, &cancel).await?;
    answer::json(&done)
}

/// `POST /v1/history/summarize/rebuild`.
pub async fn rebuild(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let mut fields = call.query().fields();
    let sessions = fields.integer("sessions", 0, 2000).some().unwrap_or(5);
    let use_heuristic = fields.boolean("use_heuristic").some().unwrap_or(false);
    let purge_existing = fields.boolean("purge_existing").some().unwrap_or(false);
    let (start, end) = (epoch(&mut fields, "start_ts"), epoch(&mut fields, "end_ts"));
    if let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        fields.complain("value_error", "end_ts", "Input should not be before start_ts");
    }
    let model = model(&mut fields);
    let later = fields.boolean("async").some().unwrap_or(false);
    fields.finish()?;
    if later {
        let payload = json!({
            "rebuild": true, "sessions": sessions, "use_heuristic": use_heuristic, "purge_existing": purge_existing,
            "start_ts": start.map(seconds), "end_ts": end.map(seconds), "model": model,
        });
        return later::submit(&call, &whose, TaskType::HistorySummarization, payload).await;
    }
    let _hold = later::hold(&call, JobType::HistorySummarization, &whose).await?;
    let sessions = usize::try_from(sessions).unwrap_or_default();
    let options = RebuildOptions { sessions, start, end, purge_existing, use_heuristic, model };
    let cancel = CancellationToken::new();
    let _stop = cancel.clone().drop_guard();
    let done = call.house.summaries.rebuild(&call.house.brief(&whose.bot), &options, &cancel).await?;
    answer::json(&done)
}

fn model(fields: &mut Fields<'_>) -> Option<String> {
    fields.text_max("model", 256).some().filter(|model| !model.trim().is_empty())
}

/// Unix seconds.
fn epoch(fields: &mut Fields<'_>, name: &str) -> Option<Timestamp> {
    let seconds = fields.number(name, 0.0, 253_402_300_799.0).some()?;
    crate::transfer::moment(&seconds.to_string())
}

/// `GET /v1/history/summaries`.
pub async fn list(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let mut fields = call.query().fields();
    let limit = fields.integer("limit", 1, i64::MAX).some().unwrap_or(MOST).min(MOST);
    fields.finish()?;
    let summaries = whose.namespace.summaries(limit).await?;
    let summaries: Vec<Value> = summaries.iter().map(view).collect();
    answer::json(&json!({"bot_id": whose.slug(), "total_count": summaries.len(), "summaries": summaries}))
}

fn view(summary: &Summary) -> Value {
    json!({
        "id": summary.id, "content": summary.content, "timestamp": seconds(summary.end),
        "session_start_time": minute(summary.start), "session_end_time": clock(summary.end),
        "session_start": wire_time(summary.start), "session_end": wire_time(summary.end),
        "message_count": summary.message_count, "method": summary.method.as_str(), "level": summary.level,
        "parent_id": summary.parent, "state": summary.state.as_str(), "model": summary.model,
        "user_id": summary.user, "created_at": wire_time(summary.created_at),
    })
}

/// In the server's zone, as the existing frontends show it.
fn minute(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

fn clock(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%H:%M").to_string()
}

/// `DELETE /v1/history/summary/{summary_id}`. One that is not there is told with 200, as the existing frontends expect.
pub async fn delete(call: Call) -> Answer {
    whole_memory(&call)?;
    let whose = Whose::of_query(&call)?;
    let id = call.param("summary_id");
    match whose.namespace.delete_summary(id).await {
        Ok(deleted) => answer::json(&json!({
            "success": true, "summary_id": deleted.id, "messages_restored": deleted.messages_restored, "detail": null,
        })),
        Err(SummaryError::NotFound) => {
            let id: String = id.chars().take(64).collect();
            answer::json(&json!({
                "success": false, "summary_id": null, "messages_restored": 0,
                "detail": format!("Summary '{id}' not found"),
            }))
        }
        Err(error) => Err(ApiError::from(error)),
    }
}
