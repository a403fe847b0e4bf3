//! `greenroom profile …`: a thin client of `/v1/profiles`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Place;
use super::client::{Client, encode, query};
use super::table::{Table, cell, confirmed, decimal, items, tell};
use super::terminal::{Style, one_line};
use crate::config::Surroundings;

/// Characters of a value in a table.
const VALUE: usize = 100;
/// The category when an assignment names none.
const CATEGORY: &str = "fact";

/// `greenroom profile`.
#[derive(Debug, Args)]
pub struct Profile {
    #[command(flatten)]
    place: Place,
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
    /// Who is known.
    List {
        /// Only users, or only bots.
        #[arg(long, value_parser = ["user", "bot"])]
        kind: Option<String>,
        /// How many.
        #[arg(long, short = 'n', default_value_t = 100)]
        limit: u32,
    },
    /// What is known about a user or a bot.
    Show {
        /// Whose.
        id: String,
        /// The changes, too.
        #[arg(long)]
        history: bool,
    },
    /// Set an attribute.
    Set {
        /// Whose.
        id: String,
        /// `category.key=value`; `fact` without a category; the value as JSON, else as text.
        #[arg(value_name = "CATEGORY.KEY=VALUE")]
        assignment: String,
        /// Of a bot, not of a user.
        #[arg(long)]
        bot: bool,
        /// How sure it is, 0 to 1.
        #[arg(long)]
        confidence: Option<f64>,
    },
    /// Change the name or the e-mail address.
    Edit {
        /// Whose.
        id: String,
        /// Of a bot, not of a user.
        #[arg(long)]
        bot: bool,
        /// The name to be called by.
        #[arg(long)]
        name: Option<String>,
        /// The e-mail address; empty takes it away.
        #[arg(long)]
        email: Option<String>,
        /// A description.
        #[arg(long)]
        description: Option<String>,
    },
    /// Attributes of all, filtered.
    Attributes {
        /// Whose.
        id: Option<String>,
        /// Of this category.
        #[arg(long)]
        category: Option<String>,
        /// From this source.
        #[arg(long)]
        source: Option<String>,
        /// How many.
        #[arg(long, short = 'n', default_value_t = 100)]
        limit: u32,
    },
    /// Delete an attribute by its number.
    Unset {
        /// The number that `attributes` shows.
        id: i64,
    },
    /// Find a user by e-mail address.
    Lookup {
        /// The address.
        email: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When the server is not there or refuses.
pub async fn run(profile: Profile, around: &Surroundings) -> anyhow::Result<ExitCode> {
    let style = Style::detect(profile.json, around);
    let client = Client::new(&profile.place.url, around)?;
    let ask = async |method: Method, path: String, body: Option<Value>| client.ask(method, &path, body.as_ref()).await;
    match profile.what {
        What::List { kind, limit } => {
            let limit = limit.to_string();
            let path = format!("/v1/profiles{}", query(&[("entity_type", kind.as_deref()), ("limit", Some(&limit))]));
            let list = ask(Method::GET, path, None).await?;
            tell(&list, profile.json, || people(&list, style))
        }
        What::Show { id, history } => {
            let mut found = ask(Method::GET, format!("/v1/profiles/{}", encode(&id)), None).await?;
            if history {
                let kind = cell(&found["entity_type"]);
                let path = format!("/v1/profiles/{kind}/{}/history", encode(&cell(&found["entity_id"])));
                found["history"] = ask(Method::GET, path, None).await?["history"].take();
            }
            tell(&found, profile.json, || portrait(&found, style))
        }
        What::Set { id, assignment, bot, confidence } => {
            let (place, value) = assignment
                .split_once('=')
                .ok_or_else(|| anyhow::anyhow!("'{assignment}' is no assignment such as fact.city=Vienna"))?;
            let (category, key) = place.split_once('.').unwrap_or((CATEGORY, place));
            let value: Value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            let body = json!({
                "entity_type": kind(bot), "entity_id": id, "category": category, "key": key, "value": value,
                "confidence": confidence.unwrap_or(1.0),
            });
            let set = ask(Method::POST, "/v1/profiles/attribute".into(), Some(body)).await?;
            tell(&set, profile.json, || {
                format!("{}.{}: {}\n", cell(&set["category"]), cell(&set["key"]), cell(&set["outcome"]))
            })
        }
        What::Edit { id, bot, name, email, description } => {
            let body = json!({"display_name": name, "email": email, "description": description});
            let path = format!("/v1/profiles/{}/{}", kind(bot), encode(&id));
            let edited = ask(Method::PATCH, path, Some(body)).await?;
            tell(&edited, profile.json, || portrait(&edited, style))
        }
        What::Attributes { id, category, source, limit } => {
            let limit = limit.to_string();
            let filter = [
                ("entity_id", id.as_deref()),
                ("category", category.as_deref()),
                ("source", source.as_deref()),
                ("limit", Some(limit.as_str())),
            ];
            let list = ask(Method::GET, format!("/v1/profiles/attribute{}", query(&filter)), None).await?;
            tell(&list, profile.json, || attributes(&list, style))
        }
        What::Unset { id } => {
            if !confirmed(&format!("Delete attribute {id}"), profile.yes)? {
                return Ok(ExitCode::FAILURE);
            }
            let gone = ask(Method::DELETE, format!("/v1/profiles/attribute/{id}"), None).await?;
            tell(&gone, profile.json, || format!("{}\n", one_line(&cell(&gone["message"]), 300)))
        }
        What::Lookup { email } => {
            let found =
                ask(Method::GET, format!("/v1/profiles/lookup{}", query(&[("email", Some(&email))])), None).await?;
            tell(&found, profile.json, || match found["found"].as_bool() {
                Some(true) => {
                    format!("{}  {}\n", cell(&found["entity_id"]), one_line(&cell(&found["display_name"]), 100))
                }
                _ => "nobody has this address\n".into(),
            })
        }
    }
}

fn kind(bot: bool) -> &'static str {
    if bot { "bot" } else { "user" }
}

fn people(list: &Value, style: Style) -> String {
    let mut table = Table::new(&["kind", "id", "name", "attributes", "summary"]);
    for profile in items(list, "profiles") {
        let count = items(profile, "attributes").len().to_string();
        let text = |name: &str| cell(&profile[name]);
        table.row(&[text("entity_type"), text("entity_id"), text("display_name"), count, text("summary")], VALUE);
    }
    table.render(style, "nobody is known")
}

fn portrait(profile: &Value, style: Style) -> String {
    let mut text = String::new();
    for name in ["entity_type", "entity_id", "display_name", "email", "description", "summary"] {
        let value = one_line(&cell(&profile[name]), 8000);
        if !value.is_empty() {
            text.push_str(&format!("{}  {value}\n", style.dim(&format!("{name:14}"))));
        }
    }
    text.push('\n');
    text.push_str(&attributes(profile, style));
    let history = items(profile, "history");
    if !history.is_empty() {
        let mut table = Table::new(&["at", "what", "key", "from", "to"]);
        for entry in history {
            let key = format!("{}.{}", cell(&entry["category"]), cell(&entry["key"]));
            let text = |name: &str| cell(&entry[name]);
            table.row(&[text("at"), text("action"), key, text("old_value"), text("new_value")], VALUE);
        }
        text.push('\n');
        text.push_str(&table.render(style, ""));
    }
    text
}

fn attributes(holder: &Value, style: Style) -> String {
    let mut table = Table::new(&["number", "of", "key", "sure", "source", "value"]);
    for attribute in items(holder, "attributes") {
        let text = |name: &str| cell(&attribute[name]);
        let key = format!("{}.{}", text("category"), text("key"));
        let sure = decimal(&attribute["confidence"]);
        table.row(&[text("id"), text("entity_id"), key, sure, text("source"), text("value")], VALUE);
    }
    table.render(style, "nothing is known")
}
