//! What this room is configured with. Nothing here reads the environment: the front door fills these values in, and
//! [`ProviderSettings::secret_named`] is the one way a definition's `api_key_env` is looked up.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::local::LocalSettings;

/// The curated model list that ships with the program.
pub const BUILT_IN_SEEDS: &str = include_str!("../../../config/models.yaml");

/// Looks up a secret by the name of its environment variable.
pub type SecretLookup = Arc<dyn Fn(&str) -> Option<SecretString> + Send + Sync>;

/// Settings of the room.
#[derive(Clone)]
pub struct ProviderSettings {
    /// The general OpenAI key. It belongs to `openai_base_url` when that is set, else to OpenAI itself, and goes
    /// nowhere else.
    pub openai_api_key: Option<SecretString>,
    /// Endpoint of `openai` definitions that name none.
    pub openai_base_url: Option<String>,
    /// Key for openrouter.ai.
    pub openrouter_api_key: Option<SecretString>,
    /// Key for api.x.ai.
    pub xai_api_key: Option<SecretString>,
    /// The general Anthropic key. It belongs to `anthropic_base_url` when that is set, else to Anthropic itself, and goes
    /// nowhere else.
    pub anthropic_api_key: Option<SecretString>,
    /// Endpoint of `anthropic` definitions that name none, with or without `/v1`.
    pub anthropic_base_url: Option<String>,
    /// Where Ollama listens: a URL, `host` or `host:port`.
    pub ollama_host: Option<String>,
    /// Finds the secret behind a definition's `api_key_env`.
    pub secret_named: SecretLookup,
    /// Seed YAML text, the content of `config/models.yaml`.
    pub seeds: String,
    /// A seed file that is read at the start and again at every reload, in place of `seeds`.
    pub seeds_path: Option<PathBuf>,
    /// Output limit of definitions that name none.
    pub default_max_tokens: u32,
    /// Calls one provider may have open at once; further ones are refused as busy.
    pub max_concurrent_per_provider: usize,
    /// Waiting and retrying.
    pub timeouts: Timeouts,
    /// Models that run in this process.
    pub local: LocalSettings,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            openai_api_key: None,
            openai_base_url: None,
            openrouter_api_key: None,
            xai_api_key: None,
            anthropic_api_key: None,
            anthropic_base_url: None,
            ollama_host: None,
            secret_named: Arc::new(|_| None),
            seeds: BUILT_IN_SEEDS.to_owned(),
            seeds_path: None,
            default_max_tokens: 4096,
            max_concurrent_per_provider: 16_384,
            timeouts: Timeouts::default(),
            local: LocalSettings::default(),
        }
    }
}

impl fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("openai_api_key", &self.openai_api_key)
            .field("openai_base_url", &self.openai_base_url)
            .field("openrouter_api_key", &self.openrouter_api_key)
            .field("xai_api_key", &self.xai_api_key)
            .field("anthropic_api_key", &self.anthropic_api_key)
            .field("anthropic_base_url", &self.anthropic_base_url)
            .field("ollama_host", &self.ollama_host)
            .field("seeds_path", &self.seeds_path)
            .field("default_max_tokens", &self.default_max_tokens)
            .field("max_concurrent_per_provider", &self.max_concurrent_per_provider)
            .field("timeouts", &self.timeouts)
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// How long to wait and how often to try again (providers.md §6). A definition may override first event and whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Opening a connection.
    pub connect: Duration,
    /// Silence before the first event, hosted providers.
    pub first_event_hosted: Duration,
    /// The same for servers on this machine or network, which load models and read long prompts slowly.
    pub first_event_local: Duration,
    /// Silence between events, hosted providers.
    pub gap_hosted: Duration,
    /// The same for local servers.
    pub gap_local: Duration,
    /// The whole call, retries and pauses included.
    pub whole: Duration,
    /// Silence after the finish reason, while usage and the end marker are still expected.
    pub after_finish: Duration,
    /// Further attempts after the first, only while nothing was passed on.
    pub retries: u32,
    /// First pause between attempts; it doubles.
    pub backoff_base: Duration,
    /// Longest such pause.
    pub backoff_cap: Duration,
    /// Longest pause a provider may ask for; a longer wish is an error at once.
    pub retry_hint_cap: Duration,
    /// Failing calls in a row that open the circuit.
    pub circuit_failures: u32,
    /// How long it stays open.
    pub circuit_open: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_event_hosted: Duration::from_secs(60),
            first_event_local: Duration::from_secs(300),
            gap_hosted: Duration::from_secs(60),
            gap_local: Duration::from_secs(120),
            whole: Duration::from_secs(600),
            after_finish: Duration::from_secs(2),
            retries: 2,
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(8),
            retry_hint_cap: Duration::from_secs(60),
            circuit_failures: 5,
            circuit_open: Duration::from_secs(30),
        }
    }
}
