//! One pass of the summariser over a bot: pieces of work, a few at a time, and what came of them.
//!
//! Invariant: a piece of work either ends in one committed summary or leaves its messages as they were. A model that does
//! not answer twice in a row is left alone for the rest of the pass.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use greenroom_memory::Namespace;
use greenroom_memory::summaries::{
    CommittedSummary, Conversation, Covers, Method, NewSummary, Sections, SourceMessage, SummaryError,
};
use jiff::tz::TimeZone;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::limits::{Limits, limits};
use super::writer::{WriteError, Writer, Written};
use super::{MOST_ERRORS, MOST_REDONE, RunOptions, Shared, SummarizeError, SummarizeResult, heuristic, told};
use crate::{BotBrief, Completer, ModelError};

/// Calls in a row without any answer after which a model counts as away.
const AWAY_AFTER: usize = 2;
/// Tokens of a single answer: in the background, and when somebody waits.
const ANSWER: u32 = 320;
const ANSWER_ON_DEMAND: u32 = 520;

/// A conversation to be covered.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) conversation: Conversation,
    /// Summaries whose place the new one takes.
    pub(super) replaces: Vec<Uuid>,
    /// It has a summary by rule, and only a model's is better.
    pub(super) model_only: bool,
}

impl Job {
    /// A conversation that no summary covers, or whose summaries are to go.
    pub(super) fn fresh(conversation: Conversation) -> Self {
        let replaces = conversation.covered_by();
        Self { conversation, replaces, model_only: false }
    }

    fn key(&self) -> Uuid {
        self.conversation.rows.first().map_or(Uuid::nil(), |row| row.id)
    }
}

/// What was not covered, by first message.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// For good in this pass.
    pub(super) failed: HashSet<Uuid>,
    /// Their messages changed meanwhile; a new look may help.
    pub(super) outdated: HashSet<Uuid>,
}

/// A pass over one bot.
pub(super) struct Pass {
    pub(super) namespace: Namespace,
    worker: Worker,
    concurrency: usize,
    batch_size: usize,
    per_user: bool,
    result: SummarizeResult,
    more_errors: usize,
}

/// What a piece of work needs; clones go into tasks.
#[derive(Clone)]
struct Worker {
    namespace: Namespace,
    writer: Result<Writer, Arc<ModelError>>,
    heuristic: bool,
    silent: Arc<AtomicUsize>,
    cancel: CancellationToken,
}

enum Outcome {
    Covered { messages: usize, replaced: usize },
    Nothing,
    Outdated,
    Failed(String),
}

type Done = Vec<(Job, Result<Outcome, SummaryError>)>;

impl Pass {
    pub(super) fn new(
        shared: &Shared,
        brief: &BotBrief,
        options: &RunOptions,
        completer: Result<Completer, ModelError>,
        cancel: &CancellationToken,
    ) -> Self {
        let answer = if options.on_demand { ANSWER_ON_DEMAND } else { ANSWER };
        let mut concurrency = brief.settings.summarization_batch_concurrency.clamp(1, 16);
        if completer.as_ref().is_ok_and(Completer::is_local) {
            concurrency = 1;
        }
        let writer = completer.map_err(Arc::new).map(|completer| {
            let mut limits: Limits = limits(completer.context_window(), answer, options.max_tokens_per_chunk);
            limits.batches &= options.on_demand;
            Writer {
                completer,
                prompts: shared.prompts.clone(),
                bot: brief.slug.clone(),
                limits,
                answer,
                quality_retry: shared.settings.quality_retry,
                cancel: cancel.clone(),
            }
        });
        let worker = Worker {
            namespace: brief.namespace.clone(),
            writer,
            heuristic: options.use_heuristic,
            silent: Arc::default(),
            cancel: cancel.clone(),
        };
        Self {
            namespace: brief.namespace.clone(),
            worker,
            concurrency,
            batch_size: brief.settings.summarization_batch_size.clamp(1, 20),
            per_user: brief.settings.history_per_user,
            result: SummarizeResult::default(),
            more_errors: 0,
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.worker.cancel.is_cancelled()
    }

    pub(super) fn per_user(&self) -> bool {
        self.per_user
    }

    /// The model, while it answers.
    pub(super) fn writer(&self) -> Option<&Writer> {
        self.worker.model().ok()
    }

    pub(super) fn note(&mut self, error: String) {
        if self.result.errors.len() < MOST_ERRORS {
            self.result.errors.push(error);
        } else {
            self.more_errors += 1;
        }
    }

    pub(super) fn result(&mut self) -> &mut SummarizeResult {
        &mut self.result
    }

    pub(super) fn finish(mut self) -> SummarizeResult {
        if self.worker.cancel.is_cancelled() {
            self.note("cancelled before the end".into());
        }
        if self.more_errors > 0 {
            self.result.errors.push(format!("and {} more", self.more_errors));
        }
        self.result.success = true;
        self.result
    }

    /// Stale summaries are written again from what is left of their messages; of those that have none left nothing stays.
    pub(super) async fn refresh_stale(&mut self) -> Result<(), SummarizeError> {
        let mut jobs = Vec::new();
        for id in self.namespace.stale_summaries(0, MOST_REDONE).await? {
            match self.namespace.covered_session(id).await? {
                Some(conversation) => jobs.push(Job { conversation, replaces: vec![id], model_only: false }),
                None => {
                    self.delete(id).await?;
                }
            }
        }
        self.work(jobs).await?;
        Ok(())
    }

    /// Summaries by rule that a model should write again, if there is one.
    pub(super) async fn makeshift(&self) -> Result<Vec<Uuid>, SummarizeError> {
        match self.writer() {
            Some(_) => Ok(self.namespace.makeshift_summaries(MOST_REDONE).await?),
            None => Ok(Vec::new()),
        }
    }

    /// Has a model write these again.
    pub(super) async fn redo(&mut self, ids: Vec<Uuid>) -> Result<(), SummarizeError> {
        if self.writer().is_none() || self.is_cancelled() {
            return Ok(());
        }
        let mut jobs = Vec::new();
        for id in ids {
            if let Some(conversation) = self.namespace.covered_session(id).await? {
                jobs.push(Job { conversation, replaces: vec![id], model_only: true });
            }
        }
        self.work(jobs).await?;
        Ok(())
    }

    /// Deletes a summary; one that is gone already is no failure.
    pub(super) async fn delete(&mut self, id: Uuid) -> Result<(), SummarizeError> {
        match self.namespace.delete_summary(&id.to_string()).await {
            Ok(_) => {
                self.result.summaries_purged += 1;
                Ok(())
            }
            Err(SummaryError::NotFound) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Does the work, a few pieces at a time, and says what could not be done.
    pub(super) async fn work(&mut self, jobs: Vec<Job>) -> Result<Left, SummarizeError> {
        self.result.sessions_targeted += jobs.iter().filter(|job| !job.model_only).count();
        let mut left = Left::default();
        let mut waiting = self.batches(jobs).into_iter();
        let mut running: JoinSet<Done> = JoinSet::new();
        loop {
            while running.len() < self.concurrency
                && !self.is_cancelled()
                && let Some(batch) = waiting.next()
            {
                let worker = self.worker.clone();
                running.spawn(async move { worker.batch(batch).await });
            }
            match running.join_next().await {
                None => break,
                Some(Ok(done)) => {
                    for (job, outcome) in done {
                        self.count(&job, outcome?, &mut left);
                    }
                }
                Some(Err(error)) => self.note(format!("a summary broke off: {error}")),
            }
        }
        for job in waiting.flatten() {
            left.failed.insert(job.key());
        }
        Ok(left)
    }

    fn count(&mut self, job: &Job, outcome: Outcome, left: &mut Left) {
        match outcome {
            Outcome::Covered { messages, replaced } => {
                self.result.sessions_summarized += 1;
                self.result.messages_summarized += messages;
                self.result.summaries_replaced += replaced;
            }
            Outcome::Nothing => {}
            Outcome::Outdated => {
                left.outdated.insert(job.key());
            }
            Outcome::Failed(why) => {
                left.failed.insert(job.key());
                if !job.model_only {
                    self.note(format!("{}: {why}", told(job.conversation.start())));
                }
            }
        }
    }

    /// Pieces of work that share a call: several where the model's window is large, else one each.
    fn batches(&self, jobs: Vec<Job>) -> Vec<Vec<Job>> {
        let limits = self.writer().map(|writer| writer.limits).filter(|limits| limits.batches);
        let mut batches: Vec<(usize, Vec<Job>)> = Vec::new();
        for job in jobs {
            let tokens = job.conversation.tokens();
            match (limits, batches.last_mut()) {
                (Some(limits), Some((sum, batch))) if batch.len() < self.batch_size && *sum + tokens <= limits.call => {
                    *sum += tokens;
                    batch.push(job);
                }
                _ => batches.push((tokens, vec![job])),
            }
        }
        batches.into_iter().map(|(_, batch)| batch).collect()
    }
}

impl Worker {
    /// The model, unless there is none or it is away.
    fn model(&self) -> Result<&Writer, String> {
        match &self.writer {
            Ok(_) if self.silent.load(Ordering::Relaxed) >= AWAY_AFTER => Err("the model does not answer".into()),
            Ok(writer) => Ok(writer),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Notes how a call ended.
    fn heard<T>(&self, answer: Result<T, WriteError>) -> Result<T, WriteError> {
        match &answer {
            Err(error) if error.is_outage() => self.silent.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.is_cancelled() => 0,
            _ => self.silent.swap(0, Ordering::Relaxed),
        };
        answer
    }

    /// Covers conversations that may share a call. Answers for all of them, in order.
    async fn batch(&self, jobs: Vec<Job>) -> Done {
        let mut done = Vec::with_capacity(jobs.len());
        let mut found: Vec<Option<Sections>> = vec![None; jobs.len()];
        let mut texts: HashMap<Uuid, Vec<SourceMessage>> = HashMap::new();
        if jobs.len() > 1 {
            let mut sessions = Vec::with_capacity(jobs.len());
            for job in &jobs {
                match self.namespace.source_texts(&job.conversation.ids()).await {
                    Ok(messages) => sessions.push(messages),
                    Err(error) => {
                        tracing::debug!(%error, "texts for a batch of summaries are not available");
                        sessions.clear();
                        break;
                    }
                }
            }
            if sessions.len() == jobs.len() {
                if let Ok(model) = self.model() {
                    found = self.heard(model.batch(&sessions).await).unwrap_or(found);
                }
                texts = jobs.iter().map(Job::key).zip(sessions).collect();
            }
        }
        let together = jobs.len() > 1;
        for (job, sections) in jobs.into_iter().zip(found) {
            let messages = texts.remove(&job.key());
            let outcome = self.cover(&job, messages, sections, together).await;
            done.push((job, outcome));
        }
        done
    }

    async fn cover(
        &self,
        job: &Job,
        messages: Option<Vec<SourceMessage>>,
        batched: Option<Sections>,
        together: bool,
    ) -> Result<Outcome, SummaryError> {
        let ids = job.conversation.ids();
        let messages = match messages {
            Some(messages) => messages,
            None => self.namespace.source_texts(&ids).await?,
        };
        if messages.len() != ids.len() {
            return Ok(Outcome::Outdated);
        }
        let (written, method) = match batched {
            Some(sections) => (Written { sections, parts: 1 }, Method::LlmBatch),
            None => match self.single(&messages).await {
                Ok(written) => (written, Method::Llm),
                Err(_) if self.cancel.is_cancelled() => return Ok(Outcome::Failed("cancelled".into())),
                Err(why) if job.model_only => {
                    for id in &job.replaces {
                        self.namespace.postpone_summary(*id).await?;
                    }
                    return Ok(Outcome::Failed(why));
                }
                Err(_) if self.heuristic => {
                    let method = if together { Method::HeuristicFallback } else { Method::Heuristic };
                    (Written { sections: heuristic::summary(&messages, &TimeZone::system()), parts: 1 }, method)
                }
                Err(why) => return Ok(Outcome::Failed(why)),
            },
        };
        let by_model = matches!(method, Method::Llm | Method::LlmBatch);
        let model = self.writer.as_ref().ok().filter(|_| by_model).map(|writer| writer.completer.alias().to_owned());
        let new = NewSummary {
            covers: Covers::Messages(ids),
            replaces: job.replaces.clone(),
            user: job.conversation.user.clone(),
            sections: written.sections,
            method,
            model,
            parts: written.parts,
        };
        match self.namespace.commit_summary(new).await {
            Ok(CommittedSummary { created: true, replaced, .. }) => {
                Ok(Outcome::Covered { messages: messages.len(), replaced: replaced.len() })
            }
            Ok(CommittedSummary { created: false, .. }) => Ok(Outcome::Nothing),
            Err(SummaryError::Outdated) => Ok(Outcome::Outdated),
            Err(error) => Err(error),
        }
    }

    async fn single(&self, messages: &[SourceMessage]) -> Result<Written, String> {
        let model = self.model()?;
        self.heard(model.single(messages).await).map_err(|error| error.to_string())
    }
}
