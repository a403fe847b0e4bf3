//! Everything a turn needs, owned by it from the start: no stage asks anybody who the bot is or what was requested.

use std::sync::Arc;

use greenroom_memory::Namespace;
use greenroom_protocol::chat::{ClientTools, Prompt};
use greenroom_protocol::{Animation, BotSlug, MessageId, RequestId, Sampling, TurnId, UserId};
use greenroom_provider::Engine;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use crate::settings::TurnSettings;

/// Whose past messages a bot sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HistoryScope {
    /// Everybody's: the bot has one conversation.
    #[default]
    Bot,
    /// Only those with the present user.
    User,
}

/// What a turn knows of its bot: a snapshot, so that edits never change a running turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Persona {
    /// Identity.
    pub slug: BotSlug,
    /// Display name.
    pub name: String,
    /// Base prompt.
    pub system_prompt: String,
    /// False: a stateless bot that sees no history.
    pub requires_memory: bool,
    /// Whether the tool loop runs.
    pub uses_tools: bool,
    /// Whether the search tools are offered.
    pub uses_search: bool,
    /// Whether the tools of the house are offered.
    pub uses_home_assistant: bool,
    /// Only these tools, as `tool` or `tool.action`; `None` for all.
    pub tools_allow: Option<Vec<String>>,
    /// Not these.
    pub tools_deny: Vec<String>,
    /// Whether emotes are kept off the wire.
    pub voice_optimized: bool,
    /// Whose past messages it sees.
    pub history_scope: HistoryScope,
    /// Agent backend, for agent bots.
    pub agent_backend: Option<String>,
}

/// A turn about to begin.
#[derive(Debug)]
pub struct TurnPlan {
    /// The turn.
    pub id: TurnId,
    /// The request it came by.
    pub request_id: RequestId,
    /// The route template it came by.
    pub path: String,
    /// Whether the requester streams.
    pub stream: bool,
    /// The bot.
    pub persona: Arc<Persona>,
    /// The bot's stored messages.
    pub namespace: Namespace,
    /// Who asks.
    pub user: UserId,
    /// What was said.
    pub prompt: Prompt,
    /// Id of the stored user message.
    pub trigger: MessageId,
    /// Generation parameters the request itself set.
    pub sampling: Sampling,
    /// The client's own tools.
    pub client_tools: ClientTools,
    /// Effective tunables.
    pub settings: Arc<TurnSettings>,
    /// The model.
    pub engine: Engine,
    /// Who answers in its place, in order, when it fails before it has said anything.
    pub fallbacks: Vec<Engine>,
    /// Warnings from before the turn, such as a model fallback.
    pub warnings: Vec<String>,
    /// Effective speech mode.
    pub tts_mode: bool,
    /// Text of the speech rules.
    pub tts_instructions: Arc<str>,
    /// Inject memories.
    pub augment_memory: bool,
    /// Extract facts afterwards.
    pub extract_memory: bool,
    /// Inject summaries.
    pub include_summaries: bool,
    /// Animations of the client's avatar; empty unless one is to be picked.
    pub animations: Vec<Animation>,
    /// The client's system text, cleaned.
    pub client_context: Option<String>,
    /// Device control: short history, no priming.
    pub home_mode: bool,
    /// Stop when the last viewer has left, after a grace.
    pub cancel_on_disconnect: bool,
    /// The admission permit, held until the turn's end is stored.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl TurnPlan {
    /// Whether facts may be extracted from the turn's messages.
    #[must_use]
    pub fn extracts(&self) -> bool {
        self.extract_memory && self.persona.requires_memory
    }
}
