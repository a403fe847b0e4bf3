//! What the door hands to every request: the rooms and the state of the whole. Built once, shared by all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use greenroom_bot::{Bot, Bots};
use greenroom_distill::summaries::Summaries;
use greenroom_distill::{BotBrief, Decay, Distill, DistillSettings};
use greenroom_embedder::Embedder;
use greenroom_kit::Board;
use greenroom_mcp::Mcp;
use greenroom_memory::{Memory, RetrievalSettings};
use greenroom_profile::Profiles;
use greenroom_prompts::Prompts;
use greenroom_provider::Providers;
use greenroom_scheduler::Scheduler;
use greenroom_store::Store;
use greenroom_turn::{HistoryScope, Turns};
use greenroom_web::Web;

use crate::config::Config;
use crate::http::accept::Connections;
use crate::http::admission::Admission;
use crate::http::front::Front;
use crate::http::status::StatusCache;

/// The rooms and what belongs to all of them.
pub struct House {
    /// The database.
    pub store: Store,
    /// Models.
    pub providers: Providers,
    /// Texts to vectors.
    pub embedder: Embedder,
    /// What bots remember.
    pub memory: Memory,
    /// What is known about users and bots.
    pub profiles: Profiles,
    /// Prompt templates.
    pub prompts: Prompts,
    /// Facts, merging, tidying, portraits.
    pub distill: Distill,
    /// Summaries.
    pub summaries: Summaries,
    /// When all that runs.
    pub scheduler: Scheduler,
    /// The world outside.
    pub web: Web,
    /// Other servers with tools.
    pub mcp: Mcp,
    /// Bots.
    pub bots: Bots,
    /// Turns.
    pub turns: Turns,
    /// Room for turns.
    pub admission: Admission,
    /// Open connections.
    pub connections: Arc<Connections>,
    pub(crate) status: StatusCache,
    pub(crate) front: Front,
    pub(crate) board: Board,
    pub(crate) config: Config,
    pub(crate) draining: AtomicBool,
    pub(crate) began: Instant,
}

impl House {
    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How a bot's memories are weighed.
    #[must_use]
    pub fn retrieval(&self, bot: &Bot) -> RetrievalSettings {
        bot.turn_settings.retrieval()
    }

    /// A bot as the work behind the scenes sees it.
    #[must_use]
    pub fn brief(&self, bot: &Bot) -> BotBrief {
        brief(&self.bots, bot)
    }

    /// What requests pass through.
    #[must_use]
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// Who is alive.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// How long the server has been up.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether the server is going down and takes no new work.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }
}

/// A bot as the work behind the scenes sees it.
pub(crate) fn brief(bots: &Bots, bot: &Bot) -> BotBrief {
    let (turn, own, or) = (&bot.turn_settings, &bot.settings, DistillSettings::default());
    let count = |key: &str, or: usize| own.count(key).and_then(|n| usize::try_from(n).ok()).unwrap_or(or);
    #[expect(clippy::cast_possible_truncation, reason = "a share between 0 and 1")]
    let settings = DistillSettings {
        session_gap: turn.session_gap(),
        min_messages: count("summarization_min_messages_per_session", or.min_messages),
        protected_turns: usize::try_from(turn.memory_protected_recent_turns).unwrap_or(or.protected_turns),
        history_per_user: bot.character().history_scope == HistoryScope::User,
        dedup_similarity: own.number("memory_dedup_similarity").map_or(or.dedup_similarity, |share| share as f32),
        decay: Decay {
            enabled: turn.memory_decay_enabled,
            half_life_days: turn.memory_decay_half_life_days,
            access_boost: turn.memory_access_boost_factor,
        },
        summarization_batch_size: count("summarization_batch_size", or.summarization_batch_size),
        summarization_batch_concurrency: count("summarization_batch_concurrency", or.summarization_batch_concurrency),
    };
    BotBrief {
        slug: bot.slug().clone(),
        namespace: bots.namespace(bot),
        name: bot.character().name.clone(),
        user: bots.user_or_default(None),
        requires_memory: bot.character().requires_memory,
        context_budget: bots.context_budget(bot),
        settings,
        summarize_model: own.text("summarize_model_override").map(str::to_owned),
    }
}
