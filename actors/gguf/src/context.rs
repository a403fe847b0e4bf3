//! How long a context a model gets: as long as it was trained for, as was wished, and as fits into memory.

use crate::error::GgufError;
use crate::facts::Facts;
use crate::model::BATCH;

/// Contexts come in steps of so many tokens.
const STEP: u64 = 1024;
/// Fewer tokens than these are no use, unless fewer were wished for or trained.
const LEAST: u64 = 2048;
/// More are not taken without a wish.
const MOST: u64 = 131_072;

/// Tokens of context for a model: at most those it was trained for, at most those wished for, and at most those whose
/// keys and values fit into `memory` bytes beside the weights and the buffers. Without `memory`, nobody asks whether it
/// fits.
///
/// # Errors
///
/// [`GgufError::TooBig`] when not even the smallest useful context fits.
pub fn plan_context(facts: &Facts, wish: Option<u32>, memory: Option<u64>) -> Result<u32, GgufError> {
    let cap = u64::from(facts.context_length).min(wish.map_or(MOST, u64::from).max(1));
    let Some(available) = memory else { return Ok(narrow(cap)) };
    let per_token = facts.kv_bytes_per_token.max(1);
    let fixed = facts.file_bytes.saturating_add(buffers(facts));
    let least = cap.min(LEAST);
    let needed = fixed.saturating_add(per_token.saturating_mul(least));
    if needed > available {
        return Err(GgufError::TooBig { needed, available });
    }
    let fits = (available - fixed) / per_token;
    Ok(narrow(if fits >= cap { cap } else { (fits / STEP * STEP).max(least) }))
}

/// Bytes for what flows through a batch, in every thread; generously.
fn buffers(facts: &Facts) -> u64 {
    let attention = u64::from(facts.heads) * u64::from(facts.head_dim);
    let row = 4 * u64::from(facts.hidden) + 4 * attention + 4 * u64::from(facts.feed_forward);
    let batch = BATCH as u64 * row * 4 * 2;
    batch + u64::from(facts.vocabulary) * 4 * 4 + (32 << 20)
}

fn narrow(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

/// Bytes of memory that the machine, and the control group that this process is in, still have; where they tell.
#[must_use]
pub fn available_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)?;
    let number =
        |file: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok()?.trim().parse::<u64>().ok();
    let group = number("memory.max").zip(number("memory.current")).map(|(most, used)| most.saturating_sub(used));
    Some(group.map_or(machine, |group| group.min(machine)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;

    fn facts() -> Facts {
        Facts {
            architecture: Architecture::Llama,
            name: None,
            quantization: "q8_0".into(),
            parameters: 8_000_000_000,
            context_length: 32_768,
            layers: 32,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            hidden: 4096,
            feed_forward: 14_336,
            vocabulary: 128_000,
            file_bytes: 8_500_000_000,
            kv_bytes_per_token: 131_072,
            chat_template: None,
        }
    }

    #[test]
    fn a_context_is_as_long_as_training_wish_and_memory_allow() {
        let facts = facts();
        assert_eq!(plan_context(&facts, None, None), Ok(32_768));
        assert_eq!(plan_context(&facts, Some(4096), Some(1 << 40)), Ok(4096));
        assert_eq!(plan_context(&facts, Some(1 << 20), Some(1 << 40)), Ok(32_768));
        let room = facts.file_bytes + buffers(&facts) + 131_072 * 10_000;
        assert_eq!(plan_context(&facts, None, Some(room)), Ok(9 * 1024));
    }

    #[test]
    fn a_model_too_big_for_memory_is_refused_before_it_is_loaded() {
        let facts = facts();
        let error = plan_context(&facts, None, Some(8 << 30)).expect_err("too big");
        assert!(matches!(error, GgufError::TooBig { needed, available } if needed > available));
        // A small wish makes do with less.
        let room = facts.file_bytes + buffers(&facts) + 131_072 * 512;
        assert_eq!(plan_context(&facts, Some(512), Some(room)), Ok(512));
        assert!(plan_context(&facts, Some(1024), Some(room)).is_err());
    }

    #[test]
    fn the_machine_tells_its_memory() {
        if std::path::Path::new("/proc/meminfo").exists() {
            assert!(available_memory().is_some_and(|bytes| bytes > 0));
        }
    }
}
