//! The tools of one turn: the service's own, as the bot's flags allow, and those that the client brought along.
//!
//! A client's tool hides one of ours that has its name. Whatever a model calls, only what is in here runs.

use std::sync::Arc;

use greenroom_tools::{Offer, Wish};
use serde_json::Value;

use crate::plan::TurnPlan;
use crate::turn::TurnShared;

/// What the model may call.
#[derive(Debug)]
pub(crate) struct Kit {
    /// What this service runs.
    pub(crate) own: Offer,
    /// Names of what the client runs.
    client: Vec<String>,
    /// Both.
    pub(crate) names: Arc<[String]>,
}

impl Kit {
    /// What the plan grants.
    pub(crate) async fn of(shared: &TurnShared) -> Self {
        let plan = &shared.plan;
        let mut client: Vec<String> = client_names(plan).map(str::to_owned).collect();
        let own = offer(shared, &client).await;
        if !own.is_empty() && plan.client_tools.tool_choice.as_ref().is_some_and(|choice| choice == "none") {
            // The client speaks for its own tools alone.
            client.clear();
        }
        let names = match client.as_slice() {
            [] => own.names().clone(),
            client => own.names().iter().chain(client).cloned().collect(),
        };
        Self { own, client, names }
    }

    /// Whether there is nothing to call.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the client runs the tool of this name. Without tools of our own, everything is the client's.
    pub(crate) fn is_clients(&self, name: &str) -> bool {
        self.own.is_empty() || self.client.iter().any(|known| known == name)
    }

    /// Whether the client's tools are on offer.
    pub(crate) fn has_clients(&self) -> bool {
        !self.client.is_empty()
    }

    /// All as OpenAI tool objects, always in the same order: ours, then the client's.
    pub(crate) fn objects<'a>(&'a self, plan: &'a TurnPlan) -> impl Iterator<Item = &'a Value> {
        let client = if self.client.is_empty() { &[] } else { plan.client_tools.tools.as_slice() };
        self.own.openai_tools().iter().chain(client)
    }
}

async fn offer(shared: &TurnShared, client: &[String]) -> Offer {
    let (plan, persona) = (&shared.plan, &shared.plan.persona);
    if !persona.uses_tools || persona.agent_backend.is_some() {
        return Offer::default();
    }
    let hidden: Vec<String> = match client {
        [] => Vec::new(),
        client => persona.tools_deny.iter().chain(client).cloned().collect(),
    };
    let wish = Wish {
        uses_tools: true,
        uses_search: persona.uses_search,
        uses_home_assistant: persona.uses_home_assistant,
        memory: persona.requires_memory && plan.augment_memory,
        agent: false,
        allow: persona.tools_allow.as_deref(),
        deny: if client.is_empty() { &persona.tools_deny } else { &hidden },
    };
    shared.room.rooms.tools.offer(&wish).await
}

/// Names of the tools that the client brought along.
fn client_names(plan: &TurnPlan) -> impl Iterator<Item = &str> {
    plan.client_tools.tools.iter().filter_map(|tool| tool["function"]["name"].as_str())
}
