//! `greenroom config`: every setting, its effective value and where that comes from. Secrets stay hidden. It shows what
//! would be refused too, and says so with its exit code.

use std::process::ExitCode;

use serde_json::Value;

use super::ConfigShow;
use super::terminal::say;
use crate::config::{self, Surroundings};

/// Runs the command.
///
/// # Errors
/// When a layer cannot be read at all.
pub fn run(show: &ConfigShow, around: &Surroundings) -> anyhow::Result<ExitCode> {
    let loaded = config::load_unchecked(around)?;
    let settings = loaded.settings();
    if show.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&settings)?))?;
    } else {
        let keys = settings.iter().map(|setting| setting.key.len()).max().unwrap_or_default();
        let values = settings.iter().map(|setting| shown(&setting.value).len()).max().unwrap_or_default().min(40);
        for setting in &settings {
            say(&format!("{:keys$}  {:values$}  {}\n", setting.key, shown(&setting.value), setting.source))?;
        }
    }
    for note in &loaded.notes {
        eprintln!("note: {note}");
    }
    match loaded.config.check() {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(not set)".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
