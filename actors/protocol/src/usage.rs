//! Token accounting: the OpenAI triple and the richer object of `turn_complete`.

use serde::{Deserialize, Serialize};

/// What a provider reported for one model call, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub input: u64,
    /// Part of `input` that was read from the provider's prompt cache.
    pub cached_input: u64,
    /// Generated tokens, reasoning included.
    pub output: u64,
    /// Part of `output` spent on reasoning that is never shown.
    pub reasoning: u64,
    /// True when no provider figure was available and the numbers are estimated from text lengths.
    pub estimated: bool,
}

impl Usage {
    /// An estimate from character counts: one token for each started group of four characters.
    #[must_use]
    pub fn estimate(prompt_chars: usize, answer_chars: usize) -> Self {
        Self {
            input: prompt_chars.div_ceil(4) as u64,
            output: answer_chars.div_ceil(4) as u64,
            estimated: true,
            ..Self::default()
        }
    }

    /// The sum over the model calls of a turn.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            cached_input: self.cached_input + other.cached_input,
            output: self.output + other.output,
            reasoning: self.reasoning + other.reasoning,
            estimated: self.estimated || other.estimated,
        }
    }

    /// The `usage` member of OpenAI answers.
    #[must_use]
    pub fn openai(self) -> OpenAiUsage {
        OpenAiUsage {
            prompt_tokens: self.input,
            completion_tokens: self.output,
            total_tokens: self.input + self.output,
            prompt_tokens_details: PromptTokensDetails { cached_tokens: self.cached_input },
            completion_tokens_details: CompletionTokensDetails { reasoning_tokens: self.reasoning },
        }
    }
}

/// `usage` as OpenAI answers carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAiUsage {
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Generated tokens.
    pub completion_tokens: u64,
    /// Their sum.
    pub total_tokens: u64,
    /// Break-down of the prompt.
    pub prompt_tokens_details: PromptTokensDetails,
    /// Break-down of the answer.
    pub completion_tokens_details: CompletionTokensDetails,
}

/// Break-down of prompt tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTokensDetails {
    /// Read from the provider's cache.
    pub cached_tokens: u64,
}

/// Break-down of generated tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletionTokensDetails {
    /// Spent on hidden reasoning.
    pub reasoning_tokens: u64,
}

/// The `token_usage` object (http-api §3.7). Input and cache figures describe the last model call of the turn, that is
/// how full the context is; output and cost are totals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Prompt tokens of the last call that were not cached.
    pub input_tokens: u64,
    /// Prompt tokens of the last call read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens of the last call written to the provider's cache.
    pub cache_creation_tokens: u64,
    /// Generated tokens of the whole turn.
    pub output_tokens: u64,
    /// Size of the model's window, in tokens.
    pub context_window: Option<u64>,
    /// Limit on generated tokens.
    pub max_output_tokens: Option<u64>,
    /// Cost of the turn in US dollars, when prices are configured.
    pub total_cost_usd: Option<f64>,
    /// True when the figures are estimates.
    #[serde(default)]
    pub estimated: bool,
}
