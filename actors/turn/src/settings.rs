//! The tunables of one turn, already resolved: request, bot row, global row, bot seed and process configuration have
//! been weighed by the bot room. Keys are those of the settings API.

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
            temperature: 0.8,
            top_p: 0.95,
            timezone: None,
        }
    }
}
