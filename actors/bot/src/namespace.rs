//! The name of a bot's tables, computed once when the bot is created.
//!
//! Invariant: no two bots that exist or existed unpurged share a name, and no name makes a table that collides with a
//! shared one. Deliberately absent: any way to choose a name.

use std::fmt::Write as _;

use greenroom_protocol::BotSlug;
use sha2::{Digest, Sha256};

/// Most bytes of the slug in a name; with the suffix it stays inside what the memory room accepts.
const CUT: usize = 40;

/// Names that shared tables begin with, or that would read as one.
const RESERVED: &[&str] = &[
    "default",
    "agent",
    "assistant",
    "bot",
    "bridge",
    "event",
    "forgotten",
    "job",
    "media",
    "memories",
    "memory",
    "message",
    "messages",
    "model",
    "pg",
    "profile",
    "profiles",
    "prompt",
    "raw",
    "refinery",
    "runtime",
    "scheduled",
    "session",
    "sessions",
    "summaries",
    "summary",
    "system",
    "task",
    "tool",
    "turn",
    "user",
];

/// What remains of a slug as a table prefix: the characters `[a-z0-9_]`. Two bots with equal prefixes look alike to
/// everything that still derives tables from slugs, so the second one is refused.
#[must_use]
pub fn table_prefix(slug: &BotSlug) -> String {
    let kept = slug.as_str().chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_');
    let kept: String = kept.collect();
    if kept.is_empty() { "default".into() } else { kept }
}

/// The name for a new bot. `is_taken` knows the names of all other bots, tombstones included.
pub fn namespace_for(slug: &BotSlug, is_taken: impl Fn(&str) -> bool) -> String {
    let mut base = table_prefix(slug);
    base.truncate(CUT);
    let free = |name: &str| !RESERVED.contains(&name) && !is_taken(name);
    if free(&base) {
        return base;
    }
    let digest = Sha256::digest(slug.as_str().as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    // Six digits are enough unless somebody built a slug to collide; then longer ones are.
    let suffixed = |digits: usize| {
        let head: String = base.chars().take(46 - digits).collect();
        format!("{head}_{}", &digest[..digits])
    };
    [6, 12, 24].into_iter().map(suffixed).find(|name| free(name)).unwrap_or_else(|| suffixed(40))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(slug: &str, taken: &[&str]) -> String {
        namespace_for(&BotSlug::from_stored(slug), |name| taken.contains(&name))
    }

    #[test]
    fn ordinary_slugs_name_themselves() {
        assert_eq!(name("nova", &[]), "nova");
        assert_eq!(name("my-bot", &[]), "mybot");
        assert_eq!(name("nova_forgotten", &["nova"]), "nova_forgotten");
    }

    #[test]
    fn taken_and_reserved_names_get_a_suffix() {
        let second = name("my-bot", &["mybot"]);
        assert!(second.starts_with("mybot_") && second.len() == 12, "{second}");
        assert_eq!(second, name("my-bot", &["mybot"]));
        assert!(name("default", &[]).starts_with("default_"));
        assert_ne!(name("my-bot", &["mybot", &second]), second);
    }

    proptest! {
        #[test]
        fn names_fit_and_are_free(slug in "[a-z0-9][a-z0-9_-]{0,63}", other in "[a-z0-9][a-z0-9_-]{0,63}") {
            prop_assume!(slug != other);
            let first = name(&slug, &[]);
            let second = name(&other, &[&first]);
            prop_assert_ne!(&first, &second);
            for name in [first, second] {
                prop_assert!(greenroom_memory::NamespaceName::from_profile(&name).is_some(), "{}", name);
            }
        }
    }
}
