//! What background work needs to know about a bot. The front door makes these from the bots' profiles and settings, so
//! that nothing here knows the bot room.

use std::time::Duration;

use greenroom_memory::Namespace;
use greenroom_protocol::{BotSlug, UserId};

/// One bot as background work sees it.
#[derive(Debug, Clone)]
pub struct BotBrief {
    /// Its slug.
    pub slug: BotSlug,
    /// Its memory.
    pub namespace: Namespace,
    /// Its display name.
    pub name: String,
    /// Whom facts are about when a message names nobody; never the technical `system`.
    pub user: UserId,
    /// A bot without memory has nothing extracted, summarised or tidied.
    pub requires_memory: bool,
    /// Tokens of history that fit its prompt.
    pub context_budget: usize,
    /// Its tunables.
    pub settings: DistillSettings,
    /// Its own model for background work, before the service's.
    pub summarize_model: Option<String>,
}

/// Tunables of background work, resolved for one bot.
#[derive(Debug, Clone, PartialEq)]
pub struct DistillSettings {
    /// Silence that ends a session.
    pub session_gap: Duration,
    /// Messages that make a session worth a summary of its own.
    pub min_messages: usize,
    /// Newest turns that are never summarised.
    pub protected_turns: usize,
    /// Whether each user has a history of their own with this bot.
    pub history_per_user: bool,
    /// Cosine similarity above which two memories are one, 0 to 1.
    pub dedup_similarity: f32,
    /// How memories fade.
    pub decay: Decay,
    /// Sessions per batch call of the summariser.
    pub summarization_batch_size: usize,
    /// Batch calls of the summariser at once.
    pub summarization_batch_concurrency: usize,
}

impl Default for DistillSettings {
    fn default() -> Self {
        Self {
            session_gap: Duration::from_secs(3600),
            min_messages: 2,
            protected_turns: 3,
            history_per_user: false,
            dedup_similarity: 0.85,
            decay: Decay::default(),
            summarization_batch_size: 5,
            summarization_batch_concurrency: 3,
        }
    }
}

/// How memories fade (memory.md §6.1, §10).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decay {
    /// Whether they fade at all.
    pub enabled: bool,
    /// Days after which half is left, before the primary tag's multiplier.
    pub half_life_days: f64,
    /// What each recall adds, times ln(1 + recalls).
    pub access_boost: f64,
}

impl Default for Decay {
    fn default() -> Self {
        Self { enabled: true, half_life_days: 90.0, access_boost: 0.15 }
    }
}
