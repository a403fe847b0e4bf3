//! What texts cost and how much a prompt may hold: the one estimate that the turn, the summariser and the scheduler's
//! probes share, so that what one of them counts as overflow is what another drops. Pure. Deliberately absent: exact
//! tokenizers; every model has its own.

/// Tokens that a message costs beside its text.
pub const FRAME_TOKENS: usize = 4;
/// Bytes that count as one token.
const BYTES_PER_TOKEN: usize = 4;

/// Estimated tokens of a text: one for each started group of four bytes, which also counts scripts with long encodings
/// for what they cost. In SQL: `(octet_length(content) + 3) / 4`.
#[must_use]
pub fn estimate_text(text: &str) -> usize {
    text.len().div_ceil(BYTES_PER_TOKEN)
}

/// Estimated tokens of a message of this text: the text and its frame. In SQL: `(octet_length(content) + 3) / 4 + 4`.
#[must_use]
pub fn estimate_row(text: &str) -> usize {
    estimate_text(text) + FRAME_TOKENS
}

/// Tokens that a bot's prompt may have: what the bot is set to, else the model's window less what is kept for the answer,
/// but a quarter of the window in any case.
/// A setting larger than that is cut to it; 0 and `None` both mean "not set".
#[must_use]
pub fn context_budget(max_context_tokens: Option<usize>, window: usize, max_output: usize) -> usize {
    let room = window.saturating_sub(max_output).max(window / 4);
    max_context_tokens.filter(|tokens| *tokens > 0).map_or(room, |tokens| tokens.min(room))
}

/// Tokens that recalled memories may take: `percent` of the prompt's budget, less what the profile sections cost.
#[must_use]
pub fn memory_budget(context_budget: usize, percent: u32, profile_tokens: usize) -> usize {
    let percent = usize::try_from(percent.min(100)).unwrap_or(100);
    (context_budget / 100 * percent + context_budget % 100 * percent / 100).saturating_sub(profile_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cost_a_token_for_every_four_bytes() {
        assert_eq!((estimate_text(""), estimate_text("abcd"), estimate_text("abcde")), (0, 1, 2));
        assert_eq!(estimate_text("日本"), 2);
        assert_eq!(estimate_row("abcd"), 5);
    }

    #[test]
    fn a_budget_never_exceeds_the_window() {
        assert_eq!(context_budget(None, 32_000, 4_000), 28_000);
        assert_eq!(context_budget(Some(0), 32_000, 4_000), 28_000);
        assert_eq!(context_budget(Some(8_000), 32_000, 4_000), 8_000);
        assert_eq!(context_budget(Some(80_000), 32_000, 4_000), 28_000);
        assert_eq!(context_budget(None, 1_000, 4_000), 250);
    }

    #[test]
    fn memories_get_their_share() {
        assert_eq!(memory_budget(12_000, 30, 0), 3_600);
        assert_eq!(memory_budget(12_000, 30, 600), 3_000);
        assert_eq!(memory_budget(1_000, 30, 600), 0);
        assert_eq!(memory_budget(150, 50, 0), 75);
        assert_eq!(memory_budget(100, 400, 0), 100);
    }
}
