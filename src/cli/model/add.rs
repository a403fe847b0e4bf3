//! `greenroom model add`: definitions of what a provider offers, or of a file on this machine.
//!
//! A provider's own list also brings descriptions up to date that were taken from such a list before; those that somebody
//! wrote are left alone. Deliberately absent: downloads. A model file is fetched by whatever fetches files well.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::file;
use super::names::{alias_for, alias_of_file, picked};
use super::{Changes, changed, listed, models, offered, place, upstream};
use crate::cli::client::Client;
use crate::cli::table::{cell, items, tell};
use crate::cli::terminal::{Style, say};

/// Stands for the repository of a file that was named by its path.
const NO_REPOSITORY: &str = "local";

/// What `add` is told.
#[derive(Debug, Args)]
pub struct Add {
    /// `openai`, `responses`, `anthropic`, `grok`, `codex`, `openrouter`, `ollama`, `vllm`, `gguf` or another type.
    kind: String,
    /// The provider's names of the models; without them its list is shown and some are picked.
    models: Vec<String>,
    /// Everything that the provider lists; so it is with ollama anyway.
    #[arg(long, conflicts_with = "models")]
    all: bool,
    /// What the model is called here; made from its name without this.
    #[arg(long)]
    alias: Option<String>,
    /// For gguf: the model file, or the folder it is in.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["models", "all"])]
    file: Option<PathBuf>,
    /// A field and its value, such as `base_url=http://127.0.0.1:8000/v1`.
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
}

/// A definition to be written.
struct New {
    alias: String,
    body: Value,
}

/// Runs the command.
///
/// # Errors
/// When the server is not there or refuses, a file cannot be run, or there is nobody to pick.
pub async fn run(add: Add, client: &Client, as_json: bool, style: Style) -> anyhow::Result<ExitCode> {
    let known = listed(client).await?;
    let changes = Changes::read(&add.set, &[])?;
    let kind = add.kind.trim().to_lowercase();
    let new = match (kind.as_str(), &add.file) {
        ("gguf", Some(_)) => vec![of_file(&add, &known, style)?],
        ("gguf", None) => anyhow::bail!(
            "models are not downloaded by this version: fetch the file, then `greenroom model add gguf --file PATH`"
        ),
        (_, Some(_)) => anyhow::bail!("--file is for gguf"),
        (_, None) => of_provider(&add, &kind, client, &known, style).await?,
    };
    if add.alias.is_some() && new.len() > 1 {
        anyhow::bail!("--alias is for one model, and {} were named", new.len());
    }
    let mut written = Vec::new();
    for New { alias, mut body } in new {
        let alias = add.alias.clone().unwrap_or(alias);
        let taken = known.iter().filter_map(|model| model["id"].as_str()).any(|id| id.eq_ignore_ascii_case(&alias));
        if taken {
            anyhow::bail!("there is a model '{alias}' already: change it with `greenroom model edit`, or give --alias");
        }
        changes.apply(&mut body);
        written.push(client.ask(Method::PUT, &place(&alias), Some(&body)).await?);
    }
    let fresh: Vec<&Value> = written.iter().map(|definition| &definition["alias"]).collect();
    let list: Vec<Value> = listed(client).await?.into_iter().filter(|model| fresh.contains(&&model["id"])).collect();
    tell(&json!({"models": written}), as_json, || match list.is_empty() {
        true => "nothing new\n".into(),
        false => models(&list, style),
    })
}

fn of_file(add: &Add, known: &[Value], style: Style) -> anyhow::Result<New> {
    let file = file::choose(add.file.as_deref().unwrap_or(".".as_ref()), style, ask)?;
    let body = json!({
        "type": "gguf", "repo_id": NO_REPOSITORY, "filename": file.path.to_string_lossy(),
        "description": file.about(), "extra": {"context_window": file.facts.context_length},
    });
    Ok(New { alias: alias_of_file(&file.name(), &taken(known)), body })
}

fn taken(known: &[Value]) -> Vec<String> {
    known.iter().filter_map(|model| model["id"].as_str()).map(str::to_owned).collect()
}

/// The type and the fields of a provider's models. OpenRouter speaks OpenAI's protocol at an address of its own.
fn terms(kind: &str) -> (&str, Value) {
    match kind {
        "openrouter" => {
            let extra = json!({"base_url": "https://openrouter.ai/api/v1", "api_key_env": "OPENROUTER_API_KEY"});
            ("openai", extra)
        }
        other => (other, json!({})),
    }
}

async fn of_provider(
    add: &Add,
    kind: &str,
    client: &Client,
    known: &[Value],
    style: Style,
) -> anyhow::Result<Vec<New>> {
    let offer = if add.models.is_empty() { upstream(client, kind).await? } else { json!({"models": []}) };
    let offer = items(&offer, "models");
    refresh(client, kind, known, offer).await?;
    let new: Vec<&Value> = offer.iter().filter(|model| !is_known(model, kind, known)).collect();
    let wanted: Vec<Value> = if !add.models.is_empty() {
        add.models.iter().map(|id| json!({"id": id})).collect()
    } else if add.all || kind == "ollama" || new.is_empty() {
        new.into_iter().cloned().collect()
    } else {
        let table: Vec<Value> = new.iter().map(|model| (*model).clone()).collect();
        let numbered = numbered(&offered(&table, style));
        let Some(line) = ask(&numbered)? else {
            anyhow::bail!("there is nobody to pick: name the models, or take --all");
        };
        picked(&line, new.len())?.into_iter().map(|index| new[index].clone()).collect()
    };
    let mut taken = taken(known);
    let (kind, extra) = terms(kind);
    Ok(wanted
        .iter()
        .map(|model| {
            let alias = alias_for(model["id"].as_str().unwrap_or_default(), &taken);
            taken.push(alias.clone());
            let mut body = json!({"type": kind, "model_id": model["id"], "extra": extra});
            for (name, place) in [("description", "/description"), ("context_window", "/extra/context_window")] {
                let value = &model[name];
                match place.strip_prefix("/extra/") {
                    _ if value.is_null() || value == "" => {}
                    Some(field) => body["extra"][field] = value.clone(),
                    None => body[name] = value.clone(),
                }
            }
            New { alias, body }
        })
        .collect())
}

fn is_known(model: &Value, kind: &str, known: &[Value]) -> bool {
    known.iter().any(|own| own["type"] == terms(kind).0 && own["model_id"] == model["id"])
}

/// Descriptions that were taken from a list follow it.
async fn refresh(client: &Client, kind: &str, known: &[Value], offer: &[Value]) -> anyhow::Result<()> {
    for model in offer {
        let told = cell(&model["description"]);
        let stale = known.iter().filter(|own| {
            let old = cell(&own["description"]);
            own["type"] == terms(kind).0 && own["model_id"] == model["id"] && is_generated(&old) && old != told
        });
        for own in stale.filter(|_| !told.is_empty()) {
            let change = Changes(vec![("description".into(), Some(told.clone().into()))]);
            changed(client, &cell(&own["id"]), &change).await?;
        }
    }
    Ok(())
}

/// Whether a description says no more than a list's date.
fn is_generated(description: &str) -> bool {
    description.is_empty() || description.starts_with("Created ") || description.starts_with("Modified ")
}

/// A table with a number before each row.
fn numbered(table: &str) -> String {
    let mut lines = table.lines();
    let head = lines.next().map(|head| format!("     {head}\n")).unwrap_or_default();
    head + &lines.enumerate().map(|(index, line)| format!("{:>3}  {line}\n", index + 1)).collect::<String>()
}

/// Shows something and reads a line; `None` when there is nobody to ask.
fn ask(text: &str) -> anyhow::Result<Option<String>> {
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    say(text)?;
    eprint!("Which numbers? ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_generated_descriptions_follow_the_list() {
        for (text, generated) in
            [("", true), ("Created 2026-01-02", true), ("Modified 2026-01-02", true), ("My favourite", false)]
        {
            assert_eq!(is_generated(text), generated, "{text}");
        }
    }

    #[test]
    fn models_are_known_by_type_and_name() {
        let known = [json!({"id": "router", "type": "openai", "model_id": "a/b"})];
        assert!(is_known(&json!({"id": "a/b"}), "openrouter", &known));
        assert!(!is_known(&json!({"id": "a/b"}), "anthropic", &known));
        assert_eq!(numbered("head\none\ntwo\n"), "     head\n  1  one\n  2  two\n");
    }
}
