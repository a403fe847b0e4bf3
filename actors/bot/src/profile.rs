//! What a bot is: the stored profile, and the part of it that an editor may change.
//!
//! A [`Character`] that passed [`Character::complaints`] fits its columns. The namespace stands beside it and not
//! inside, because nobody may edit it.

use greenroom_protocol::BotSlug;
use greenroom_protocol::fields::Complaint;
use greenroom_turn::HistoryScope;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest display name, in characters.
pub const NAME_MAX: usize = 255;
/// Longest colour, in characters.
pub const COLOR_MAX: usize = 64;
/// Longest avatar (an emoji or a URL), in characters.
pub const AVATAR_MAX: usize = 512;
/// Longest voice id, in characters.
pub const VOICE_MAX: usize = 128;
/// Longest description, in characters.
pub const DESCRIPTION_MAX: usize = 4_000;
/// Longest base prompt, in characters.
pub const PROMPT_MAX: usize = 200_000;
/// Longest model alias, in characters.
pub const MODEL_MAX: usize = 128;
/// Longest backend name, in characters.
pub const BACKEND_MAX: usize = 64;
/// Most names in a tool list.
pub const TOOLS_MAX: usize = 256;
/// Most models to move on to.
pub const FALLBACKS_MAX: usize = 8;

/// Whether the service itself answers, or an agent behind a bridge does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BotType {
    /// A model answers.
    #[default]
    Chat,
    /// An agent backend answers.
    Agent,
}

impl BotType {
    /// The word as it is stored and sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Agent => "agent",
        }
    }

    /// The inverse of [`Self::as_str`], in any case.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Chat, Self::Agent].into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(word.trim()))
    }
}

/// The word for a history scope as it is stored and sent.
#[must_use]
pub fn scope_word(scope: HistoryScope) -> &'static str {
    match scope {
        HistoryScope::Bot => "bot",
        HistoryScope::User => "user",
    }
}

/// The inverse of [`scope_word`].
#[must_use]
pub fn scope_of(word: &str) -> Option<HistoryScope> {
    [HistoryScope::Bot, HistoryScope::User].into_iter().find(|scope| scope_word(*scope) == word)
}

/// Everything about a bot that may be edited.
#[derive(Debug, Clone, PartialEq)]
pub struct Character {
    /// Display name.
    pub name: String,
    /// Listing text.
    pub description: String,
    /// Base prompt.
    pub system_prompt: String,
    /// False makes the bot stateless.
    pub requires_memory: bool,
    /// Keep emotes and markup off the wire, and write for speech.
    pub voice_optimized: bool,
    /// Default of the request's flag of the same name.
    pub tts_mode: bool,
    /// False overrides the request.
    pub include_summaries: bool,
    /// Enables the tool loop.
    pub uses_tools: bool,
    /// Enables the search tools.
    pub uses_search: bool,
    /// Allows the Home Assistant tools.
    pub uses_home_assistant: bool,
    /// Model alias used when nobody asks for another.
    pub default_model: Option<String>,
    /// Aliases to move on to, in order, when a model fails before it has said anything.
    pub model_fallbacks: Vec<String>,
    /// Colour for UIs.
    pub color: Option<String>,
    /// Emoji or image URL.
    pub avatar: Option<String>,
    /// Voice for speech clients.
    pub default_voice: Option<String>,
    /// Talk integration; may hold secrets.
    pub nextcloud_config: Option<Map<String, Value>>,
    /// Who answers.
    pub bot_type: BotType,
    /// Name of the agent backend.
    pub agent_backend: Option<String>,
    /// Its configuration; may hold secrets.
    pub agent_backend_config: Option<Map<String, Value>>,
    /// Tools (or `tool.action`) the bot may use; `None` means all.
    pub tools_allow: Option<Vec<String>>,
    /// Tools (or `tool.action`) it may not use.
    pub tools_deny: Vec<String>,
    /// Whose past messages it sees.
    pub history_scope: HistoryScope,
    /// IANA time zone in which it sees the clock.
    pub timezone: Option<String>,
}

impl Character {
    /// The defaults of a bot of which only the slug is known.
    #[must_use]
    pub fn blank(slug: &BotSlug) -> Self {
        Self {
            name: title_case(slug.as_str()),
            description: String::new(),
            system_prompt: GENERIC_PROMPT.into(),
            requires_memory: true,
            voice_optimized: false,
            tts_mode: false,
            include_summaries: true,
            uses_tools: false,
            uses_search: false,
            uses_home_assistant: false,
            default_model: None,
            model_fallbacks: Vec::new(),
            color: None,
            avatar: None,
            default_voice: None,
            nextcloud_config: None,
            bot_type: BotType::Chat,
            agent_backend: None,
            agent_backend_config: None,
            tools_allow: None,
            tools_deny: Vec::new(),
            history_scope: HistoryScope::Bot,
            timezone: None,
        }
    }

    /// The same in canonical form: blank optionals are absent, the backend is lower-case, and a bot with a backend is
    /// an agent.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        for place in [
            &mut self.default_model,
            &mut self.color,
            &mut self.avatar,
            &mut self.default_voice,
            &mut self.timezone,
            &mut self.agent_backend,
        ] {
            *place = place.take().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        }
        self.model_fallbacks = self.model_fallbacks.into_iter().map(|alias| alias.trim().to_owned()).collect();
        self.agent_backend = self.agent_backend.map(|name| name.to_lowercase());
        if self.agent_backend.is_some() {
            self.bot_type = BotType::Agent;
        }
        self
    }

    /// What does not fit its column or its rule.
    #[must_use]
    pub fn complaints(&self) -> Vec<Complaint> {
        let mut found = Vec::new();
        let mut limit = |name: &str, text: Option<&str>, max: usize| {
            if text.is_some_and(|text| text.chars().count() > max) {
                let message = format!("String should have at most {max} characters");
                found.push(Complaint::new("string_too_long", &["body", name], message, Value::Null));
            } else if text.is_some_and(|text| text.contains('\0')) {
                found.push(nul_complaint(name));
            }
        };
        limit("name", Some(&self.name), NAME_MAX);
        limit("description", Some(&self.description), DESCRIPTION_MAX);
        limit("system_prompt", Some(&self.system_prompt), PROMPT_MAX);
        limit("default_model", self.default_model.as_deref(), MODEL_MAX);
        limit("color", self.color.as_deref(), COLOR_MAX);
        limit("avatar", self.avatar.as_deref(), AVATAR_MAX);
        limit("default_voice", self.default_voice.as_deref(), VOICE_MAX);
        limit("agent_backend", self.agent_backend.as_deref(), BACKEND_MAX);
        for (name, config) in
            [("nextcloud_config", &self.nextcloud_config), ("agent_backend_config", &self.agent_backend_config)]
        {
            if config
                .as_ref()
                .is_some_and(|config| config.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)))
            {
                found.push(nul_complaint(name));
            }
        }
        for (name, list) in
            [("tools_allow", self.tools_allow.as_deref().unwrap_or_default()), ("tools_deny", &self.tools_deny)]
        {
            if list.len() > TOOLS_MAX || !list.iter().all(|tool| is_tool_name(tool)) {
                let message = format!("At most {TOOLS_MAX} tool names of 1 to 128 characters are allowed");
                found.push(Complaint::new("value_error", &["body", name], message, Value::Null));
            }
        }
        let is_alias = |alias: &String| {
            !alias.is_empty() && alias.chars().count() <= MODEL_MAX && !alias.chars().any(char::is_control)
        };
        if self.model_fallbacks.len() > FALLBACKS_MAX || !self.model_fallbacks.iter().all(is_alias) {
            let message = format!("At most {FALLBACKS_MAX} model aliases of 1 to {MODEL_MAX} characters are allowed");
            found.push(Complaint::new("value_error", &["body", "model_fallbacks"], message, Value::Null));
        }
        if let Some(zone) = &self.timezone
            && !is_time_zone(zone)
        {
            let message = "Input should be an IANA time zone name";
            found.push(Complaint::new("value_error", &["body", "timezone"], message, Value::from(zone.as_str())));
        }
        found
    }
}

/// Whether a text inside the value holds the one character that PostgreSQL does not store.
#[must_use]
pub fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(object) => object.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn nul_complaint(name: &str) -> Complaint {
    Complaint::new("value_error", &["body", name], "Text must not contain NUL characters", Value::Null)
}

fn is_tool_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= 128 && !name.chars().any(char::is_control)
}

/// Whether the text names a time zone we know.
#[must_use]
pub fn is_time_zone(name: &str) -> bool {
    jiff::tz::TimeZone::get(name).is_ok()
}

/// What a bot without a prompt is told.
pub const GENERIC_PROMPT: &str = "You are a helpful assistant.";

fn title_case(slug: &str) -> String {
    let words = slug.split(['-', '_']).filter(|word| !word.is_empty());
    let titled = words.map(|word| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    });
    titled.collect::<Vec<_>>().join(" ")
}

/// A stored bot.
#[derive(Debug, Clone, PartialEq)]
pub struct BotProfile {
    /// Identity.
    pub slug: BotSlug,
    /// Name of its tables: computed once, when the bot is created, and never from user input again.
    pub namespace: String,
    /// What may be edited.
    pub character: Character,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed; the version that `If-Match` compares.
    pub updated_at: Timestamp,
}

/// A version condition of a write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IfMatch {
    /// The client sent none, or `*`.
    #[default]
    Any,
    /// The profile's `updated_at` must be one of these texts.
    OneOf(Vec<String>),
}

impl IfMatch {
    /// Reads an `If-Match` header: entity tags whose text is the profile's `updated_at`, quoted or not.
    #[must_use]
    pub fn parse(header: &str) -> Self {
        let tags = header.split(',').map(str::trim).filter(|tag| !tag.is_empty());
        let tags: Vec<String> =
            tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').to_owned()).collect();
        if tags.is_empty() || tags.iter().any(|tag| tag == "*") { Self::Any } else { Self::OneOf(tags) }
    }

    /// Whether a profile of this version may be written.
    #[must_use]
    pub fn allows(&self, version: Timestamp) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => {
                tags.iter().any(|tag| tag.parse::<Timestamp>().is_ok_and(|expected| expected == version))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_become_names() {
        assert_eq!(Character::blank(&BotSlug::from_stored("my_best-bot")).name, "My Best Bot");
        assert_eq!(Character::blank(&BotSlug::from_stored("7")).name, "7");
    }

    #[test]
    fn a_backend_makes_an_agent() {
        let mut character = Character::blank(&BotSlug::from_stored("x"));
        character.agent_backend = Some(" Codex ".into());
        character.color = Some("  ".into());
        let character = character.canonical();
        assert_eq!(character.agent_backend.as_deref(), Some("codex"));
        assert_eq!((character.bot_type, character.color), (BotType::Agent, None));
    }

    #[test]
    fn lengths_count_characters() {
        let mut character = Character::blank(&BotSlug::from_stored("x"));
        character.name = "ü".repeat(NAME_MAX);
        assert_eq!(character.complaints(), []);
        character.name.push('x');
        character.timezone = Some("Mars/Olympus".into());
        character.description = "a\0b".into();
        character.nextcloud_config = serde_json::json!({"a": ["\0"]}).as_object().cloned();
        let kinds: Vec<_> = character.complaints().iter().map(|c| c.kind.clone()).collect();
        assert_eq!(kinds, ["string_too_long", "value_error", "value_error", "value_error"]);
    }

    #[test]
    fn versions_compare_as_times() {
        let version: Timestamp = "2026-05-13T10:00:00.123456Z".parse().unwrap();
        assert_eq!(greenroom_protocol::time::wire_time(version), "2026-05-13T10:00:00.123456Z");
        assert!(IfMatch::parse("\"2026-05-13T10:00:00.123456Z\"").allows(version));
        assert!(IfMatch::parse("\"x\", W/\"2026-05-13T10:00:00.123456+00:00\"").allows(version));
        assert!(!IfMatch::parse("2026-05-13T10:00:00.123457Z").allows(version));
        assert!(IfMatch::parse(" * ").allows(version) && IfMatch::parse("").allows(version));
        assert!(!IfMatch::parse("nonsense").allows(version));
    }
}
