//! The turn's way through its seven stages. Streaming or not makes no difference here: the answer goes into the log, and
//! whoever asked reads it from there.
//!
//! A stage takes what the plan and the stages before it made. The request to the model waits only for what it needs: a
//! stateless bot's goes out without any database read, and nothing here waits for a database write.

use std::sync::Arc;
use std::time::Duration;

use greenroom_memory::summaries::context_text;
use greenroom_memory::{MessageStatus, NewMessage};
use greenroom_prompts::{Rendered, Source};
use greenroom_protocol::message::Part;
use greenroom_protocol::{FinishReason, Message, Role, TurnEvent};
use greenroom_tools::CallContext;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::activity;
use crate::answer::{Answer, TurnFailure};
use crate::assembly::{Brief, image_reference};
use crate::carry;
use crate::history::{cut_middle, merge_unanswered};
use crate::journal::JournalOp;
use crate::kit::Kit;
use crate::past;
use crate::plan::{HistoryScope, TurnPlan};
use crate::prompt::{PromptBuilder, position, temporal_context};
use crate::reminders::{self, Meaning};
use crate::speaker::Speaker;
use crate::stage::{Stage, StageClock};
use crate::tool_loop::{Opening, converse};
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
    let opening = Box::pin(prepare(shared, clock, cancel)).await?;
    clock.enter(Stage::Execute);
    let finish = converse(shared, opening, answer, cancel).await?;
    clock.enter(Stage::PostProcess);
    Box::pin(pick_animation(shared, answer)).await;
    Ok(finish)
}

/// The stages before the model is asked: who is asked, with which prompt, and what it may call.
async fn prepare<'a>(
    shared: &'a Arc<TurnShared>,
    clock: &mut StageClock,
    cancel: &CancellationToken,
) -> Result<Opening<'a>, TurnFailure> {
    let plan = &shared.plan;
    pre_process(shared).await?;
    clock.enter(Stage::ContextBuild);
    let kit = Kit::of(shared).await;
    let mut prompt = context_build(shared).await;
    clock.enter(Stage::MemoryRetrieval);
    let meaning = Meaning::of(&shared.plan);
    let mut past = past::read(shared).await?;
    let behind = carry::behind(shared, &kit).await;
    let reminders = reminders::recall(shared, &past, meaning).await;
    if let Some(profiles) = &past.profiles {
        prompt.add("user_context", position::USER_CONTEXT, &profiles.user.text);
        prompt.add("bot_traits", position::BOT_TRAITS, &profiles.bot.text);
    }
    reminders.add_to(&mut prompt, shared, &past);
    let memory = Arc::new(reminders.snapshot(&past));
    clock.enter(Stage::HistoryFilter);
    let history = history_filter(plan, std::mem::take(&mut past.messages));
    clock.enter(Stage::MessageAssembly);
    let zone = reminders::zone(shared, &past);
    prompt.add("temporal_context", position::TEMPORAL, &temporal_context(shared.started_at, zone.clone(), &history));
    let compact = plan.settings.summarization_compact_context;
    let summaries = past.summaries.iter().map(|summary| context_text(summary, shared.started_at, compact)).collect();
    let context = CallContext {
        bot: plan.persona.slug.clone(),
        bot_name: plan.persona.name.clone(),
        user: plan.user.clone(),
        only_user: plan.persona.history_scope == HistoryScope::User,
        turn: plan.id.clone(),
        namespace: plan.namespace.clone(),
        zone,
        now: shared.started_at,
        home_mode: plan.home_mode,
        cancel: cancel.child_token(),
    };
    let speaker = Speaker::new(shared, kit, Brief { prompt, history, summaries, memory }, &behind).await?;
    Ok(Opening { speaker, behind, context })
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
        past.retain(|message| message.role != Role::System);
        if !plan.prompt.tail.is_empty() {
            // The prompt being continued is the newest stored message of the user; it is assembled on its own below.
            let same = |m: &Message| m.role == Role::User && m.content == plan.prompt.text;
            if let Some(at) = past.iter().rposition(same) {
                past.truncate(at);
            }
        }
        past = activity::fold(past);
    }
    if plan.home_mode && past.len() > HOME_ROWS {
        past.drain(..past.len() - HOME_ROWS);
    }
    merge_unanswered(past)
}

/// Tokens for the whole prompt: the setting, or the window less the output limit.
pub(crate) fn context_budget(plan: &TurnPlan) -> usize {
    plan.settings.context_budget(plan.engine.context_window())
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
