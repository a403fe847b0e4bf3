//! Facts from conversations and summaries (memory.md §8).
//!
//! A window of messages is claimed, read by a model, compared with what is known, and committed: memories, supersedes,
//! profile attributes, the messages' states and a row of the record, all in one transaction that holds only while the
//! claim does. What fails gives the claim back and is tried again later; nothing counts as read that was not.

mod attributes;
mod compare;
mod facts;
mod heuristic;
mod line;
mod secrets;
mod settle;
mod summary;
mod tool;

use greenroom_memory::upkeep::{ExtractionOutcome, ExtractionRecord, ExtractionSource, Window};
use greenroom_protocol::{Role, UserId};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::facts::{Dropped, Fact};
pub(crate) use self::secrets::is_secret;
use self::settle::{Found, Origin, Settled};
pub use self::summary::SummaryExtractionResult;
pub use self::tool::{FactsExtracted, ToolFact, ToolMessage};
use crate::brief::BotBrief;
use crate::completer::Completer;
use crate::distill::Distill;
use crate::error::DistillError;
use crate::model::{ModelError, Work};

/// A window whose user says less than this, in characters, holds no fact.
const LEAST_SAID: usize = 12;
/// Tokens that a list of facts may take.
const FACT_TOKENS: u32 = 2000;
/// Failing windows after which a run gives up: the fault is hardly theirs.
const MOST_FAILURES: usize = 2;
/// The technical user, which nothing is about.
const SYSTEM_USER: &str = "system";

/// How messages are to be read for facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtractOptions {
    /// Most messages of one window, 1 to 500.
    pub batch_size: usize,
    /// The model, by alias.
    pub model: Option<String>,
    /// Without it, rules decide.
    pub use_llm: bool,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self { batch_size: 50, model: None, use_llm: true }
    }
}

/// What came of a run, in the task's shape (http-api.md §14).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExtractionResult {
    /// Whose messages.
    pub bot_id: String,
    /// Nothing was done, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<bool>,
    /// Why nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Messages that were claimed.
    pub messages_found: usize,
    /// Facts that were found and passed the checks.
    pub facts_extracted: usize,
    /// Memories that came of them.
    pub facts_stored: usize,
    /// `llm`, `heuristic` or `none`.
    pub extraction_method: &'static str,
    /// Facts that were dropped by a check.
    pub facts_dropped: usize,
    /// Memories that were superseded or buried.
    pub memories_superseded: usize,
    /// Profile attributes that were written.
    pub attributes_written: usize,
    /// Windows that were read to the end.
    pub windows: usize,
    /// Why the run ended early; what it had committed stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ExtractionResult {
    fn new(brief: &BotBrief, method: &'static str) -> Self {
        Self { bot_id: brief.slug.to_string(), extraction_method: method, ..Self::default() }
    }

    fn skipped(brief: &BotBrief, reason: impl Into<String>) -> Self {
        Self { skipped: Some(true), reason: Some(reason.into()), ..Self::new(brief, "none") }
    }

    fn add(&mut self, settled: &Settled) {
        self.windows += 1;
        self.facts_extracted += settled.extracted;
        self.facts_stored += settled.stored;
        self.facts_dropped += settled.dropped;
        self.memories_superseded += settled.superseded;
        self.attributes_written += settled.attributes;
    }
}

/// Who reads.
pub(crate) enum Reader {
    Model(Completer),
    Rules,
}

impl Reader {
    fn method(&self) -> &'static str {
        match self {
            Self::Model(_) => "llm",
            Self::Rules => "heuristic",
        }
    }

    fn alias(&self) -> Option<String> {
        match self {
            Self::Model(model) => Some(model.alias().to_owned()),
            Self::Rules => None,
        }
    }
}

impl Distill {
    /// Reads the messages of a bot that wait for it, window by window, oldest first, until none is left or a run is full.
    /// Without a model they go on waiting, unless rules may stand in.
    ///
    /// # Errors
    /// [`DistillError`] when nothing could be begun: a model that must not be used, or the database. A failure underway
    /// is the result's `error`.
    pub async fn extract(
        &self,
        brief: &BotBrief,
        options: &ExtractOptions,
        cancel: &CancellationToken,
    ) -> Result<ExtractionResult, DistillError> {
        if let Some(reason) = self.extraction_is_off(brief) {
            return Ok(ExtractionResult::skipped(brief, reason));
        }
        let reader = match self.reader(brief, options)? {
            Ok(reader) => reader,
            Err(reason) => return Ok(ExtractionResult::skipped(brief, reason)),
        };
        let mut result = ExtractionResult::new(brief, reader.method());
        let mut rules = self.rules().extraction.window;
        rules.rows = options.batch_size.clamp(1, 500);
        let mut failures = 0;
        for _ in 0..self.rules().extraction.windows {
            if cancel.is_cancelled() {
                result.error = Some("cancelled".into());
                break;
            }
            let Some(window) = brief.namespace.claim_window(&rules, Timestamp::now()).await? else { break };
            result.messages_found += window.messages.len();
            match self.read_window(brief, &reader, &window, cancel).await {
                Ok(settled) => result.add(&settled),
                Err(error) => {
                    self.give_back(brief, &reader, &window, &error).await;
                    result.error = Some(error.to_string());
                    failures += 1;
                    if failures >= MOST_FAILURES || !error.is_about_the_text() {
                        break;
                    }
                }
            }
        }
        Ok(result)
    }

    /// Whether extraction has anything to do for a bot: the number of messages that wait, or why it should not run.
    ///
    /// # Errors
    /// [`DistillError::Memory`].
    pub async fn extraction_gate(&self, brief: &BotBrief) -> Result<Result<i64, String>, DistillError> {
        if let Some(reason) = self.extraction_is_off(brief) {
            return Ok(Err(reason.into()));
        }
        match brief.namespace.waiting_for_extraction(Timestamp::now()).await? {
            0 => Ok(Err("no messages wait for extraction".into())),
            waiting => Ok(Ok(waiting)),
        }
    }

    pub(crate) fn extraction_is_off(&self, brief: &BotBrief) -> Option<&'static str> {
        if !self.rules().extraction.enabled {
            return Some("extraction is switched off");
        }
        (!brief.requires_memory).then_some("the bot has no memory")
    }

    /// Who reads, or why nobody does.
    pub(crate) fn reader(
        &self,
        brief: &BotBrief,
        options: &ExtractOptions,
    ) -> Result<Result<Reader, String>, DistillError> {
        if !options.use_llm {
            return Ok(Ok(Reader::Rules));
        }
        match self.models().choose(Work::Extraction, options.model.as_deref(), brief.summarize_model.as_deref()) {
            Ok(model) => Ok(Ok(Reader::Model(model))),
            Err(ModelError::NoModel(_)) if self.rules().extraction.heuristic_fallback => Ok(Ok(Reader::Rules)),
            Err(error @ ModelError::NoModel(_)) => Ok(Err(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    async fn read_window(
        &self,
        brief: &BotBrief,
        reader: &Reader,
        window: &Window,
        cancel: &CancellationToken,
    ) -> Result<Settled, DistillError> {
        let began = std::time::Instant::now();
        let user = subject(window.user.as_ref(), brief);
        let said = || window.messages.iter().filter(|message| message.role == Role::User);
        let characters: usize = said().map(|message| message.content.trim().chars().count()).sum();
        let (facts, dropped) = match reader {
            _ if characters < LEAST_SAID => (Vec::new(), Vec::new()),
            Reader::Rules => {
                (heuristic::facts(said().map(|message| (message.id, message.content.as_str()))), Vec::new())
            }
            Reader::Model(model) => {
                let (text, evidence) = line::conversation(window, &[user.as_str(), &brief.name]);
                let variables = [("conversation", text.as_str())];
                let task = self.prompts().render("memory.extraction.fact", Some(&brief.slug), &variables).await?.text;
                self.ask_json(model, &task, FACT_TOKENS, cancel, |reply| facts::read(reply, &evidence)).await?
            }
        };
        let found = Found { facts, dropped, user, began };
        self.settle(brief, reader, Origin::Window(window.clone()), found, cancel).await
    }

    /// Gives a claim back after a failure and records it. Whatever fails here mends itself when the lease runs out.
    async fn give_back(&self, brief: &BotBrief, reader: &Reader, window: &Window, error: &DistillError) {
        let counts = error.is_about_the_text() && !error.is_cancelled();
        let now = Timestamp::now();
        tracing::warn!(bot = %brief.slug, messages = window.messages.len(), counts, %error, "extraction failed");
        if let Err(error) = brief.namespace.release_window(window, counts, now).await {
            tracing::warn!(bot = %brief.slug, %error, "a claim could not be given back, it runs out by itself");
            return;
        }
        let record = ExtractionRecord {
            at: now,
            source: ExtractionSource::Messages,
            message_ids: window.ids(),
            summary_id: None,
            user: window.user.clone(),
            model: reader.alias(),
            method: reader.method(),
            outcome: ExtractionOutcome::Retry,
            found: 0,
            stored: 0,
            dropped: 0,
            facts: json!([]),
            actions: json!([]),
            error: Some(error.class().code().to_owned()),
            took_ms: 0,
        };
        if let Err(error) = brief.namespace.log_extraction(&record).await {
            tracing::debug!(bot = %brief.slug, %error, "a failed extraction was not recorded");
        }
    }
}

/// Whom facts are about: who spoke, and never the technical user.
fn subject(user: Option<&UserId>, brief: &BotBrief) -> UserId {
    user.filter(|user| user.as_str() != SYSTEM_USER).unwrap_or(&brief.user).clone()
}

/// What was dropped, for the record: why, and not what.
fn reasons(dropped: &[Dropped]) -> Vec<serde_json::Value> {
    dropped.iter().map(|why| json!({"dropped": why})).collect()
}

/// Splits off what is too unimportant to keep.
fn important(facts: Vec<Fact>, least: f32, dropped: &mut Vec<Dropped>) -> Vec<Fact> {
    let (kept, rest): (Vec<Fact>, Vec<Fact>) = facts.into_iter().partition(|fact| fact.importance >= least);
    dropped.extend(rest.iter().map(|_| Dropped::Unimportant));
    kept
}
