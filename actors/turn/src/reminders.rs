//! What a prompt reminds a bot of: memories and earlier messages that lie outside the present conversation.
//!
//! A conversation that has just begun is primed with memories. Later, when part of the past no longer fits into the
//! prompt, each prompt is searched for in what lies outside, so that a bot can say when something was said and by whom.
//! Nothing here can fail a turn or hold it up for long; what could not be searched is told as a warning.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use greenroom_memory::budget::memory_budget;
use greenroom_memory::context::{Fit, Rendering, fit_memories, render_episodes, render_memories};
use greenroom_memory::{Cast, MemoryHit, MemorySearch, MessageHit, MessageSearch, StoredMessage, TurnRecall, Vector};
use greenroom_protocol::Role;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::history::estimate;
use crate::past::{Past, scope};
use crate::pipeline::context_budget;
use crate::plan::TurnPlan;
use crate::prompt::{PromptBuilder, position};
use crate::turn::TurnShared;

/// Longest wait for the searches.
const WITHIN: Duration = Duration::from_millis(250);
/// Most memories of a prompt.
const MOST_MEMORIES: usize = 10;
/// Most earlier messages a prompt is reminded of.
const MOST_EPISODES: usize = 8;
/// A conversation with at most so many messages, the present one included, has just begun.
const JUST_BEGUN: usize = 3;
/// Share of the memory budget that memories may take beside earlier messages, in percent.
const MEMORY_SHARE: usize = 60;
/// Share of the best score below which an earlier message is not worth a place in the prompt.
const EPISODE_FLOOR: f64 = 0.6;

/// What was recalled and fits.
#[derive(Debug, Default)]
pub(crate) struct Reminders {
    memories: Vec<MemoryHit>,
    episodes: Vec<MessageHit>,
    just_begun: bool,
}

/// What the prompt means, being found out while the past is read. Nobody waits for it if it is not needed.
pub(crate) struct Meaning(Option<AbortOnDropHandle<Option<Vector>>>);

impl Meaning {
    /// Begins, if the turn may search at all.
    pub(crate) fn of(plan: &TurnPlan) -> Self {
        let text = plan.prompt.text.trim();
        let wanted = plan.augment_memory && plan.persona.requires_memory && !plan.home_mode && !text.is_empty();
        Self(wanted.then(|| {
            let (namespace, text) = (plan.namespace.clone(), text.to_owned());
            AbortOnDropHandle::new(tokio::spawn(async move { namespace.query_vector(&text, WITHIN).await }))
        }))
    }
}

/// Searches for what the prompt brings to mind.
pub(crate) async fn recall(shared: &TurnShared, past: &Past, meaning: Meaning) -> Reminders {
    let plan = &shared.plan;
    let text = plan.prompt.text.trim();
    let just_begun = past.said() < JUST_BEGUN;
    let outside = past.goes_on || !past.summaries.is_empty();
    let Some(meaning) = meaning.0.filter(|_| just_begun || outside) else { return Reminders::default() };
    let began = Instant::now();
    // Once for both searches.
    let vector = meaning.await.ok().flatten();
    let user = scope(plan).cloned();
    let memories = MemorySearch {
        limit: usize::try_from(plan.settings.memory_n_results).unwrap_or(MOST_MEMORIES).min(MOST_MEMORIES),
        min_relevance: Some(plan.settings.memory_min_relevance),
        user: user.clone(),
        vector: vector.clone(),
        count_access: false,
        settings: plan.settings.retrieval(),
        ..MemorySearch::new(text)
    };
    let (in_prompt, oldest) = in_prompt(shared, past);
    let zone = zone(shared, past);
    // A conversation that has just begun has nothing outside it; an agent has its own thread.
    let episodes = (outside && plan.persona.agent_backend.is_none()).then(|| MessageSearch {
        limit: MOST_EPISODES,
        vector,
        user,
        exclude: HashSet::from([plan.trigger.row_id(&plan.persona.slug)]),
        // What stands in the prompt is the newest there is.
        until: oldest,
        cast: Cast {
            user: past.profiles.as_ref().and_then(|profiles| profiles.user.display_name.clone()),
            bot: Some(plan.persona.name.clone()),
            zone: zone.clone(),
        },
        now: Some(shared.started_at),
        ..MessageSearch::new(text)
    });
    let memories = (memories.limit > 0).then_some(memories);
    let wish = TurnRecall { memories, episodes, within: WITHIN };
    let recalled = plan.namespace.recall_for_turn(wish).await;
    metrics::histogram!("greenroom_retrieval_seconds").record(began.elapsed());
    if let Some(why) = &recalled.incomplete {
        tracing::debug!(why, bot = %plan.persona.slug, "recall is incomplete");
    }
    let budget = budget(shared, past);
    let share = if recalled.episodes.is_empty() { budget } else { budget * MEMORY_SHARE / 100 };
    let fit = Fit { budget_tokens: share, in_prompt: &in_prompt, asked_with_newest: true };
    let memories = fit_memories(recalled.memories, fit);
    plan.namespace.count_access(memories.iter().map(|hit| hit.memory.id));
    let floor = recalled.episodes.first().map_or(0.0, |best| best.score * EPISODE_FLOOR);
    let episodes = recalled.episodes.into_iter().filter(|hit| hit.score >= floor).collect();
    Reminders { memories, episodes, just_begun }
}

/// Tokens for all reminders together.
fn budget(shared: &TurnShared, past: &Past) -> usize {
    let known = past.profiles.as_ref();
    let texts = known.map(|profiles| profiles.user.text.len() + profiles.bot.text.len()).unwrap_or_default();
    let percent = shared.plan.settings.memory_max_token_percent;
    memory_budget(context_budget(&shared.plan), percent, texts.div_ceil(4))
}

/// The stored messages that will stand in the prompt themselves, the newest ones that fit the budget, and the time of the
/// oldest among them.
fn in_prompt(shared: &TurnShared, past: &Past) -> (HashSet<Uuid>, Option<Timestamp>) {
    let mut left = context_budget(&shared.plan);
    let cap = usize::try_from(shared.plan.settings.max_context_messages).ok().filter(|cap| *cap > 0);
    let newest = past.messages.iter().rev().take(cap.unwrap_or(usize::MAX)).take_while(|message| {
        let cost = estimate(message);
        let fits = cost <= left;
        left = left.saturating_sub(cost);
        fits
    });
    let mut oldest = None;
    let newest = newest.inspect(|message| oldest = message.timestamp.or(oldest));
    let ids = newest.filter_map(|message| message.db_id.as_deref()?.parse().ok()).collect();
    #[expect(clippy::cast_possible_truncation, reason = "microseconds of our own clock")]
    let oldest = oldest.and_then(|seconds| Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok());
    (ids, oldest)
}

/// The user's own time zone, else the bot's, else the service's.
pub(crate) fn zone(shared: &TurnShared, past: &Past) -> TimeZone {
    let user = past.profiles.as_ref().and_then(|profiles| profiles.user.timezone.as_deref());
    let named = user.or(shared.plan.settings.timezone.as_deref());
    named.and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(TimeZone::system)
}

impl Reminders {
    /// Adds the sections.
    pub(crate) fn add_to(&self, prompt: &mut PromptBuilder, shared: &TurnShared, past: &Past) {
        let plan = &shared.plan;
        let name = past.profiles.as_ref().and_then(|profiles| profiles.user.display_name.as_deref());
        let rendering = Rendering { name, now: shared.started_at, zone: zone(shared, past), ids: false };
        let memories = render_memories(&self.memories, &rendering);
        let left = budget(shared, past).saturating_sub(memories.len().div_ceil(4));
        let speaker = |message: &StoredMessage| match message.role {
            Role::Assistant => plan.persona.name.clone(),
            _ if message.user.as_ref() == Some(&plan.user) => name.unwrap_or("the user").to_owned(),
            _ => message.user.as_ref().map_or_else(|| "the user".to_owned(), ToString::to_string),
        };
        let episodes = render_episodes(&self.episodes, &rendering, &speaker, left);
        if self.just_begun {
            prompt.add("cold_start_memory", position::MEMORY_CONTEXT, &memories);
        } else {
            prompt.add("memory_context", position::REMINDERS, &memories);
        }
        prompt.add("recalled_messages", position::REMINDERS, &episodes);
    }

    /// What the turn log notes of them.
    pub(crate) fn snapshot(&self, past: &Past) -> Value {
        let memories: Vec<Value> = self
            .memories
            .iter()
            .map(|hit| json!({"id": hit.memory.id, "relevance": hit.relevance, "parts": hit.parts}))
            .collect();
        let episodes: Vec<Value> =
            self.episodes.iter().map(|hit| json!({"id": hit.message.id, "score": hit.score})).collect();
        let summaries: Vec<Uuid> = past.summaries.iter().map(|summary| summary.id).collect();
        let profiles = past.profiles.as_ref();
        json!({
            "memories": memories,
            "messages": episodes,
            "summaries": summaries,
            "profiles": profiles.map(|it| json!({"user": it.user.version, "bot": it.bot.version})),
        })
    }
}
