//! Jobs, their runs, and tasks.

use http::Method;
use serde_json::{Value, json};

use super::Schemas;
use super::operation::{Op, anything, named, object};

const TAG: &str = "background";

fn op(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Op {
    Op::new(method, path, id, TAG, summary)
}

fn text() -> Value {
    json!({"type": "string"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn count() -> Value {
    json!({"type": "integer"})
}

fn page(op: Op, most: i64) -> Op {
    op.query("limit", json!({"type": "integer", "minimum": 1, "maximum": most}), "").query(
        "offset",
        json!({"type": "integer", "minimum": 0, "maximum": 1_000_000}),
        "",
    )
}

pub fn operations() -> Vec<Op> {
    vec![
        page(op(Method::GET, "/v1/jobs", "listJobs", "What runs regularly, by kind and bot"), 500)
            .query("job_type", text(), "")
            .query("bot_id", text(), "`*` stands for all bots")
            .query("enabled", flag(), "")
            .gives("A page", "JobPage")
            .refuses(400, "No such kind of job"),
        page(op(Method::GET, "/v1/jobs/runs", "listRuns", "What has run, newest first"), 1000)
            .query("job_id", json!({"type": "string", "format": "uuid"}), "")
            .query("job_type", text(), "")
            .query("bot_id", text(), "")
            .query(
                "status",
                json!({"type": "string", "enum": ["pending", "running", "success", "failed", "skipped"]}),
                "",
            )
            .query("include_result", flag(), "")
            .gives("A page", "RunPage")
            .refuses(400, "No such kind of job, or no such status"),
        op(Method::DELETE, "/v1/jobs/runs/{run_id}", "cancelRun", "Ask a run to stop")
            .gives("It was asked", "RunCancelled")
            .refuses(404, "No such run")
            .refuses(409, "It has ended, or the scheduler is off"),
        op(Method::POST, "/v1/jobs/{job_type}/trigger", "triggerJob", "Run a job now")
            .optional_body("JobTrigger")
            .gives("Its runs", "JobTriggered")
            .refuses(400, "No such kind of job")
            .refuses(404, "No such job, or a bot that has no memory")
            .refuses(409, "It is running already, or the scheduler is off"),
        op(Method::PATCH, "/v1/jobs/{job_id}", "patchJob", "Change when and how a job runs")
            .body("JobChange")
            .gives("It", "Job")
            .refuses(404, "No such job"),
        op(Method::POST, "/v1/tasks", "submitTask", "Have something done in the background")
            .body("TaskDraft")
            .gives("Where to ask for it", "TaskSubmitted")
            .refuses(400, "No such kind of task")
            .refuses(404, "No such bot")
            .refuses(429, "Too many tasks wait"),
        page(op(Method::GET, "/v1/tasks", "listTasks", "Tasks, newest first"), 1000)
            .query("status", json!({"type": "string", "enum": ["pending", "running", "completed", "failed"]}), "")
            .query("task_type", text(), "")
            .query("bot_id", text(), "")
            .query("user_id", text(), "")
            .gives("A page", "TaskPage")
            .refuses(400, "No such status, or no such kind of task"),
        op(Method::GET, "/v1/tasks/{task_id}", "getTask", "What became of a task")
            .query("wait", flag(), "Answer when it has ended")
            .query("timeout", json!({"type": "number", "minimum": 0, "maximum": 300}), "Longest wait, in seconds")
            .query("strict", flag(), "404 for an id that is not known, which is `pending` otherwise")
            .gives("Where it stands", "TaskOutcome")
            .refuses(404, "No such task"),
        op(Method::DELETE, "/v1/tasks/{task_id}", "cancelTask", "Do not begin a task, or ask it to stop")
            .gives("It was asked", "TaskCancelled")
            .refuses(404, "No such task")
            .refuses(409, "It has ended"),
    ]
}

fn pages(name: &'static str, of: &str) -> Value {
    object(&[
        (name, json!({"type": "array", "items": named(of)})),
        ("total_count", count()),
        ("filters", json!({"type": "object"})),
    ])
}

pub fn schemas() -> Schemas {
    let maybe = || json!({"type": ["string", "null"]});
    let number = || json!({"type": ["integer", "null"]});
    vec![
        (
            "Job",
            object(&[
                ("id", text()),
                ("job_type", text()),
                ("bot_id", text()),
                ("enabled", flag()),
                ("interval_minutes", count()),
                ("last_run_at", maybe()),
                ("next_run_at", maybe()),
                ("created_at", text()),
                ("last_status", maybe()),
                ("last_duration_ms", number()),
                ("last_error", maybe()),
                ("config", anything()),
                ("consecutive_failures", count()),
                ("max_runtime_s", count()),
                ("disabled_reason", maybe()),
            ]),
        ),
        ("JobPage", pages("jobs", "Job")),
        (
            "Run",
            object(&[
                ("id", text()),
                ("job_id", text()),
                ("job_type", text()),
                ("bot_id", text()),
                ("status", text()),
                ("trigger", text()),
                ("parent_run_id", maybe()),
                ("scheduled_for", text()),
                ("attempt", count()),
                ("started_at", maybe()),
                ("finished_at", maybe()),
                ("duration_ms", number()),
                ("error_message", maybe()),
                ("result", anything()),
            ]),
        ),
        ("RunPage", pages("runs", "Run")),
        ("RunCancelled", object(&[("success", flag()), ("run_id", text())])),
        (
            "JobTrigger",
            json!({"type": "object", "properties": {
                "bot_id": {"type": ["string", "null"], "maxLength": 128}, "force": {"type": ["boolean", "null"]},
            }}),
        ),
        (
            "JobTriggered",
            object(&[
                ("success", flag()),
                ("job_type", text()),
                ("jobs_triggered", count()),
                ("run_ids", json!({"type": "array", "items": {"type": "string"}})),
                ("scheduler_running", flag()),
            ]),
        ),
        (
            "JobChange",
            json!({"type": "object", "properties": {
                "enabled": {"type": ["boolean", "null"]},
                "interval_minutes": {"type": ["integer", "null"], "minimum": 1, "maximum": 525_600},
                "max_runtime_s": {"type": ["integer", "null"], "minimum": 1, "maximum": 86_400},
                "config": {"type": ["object", "null"]},
            }}),
        ),
        (
            "TaskDraft",
            json!({
                "type": "object",
                "required": ["task_type", "user_id"],
                "properties": {
                    "task_type": {"type": "string", "minLength": 1, "maxLength": 80},
                    "user_id": {"type": "string", "minLength": 1, "maxLength": 128},
                    "bot_id": {"type": ["string", "null"], "maxLength": 128},
                    "priority": {"type": ["integer", "null"], "minimum": i32::MIN, "maximum": i32::MAX},
                    "payload": {"type": ["object", "null"]},
                },
            }),
        ),
        ("TaskCancelled", object(&[("success", flag()), ("task_id", text())])),
        ("TaskSubmitted", object(&[("task_id", text()), ("status", text())])),
        (
            "TaskOutcome",
            object(&[
                ("task_id", text()),
                ("status", text()),
                ("result", anything()),
                ("error", maybe()),
                ("processing_time_ms", number()),
            ]),
        ),
        (
            "Task",
            object(&[
                ("task_id", text()),
                ("task_type", text()),
                ("bot_id", text()),
                ("user_id", text()),
                ("priority", count()),
                ("status", text()),
                ("attempts", count()),
                ("created_at", text()),
                ("completed_at", maybe()),
                ("processing_time_ms", number()),
                ("error", maybe()),
            ]),
        ),
        ("TaskPage", pages("tasks", "Task")),
    ]
}
