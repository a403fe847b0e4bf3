//! Prompts as they resolve and are stored, and the shapes in which edits arrive.

use greenroom_protocol::BotSlug;
use greenroom_protocol::fields::{Complaint, Field, Fields};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::PromptError;
use crate::registry::{Definition, PLAIN_TEXT};

/// Longest text, in bytes.
pub const BODY_MAX: usize = 64 * 1024;
const TITLE_MAX: usize = 255;
const CATEGORY_MAX: usize = 64;
const FORMAT_MAX: usize = 32;
const WHO_MAX: usize = 128;
const NOTE_MAX: usize = 500;
const METADATA_MAX: usize = 16 * 1024;
const VARIABLES_MAX: usize = 50;

/// A prompt's key: `^[a-z0-9._-]{1,255}$`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// Checks a key.
    ///
    /// # Errors
    /// [`PromptError::BadKey`].
    pub fn parse(text: &str) -> Result<Self, PromptError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        if (1..=255).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PromptError::BadKey)
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For whom a prompt holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// For all bots.
    Global,
    /// For one.
    Bot(BotSlug),
}

impl Scope {
    /// Reads the two words of the API. A global scope ignores the id.
    ///
    /// # Errors
    /// [`PromptError::BadScope`].
    pub fn parse(scope_type: &str, scope_id: Option<&str>) -> Result<Self, PromptError> {
        match scope_type.trim().to_ascii_lowercase().as_str() {
            "global" => Ok(Self::Global),
            "bot" => {
                let id = scope_id.map(str::trim).filter(|id| !id.is_empty() && *id != "*");
                let id = id.ok_or(PromptError::BadScope("scope_id is required for bot-scoped prompts"))?;
                let slug = BotSlug::parse(id);
                slug.map(Self::Bot).map_err(|_| PromptError::BadScope("scope_id must be a bot's slug"))
            }
            _ => Err(PromptError::BadScope("scope_type must be 'global' or 'bot'")),
        }
    }

    /// `global` or `bot`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Bot(_) => "bot",
        }
    }

    /// `*` or the bot's slug.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Global => "*",
            Self::Bot(slug) => slug.as_str(),
        }
    }

    /// The bot, if it is about one.
    #[must_use]
    pub fn bot(&self) -> Option<&BotSlug> {
        match self {
            Self::Global => None,
            Self::Bot(slug) => Some(slug),
        }
    }
}

/// Where a text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The database.
    DbOverride,
    /// The program.
    CodeDefault,
}

/// A prompt as it resolves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Template {
    /// Its key.
    pub key: String,
    /// For people.
    pub title: String,
    /// What it belongs to.
    pub category: String,
    /// `plain_text`, `json_instruction`, or a word of the operator's.
    pub format: String,
    /// The text.
    pub body: String,
    /// `global` or `bot`: where it was found.
    pub scope_type: &'static str,
    /// `*` or a slug.
    pub scope_id: String,
    /// Where the text comes from.
    pub source: Source,
    /// Variables it must use.
    pub required_vars: Vec<String>,
    /// Variables it uses; empty when the text cannot be parsed.
    pub placeholders: Vec<String>,
    /// The operator's notes.
    pub metadata: Map<String, Value>,
    /// Number of its last version.
    pub version: Option<i32>,
    /// When it was edited.
    #[serde(serialize_with = "optional_time")]
    pub updated_at: Option<Timestamp>,
}

fn optional_time<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => greenroom_protocol::time::serialize(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// A stored edit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub key: String,
    pub scope: Scope,
    pub title: Option<String>,
    pub category: Option<String>,
    pub format: Option<String>,
    pub body: Option<String>,
    pub required_vars: Vec<String>,
    pub metadata: Map<String, Value>,
    pub updated_at: Timestamp,
    pub version: Option<i32>,
}

impl Template {
    /// What a key resolves to: the edit over the built-in prompt. `None` when there is neither a text of its own nor a
    /// built-in one.
    pub(crate) fn of(stored: Option<&Stored>, known: Option<&Definition>) -> Option<Self> {
        let own = stored.and_then(|row| row.body.clone());
        let source = if own.is_some() { Source::DbOverride } else { Source::CodeDefault };
        let body = own.or_else(|| known.map(|known| known.body.to_owned()))?;
        let key = stored.map(|row| row.key.clone()).or_else(|| known.map(|known| known.key.to_owned()))?;
        let pick = |own: Option<&String>, built_in: Option<&str>| {
            own.filter(|text| !text.trim().is_empty()).cloned().or_else(|| built_in.map(str::to_owned))
        };
        let required = stored.map(|row| row.required_vars.clone()).filter(|vars| !vars.is_empty());
        Some(Self {
            title: pick(stored.and_then(|row| row.title.as_ref()), known.map(|known| known.title))
                .unwrap_or_else(|| key.clone()),
            category: pick(stored.and_then(|row| row.category.as_ref()), known.map(|known| known.category))
                .unwrap_or_else(|| "custom".into()),
            format: pick(stored.and_then(|row| row.format.as_ref()), known.map(|known| known.format))
                .unwrap_or_else(|| PLAIN_TEXT.into()),
            placeholders: crate::language::Syntax::parse(&body).map(|it| it.placeholders()).unwrap_or_default(),
            body,
            scope_type: stored.map_or("global", |row| row.scope.kind()),
            scope_id: stored.map_or("*", |row| row.scope.id()).to_owned(),
            source,
            required_vars: required.or_else(|| known.map(Definition::required_vars)).unwrap_or_default(),
            metadata: stored.map(|row| row.metadata.clone()).unwrap_or_default(),
            version: stored.and_then(|row| row.version),
            updated_at: stored.map(|row| row.updated_at),
            key,
        })
    }
}

/// One step in a prompt's history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Version {
    /// Its number, from 1.
    pub version: i32,
    /// The text.
    pub body: String,
    /// Why.
    pub change_note: Option<String>,
    /// By whom.
    pub created_by: Option<String>,
    /// When.
    #[serde(serialize_with = "greenroom_protocol::time::serialize")]
    pub created_at: Timestamp,
}

/// An edit as a client sent it: absent keeps, null clears (and so falls back to the built-in prompt).
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// For whom.
    pub scope: Scope,
    /// The text; absent in an edit of the other fields alone.
    pub body: Field<String>,
    /// For people.
    pub title: Field<String>,
    /// What it belongs to.
    pub category: Field<String>,
    /// Its format.
    pub format: Field<String>,
    /// Variables it must use.
    pub required_vars: Field<Vec<String>>,
    /// The operator's notes.
    pub metadata: Field<Map<String, Value>>,
    /// By whom.
    pub updated_by: Option<String>,
    /// Why.
    pub change_note: Option<String>,
}

impl Draft {
    /// An edit of the text alone.
    #[must_use]
    pub fn of_body(scope: Scope, body: impl Into<String>) -> Self {
        Self {
            scope,
            body: Field::Value(body.into()),
            title: Field::Absent,
            category: Field::Absent,
            format: Field::Absent,
            required_vars: Field::Absent,
            metadata: Field::Absent,
            updated_by: None,
            change_note: None,
        }
    }

    /// Reads a request body; `PUT` needs a text, `PATCH` does not.
    ///
    /// # Errors
    /// [`PromptError::Invalid`] with every complaint, [`PromptError::BadScope`].
    pub fn read(body: &Value, needs_body: bool) -> Result<Self, PromptError> {
        let mut fields = Fields::of("body", body).map_err(PromptError::Invalid)?;
        let text = fields.text("body");
        match &text {
            Field::Value(text) if text.len() > BODY_MAX => {
                fields.complain("string_too_long", "body", format!("A prompt has at most {BODY_MAX} bytes"));
            }
            Field::Null => fields.complain("string_type", "body", "Input should be a valid string"),
            Field::Absent if needs_body && fields.raw("body").is_none() => fields.missing("body"),
            Field::Absent | Field::Value(_) => {}
        }
        let scope_type = fields.text_max("scope_type", 16).some().unwrap_or_else(|| "global".into());
        let scope_id = fields.text_max("scope_id", 128).some();
        let draft = Self {
            scope: Scope::Global,
            body: text,
            title: fields.text_max("title", TITLE_MAX),
            category: fields.text_max("category", CATEGORY_MAX),
            format: fields.text_max("format", FORMAT_MAX),
            required_vars: names(&mut fields),
            metadata: metadata(&mut fields),
            updated_by: fields.text_max("updated_by", WHO_MAX).some(),
            change_note: fields.text_max("change_note", NOTE_MAX).some(),
        };
        for name in ["body", "title", "category", "format", "updated_by", "change_note", "metadata"] {
            if fields.raw(name).is_some_and(holds_nul) {
                fields.complain("value_error", name, "Text must not contain NUL characters");
            }
        }
        fields.finish().map_err(PromptError::Invalid)?;
        Ok(Self { scope: Scope::parse(&scope_type, scope_id.as_deref())?, ..draft })
    }
}

/// Reads `required_vars`.
pub(crate) fn names(fields: &mut Fields<'_>) -> Field<Vec<String>> {
    let list = fields.list("required_vars");
    let Field::Value(items) = list else { return list.map(|_| Vec::new()) };
    let named = |item: &Value| item.as_str().filter(|name| is_name(name)).map(str::to_owned);
    let names: Option<Vec<String>> = items.iter().map(named).collect();
    match names {
        Some(names) if names.len() <= VARIABLES_MAX => Field::Value(names),
        Some(_) => {
            fields.complain("too_long", "required_vars", format!("At most {VARIABLES_MAX} variables"));
            Field::Absent
        }
        None => {
            fields.complain("value_error", "required_vars", "Variables match [a-z_][a-z0-9_]*");
            Field::Absent
        }
    }
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    first && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn metadata(fields: &mut Fields<'_>) -> Field<Map<String, Value>> {
    let object = fields.object("metadata").map(Clone::clone);
    if let Field::Value(map) = &object
        && Value::Object(map.clone()).to_string().len() > METADATA_MAX
    {
        fields.complain("too_long", "metadata", format!("At most {METADATA_MAX} bytes of JSON"));
    }
    object
}

/// PostgreSQL stores no NUL in text.
pub(crate) fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A complaint about the text of a prompt.
pub(crate) fn about_body(message: String) -> PromptError {
    PromptError::Invalid(vec![Complaint::new("template_syntax", &["body", "body"], message, Value::Null)])
}
