//! The `profile` tool: what is known about the user. It touches the present user's entries and nobody else's.
//!
//! What the `profile` and `self` tools share is here too: finding, setting, changing and deleting entries of one entity.

use std::sync::Arc;
use std::time::Duration;

use greenroom_profile::{
    Attribute, AttributeDraft, AttributePatch, Entity, Outcome, ProfileError, Profiles, Source, Upserted,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Done, invalid, line, needed, not_found};
use crate::outcome::ToolOutcome;
use crate::schema::any_value;
use crate::tool::{BoxFuture, CallContext, Effects, Scope, Tool, ToolSpec, parse};
use crate::tools::ToolRooms;

const ABOUT: &str = "What is known about the user, as entries of category, key and value: get shows all of it with the number \
                     of each entry; set notes something about them, update corrects an entry, delete removes entries. For \
                     stable traits and preferences; single events belong into memory.";
/// Entries that an answer lists.
const MOST: usize = 100;
/// Characters of a value in a list.
const SHOWN: usize = 300;
/// How sure a conclusion is when nobody says.
const CONFIDENCE: f64 = 0.8;
/// Shortest words to delete by, in characters.
const WORDS: usize = 2;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// What to do.
    action: Action,
    /// For update: number of the entry as shown by get.
    #[schemars(range(min = 1))]
    attribute_id: Option<i64>,
    /// What sort of thing.
    category: Option<Category>,
    /// What exactly, such as favourite_food.
    #[schemars(length(max = 100))]
    key: Option<String>,
    /// For set and update: the value.
    #[serde(default)]
    #[schemars(schema_with = "any_value")]
    value: Option<Value>,
    /// For set and update: how sure it is, 0 to 1; 0.8 if not given when setting.
    #[schemars(range(min = 0.0, max = 1.0))]
    confidence: Option<f64>,
    /// For delete: remove the entries in which these words occur.
    #[schemars(length(max = 100))]
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
    Preference,
    Fact,
    Interest,
    Communication,
    Context,
}

impl Category {
    fn as_str(self) -> &'static str {
        match self {
            Self::Preference => "preference",
            Self::Fact => "fact",
            Self::Interest => "interest",
            Self::Communication => "communication",
            Self::Context => "context",
        }
    }
}

struct ProfileTool {
    spec: ToolSpec,
    profiles: Profiles,
}

pub(super) fn tool(rooms: &ToolRooms, timeout: Duration) -> Arc<dyn Tool> {
    let spec = ToolSpec::built_in::<Arguments>("profile", ABOUT, Scope::Memory, timeout);
    Arc::new(ProfileTool { spec, profiles: rooms.profiles.clone() })
}

impl Tool for ProfileTool {
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

impl ProfileTool {
    async fn serve(&self, cx: &CallContext, arguments: Value) -> Done {
        let wanted: Arguments = parse(arguments)?;
        let entries = Entries { profiles: &self.profiles, entity: Entity::user(&cx.user)?, actor: cx.bot.as_str() };
        let category = wanted.category.map(Category::as_str);
        match wanted.action {
            Action::Get => {
                let all = entries.all().await?;
                if all.is_empty() {
                    return Ok(ToolOutcome::success("Nothing is stored about the user yet.").with_data(json!([])));
                }
                let text = self.profiles.user_text(&cx.user).await?;
                let lines: Vec<String> = all.iter().take(MOST).map(shown).collect();
                let more = all.len().saturating_sub(MOST);
                let more = if more > 0 { format!("\n({more} more)") } else { String::new() };
                let text = format!("{}\n\nEntries by number:\n{}{more}", text.text, lines.join("\n"));
                Ok(ToolOutcome::success(text.trim_start()).with_data(all.iter().take(MOST).map(data).collect()))
            }
            Action::Set => {
                let category = needed(category, "category", "set")?;
                let key = needed(wanted.key, "key", "set")?;
                let value = needed(wanted.value, "value", "set")?;
                let confidence = wanted.confidence.unwrap_or(CONFIDENCE);
                let entity = entries.entity.clone();
                let mut draft = AttributeDraft::new(entity, category, &key, value, confidence, Source::Inferred)?;
                draft.source_bot = Some(cx.bot.clone());
                entries.set(draft).await
            }
            Action::Update => {
                let which = Which { id: wanted.attribute_id, category, key: wanted.key.as_deref() };
                entries.update(which, wanted.value, wanted.confidence).await
            }
            Action::Delete => entries.delete(category, wanted.key.as_deref(), wanted.query.as_deref()).await,
        }
    }
}

/// Which entry is meant.
pub(super) struct Which<'a> {
    pub(super) id: Option<i64>,
    pub(super) category: Option<&'a str>,
    pub(super) key: Option<&'a str>,
}

/// The entries of one entity, as one bot changes them.
pub(super) struct Entries<'a> {
    pub(super) profiles: &'a Profiles,
    pub(super) entity: Entity,
    pub(super) actor: &'a str,
}

impl Entries<'_> {
    pub(super) async fn all(&self) -> Result<Vec<Attribute>, ToolOutcome> {
        match self.profiles.get(&self.entity).await {
            Ok(profile) => Ok(profile.attributes),
            Err(ProfileError::NoEntity(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn set(&self, mut draft: AttributeDraft) -> Done {
        draft.actor = Some(self.actor.to_owned());
        let Upserted { attribute, outcome } = self.profiles.upsert(&draft).await?;
        let what = shown(&attribute);
        let text = match outcome {
            Outcome::Created => format!("Noted:\n{what}"),
            Outcome::Replaced => format!("Noted, in place of what stood there:\n{what}"),
            Outcome::Confirmed | Outcome::Unchanged => format!("It stood there already:\n{what}"),
            Outcome::Candidate => {
                format!("Not changed: what stands there was said by someone whose word counts for more:\n{what}")
            }
        };
        Ok(ToolOutcome::success(text).with_data(json!({"outcome": outcome, "attribute": data(&attribute)})))
    }

    /// Changes an entry of this entity and of no other.
    pub(super) async fn update(&self, which: Which<'_>, value: Option<Value>, confidence: Option<f64>) -> Done {
        if value.is_none() && confidence.is_none() {
            return Err(invalid("Give 'value' or 'confidence'."));
        }
        let all = self.all().await?;
        let found = match (which.id, which.key) {
            (Some(id), _) => all.iter().find(|entry| entry.id == id),
            (None, Some(key)) => {
                let category = needed(which.category, "category", "update by key")?;
                all.iter().find(|entry| entry.category == category && same(&entry.key, key))
            }
            (None, None) => return Err(invalid("The entry is named by its number, or by 'category' and 'key'.")),
        };
        let found = found.ok_or_else(|| not_found("There is no such entry."))?;
        let patch = AttributePatch { value: value.map(storable).transpose()?, confidence, source: None };
        let now = self.profiles.patch_attribute(found.id, &patch, Some(self.actor)).await?;
        Ok(ToolOutcome::success(format!("Changed:\n{}", shown(&now))).with_data(data(&now)))
    }

    pub(super) async fn delete(&self, category: Option<&str>, key: Option<&str>, words: Option<&str>) -> Done {
        let gone = match (key, words.map(str::trim)) {
            (Some(key), _) => {
                let category = needed(category, "category", "delete by key")?;
                self.profiles.delete_key(&self.entity, Some(category), key, Some(self.actor)).await?
            }
            (None, Some(words)) if words.chars().count() < WORDS => {
                return Err(invalid(format!("'query' must have at least {WORDS} characters.")));
            }
            (None, Some(words)) => match category {
                None => self.profiles.delete_matching(&self.entity, words, Some(self.actor)).await?,
                Some(category) => self.delete_in(category, words).await?,
            },
            (None, None) => return Err(invalid("'category' and 'key', or 'query', are required for delete.")),
        };
        if gone.is_empty() {
            return Err(not_found("There is no such entry."));
        }
        let lines: Vec<String> = gone.iter().take(MOST).map(shown).collect();
        let text = format!("Deleted {}:\n{}", gone.len(), lines.join("\n"));
        Ok(ToolOutcome::success(text).with_data(gone.iter().take(MOST).map(data).collect()))
    }

    async fn delete_in(&self, category: &str, words: &str) -> Result<Vec<Attribute>, ToolOutcome> {
        let words = words.to_lowercase();
        let fits = |entry: &Attribute| {
            let value = entry.value.as_str().map_or_else(|| entry.value.to_string(), str::to_owned);
            entry.category == category && (entry.key.contains(&words) || value.to_lowercase().contains(&words))
        };
        let mut gone = Vec::new();
        for entry in self.all().await?.into_iter().filter(fits) {
            match self.profiles.delete_attribute(entry.id, Some(self.actor)).await {
                Ok(entry) => gone.push(entry),
                Err(ProfileError::NoAttribute(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(gone)
    }
}

fn same(key: &str, given: &str) -> bool {
    key == given.trim().to_lowercase()
}

/// A value that the database takes: bounded, without NUL characters.
fn storable(value: Value) -> Result<Value, ToolOutcome> {
    Ok(AttributePatch::read(&json!({"value": value}))?.value.unwrap_or_default())
}

pub(super) fn shown(entry: &Attribute) -> String {
    let value = entry.value.as_str().map_or_else(|| entry.value.to_string(), str::to_owned);
    format!(
        "- #{} {} / {}: {} (confidence {:.2})",
        entry.id,
        line(&entry.category, 50),
        line(&entry.key, 100),
        line(&value, SHOWN),
        entry.confidence
    )
}

pub(super) fn data(entry: &Attribute) -> Value {
    json!({
        "id": entry.id, "category": entry.category, "key": entry.key, "value": entry.value,
        "confidence": entry.confidence,
    })
}
