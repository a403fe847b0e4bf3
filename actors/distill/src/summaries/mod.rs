//! The summariser: what leaves a bot's context budget is covered by a summary.
//!
//! A run takes stale summaries first, then what is due, oldest first, then makeshift summaries that a model can do better,
//! then roll-ups. Each conversation is read, written by a model (or by rule) with no transaction open, and stored in one
//! transaction that checks that its messages are still there and uncovered. One run per bot at a time. A failure of one
//! conversation is told in the result and stops nothing. Deliberately absent: SQL and the decision what is due, which are
//! the memory room's.

mod answer;
mod format;
mod heuristic;
mod limits;
mod pass;
mod quality;
mod rebuild;
mod roll_up;
mod view;
mod writer;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use greenroom_kit::lock;
use greenroom_memory::summaries::{Rules, SummaryError};
use greenroom_prompts::Prompts;
use greenroom_protocol::{BotSlug, ErrorClass};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use rebuild::RebuildOptions;
pub use view::{Preview, PreviewSession};

use self::pass::{Job, Pass};
use crate::{BotBrief, Completer, ModelError, Models, Work};

/// Stale and makeshift summaries that one run takes on.
const MOST_REDONE: i64 = 50;
/// Messages in a piece of work are planned anew this often when they change meanwhile.
const MOST_TRIES: usize = 2;
/// Most errors that a result lists; the rest is counted.
const MOST_ERRORS: usize = 50;

/// What is the same for all bots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummarySettings {
    /// `SUMMARIZATION_ROLLUP_AFTER`: more summaries than this and the oldest are folded into a roll-up; 0 means never.
    pub rollup_after: usize,
    /// So many at a time.
    pub rollup_size: usize,
    /// `SUMMARIZATION_QUALITY_RETRY`: ask once more for a summary that says too little.
    pub quality_retry: bool,
}

impl Default for SummarySettings {
    fn default() -> Self {
        Self { rollup_after: 20, rollup_size: 10, quality_retry: false }
    }
}

/// How a run goes about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Whether a summary by rule is stored where no model answers; else the messages stay as they are.
    pub use_heuristic: bool,
    /// The model that the request names.
    pub model: Option<String>,
    /// Somebody waits for it: longer answers, and several conversations per call where the model's window is large.
    pub on_demand: bool,
    /// Tokens per chunk of a long conversation; absent means by the model's window.
    pub max_tokens_per_chunk: Option<usize>,
}

/// What a run or a rebuild did (http-api.md §10.4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SummarizeResult {
    /// The work was gone through to its end; look at `errors`.
    pub success: bool,
    /// Conversations that have a new summary.
    pub sessions_summarized: usize,
    /// Their messages.
    pub messages_summarized: usize,
    /// Conversations that were to have one.
    pub sessions_targeted: usize,
    /// Summaries that were written again or gave way to others.
    pub summaries_replaced: usize,
    /// Summaries deleted without a replacement.
    pub summaries_purged: usize,
    /// Roll-ups written.
    pub roll_ups: usize,
    /// What went wrong, by conversation.
    pub errors: Vec<String>,
}

impl SummarizeResult {
    /// Why a job that had this result failed, if it did: nothing was done though something was to be.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        let done = self.sessions_summarized + self.roll_ups;
        self.errors.first().filter(|_| done == 0).map(String::as_str)
    }
}

/// Why the summariser did not begin, or broke off.
#[derive(Debug, thiserror::Error)]
pub enum SummarizeError {
    /// It is at work on this bot already.
    #[error("summaries of this bot are being written already")]
    Busy,
    /// The model that the request names cannot be used.
    #[error(transparent)]
    Model(ModelError),
    /// The memory room.
    #[error(transparent)]
    Summary(#[from] SummaryError),
}

impl SummarizeError {
    /// The class under which a client learns of it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Busy => ErrorClass::Conflict,
            Self::Model(error) => error.class(),
            Self::Summary(error) => error.class(),
        }
    }
}

/// The summariser of all bots. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Summaries {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    models: Models,
    prompts: Prompts,
    settings: SummarySettings,
    at_work: Mutex<HashSet<BotSlug>>,
}

/// Keeps a second run of the same bot out until it is dropped.
struct Flight<'a> {
    shared: &'a Shared,
    bot: &'a BotSlug,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        lock(&self.shared.at_work).remove(self.bot);
    }
}

impl Summaries {
    /// A summariser that finds its models and prompts there.
    #[must_use]
    pub fn new(models: Models, prompts: Prompts, settings: SummarySettings) -> Self {
        Self { shared: Arc::new(Shared { models, prompts, settings, at_work: Mutex::default() }) }
    }

    fn enter<'a>(&'a self, bot: &'a BotSlug) -> Result<Flight<'a>, SummarizeError> {
        let entered = lock(&self.shared.at_work).insert(bot.clone());
        if entered { Ok(Flight { shared: &self.shared, bot }) } else { Err(SummarizeError::Busy) }
    }

    /// Covers what is due, writes stale summaries again, improves makeshift ones, folds old ones.
    ///
    /// # Errors
    /// [`SummarizeError`]; what was stored before a failure of the database stays stored.
    pub async fn run(
        &self,
        brief: &BotBrief,
        options: &RunOptions,
        cancel: &CancellationToken,
    ) -> Result<SummarizeResult, SummarizeError> {
        let _flight = self.enter(&brief.slug)?;
        let mut pass = self.pass(brief, options, cancel)?;
        // Those of this very run come later: the model has just failed over them.
        let makeshift = pass.makeshift().await?;
        pass.refresh_stale().await?;
        self.cover_what_is_due(brief, &mut pass).await?;
        pass.redo(makeshift).await?;
        pass.roll_up(&self.shared.settings).await?;
        let result = pass.finish();
        if result.sessions_targeted > 0 || !result.errors.is_empty() {
            tracing::info!(
                bot = brief.slug.as_str(),
                sessions = result.sessions_summarized,
                messages = result.messages_summarized,
                failed = result.errors.len(),
                "summaries written"
            );
        }
        Ok(result)
    }

    async fn cover_what_is_due(&self, brief: &BotBrief, pass: &mut Pass) -> Result<(), SummarizeError> {
        let rules = rules(brief);
        let mut failed: HashSet<Uuid> = HashSet::new();
        let mut tried: std::collections::HashMap<Uuid, usize> = std::collections::HashMap::new();
        while !pass.is_cancelled() {
            let due = brief.namespace.eligible_sessions(&rules, &failed).await?;
            if due.is_empty() {
                break;
            }
            let keys: Vec<Uuid> = due.iter().filter_map(|session| session.rows.first().map(|row| row.id)).collect();
            let jobs = due.into_iter().map(Job::fresh).collect();
            let left = pass.work(jobs).await?;
            for key in keys {
                let tries = tried.entry(key).or_default();
                *tries += 1;
                // What was not covered is tried again only when its messages had changed, and not for ever.
                if left.failed.contains(&key) || *tries >= MOST_TRIES {
                    failed.insert(key);
                }
            }
        }
        Ok(())
    }

    /// Whether a run would find something to do: `Err` says why not. It asks exactly what the run asks.
    ///
    /// # Errors
    /// [`SummarizeError::Summary`].
    pub async fn gate(&self, brief: &BotBrief) -> Result<Result<(), String>, SummarizeError> {
        if !brief.requires_memory {
            return Ok(Err("the bot has no memory".into()));
        }
        if !brief.namespace.eligible_sessions(&rules(brief), &HashSet::new()).await?.is_empty() {
            return Ok(Ok(()));
        }
        let keep = i64::try_from(self.shared.settings.rollup_after).unwrap_or(i64::MAX);
        let waiting = brief.namespace.summaries_waiting(brief.settings.history_per_user, keep).await?;
        let has_model = || self.choose(brief, None).is_ok();
        let for_models = waiting.makeshift + waiting.stale_roll_ups > 0 || (keep > 0 && waiting.roll_up > 0);
        Ok(if waiting.stale > 0 || (for_models && has_model()) {
            Ok(())
        } else {
            Err("nothing leaves the context budget".into())
        })
    }

    /// The conversations that a run would summarise now, as people see them.
    ///
    /// # Errors
    /// [`SummarizeError::Summary`].
    pub async fn preview(&self, brief: &BotBrief) -> Result<Preview, SummarizeError> {
        Ok(view::preview(brief, &rules(brief)).await?)
    }

    fn choose(&self, brief: &BotBrief, model: Option<&str>) -> Result<Completer, ModelError> {
        self.shared.models.choose(Work::Summaries, model, brief.summarize_model.as_deref())
    }

    /// Prepares a pass: with the model that the request names or an error, else with any or none.
    fn pass(&self, brief: &BotBrief, options: &RunOptions, cancel: &CancellationToken) -> Result<Pass, SummarizeError> {
        let named = options.model.as_deref().is_some_and(|name| !name.trim().is_empty());
        let completer = match self.choose(brief, options.model.as_deref()) {
            Ok(completer) => Ok(completer),
            Err(error) if named => return Err(SummarizeError::Model(error)),
            Err(error) => Err(error),
        };
        Ok(Pass::new(&self.shared, brief, options, completer, cancel))
    }
}

/// The rules of eligibility for a bot. A bot without memory shows its model no stored history, so nothing leaves it.
pub(crate) fn rules(brief: &BotBrief) -> Rules {
    Rules {
        budget: if brief.requires_memory { brief.context_budget } else { 0 },
        protected_turns: brief.settings.protected_turns,
        session_gap: brief.settings.session_gap,
        min_messages: brief.settings.min_messages,
        per_user: brief.settings.history_per_user,
    }
}

/// A moment for error texts.
pub(crate) fn told(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
