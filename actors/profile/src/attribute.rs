//! Attributes: what is known about an entity, how surely and from whom, and the shapes in which edits arrive.

use greenroom_protocol::BotSlug;
use greenroom_protocol::fields::{Complaint, Field, Fields};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::entity::{Entity, EntityType, canonical};
use crate::error::ProfileError;

/// Longest category, in characters.
pub const CATEGORY_MAX: usize = 50;
/// Longest key, in characters.
pub const KEY_MAX: usize = 100;
/// Largest value, in bytes of JSON.
pub const VALUE_MAX: usize = 32 * 1024;
/// Most attributes of one entity.
pub const ATTRIBUTES_MAX: i64 = 2000;

/// Who says so. A word of a higher rank is not overwritten by one of a lower rank; see [`crate::Profiles::upsert`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The user or the operator, in so many words.
    Explicit,
    /// The bot, about itself.
    #[serde(rename = "self")]
    SelfWritten,
    /// Another system that was moved from.
    Migrated,
    /// Learned over time.
    Learned,
    /// This service.
    System,
    /// A tool call that concluded it.
    Inferred,
    /// Fact extraction.
    Extracted,
}

impl Source {
    const ALL: [Self; 7] = [
        Self::Explicit,
        Self::SelfWritten,
        Self::Migrated,
        Self::Learned,
        Self::System,
        Self::Inferred,
        Self::Extracted,
    ];

    /// The stored word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::SelfWritten => "self",
            Self::Migrated => "migrated",
            Self::Learned => "learned",
            Self::System => "system",
            Self::Inferred => "inferred",
            Self::Extracted => "extracted",
        }
    }

    /// Reads the word, in any case.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let word = word.trim().to_ascii_lowercase();
        Self::ALL.into_iter().find(|source| source.as_str() == word)
    }
}

/// A stored attribute, in the API's shape.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attribute {
    /// Its number.
    pub id: i64,
    /// Whom it is about.
    #[serde(flatten)]
    pub entity: Entity,
    /// What sort of thing.
    pub category: String,
    /// What.
    pub key: String,
    /// Any JSON.
    pub value: Value,
    /// How surely, 0 to 1.
    pub confidence: f64,
    /// Who says so.
    pub source: Source,
    /// The message it came from.
    pub source_message_id: Option<String>,
    /// The memory it came from.
    pub source_memory_id: Option<Uuid>,
    /// The bot that learned it.
    pub source_bot_id: Option<BotSlug>,
    /// When it was first known.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub created_at: Timestamp,
    /// When it was last said or changed.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub updated_at: Timestamp,
}

/// What became of an upsert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was not known before.
    Created,
    /// Another value stood there; it is in the history.
    Replaced,
    /// The same value stood there and is surer now.
    Confirmed,
    /// The same value stood there, as sure as can be.
    Unchanged,
    /// Somebody whose word counts for more said otherwise: the value is only noted in the history.
    Candidate,
}

/// An attribute as it stands after an upsert.
#[derive(Debug, Clone, PartialEq)]
pub struct Upserted {
    /// The attribute that is stored now; not the offered one when the outcome is [`Outcome::Candidate`].
    pub attribute: Attribute,
    /// What happened.
    pub outcome: Outcome,
}

/// An attribute to be stored; canonical and bounded.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeDraft {
    pub(crate) entity: Entity,
    pub(crate) category: String,
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) confidence: f64,
    pub(crate) source: Source,
    /// The message it came from: at most 100 characters.
    pub source_message: Option<String>,
    /// The memory it came from.
    pub source_memory: Option<Uuid>,
    /// The bot that learned it.
    pub source_bot: Option<BotSlug>,
    /// Who does this, for the history; cut at 128 characters.
    pub actor: Option<String>,
}

impl AttributeDraft {
    /// Canonicalises and checks. Texts are stored without NUL characters, which PostgreSQL has no room for.
    ///
    /// # Errors
    /// [`ProfileError::Invalid`].
    pub fn new(
        entity: Entity,
        category: &str,
        key: &str,
        value: Value,
        confidence: f64,
        source: Source,
    ) -> Result<Self, ProfileError> {
        let category = canonical("category", category, CATEGORY_MAX).map_err(one)?;
        let key = canonical("key", key, KEY_MAX).map_err(one)?;
        fits(&value).map_err(one)?;
        if !(0.0..=1.0).contains(&confidence) {
            let input = Value::from(confidence.to_string());
            return Err(one(Complaint::new("value_error", &["body", "confidence"], "Input should be 0 to 1", input)));
        }
        let none = (None, None, None, None);
        let (source_message, source_memory, source_bot, actor) = none;
        Ok(Self { entity, category, key, value, confidence, source, source_message, source_memory, source_bot, actor })
    }

    /// Reads the body of `POST /v1/profiles/attribute`.
    ///
    /// # Errors
    /// [`ProfileError::BadEntityType`], [`ProfileError::Invalid`] with every complaint.
    pub fn read(body: &Value) -> Result<Self, ProfileError> {
        let mut fields = Fields::of("body", body).map_err(ProfileError::Invalid)?;
        let kind = fields.required_text("entity_type", 16);
        let id = fields.required_text("entity_id", crate::entity::ID_MAX);
        let category = fields.required_text("category", CATEGORY_MAX);
        let key = fields.required_text("key", KEY_MAX);
        if fields.raw("value").is_none() {
            fields.missing("value");
        }
        let value = fields.raw("value").cloned().unwrap_or_default();
        let confidence = fields.number("confidence", 0.0, 1.0).some().unwrap_or(1.0);
        let source = read_source(&mut fields).some().unwrap_or(Source::Explicit);
        fields.finish().map_err(ProfileError::Invalid)?;
        Self::new(Entity::parse(&kind, &id)?, &category, &key, value, confidence, source)
    }

    /// Whom it is about.
    #[must_use]
    pub fn entity(&self) -> &Entity {
        &self.entity
    }
}

/// An edit of one attribute: absent keeps; `null` is a value like any other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AttributePatch {
    /// The new value.
    pub value: Option<Value>,
    /// How surely.
    pub confidence: Option<f64>,
    /// Who says so.
    pub source: Option<Source>,
}

impl AttributePatch {
    /// Reads the body of `PATCH /v1/profiles/attribute/{id}`.
    ///
    /// # Errors
    /// [`ProfileError::Invalid`], [`ProfileError::Refused`] when it names nothing to change.
    pub fn read(body: &Value) -> Result<Self, ProfileError> {
        let mut fields = Fields::of("body", body).map_err(ProfileError::Invalid)?;
        let value = fields.raw("value").cloned();
        if let Some(Err(complaint)) = value.as_ref().map(fits) {
            fields.add([complaint]);
        }
        let confidence = fields.number("confidence", 0.0, 1.0).some();
        let source = read_source(&mut fields).some();
        fields.finish().map_err(ProfileError::Invalid)?;
        if value.is_none() && confidence.is_none() && source.is_none() {
            return Err(ProfileError::Refused("At least one of value, confidence, source must be provided".into()));
        }
        Ok(Self { value, confidence, source })
    }
}

fn read_source(fields: &mut Fields<'_>) -> Field<Source> {
    match fields.text_max("source", 50) {
        Field::Value(word) => match Source::parse(&word) {
            Some(source) => Field::Value(source),
            None => {
                let known: Vec<&str> = Source::ALL.iter().map(|source| source.as_str()).collect();
                fields.complain("literal_error", "source", format!("Input should be one of {}", known.join(", ")));
                Field::Absent
            }
        },
        Field::Absent => Field::Absent,
        Field::Null => Field::Null,
    }
}

fn one(complaint: Complaint) -> ProfileError {
    ProfileError::Invalid(vec![complaint])
}

fn fits(value: &Value) -> Result<(), Complaint> {
    let complaint = |kind: &str, message: String| Complaint::new(kind, &["body", "value"], message, Value::Null);
    if value.to_string().len() > VALUE_MAX {
        return Err(complaint("too_long", format!("A value has at most {VALUE_MAX} bytes of JSON")));
    }
    if holds_nul(value) {
        return Err(complaint("value_error", "Text must not contain NUL characters".into()));
    }
    Ok(())
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Which attributes to list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttributeFilter {
    /// Only of entities of this kind.
    pub entity_type: Option<EntityType>,
    /// Only of entities with this id.
    pub entity_id: Option<String>,
    /// Only of this category.
    pub category: Option<String>,
    /// Only with this key.
    pub key: Option<String>,
    /// Only of this source.
    pub source: Option<String>,
    /// Only as sure as this.
    pub min_confidence: Option<f64>,
    /// Page size, 1 to 500.
    pub limit: i64,
    /// Rows to skip.
    pub offset: i64,
}

impl AttributeFilter {
    /// The filters in their stored form.
    pub(crate) fn canonical(&self) -> Self {
        let lower = |text: &Option<String>| text.as_ref().map(|text| text.trim().to_lowercase());
        Self {
            entity_id: lower(&self.entity_id),
            category: lower(&self.category),
            key: lower(&self.key),
            source: lower(&self.source),
            limit: self.limit.clamp(1, 500),
            offset: self.offset.max(0),
            ..self.clone()
        }
    }
}

/// One page of attributes, newest change first.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributePage {
    /// The page.
    pub attributes: Vec<Attribute>,
    /// How many pass the filter.
    pub total_count: i64,
}

/// One entry of an attribute's history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryEntry {
    /// The attribute's number.
    pub attribute_id: i64,
    /// What sort of thing.
    pub category: String,
    /// What.
    pub key: String,
    /// `set`, `replaced`, `confirmed`, `candidate`, `edited`, `deleted` or `forgotten`.
    pub action: String,
    /// What stood there.
    pub old_value: Option<Value>,
    /// What was said.
    pub new_value: Option<Value>,
    /// How surely it stood there.
    pub old_confidence: Option<f64>,
    /// How surely it was said.
    pub new_confidence: Option<f64>,
    /// Who had said what stood there.
    pub old_source: Option<String>,
    /// Who says so.
    pub new_source: Option<String>,
    /// Who did this.
    pub actor: Option<String>,
    /// When.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub at: Timestamp,
}
