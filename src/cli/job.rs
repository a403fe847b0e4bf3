//! `greenroom job …`: a thin client of `/v1/jobs`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Place;
use super::client::{Client, encode, query};
use super::table::{Table, cell, items, short, tell};
use super::terminal::Style;
use crate::config::Surroundings;

/// Characters of an error in a table.
const ERROR: usize = 100;

/// `greenroom job`.
#[derive(Debug, Args)]
pub struct Job {
    #[command(flatten)]
    place: Place,
    /// As JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What runs in the background, and when.
    List,
    /// What has run.
    Runs {
        /// Only of this kind, such as `memory_extraction`.
        #[arg(long)]
        job_type: Option<String>,
        /// Only for this bot.
        #[arg(long, short)]
        bot: Option<String>,
        /// Only with this outcome.
        #[arg(long, value_parser = ["pending", "running", "success", "failed", "skipped"])]
        status: Option<String>,
        /// What each gave, too; needs --json.
        #[arg(long, requires = "json")]
        results: bool,
        /// How many.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: u32,
    },
    /// Run one now.
    Trigger {
        /// Which, such as `history_summarization`.
        job_type: String,
        /// Only for this bot.
        #[arg(long, short)]
        bot: Option<String>,
        /// Even if nothing has happened since the last run.
        #[arg(long)]
        force: bool,
    },
    /// Switch a job on.
    Enable {
        /// Its id, as `list` shows it in full with --json, or the beginning of it.
        id: String,
    },
    /// Switch a job off.
    Disable {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// Change how often a job runs.
    Interval {
        /// Its id, or the beginning of it.
        id: String,
        /// Minutes between two runs.
        minutes: u32,
    },
}

/// Runs the command.
///
/// # Errors
/// When the server is not there or refuses.
pub async fn run(job: Job, around: &Surroundings) -> anyhow::Result<ExitCode> {
    let style = Style::detect(job.json, around);
    let client = Client::new(&job.place.url, around)?;
    match job.what {
        What::List => {
            let list = client.ask(Method::GET, "/v1/jobs?limit=500", None).await?;
            tell(&list, job.json, || jobs(&list, style))
        }
        What::Runs { job_type, bot, status, results, limit } => {
            let limit = limit.to_string();
            let filter = [
                ("job_type", job_type.as_deref()),
                ("bot_id", bot.as_deref()),
                ("status", status.as_deref()),
                ("include_result", results.then_some("true")),
                ("limit", Some(limit.as_str())),
            ];
            let list = client.ask(Method::GET, &format!("/v1/jobs/runs{}", query(&filter)), None).await?;
            tell(&list, job.json, || runs(&list, style))
        }
        What::Trigger { job_type, bot, force } => {
            let body = json!({"bot_id": bot, "force": force});
            let path = format!("/v1/jobs/{}/trigger", encode(&job_type));
            let done = client.ask(Method::POST, &path, Some(&body)).await?;
            tell(&done, job.json, || format!("{} started\n", cell(&done["job_type"])))
        }
        What::Enable { id } => change(&client, &id, json!({"enabled": true}), job.json, style).await,
        What::Disable { id } => change(&client, &id, json!({"enabled": false}), job.json, style).await,
        What::Interval { id, minutes } => {
            change(&client, &id, json!({"interval_minutes": minutes}), job.json, style).await
        }
    }
}

/// Changes the one job whose id begins like this.
async fn change(client: &Client, id: &str, body: Value, as_json: bool, style: Style) -> anyhow::Result<ExitCode> {
    let list = client.ask(Method::GET, "/v1/jobs?limit=500", None).await?;
    let alike: Vec<&str> = items(&list, "jobs")
        .iter()
        .filter_map(|job| job["id"].as_str())
        .filter(|known| known.starts_with(id))
        .collect();
    let [known] = alike.as_slice() else {
        anyhow::bail!("{} jobs have an id that begins with '{id}'", alike.len());
    };
    let changed = client.ask(Method::PATCH, &format!("/v1/jobs/{known}"), Some(&body)).await?;
    tell(&changed, as_json, || jobs(&json!({"jobs": [changed]}), style))
}

fn jobs(list: &Value, style: Style) -> String {
    let mut table = Table::new(&["id", "job", "bot", "on", "minutes", "next", "last", "error"]);
    for job in items(list, "jobs") {
        let text = |name: &str| cell(&job[name]);
        let cells = [
            short(&job["id"]),
            text("job_type"),
            text("bot_id"),
            if job["enabled"] == true { "yes".into() } else { "no".into() },
            text("interval_minutes"),
            text("next_run_at"),
            text("last_status"),
            text("last_error"),
        ];
        table.row(&cells, ERROR);
    }
    table.render(style, "there are no jobs")
}

fn runs(list: &Value, style: Style) -> String {
    let mut table = Table::new(&["id", "job", "bot", "status", "started", "ms", "error"]);
    for run in items(list, "runs") {
        let text = |name: &str| cell(&run[name]);
        let cells = [
            short(&run["id"]),
            text("job_type"),
            text("bot_id"),
            text("status"),
            text("started_at"),
            text("duration_ms"),
            text("error_message"),
        ];
        table.row(&cells, ERROR);
    }
    table.render(style, "nothing has run")
}
