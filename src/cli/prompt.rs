//! `greenroom prompt …`: a thin client of `/v1/prompts`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Place;
use super::client::{Client, encode, query};
use super::table::{Table, cell, confirmed, items, tell};
use super::terminal::Style;
use crate::config::Surroundings;

/// Characters of a note in a table.
const NOTE: usize = 80;

/// `greenroom prompt`.
#[derive(Debug, Args)]
pub struct Prompt {
    #[command(flatten)]
    place: Place,
    /// For one bot; for all of them without it.
    #[arg(long, short, global = true)]
    bot: Option<String>,
    /// As JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Do not ask before taking an edit away.
    #[arg(long, short, global = true)]
    yes: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All templates.
    List {
        /// Only of this category.
        #[arg(long)]
        category: Option<String>,
    },
    /// The text that holds.
    Show {
        /// Its key.
        key: String,
    },
    /// Edit a template.
    Set {
        /// Its key.
        key: String,
        /// File with the new text; `-` reads standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Why.
        #[arg(long)]
        note: Option<String>,
    },
    /// Earlier texts.
    Versions {
        /// The template's key.
        key: String,
    },
    /// Make an earlier text hold again.
    Restore {
        /// The template's key.
        key: String,
        /// The version's number.
        version: i32,
    },
    /// Take the edit away.
    Reset {
        /// The template's key.
        key: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When the server is not there or refuses.
pub async fn run(prompt: Prompt, around: &Surroundings) -> anyhow::Result<ExitCode> {
    let style = Style::detect(prompt.json, around);
    let client = Client::new(&prompt.place.url, around)?;
    let bot = prompt.bot.as_deref();
    let kind = if bot.is_some() { "bot" } else { "global" };
    let scope = [("scope_type", Some(kind)), ("scope_id", bot)];
    let at = |key: &str, rest: &str| format!("/v1/prompts/{}{rest}{}", encode(key), query(&scope));
    match prompt.what {
        What::List { category } => {
            let filter: Vec<_> = scope.into_iter().chain([("category", category.as_deref())]).collect();
            let list = client.ask(Method::GET, &format!("/v1/prompts{}", query(&filter)), None).await?;
            tell(&list, prompt.json, || {
                let mut table = Table::new(&["key", "source", "variables", "title"]);
                for template in items(&list, "prompts") {
                    let text = |name: &str| cell(&template[name]);
                    table.row(&[text("key"), text("source"), text("required_vars"), text("title")], NOTE);
                }
                table.render(style, "there are no templates")
            })
        }
        What::Show { key } => {
            let template = client.ask(Method::GET, &at(&key, ""), None).await?;
            tell(&template, prompt.json, || format!("{}\n", cell(&template["body"]).trim_end()))
        }
        What::Set { key, file, note } => {
            let text = if file.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin())?
            } else {
                std::fs::read_to_string(&file)?
            };
            let body = json!({"body": text, "change_note": note, "scope_type": kind, "scope_id": bot});
            let saved = client.ask(Method::PATCH, &format!("/v1/prompts/{}", encode(&key)), Some(&body)).await?;
            tell(&saved, prompt.json, || stands(&saved))
        }
        What::Versions { key } => {
            let list = client.ask(Method::GET, &at(&key, "/versions"), None).await?;
            tell(&list, prompt.json, || {
                let mut table = Table::new(&["version", "at", "by", "note"]);
                for version in items(&list, "versions") {
                    let text = |name: &str| cell(&version[name]);
                    table.row(&[text("version"), text("created_at"), text("created_by"), text("change_note")], NOTE);
                }
                table.render(style, "it was never edited")
            })
        }
        What::Restore { key, version } => {
            let path = at(&key, &format!("/versions/{version}/restore"));
            let restored = client.ask(Method::POST, &path, None).await?;
            tell(&restored, prompt.json, || stands(&restored))
        }
        What::Reset { key } => {
            if !confirmed(&format!("Take the edit of {key} away"), prompt.yes)? {
                return Ok(ExitCode::FAILURE);
            }
            let holds = client.ask(Method::POST, &at(&key, "/reset"), None).await?;
            tell(&holds, prompt.json, || stands(&holds))
        }
    }
}

fn stands(template: &Value) -> String {
    format!("{}: {}\n", cell(&template["key"]), cell(&template["source"]))
}
