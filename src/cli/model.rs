//! `greenroom model …`: a thin client of `/v1/models`. Where a person types an alias, part of it is enough. Keys are never
//! taken from the command line: a definition names the variable that holds its key.

mod add;
mod file;
mod names;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Place;
use super::client::{Client, encode, query};
use super::table::{Table, cell, confirmed, items, tell};
use super::terminal::{Style, one_line};
use crate::config::Surroundings;

/// Characters of a description in a table.
const ABOUT: usize = 80;
/// Characters of a test's answer.
const ANSWER: usize = 200;
/// What a test asks.
const TEST_PROMPT: &str = "Say in one short sentence that you are there.";
/// Room for models that think before they speak.
const TEST_TOKENS: u32 = 512;
/// Members of a definition beside `extra`.
const COLUMNS: [&str; 5] = ["type", "model_id", "repo_id", "filename", "description"];

/// `greenroom model`.
#[derive(Debug, Args)]
pub struct Model {
    #[command(flatten)]
    place: Place,
    /// As JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Do not ask before a definition is removed.
    #[arg(long, short, global = true)]
    yes: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The models there are, and whether they can answer.
    List,
    /// A model's definition.
    Show {
        /// Its alias, or part of it.
        alias: String,
    },
    /// Define models: those a provider offers, or a file on this machine.
    Add(add::Add),
    /// Change fields of a definition.
    Edit {
        /// Its alias, or part of it.
        alias: String,
        /// A field and its new value, such as `context_window=32000`.
        #[arg(long, value_name = "FIELD=VALUE")]
        set: Vec<String>,
        /// A field that is to hold its default again.
        #[arg(long, value_name = "FIELD")]
        unset: Vec<String>,
    },
    /// Remove a definition.
    Delete {
        /// Its alias, in full.
        alias: String,
    },
    /// What a provider offers.
    Upstream {
        /// `openai`, `anthropic`, `grok`, `codex`, `openrouter` or `ollama`.
        provider: String,
    },
    /// Write the definitions of the seed file into the database.
    Seed {
        /// Also those that are there already.
        #[arg(long)]
        overwrite: bool,
    },
    /// Read seeds and database again.
    Reload,
    /// Ask a model something, to see whether it answers.
    Test {
        /// Its alias, or part of it; without it the one for maintenance.
        alias: Option<String>,
    },
    /// What would answer now.
    Current(Whose),
    /// Use another model from the next message on.
    Switch {
        /// Its alias, or part of it.
        alias: String,
        #[command(flatten)]
        whose: Whose,
    },
}

/// Whom a switch is for.
#[derive(Debug, Args)]
struct Whose {
    /// The bot; the default one without it.
    #[arg(long, short)]
    bot: Option<String>,
    /// The user; the default one without it.
    #[arg(long, short)]
    user: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When the server is not there or refuses, or a name means no model or several.
pub async fn run(model: Model, around: &Surroundings) -> anyhow::Result<ExitCode> {
    let (as_json, yes) = (model.json, model.yes);
    let style = Style::detect(as_json, around);
    let client = Client::new(&model.place.url, around)?;
    match model.what {
        What::List => {
            let list = listed(&client).await?;
            tell(&json!({"models": list}), as_json, || models(&list, style))
        }
        What::Show { alias } => {
            let alias = meant(&client, &alias).await?;
            let definition = client.ask(Method::GET, &place(&alias), None).await?;
            tell(&definition, as_json, || shown(&definition))
        }
        What::Add(add) => add::run(add, &client, as_json, style).await,
        What::Edit { alias, set, unset } => {
            let alias = meant(&client, &alias).await?;
            let changed = changed(&client, &alias, &Changes::read(&set, &unset)?).await?;
            tell(&changed, as_json, || shown(&changed))
        }
        What::Delete { alias } => {
            if !confirmed(&format!("Remove the definition of {alias}"), yes)? {
                return Ok(ExitCode::FAILURE);
            }
            let gone = client.ask(Method::DELETE, &place(&alias), None).await?;
            tell(&gone, as_json, || format!("{alias} is gone\n"))
        }
        What::Upstream { provider } => {
            let list = upstream(&client, &provider).await?;
            tell(&list, as_json, || offered(items(&list, "models"), style))
        }
        What::Seed { overwrite } => {
            let path = "/v1/models/definitions/seed";
            let seeded = client.ask(Method::POST, path, Some(&json!({"overwrite": overwrite}))).await?;
            tell(&seeded, as_json, || counted(&seeded))
        }
        What::Reload => {
            let outcome = client.ask(Method::POST, "/v1/models/reload", None).await?;
            tell(&outcome, as_json, || format!("{} models\n", items(&outcome, "models").len()))
        }
        What::Test { alias } => test(&client, alias.as_deref(), as_json).await,
        What::Current(whose) => {
            let filter = [("bot_id", whose.bot.as_deref()), ("user", whose.user.as_deref())];
            let current = client.ask(Method::GET, &format!("/v1/models/current{}", query(&filter)), None).await?;
            tell(&current, as_json, || match &current["model"] {
                Value::Null => format!("{}\n", cell(&current["message"])),
                model => format!("{}\n", cell(&model["id"])),
            })
        }
        What::Switch { alias, whose } => {
            let alias = meant(&client, &alias).await?;
            let body = json!({"model": alias, "bot_id": whose.bot, "user": whose.user});
            let switched = client.ask(Method::POST, "/v1/models/switch", Some(&body)).await?;
            tell(&switched, as_json, || format!("{}\n", cell(&switched["message"])))
        }
    }
}

fn place(alias: &str) -> String {
    format!("/v1/models/definitions/{}", encode(alias))
}

/// The models, without the bots that may be chosen like them.
async fn listed(client: &Client) -> anyhow::Result<Vec<Value>> {
    let list = client.ask(Method::GET, "/v1/models", None).await?;
    Ok(items(&list, "data").iter().filter(|model| model["type"] != "bot").cloned().collect())
}

/// The alias that a person means.
async fn meant(client: &Client, typed: &str) -> anyhow::Result<String> {
    let list = listed(client).await?;
    let aliases: Vec<&str> = list.iter().filter_map(|model| model["id"].as_str()).collect();
    let alias = names::meant(typed, &aliases)?;
    if alias != typed {
        eprintln!("{typed}: {alias}");
    }
    Ok(alias.to_owned())
}

async fn upstream(client: &Client, provider: &str) -> anyhow::Result<Value> {
    let path = format!("/v1/models/upstream{}", query(&[("provider", Some(provider))]));
    Ok(client.ask(Method::GET, &path, None).await?)
}

async fn test(client: &Client, alias: Option<&str>, as_json: bool) -> anyhow::Result<ExitCode> {
    let alias = match alias {
        Some(typed) => Some(meant(client, typed).await?),
        None => None,
    };
    let body = json!({"prompt": TEST_PROMPT, "model": alias, "max_tokens": TEST_TOKENS});
    let answer = client.ask_patiently(Method::POST, "/v1/llm/complete", Some(&body)).await?;
    let text = cell(&answer["content"]);
    tell(&answer, as_json, || {
        let (model, ms, tokens) = (cell(&answer["model"]), cell(&answer["elapsed_ms"]), cell(&answer["tokens"]));
        format!("{model}, {ms} ms, {tokens} tokens: {}\n", one_line(&text, ANSWER))
    })?;
    Ok(if text.trim().is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Changes to a definition, by field; `None` takes a field away.
#[derive(Debug, Default, PartialEq)]
struct Changes(Vec<(String, Option<Value>)>);

impl Changes {
    fn read(set: &[String], unset: &[String]) -> anyhow::Result<Self> {
        let mut changes = Vec::new();
        for text in set {
            let Some((field, value)) = text.split_once('=') else {
                anyhow::bail!("--set {text}: write it as FIELD=VALUE");
            };
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            changes.push((field.trim().to_owned(), Some(value)));
        }
        changes.extend(unset.iter().map(|field| (field.trim().to_owned(), None)));
        for (field, value) in &changes {
            if field == "api_key" && value.is_some() {
                anyhow::bail!(
                    "a key does not belong on a command line: name the variable that holds it, api_key_env=NAME"
                );
            }
            if COLUMNS.contains(&field.as_str()) && value.is_none() {
                anyhow::bail!("{field} cannot be taken away");
            }
        }
        Ok(Self(changes))
    }

    /// Makes the changes to a definition as the server takes it.
    fn apply(&self, definition: &mut Value) {
        let mut extra = definition["extra"].as_object().cloned().unwrap_or_default();
        for (field, value) in &self.0 {
            match value {
                Some(value) if COLUMNS.contains(&field.as_str()) => definition[field.as_str()] = value.clone(),
                Some(value) => drop(extra.insert(field.clone(), value.clone())),
                None => drop(extra.remove(field)),
            }
        }
        definition["extra"] = extra.into();
    }
}

/// Changes what is stored; secrets come masked and go back so, which leaves them as they are.
async fn changed(client: &Client, alias: &str, changes: &Changes) -> anyhow::Result<Value> {
    if changes.0.is_empty() {
        anyhow::bail!("nothing to change: use --set FIELD=VALUE or --unset FIELD");
    }
    let mut definition = client.ask(Method::GET, &place(alias), None).await?;
    changes.apply(&mut definition);
    Ok(client.ask(Method::PUT, &place(alias), Some(&definition)).await?)
}

fn models(list: &[Value], style: Style) -> String {
    let mut table = Table::new(&["alias", "type", "model", "tokens", "usable", "about"]);
    for model in list {
        let text = |name: &str| cell(&model[name]);
        let (usable, about) = match model["available"] == true {
            true => ("yes", text("description")),
            false => (
                "no",
                [text("unavailable_reason"), text("description")]
                    .into_iter()
                    .find(|it| !it.is_empty())
                    .unwrap_or_default(),
            ),
        };
        let cells = [text("id"), text("type"), text("model_id"), text("context_window"), usable.into(), about];
        table.row(&cells, ABOUT);
    }
    table.render(style, "there are no models")
}

fn offered(list: &[Value], style: Style) -> String {
    let mut table = Table::new(&["model", "tokens", "about"]);
    for model in list {
        table.row(&["id", "context_window", "description"].map(|name| cell(&model[name])), ABOUT);
    }
    table.render(style, "it offers no models")
}

/// A definition, one field a line.
fn shown(definition: &Value) -> String {
    let (own, none) = (definition.as_object().cloned().unwrap_or_default(), Map::new());
    let extra = definition["extra"].as_object().unwrap_or(&none);
    let fields = own.iter().filter(|(name, value)| *name != "extra" && !value.is_null()).chain(extra);
    fields.map(|(name, value)| format!("{name}: {}\n", one_line(&cell(value), usize::MAX))).collect()
}

/// An answer of counts, one a line.
fn counted(answer: &Value) -> String {
    let counts = answer.as_object().into_iter().flatten().filter(|(_, value)| value.is_number());
    counts.map(|(name, value)| format!("{name}: {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[&str], unset: &[&str]) -> anyhow::Result<Changes> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Changes::read(&owned(set), &owned(unset))
    }

    #[test]
    fn changes_reach_columns_and_extra() {
        let mut definition =
            json!({"alias": "a", "type": "openai", "model_id": "m", "extra": {"max_tokens": 5, "api_key": "****"}});
        let changes =
            read(&["context_window=32000", "description=a b=c", "fallbacks=[\"x\"]"], &["max_tokens"]).unwrap();
        changes.apply(&mut definition);
        let extra = json!({"context_window": 32000, "fallbacks": ["x"], "api_key": "****"});
        assert_eq!(definition["extra"], extra);
        assert_eq!((&definition["description"], &definition["model_id"]), (&json!("a b=c"), &json!("m")));
    }

    #[test]
    fn keys_and_half_changes_are_refused() {
        for (set, unset) in [(["api_key=sk-1"].as_slice(), [].as_slice()), (&["context_window"], &[]), (&[], &["type"])]
        {
            assert!(read(set, unset).is_err(), "{set:?} {unset:?}");
        }
        assert!(read(&[], &["api_key"]).is_ok());
    }

    #[test]
    fn a_definition_is_told_field_by_field() {
        let definition = json!({"alias": "a", "repo_id": null, "extra": {"price": {"input": 1.5, "output": 2}}});
        assert_eq!(shown(&definition), "alias: a\nprice: {\"input\":1.5,\"output\":2}\n");
        assert_eq!(shown(&json!({"alias": "a\u{1b}[2J", "extra": null})), "alias: a[2J\n");
    }
}
