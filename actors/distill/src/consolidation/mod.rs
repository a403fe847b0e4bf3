//! Merging memories that say nearly the same (memory.md §11).
//!
//! Pairs come from the database, groups from `cluster`, texts from a model on this machine or from the best member; the
//! commit checks that no member has changed. Nothing is deleted, and a detail that would be lost stops a merge.

mod cluster;
mod text;

use std::collections::HashMap;

use greenroom_embedder::Lane;
use greenroom_memory::memories::MemoryDraft;
use greenroom_memory::upkeep::{Candidate, Merge, Merged, Seeds, merge_on};
use greenroom_memory::{Exclusive, Meaning, MemoryError};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::cluster::{Thresholds, clusters};
use crate::brief::BotBrief;
use crate::completer::Ask;
use crate::distill::{Distill, NEUTRAL};
use crate::error::DistillError;
use crate::model::{LocalOnlyClient, ModelError};

/// Most memories whose neighbours are looked at in one run; what is left comes with the next.
const MOST_SEEDS: i64 = 2000;
/// Most groups that one run merges.
const MOST_CLUSTERS: usize = 50;
/// Pairs less alike than this are not looked at.
const LEAST_SIMILARITY: f32 = 0.5;
/// Tokens that a merged text may take.
const MERGE_TOKENS: u32 = 300;
/// What a merge adds to the importance for each further member.
const IMPORTANCE_STEP: f32 = 0.05;

/// How memories are to be merged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConsolidateOptions {
    /// Only say what would be merged.
    pub dry_run: bool,
    /// Cosine similarity from which memories are one; the operator's when absent.
    pub similarity_threshold: Option<f32>,
    /// Most groups; 50 when absent.
    pub max_clusters: Option<usize>,
    /// Ask the model in a dry run, too.
    pub preview_llm: bool,
    /// The model, by alias; one that does not run on this machine is refused.
    pub model: Option<String>,
    /// Look at everything, and not only at what changed since the last complete run.
    pub everything: bool,
}

/// What would take the place of what.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proposal {
    /// The members.
    pub memory_ids: Vec<Uuid>,
    /// What they say.
    pub originals: Vec<String>,
    /// What would be said in their place; absent when their details cannot be put into one text by rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged: Option<String>,
    /// `llm` or `heuristic`.
    pub method: &'static str,
}

/// What came of a run, in the API's shape (http-api.md §11).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConsolidationResult {
    /// Groups of near-duplicates.
    pub clusters_found: usize,
    /// Those that were merged, or would be.
    pub clusters_merged: usize,
    /// Members of merged groups.
    pub memories_consolidated: usize,
    /// Memories that took their place.
    pub new_memories_created: usize,
    /// What went wrong with single groups; the others went on.
    pub errors: Vec<String>,
    /// Nothing was changed.
    pub dry_run: bool,
    /// The similarity in force.
    pub similarity_threshold: f32,
    /// `llm`, `heuristic` or `none`.
    pub method: &'static str,
    /// Groups that were left, because a detail would have been lost.
    pub clusters_skipped: usize,
    /// What a dry run proposes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proposals: Vec<Proposal>,
}

impl Distill {
    /// Merges near-duplicates of a bot's memories.
    ///
    /// # Errors
    /// [`ModelError::Refused`] for a model elsewhere, before anything is sent to it; [`DistillError`].
    pub async fn consolidate(
        &self,
        brief: &BotBrief,
        options: &ConsolidateOptions,
        cancel: &CancellationToken,
    ) -> Result<ConsolidationResult, DistillError> {
        let rules = &self.rules().upkeep;
        let usual = if options.dry_run { rules.preview_similarity } else { rules.merge_similarity };
        let threshold = options.similarity_threshold.unwrap_or(usual);
        if !(0.5..=1.0).contains(&threshold) {
            return Err(DistillError::Invalid("similarity_threshold must be a number from 0.5 to 1".into()));
        }
        // Before anything is read: a model elsewhere is refused even when there is nothing to merge.
        let local = match self.models().local(options.model.as_deref()) {
            Ok(local) => Some(local),
            Err(ModelError::NoModel(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let local = local.filter(|_| !options.dry_run || options.preview_llm);
        let mut result = ConsolidationResult {
            clusters_found: 0,
            clusters_merged: 0,
            memories_consolidated: 0,
            new_memories_created: 0,
            errors: Vec::new(),
            dry_run: options.dry_run,
            similarity_threshold: threshold,
            method: "none",
            clusters_skipped: 0,
            proposals: Vec::new(),
        };
        if !brief.requires_memory {
            return Ok(result);
        }
        let began = Timestamp::now();
        let since =
            if options.everything || options.dry_run { None } else { brief.namespace.consolidated_until().await? };
        let seeds = Seeds { since, limit: MOST_SEEDS, similarity: LEAST_SIMILARITY.min(threshold) };
        let pairs = brief.namespace.similar_pairs(&seeds).await?;
        let mut ids: Vec<Uuid> = pairs.iter().flat_map(|pair| [pair.a, pair.b]).collect();
        ids.sort_unstable();
        ids.dedup();
        let candidates = brief.namespace.candidates(&ids).await?;
        let groups = clusters(&candidates, &pairs, &Thresholds::of(threshold));
        result.clusters_found = groups.len();
        let by_id: HashMap<Uuid, &Candidate> = candidates.iter().map(|candidate| (candidate.id, candidate)).collect();
        let most = options.max_clusters.unwrap_or(MOST_CLUSTERS).clamp(1, 1000);
        let mut complete = groups.len() <= most;
        for group in groups.iter().take(most) {
            if cancel.is_cancelled() {
                result.errors.push("cancelled".into());
                complete = false;
                break;
            }
            let members: Vec<&Candidate> = group.iter().filter_map(|id| by_id.get(id).copied()).collect();
            match self.merge_group(brief, &members, local.as_ref(), options.dry_run, &mut result, cancel).await {
                Ok(()) => {}
                Err(error) if error.is_cancelled() => {
                    result.errors.push("cancelled".into());
                    complete = false;
                    break;
                }
                Err(error) => {
                    tracing::warn!(bot = %brief.slug, %error, "a group of memories was not merged");
                    result.errors.push(error.to_string());
                    complete = false;
                }
            }
        }
        if complete && !options.dry_run {
            brief.namespace.set_consolidated_until(began).await?;
        }
        Ok(result)
    }

    async fn merge_group(
        &self,
        brief: &BotBrief,
        members: &[&Candidate],
        local: Option<&LocalOnlyClient>,
        dry_run: bool,
        result: &mut ConsolidationResult,
        cancel: &CancellationToken,
    ) -> Result<(), DistillError> {
        let by_model = match local {
            Some(local) => self.merged_by_model(brief, members, local, cancel).await?,
            None => None,
        };
        let (method, merged) = match by_model {
            Some(text) => ("llm", Some(text)),
            None => ("heuristic", text::best_member(members)),
        };
        if dry_run {
            result.proposals.push(Proposal {
                memory_ids: members.iter().map(|member| member.id).collect(),
                originals: members.iter().map(|member| member.content.clone()).collect(),
                merged: merged.clone(),
                method,
            });
        }
        let Some(content) = merged else {
            result.clusters_skipped += 1;
            return Ok(());
        };
        if result.method != "llm" {
            result.method = method;
        }
        if !dry_run && !self.commit_merge(brief, members, content).await? {
            result.clusters_skipped += 1;
            return Ok(());
        }
        result.clusters_merged += 1;
        result.memories_consolidated += members.len();
        result.new_memories_created += 1;
        Ok(())
    }

    /// The model's text, if it keeps what the members say. Only a model on this machine can be given here.
    async fn merged_by_model(
        &self,
        brief: &BotBrief,
        members: &[&Candidate],
        local: &LocalOnlyClient,
        cancel: &CancellationToken,
    ) -> Result<Option<String>, DistillError> {
        let shown = text::shown(members);
        let variables = [("memories", shown.as_str())];
        let task = self.prompts().render("memory.consolidation.merge", Some(&brief.slug), &variables).await?.text;
        let ask = Ask { system: NEUTRAL, user: &task, max_tokens: MERGE_TOKENS, temperature: 0.1, json: false };
        let answer = match local.completer().complete(&ask, cancel).await {
            Ok(answer) if !answer.truncated => answer.text,
            Ok(_) => return Ok(None),
            Err(ModelError::Cancelled) => return Err(ModelError::Cancelled.into()),
            Err(error) => {
                tracing::warn!(bot = %brief.slug, %error, "memories are merged by rule");
                return Ok(None);
            }
        };
        let Some(merged) = text::accepted(&answer, members) else { return Ok(None) };
        let vector = brief.namespace.embedder().embed(vec![merged.clone()], Lane::Background).await;
        let near = vector
            .ok()
            .and_then(|vectors| vectors.into_iter().next().flatten())
            .is_none_or(|vector| text::is_near_centroid(vector.as_slice(), members));
        Ok(near.then_some(merged))
    }

    /// Puts the merged memory in the place of its members; false when one of them has changed in the meantime.
    async fn commit_merge(
        &self,
        brief: &BotBrief,
        members: &[&Candidate],
        content: String,
    ) -> Result<bool, DistillError> {
        let mut prepared = brief.namespace.prepare(vec![draft(members, content)], Lane::Background).await?;
        let Some(merged) = prepared.pop() else { return Ok(false) };
        let merge = Merge { merged, members: members.iter().map(|member| (member.id, member.updated_at)).collect() };
        let done = brief
            .namespace
            .exclusive("merge", move |x: &mut Exclusive<'_>| Box::pin(async move { merge_on(x, &merge).await }));
        let done: Result<Merged, MemoryError> = done.await;
        Ok(matches!(done?, Merged::Into(_)))
    }
}

/// The merged memory: everything that the members carried (memory.md §11.4).
fn draft(members: &[&Candidate], content: String) -> MemoryDraft {
    let mut draft = MemoryDraft::new(content);
    draft.tags = text::tags(members);
    let highest = members.iter().map(|member| member.importance).fold(0.0, f32::max);
    #[expect(clippy::cast_precision_loss, reason = "at most ten members")]
    let further = members.len().saturating_sub(1) as f32;
    draft.importance = (highest + IMPORTANCE_STEP * further).min(1.0);
    draft.confidence = members.iter().map(|member| member.confidence).fold(0.0, f32::max);
    draft.user = members.first().and_then(|member| member.user.clone());
    draft.sources = united(members, |member| &member.sources);
    draft.summary_sources = united(members, |member| &member.summary_sources);
    let telling = members.iter().filter(|member| member.intent.is_some());
    let intent = telling.max_by(|a, b| a.importance.total_cmp(&b.importance)).and_then(|member| member.intent.clone());
    draft.meaning = Meaning { intent, ..Meaning::default() };
    draft.created_at = members.iter().map(|member| member.created_at).max();
    draft.metadata =
        members.iter().find_map(|member| member.metadata.clone().filter(|note| note.get("profile").is_some()));
    draft
}

fn united(members: &[&Candidate], of: impl Fn(&Candidate) -> &Vec<Uuid>) -> Vec<Uuid> {
    let mut seen = std::collections::HashSet::new();
    let all = members.iter().flat_map(|member| of(member)).copied().filter(|id| seen.insert(*id));
    all.take(greenroom_memory::memories::MOST_SOURCES).collect()
}
