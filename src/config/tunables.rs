//! Process-wide values of the runtime settings, the layer below the database. Names and bounds are those of the settings
//! API, whose schema checks them.

use serde::{Deserialize, Serialize};

use super::value::number;

/// Process-wide values of the runtime settings; `None` leaves the built-in default.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tunables {
    /// Prompt budget in tokens; 0 is automatic.
    pub max_context_tokens: Option<u32>,
    /// Cap on raw history rows; 0 is none.
    pub max_context_messages: Option<u32>,
    /// Reply limit in tokens.
    pub max_output_tokens: Option<u32>,
    /// Turns that are never dropped from the prompt.
    pub memory_protected_recent_turns: Option<u32>,
    /// Summaries injected.
    pub summarization_max_in_context: Option<u32>,
    /// Memories per retrieval.
    pub memory_n_results: Option<u32>,
    /// Relevance below which a memory is left out.
    #[serde(deserialize_with = "number")]
    pub memory_min_relevance: Option<f64>,
    /// Share of the prompt budget that memories may take, in percent.
    pub memory_max_token_percent: Option<u32>,
    /// Similarity from which two memories are one.
    #[serde(deserialize_with = "number")]
    pub memory_dedup_similarity: Option<f64>,
    /// Weight of the word search.
    #[serde(deserialize_with = "number")]
    pub memory_hybrid_weight: Option<f64>,
    /// Search the meaning vectors too.
    pub memory_meaning_query: Option<bool>,
    /// Weight of the meaning vectors.
    #[serde(deserialize_with = "number")]
    pub memory_meaning_weight: Option<f64>,
    /// Whether relevance fades with age.
    pub memory_decay_enabled: Option<bool>,
    /// Days after which it has halved.
    #[serde(deserialize_with = "number")]
    pub memory_decay_half_life_days: Option<f64>,
    /// What being recalled adds.
    #[serde(deserialize_with = "number")]
    pub memory_access_boost_factor: Option<f64>,
    /// Weight of recency against importance.
    #[serde(deserialize_with = "number")]
    pub memory_recency_weight: Option<f64>,
    /// Pick diverse memories.
    pub memory_diversity_enabled: Option<bool>,
    /// Share of the best score that a diverse pick must reach.
    #[serde(deserialize_with = "number")]
    pub memory_diversity_floor: Option<f64>,
    /// Silence that splits sessions, in seconds.
    pub summarization_session_gap_seconds: Option<u32>,
    /// Smallest session that is summarised.
    pub summarization_min_messages_per_session: Option<u32>,
    /// Short form of summaries in the prompt.
    pub summarization_compact_context: Option<bool>,
    /// Ask again for a summary that fails the quality gate.
    pub summarization_quality_retry: Option<bool>,
    /// Minutes between extraction jobs.
    pub memory_extraction_interval_minutes: Option<u32>,
    /// Minutes between summarisation jobs.
    pub history_summarization_interval_minutes: Option<u32>,
    /// Minutes between profile jobs.
    pub profile_maintenance_interval_minutes: Option<u32>,
    /// Tool calls of a turn; 0 is a hundred.
    pub max_tool_calls_per_turn: Option<u32>,
    /// Passes of a turn in which the model may call tools.
    pub max_tool_iterations: Option<u32>,
    /// Sampling temperature.
    #[serde(deserialize_with = "number")]
    pub temperature: Option<f64>,
    /// Nucleus cut-off.
    #[serde(deserialize_with = "number")]
    pub top_p: Option<f64>,
}
