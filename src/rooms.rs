//! From the configuration to what each room is told: the only place that knows both.

use std::path::Path;

use greenroom_bot::{BUILT_IN_SEEDS, BotsSettings, Layer};
use greenroom_protocol::{BotSlug, UserId};
use greenroom_provider::{ProviderSettings, Timeouts};
use greenroom_store::StoreSettings;
use greenroom_turn::TurnsSettings;
use secrecy::SecretString;
use serde_json::Value;

use crate::app::StartError;
use crate::config::{Config, Surroundings};

/// The seed file that is looked for when none is named.
const SEEDS_BESIDE: &str = "bots.yaml";
/// The speech rules that ship with the program.
const TTS_INSTRUCTIONS: &str = include_str!("../config/prompts/tts.md");

/// The files a configuration names, read before anything starts.
pub struct Texts {
    seeds: String,
    tts_instructions: String,
}

impl Texts {
    /// Reads them.
    ///
    /// # Errors
    /// [`StartError::File`].
    pub fn read(config: &Config) -> Result<Self, StartError> {
        let seeds = match &config.bots.seeds {
            Some(path) => read(path)?,
            None if Path::new(SEEDS_BESIDE).is_file() => read(SEEDS_BESIDE)?,
            None => BUILT_IN_SEEDS.to_owned(),
        };
        let tts_instructions = match &config.bots.tts_instructions {
            Some(path) => read(path)?,
            None => TTS_INSTRUCTIONS.to_owned(),
        };
        Ok(Self { seeds, tts_instructions })
    }
}

fn read(path: &str) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|error| StartError::File { path: path.to_owned(), why: error.to_string() })
}

/// What the store is told.
#[must_use]
pub fn store(config: &Config) -> StoreSettings {
    let section = &config.store;
    StoreSettings {
        database_url: section.database_url.clone(),
        data_dir: config.data_dir(),
        postgres_dir: section.postgres_dir(),
        pool_size: section.pool_size,
        checkout_timeout: section.checkout_timeout.get(),
        statement_timeout: section.statement_timeout.get(),
        lock_timeout: section.lock_timeout.get(),
    }
}

/// What the providers are told. A definition may name a variable of the environment that holds its key.
#[must_use]
pub fn providers(config: &Config) -> ProviderSettings {
    let section = &config.providers;
    ProviderSettings {
        openai_api_key: section.openai_api_key.clone(),
        openai_base_url: section.openai_base_url.clone(),
        openrouter_api_key: section.openrouter_api_key.clone(),
        xai_api_key: section.xai_api_key.clone(),
        ollama_host: section.ollama_host.clone(),
        secret_named: std::sync::Arc::new(|name| {
            Surroundings::of_process().variable(name).map(|value| SecretString::from(value.to_owned()))
        }),
        seeds_path: section.models.as_ref().map(Into::into),
        default_max_tokens: config.bots.tunables.max_output_tokens.unwrap_or(4096),
        max_concurrent_per_provider: section.max_concurrent,
        timeouts: Timeouts {
            connect: section.connect_timeout.get(),
            first_event_hosted: section.first_event_timeout.get(),
            first_event_local: section.local_first_event_timeout.get(),
            gap_hosted: section.gap_timeout.get(),
            gap_local: section.local_gap_timeout.get(),
            whole: section.call_timeout.get(),
            ..Timeouts::default()
        },
        ..ProviderSettings::default()
    }
}

/// What the turn engine is told.
#[must_use]
pub fn turns(config: &Config) -> TurnsSettings {
    TurnsSettings {
        flush_interval: config.turns.flush_interval.get(),
        retention: config.turns.retention.get(),
        disconnect_grace: config.limits.disconnect_grace.get(),
        ..TurnsSettings::default()
    }
}

/// What the bots are told.
#[must_use]
pub fn bots(config: &Config, texts: Texts) -> BotsSettings {
    let section = &config.bots;
    BotsSettings {
        seeds: texts.seeds,
        default_bot: BotSlug::parse(&section.default_bot).ok(),
        default_user: section.default_user.as_deref().and_then(|user| UserId::parse(user).ok()),
        default_model: section.default_model.clone(),
        strict_bots: section.strict,
        tunables: tunables(config),
        tts_instructions: texts.tts_instructions,
        ..BotsSettings::default()
    }
}

/// Only what the operator set: a key that is here silences the seed file's template.
fn tunables(config: &Config) -> Layer {
    let mut layer = match serde_json::to_value(&config.bots.tunables) {
        Ok(Value::Object(map)) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Layer::new(),
    };
    if let Some(zone) = &config.bots.timezone {
        layer.insert("timezone".into(), zone.as_str().into());
    }
    layer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tunables_that_were_set_reach_the_bots() {
        let mut config = Config::default();
        assert!(tunables(&config).is_empty());
        config.bots.tunables.temperature = Some(0.5);
        config.bots.timezone = Some("Europe/Vienna".into());
        assert_eq!(tunables(&config).keys().collect::<Vec<_>>(), ["temperature", "timezone"]);
    }
}
