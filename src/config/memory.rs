//! The sections about remembering: the embedder, memory with the models that work on it, and the scheduler.

use serde::{Deserialize, Serialize};

use super::value::{Names, Span, optional};

/// What turns texts into vectors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbedderSection {
    /// `all-MiniLM-L6-v2`, `test-hash` (deterministic, no weights, for tests) or `off`.
    pub model: String,
    /// Folder with `model.safetensors`, `tokenizer.json` and `config.json`; searched when not set.
    #[serde(deserialize_with = "optional")]
    pub dir: Option<String>,
    /// Threads that compute; 0 means one for each core, at most four.
    pub threads: usize,
    /// Texts that may wait; more are refused as busy.
    pub queue: usize,
}

impl Default for EmbedderSection {
    fn default() -> Self {
        Self { model: "all-MiniLM-L6-v2".into(), dir: None, threads: 0, queue: 4096 }
    }
}

/// Which models may read what people said, for the work behind the scenes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LlmPolicy {
    /// Models on this machine alone.
    LocalOnly,
    /// A model on this machine when there is one.
    #[default]
    PreferLocal,
    /// Whatever is configured.
    Any,
}

/// What bots remember and how it is kept in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySection {
    /// Extract facts from conversations.
    pub extraction_enabled: bool,
    /// Facts below this importance are dropped, 0 to 1.
    pub extraction_min_importance: f64,
    /// Extract by patterns when no model can be asked.
    pub extraction_heuristic_fallback: bool,
    /// Turn facts about identity into profile attributes.
    pub profile_attribute_enabled: bool,
    /// Facts below this importance never become attributes, 0 to 1.
    pub profile_attribute_min_importance: f64,
    /// Whether a model elsewhere may read conversations for extraction, summaries and profiles.
    pub llm_policy: LlmPolicy,
    /// Hosts beside loopback whose models count as local.
    pub local_model_hosts: Names,
    /// Alias that extracts facts.
    #[serde(deserialize_with = "optional")]
    pub extraction_model: Option<String>,
    /// Alias that summarises.
    #[serde(deserialize_with = "optional")]
    pub summarization_model: Option<String>,
    /// Alias for maintenance in general.
    #[serde(deserialize_with = "optional")]
    pub maintenance_model: Option<String>,
    /// Alias that writes profile texts.
    #[serde(deserialize_with = "optional")]
    pub profile_maintenance_model: Option<String>,
    /// Local alias that merges memories; the first local one when not set.
    #[serde(deserialize_with = "optional")]
    pub consolidation_model: Option<String>,
    /// Longest wait for such a model.
    pub model_timeout: Span,
    /// Effective importance below which a memory fades away, 0 to 1.
    pub prune_threshold: f64,
    /// Days on which a theme must recur.
    pub recurrence_threshold: u32,
    /// Similarity from which previews of consolidation group memories, 0 to 1.
    pub consolidation_threshold: f64,
    /// Summaries that may stand before the oldest are rolled up.
    pub summarization_rollup_after: u32,
    /// Newest messages of a bot that its word index holds in memory.
    pub indexed_messages: usize,
}

impl Default for MemorySection {
    fn default() -> Self {
        Self {
            extraction_enabled: true,
            extraction_min_importance: 0.5,
            extraction_heuristic_fallback: false,
            profile_attribute_enabled: true,
            profile_attribute_min_importance: 0.7,
            llm_policy: LlmPolicy::PreferLocal,
            local_model_hosts: Names::default(),
            extraction_model: None,
            summarization_model: None,
            maintenance_model: None,
            profile_maintenance_model: None,
            consolidation_model: None,
            model_timeout: Span::secs(300),
            prune_threshold: 0.05,
            recurrence_threshold: 3,
            consolidation_threshold: 0.75,
            summarization_rollup_after: 20,
            indexed_messages: 2_000_000,
        }
    }
}

/// When background work runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerSection {
    /// Run jobs at all.
    pub enabled: bool,
    /// How often due jobs are looked for.
    pub check_interval: Span,
    /// How long after a turn its facts are extracted; turns that end meanwhile are taken along.
    pub extraction_delay: Span,
}

impl Default for SchedulerSection {
    fn default() -> Self {
        Self { enabled: true, check_interval: Span::secs(30), extraction_delay: Span::secs(60) }
    }
}
