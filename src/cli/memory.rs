//! `greenroom memory …`: a thin client of `/v1/memory`. What deletes asks first, and refuses when there is nobody to ask.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Place;
use super::client::{Client, encode, query};
use super::table::{Table, cell, confirmed, decimal, items, short, tell};
use super::terminal::{Style, one_line};
use crate::config::Surroundings;

/// Characters of a text in a table.
const TEXT: usize = 100;

/// `greenroom memory`.
#[derive(Debug, Args)]
pub struct Memory {
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
    /// Find memories.
    Search {
        /// What to look for.
        #[arg(required = true)]
        query: Vec<String>,
        /// By meaning, by words, by importance, or all of it.
        #[arg(long, short, default_value = "all", value_parser = ["all", "embedding", "text", "high-importance"])]
        method: String,
        /// Leave out what is less important, 0 to 1.
        #[arg(long)]
        min_importance: Option<f64>,
        /// Most hits.
        #[arg(long, short = 'n', default_value_t = 10)]
        limit: u32,
        /// What each score is made of; needs --json.
        #[arg(long, requires = "json")]
        explain: bool,
    },
    /// The most important memories.
    List {
        /// How many.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: u32,
        /// The newest first.
        #[arg(long)]
        recent: bool,
    },
    /// One memory with what it took the place of.
    Get {
        /// Its id, or the first eight digits and more.
        id: String,
    },
    /// Add a memory.
    Add {
        /// What to remember.
        #[arg(required = true)]
        text: Vec<String>,
        /// Words to find it by.
        #[arg(long, value_delimiter = ',')]
        tags: Vec<String>,
        /// 0 to 1.
        #[arg(long)]
        importance: Option<f64>,
    },
    /// Change a memory.
    Edit {
        /// Its id.
        id: String,
        /// Another text.
        #[arg(long)]
        content: Option<String>,
        /// Other tags.
        #[arg(long, value_delimiter = ',')]
        tags: Option<Vec<String>>,
        /// 0 to 1.
        #[arg(long)]
        importance: Option<f64>,
    },
    /// Delete a memory; it can be restored unless --hard.
    Delete {
        /// Its id.
        id: String,
        /// For good.
        #[arg(long)]
        hard: bool,
    },
    /// Merge memories that say the same.
    Consolidate {
        /// Only show what would be merged.
        #[arg(long)]
        dry_run: bool,
        /// How alike memories must be, 0.5 to 1.
        #[arg(long)]
        threshold: Option<f64>,
        /// Do not wait: make a task of it.
        #[arg(long = "async")]
        later: bool,
    },
    /// Make vectors anew.
    Regenerate {
        /// Only those that are missing.
        #[arg(long)]
        missing: bool,
        /// Do not wait: make a task of it.
        #[arg(long = "async")]
        later: bool,
    },
    /// How much there is.
    Stats,
}

/// Runs the command.
///
/// # Errors
/// When the server is not there or refuses.
pub async fn run(memory: Memory, around: &Surroundings) -> anyhow::Result<ExitCode> {
    let style = Style::detect(memory.json, around);
    let desk = Desk {
        client: Client::new(&memory.place.url, around)?,
        bot: memory.bot,
        json: memory.json,
        yes: memory.yes,
        style,
    };
    desk.run(memory.what).await
}

struct Desk {
    client: Client,
    bot: Option<String>,
    json: bool,
    yes: bool,
    style: Style,
}

impl Desk {
    fn path(&self, path: &str, more: &[(&str, Option<&str>)]) -> String {
        let all: Vec<(&str, Option<&str>)> =
            [("bot_id", self.bot.as_deref())].into_iter().chain(more.iter().copied()).collect();
        format!("/v1/memory{path}{}", query(&all))
    }

    async fn run(&self, what: What) -> anyhow::Result<ExitCode> {
        match what {
            What::Search { query, method, min_importance, limit, explain } => {
                let body = json!({"query": query.join(" "), "method": method, "min_importance": min_importance,
                    "limit": limit, "explain": explain, "bot_id": self.bot});
                let found = self.client.ask(Method::POST, "/v1/memory/search", Some(&body)).await?;
                tell(&found, self.json, || self.memories(&found, "nothing was found"))
            }
            What::List { limit, recent } => {
                let (limit, order) = (limit.to_string(), recent.then_some("recent"));
                let path = self.path("", &[("limit", Some(&limit)), ("order", order)]);
                let list = self.client.ask(Method::GET, &path, None).await?;
                tell(&list, self.json, || self.memories(&list, "there are no memories"))
            }
            What::Get { id } => {
                let path = self.path(&format!("/{}", encode(&id)), &[]);
                let memory = self.client.ask(Method::GET, &path, None).await?;
                tell(&memory, self.json, || self.one(&memory))
            }
            What::Add { text, tags, importance } => self.add(&text.join(" "), tags, importance).await,
            What::Edit { id, content, tags, importance } => {
                let body = json!({"content": content, "tags": tags, "importance": importance});
                let path = self.path(&format!("/{}", encode(&id)), &[]);
                let memory = self.client.ask(Method::PATCH, &path, Some(&body)).await?;
                tell(&memory, self.json, || self.one(&memory))
            }
            What::Delete { id, hard } => {
                let how = if hard { " for good" } else { "" };
                if !confirmed(&format!("Delete memory {}{how}", one_line(&id, 40)), self.yes)? {
                    return Ok(ExitCode::FAILURE);
                }
                let path = self.path(&format!("/{}", encode(&id)), &[("hard", hard.then_some("true"))]);
                let gone = self.client.ask(Method::DELETE, &path, None).await?;
                tell(&gone, self.json, || format!("{}\n", cell(&gone["message"])))
            }
            What::Consolidate { dry_run, threshold, later } => {
                let body = json!({"dry_run": dry_run, "similarity_threshold": threshold, "async": later});
                let path = self.path("/consolidate", &[]);
                let done = self.client.ask_patiently(Method::POST, &path, Some(&body)).await?;
                tell(&done, self.json, || said(&done))
            }
            What::Regenerate { missing, later } => {
                if !missing && !confirmed("Make all vectors anew", self.yes)? {
                    return Ok(ExitCode::FAILURE);
                }
                let body = json!({"mode": if missing { "missing" } else { "all" }, "async": later});
                let path = self.path("/regenerate-embeddings", &[]);
                let done = self.client.ask_patiently(Method::POST, &path, Some(&body)).await?;
                tell(&done, self.json, || said(&done))
            }
            What::Stats => {
                let stats = self.client.ask(Method::GET, &self.path("/stats", &[]), None).await?;
                tell(&stats, self.json, || statistics(&stats))
            }
        }
    }

    /// A record of its own: there is no other way in that keeps what is known apart from what is new.
    async fn add(&self, text: &str, tags: Vec<String>, importance: Option<f64>) -> anyhow::Result<ExitCode> {
        let bot = match &self.bot {
            Some(bot) => bot.clone(),
            None => cell(&self.client.ask(Method::GET, "/v1/memory/stats", None).await?["bot_id"]),
        };
        let record = json!({"kind": "memory", "bot_id": bot, "content": text, "tags": tags, "importance": importance});
        let outcome = self.client.import(record.to_string().into_bytes(), false).await?;
        tell(&outcome, self.json, || match items(&outcome, "errors").first() {
            Some(error) => format!("{}\n", one_line(&cell(&error["detail"]), 300)),
            None if outcome["stored"]["memories"] == 0 => "it was known already\n".into(),
            None => "remembered\n".into(),
        })
    }

    fn memories(&self, answer: &Value, nothing: &str) -> String {
        let mut table = Table::new(&["id", "score", "weight", "tags", "memory"]);
        for memory in items(answer, "results") {
            let cells = [
                short(&memory["id"]),
                decimal(&memory["relevance"]),
                decimal(&memory["importance"]),
                cell(&memory["tags"]),
                cell(&memory["content"]),
            ];
            table.row(&cells, TEXT);
        }
        table.render(self.style, nothing)
    }

    fn one(&self, memory: &Value) -> String {
        let mut text = String::new();
        for name in ["id", "content", "importance", "tags", "created_at", "updated_at", "access_count", "superseded_by"]
        {
            let value = one_line(&cell(&memory[name]), 4000);
            if !value.is_empty() {
                text.push_str(&format!("{}  {value}\n", self.style.dim(&format!("{name:14}"))));
            }
        }
        let history = items(memory, "history");
        if history.len() > 1 {
            let mut table = Table::new(&["id", "since", "memory"]);
            for earlier in history {
                table.row(&[short(&earlier["id"]), cell(&earlier["created_at"]), cell(&earlier["content"])], TEXT);
            }
            text.push('\n');
            text.push_str(&table.render(self.style, ""));
        }
        text
    }
}

/// The sentence of an answer, or where its task is found; faults behind it.
pub fn said(answer: &Value) -> String {
    let mut text = match answer["task_id"].as_str() {
        Some(task) => format!("task {}\n", one_line(task, 80)),
        None => format!("{}\n", one_line(&cell(&answer["message"]), 400)),
    };
    for error in items(answer, "errors") {
        text.push_str(&format!("! {}\n", one_line(&cell(error), 400)));
    }
    text
}

fn statistics(stats: &Value) -> String {
    let mut text = String::new();
    for group in ["messages", "memories", "summaries", "sessions"] {
        let Some(members) = stats[group].as_object() else { continue };
        text.push_str(&format!("{group}\n"));
        for (name, value) in members {
            text.push_str(&format!("  {name:24} {}\n", one_line(&cell(value), 80)));
        }
    }
    text
}
