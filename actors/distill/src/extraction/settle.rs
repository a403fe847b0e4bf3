//! From facts to memories: what is known is looked up, a model says what the new facts do to it, and everything is
//! committed in one transaction (memory.md §8.6, §8.8).

use std::collections::HashSet;
use std::time::Instant;

use greenroom_embedder::Lane;
use greenroom_memory::memories::{
    MemoryDraft, Outcome, PreparedMemory, Reach, StoreOptions, SupersedeReason, TombstoneReason, store_on,
    supersede_on, tombstone_on,
};
use greenroom_memory::upkeep::{
    ExtractableSummary, ExtractionOutcome, ExtractionRecord, ExtractionSource, Neighbour, Window, finish_covered_on,
    finish_window_on, log_extraction_on, still_active_on,
};
use greenroom_memory::{Exclusive, Meaning};
use greenroom_profile::{AttributeDraft, Entity, ProfileError, Profiles, Source, name_in_fact};
use greenroom_protocol::{ErrorClass, UserId};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::attributes::{Gate, note};
use super::compare::{self, Action, Decision};
use super::facts::{Dropped, Fact, Wish};
use super::{Reader, important, reasons};
use crate::brief::BotBrief;
use crate::distill::{Distill, IsBotName};
use crate::error::DistillError;

/// Tokens that a list of actions may take.
const ACTION_TOKENS: u32 = 2000;
/// Confidence gained by a model over a rule is not enough to overrule a person; see the profile room for who wins.
const ACTOR: &str = "extraction";

/// What was read.
pub(super) enum Origin {
    Window(Window),
    Summary(ExtractableSummary),
    Tool,
}

/// What was found in it.
pub(super) struct Found {
    pub(super) facts: Vec<Fact>,
    pub(super) dropped: Vec<Dropped>,
    pub(super) user: UserId,
    pub(super) began: Instant,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Settled {
    pub(super) extracted: usize,
    pub(super) stored: usize,
    pub(super) dropped: usize,
    pub(super) superseded: usize,
    pub(super) attributes: usize,
}

/// One fact on its way into memory.
struct Planned {
    prepared: PreparedMemory,
    /// The memory that it is a newer version of.
    updates: Option<Uuid>,
    /// Memories that it makes untrue.
    contradicts: Vec<Uuid>,
    attribute: Option<AttributeDraft>,
    /// The name that it gives the user.
    name: Option<String>,
}

/// Everything that a commit needs.
struct Plan {
    origin: Origin,
    planned: Vec<Planned>,
    /// Memories that known facts make untrue: nothing takes their place.
    refuted: Vec<Uuid>,
    user: Entity,
    dedup_similarity: f32,
    is_bot_name: IsBotName,
    record: ExtractionRecord,
    began: Instant,
}

impl Distill {
    /// Compares, plans, commits.
    pub(super) async fn settle(
        &self,
        brief: &BotBrief,
        reader: &Reader,
        origin: Origin,
        found: Found,
        cancel: &CancellationToken,
    ) -> Result<Settled, DistillError> {
        let Found { facts, mut dropped, user, began } = found;
        let facts = important(facts, self.rules().extraction.min_importance, &mut dropped);
        let keys: Vec<String> = facts.iter().filter_map(|fact| Some(fact.attribute.as_ref()?.key.clone())).collect();
        let texts: Vec<String> = facts.iter().map(|fact| fact.content.clone()).collect();
        let known = brief.namespace.neighbours(&texts, &keys, Some(&user)).await?;
        let decisions = self.decide(brief, reader, &facts, &known, cancel).await?;
        let extracted = facts.len();
        let (planned, refuted) = self.plan(brief, &origin, &user, facts, &known, &decisions).await?;
        let record = ExtractionRecord {
            at: Timestamp::now(),
            source: origin.source(),
            message_ids: origin.messages(),
            summary_id: origin.summary(),
            user: Some(user.clone()),
            model: reader.alias(),
            method: reader.method(),
            outcome: if extracted == 0 { ExtractionOutcome::Empty } else { ExtractionOutcome::Done },
            found: extracted,
            stored: 0,
            dropped: dropped.len(),
            facts: json!(reasons(&dropped)),
            actions: json!([]),
            error: None,
            took_ms: 0,
        };
        let plan = Plan {
            origin,
            planned,
            refuted,
            user: Entity::user(&user)?,
            dedup_similarity: brief.settings.dedup_similarity,
            is_bot_name: self.is_bot_name().clone(),
            record,
            began,
        };
        let mut settled =
            brief.namespace.exclusive("extraction", move |x: &mut Exclusive<'_>| Box::pin(commit(x, plan))).await?;
        settled.extracted = extracted;
        settled.dropped = dropped.len();
        Ok(settled)
    }

    async fn decide(
        &self,
        brief: &BotBrief,
        reader: &Reader,
        facts: &[Fact],
        known: &[Neighbour],
        cancel: &CancellationToken,
    ) -> Result<Vec<Decision>, DistillError> {
        if facts.is_empty() || known.is_empty() {
            return Ok(compare::all_new(facts));
        }
        let Reader::Model(model) = reader else { return Ok(compare::by_words(facts, known)) };
        let (memories, new) = compare::shown(facts, known);
        let variables = [("existing_memories", memories.as_str()), ("new_facts", new.as_str())];
        let task = self.prompts().render("memory.extraction.update", Some(&brief.slug), &variables).await?.text;
        match self.ask_json(model, &task, ACTION_TOKENS, cancel, |reply| compare::read(reply, facts, known)).await {
            // Storing looks for duplicates itself, so adding everything loses and repeats nothing.
            Err(DistillError::Unreadable(_)) => Ok(compare::all_new(facts)),
            decided => decided,
        }
    }

    async fn plan(
        &self,
        brief: &BotBrief,
        origin: &Origin,
        user: &UserId,
        facts: Vec<Fact>,
        known: &[Neighbour],
        decisions: &[Decision],
    ) -> Result<(Vec<Planned>, Vec<Uuid>), DistillError> {
        let rules = &self.rules().extraction;
        let gate = Gate { enabled: rules.profile_attributes, min_importance: rules.profile_min_importance };
        let is_person = !(self.is_bot_name())(user.as_str());
        let (mut drafts, mut rest, mut refuted) = (Vec::new(), Vec::new(), Vec::new());
        for decision in decisions {
            let Some(fact) = facts.get(decision.fact) else { continue };
            let contradicts: Vec<Uuid> = decision.contradicts.iter().map(|target| known[*target].id).collect();
            let (updates, content, least) = match &decision.action {
                Action::None => {
                    refuted.extend(contradicts);
                    continue;
                }
                Action::Add => (None, fact.content.clone(), 0.0),
                Action::Update { target, content } => {
                    let old = &known[*target];
                    (Some(old.id), content.clone().unwrap_or_else(|| fact.content.clone()), old.importance)
                }
            };
            let wish = gate.admits(fact).filter(|_| is_person);
            drafts.push(draft(fact, content, least, user, origin, wish));
            let attribute = wish.map(|wish| attribute(brief, user, fact, wish)).transpose()?;
            let name = wish.filter(|wish| wish.key == "name").and_then(|_| name_in_fact(&fact.content));
            rest.push((updates, contradicts, attribute, name));
        }
        let prepared = brief.namespace.prepare(drafts, Lane::Background).await?;
        let planned = prepared
            .into_iter()
            .zip(rest)
            .map(|(prepared, (updates, contradicts, attribute, name))| Planned {
                prepared,
                updates,
                contradicts,
                attribute,
                name,
            })
            .collect();
        Ok((planned, refuted))
    }
}

impl Origin {
    fn source(&self) -> ExtractionSource {
        match self {
            Self::Window(_) => ExtractionSource::Messages,
            Self::Summary(_) => ExtractionSource::Summary,
            Self::Tool => ExtractionSource::Tool,
        }
    }

    fn messages(&self) -> Vec<Uuid> {
        match self {
            Self::Window(window) => window.ids(),
            Self::Summary(_) | Self::Tool => Vec::new(),
        }
    }

    fn summary(&self) -> Option<Uuid> {
        match self {
            Self::Summary(summary) => Some(summary.id),
            Self::Window(_) | Self::Tool => None,
        }
    }
}

fn draft(fact: &Fact, content: String, least: f32, user: &UserId, origin: &Origin, wish: Option<&Wish>) -> MemoryDraft {
    let mut draft = MemoryDraft::new(content);
    draft.tags.clone_from(&fact.tags);
    draft.importance = fact.importance.max(least);
    draft.confidence = fact.confidence;
    draft.user = Some(user.clone());
    draft.sources.clone_from(&fact.sources);
    draft.summary_sources = origin.summary().into_iter().collect();
    draft.meaning = Meaning { intent: fact.intent.clone(), ..Meaning::default() };
    if let Some(wish) = wish {
        note(&mut draft, wish);
    }
    draft
}

fn attribute(brief: &BotBrief, user: &UserId, fact: &Fact, wish: &Wish) -> Result<AttributeDraft, ProfileError> {
    let value = wish.value_or(&fact.content);
    let confidence = f64::from(fact.importance);
    let mut draft =
        AttributeDraft::new(Entity::user(user)?, &wish.category, &wish.key, value, confidence, Source::Extracted)?;
    draft.source_message = fact.sources.first().map(Uuid::to_string);
    draft.source_bot = Some(brief.slug.clone());
    draft.actor = Some(ACTOR.into());
    Ok(draft)
}

/// Everything that a reading leads to, in one transaction.
async fn commit(x: &mut Exclusive<'_>, plan: Plan) -> Result<Settled, DistillError> {
    let Plan { origin, planned, refuted, user, dedup_similarity, is_bot_name, mut record, began } = plan;
    let now = record.at;
    let present: Option<HashSet<Uuid>> = match &origin {
        Origin::Window(window) => Some(finish_window_on(x, window).await?.into_iter().collect()),
        Origin::Summary(summary) => {
            summary.finish_on(x, now).await?;
            finish_covered_on(x, summary.id).await?;
            None
        }
        Origin::Tool => None,
    };
    let targets: Vec<Uuid> =
        planned.iter().flat_map(|planned| planned.updates.iter().chain(&planned.contradicts)).copied().collect();
    let targets: Vec<Uuid> = targets.into_iter().chain(refuted.iter().copied()).collect();
    let mut active = still_active_on(x, &targets).await?;
    let mut settled = Settled::default();
    let (mut facts, mut actions): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for mut planned in planned {
        // What was forgotten while the model was thinking is no source any more.
        if present.as_ref().is_some_and(|present| !planned.prepared.keep_sources(present)) {
            facts.push(json!({"dropped": "forgotten"}));
            continue;
        }
        let updates = planned.updates.filter(|id| active.remove(id));
        let contradicts: Vec<Uuid> = planned.contradicts.iter().copied().filter(|id| active.remove(id)).collect();
        let (replaces, reason) = match updates {
            Some(id) => (vec![id], SupersedeReason::Update),
            None => (contradicts.clone(), SupersedeReason::Contradiction),
        };
        let options = StoreOptions { replaces, reason: Some(reason), ..StoreOptions::default() };
        let stored = store_on(x, &planned.prepared, &options, dedup_similarity).await?;
        for old in contradicts.iter().filter(|_| updates.is_some()) {
            if *old != stored.id {
                supersede_on(x, *old, stored.id, SupersedeReason::Contradiction).await?;
            }
        }
        settled.superseded += usize::from(updates.is_some()) + contradicts.len();
        settled.stored += usize::from(stored.outcome != Outcome::Duplicate);
        let draft = planned.prepared.draft();
        facts.push(json!({"memory_id": stored.id, "outcome": stored.outcome, "importance": draft.importance, "sources": draft.sources}));
        actions.push(json!({"memory_id": stored.id, "updates": updates, "contradicts": contradicts}));
        if let Some(mut attribute) = planned.attribute {
            attribute.source_memory = Some(stored.id);
            settled.attributes += usize::from(write_attribute(x, &attribute, now).await?);
            if let Some(name) = &planned.name {
                Profiles::set_display_name_on(x.db, &user, name, now, |name| is_bot_name(name)).await?;
            }
        }
    }
    let refuted: Vec<Uuid> = refuted.into_iter().filter(|id| active.remove(id)).collect();
    if !refuted.is_empty() {
        let batch = Uuid::new_v4();
        tombstone_on(x, &refuted, (TombstoneReason::Tool, Some(ACTOR)), batch, Reach::WholeChain).await?;
        settled.superseded += refuted.len();
        actions.push(json!({"buried": refuted, "batch_id": batch}));
    }
    if let Value::Array(known) = &mut record.facts {
        known.splice(0..0, facts);
    }
    record.actions = Value::Array(actions);
    record.stored = settled.stored;
    record.took_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    log_extraction_on(x, &record).await?;
    Ok(settled)
}

/// A profile that has no room, or a value that does not fit it, is no reason to lose the fact.
async fn write_attribute(x: &Exclusive<'_>, draft: &AttributeDraft, now: Timestamp) -> Result<bool, DistillError> {
    match Profiles::upsert_on(x.db, draft, now).await {
        Ok(_) => Ok(true),
        Err(error) if error.class() == ErrorClass::InvalidRequest => {
            tracing::debug!(%error, "a profile attribute was not written");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
