//! From the configuration to what each room is told: the only place that knows both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use greenroom_bot::{BUILT_IN_SEEDS, Bots, BotsSettings, Layer};
use greenroom_distill::summaries::SummarySettings;
use greenroom_distill::{DistillRules, ExtractionRules, ModelSettings, UpkeepRules};
use greenroom_embedder::{Choice, EmbedderSettings};
use greenroom_mcp::{ServerSettings, Transport};
use greenroom_memory::{MemorySettings, RecallSettings};
use greenroom_protocol::{BotSlug, UserId};
use greenroom_provider::{LocalSettings, ProviderSettings, Timeouts};
use greenroom_scheduler::{JobType, SchedulerSettings};
use greenroom_store::StoreSettings;
use greenroom_tools::{HOME_LEGACY, HOME_NATIVE};
use greenroom_turn::TurnsSettings;
use greenroom_web::{Addresses, AllowList, Crawl4Ai, RedditSettings, WebError, WebSettings};
use secrecy::SecretString;
use serde_json::Value;

use crate::app::StartError;
use crate::config::{Config, EmbedderSection, LlmPolicy, SearchDepth, Surroundings};

/// The seed file that is looked for when none is named.
const SEEDS_BESIDE: &str = "bots.yaml";
/// Where `make setup` puts the embedder's weights, below the checkout.
const WEIGHTS_HOME: &str = ".local/minilm";
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
        anthropic_api_key: section.anthropic_api_key.clone(),
        anthropic_base_url: section.anthropic_base_url.clone(),
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
        local: local_models(config),
        ..ProviderSettings::default()
    }
}

/// How models that run in this process are kept.
fn local_models(config: &Config) -> LocalSettings {
    let section = &config.local_models;
    let cores = || std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(8);
    let given = |bytes: usize| (bytes > 0).then_some(bytes as u64);
    let after = section.idle_unload.get();
    LocalSettings {
        models_dir: section.dir.as_ref().map_or_else(|| config.data_dir().join("models"), PathBuf::from),
        threads: if section.threads == 0 { cores() } else { section.threads },
        max_resident: section.max_resident,
        context: if section.context_window == 0 { u32::MAX } else { section.context_window },
        memory_limit: given(section.memory_limit.get()),
        idle_unload: (!after.is_zero()).then_some(after),
        wait_limit: section.wait_timeout.get(),
        ..LocalSettings::default()
    }
}

/// The embedder's model, if the setting names one.
#[must_use]
pub fn embedder_choice(section: &EmbedderSection) -> Option<Choice> {
    match section.model.trim().rsplit('/').next().unwrap_or_default() {
        "all-MiniLM-L6-v2" => Some(Choice::MiniLm { dir: minilm_dir(section) }),
        "test-hash" => Some(Choice::TestHash),
        "off" => Some(Choice::Off),
        _ => None,
    }
}

/// Where the weights are: the configured folder, else the one that `make setup` fills, looked for below the working
/// directory and the folders above the program.
fn minilm_dir(section: &EmbedderSection) -> PathBuf {
    if let Some(dir) = &section.dir {
        return dir.into();
    }
    let program = std::env::current_exe().ok();
    let above = program.iter().flat_map(|program| program.ancestors().skip(1)).map(Path::to_owned);
    let found = std::env::current_dir().into_iter().chain(above).map(|folder| folder.join(WEIGHTS_HOME));
    found.into_iter().find(|dir| dir.is_dir()).unwrap_or_else(|| WEIGHTS_HOME.into())
}

/// What the embedder is told.
#[must_use]
pub fn embedder(config: &Config) -> EmbedderSettings {
    let section = &config.embedder;
    let defaults = EmbedderSettings::default();
    EmbedderSettings {
        model: embedder_choice(section).unwrap_or(Choice::Off),
        threads: if section.threads == 0 { defaults.threads } else { section.threads },
        queue: section.queue,
        ..defaults
    }
}

/// What the memory room is told.
#[must_use]
pub fn memory(config: &Config) -> MemorySettings {
    let or = MemorySettings::default();
    let tunables = &config.bots.tunables;
    let gap = tunables.summarization_session_gap_seconds.map(|seconds| Duration::from_secs(seconds.into()));
    MemorySettings {
        dedup_similarity: tunables.memory_dedup_similarity.map_or(or.dedup_similarity, narrow),
        session_gap: gap.unwrap_or(or.session_gap),
        recall: RecallSettings { most_messages: config.memory.indexed_messages, ..or.recall },
    }
}

/// Which models the work behind the scenes may ask.
#[must_use]
pub fn models(config: &Config) -> ModelSettings {
    let section = &config.memory;
    ModelSettings {
        policy: match section.llm_policy {
            LlmPolicy::LocalOnly => greenroom_distill::LlmPolicy::LocalOnly,
            LlmPolicy::PreferLocal => greenroom_distill::LlmPolicy::PreferLocal,
            LlmPolicy::Any => greenroom_distill::LlmPolicy::Any,
        },
        extraction: section.extraction_model.clone(),
        maintenance: section.maintenance_model.clone(),
        profile_maintenance: section.profile_maintenance_model.clone(),
        summarization: section.summarization_model.clone(),
        consolidation: section.consolidation_model.clone(),
        local_hosts: section.local_model_hosts.0.clone(),
        call_limit: section.model_timeout.get().min(ModelSettings::default().call_limit),
        local_call_limit: section.model_timeout.get(),
        ..ModelSettings::default()
    }
}

/// How facts are extracted and memories tidied.
#[must_use]
pub fn distill(config: &Config) -> DistillRules {
    let section = &config.memory;
    DistillRules {
        extraction: ExtractionRules {
            enabled: section.extraction_enabled,
            min_importance: narrow(section.extraction_min_importance),
            heuristic_fallback: section.extraction_heuristic_fallback,
            profile_attributes: section.profile_attribute_enabled,
            profile_min_importance: narrow(section.profile_attribute_min_importance),
            ..ExtractionRules::default()
        },
        upkeep: UpkeepRules {
            preview_similarity: narrow(section.consolidation_threshold),
            prune_threshold: section.prune_threshold,
            recurrence_days: i64::from(section.recurrence_threshold),
            ..UpkeepRules::default()
        },
    }
}

/// How conversations are summarised.
#[must_use]
pub fn summaries(config: &Config) -> SummarySettings {
    let after = config.memory.summarization_rollup_after;
    SummarySettings {
        rollup_after: usize::try_from(after).unwrap_or(usize::MAX),
        quality_retry: config.bots.tunables.summarization_quality_retry.unwrap_or(false),
        ..SummarySettings::default()
    }
}

/// When background work runs. Intervals are those of the settings at the time a job is first created.
#[must_use]
pub fn scheduler(config: &Config, bots: &Bots) -> SchedulerSettings {
    let directory = bots.directory();
    let keys = [
        (JobType::MemoryExtraction, "memory_extraction_interval_minutes"),
        (JobType::HistorySummarization, "history_summarization_interval_minutes"),
        (JobType::ProfileMaintenance, "profile_maintenance_interval_minutes"),
    ];
    let minutes = |key: &str| directory.globals().count(key);
    let intervals = keys.into_iter().filter_map(|(job, key)| Some((job, Duration::from_secs(minutes(key)? * 60))));
    let (or, check_interval) = (SchedulerSettings::default(), config.scheduler.check_interval.get());
    SchedulerSettings {
        enabled: config.scheduler.enabled,
        check_interval,
        start_delay: or.start_delay.min(check_interval),
        nudge_delay: config.scheduler.extraction_delay.get(),
        intervals: intervals.collect(),
        ..or
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a share between 0 and 1")]
fn narrow(share: f64) -> f32 {
    share as f32
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

/// What reaches the web is told.
///
/// # Errors
/// What is wrong with the settings, which their check finds first.
pub fn web(config: &Config) -> Result<WebSettings, WebError> {
    let (search, web) = (&config.search, &config.web);
    let or = Addresses::default();
    let reddit = search.reddit_client_id.clone().zip(search.reddit_client_secret.clone());
    Ok(WebSettings {
        provider: search.first().map_err(WebError::Invalid)?,
        brave_key: search.brave_api_key.clone(),
        tavily_key: search.tavily_api_key.clone(),
        reddit: reddit.map(|(client_id, client_secret)| RedditSettings {
            client_id,
            client_secret,
            user_agent: search.reddit_user_agent.clone(),
        }),
        news_key: search.newsapi_api_key.clone(),
        max_results: search.max_results,
        search_timeout: search.timeout.get(),
        include_answer: search.include_answer,
        advanced_depth: search.depth == SearchDepth::Advanced,
        safe_search: search.safe_search,
        region: search.region.clone(),
        crawl4ai: web.crawl4ai_url.clone().map(|url| Crawl4Ai { url, token: web.crawl4ai_api_token.clone() }),
        max_chars: web.fetch_max_chars,
        allow: AllowList::parse(&web.allow.0)?,
        addresses: Addresses {
            tavily: search.tavily_url.clone().unwrap_or(or.tavily),
            brave: search.brave_url.clone().unwrap_or(or.brave),
            duckduckgo: search.duckduckgo_url.clone().unwrap_or(or.duckduckgo),
            news: search.newsapi_url.clone().unwrap_or(or.news),
            ..or
        },
        ..WebSettings::default()
    })
}

/// The MCP servers there are: Home Assistant itself, or the older server in front of it.
#[must_use]
pub fn mcp(config: &Config) -> Vec<ServerSettings> {
    let home = &config.home;
    let native = home.native_url.as_ref().map(|url| ServerSettings {
        token: home.native_token.clone(),
        exclude: home.tool_exclude.0.clone(),
        ..ServerSettings::new(HOME_NATIVE, url)
    });
    let older = home.enabled.then(|| ServerSettings {
        token: home.auth_token.clone(),
        transport: Transport::Sse,
        timeout: home.timeout.get(),
        ..ServerSettings::new(HOME_LEGACY, format!("{}/sse", home.url.trim_end_matches('/')))
    });
    native.into_iter().chain(older).collect()
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
