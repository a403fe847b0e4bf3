//! The `home` tool: the house behind an MCP server that knows only states and entities.
//!
//! Names that people use are looked up among the entities here, and a device is only ever set by its exact id, so that no
//! guess of the server reaches a lock. What locks, arms or opens the house is never looked up: it takes the exact id.

use std::sync::Arc;
use std::time::Duration;

use greenroom_mcp::{CallResult, Connection, McpError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::entity::{self, Choice, EntityId};
use super::home_native::{MOMENT, asked, told};
use super::{Done, invalid, needed, not_found};
use crate::outcome::ToolOutcome;
use crate::tool::{BoxFuture, CallContext, Effects, Scope, Tool, ToolSpec, parse};

const ABOUT: &str = "Looks at and controls the devices of the house. status: everything at a glance. query: find entities by \
     pattern or domain. get: one entity. set: switch, open, close, lock or dim one. scene: apply a scene. Look up the exact \
     entity id before setting anything; locks, alarms, gates and doors take nothing else.";

/// Entities that an answer suggests.
const SUGGESTIONS: usize = 3;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// What to do.
    action: Action,
    /// For query: part of a name.
    #[schemars(length(max = 200))]
    pattern: Option<String>,
    /// For query: a domain such as light, switch, cover, climate or lock.
    #[schemars(length(max = 64))]
    domain: Option<String>,
    /// For get and set: the entity id, for example light.kitchen.
    #[schemars(length(max = 200))]
    entity: Option<String>,
    /// For set: the state it should have.
    state: Option<State>,
    /// For set: brightness in percent.
    #[schemars(range(min = 0, max = 100))]
    brightness: Option<u8>,
    /// For scene: its name.
    #[schemars(length(max = 200))]
    scene_name: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    Status,
    StatusRaw,
    Query,
    Get,
    Set,
    Scene,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum State {
    On,
    Off,
    Toggle,
    Open,
    Close,
    Stop,
    Lock,
    Unlock,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Toggle => "toggle",
            Self::Open => "open",
            Self::Close => "close",
            Self::Stop => "stop",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
        }
    }
}

struct Home {
    spec: ToolSpec,
    server: Connection,
}

pub(super) fn tool(server: Connection, timeout: Duration) -> Arc<dyn Tool> {
    Arc::new(Home { spec: ToolSpec::built_in::<Arguments>("home", ABOUT, Scope::Home, timeout), server })
}

impl Tool for Home {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effects(&self, arguments: &Value) -> Effects {
        let word = |name: &str| arguments[name].as_str().unwrap_or_default();
        match word("action") {
            "set" => match word("state") {
                "on" | "off" if EntityId::exact(word("entity")).is_some_and(|id| !id.is_guarded()) => {
                    Effects::Idempotent
                }
                _ => Effects::Dangerous,
            },
            "scene" => Effects::Dangerous,
            _ => Effects::ReadOnly,
        }
    }

    fn available(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let _ = self.server.discovered(MOMENT).await;
            self.server.is_up()
        })
    }

    fn call<'a>(&'a self, cx: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome> {
        Box::pin(async move { self.act(cx, arguments).await.unwrap_or_else(|refused| refused) })
    }
}

impl Home {
    async fn act(&self, cx: &CallContext, arguments: Value) -> Done {
        let given: Arguments = parse(arguments)?;
        match given.action {
            Action::Status => {
                let result = self.ask("status", json!({}), cx).await?;
                let warning = impossible_battery(&result.text);
                let mut outcome = told(result);
                if let Some(level) = warning.filter(|_| outcome.ok()) {
                    outcome = ToolOutcome::success(format!(
                        "{}\n\nWarning: a battery level of {level} % is not possible; do not rely on it.",
                        outcome.text
                    ))
                    .untrusted();
                }
                Ok(outcome)
            }
            Action::StatusRaw => {
                let mut result = self.ask("status", json!({}), cx).await?;
                if let Some(whole) = &result.structured {
                    result.text = serde_json::to_string_pretty(whole).unwrap_or_default();
                }
                Ok(told(result))
            }
            Action::Query => {
                let wanted = json!({"pattern": given.pattern, "domain": given.domain});
                Ok(told(self.ask("query", without_nulls(wanted), cx).await?))
            }
            Action::Get => self.get(&needed(given.entity, "entity", "get")?, cx).await,
            Action::Set => {
                let (entity, state) = (needed(given.entity, "entity", "set")?, needed(given.state, "state", "set")?);
                self.set(&entity, state, given.brightness, cx).await
            }
            Action::Scene => {
                let name = needed(given.scene_name, "scene_name", "scene")?;
                Ok(told(self.ask("scene", json!({"name": name}), cx).await?))
            }
        }
    }

    async fn ask(&self, tool: &str, arguments: Value, cx: &CallContext) -> Result<CallResult, McpError> {
        asked(&self.server, tool, arguments, cx).await
    }

    async fn get(&self, name: &str, cx: &CallContext) -> Done {
        let first = self.ask("get", json!({"entity": name}), cx).await?;
        if !is_unknown(&first) {
            return Ok(told(first));
        }
        let found = self.resolve(name, cx).await?;
        Ok(told(self.ask("get", json!({"entity": found.as_str()}), cx).await?))
    }

    async fn set(&self, name: &str, state: State, brightness: Option<u8>, cx: &CallContext) -> Done {
        let send = async |id: &EntityId| {
            let wanted = json!({"entity": id.as_str(), "state": state.as_str(), "brightness": brightness});
            self.ask("set", without_nulls(wanted), cx).await
        };
        let exact = EntityId::exact(name);
        if let Some(id) = &exact {
            let first = send(id).await?;
            if !is_unknown(&first) {
                return Ok(told(first));
            }
        }
        if matches!(state, State::Lock | State::Unlock) || exact.is_some_and(|id| id.is_guarded()) {
            return Err(not_found(format!(
                "'{}' is not the exact id of an entity. Locks, alarms, gates and doors are never guessed: find the id with query, \
                 and ask the user when more than one could be meant.",
                super::line(name, 100)
            )));
        }
        let found = self.resolve(name, cx).await?;
        Ok(told(send(&found).await?))
    }

    /// The entity that is meant by a name, if one clearly is and may be guessed.
    async fn resolve(&self, name: &str, cx: &CallContext) -> Result<EntityId, ToolOutcome> {
        let (domain, patterns) = entity::patterns(name);
        if patterns.is_empty() {
            return Err(invalid("'entity' must be the id of an entity, for example light.kitchen."));
        }
        let mut known = Vec::new();
        for pattern in patterns {
            let wanted = json!({"pattern": pattern, "domain": domain});
            let result = self.ask("query", without_nulls(wanted), cx).await?;
            known = if result.is_error { Vec::new() } else { entity::ids_in(&result.text) };
            if !known.is_empty() {
                break;
            }
        }
        match entity::choose(name, &known) {
            Choice::One(id) => Ok(id),
            Choice::None(near) => {
                let mut words = format!(
                    "No entity is clearly meant by '{}'; find its id with query first.",
                    super::line(name, 100)
                );
                if !near.is_empty() {
                    let near: Vec<&str> = near.iter().take(SUGGESTIONS).map(EntityId::as_str).collect();
                    words.push_str(&format!(" Similar: {}.", near.join(", ")));
                }
                Err(not_found(words))
            }
        }
    }
}

/// Whether the server says that it does not know the entity, or knows several.
fn is_unknown(result: &CallResult) -> bool {
    let text = result.text.get(..500).unwrap_or(&result.text).to_lowercase();
    text.contains("not found") || text.contains("multiple matches")
}

fn without_nulls(mut arguments: Value) -> Value {
    if let Some(members) = arguments.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    arguments
}

/// A reported battery level below 0 or above 100.
fn impossible_battery(text: &str) -> Option<f64> {
    let lower = text.to_lowercase();
    let levels = lower.match_indices("battery").filter_map(|(at, word)| {
        let rest = &lower[at + word.len()..];
        let start = rest.find(|c: char| c.is_ascii_digit() || c == '-')?;
        let between: String = rest[..start].chars().filter(|c| c.is_alphabetic() || *c == '\n').collect();
        if !matches!(between.as_str(), "" | "level" | "percent" | "percentage" | "is" | "levelis") {
            return None;
        }
        let number = &rest[start..];
        let end = number
            .char_indices()
            .skip(1)
            .find(|(_, c)| !c.is_ascii_digit() && *c != '.')
            .map_or(number.len(), |(at, _)| at);
        number[..end].trim_end_matches('.').parse::<f64>().ok()
    });
    levels.into_iter().find(|level| !(0.0..=100.0).contains(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_battery_cannot_be_fuller_than_full() {
        for (text, level) in [
            ("Battery: 55 %", None),
            (r#"{"battery": 255, "x": 1}"#, Some(255.0)),
            ("phone battery level is -3%", Some(-3.0)),
            ("battery_voltage: 300", None),
            ("battery\n400 W from the roof", None),
            ("Battery low. 3 of 200", None),
            ("battery 100.5", Some(100.5)),
            ("battery", None),
            ("battery -", None),
        ] {
            assert_eq!(impossible_battery(text), level, "{text}");
        }
    }
}
