//! Portraits: the short texts that profiles put into prompts, written from their attributes (memory.md §15.5). The
//! attributes are the truth and never touched; a portrait is a cache, and one that was made from an older state than the
//! present one is not stored.

use std::collections::BTreeSet;

use greenroom_profile::{Attribute, Digest, Entity, EntityType, NAME_MAX};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::distill::Distill;
use crate::error::DistillError;
use crate::model::Work;

/// Attributes less sure than this are left out.
const LEAST_CONFIDENCE: f64 = 0.3;
/// Most attributes that a model is shown, the surest first.
const MOST_ATTRIBUTES: usize = 300;
/// Most characters of a value that a model is shown.
const MOST_VALUE: usize = 300;
/// Most characters of a section of a portrait.
const MOST_SECTION: usize = 400;
/// Tokens that a portrait may take.
const PORTRAIT_TOKENS: u32 = 800;
/// Sections of a portrait, in order.
const SECTIONS: [(&str, &str); 5] = [
    ("identity", "Identity"),
    ("preferences", "Preferences"),
    ("interests", "Interests"),
    ("context", "Context"),
    ("notes", "Notes"),
];

/// What came of one profile, in the task's shape (http-api.md §14).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileResult {
    /// Whose it is.
    pub entity_id: String,
    /// `user` or `bot`.
    pub entity_type: &'static str,
    /// Attributes there were.
    pub attributes_before: usize,
    /// Attributes there are; always the same.
    pub attributes_after: usize,
    /// Categories that the portrait is made of.
    pub categories_updated: Vec<String>,
    /// Why there is no new portrait.
    pub error: Option<String>,
    /// The portrait that a dry run would have stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// What came of a round over all profiles.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProfilesResult {
    /// Profiles whose portrait was stale.
    pub profiles_found: usize,
    /// Portraits that were stored.
    pub profiles_updated: usize,
    /// One for each profile.
    pub profiles: Vec<ProfileResult>,
    /// Why the round failed: as many profiles as there were, or ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A portrait as a model wrote it.
#[derive(Debug, Clone, PartialEq)]
struct Portrait {
    name: Option<String>,
    text: String,
}

impl Distill {
    /// Writes the portraits of all profiles that need one, at most `limit`, the longest waiting first.
    ///
    /// # Errors
    /// [`DistillError`] when nothing could be begun.
    pub async fn portray_all(
        &self,
        limit: i64,
        model: Option<&str>,
        cancel: &CancellationToken,
    ) -> Result<ProfilesResult, DistillError> {
        let stale = self.profiles().stale(limit).await?;
        let mut result = ProfilesResult { profiles_found: stale.len(), ..ProfilesResult::default() };
        if stale.is_empty() {
            return Ok(result);
        }
        self.models().choose(Work::Profiles, model, None)?;
        for entity in stale {
            if cancel.is_cancelled() {
                result.error = Some("cancelled".into());
                break;
            }
            let done = self.portray(&entity, model, false, cancel).await?;
            result.profiles_updated += usize::from(done.error.is_none());
            result.profiles.push(done);
        }
        if result.profiles_updated == 0 && result.error.is_none() {
            result.error = result.profiles.iter().find_map(|profile| profile.error.clone());
        }
        Ok(result)
    }

    /// Whether any profile needs a portrait. Else why not.
    ///
    /// # Errors
    /// [`DistillError::Profile`].
    pub async fn profiles_gate(&self) -> Result<Result<(), String>, DistillError> {
        if self.profiles().stale(1).await?.is_empty() {
            return Ok(Err("no profile has changed".into()));
        }
        Ok(Ok(()))
    }

    /// Writes one portrait.
    ///
    /// # Errors
    /// [`DistillError::Profile`] and [`DistillError::Prompt`]; what goes wrong with the model is the result's `error`.
    pub async fn portray(
        &self,
        entity: &Entity,
        model: Option<&str>,
        dry_run: bool,
        cancel: &CancellationToken,
    ) -> Result<ProfileResult, DistillError> {
        let mut result = ProfileResult {
            entity_id: entity.id().to_owned(),
            entity_type: entity.kind().as_str(),
            attributes_before: 0,
            attributes_after: 0,
            categories_updated: Vec::new(),
            error: None,
            summary: None,
        };
        let Some(digest) = self.profiles().digest(entity).await? else {
            result.error = Some("there is no such profile".into());
            return Ok(result);
        };
        let count = digest.detail.attributes.len();
        (result.attributes_before, result.attributes_after) = (count, count);
        let used = usable(&digest.detail.attributes);
        if used.is_empty() {
            // Nothing sure enough to portray: the attributes speak for themselves.
            if !dry_run {
                self.profiles().write_summary(entity, digest.version, "", None).await?;
            }
            return Ok(result);
        }
        match self.write_portrait(&used, model, cancel).await {
            Ok(portrait) => {
                let categories: BTreeSet<&str> = used.iter().map(|attribute| attribute.category.as_str()).collect();
                result.categories_updated = categories.into_iter().map(str::to_owned).collect();
                if dry_run {
                    result.summary = Some(portrait.text);
                } else {
                    result.error = self.store_portrait(entity, &digest, portrait).await?;
                }
            }
            Err(DistillError::Prompt(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(kind = entity.kind().as_str(), %error, "a portrait was not written");
                result.error = Some(error.to_string());
            }
        }
        Ok(result)
    }

    async fn write_portrait(
        &self,
        used: &[&Attribute],
        model: Option<&str>,
        cancel: &CancellationToken,
    ) -> Result<Portrait, DistillError> {
        let model = self.models().choose(Work::Profiles, model, None)?;
        let lines = shown(used);
        let task = self.prompts().render("profile.consolidation", None, &[("attributes", lines.as_str())]).await?.text;
        let portrait = self.ask_json(&model, &task, PORTRAIT_TOKENS, cancel, read).await?;
        match lost(used, &portrait) {
            Some(what) => Err(DistillError::Unreadable(what)),
            None => Ok(portrait),
        }
    }

    async fn store_portrait(
        &self,
        entity: &Entity,
        digest: &Digest,
        portrait: Portrait,
    ) -> Result<Option<String>, DistillError> {
        let named = digest.detail.header.display_name.is_some();
        // A name that somebody chose stays; a user is never called like a bot.
        let name =
            portrait.name.filter(|name| !named && (entity.kind() == EntityType::Bot || !(self.is_bot_name())(name)));
        let stored = self.profiles().write_summary(entity, digest.version, &portrait.text, name.as_deref()).await?;
        Ok((!stored).then(|| "the profile changed in the meantime".to_owned()))
    }
}

/// The attributes that are sure enough, the surest first if there are too many, then by category and key.
fn usable(attributes: &[Attribute]) -> Vec<&Attribute> {
    let mut used: Vec<&Attribute> = attributes.iter().filter(|it| it.confidence >= LEAST_CONFIDENCE).collect();
    used.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(b.updated_at.cmp(&a.updated_at)));
    used.truncate(MOST_ATTRIBUTES);
    used.sort_by(|a, b| (&a.category, &a.key).cmp(&(&b.category, &b.key)));
    used
}

/// One line for each attribute.
fn shown(used: &[&Attribute]) -> String {
    let line = |attribute: &&Attribute| {
        let value = match &attribute.value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let value: String = value.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MOST_VALUE).collect();
        format!(
            "{}: {} = {value} ({:.2}, {}, {})\n",
            attribute.category,
            attribute.key,
            attribute.confidence,
            attribute.source.as_str(),
            attribute.updated_at.strftime("%Y-%m-%d"),
        )
    };
    used.iter().map(line).collect()
}

/// A section: texts, and lists and objects of texts, on one line; `null` in whatever spelling is nothing.
fn section(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().filter_map(section).collect::<Vec<_>>().join(", "),
        Value::Object(members) => members
            .iter()
            .filter_map(|(key, value)| Some(format!("{}: {}", key.replace('_', " "), section(value)?)))
            .collect::<Vec<_>>()
            .join("; "),
        Value::Null | Value::Bool(_) => return None,
    };
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MOST_SECTION).collect();
    (!text.is_empty() && !text.eq_ignore_ascii_case("null") && !text.eq_ignore_ascii_case("none")).then_some(text)
}

/// The portrait in a reply; `None` when there is nothing in it.
fn read(reply: &Value) -> Option<Portrait> {
    let members = reply.as_object()?;
    let mut lines = Vec::new();
    for (key, title) in SECTIONS {
        if let Some(text) = members.get(key).and_then(section) {
            lines.push(format!("{title}: {text}"));
        }
    }
    if lines.is_empty() {
        return None;
    }
    let given = members.get("name").and_then(section);
    let name = given.or_else(|| {
        let identity = members.get("identity").and_then(section)?;
        let (name, _) = identity.split_once(" is ")?;
        (name.split_whitespace().count() == 1 && name.chars().next()?.is_uppercase()).then(|| name.to_owned())
    });
    let name = name.filter(|name| name.chars().count() <= NAME_MAX && !name.chars().any(char::is_control));
    Some(Portrait { name, text: lines.join("\n") })
}

/// What a portrait must not lose: the name and the place. Only short values can be looked for.
fn lost(used: &[&Attribute], portrait: &Portrait) -> Option<&'static str> {
    let text = portrait.text.to_lowercase();
    let name = portrait.name.as_deref().unwrap_or_default().to_lowercase();
    let misses = |key: &str| {
        let values = used.iter().filter(|attribute| attribute.key == key && attribute.confidence >= 0.7);
        let short = values
            .filter_map(|attribute| attribute.value.as_str())
            .filter(|value| value.split_whitespace().count() <= 3 && !value.trim().is_empty());
        let mut short = short.map(str::to_lowercase).peekable();
        short.peek().is_some() && !short.any(|value| text.contains(value.trim()) || name.contains(value.trim()))
    };
    if misses("name") {
        return Some("the portrait lost the name");
    }
    misses("location").then_some("the portrait lost the place")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn sections_are_read_in_order_and_coerced() {
        let reply = json!({"notes": "null", "identity": {"home": "Lyon", "work": ["nurse", "baker"]}, "name": "Ann", "interests": ["chess"],
            "preferences": null});
        let portrait = read(&reply).expect("a portrait");
        assert_eq!(portrait.text, "Identity: home: Lyon; work: nurse, baker\nInterests: chess");
        assert_eq!(portrait.name.as_deref(), Some("Ann"));
        let led = read(&json!({"name": "null", "identity": "Ann is a nurse"})).expect("a portrait");
        assert_eq!(led.name.as_deref(), Some("Ann"));
        assert_eq!(read(&json!({"identity": "", "notes": null})), None);
        assert_eq!(read(&json!(["Ann"])), None);
    }

    proptest! {
        #[test]
        fn no_reply_panics(text in any::<String>(), other in any::<String>()) {
            let _ = read(&json!({"name": text, "identity": {other.clone(): text}, "notes": [text, other]}));
        }
    }
}
