//! The prompt of a turn, put together for one model: its system text, what of the past fits, and room for what happens
//! behind the prompt.
//!
//! A [`Brief`] is everything that does not depend on who answers; an [`Assembly`] is made of it for one model and one tool
//! format, and again when another takes over. When the rounds of the tool loop need room, the oldest past gives way.

use std::borrow::Cow;
use std::sync::Arc;

use greenroom_dialect::{Outline, ToolFormat, stops, tools_prompt};
use greenroom_protocol::message::Part;
use greenroom_protocol::{ErrorClass, Message, Role, Sampling};
use greenroom_provider::{CompletionRequest, Engine};
use greenroom_tools::{home_instructions_key, redacted_text};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::answer::TurnFailure;
use crate::history::{HistoryLimits, estimate, estimate_text, fit_summaries, select};
use crate::kit::Kit;
use crate::plan::TurnPlan;
use crate::prompt::{PromptBuilder, position};
use crate::rounds::Transcript;
use crate::structured;
use crate::turn::TurnShared;

/// A prompt, whoever answers it.
#[derive(Debug, Clone)]
pub(crate) struct Brief {
    /// Sections of the system prompt, without those that depend on the model.
    pub(crate) prompt: PromptBuilder,
    /// The eligible past, oldest first.
    pub(crate) history: Vec<Message>,
    /// Summaries of what lies before it, oldest first.
    pub(crate) summaries: Vec<String>,
    /// What was brought to mind, and by which scores, for the turn log.
    pub(crate) memory: Arc<Value>,
}

/// What the model may do in a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Call tools; the first time the client's own wish about it counts.
    First,
    /// Call tools.
    Open,
    /// Answer without tools.
    Closed,
}

/// A prompt for one model.
#[derive(Debug)]
pub(crate) struct Assembly {
    engine: Engine,
    format: ToolFormat,
    head: Vec<Message>,
    history: Vec<Message>,
    latest: Message,
    /// What history and rounds may cost together.
    limits: HistoryLimits,
    history_cost: usize,
    tools: Vec<Value>,
    sections: Vec<&'static str>,
    memory: Arc<Value>,
    /// Whether the wanted shape of the answer is the model's business or ours.
    pub(crate) enforces: bool,
}

impl Assembly {
    /// Puts a prompt together.
    ///
    /// # Errors
    /// When what cannot be left out does not fit the model's window.
    pub(crate) async fn of(
        shared: &TurnShared,
        kit: &Kit,
        brief: Brief,
        engine: &Engine,
        format: ToolFormat,
        behind: &Transcript,
    ) -> Result<Self, TurnFailure> {
        let (plan, mut prompt) = (&shared.plan, brief.prompt);
        let with_tools = !kit.is_empty() && format != ToolFormat::None;
        if with_tools {
            add_tools(shared, kit, format, &mut prompt).await;
        } else if kit.has_clients() {
            shared.warn("tools_dropped: the model does not take tools");
        }
        let enforces = structured::must_be_enforced(plan, engine, with_tools && format.is_text());
        if let Some(rule) = plan.sampling.response_format.as_ref().filter(|_| enforces) {
            prompt.add("response_format", position::CUSTOM, &structured::instructions(rule));
        }
        let (lasting, passing) = prompt.build();
        let mut latest = Message { parts: plan.prompt.parts.clone(), ..Message::text(Role::User, &plan.prompt.text) };
        if !engine.capabilities().images && !latest.parts.is_empty() {
            latest.parts.clear();
            shared.warn("image_dropped: the model does not take images");
        }
        let tools: Vec<Value> = match with_tools && format == ToolFormat::Native {
            true => kit.objects(plan).cloned().collect(),
            false => Vec::new(),
        };
        let schemas: usize = tools.iter().map(|tool| estimate_text(&tool.to_string())).sum();
        let fixed = estimate_text(&lasting) + estimate_text(&passing) + 8 + schemas + estimate(&latest);
        let window = usize::try_from(engine.context_window()).unwrap_or(usize::MAX);
        let least = fixed + behind.cost();
        if least > window {
            return Err(TurnFailure::new(
                ErrorClass::ContextTooLong,
                format!("the prompt needs about {least} tokens and the model's window holds {window}"),
            ));
        }
        let mut limits = HistoryLimits {
            budget: plan.settings.context_budget(engine.context_window()).saturating_sub(fixed),
            protected_turns: usize::try_from(plan.settings.memory_protected_recent_turns).unwrap_or(0),
            max_messages: usize::try_from(plan.settings.max_context_messages).unwrap_or(0),
        };
        let summaries = brief.summaries.into_iter().map(|text| Message::text(Role::System, text));
        let summaries = fit_summaries(summaries, &brief.history, &mut limits);
        // What changes with every turn stands last, so that a provider can reuse what it has read of the rest.
        let system = |text: String| (!text.is_empty()).then(|| Message::text(Role::System, text));
        let head = system(lasting).into_iter().chain(summaries).chain(system(passing)).collect();
        let within = HistoryLimits { budget: limits.budget.saturating_sub(behind.cost()), ..limits };
        let history = select(readable(brief.history, format), within);
        Ok(Self {
            engine: engine.clone(),
            format,
            head,
            history_cost: history.iter().map(estimate).sum(),
            history,
            latest,
            limits,
            tools,
            sections: prompt.names(),
            memory: brief.memory,
            enforces,
        })
    }

    /// Makes room for what happened behind the prompt: the oldest turns of the past go first, then results are shortened.
    pub(crate) fn make_room(&mut self, behind: &mut Transcript) {
        let cost = behind.cost();
        if self.history_cost + cost <= self.limits.budget {
            return;
        }
        let limits = HistoryLimits { budget: self.limits.budget.saturating_sub(cost), ..self.limits };
        self.history = select(std::mem::take(&mut self.history), limits);
        self.history_cost = self.history.iter().map(estimate).sum();
        behind.fit(self.limits.budget);
    }

    /// Lets go of everything: no other request will be built.
    pub(crate) fn forget(&mut self) {
        (self.head, self.history, self.tools) = (Vec::new(), Vec::new(), Vec::new());
    }

    /// The request of one pass.
    pub(crate) fn request(&self, plan: &TurnPlan, kit: &Kit, manner: Manner, behind: &[Message]) -> CompletionRequest {
        CompletionRequest {
            messages: self.messages(behind).cloned().collect(),
            tools: self.tools.clone(),
            tool_choice: self.tool_choice(plan, kit, manner),
            parallel_tool_calls: plan.client_tools.parallel_tool_calls.filter(|_| !self.tools.is_empty()),
            sampling: self.sampling(plan, manner),
            user: None,
            trace_id: plan.id.to_string(),
        }
    }

    fn tool_choice(&self, plan: &TurnPlan, kit: &Kit, manner: Manner) -> Option<Value> {
        let wish = plan.client_tools.tool_choice.as_ref().filter(|_| kit.has_clients());
        match manner {
            _ if self.tools.is_empty() => None,
            Manner::Closed => Some(Value::from("none")),
            Manner::First if wish.is_some() => wish.cloned(),
            Manner::First | Manner::Open => (!kit.own.is_empty()).then(|| Value::from("auto")),
        }
    }

    fn messages<'a>(&'a self, behind: &'a [Message]) -> impl Iterator<Item = &'a Message> {
        self.head.iter().chain(&self.history).chain([&self.latest]).chain(behind)
    }

    /// What the client set wins over the bot's settings; the model's own limit bounds the output. A format's stops are for
    /// the first pass: behind a tool's result they would cut the answer.
    fn sampling(&self, plan: &TurnPlan, manner: Manner) -> Sampling {
        let wanted = plan.sampling.max_tokens.unwrap_or(plan.settings.max_output_tokens);
        let mut stop = plan.sampling.stop.clone();
        let of_format = if manner == Manner::First && self.format.is_text() { stops(self.format) } else { &[] };
        for text in self.engine.adapter().stops().iter().chain(of_format) {
            if !stop.iter().any(|known| known == text) {
                stop.push((*text).to_owned());
            }
        }
        Sampling {
            temperature: plan.sampling.temperature.or(Some(plan.settings.temperature)),
            top_p: plan.sampling.top_p.or(Some(plan.settings.top_p)),
            max_tokens: Some(wanted.min(self.engine.max_output_tokens()).max(1)),
            stop,
            response_format: plan.sampling.response_format.clone().filter(|_| !self.enforces),
            ..plan.sampling.clone()
        }
    }

    /// The prompt as the turn log keeps it: what the model saw, with images replaced by their digests.
    pub(crate) fn snapshot(&self, plan: &TurnPlan, kit: &Kit, manner: Manner, behind: &[Message]) -> String {
        #[derive(Serialize)]
        struct Snapshot<'a> {
            model: &'a str,
            messages: Vec<Cow<'a, Message>>,
            parameters: Sampling,
            sections: &'a [&'static str],
            memory: &'a Value,
            #[serde(skip_serializing_if = "<[Value]>::is_empty")]
            tools: &'a [Value],
            #[serde(skip_serializing_if = "Option::is_none")]
            tool_choice: Option<Value>,
        }
        let snapshot = Snapshot {
            model: self.engine.alias(),
            messages: self.messages(&[]).map(shown).chain(behind.iter().map(told)).collect(),
            parameters: self.sampling(plan, manner),
            sections: &self.sections,
            memory: &self.memory,
            tools: &self.tools,
            tool_choice: self.tool_choice(plan, kit, manner),
        };
        serde_json::to_string(&snapshot).unwrap_or_default()
    }

    /// Characters of the prompt, for an estimate when the provider reports no usage.
    pub(crate) fn characters(&self, behind: &[Message]) -> usize {
        self.messages(behind).map(|message| message.content.chars().count()).sum()
    }
}

/// A client's earlier messages may hold calls; a model without function calling reads them as text.
fn readable(history: Vec<Message>, format: ToolFormat) -> Vec<Message> {
    match format != ToolFormat::Native && history.iter().any(|message| !message.tool_calls.is_empty()) {
        true => Transcript::of_client(&history).messages(format, ""),
        false => history,
    }
}

/// The sections that tell of tools: how they are called, and how memory is used with them.
async fn add_tools(shared: &TurnShared, kit: &Kit, format: ToolFormat, prompt: &mut PromptBuilder) {
    let Some(key) = format.instructions_key() else { return };
    // A model with function calling and a client's tools alone needs no words about them.
    if format.is_text() || !kit.own.is_empty() {
        let objects: Vec<&Value> = kit.objects(&shared.plan).collect();
        let outlines: Vec<Outline<'_>> = objects.into_iter().filter_map(Outline::of).collect();
        let instructions = shared.template(key, &[]).await;
        prompt.add("tools", position::TOOLS, &tools_prompt(format, &instructions, &outlines));
    }
    if let Some(key) = home_instructions_key(&kit.own) {
        prompt.add("home", position::TOOLS, &shared.template(key, &[]).await);
    }
    if !kit.own.is_empty() && shared.plan.persona.requires_memory {
        let text = shared.template("chat.global_instructions", &[]).await;
        prompt.add("global_instructions", position::GLOBAL_INSTRUCTIONS, &text);
    }
}

/// A message as the turn log shows it.
fn shown(message: &Message) -> Cow<'_, Message> {
    if message.parts.is_empty() {
        return Cow::Borrowed(message);
    }
    let mut message = message.clone();
    for Part::Image { url, .. } in &mut message.parts {
        *url = image_reference(url);
    }
    Cow::Owned(message)
}

/// The same for what happened behind the prompt, where calls and results may hold secrets.
fn told(message: &Message) -> Cow<'_, Message> {
    let mut message = shown(message).into_owned();
    for call in &mut message.tool_calls {
        call.arguments = redacted_text(&call.arguments).into_owned();
    }
    if let Cow::Owned(content) = redacted_text(&message.content) {
        message.content = content;
    }
    Cow::Owned(message)
}

/// A remote URL as it is; inline data as its type and SHA-256.
pub(crate) fn image_reference(url: &str) -> String {
    let Some((header, data)) = url.strip_prefix("data:").and_then(|rest| rest.split_once(',')) else {
        return url.to_owned();
    };
    let kind = header.split(';').next().unwrap_or_default();
    let digest: String = Sha256::digest(data.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digest};{kind}")
}
