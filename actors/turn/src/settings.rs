//! The tunables of one turn, already resolved: request, bot row, global row, bot seed and process configuration have
//! been weighed by the bot room. Keys are those of the settings API.

use std::time::Duration;

use greenroom_memory::RetrievalSettings;
use serde::{Deserialize, Serialize};

/// Effective values for one turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TurnSettings {
    /// Prompt budget in tokens; 0 means the model's window less the output limit.
    pub max_context_tokens: u32,
    /// Most raw history rows; 0 means no cap.
    pub max_context_messages: u32,
    /// Most tokens to generate.
    pub max_output_tokens: u32,
    /// Newest turns that are never dropped from the prompt.
    pub memory_protected_recent_turns: u32,
    /// Most summaries injected.
    pub summarization_max_in_context: u32,
    /// Summaries in their short form.
    pub summarization_compact_context: bool,
    /// Silence, in seconds, after which a new session begins.
    pub summarization_session_gap_seconds: u32,
    /// Memories per retrieval; the prompt takes at most ten.
    pub memory_n_results: u32,
    /// Relevance below which a memory is left out, 0 to 1.
    pub memory_min_relevance: f64,
    /// Share of the prompt budget that memories may take, in percent.
    pub memory_max_token_percent: u32,
    /// Weight of the word search in retrieval, 0 to 1.
    pub memory_hybrid_weight: f64,
    /// Weight of the meaning vectors, 0 to 1.
    pub memory_meaning_weight: f64,
    /// Whether questions about intent search the meaning vectors too.
    pub memory_meaning_query: bool,
    /// Whether relevance fades with age.
    pub memory_decay_enabled: bool,
    /// Days after which it has halved.
    pub memory_decay_half_life_days: f64,
    /// What being recalled adds to a score.
    pub memory_access_boost_factor: f64,
    /// Weight of recency against importance, 0 to 1.
    pub memory_recency_weight: f64,
    /// Whether memories that differ are preferred.
    pub memory_diversity_enabled: bool,
    /// Share of the best score that such a pick must reach, 0 to 1.
    pub memory_diversity_floor: f64,
    /// Most tool calls; 0 means a hundred.
    pub max_tool_calls_per_turn: u32,
    /// Most passes in which the model may call tools; three in device control.
    pub max_tool_iterations: u32,
    /// Sampling temperature, 0 to 2.
    pub temperature: f64,
    /// Nucleus cut-off, 0 to 1.
    pub top_p: f64,
    /// IANA time zone in which the bot sees the clock; the service's own when absent.
    pub timezone: Option<String>,
}

impl Default for TurnSettings {
    fn default() -> Self {
        Self {
            max_context_tokens: 0,
            max_context_messages: 0,
            max_output_tokens: 4096,
            memory_protected_recent_turns: 3,
            summarization_max_in_context: 5,
            summarization_compact_context: true,
            summarization_session_gap_seconds: 3600,
            memory_n_results: 10,
            memory_min_relevance: 0.01,
            memory_max_token_percent: 30,
            memory_hybrid_weight: 0.3,
            memory_meaning_weight: 0.3,
            memory_meaning_query: false,
            memory_decay_enabled: true,
            memory_decay_half_life_days: 90.0,
            memory_access_boost_factor: 0.15,
            memory_recency_weight: 0.3,
            memory_diversity_enabled: true,
            memory_diversity_floor: 0.5,
            max_tool_calls_per_turn: 20,
            max_tool_iterations: 8,
            temperature: 0.8,
            top_p: 0.95,
            timezone: None,
        }
    }
}

impl TurnSettings {
    /// How memories are weighed.
    #[must_use]
    pub fn retrieval(&self) -> RetrievalSettings {
        RetrievalSettings {
            hybrid_weight: self.memory_hybrid_weight,
            meaning_weight: self.memory_meaning_weight,
            meaning_query: self.memory_meaning_query,
            decay_enabled: self.memory_decay_enabled,
            half_life_days: self.memory_decay_half_life_days,
            access_boost: self.memory_access_boost_factor,
            recency_weight: self.memory_recency_weight,
            diversity: self.memory_diversity_enabled,
            diversity_floor: self.memory_diversity_floor,
        }
    }

    /// Tokens for the whole prompt of a model with this window: the setting, or the window less the output limit.
    #[must_use]
    pub fn context_budget(&self, window: u64) -> usize {
        let tokens = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let setting = Some(tokens(self.max_context_tokens)).filter(|tokens| *tokens > 0);
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        greenroom_memory::budget::context_budget(setting, window, tokens(self.max_output_tokens))
    }

    /// Silence after which a new session begins.
    #[must_use]
    pub fn session_gap(&self) -> Duration {
        Duration::from_secs(self.summarization_session_gap_seconds.into())
    }
}
