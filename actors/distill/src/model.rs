//! Which model works in the background (memory.md §16.6, §11.3).
//!
//! A model named in a request is used or refused, never replaced. Otherwise the bot's own choice, then the service's
//! settings, then the first model on this machine, then any. What leaves the machine is decided by [`LlmPolicy`]; merging
//! memories needs a [`LocalOnlyClient`], and there is no way to make one for a model elsewhere. The built-in echo never
//! counts as a model.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_kit::lock;
use greenroom_protocol::ErrorClass;
use greenroom_provider::{Engine, ModelType, ProviderError, Providers};
use tokio::sync::Semaphore;

use crate::completer::Completer;

/// Whether personal text may leave this machine for background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LlmPolicy {
    /// Never.
    LocalOnly,
    /// Only when no model runs here, or when a model elsewhere was named.
    #[default]
    PreferLocal,
    /// Where the model runs does not matter.
    Any,
}

impl LlmPolicy {
    /// The word of the setting `MEMORY_LLM_POLICY`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LocalOnly => "local_only",
            Self::PreferLocal => "prefer_local",
            Self::Any => "any",
        }
    }

    /// The inverse of [`Self::as_str`], in any case.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let word = word.trim().to_lowercase();
        [Self::LocalOnly, Self::PreferLocal, Self::Any].into_iter().find(|policy| policy.as_str() == word)
    }
}

/// Kinds of background work that need a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Facts from conversations and summaries.
    Extraction,
    /// Summaries of conversations.
    Summaries,
    /// Profile texts.
    Profiles,
    /// Merging memories; on this machine only, whatever the policy.
    Consolidation,
}

/// Settings of the choice.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// What may leave the machine.
    pub policy: LlmPolicy,
    /// `EXTRACTION_MODEL`.
    pub extraction: Option<String>,
    /// `MAINTENANCE_MODEL`.
    pub maintenance: Option<String>,
    /// `PROFILE_MAINTENANCE_MODEL`.
    pub profile_maintenance: Option<String>,
    /// `SUMMARIZATION_MODEL`.
    pub summarization: Option<String>,
    /// `CONSOLIDATION_MODEL`.
    pub consolidation: Option<String>,
    /// `LOCAL_MODEL_HOSTS`: hosts that count as this machine, beside loopback.
    pub local_hosts: Vec<String>,
    /// How long one call to a model elsewhere may take.
    pub call_limit: Duration,
    /// How long one call to a model on this machine may take.
    pub local_call_limit: Duration,
    /// Background calls that one hosted model may have open at once; a local model has one.
    pub hosted_calls: usize,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            policy: LlmPolicy::default(),
            extraction: None,
            maintenance: None,
            profile_maintenance: None,
            summarization: None,
            consolidation: None,
            local_hosts: Vec::new(),
            call_limit: Duration::from_secs(120),
            local_call_limit: Duration::from_secs(300),
            hosted_calls: 3,
        }
    }
}

impl ModelSettings {
    /// The service's own choices for a kind of work, best first.
    fn named(&self, work: Work) -> impl Iterator<Item = &str> {
        let named = match work {
            Work::Extraction => [&self.extraction, &self.maintenance, &self.summarization],
            Work::Summaries => [&self.summarization, &self.maintenance, &self.extraction],
            Work::Profiles => [&self.maintenance, &self.profile_maintenance, &self.summarization],
            Work::Consolidation => [&self.consolidation, &None, &None],
        };
        named.into_iter().filter_map(|name| name.as_deref().filter(|name| !name.trim().is_empty()))
    }
}

/// Why no model worked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// There is none that may be used.
    #[error("no model is available for this work: {0}")]
    NoModel(String),
    /// The named model must not be used.
    #[error("model '{alias}' is refused: {reason}")]
    Refused {
        /// Its alias.
        alias: String,
        /// Why.
        reason: &'static str,
    },
    /// The model that the request names does not exist or cannot be used.
    #[error(transparent)]
    Unknown(ProviderError),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] ProviderError),
    /// The call took too long.
    #[error("the model did not answer in time")]
    TimedOut,
    /// The caller gave up.
    #[error("the work was cancelled")]
    Cancelled,
    /// The model said nothing.
    #[error("the model's answer is empty")]
    Empty,
    /// The prompt does not fit.
    #[error("the text of {tokens} tokens does not fit the model's window of {window}")]
    TooLong {
        /// Estimated tokens of the prompt and the wished answer.
        tokens: usize,
        /// Tokens that fit.
        window: u64,
    },
}

impl ModelError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoModel(_) => ErrorClass::NoModel,
            Self::Refused { .. } => ErrorClass::Conflict,
            Self::Unknown(error) | Self::Call(error) => error.class(),
            Self::TimedOut => ErrorClass::ProviderTimeout,
            Self::Cancelled => ErrorClass::Unavailable,
            Self::Empty => ErrorClass::ProviderInterrupted,
            Self::TooLong { .. } => ErrorClass::ContextTooLong,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut | Self::Cancelled | Self::Empty => true,
            Self::Call(error) => !matches!(error.class(), ErrorClass::ProviderRefused | ErrorClass::ContextTooLong),
            Self::NoModel(_) | Self::Refused { .. } | Self::Unknown(_) | Self::TooLong { .. } => false,
        }
    }
}

/// Finds models for background work. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Models {
    providers: Providers,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: ModelSettings,
    /// One queue per model, by alias as it is spelled in the catalogue.
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Models {
    /// A chooser over the catalogue.
    #[must_use]
    pub fn new(providers: Providers, settings: ModelSettings) -> Self {
        Self { providers, shared: Arc::new(Shared { settings, turns: Mutex::default() }) }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &ModelSettings {
        &self.shared.settings
    }

    /// The model for a piece of work: `payload` is what the request names, `bot` the bot's own choice.
    ///
    /// # Errors
    /// [`ModelError::Unknown`] or [`ModelError::Refused`] for the model that the request names; [`ModelError::Refused`]
    /// when the policy forbids what bot or settings name; [`ModelError::NoModel`].
    pub fn choose(&self, work: Work, payload: Option<&str>, bot: Option<&str>) -> Result<Completer, ModelError> {
        if work == Work::Consolidation {
            return Ok(self.local(payload)?.into_completer());
        }
        let local_only = self.shared.settings.policy == LlmPolicy::LocalOnly;
        if let Some(name) = given(payload) {
            return self.permitted(self.engine(name)?, local_only);
        }
        let mut why = String::from("none is configured");
        for name in given(bot).into_iter().chain(self.shared.settings.named(work)) {
            match self.engine(name) {
                Ok(engine) => return self.permitted(engine, local_only),
                Err(error) => {
                    tracing::warn!(model = name, %error, "a model for background work cannot be used");
                    why = error.to_string();
                }
            }
        }
        let usable = || self.usable();
        let first = match self.shared.settings.policy {
            LlmPolicy::Any => usable().next(),
            LlmPolicy::PreferLocal => usable().find(|engine| self.is_local(engine)).or_else(|| usable().next()),
            LlmPolicy::LocalOnly => usable().find(|engine| self.is_local(engine)),
        };
        first.map(|engine| self.completer(engine)).ok_or(ModelError::NoModel(why))
    }

    /// A model on this machine: the named one, the configured one, or the first there is (memory.md §11.3).
    ///
    /// # Errors
    /// [`ModelError::Refused`] when the named or configured model runs elsewhere: nothing was sent to it.
    /// [`ModelError::Unknown`], [`ModelError::NoModel`].
    pub fn local(&self, payload: Option<&str>) -> Result<LocalOnlyClient, ModelError> {
        if let Some(name) = given(payload) {
            return self.permitted(self.engine(name)?, true).map(LocalOnlyClient);
        }
        let mut why = String::from("none runs on this machine");
        for name in self.shared.settings.named(Work::Consolidation) {
            match self.engine(name) {
                Ok(engine) => return self.permitted(engine, true).map(LocalOnlyClient),
                Err(error) => why = error.to_string(),
            }
        }
        let first = self.usable().find(|engine| self.is_local(engine));
        first.map(|engine| LocalOnlyClient(self.completer(engine))).ok_or(ModelError::NoModel(why))
    }

    fn engine(&self, name: &str) -> Result<Engine, ModelError> {
        let engine = self.providers.engine(name).map_err(ModelError::Unknown)?;
        match engine.definition().kind {
            ModelType::Echo => {
                Err(ModelError::Refused { alias: engine.alias().to_owned(), reason: "it only repeats what it is told" })
            }
            ModelType::AgentBackend => {
                Err(ModelError::Refused { alias: engine.alias().to_owned(), reason: "it is an agent, not a model" })
            }
            _ => Ok(engine),
        }
    }

    fn permitted(&self, engine: Engine, local_only: bool) -> Result<Completer, ModelError> {
        if local_only && !self.is_local(&engine) {
            let reason = "it does not run on this machine, and this work may not leave it";
            return Err(ModelError::Refused { alias: engine.alias().to_owned(), reason });
        }
        Ok(self.completer(engine))
    }

    /// All models that could do background work, in the catalogue's order.
    fn usable(&self) -> impl Iterator<Item = Engine> {
        self.providers.catalogue().aliases().into_iter().filter_map(|alias| self.engine(&alias).ok())
    }

    fn is_local(&self, engine: &Engine) -> bool {
        is_local(engine.definition().kind, engine.host().as_deref(), &self.shared.settings.local_hosts)
    }

    fn completer(&self, engine: Engine) -> Completer {
        let settings = &self.shared.settings;
        let local = self.is_local(&engine);
        let (at_once, limit) =
            if local { (1, settings.local_call_limit) } else { (settings.hosted_calls.max(1), settings.call_limit) };
        let mut turns = lock(&self.shared.turns);
        let queue = turns.entry(engine.alias().to_owned()).or_insert_with(|| Arc::new(Semaphore::new(at_once)));
        Completer::new(engine, queue.clone(), local, limit)
    }
}

/// A name that says something.
fn given(name: Option<&str>) -> Option<&str> {
    name.map(str::trim).filter(|name| !name.is_empty())
}

/// Whether a model runs here: by its type *and* by the host that is called (memory.md §11.3).
fn is_local(kind: ModelType, host: Option<&str>, allowed: &[String]) -> bool {
    match (kind, host) {
        (ModelType::Gguf, None) => true,
        (ModelType::Gguf | ModelType::Ollama | ModelType::Vllm, Some(host)) => {
            let loopback = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
            loopback || allowed.iter().any(|known| known.trim().eq_ignore_ascii_case(host))
        }
        _ => false,
    }
}

/// A model that is known to run on this machine. Only [`Models::local`] makes one, from a definition whose type and host
/// are local, so that a function that asks for it cannot send text elsewhere.
#[derive(Debug, Clone)]
pub struct LocalOnlyClient(Completer);

impl LocalOnlyClient {
    /// The model.
    #[must_use]
    pub fn completer(&self) -> &Completer {
        &self.0
    }

    fn into_completer(self) -> Completer {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_is_decided_by_type_and_host() {
        let allowed = ["Box.lan".to_owned()];
        let local = |kind, host| is_local(kind, host, &allowed);
        assert!(local(ModelType::Gguf, None));
        for host in ["127.0.0.1", "127.8.0.1", "::1", "localhost", "box.lan"] {
            assert!(local(ModelType::Ollama, Some(host)) && local(ModelType::Vllm, Some(host)), "{host}");
            assert!(!local(ModelType::Openai, Some(host)), "an API on loopback may be a proxy to anywhere");
        }
        for host in ["10.0.0.7", "api.openai.com", "localhost.example.org", "box.lan.example.org", ""] {
            assert!(!local(ModelType::Ollama, Some(host)), "{host}");
        }
        assert!(!local(ModelType::Echo, None) && !local(ModelType::AgentBackend, None));
    }

    #[test]
    fn policies_have_words() {
        for policy in [LlmPolicy::LocalOnly, LlmPolicy::PreferLocal, LlmPolicy::Any] {
            assert_eq!(LlmPolicy::parse(policy.as_str()), Some(policy));
        }
        assert_eq!(LlmPolicy::parse(" Local_Only "), Some(LlmPolicy::LocalOnly));
        assert_eq!(LlmPolicy::parse("nowhere"), None);
    }
}
