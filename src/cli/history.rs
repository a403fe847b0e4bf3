//! `greenroom history …`: a thin client of `/v1/history` and of forgetting. What deletes asks first.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Place;
use super::client::{Client, encode, query};
use super::memory::said;
use super::table::{Table, cell, confirmed, decimal, items, minute, short, tell};
use super::terminal::{Style, harmless, one_line};
use crate::config::Surroundings;

/// Characters of a text in a table.
const TEXT: usize = 100;

/// `greenroom history`.
#[derive(Debug, Args)]
pub struct History {
    #[command(flatten)]
    place: Place,
    /// The bot; the server's default without it.
    #[arg(long, short, global = true)]
    bot: Option<String>,
    /// As JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Do not ask before deleting.
    #[arg(long, short, global = true)]
    yes: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What was said last.
    List {
        /// How many messages.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: u32,
        /// Before this time or message.
        #[arg(long)]
        before: Option<String>,
    },
    /// Find when something was said.
    Search {
        /// What to look for.
        #[arg(required = true)]
        query: Vec<String>,
        /// By meaning and words, or by one of them.
        #[arg(long, short, default_value = "hybrid", value_parser = ["hybrid", "text", "vector"])]
        mode: String,
        /// Most hits.
        #[arg(long, short = 'n', default_value_t = 10)]
        limit: u32,
        /// In the order in which it was said.
        #[arg(long)]
        by_time: bool,
        /// Only with this user.
        #[arg(long, short)]
        user: Option<String>,
        /// Only from this time on.
        #[arg(long)]
        since: Option<String>,
        /// Only up to this time.
        #[arg(long)]
        until: Option<String>,
    },
    /// One message.
    Get {
        /// Its id, or the first eight digits and more.
        id: String,
    },
    /// Forget messages; they can be restored.
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Forget {
        /// The newest so many.
        #[arg(long, group = "which")]
        count: Option<u32>,
        /// Those of the last so many minutes.
        #[arg(long, group = "which")]
        minutes: Option<u32>,
        /// This one.
        #[arg(long, group = "which")]
        id: Option<String>,
        /// Only say what would be forgotten.
        #[arg(long)]
        dry_run: bool,
    },
    /// Bring back what was forgotten.
    Restore {
        /// Only what was forgotten together.
        #[arg(long)]
        batch: Option<String>,
    },
    /// Delete everything that was said.
    Clear {
        /// Keep what was learnt.
        #[arg(long)]
        keep_memories: bool,
    },
    /// Which sessions are due for a summary.
    Preview,
    /// Summarise what is due.
    Summarize {
        /// By rule, where no model answers.
        #[arg(long)]
        heuristic: bool,
        /// Alias of the model.
        #[arg(long, short)]
        model: Option<String>,
        /// Do not wait: make a task of it.
        #[arg(long = "async")]
        later: bool,
    },
    /// Make summaries anew.
    Rebuild {
        /// The newest so many sessions; 0 means all.
        #[arg(default_value_t = 5)]
        sessions: u32,
        /// Sessions that reach behind this, in Unix seconds.
        #[arg(long)]
        start: Option<f64>,
        /// Sessions that begin before this, in Unix seconds.
        #[arg(long)]
        end: Option<f64>,
        /// Delete the old ones of what is made anew.
        #[arg(long)]
        purge: bool,
        /// By rule, where no model answers.
        #[arg(long)]
        heuristic: bool,
        /// Alias of the model.
        #[arg(long, short)]
        model: Option<String>,
        /// Do not wait: make a task of it.
        #[arg(long = "async")]
        later: bool,
    },
    /// All summaries.
    Summaries {
        /// In full.
        #[arg(long)]
        full: bool,
    },
    /// Delete a summary; its messages come back.
    DeleteSummary {
        /// Its id, or the first eight digits and more.
        id: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When the server is not there or refuses.
pub async fn run(history: History, around: &Surroundings) -> anyhow::Result<ExitCode> {
    let style = Style::detect(history.json, around);
    let client = Client::new(&history.place.url, around)?;
    let desk = Desk { client, bot: history.bot, json: history.json, yes: history.yes, style };
    desk.run(history.what).await
}

struct Desk {
    client: Client,
    bot: Option<String>,
    json: bool,
    yes: bool,
    style: Style,
}

/// A parameter that is only sent when it says something.
fn flag(on: bool) -> Option<&'static str> {
    on.then_some("true")
}

impl Desk {
    fn path(&self, path: &str, more: &[(&str, Option<&str>)]) -> String {
        let all: Vec<(&str, Option<&str>)> =
            [("bot_id", self.bot.as_deref())].into_iter().chain(more.iter().copied()).collect();
        format!("/v1/{path}{}", query(&all))
    }

    async fn run(&self, what: What) -> anyhow::Result<ExitCode> {
        match what {
            What::List { limit, before } => {
                let limit = limit.max(1).to_string();
                let path = self.path("history", &[("limit", Some(&limit)), ("before", before.as_deref())]);
                let page = self.client.ask(Method::GET, &path, None).await?;
                tell(&page, self.json, || self.messages(&page, "nothing was said"))
            }
            What::Search { query, mode, limit, by_time, user, since, until } => {
                let sort = if by_time { "time" } else { "score" };
                let body = json!({"query": query.join(" "), "mode": mode, "limit": limit.max(1), "sort": sort,
                    "user_id": user, "since": since, "until": until, "bot_id": self.bot});
                let found = self.client.ask(Method::POST, "/v1/history/search", Some(&body)).await?;
                tell(&found, self.json, || self.messages(&found, "nothing was found"))
            }
            What::Get { id } => {
                let path = self.path("memory/message", &[("message_id", Some(&id))]);
                let found = self.client.ask(Method::GET, &path, None).await?;
                if let Some(error) = found["error"].as_str() {
                    anyhow::bail!("{}", one_line(error, 200));
                }
                tell(&found, self.json, || message(&found["message"]))
            }
            What::Forget { count, minutes, id, dry_run } => self.forget(count, minutes, id, dry_run).await,
            What::Restore { batch } => {
                let body = json!({"batch_id": batch});
                let path = self.path("memory/restore", &[]);
                let done = self.client.ask(Method::POST, &path, Some(&body)).await?;
                tell(&done, self.json, || said(&done))
            }
            What::Clear { keep_memories } => {
                let what = if keep_memories { "said" } else { "said and learnt" };
                let bot = self.bot.as_deref().map_or_else(|| "the default bot".into(), |bot| one_line(bot, 64));
                if !confirmed(&format!("Delete everything that {bot} was ever {what}"), self.yes)? {
                    return Ok(ExitCode::FAILURE);
                }
                let path = self.path("history", &[("include_memories", keep_memories.then_some("false"))]);
                let done = self.client.ask_patiently(Method::DELETE, &path, None).await?;
                tell(&done, self.json, || {
                    let count = |name: &str| done[name].as_u64().unwrap_or_default();
                    format!("{} messages and {} memories deleted\n", count("deleted_count"), count("memories_deleted"))
                })
            }
            What::Preview => {
                let due = self.client.ask(Method::GET, &self.path("history/summarize/preview", &[]), None).await?;
                tell(&due, self.json, || self.preview(&due))
            }
            What::Summarize { heuristic, model, later } => {
                let more = [("use_heuristic", flag(heuristic)), ("model", model.as_deref()), ("async", flag(later))];
                let path = self.path("history/summarize", &more);
                let done = self.client.ask_patiently(Method::POST, &path, None).await?;
                tell(&done, self.json, || summarized(&done))
            }
            What::Rebuild { sessions, start, end, purge, heuristic, model, later } => {
                if purge && !confirmed("Delete the summaries of what is made anew", self.yes)? {
                    return Ok(ExitCode::FAILURE);
                }
                let (sessions, start, end) =
                    (sessions.to_string(), start.map(|at| at.to_string()), end.map(|at| at.to_string()));
                let more = [
                    ("sessions", Some(sessions.as_str())),
                    ("start_ts", start.as_deref()),
                    ("end_ts", end.as_deref()),
                    ("purge_existing", flag(purge)),
                    ("use_heuristic", flag(heuristic)),
                    ("model", model.as_deref()),
                    ("async", flag(later)),
                ];
                let path = self.path("history/summarize/rebuild", &more);
                let done = self.client.ask_patiently(Method::POST, &path, None).await?;
                tell(&done, self.json, || summarized(&done))
            }
            What::Summaries { full } => {
                let list = self.client.ask(Method::GET, &self.path("history/summaries", &[]), None).await?;
                tell(&list, self.json, || self.summaries(&list, full))
            }
            What::DeleteSummary { id } => {
                if !confirmed(&format!("Delete summary {}", one_line(&id, 40)), self.yes)? {
                    return Ok(ExitCode::FAILURE);
                }
                let path = self.path(&format!("history/summary/{}", encode(&id)), &[]);
                let done = self.client.ask(Method::DELETE, &path, None).await?;
                tell(&done, self.json, || match done["detail"].as_str() {
                    Some(why) => format!("{}\n", one_line(why, 200)),
                    None => format!("deleted; {} messages are back\n", done["messages_restored"]),
                })
            }
        }
    }

    async fn forget(
        &self,
        count: Option<u32>,
        minutes: Option<u32>,
        id: Option<String>,
        dry_run: bool,
    ) -> anyhow::Result<ExitCode> {
        let which = match (count, minutes, &id) {
            (Some(count), ..) => format!("the newest {count} messages"),
            (_, Some(minutes), _) => format!("the messages of the last {minutes} minutes"),
            (.., id) => format!("message {}", one_line(id.as_deref().unwrap_or_default(), 40)),
        };
        if !dry_run && !confirmed(&format!("Forget {which}"), self.yes)? {
            return Ok(ExitCode::FAILURE);
        }
        let body = json!({"count": count, "minutes": minutes, "message_id": id, "dry_run": dry_run});
        let done = self.client.ask(Method::POST, &self.path("memory/forget", &[]), Some(&body)).await?;
        tell(&done, self.json, || {
            let batch = done["batch_id"].as_str().map(|batch| format!(" (batch {batch})")).unwrap_or_default();
            format!("{}{batch}\n", one_line(&cell(&done["message"]), 200))
        })
    }

    fn messages(&self, answer: &Value, nothing: &str) -> String {
        let scored = items(answer, "messages").iter().any(|message| message["score"].is_number());
        let mut table = if scored {
            Table::new(&["id", "score", "when", "who", "message"])
        } else {
            Table::new(&["id", "when", "who", "message"])
        };
        for message in items(answer, "messages") {
            let mut cells = vec![short(&message["id"])];
            if scored {
                cells.push(decimal(&message["score"]));
            }
            cells.extend([minute(&message["timestamp"]), cell(&message["role"]), cell(&message["content"])]);
            table.row(&cells, TEXT);
        }
        table.render(self.style, nothing)
    }

    fn preview(&self, due: &Value) -> String {
        let mut table = Table::new(&["from", "to", "messages", "begins with"]);
        for session in items(due, "sessions") {
            let cells = [
                cell(&session["start_time"]),
                cell(&session["end_time"]),
                cell(&session["message_count"]),
                cell(&session["first_message"]),
            ];
            table.row(&cells, TEXT);
        }
        table.render(self.style, "nothing is due")
    }

    fn summaries(&self, list: &Value, full: bool) -> String {
        if full {
            let texts = items(list, "summaries").iter().map(|summary| {
                let head = format!("{}  {}", short(&summary["id"]), cell(&summary["session_start_time"]));
                format!("{}\n{}\n", self.style.dim(&head), harmless(&cell(&summary["content"])))
            });
            return texts.collect::<Vec<_>>().join("\n");
        }
        let mut table = Table::new(&["id", "from", "messages", "method", "state", "summary"]);
        for summary in items(list, "summaries") {
            let cells = [
                short(&summary["id"]),
                cell(&summary["session_start_time"]),
                cell(&summary["message_count"]),
                cell(&summary["method"]),
                cell(&summary["state"]),
                cell(&summary["content"]),
            ];
            table.row(&cells, TEXT);
        }
        table.render(self.style, "there are no summaries")
    }
}

fn message(message: &Value) -> String {
    let head = ["id", "role", "user_id", "session_id", "turn_id", "extraction_state", "created_at"];
    let lines = head.iter().filter(|name| !message[**name].is_null());
    let head: String = lines.map(|name| format!("{name:18} {}\n", one_line(&cell(&message[*name]), 200))).collect();
    format!("{head}\n{}\n", harmless(&cell(&message["content"])))
}

fn summarized(done: &Value) -> String {
    if done["task_id"].is_string() {
        return said(done);
    }
    let mut text =
        format!("{} sessions summarised, {} messages\n", done["sessions_summarized"], done["messages_summarized"]);
    for error in items(done, "errors") {
        text.push_str(&format!("! {}\n", one_line(&cell(error), 400)));
    }
    text
}
