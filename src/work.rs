//! The work behind the scenes, as the scheduler asks for it: which room does what for which bot. Only this file knows the
//! scheduler, the bots and the distill room at once.

use greenroom_bot::Bots;
use greenroom_distill::summaries::{RebuildOptions, RunOptions, Summaries};
use greenroom_distill::{
    BotBrief, ConsolidateOptions, ContextMessage, Distill, DistillError, ExtractOptions, MaintenanceFlags,
    MeaningUpdate,
};
use greenroom_memory::{Memory, RegenerateMode};
use greenroom_profile::Entity;
use greenroom_protocol::{BotSlug, ErrorClass};
use greenroom_scheduler::{Answer, Failure, Gate, JobRef, JobType, JobWork, Task, TaskType};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::house::brief;

/// Profiles whose texts one run writes.
const PROFILES: i64 = 50;
/// Summaries that one run extracts facts from.
const SUMMARIES: i64 = 20;

/// Does what the scheduler wants done.
pub struct Work {
    /// Whose memories.
    pub bots: Bots,
    /// The memories.
    pub memory: Memory,
    /// Facts, merging, tidying, portraits.
    pub distill: Distill,
    /// Summaries.
    pub summaries: Summaries,
}

impl Work {
    /// A bot that remembers.
    fn brief(&self, bot: Option<&BotSlug>) -> Result<BotBrief, Failure> {
        let slug = bot.ok_or_else(|| Failure::permanent("this work needs a bot"))?;
        let directory = self.bots.directory();
        let bot = directory.get(slug).ok_or_else(|| Failure::permanent(format!("bot '{slug}' not found")))?;
        Ok(brief(&self.bots, bot))
    }

    async fn gated(&self, of: JobRef<'_>, last_success: Option<Timestamp>) -> Result<Gate, Failure> {
        if of.job == JobType::ProfileMaintenance {
            return gate(self.distill.profiles_gate().await);
        }
        let brief = self.brief(of.bot)?;
        if !brief.requires_memory {
            return Ok(Gate::Skip("the bot has no memory".into()));
        }
        match of.job {
            JobType::ProfileMaintenance => Ok(Gate::Run),
            JobType::HistorySummarization => gate(self.summaries.gate(&brief).await),
            JobType::MemoryExtraction => {
                // What a crash had claimed waits again.
                self.memory
                    .recover_claims(Timestamp::now())
                    .await
                    .map_err(|error| failure(DistillError::from(error)))?;
                gate(self.distill.extraction_gate(&brief).await)
            }
            JobType::MemoryConsolidation => gate(self.distill.consolidation_gate(&brief, last_success).await),
            JobType::MemoryDecay | JobType::MemoryRecurrence | JobType::MemoryOrphans => {
                gate(self.distill.memories_gate(&brief).await)
            }
            JobType::TombstoneExpiry => Ok(Gate::Run),
        }
    }

    async fn done(&self, of: JobRef<'_>, config: &Value, cancel: CancellationToken) -> Result<Value, Failure> {
        let model = text(config, "model");
        if of.job == JobType::ProfileMaintenance {
            return told(self.distill.portray_all(PROFILES, model.as_deref(), &cancel).await);
        }
        let brief = self.brief(of.bot)?;
        match of.job {
            JobType::ProfileMaintenance => Ok(json!({})),
            JobType::HistorySummarization => self.summarize(&brief, config, &cancel).await,
            JobType::MemoryExtraction => self.extract(&brief, config, &cancel).await,
            JobType::MemoryConsolidation => {
                let options = ConsolidateOptions {
                    similarity_threshold: share(config, "similarity_threshold"),
                    max_clusters: count(config, "max_clusters"),
                    model,
                    ..ConsolidateOptions::default()
                };
                told(self.distill.consolidate(&brief, &options, &cancel).await)
            }
            JobType::MemoryDecay => {
                let faded = self.distill.fade(&brief, false).await.map_err(failure)?;
                Ok(json!({"decay_memories_archived": faded.ids.len(), "batch_id": faded.batch}))
            }
            JobType::MemoryRecurrence => told(self.distill.find_themes(&brief, false).await),
            JobType::MemoryOrphans => {
                let found = self.distill.clean_orphans(&brief, false).await.map_err(failure)?;
                Ok(
                    json!({"orphans_cleaned": found.ids.len(), "memories_trimmed": found.trimmed, "batch_id": found.batch}),
                )
            }
            JobType::TombstoneExpiry => {
                let gone = self.distill.expire_tombstones(&brief, false).await.map_err(failure)?;
                // The notes about extraction belong to no bot; it does no harm that each bot's run sees to them.
                let entries = self.memory.expire_extraction_log(Timestamp::now()).await;
                let entries = entries.map_err(|error| failure(DistillError::from(error)))?;
                Ok(json!({"tombstones_expired": gone, "log_entries_expired": entries}))
            }
        }
    }

    /// Summaries, and facts from those whose messages were never read for facts.
    async fn summarize(&self, brief: &BotBrief, config: &Value, cancel: &CancellationToken) -> Result<Value, Failure> {
        let options = RunOptions {
            use_heuristic: config["use_heuristic_fallback"].as_bool().unwrap_or(true),
            model: text(config, "model"),
            on_demand: false,
            max_tokens_per_chunk: count(config, "max_tokens_per_chunk"),
        };
        let done = self.summaries.run(brief, &options, cancel).await;
        let done = done.map_err(|error| classed(error.class(), error.to_string()))?;
        let mut result = json!(done);
        if let Some(failure) = done.failure() {
            result["error"] = failure.into();
        }
        result["used_heuristic_fallback"] = options.use_heuristic.into();
        result["extraction"] =
            match self.distill.extract_summaries(brief, options.model.as_deref(), SUMMARIES, cancel).await {
                Ok(found) => json!(found),
                Err(error) => json!({"error": error.to_string()}),
            };
        Ok(result)
    }

    async fn extract(&self, brief: &BotBrief, config: &Value, cancel: &CancellationToken) -> Result<Value, Failure> {
        let usual = ExtractOptions::default();
        let options = ExtractOptions {
            batch_size: count(config, "batch_size").unwrap_or(usual.batch_size),
            model: text(config, "model"),
            ..usual
        };
        let found = self.distill.extract(brief, &options, cancel).await.map_err(failure)?;
        let mut result = json!(found);
        let summaries = self.distill.extract_summaries(brief, options.model.as_deref(), SUMMARIES, cancel).await;
        result["summaries"] = summaries.map_or_else(|error| json!({"error": error.to_string()}), |found| json!(found));
        Ok(result)
    }

    async fn tasked(&self, task: &Task, cancel: CancellationToken) -> Result<Value, Failure> {
        let payload = &task.payload;
        if task.task_type == TaskType::ProfileMaintenance {
            return self.portray(task, &cancel).await;
        }
        let brief = self.brief(Some(&task.bot))?;
        match task.task_type {
            TaskType::ProfileMaintenance => Ok(json!({})),
            TaskType::ContextCompaction => {
                let messages: Vec<ContextMessage> = read(&payload["messages"])?;
                let (target, model) = (count(payload, "target_token_count").unwrap_or(4000), text(payload, "model"));
                let compacted =
                    self.distill.compact_context(Some(&brief), &messages, target, model.as_deref(), &cancel);
                told(compacted.await)
            }
            TaskType::EmbeddingGeneration => match payload["mode"].as_str() {
                Some(mode) => {
                    let mode = if mode == "missing" { RegenerateMode::Missing } else { RegenerateMode::All };
                    let done = brief.namespace.regenerate_embeddings(mode, &cancel).await;
                    told(done.map_err(DistillError::from))
                }
                None => {
                    let texts: Vec<String> = read(&payload["texts"])?;
                    let memories: Vec<String> = read(&payload["memory_ids"])?;
                    told(self.distill.generate_embeddings(&brief, texts, &memories).await)
                }
            },
            TaskType::MemoryConsolidation => {
                let options = ConsolidateOptions {
                    dry_run: payload["dry_run"] == true,
                    similarity_threshold: share(payload, "similarity_threshold"),
                    max_clusters: count(payload, "max_clusters"),
                    preview_llm: payload["preview_llm"] == true,
                    model: text(payload, "model"),
                    everything: true,
                };
                told(self.distill.consolidate(&brief, &options, &cancel).await)
            }
            TaskType::MeaningUpdate => {
                let update: MeaningUpdate = read(payload)?;
                told(self.distill.update_meaning(&brief, &update).await)
            }
            TaskType::MemoryMaintenance => {
                let flags: MaintenanceFlags = read(payload)?;
                Ok(json!(self.distill.maintain(&brief, &flags, &cancel).await))
            }
            TaskType::HistorySummarization if payload["rebuild"] == true => {
                let options = RebuildOptions {
                    sessions: count(payload, "sessions").unwrap_or_default(),
                    start: moment(payload, "start_ts"),
                    end: moment(payload, "end_ts"),
                    purge_existing: payload["purge_existing"] == true,
                    use_heuristic: payload["use_heuristic"] == true,
                    model: text(payload, "model"),
                };
                told(self.summaries.rebuild(&brief, &options, &cancel).await)
            }
            // What `POST /v1/history/summarize` does with its request, done later.
            TaskType::HistorySummarization if payload["use_heuristic"].is_boolean() => {
                let options = RunOptions {
                    use_heuristic: payload["use_heuristic"] == true,
                    model: text(payload, "model"),
                    on_demand: true,
                    max_tokens_per_chunk: None,
                };
                told(self.summaries.run(&brief, &options, &cancel).await)
            }
            TaskType::HistorySummarization => self.summarize(&brief, payload, &cancel).await,
            TaskType::MemoryExtraction => self.extract(&brief, payload, &cancel).await,
        }
    }

    async fn portray(&self, task: &Task, cancel: &CancellationToken) -> Result<Value, Failure> {
        let payload = &task.payload;
        let (dry_run, model) = (payload["dry_run"] == true, text(payload, "model"));
        let kind = payload["entity_type"].as_str().unwrap_or("user");
        let entity = match payload["entity_id"].as_str() {
            Some(id) => Entity::parse(kind, id),
            None if kind == "bot" => Ok(Entity::bot(&task.bot)),
            None => Entity::user(&task.user),
        };
        let entity = entity.map_err(|error| Failure::permanent(error.to_string()))?;
        told(self.distill.portray(&entity, model.as_deref(), dry_run, cancel).await)
    }
}

impl JobWork for Work {
    fn bots(&self) -> Vec<BotSlug> {
        let directory = self.bots.directory();
        let remembering = directory.iter().filter(|bot| bot.is_stored && bot.character().requires_memory);
        remembering.map(|bot| bot.slug().clone()).collect()
    }

    fn gate<'a>(&'a self, of: JobRef<'a>, last_success: Option<Timestamp>) -> Answer<'a, Gate> {
        Box::pin(self.gated(of, last_success))
    }

    fn run<'a>(&'a self, of: JobRef<'a>, config: &'a Value, cancel: CancellationToken) -> Answer<'a, Value> {
        Box::pin(async move { whole(self.done(of, config, cancel.clone()).await, &cancel) })
    }

    fn task<'a>(&'a self, task: &'a Task, cancel: CancellationToken) -> Answer<'a, Value> {
        Box::pin(async move { whole(self.tasked(task, cancel.clone()).await, &cancel) })
    }
}

/// Work that was called off and left something undone has no result, so that the scheduler sees why it ended: an interrupted
/// run is tried again.
fn whole(done: Result<Value, Failure>, cancel: &CancellationToken) -> Result<Value, Failure> {
    let undone =
        |result: &Value| !result["error"].is_null() || result["errors"].as_array().is_some_and(|it| !it.is_empty());
    match done {
        Ok(result) if cancel.is_cancelled() && undone(&result) => Err(Failure::transient("the work was cancelled")),
        done => done,
    }
}

/// The answer of a gate: something to do, or the reason why not.
fn gate<T, E: HasClass>(answer: Result<Result<T, String>, E>) -> Result<Gate, Failure> {
    match answer {
        Ok(Ok(_)) => Ok(Gate::Run),
        Ok(Err(reason)) => Ok(Gate::Skip(reason)),
        Err(error) => Err(failure(error)),
    }
}

fn told<T: Serialize, E: HasClass>(result: Result<T, E>) -> Result<Value, Failure> {
    result.map(|result| json!(result)).map_err(failure)
}

/// An error that says how bad it is.
trait HasClass: std::fmt::Display {
    fn has_class(&self) -> ErrorClass;
}

impl HasClass for DistillError {
    fn has_class(&self) -> ErrorClass {
        self.class()
    }
}

impl HasClass for greenroom_distill::summaries::SummarizeError {
    fn has_class(&self) -> ErrorClass {
        self.class()
    }
}

fn failure(error: impl HasClass) -> Failure {
    classed(error.has_class(), error.to_string())
}

/// A refusal stays one; anything else may pass.
fn classed(class: ErrorClass, message: String) -> Failure {
    if class.status() < 500 && class != ErrorClass::Overloaded {
        Failure::permanent(message)
    } else {
        Failure::transient(message)
    }
}

fn text(config: &Value, name: &str) -> Option<String> {
    config[name].as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

fn count(config: &Value, name: &str) -> Option<usize> {
    config[name].as_u64().and_then(|number| usize::try_from(number).ok())
}

/// Unix seconds.
fn moment(config: &Value, name: &str) -> Option<Timestamp> {
    config[name].as_f64().and_then(|seconds| crate::transfer::moment(&seconds.to_string()))
}

#[expect(clippy::cast_possible_truncation, reason = "a share between 0 and 1")]
fn share(config: &Value, name: &str) -> Option<f32> {
    config[name].as_f64().map(|share| share as f32)
}

/// A checked payload; what is absent is empty.
fn read<T: DeserializeOwned + Default>(value: &Value) -> Result<T, Failure> {
    if value.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(value.clone())
        .map_err(|error| Failure::permanent(format!("the payload cannot be read: {error}")))
}
