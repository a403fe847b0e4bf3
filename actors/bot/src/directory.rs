//! The effective bots as one immutable snapshot: stored profiles with their settings weighed, sorted by slug.
//!
//! Invariant: a snapshot never changes; writers build the next one and swap it in whole, so that a reader sees either
//! everything of a change or nothing. Deliberately absent: addresses of actors and anything of a request.

use std::collections::HashMap;
use std::sync::Arc;

use greenroom_memory::NamespaceName;
use greenroom_protocol::BotSlug;
use greenroom_turn::{Persona, TurnSettings};
use jiff::Timestamp;

use crate::error::BotsError;
use crate::lanes::Rule;
use crate::layers::{Effective, Layer, Layers};
use crate::namespace::namespace_for;
use crate::profile::{BotProfile, Character};
use crate::repository::SettingRow;
use crate::seeds::Seeds;
use crate::tunable::ScopeType;

/// The bot that answers when there is not one bot left.
const LAST_RESORT: &str = "assistant";

/// One effective bot.
#[derive(Debug, Clone)]
pub struct Bot {
    /// The profile as it is stored.
    pub profile: Arc<BotProfile>,
    /// Its settings with their sources.
    pub settings: Arc<Effective>,
    /// What turns know of it.
    pub persona: Arc<Persona>,
    /// The settings of its turns.
    pub turn_settings: Arc<TurnSettings>,
    /// The name of its tables.
    pub namespace: NamespaceName,
    /// What a user's second request does to the first.
    pub rule: Rule,
    /// False for the bot that stands in when there is none.
    pub is_stored: bool,
}

impl Bot {
    fn new(profile: BotProfile, settings: Effective, is_stored: bool) -> Result<Self, BotsError> {
        let namespace = NamespaceName::from_profile(&profile.namespace).ok_or(BotsError::Unreadable("namespace"))?;
        let character = &profile.character;
        let persona = Persona {
            slug: profile.slug.clone(),
            name: character.name.clone(),
            system_prompt: character.system_prompt.clone(),
            requires_memory: character.requires_memory,
            uses_tools: character.uses_tools,
            uses_search: character.uses_search,
            uses_home_assistant: character.uses_home_assistant,
            tools_allow: character.tools_allow.clone(),
            tools_deny: character.tools_deny.clone(),
            voice_optimized: character.voice_optimized,
            history_scope: character.history_scope,
            agent_backend: character.agent_backend.clone(),
        };
        let rule = match settings.text("concurrency") {
            Some("supersede") => Rule::Supersede,
            Some("queue") => Rule::Queue,
            Some("parallel") => Rule::Parallel,
            // An agent's bridge keeps order itself, per session.
            _ if character.agent_backend.is_some() => Rule::Parallel,
            _ => Rule::default(),
        };
        Ok(Self {
            persona: Arc::new(persona),
            turn_settings: Arc::new(settings.for_turns(character.timezone.as_deref())),
            settings: Arc::new(settings),
            namespace,
            rule,
            is_stored,
            profile: Arc::new(profile),
        })
    }

    /// The bot's slug.
    #[must_use]
    pub fn slug(&self) -> &BotSlug {
        &self.profile.slug
    }

    /// What may be edited of it.
    #[must_use]
    pub fn character(&self) -> &Character {
        &self.profile.character
    }
}

/// What a snapshot is built from, beside the stored rows.
#[derive(Debug, Clone, Default)]
pub struct Ground {
    /// The seed file.
    pub seeds: Seeds,
    /// The process configuration.
    pub config: Layer,
    /// The configured default bot.
    pub default_bot: Option<BotSlug>,
}

/// All effective bots.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    bots: Vec<Arc<Bot>>,
    by_slug: HashMap<BotSlug, usize>,
    default: usize,
    globals: Arc<Effective>,
}

impl Directory {
    /// Weighs everything. There is always at least one bot.
    ///
    /// # Errors
    /// [`BotsError::Unreadable`] for a stored namespace that cannot be one.
    pub fn build(profiles: Vec<BotProfile>, rows: &[SettingRow], ground: &Ground) -> Result<Self, BotsError> {
        let empty = Layer::new();
        let mut global = Layer::new();
        let mut of_bots: HashMap<&str, Layer> = HashMap::new();
        for row in rows {
            let layer = match row.scope_type {
                ScopeType::Global => &mut global,
                ScopeType::Bot => of_bots.entry(row.scope_id.as_str()).or_default(),
            };
            layer.insert(row.key.clone(), row.value.clone());
        }
        let weigh = |slug: Option<&BotSlug>| {
            let bot = slug.and_then(|slug| of_bots.get(slug.as_str())).unwrap_or(&empty);
            let seed = slug.and_then(|slug| ground.seeds.settings_of(slug)).unwrap_or(&empty);
            let (config, template) = (&ground.config, &ground.seeds.template);
            Effective::of(Layers { bot, global: &global, seed, config, template })
        };
        let mut bots = Vec::with_capacity(profiles.len().max(1));
        for profile in profiles {
            let settings = weigh(Some(&profile.slug));
            bots.push(Arc::new(Bot::new(profile, settings, true)?));
        }
        if bots.is_empty() {
            bots.push(Arc::new(Bot::new(last_resort(), weigh(None), false)?));
        }
        bots.sort_by(|a, b| a.slug().cmp(b.slug()));
        let by_slug: HashMap<BotSlug, usize> =
            bots.iter().enumerate().map(|(at, bot)| (bot.slug().clone(), at)).collect();
        let wanted = [ground.default_bot.as_ref(), ground.seeds.standard.as_ref()];
        let default = wanted.into_iter().flatten().find_map(|slug| by_slug.get(slug).copied()).unwrap_or(0);
        Ok(Self { bots, by_slug, default, globals: Arc::new(weigh(None)) })
    }

    /// All bots, by slug.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Bot>> {
        self.bots.iter()
    }

    /// One bot.
    #[must_use]
    pub fn get(&self, slug: &BotSlug) -> Option<&Arc<Bot>> {
        self.by_slug.get(slug).and_then(|at| self.bots.get(*at))
    }

    /// The bot that text names, in any case.
    #[must_use]
    pub fn named(&self, text: &str) -> Option<&Arc<Bot>> {
        self.get(&BotSlug::parse(text).ok()?)
    }

    /// The bot that answers when nobody names one.
    #[must_use]
    pub fn default_bot(&self) -> Option<&Arc<Bot>> {
        self.bots.get(self.default)
    }

    /// Settings of the service as a whole, for keys that belong to no bot.
    #[must_use]
    pub fn globals(&self) -> &Effective {
        &self.globals
    }
}

fn last_resort() -> BotProfile {
    let slug = BotSlug::from_stored(LAST_RESORT);
    let character = Character { requires_memory: false, ..Character::blank(&slug) };
    let epoch = Timestamp::UNIX_EPOCH;
    let namespace = namespace_for(&slug, |_| false);
    BotProfile { slug, namespace, character, created_at: epoch, updated_at: epoch }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::layers::Source;

    fn profile(slug: &str) -> BotProfile {
        let slug = BotSlug::from_stored(slug);
        let now = Timestamp::UNIX_EPOCH;
        let namespace = slug.as_str().replace('-', "");
        BotProfile { character: Character::blank(&slug), slug, namespace, created_at: now, updated_at: now }
    }

    fn row(bot: Option<&str>, key: &str, value: Value) -> SettingRow {
        SettingRow {
            scope_type: if bot.is_some() { ScopeType::Bot } else { ScopeType::Global },
            scope_id: bot.unwrap_or("*").into(),
            key: key.into(),
            value,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn ground(yaml: &str, default_bot: Option<&str>) -> Ground {
        Ground {
            seeds: Seeds::parse(yaml).unwrap(),
            config: [("top_p".to_owned(), json!(0.4))].into(),
            default_bot: default_bot.map(BotSlug::from_stored),
        }
    }

    #[test]
    fn bots_are_sorted_and_weighed() {
        let ground = ground(
            "bot_settings_template: {top_p: 0.1, memory_n_results: 7}\nbots: {b: {settings: {temperature: 0.2}}}",
            None,
        );
        let rows = [row(None, "temperature", json!(0.5)), row(Some("c"), "temperature", json!(0.9))];
        let directory = Directory::build(vec![profile("c"), profile("b"), profile("a-x")], &rows, &ground).unwrap();
        let slugs: Vec<_> = directory.iter().map(|bot| bot.slug().as_str()).collect();
        assert_eq!(slugs, ["a-x", "b", "c"]);
        let of = |slug: &str, key: &str| {
            let bot = directory.named(slug).unwrap();
            bot.settings.get(key).map(|setting| (setting.value.clone(), setting.source)).unwrap()
        };
        assert_eq!(of("C", "temperature"), (json!(0.9), Source::Bot));
        assert_eq!(of("b", "temperature"), (json!(0.5), Source::Global));
        assert_eq!(of("b", "top_p"), (json!(0.4), Source::Config));
        assert_eq!(of("b", "memory_n_results"), (json!(7), Source::Template));
        assert_eq!(directory.named("c").unwrap().turn_settings.temperature, 0.9);
        assert_eq!(directory.globals().get("temperature").unwrap().source, Source::Global);
    }

    #[test]
    fn the_default_bot_is_configured_or_standard_or_the_first() {
        let yaml = "bots: {b: {}}\ndefaults: {standard: b}";
        let default = |configured: Option<&str>, yaml: &str| {
            let directory = Directory::build(vec![profile("b"), profile("a")], &[], &ground(yaml, configured)).unwrap();
            directory.default_bot().unwrap().slug().to_string()
        };
        assert_eq!(default(Some("a"), yaml), "a");
        assert_eq!(default(Some("gone"), yaml), "b");
        assert_eq!(default(None, ""), "a");
        let none = Directory::build(Vec::new(), &[], &ground("", Some("nova"))).unwrap();
        let bot = none.default_bot().unwrap();
        assert!(!bot.is_stored && !bot.persona.requires_memory);
    }

    #[test]
    fn concurrency_is_a_setting_with_a_default_for_agents() {
        let mut agent = profile("agent");
        agent.character.agent_backend = Some("codex".into());
        let rows = [row(Some("q"), "concurrency", json!("queue")), row(Some("p"), "concurrency", json!("nonsense"))];
        let all = vec![agent, profile("q"), profile("p")];
        let directory = Directory::build(all, &rows, &Ground::default()).unwrap();
        let rule = |slug: &str| directory.named(slug).unwrap().rule;
        assert_eq!((rule("agent"), rule("q"), rule("p")), (Rule::Parallel, Rule::Queue, Rule::Supersede));
    }

    #[test]
    fn a_namespace_that_cannot_be_one_is_an_error() {
        let bad = BotProfile { namespace: "No Way".into(), ..profile("a") };
        assert!(matches!(Directory::build(vec![bad], &[], &Ground::default()), Err(BotsError::Unreadable(_))));
    }
}
