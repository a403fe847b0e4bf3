//! The `self` tool: how a bot describes its own character as it develops. It touches the calling bot's entries and no other's.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use greenroom_profile::{Attribute, AttributeDraft, Entity, Profiles, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::profile::{Entries, Which, data, shown};
use super::{Done, invalid, needed};
use crate::outcome::ToolOutcome;
use crate::schema::any_value;
use crate::tool::{BoxFuture, CallContext, Effects, Scope, Tool, ToolSpec, parse};
use crate::tools::ToolRooms;

const ABOUT: &str = "Your own character as it develops: get shows the traits that you have noted about yourself; set notes one, \
                     update changes one, delete removes it. Note only what has proved itself and should stay.";
/// Traits that an answer lists.
const MOST: usize = 200;
/// Longest value, in characters of text.
const MOST_VALUE: usize = 10_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// What to do.
    action: Action,
    /// What sort of trait; personality if not given.
    category: Option<Category>,
    /// Which trait, such as humour.
    #[schemars(length(max = 100))]
    key: Option<String>,
    /// For set and update: the trait in words.
    #[serde(default)]
    #[schemars(schema_with = "any_value")]
    value: Option<Value>,
    /// For delete: remove the traits in which these words occur.
    #[schemars(length(min = 2, max = 100))]
    query: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    Get,
    Set,
    Update,
    Delete,
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Category {
    Personality,
    Preference,
    Interest,
    CommunicationStyle,
    /// The same as communication_style.
    Communication,
}

impl Category {
    const ALL: [Self; 4] = [Self::Personality, Self::Preference, Self::Interest, Self::CommunicationStyle];

    fn as_str(self) -> &'static str {
        match self {
            Self::Personality => "personality",
            Self::Preference => "preference",
            Self::Interest => "interest",
            Self::CommunicationStyle | Self::Communication => "communication_style",
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Personality => "Personality",
            Self::Preference => "Preferences",
            Self::Interest => "Interests",
            Self::CommunicationStyle | Self::Communication => "Communication style",
        }
    }
}

struct Own {
    spec: ToolSpec,
    profiles: Profiles,
}

pub(super) fn tool(rooms: &ToolRooms, timeout: Duration) -> Arc<dyn Tool> {
    let spec = ToolSpec::built_in::<Arguments>("self", ABOUT, Scope::Memory, timeout);
    Arc::new(Own { spec, profiles: rooms.profiles.clone() })
}

impl Tool for Own {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effects(&self, arguments: &Value) -> Effects {
        match arguments["action"].as_str() {
            Some("get") => Effects::ReadOnly,
            _ => Effects::Idempotent,
        }
    }

    fn call<'a>(&'a self, cx: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome> {
        Box::pin(async { self.serve(cx, arguments).await.unwrap_or_else(|refused| refused) })
    }
}

impl Own {
    async fn serve(&self, cx: &CallContext, arguments: Value) -> Done {
        let wanted: Arguments = parse(arguments)?;
        let entries = Entries { profiles: &self.profiles, entity: Entity::bot(&cx.bot), actor: cx.bot.as_str() };
        let category = wanted.category.unwrap_or(Category::Personality).as_str();
        let too_long = |value: &Value| match value {
            Value::String(text) => text.chars().count() > MOST_VALUE,
            other => other.to_string().chars().count() > MOST_VALUE,
        };
        if wanted.value.as_ref().is_some_and(too_long) {
            return Err(invalid(format!("'value' may have at most {MOST_VALUE} characters.")));
        }
        match wanted.action {
            Action::Get => Ok(told(&entries.all().await?)),
            Action::Set => {
                let key = needed(wanted.key, "key", "set")?;
                let value = needed(wanted.value, "value", "set")?;
                let entity = entries.entity.clone();
                entries.set(AttributeDraft::new(entity, category, &key, value, 1.0, Source::SelfWritten)?).await
            }
            Action::Update => {
                let key = needed(wanted.key, "key", "update")?;
                let value = needed(wanted.value, "value", "update")?;
                entries.update(Which { id: None, category: Some(category), key: Some(&key) }, Some(value), None).await
            }
            Action::Delete => {
                // Words alone are looked for everywhere.
                let named = wanted.category.is_some() || wanted.key.is_some();
                entries.delete(named.then_some(category), wanted.key.as_deref(), wanted.query.as_deref()).await
            }
        }
    }
}

fn told(all: &[Attribute]) -> ToolOutcome {
    let mut text = String::new();
    for category in Category::ALL {
        let of: Vec<String> =
            all.iter().filter(|entry| entry.category == category.as_str()).take(MOST).map(shown).collect();
        if !of.is_empty() {
            let _ = writeln!(text, "{}:\n{}", category.heading(), of.join("\n"));
        }
    }
    if text.is_empty() {
        return ToolOutcome::success(
            "You have noted no traits yet. Whatever you find out about yourself may begin the list.",
        );
    }
    ToolOutcome::success(text.trim_end()).with_data(all.iter().take(MOST).map(data).collect())
}
