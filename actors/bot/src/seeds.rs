//! The seed file: which bots exist before anybody has made one, and the settings template.
//!
//! The database is authoritative from the moment a seed was copied into it. Unknown fields are errors, so that a typing
//! mistake is found at the start and not by a user. Deliberately absent: reading files and watching them; texts come
//! from the front door.

use std::collections::BTreeMap;

use greenroom_protocol::BotSlug;
use greenroom_turn::HistoryScope;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::layers::Layer;
use crate::profile::{BotType, Character};
use crate::tunable::checked;

/// Why the seed file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Not YAML, or not of this shape.
    #[error("the bot seeds are not valid: {0}")]
    Shape(String),
    /// One bot is not acceptable.
    #[error("bot seed '{slug}': {why}")]
    Bot {
        /// The bot as the file names it.
        slug: String,
        /// What is wrong.
        why: String,
    },
    /// The process configuration holds a value that does not fit its key.
    #[error("the configured tunable '{key}': {why}")]
    Config {
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The template holds a value that does not fit its key.
    #[error("the settings template's '{key}': {why}")]
    Template {
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
}

/// One seeded bot.
#[derive(Debug, Clone, PartialEq)]
pub struct Seed {
    /// Identity.
    pub slug: BotSlug,
    /// What it is.
    pub character: Character,
    /// Its own settings, without the template.
    pub settings: Layer,
}

/// The whole seed file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seeds {
    /// Settings of every bot that nobody has set otherwise.
    pub template: Layer,
    /// The bots, by slug.
    pub bots: Vec<Seed>,
    /// The bot that answers when nobody names one.
    pub standard: Option<BotSlug>,
    /// The bot of the local mode.
    pub local: Option<BotSlug>,
    /// Named auxiliary prompts.
    pub system_prompts: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    #[serde(alias = "bot_settings_defaults", alias = "bot_defaults")]
    bot_settings_template: Option<Layer>,
    bots: Option<BTreeMap<String, SeededBot>>,
    defaults: Option<Defaults>,
    system_prompts: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Defaults {
    standard: Option<String>,
    local: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct SeededBot {
    slug: Option<String>,
    name: Option<String>,
    description: Option<String>,
    system_prompt: Option<String>,
    requires_memory: Option<bool>,
    voice_optimized: Option<bool>,
    tts_mode: Option<bool>,
    include_summaries: Option<bool>,
    uses_tools: Option<bool>,
    uses_search: Option<bool>,
    uses_home_assistant: Option<bool>,
    default_model: Option<String>,
    model_fallbacks: Option<Vec<String>>,
    color: Option<String>,
    avatar: Option<String>,
    default_voice: Option<String>,
    #[serde(alias = "nextcloud_config")]
    nextcloud: Option<Map<String, Value>>,
    bot_type: Option<BotType>,
    agent_backend: Option<String>,
    agent_backend_config: Option<Map<String, Value>>,
    tools_allow: Option<Vec<String>>,
    tools_deny: Option<Vec<String>>,
    history_scope: Option<HistoryScope>,
    timezone: Option<String>,
    settings: Option<Layer>,
}

impl Seeds {
    /// Reads a seed file. An empty one seeds nothing.
    ///
    /// # Errors
    /// [`SeedError`].
    pub fn parse(text: &str) -> Result<Self, SeedError> {
        let file: Option<File> = serde_norway::from_str(text).map_err(|error| SeedError::Shape(error.to_string()))?;
        let file = file.unwrap_or_default();
        let template = fitting(file.bot_settings_template.unwrap_or_default())
            .map_err(|(key, why)| SeedError::Template { key, why })?;
        let mut bots: BTreeMap<BotSlug, Seed> = BTreeMap::new();
        for (name, bot) in file.bots.unwrap_or_default() {
            let seed = bot.seed(&name).map_err(|why| SeedError::Bot { slug: name.clone(), why })?;
            if bots.insert(seed.slug.clone(), seed).is_some() {
                return Err(SeedError::Bot { slug: name, why: "a second bot has this slug".into() });
            }
        }
        let defaults = file.defaults.unwrap_or_default();
        Ok(Self {
            template,
            standard: default_bot(defaults.standard)?,
            local: default_bot(defaults.local)?,
            system_prompts: file.system_prompts.unwrap_or_default(),
            bots: bots.into_values().collect(),
        })
    }

    /// A bot's own seeded settings.
    #[must_use]
    pub fn settings_of(&self, slug: &BotSlug) -> Option<&Layer> {
        self.bots.iter().find(|seed| seed.slug == *slug).map(|seed| &seed.settings)
    }
}

fn default_bot(name: Option<String>) -> Result<Option<BotSlug>, SeedError> {
    let Some(name) = name else { return Ok(None) };
    BotSlug::parse(&name).map(Some).map_err(|bad| SeedError::Bot { slug: name, why: bad.to_string() })
}

/// The layer in canonical form, or the first key whose value does not fit.
fn fitting(layer: Layer) -> Result<Layer, (String, String)> {
    layer
        .into_iter()
        .map(|(key, value)| match checked(&key, &value) {
            Ok(value) => Ok((key, value)),
            Err(complaint) => Err((key, complaint.msg)),
        })
        .collect()
}

impl SeededBot {
    fn seed(self, name: &str) -> Result<Seed, String> {
        let slug = BotSlug::parse(self.slug.as_deref().unwrap_or(name)).map_err(|bad| bad.to_string())?;
        let or = Character::blank(&slug);
        let full = |text: Option<String>, or: String| text.filter(|text| !text.trim().is_empty()).unwrap_or(or);
        let character = Character {
            name: full(self.name, or.name),
            description: self.description.map(|text| text.trim().to_owned()).unwrap_or_default(),
            system_prompt: full(self.system_prompt, or.system_prompt).trim().to_owned(),
            requires_memory: self.requires_memory.unwrap_or(or.requires_memory),
            voice_optimized: self.voice_optimized.unwrap_or(or.voice_optimized),
            tts_mode: self.tts_mode.unwrap_or(or.tts_mode),
            include_summaries: self.include_summaries.unwrap_or(or.include_summaries),
            uses_tools: self.uses_tools.unwrap_or(or.uses_tools),
            uses_search: self.uses_search.unwrap_or(or.uses_search),
            uses_home_assistant: self.uses_home_assistant.unwrap_or(or.uses_home_assistant),
            default_model: self.default_model,
            model_fallbacks: self.model_fallbacks.unwrap_or_default(),
            color: self.color,
            avatar: self.avatar,
            default_voice: self.default_voice,
            nextcloud_config: self.nextcloud,
            bot_type: self.bot_type.unwrap_or_default(),
            agent_backend: self.agent_backend,
            agent_backend_config: self.agent_backend_config,
            tools_allow: self.tools_allow,
            tools_deny: self.tools_deny.unwrap_or_default(),
            history_scope: self.history_scope.unwrap_or_default(),
            timezone: self.timezone,
        }
        .canonical();
        if character.bot_type == BotType::Agent && character.agent_backend.is_none() {
            return Err("agent bots require agent_backend".into());
        }
        if let Some(complaint) = character.complaints().first() {
            let place = complaint.loc.last().and_then(Value::as_str).unwrap_or_default();
            return Err(format!("{place}: {}", complaint.msg));
        }
        let settings = fitting(self.settings.unwrap_or_default()).map_err(|(key, why)| format!("{key}: {why}"))?;
        Ok(Seed { slug, character, settings })
    }
}

/// Lays a second seed file over the first: maps are merged member by member, everything else is replaced.
///
/// # Errors
/// [`SeedError::Shape`] when one of them is not YAML.
pub fn merged_seeds(first: &str, second: &str) -> Result<String, SeedError> {
    let shape = |error: serde_norway::Error| SeedError::Shape(error.to_string());
    let mut base: Value = serde_norway::from_str(first).map_err(shape)?;
    let mut over: Value = serde_norway::from_str(second).map_err(shape)?;
    one_template_name(&mut base);
    one_template_name(&mut over);
    merge(&mut base, over);
    serde_norway::to_string(&base).map_err(shape)
}

fn one_template_name(file: &mut Value) {
    if let Value::Object(file) = file {
        for alias in ["bot_settings_defaults", "bot_defaults"] {
            if let Some(template) = file.remove(alias) {
                file.insert("bot_settings_template".into(), template);
            }
        }
    }
}

fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (_, Value::Null) => {}
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(place) if place.is_object() && value.is_object() => merge(place, value),
                    _ => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, over) => *base = over,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shipped() -> Seeds {
        Seeds::parse(include_str!("../../../bots.yaml")).unwrap()
    }

    #[test]
    fn the_shipped_file_holds_three_bots() {
        let seeds = shipped();
        let slugs: Vec<_> = seeds.bots.iter().map(|seed| seed.slug.as_str()).collect();
        assert_eq!(slugs, ["mira", "nova", "spark"]);
        assert_eq!(seeds.standard, Some(BotSlug::from_stored("nova")));
        assert_eq!(seeds.local, Some(BotSlug::from_stored("spark")));
        let [mira, nova, spark] = &seeds.bots[..] else { panic!("{slugs:?}") };
        assert!(nova.character.requires_memory && nova.character.uses_tools && nova.character.uses_search);
        assert!(!spark.character.requires_memory && !spark.character.uses_tools && !spark.character.voice_optimized);
        assert!(mira.character.voice_optimized && mira.character.requires_memory);
        assert_eq!((nova.settings.len(), spark.settings.len(), mira.settings.len()), (3, 0, 4));
        assert_eq!(nova.settings["max_context_tokens"], json!(8000));
        assert_eq!(mira.settings["memory_max_token_percent"], json!(50));
        assert_eq!(seeds.template.len(), 12);
        assert_eq!(seeds.template["max_context_tokens"], json!(12000));
        for seed in &seeds.bots {
            assert!(seed.character.system_prompt.len() > 200, "{}", seed.slug);
        }
    }

    #[test]
    fn every_field_is_read() {
        let seeds = Seeds::parse(
            "
bot_defaults: {temperature: 0.1}
bots:
  Full:
    name: The Full One
    description: d
    system_prompt: p
    requires_memory: false
    voice_optimized: true
    tts_mode: true
    include_summaries: false
    uses_tools: true
    uses_search: true
    uses_home_assistant: true
    default_model: m
    color: c
    avatar: a
    default_voice: v
    nextcloud: {room: 1}
    agent_backend: Codex
    agent_backend_config: {model: x}
    tools_allow: [t]
    model_fallbacks: [n]
    tools_deny: [u]
    history_scope: user
    timezone: Europe/Berlin
    settings: {top_p: 0.5, mine: yes}
  bare:
",
        )
        .unwrap();
        let full = &seeds.bots[1];
        assert_eq!(full.slug.as_str(), "full");
        assert_eq!(
            full.character,
            Character {
                name: "The Full One".into(),
                description: "d".into(),
                system_prompt: "p".into(),
                requires_memory: false,
                voice_optimized: true,
                tts_mode: true,
                include_summaries: false,
                uses_tools: true,
                uses_search: true,
                uses_home_assistant: true,
                default_model: Some("m".into()),
                color: Some("c".into()),
                avatar: Some("a".into()),
                default_voice: Some("v".into()),
                nextcloud_config: json!({"room": 1}).as_object().cloned(),
                bot_type: BotType::Agent,
                agent_backend: Some("codex".into()),
                agent_backend_config: json!({"model": "x"}).as_object().cloned(),
                model_fallbacks: vec!["n".into()],
                tools_allow: Some(vec!["t".into()]),
                tools_deny: vec!["u".into()],
                history_scope: HistoryScope::User,
                timezone: Some("Europe/Berlin".into()),
            }
        );
        assert_eq!(full.settings["top_p"], json!(0.5));
        assert_eq!(seeds.template["temperature"], json!(0.1));
        assert_eq!(seeds.bots[0].character, Character::blank(&BotSlug::from_stored("bare")));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("bots: [1]", "not valid"),
            ("bots: {a: {colour: red}}", "colour"),
            ("robots: {}", "robots"),
            ("bots: {'a b': {}}", "bot slug"),
            ("bots: {nova: {}, ' NOVA': {}}", "second bot"),
            ("bots: {a: {settings: {temperature: 3}}}", "temperature"),
            ("bots: {a: {bot_type: agent}}", "agent_backend"),
            ("bots: {a: {timezone: Nowhere}}", "timezone"),
            ("bot_settings_template: {top_p: 2}", "top_p"),
            ("a: b: c", "not valid"),
        ] {
            let error = Seeds::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert_eq!(Seeds::parse("").unwrap(), Seeds::default());
    }

    #[test]
    fn a_second_file_is_laid_over_the_first() {
        let merged = merged_seeds(
            "bot_settings_template: {top_p: 0.5, temperature: 1}\nbots: {a: {name: A, color: red}}",
            "bot_defaults: {top_p: 0.7}\nbots: {a: {color: blue}, b: {name: B}}\n",
        )
        .unwrap();
        let seeds = Seeds::parse(&merged).unwrap();
        assert_eq!(seeds.template["top_p"], json!(0.7));
        assert_eq!(seeds.template["temperature"], json!(1.0));
        let [a, b] = &seeds.bots[..] else { panic!("{merged}") };
        assert_eq!((a.character.name.as_str(), a.character.color.as_deref()), ("A", Some("blue")));
        assert_eq!(b.character.name, "B");
        assert_eq!(merged_seeds("", "bots: {}").and_then(|text| Seeds::parse(&text)).unwrap(), Seeds::default());
    }
}
