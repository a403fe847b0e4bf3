//! What a bot is offered in one turn: decided by its flags and lists, by what is there, and by nothing that a model says.
//!
//! An offer is a snapshot: names and schemas stay the same for the whole turn, in the same order for the same wish, so
//! that a provider's prompt cache can reuse them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::availability::Present;
use crate::schema;
use crate::tool::{Origin, Scope, Tool, ToolSpec};

/// Most tools that reach one prompt.
const MOST: usize = 64;
/// Longest name that providers take.
const MOST_NAME: usize = 64;
/// Longest description, in characters, of a tool that others describe.
const MOST_DESCRIPTION: usize = 4_000;
/// Largest schema, in bytes of JSON, of a tool that others describe.
const MOST_SCHEMA: usize = 32 * 1024;

/// What a bot may have in a turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// Tools at all.
    pub uses_tools: bool,
    /// The web.
    pub uses_search: bool,
    /// The house.
    pub uses_home_assistant: bool,
    /// Whether the bot has a memory.
    pub memory: bool,
    /// Whether an agent answers, with a model of its own.
    pub agent: bool,
    /// Only these, as `tool` or `tool.action`; `None` for all.
    pub allow: Option<&'a [String]>,
    /// Not these, as `tool` or `tool.action`.
    pub deny: &'a [String],
}

impl Wish<'_> {
    /// Whether nothing can come of it.
    pub(crate) fn is_empty(&self) -> bool {
        !(self.uses_tools || self.uses_search || self.uses_home_assistant)
    }

    pub(crate) fn grants(&self, scope: Scope) -> bool {
        match scope {
            Scope::Core => self.uses_tools,
            Scope::Memory => self.uses_tools && self.memory,
            Scope::Search => self.uses_search,
            Scope::Home => self.uses_home_assistant,
            Scope::Models => self.uses_tools && !self.agent,
        }
    }

    /// The schema with the actions that are allowed; `None` when the tool is not.
    fn schema(&self, spec: &ToolSpec) -> Option<Value> {
        if self.deny.iter().any(|entry| same(entry, &spec.name)) {
            return None;
        }
        let whole = self.allow.is_none_or(|list| list.iter().any(|entry| same(entry, &spec.name)));
        let named = |list: &[String], action: &str| list.iter().any(|entry| names_action(entry, &spec.name, action));
        let allowed =
            |action: &str| (whole || self.allow.is_some_and(|list| named(list, action))) && !named(self.deny, action);
        let has_actions = spec.parameters.pointer("/properties/action/enum").is_some_and(Value::is_array);
        if !has_actions {
            return whole.then(|| spec.parameters.clone());
        }
        schema::narrowed(&spec.parameters, allowed)
    }
}

fn same(entry: &str, name: &str) -> bool {
    entry.trim().eq_ignore_ascii_case(name)
}

fn names_action(entry: &str, name: &str, action: &str) -> bool {
    entry.trim().rsplit_once('.').is_some_and(|(tool, of)| same(tool, name) && same(of, action))
}

/// A tool of an offer.
#[derive(Clone)]
pub(crate) struct Offered {
    pub(crate) tool: Arc<dyn Tool>,
    /// What its arguments are checked against.
    pub(crate) parameters: Value,
}

/// The tools of one turn; cheap to clone.
#[derive(Clone, Default)]
pub struct Offer {
    inner: Arc<Inner>,
}

struct Inner {
    tools: HashMap<String, Offered>,
    names: Arc<[String]>,
    openai: Arc<[Value]>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { tools: HashMap::new(), names: Arc::new([]), openai: Arc::new([]) }
    }
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.inner.names.iter()).finish()
    }
}

impl Offer {
    /// What of the tools that are there a wish gets. A tool that no provider would take is left out, not the others.
    pub(crate) fn of(wish: &Wish<'_>, shelves: &[(Scope, Present)]) -> Self {
        let present = || shelves.iter().filter(|(scope, _)| wish.grants(*scope)).flat_map(|(_, tools)| tools.iter());
        // The tools of the house itself take the place of the general one.
        let native_home = present().any(|tool| is(tool.spec(), Origin::Remote, Scope::Home));
        let mut tools = HashMap::new();
        let (mut names, mut openai) = (Vec::new(), Vec::new());
        for tool in present() {
            let spec = tool.spec();
            if native_home && is(spec, Origin::BuiltIn, Scope::Home) {
                continue;
            }
            let Some(parameters) = wish.schema(spec) else { continue };
            if let Some(why) = unfit(spec).or_else(|| tools.contains_key(&spec.name).then_some("its name is taken")) {
                let name: String = spec.name.chars().filter(|c| !c.is_control()).take(MOST_NAME).collect();
                tracing::warn!(name, why, "a tool is left out");
                continue;
            }
            if names.len() == MOST {
                tracing::warn!(most = MOST, "more tools than a prompt may have; the rest is left out");
                break;
            }
            names.push(spec.name.clone());
            openai.push(json!({
                "type": "function",
                "function": {"name": spec.name, "description": spec.description, "parameters": parameters},
            }));
            tools.insert(spec.name.clone(), Offered { tool: tool.clone(), parameters });
        }
        Self { inner: Arc::new(Inner { tools, names: names.into(), openai: openai.into() }) }
    }

    /// The names, in the order in which they are offered.
    #[must_use]
    pub fn names(&self) -> &Arc<[String]> {
        &self.inner.names
    }

    /// The tools as OpenAI describes them, in the same order.
    #[must_use]
    pub fn openai_tools(&self) -> &Arc<[Value]> {
        &self.inner.openai
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.names.is_empty()
    }

    /// Whether a tool of exactly this name is among them.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.inner.tools.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Offered> {
        self.inner.tools.get(name)
    }

    /// The one tool whose name differs only in case.
    pub(crate) fn meant(&self, name: &str) -> Option<&Offered> {
        let mut like = self.inner.names.iter().filter(|known| known.eq_ignore_ascii_case(name));
        let only = like.next().filter(|_| like.next().is_none())?;
        self.get(only)
    }
}

fn is(spec: &ToolSpec, origin: Origin, scope: Scope) -> bool {
    spec.origin == origin && spec.scope == scope
}

/// Why no provider would take the tool.
fn unfit(spec: &ToolSpec) -> Option<&'static str> {
    let name = spec.name.as_bytes();
    let plain = name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if name.is_empty() || name.len() > MOST_NAME || !plain {
        return Some("its name is not one");
    }
    if spec.parameters.get("type").and_then(Value::as_str) != Some("object") {
        return Some("its schema is not that of an object");
    }
    if spec.origin == Origin::Remote {
        if spec.description.chars().nth(MOST_DESCRIPTION).is_some() {
            return Some("its description is too long");
        }
        if spec.parameters.to_string().len() > MOST_SCHEMA {
            return Some("its schema is too large");
        }
    }
    None
}
