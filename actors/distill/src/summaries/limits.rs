//! How much goes into one call of the summariser: pure arithmetic over the model's window (memory.md §13.3).

/// Tokens that the prompt's own text takes.
const INSTRUCTIONS: usize = 800;
/// From this window on, whole conversations go into one call, several at once.
const LARGE_WINDOW: u64 = 200_000;

/// Sizes of a call, in estimated tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most tokens of conversation in one call.
    pub(crate) call: usize,
    /// Longer conversations are cut into chunks of this size.
    pub(crate) chunk: usize,
    /// Whether several conversations may share a call.
    pub(crate) batches: bool,
}

/// The limits for a model with this window and output limit; `wish` is the caller's own chunk size.
pub(crate) fn limits(window: u64, output: u32, wish: Option<usize>) -> Limits {
    let size = usize::try_from(window).unwrap_or(usize::MAX);
    let rule = size.saturating_sub(512 + (size / 20).max(2048)).clamp(6_000, 512_000);
    // The rule's lower end is above what a small window holds.
    let fits = size.saturating_sub(output as usize + 512);
    let prompt = rule.min(fits);
    let call = prompt.saturating_sub(INSTRUCTIONS).max(128);
    let wish = wish.filter(|wish| *wish > 0);
    let chunk = match wish {
        Some(wish) => wish.max(64),
        None if window >= LARGE_WINDOW => call,
        None => (prompt * 7 / 10).clamp(4_000, 64_000),
    };
    Limits { call, chunk: chunk.min(call), batches: wish.is_none() && window >= LARGE_WINDOW }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_window() {
        assert_eq!(limits(32_768, 520, Some(4_000)).chunk, 4_000);
        let hosted = limits(128_000, 520, None);
        assert_eq!((hosted.chunk, hosted.batches), (64_000, false));
        let large = limits(1_000_000, 520, None);
        assert_eq!((large.call, large.chunk, large.batches), (511_200, 511_200, true));
        for window in [0, 1, 512, 2_048, 4_096, 8_000, u64::MAX] {
            let limits = limits(window, 520, Some(4_000));
            assert!(limits.chunk <= limits.call && limits.chunk > 0);
            assert!(window < 2_048 || limits.call as u64 + 1_032 < window, "{window} {limits:?}");
        }
    }
}
