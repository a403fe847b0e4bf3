//! Edits of a bot's profile, as a client sent them: absent keeps, null clears, a value replaces.
//!
//! Invariant: what [`ProfileDraft::onto`] gives is canonical and fits its columns. Unknown members are ignored, among
//! them those a client echoes from a profile it read (`slug`, `settings`, times).

use greenroom_protocol::BotSlug;
use greenroom_protocol::fields::{Complaint, Field, Fields};
use greenroom_turn::HistoryScope;
use serde_json::{Map, Value};

use crate::error::BotsError;
use crate::mask::unmasked;
use crate::profile::{
    AVATAR_MAX, BACKEND_MAX, BotType, COLOR_MAX, Character, DESCRIPTION_MAX, MODEL_MAX, NAME_MAX, PROMPT_MAX,
    VOICE_MAX, scope_of,
};

/// How a draft meets what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// `POST`, or `PUT` of a bot that does not exist: absent fields get their defaults.
    Create,
    /// `PUT`: absent fields keep what is stored.
    Merge,
    /// `PUT` with `Prefer: replace`: absent fields get their defaults.
    Replace,
    /// `PATCH`: absent fields keep what is stored, and nothing is required.
    Patch,
}

/// The fields of a profile that a request named.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProfileDraft {
    /// Display name; blank keeps the old one.
    pub name: Field<String>,
    /// Listing text.
    pub description: Field<String>,
    /// Base prompt; blank keeps the old one.
    pub system_prompt: Field<String>,
    /// Stateful or not.
    pub requires_memory: Field<bool>,
    /// Written for speech.
    pub voice_optimized: Field<bool>,
    /// Default of the request's flag.
    pub tts_mode: Field<bool>,
    /// Summaries in the prompt.
    pub include_summaries: Field<bool>,
    /// The tool loop.
    pub uses_tools: Field<bool>,
    /// The search tools.
    pub uses_search: Field<bool>,
    /// The Home Assistant tools.
    pub uses_home_assistant: Field<bool>,
    /// Model alias.
    pub default_model: Field<String>,
    /// Models to move on to.
    pub model_fallbacks: Field<Vec<String>>,
    /// Colour.
    pub color: Field<String>,
    /// Avatar.
    pub avatar: Field<String>,
    /// Voice.
    pub default_voice: Field<String>,
    /// Talk integration, as a whole.
    pub nextcloud_config: Field<Map<String, Value>>,
    /// Who answers.
    pub bot_type: Field<BotType>,
    /// Backend name.
    pub agent_backend: Field<String>,
    /// Backend configuration, as a whole.
    pub agent_backend_config: Field<Map<String, Value>>,
    /// Allowed tools.
    pub tools_allow: Field<Vec<String>>,
    /// Forbidden tools.
    pub tools_deny: Field<Vec<String>>,
    /// Whose past messages it sees.
    pub history_scope: Field<HistoryScope>,
    /// Time zone.
    pub timezone: Field<String>,
}

impl ProfileDraft {
    /// Reads a request body.
    ///
    /// # Errors
    /// Every complaint about it.
    pub fn read(body: &Value, edit: Edit) -> Result<Self, Vec<Complaint>> {
        let mut fields = Fields::of("body", body)?;
        if edit != Edit::Patch {
            for name in ["name", "system_prompt"] {
                if fields.raw(name).is_none() {
                    fields.missing(name);
                }
            }
        }
        let draft = Self {
            name: sure(&mut fields, "name", |fields| fields.text_max("name", NAME_MAX)),
            description: sure(&mut fields, "description", |fields| fields.text_max("description", DESCRIPTION_MAX)),
            system_prompt: sure(&mut fields, "system_prompt", |fields| fields.text_max("system_prompt", PROMPT_MAX)),
            requires_memory: flag(&mut fields, "requires_memory"),
            voice_optimized: flag(&mut fields, "voice_optimized"),
            tts_mode: flag(&mut fields, "tts_mode"),
            include_summaries: flag(&mut fields, "include_summaries"),
            uses_tools: flag(&mut fields, "uses_tools"),
            uses_search: flag(&mut fields, "uses_search"),
            uses_home_assistant: flag(&mut fields, "uses_home_assistant"),
            default_model: fields.text_max("default_model", MODEL_MAX),
            model_fallbacks: names(&mut fields, "model_fallbacks"),
            color: fields.text_max("color", COLOR_MAX),
            avatar: fields.text_max("avatar", AVATAR_MAX),
            default_voice: fields.text_max("default_voice", VOICE_MAX),
            nextcloud_config: fields.object("nextcloud_config").map(Clone::clone),
            bot_type: word(&mut fields, "bot_type", "Input should be 'chat' or 'agent'", BotType::parse),
            agent_backend: fields.text_max("agent_backend", BACKEND_MAX),
            agent_backend_config: fields.object("agent_backend_config").map(Clone::clone),
            tools_allow: names(&mut fields, "tools_allow"),
            tools_deny: names(&mut fields, "tools_deny"),
            history_scope: word(&mut fields, "history_scope", "Input should be 'bot' or 'user'", scope_of),
            timezone: fields.text_max("timezone", 128),
        };
        fields.finish()?;
        Ok(draft)
    }

    /// Whether the draft touches what decides which models fit the bot.
    #[must_use]
    pub fn touches_model(&self) -> bool {
        !(self.default_model.is_absent() && self.agent_backend.is_absent() && self.agent_backend_config.is_absent())
    }

    /// Applies the draft to what is stored (`None` for a new bot).
    ///
    /// # Errors
    /// [`BotsError::Refused`] for an agent without a backend, [`BotsError::Invalid`] for what does not fit.
    pub fn onto(self, slug: &BotSlug, stored: Option<&Character>, edit: Edit) -> Result<Character, BotsError> {
        let blank = Character::blank(slug);
        let keeps = matches!(edit, Edit::Merge | Edit::Patch);
        let mut next = stored.filter(|_| keeps).cloned().unwrap_or_else(|| blank.clone());
        let old = stored.unwrap_or(&blank);
        let drops_backend = match &self.agent_backend {
            Field::Null => true,
            Field::Value(name) => name.trim().is_empty(),
            Field::Absent => false,
        };
        // A blank name or prompt never erases one.
        next.name = worded(self.name, &next.name, &old.name);
        next.system_prompt = worded(self.system_prompt, &next.system_prompt, &old.system_prompt);
        set(&mut next.description, self.description);
        set(&mut next.requires_memory, self.requires_memory);
        set(&mut next.voice_optimized, self.voice_optimized);
        set(&mut next.tts_mode, self.tts_mode);
        set(&mut next.include_summaries, self.include_summaries);
        set(&mut next.uses_tools, self.uses_tools);
        set(&mut next.uses_search, self.uses_search);
        set(&mut next.uses_home_assistant, self.uses_home_assistant);
        self.default_model.apply(&mut next.default_model);
        self.color.apply(&mut next.color);
        self.avatar.apply(&mut next.avatar);
        self.default_voice.apply(&mut next.default_voice);
        let nextcloud = self.nextcloud_config.map(|config| unmasked(config, old.nextcloud_config.as_ref()));
        nextcloud.apply(&mut next.nextcloud_config);
        self.agent_backend.apply(&mut next.agent_backend);
        if edit == Edit::Merge && drops_backend && self.agent_backend_config.is_absent() {
            next.agent_backend_config = None;
        }
        let backend = self.agent_backend_config.map(|config| unmasked(config, old.agent_backend_config.as_ref()));
        backend.apply(&mut next.agent_backend_config);
        self.tools_allow.apply(&mut next.tools_allow);
        for (list, place) in
            [(self.tools_deny, &mut next.tools_deny), (self.model_fallbacks, &mut next.model_fallbacks)]
        {
            match list {
                Field::Absent => {}
                Field::Null => place.clear(),
                Field::Value(list) => *place = list,
            }
        }
        set(&mut next.history_scope, self.history_scope);
        self.timezone.apply(&mut next.timezone);
        // The type follows the backend unless the client states it.
        next.bot_type = BotType::Chat;
        set(&mut next.bot_type, self.bot_type);
        let next = next.canonical();
        if next.bot_type == BotType::Agent && next.agent_backend.is_none() {
            return Err(BotsError::Refused("Agent bots require agent_backend".into()));
        }
        let complaints = next.complaints();
        if complaints.is_empty() { Ok(next) } else { Err(BotsError::Invalid(complaints)) }
    }
}

fn set<T>(place: &mut T, field: Field<T>) {
    if let Field::Value(value) = field {
        *place = value;
    }
}

fn worded(field: Field<String>, kept: &str, old: &str) -> String {
    match field {
        Field::Value(text) if !text.trim().is_empty() => text,
        Field::Value(_) if !old.trim().is_empty() => old.to_owned(),
        Field::Value(_) | Field::Absent | Field::Null => kept.to_owned(),
    }
}

/// Reads a field that may be left out but not be null.
fn sure<'a, T>(fields: &mut Fields<'a>, name: &str, read: impl FnOnce(&mut Fields<'a>) -> Field<T>) -> Field<T> {
    let field = read(fields);
    if matches!(field, Field::Null) {
        fields.complain("null_not_allowed", name, "Input should not be null");
    }
    field
}

fn flag(fields: &mut Fields<'_>, name: &str) -> Field<bool> {
    sure(fields, name, |fields| fields.boolean(name))
}

fn word<T>(fields: &mut Fields<'_>, name: &str, rule: &str, parse: impl FnOnce(&str) -> Option<T>) -> Field<T> {
    match sure(fields, name, |fields| fields.text(name)) {
        Field::Value(text) => match parse(&text) {
            Some(value) => Field::Value(value),
            None => {
                fields.complain("literal_error", name, rule);
                Field::Absent
            }
        },
        Field::Absent | Field::Null => Field::Absent,
    }
}

fn names(fields: &mut Fields<'_>, name: &str) -> Field<Vec<String>> {
    match fields.list(name) {
        Field::Value(items) => {
            let list: Vec<String> = items.iter().filter_map(Value::as_str).map(|item| item.trim().to_owned()).collect();
            if list.len() == items.len() {
                Field::Value(list)
            } else {
                fields.complain("list_type", name, "Input should be a list of strings");
                Field::Absent
            }
        }
        Field::Null => Field::Null,
        Field::Absent => Field::Absent,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mask::MASK;

    fn slug() -> BotSlug {
        BotSlug::from_stored("tester")
    }

    fn edit(stored: Option<&Character>, body: &Value, edit: Edit) -> Result<Character, BotsError> {
        ProfileDraft::read(body, edit).map_err(BotsError::Invalid)?.onto(&slug(), stored, edit)
    }

    fn full() -> Character {
        edit(
            None,
            &json!({
                "name": "Tester", "system_prompt": "Test.", "uses_tools": true, "default_model": "m", "color": "red",
                "model_fallbacks": ["n", "o"],
                "requires_memory": false, "nextcloud_config": {"secret": "s", "room": "a"}, "avatar": "x",
                "tools_allow": ["memory"], "tools_deny": ["home"], "history_scope": "user", "timezone": "Europe/Paris",
            }),
            Edit::Create,
        )
        .unwrap()
    }

    fn kinds(result: Result<Character, BotsError>) -> Vec<String> {
        match result {
            Err(BotsError::Invalid(complaints)) => {
                complaints.iter().map(|c| format!("{} {}", c.kind, c.loc[1].as_str().unwrap())).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn creating_fills_in_the_defaults() {
        let made = edit(None, &json!({"name": " ", "system_prompt": ""}), Edit::Create).unwrap();
        assert_eq!(made, Character::blank(&slug()));
        assert_eq!(kinds(edit(None, &json!({}), Edit::Create)), ["missing name", "missing system_prompt"]);
    }

    #[test]
    fn absent_keeps_and_null_clears() {
        let stored = full();
        for kind in [Edit::Patch, Edit::Merge] {
            let same = edit(Some(&stored), &json!({"name": "Tester", "system_prompt": "Test."}), kind).unwrap();
            assert_eq!(same, stored);
            let cleared = edit(
                Some(&stored),
                &json!({"name": "", "system_prompt": " ", "default_model": null, "color": null, "avatar": null,
                    "nextcloud_config": null, "tools_allow": null, "tools_deny": null, "timezone": null,
                    "model_fallbacks": null}),
                kind,
            )
            .unwrap();
            let expected = Character {
                name: "Tester".into(),
                system_prompt: "Test.".into(),
                uses_tools: true,
                requires_memory: false,
                history_scope: HistoryScope::User,
                ..Character::blank(&slug())
            };
            assert_eq!(cleared, expected);
        }
    }

    #[test]
    fn replacing_returns_to_the_defaults() {
        let replaced = edit(Some(&full()), &json!({"name": "New", "system_prompt": "P"}), Edit::Replace).unwrap();
        let blank = Character::blank(&slug());
        assert_eq!(replaced, Character { name: "New".into(), system_prompt: "P".into(), ..blank });
    }

    #[test]
    fn null_is_refused_where_a_value_must_be() {
        let body = json!({"uses_tools": null, "name": null, "description": null, "bot_type": null});
        assert_eq!(
            kinds(edit(Some(&full()), &body, Edit::Patch)),
            [
                "null_not_allowed name",
                "null_not_allowed description",
                "null_not_allowed uses_tools",
                "null_not_allowed bot_type"
            ]
        );
    }

    #[test]
    fn wrong_types_and_lengths_are_named() {
        let body = json!({
            "name": "x".repeat(256), "color": 5, "uses_search": "perhaps", "bot_type": "robot", "tools_deny": [1],
            "avatar": "y".repeat(513), "agent_backend_config": [],
        });
        assert_eq!(
            kinds(edit(Some(&full()), &body, Edit::Patch)),
            [
                "string_too_long name",
                "bool_parsing uses_search",
                "string_type color",
                "string_too_long avatar",
                "literal_error bot_type",
                "dict_type agent_backend_config",
                "list_type tools_deny"
            ]
        );
        assert_eq!(kinds(edit(Some(&full()), &json!({"timezone": "Nowhere"}), Edit::Patch)), ["value_error timezone"]);
    }

    #[test]
    fn the_type_follows_the_backend() {
        let agent = edit(
            Some(&full()),
            &json!({"agent_backend": " Codex ", "agent_backend_config": {"token": "t", "session_key": "k"}}),
            Edit::Patch,
        )
        .unwrap();
        assert_eq!((agent.bot_type, agent.agent_backend.as_deref()), (BotType::Agent, Some("codex")));
        let kept = edit(Some(&agent), &json!({"agent_backend": null}), Edit::Patch).unwrap();
        assert_eq!((kept.bot_type, kept.agent_backend_config.is_some()), (BotType::Chat, true));
        let body = json!({"name": "a", "system_prompt": "b", "agent_backend": null});
        let emptied = edit(Some(&agent), &body, Edit::Merge).unwrap();
        assert_eq!(emptied.agent_backend_config, None);
        let body = json!({"bot_type": "agent", "agent_backend": null});
        assert!(matches!(edit(Some(&agent), &body, Edit::Patch), Err(BotsError::Refused(_))));
        let stays = edit(Some(&agent), &json!({"bot_type": "chat"}), Edit::Patch).unwrap();
        assert_eq!(stays.bot_type, BotType::Agent);
    }

    #[test]
    fn a_masked_secret_is_left_alone() {
        let body = json!({"nextcloud_config": {"secret": MASK, "room": "b"}});
        let config = edit(Some(&full()), &body, Edit::Patch).unwrap().nextcloud_config.unwrap();
        assert_eq!(Value::Object(config), json!({"secret": "s", "room": "b"}));
    }
}
