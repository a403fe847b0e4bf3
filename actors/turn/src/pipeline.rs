//! The turn's way through its seven stages. Streaming or not makes no difference here: the answer goes into the log, and
//! whoever asked reads it from there.
//!
//! A stage takes what the plan and the stages before it made. The request to the model waits only for what it needs: a
//! stateless bot's goes out without any database read, and nothing here waits for a database write.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use greenroom_memory::summaries::context_text;
use greenroom_memory::{MessageStatus, NewMessage};
use greenroom_prompts::{Rendered, Source};
use greenroom_protocol::message::Part;
use greenroom_protocol::{ErrorClass, FinishReason, Message, Role, Sampling, TurnEvent};
use greenroom_provider::CompletionRequest;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, TurnFailure};
use crate::execute::execute;
use crate::history::{HistoryLimits, cut_middle, estimate, estimate_text, fit_summaries, merge_unanswered, select};
use crate::journal::JournalOp;
use crate::past::{self, Past};
use crate::plan::TurnPlan;
use crate::prompt::{PromptBuilder, position, temporal_context};
use crate::reminders::{self, Meaning};
use crate::stage::{Stage, StageClock};
use crate::turn::TurnShared;

/// Longest wait for the animation pick.
const ANIMATION_WITHIN: Duration = Duration::from_millis(200);
/// History rows in device-control mode.
const HOME_ROWS: usize = 6;

/// Runs all stages; the answer grows as it goes, so that it is there however the turn ends.
pub(crate) async fn run(
    shared: &Arc<TurnShared>,
    answer: &mut Answer,
    clock: &mut StageClock,
    cancel: &CancellationToken,
) -> Result<FinishReason, TurnFailure> {
    // Boxed, so that what the preparing stages needed is not kept for the life of the stream.
    let (request, notes) = Box::pin(prepare(shared, clock)).await?;
    clock.enter(Stage::Execute);
    answer.prompt_chars = request.messages.iter().map(|message| message.content.chars().count()).sum();
    let finish = execute(shared, request, notes, answer, cancel).await?;
    clock.enter(Stage::PostProcess);
    Box::pin(pick_animation(shared, answer)).await;
    Ok(finish)
}

/// What the turn log notes of a prompt beside its text.
#[derive(Debug)]
pub(crate) struct PromptNotes {
    /// Names of the system prompt's sections, in order.
    pub(crate) sections: Vec<&'static str>,
    /// What was brought to mind, and by which scores.
    pub(crate) memory: Value,
}

/// The stages before the model is asked: the request, and what is noted about it.
async fn prepare(
    shared: &Arc<TurnShared>,
    clock: &mut StageClock,
) -> Result<(CompletionRequest, PromptNotes), TurnFailure> {
    let plan = &shared.plan;
    pre_process(shared).await?;
    clock.enter(Stage::ContextBuild);
    let mut prompt = context_build(shared).await;
    clock.enter(Stage::MemoryRetrieval);
    let meaning = Meaning::of(&shared.plan);
    let mut past = past::read(shared).await?;
    let reminders = reminders::recall(shared, &past, meaning).await;
    if let Some(profiles) = &past.profiles {
        prompt.add("user_context", position::USER_CONTEXT, &profiles.user.text);
        prompt.add("bot_traits", position::BOT_TRAITS, &profiles.bot.text);
    }
    reminders.add_to(&mut prompt, shared, &past);
    let memory = reminders.snapshot(&past);
    clock.enter(Stage::HistoryFilter);
    past.messages = history_filter(plan, std::mem::take(&mut past.messages));
    clock.enter(Stage::MessageAssembly);
    let request = message_assembly(shared, &mut prompt, past)?;
    Ok((request, PromptNotes { sections: prompt.names(), memory }))
}

/// Opens the bot's memory and hands the user's message to the journal, before anything else can fail.
async fn pre_process(shared: &Arc<TurnShared>) -> Result<(), TurnFailure> {
    let plan = &shared.plan;
    let opened = plan.namespace.open().await;
    opened.map_err(|error| {
        tracing::warn!(%error, bot = %plan.persona.slug, "memory could not be opened");
        TurnFailure::new(error.class(), "the message store is not available")
    })?;
    // Tool results continue a prompt that an earlier turn has stored already.
    if plan.prompt.tail.is_empty() && !plan.prompt.text.trim().is_empty() {
        shared.record(JournalOp::Message(Arc::new(NewMessage {
            bot: plan.persona.slug.clone(),
            id: plan.trigger.row_id(&plan.persona.slug),
            role: Role::User,
            content: plan.prompt.text.clone(),
            ts: shared.started_at,
            user: plan.user.clone(),
            turn: plan.id.clone(),
            status: MessageStatus::Complete,
            metadata: user_metadata(plan),
            extract: plan.extracts(),
            session: None,
            session_gap: plan.settings.session_gap(),
        })));
    }
    Ok(())
}

/// Attachment digests and the client's own id, where there are any.
fn user_metadata(plan: &TurnPlan) -> Option<Value> {
    let images: Vec<String> = plan.prompt.parts.iter().map(|Part::Image { url, .. }| image_reference(url)).collect();
    let own_id = uuid::Uuid::parse_str(plan.trigger.as_str()).is_err().then(|| plan.trigger.as_str());
    if images.is_empty() && own_id.is_none() {
        return None;
    }
    let mut metadata = json!({});
    if !images.is_empty() {
        metadata["images"] = images.into();
    }
    if let Some(id) = own_id {
        metadata["client_id"] = id.into();
    }
    Some(metadata)
}

/// The sections that do not depend on history.
async fn context_build(shared: &TurnShared) -> PromptBuilder {
    let plan = &shared.plan;
    let mut prompt = PromptBuilder::default();
    prompt.add("base_prompt", position::BASE_PROMPT, &plan.persona.system_prompt);
    if let Some(context) = &plan.client_context {
        let share = context_budget(plan) / 4;
        let context = cut_middle(context.trim(), share * 4);
        prompt.add("client_context", position::CLIENT_CONTEXT, &format!("## Client Context\n\n{context}"));
    }
    if plan.tts_mode {
        prompt.add("tts_output", position::CUSTOM, &tts_instructions(shared).await);
    }
    prompt
}

/// The speech rules: an edited template, else what the configuration says.
async fn tts_instructions(shared: &TurnShared) -> Arc<str> {
    let plan = &shared.plan;
    match shared.room.rooms.prompts.render("chat.tts_output_instructions", Some(&plan.persona.slug), &[]).await {
        Ok(Rendered { source: Source::DbOverride, text, .. }) => text.into(),
        Ok(_) => plan.tts_instructions.clone(),
        Err(error) => {
            tracing::warn!(%error, "the template of the speech rules could not be read");
            plan.tts_instructions.clone()
        }
    }
}

/// Picks the avatar's animation for a finished text; without an embedder, or when it takes too long, there is none.
async fn pick_animation(shared: &TurnShared, answer: &mut Answer) {
    let animations = &shared.plan.animations;
    if animations.is_empty() || answer.text.trim().is_empty() {
        return;
    }
    let pick = shared.room.animations.pick(animations, &answer.text);
    if let Ok(Some(name)) = tokio::time::timeout(ANIMATION_WITHIN, pick).await {
        shared.append(vec![TurnEvent::Animation(name.as_str().into())]);
        answer.animation = Some(name);
    }
}

/// Decides which messages are eligible at all.
fn history_filter(plan: &TurnPlan, mut past: Vec<Message>) -> Vec<Message> {
    if plan.persona.requires_memory {
        past.retain(|message| matches!(message.role, Role::User | Role::Assistant));
        if !plan.prompt.tail.is_empty() {
            // The prompt being continued is the newest stored message of the user; it is assembled on its own below.
            let same = |m: &Message| m.role == Role::User && m.content == plan.prompt.text;
            if let Some(at) = past.iter().rposition(same) {
                past.truncate(at);
            }
        }
    }
    if plan.home_mode && past.len() > HOME_ROWS {
        past.drain(..past.len() - HOME_ROWS);
    }
    merge_unanswered(past)
}

/// Puts together what the model will see, within the budget.
fn message_assembly(
    shared: &Arc<TurnShared>,
    prompt: &mut PromptBuilder,
    past: Past,
) -> Result<CompletionRequest, TurnFailure> {
    let plan = &shared.plan;
    let zone = reminders::zone(shared, &past);
    let history = past.messages;
    prompt.add("temporal_context", position::TEMPORAL, &temporal_context(shared.started_at, zone, &history));
    let system = prompt.build();
    let mut latest = Message { parts: plan.prompt.parts.clone(), ..Message::text(Role::User, &plan.prompt.text) };
    if !plan.engine.capabilities().images && !latest.parts.is_empty() {
        latest.parts.clear();
        shared.warn("image_dropped: the model does not take images");
    }
    let tools: usize = plan.client_tools.tools.iter().map(|tool| estimate_text(&tool.to_string())).sum();
    let tail: usize = plan.prompt.tail.iter().map(estimate).sum();
    let fixed = estimate_text(&system) + 4 + tools + estimate(&latest) + tail;
    let window = usize::try_from(plan.engine.context_window()).unwrap_or(usize::MAX);
    if fixed > window {
        return Err(TurnFailure::new(
            ErrorClass::ContextTooLong,
            format!("the prompt needs about {fixed} tokens and the model's window holds {window}"),
        ));
    }
    let mut limits = HistoryLimits {
        budget: context_budget(plan).saturating_sub(fixed),
        protected_turns: usize::try_from(plan.settings.memory_protected_recent_turns).unwrap_or(0),
        max_messages: usize::try_from(plan.settings.max_context_messages).unwrap_or(0),
    };
    let compact = plan.settings.summarization_compact_context;
    let summaries = past.summaries.iter().map(|summary| context_text(summary, shared.started_at, compact));
    let summaries = fit_summaries(summaries.map(|text| Message::text(Role::System, text)), &history, &mut limits);
    let history = select(history, limits);
    let mut messages = Vec::with_capacity(summaries.len() + history.len() + 2 + plan.prompt.tail.len());
    if !system.is_empty() {
        messages.push(Message::text(Role::System, system));
    }
    messages.extend(summaries);
    messages.extend(history);
    messages.push(latest);
    messages.extend(plan.prompt.tail.iter().cloned());
    Ok(CompletionRequest {
        messages,
        tools: plan.client_tools.tools.clone(),
        tool_choice: plan.client_tools.tool_choice.clone(),
        parallel_tool_calls: plan.client_tools.parallel_tool_calls,
        sampling: sampling(plan),
        user: None,
        trace_id: plan.id.to_string(),
    })
}

/// What the client set wins over the bot's settings; the model's own limit bounds the output.
fn sampling(plan: &TurnPlan) -> Sampling {
    let wanted = plan.sampling.max_tokens.unwrap_or(plan.settings.max_output_tokens);
    Sampling {
        temperature: plan.sampling.temperature.or(Some(plan.settings.temperature)),
        top_p: plan.sampling.top_p.or(Some(plan.settings.top_p)),
        max_tokens: Some(wanted.min(plan.engine.max_output_tokens()).max(1)),
        ..plan.sampling.clone()
    }
}

/// Tokens for the whole prompt: the setting, or the window less the output limit.
pub(crate) fn context_budget(plan: &TurnPlan) -> usize {
    plan.settings.context_budget(plan.engine.context_window())
}

/// The assembled prompt as the turn log keeps it: what the model saw, with images replaced by their digests.
pub(crate) fn snapshot(request: &CompletionRequest, notes: &PromptNotes) -> String {
    #[derive(Serialize)]
    struct Snapshot<'a> {
        messages: Vec<Cow<'a, Message>>,
        parameters: &'a Sampling,
        sections: &'a [&'static str],
        memory: &'a Value,
        #[serde(skip_serializing_if = "<[Value]>::is_empty")]
        tools: &'a [Value],
        #[serde(skip_serializing_if = "Option::is_none")]
        tool_choice: Option<&'a Option<Value>>,
    }
    let shown = |message: &'_ Message| {
        let mut message = message.clone();
        for Part::Image { url, .. } in &mut message.parts {
            *url = image_reference(url);
        }
        message
    };
    let messages = request.messages.iter();
    let snapshot = Snapshot {
        messages: messages.map(|m| if m.parts.is_empty() { Cow::Borrowed(m) } else { Cow::Owned(shown(m)) }).collect(),
        parameters: &request.sampling,
        sections: &notes.sections,
        memory: &notes.memory,
        tools: &request.tools,
        tool_choice: (!request.tools.is_empty()).then_some(&request.tool_choice),
    };
    serde_json::to_string(&snapshot).unwrap_or_default()
}

/// A remote URL as it is; inline data as its type and SHA-256.
fn image_reference(url: &str) -> String {
    let Some((header, data)) = url.strip_prefix("data:").and_then(|rest| rest.split_once(',')) else {
        return url.to_owned();
    };
    let kind = header.split(';').next().unwrap_or_default();
    let digest: String = Sha256::digest(data.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digest};{kind}")
}

/// Seconds since 1970 with sub-second precision.
pub(crate) fn epoch(at: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 are below 2^52 until 2112")]
    let microseconds = at.as_microsecond() as f64;
    microseconds / 1_000_000.0
}

/// Milliseconds between two instants.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
