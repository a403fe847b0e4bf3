//! Reading token counts, as OpenAI and those who follow it spell them.

use greenroom_protocol::Usage;
use serde_json::Value;

/// Token counts under any of the names in use; counts of nothing are no report.
pub(crate) fn read_usage(usage: &Value) -> Option<Usage> {
    let count = |names: &[&str]| {
        let mut values = names.iter().filter_map(|path| path.split('.').try_fold(usage, |value, name| value.get(name)));
        values.find_map(whole_number).unwrap_or(0)
    };
    let read = Usage {
        input: count(&["prompt_tokens", "input_tokens"]),
        cached_input: count(&[
            "prompt_tokens_details.cached_tokens",
            "input_tokens_details.cached_tokens",
            "prompt_cache_hit_tokens",
            "cached_tokens",
        ]),
        output: count(&["completion_tokens", "output_tokens"]),
        reasoning: count(&[
            "completion_tokens_details.reasoning_tokens",
            "output_tokens_details.reasoning_tokens",
            "reasoning_tokens",
        ]),
        estimated: false,
    };
    (read.input > 0 || read.output > 0).then_some(read)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "guarded: finite, not negative, small")]
fn whole_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|n| (0.0..1e15).contains(n)).map(|n| n as u64))
}
