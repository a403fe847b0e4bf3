//! Which model answers a turn, as a pure decision: agent backend, explicit request, sticky switch, the bot's default,
//! the service's default, the first that can.
//!
//! Invariant: the chosen alias was ready in the shelf it was chosen from, and whoever is passed over on the way is named
//! with the reason in a warning. Nothing here touches the database or a provider.

use serde::Serialize;

use crate::profile::Character;

/// What the catalogue says about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It can answer; this is its spelling in the catalogue.
    Ready(String),
    /// It is defined and cannot answer.
    Unavailable {
        /// Its spelling in the catalogue.
        alias: String,
        /// Why it cannot.
        reason: String,
    },
    /// No model has this name.
    Unknown,
}

/// The part of a catalogue that the choice needs.
pub trait Shelf {
    /// Looks a name up without regard to case.
    fn look(&self, name: &str) -> Look;
    /// The models that can answer, in catalogue order, the built-in echo last.
    fn ready(&self) -> Vec<String>;
}

/// What the choice is made from.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The request's `model`, unless it named a bot.
    pub requested: Option<&'a str>,
    /// The bot.
    pub bot: &'a Character,
    /// The user's sticky switch for this bot.
    pub switched: Option<&'a str>,
    /// The bot that answers when nobody names one; its model is the service's default.
    pub default_bot: Option<&'a Character>,
    /// The configured default alias.
    pub default_model: Option<&'a str>,
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSource {
    /// The bot's agent backend.
    AgentBackend,
    /// The request.
    Request,
    /// The user's switch.
    Switch,
    /// The bot's default.
    BotDefault,
    /// The service's default.
    ServiceDefault,
    /// Nobody: it is the first model that can answer.
    First,
}

/// The model that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its alias.
    pub alias: String,
    /// Who decided.
    pub source: ModelSource,
    /// What the user should know about it.
    pub warnings: Vec<String>,
}

/// Chooses; `None` when not one model can answer.
pub fn choose(wish: &Wish<'_>, shelf: &impl Shelf) -> Option<Choice> {
    let mut passed = Passed::default();
    if let Some(backend) = wish.bot.agent_backend.as_deref()
        && let Some(alias) = passed.consider(shelf, backend, "the bot's agent backend", "agent_unavailable")
    {
        let other = wish.requested.filter(|other| !other.eq_ignore_ascii_case(&alias));
        let ignored = |other| format!("model_ignored: '{other}' is ignored, the bot answers through '{alias}'");
        let warnings = other.map(ignored).into_iter().collect();
        return Some(Choice { alias, source: ModelSource::AgentBackend, warnings });
    }
    let bot_default = wish.bot.default_model.as_deref();
    let service_default =
        wish.default_bot.and_then(|bot| bot.agent_backend.as_deref().or(bot.default_model.as_deref()));
    let steps = [
        (wish.requested, Some("the requested model"), ModelSource::Request),
        (wish.switched, Some("the model switched to"), ModelSource::Switch),
        (bot_default, Some("the bot's default model"), ModelSource::BotDefault),
        // Another bot's unavailable default is nobody's business here, so it is passed over in silence.
        (service_default, None, ModelSource::ServiceDefault),
        (wish.default_model, Some("the service's default model"), ModelSource::ServiceDefault),
    ];
    for (name, role, source) in steps {
        let Some(name) = name else { continue };
        let ready = match role {
            Some(role) => passed.consider(shelf, name, role, "model_fallback"),
            None => match shelf.look(name) {
                Look::Ready(alias) => Some(alias),
                Look::Unavailable { .. } | Look::Unknown => None,
            },
        };
        if let Some(alias) = ready {
            return Some(Choice { warnings: passed.warnings(&alias), alias, source });
        }
    }
    let alias = shelf.ready().into_iter().next()?;
    let mut warnings = passed.warnings(&alias);
    if warnings.is_empty() {
        warnings.push(format!("model_fallback: no default model is configured; '{alias}' answers"));
    }
    Some(Choice { alias, source: ModelSource::First, warnings })
}

/// The names that could not answer, each once.
#[derive(Default)]
struct Passed {
    found: Vec<(String, String)>,
}

impl Passed {
    fn consider(&mut self, shelf: &impl Shelf, name: &str, role: &str, kind: &str) -> Option<String> {
        let reason = match shelf.look(name) {
            Look::Ready(alias) => return Some(alias),
            Look::Unavailable { reason, .. } => format!("is not available: {reason}"),
            Look::Unknown => "is not in the catalogue".to_owned(),
        };
        if !self.found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            self.found.push((name.to_owned(), format!("{kind}: {role} '{name}' {reason}")));
        }
        None
    }

    fn warnings(&self, alias: &str) -> Vec<String> {
        self.found.iter().map(|(_, text)| format!("{text}; '{alias}' answers instead")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use greenroom_protocol::BotSlug;
    use proptest::prelude::*;

    use super::*;

    /// `echo` is always there; a reason makes a model unavailable.
    struct Models(BTreeMap<&'static str, Option<&'static str>>);

    impl Shelf for Models {
        fn look(&self, name: &str) -> Look {
            let name = name.to_lowercase();
            match self.0.get(name.as_str()) {
                Some(None) => Look::Ready(name),
                Some(Some(reason)) => Look::Unavailable { alias: name, reason: (*reason).to_owned() },
                None if name == "echo" => Look::Ready(name),
                None => Look::Unknown,
            }
        }

        fn ready(&self) -> Vec<String> {
            let ready = self.0.iter().filter(|(_, reason)| reason.is_none()).map(|(name, _)| (*name).to_owned());
            ready.chain(["echo".to_owned()]).collect()
        }
    }

    fn bot(default_model: Option<&str>) -> Character {
        let blank = Character::blank(&BotSlug::from_stored("b"));
        Character { default_model: default_model.map(str::to_owned), ..blank }
    }

    fn wish(bot: &Character) -> Wish<'_> {
        Wish { requested: None, bot, switched: None, default_bot: None, default_model: None }
    }

    fn models() -> Models {
        Models([("a", None), ("b", None), ("off", Some("no key is configured"))].into())
    }

    #[test]
    fn the_order_is_request_switch_bot_service() {
        let (plain, with) = (bot(None), bot(Some("B")));
        let full = Wish { requested: Some("A"), bot: &with, switched: Some("b"), ..wish(&with) };
        let pick = |wish: Wish<'_>| choose(&wish, &models()).map(|c| (c.alias, c.source, c.warnings.len())).unwrap();
        assert_eq!(pick(full), ("a".into(), ModelSource::Request, 0));
        assert_eq!(pick(Wish { requested: None, switched: Some("a"), ..full }), ("a".into(), ModelSource::Switch, 0));
        assert_eq!(pick(wish(&with)), ("b".into(), ModelSource::BotDefault, 0));
        let other = bot(Some("b"));
        let service = Wish { default_bot: Some(&other), default_model: Some("a"), ..wish(&plain) };
        assert_eq!(pick(service), ("b".into(), ModelSource::ServiceDefault, 0));
        let off = bot(Some("off"));
        assert_eq!(pick(Wish { default_bot: Some(&off), ..service }), ("a".into(), ModelSource::ServiceDefault, 0));
        assert_eq!(pick(wish(&plain)), ("a".into(), ModelSource::First, 1));
    }

    #[test]
    fn whoever_is_passed_over_is_named_with_the_reason() {
        let off = bot(Some("off"));
        let choice = choose(&Wish { requested: Some("gone"), switched: Some("OFF"), ..wish(&off) }, &models()).unwrap();
        assert_eq!(
            choice.warnings,
            [
                "model_fallback: the requested model 'gone' is not in the catalogue; 'a' answers instead",
                "model_fallback: the model switched to 'OFF' is not available: no key is configured; 'a' answers instead",
            ]
        );
    }

    #[test]
    fn echo_answers_when_nothing_is_configured() {
        let choice = choose(&wish(&bot(None)), &Models(BTreeMap::new())).unwrap();
        assert_eq!((choice.alias.as_str(), choice.source), ("echo", ModelSource::First));
        assert_eq!(choice.warnings, ["model_fallback: no default model is configured; 'echo' answers"]);
    }

    #[test]
    fn an_agent_ignores_other_wishes() {
        let shelf = Models([("codex", None), ("a", None)].into());
        let agent = Character { agent_backend: Some("codex".into()), ..bot(Some("a")) };
        let choice = choose(&Wish { requested: Some("a"), switched: Some("a"), ..wish(&agent) }, &shelf).unwrap();
        assert_eq!((choice.alias.as_str(), choice.source), ("codex", ModelSource::AgentBackend));
        assert_eq!(choice.warnings, ["model_ignored: 'a' is ignored, the bot answers through 'codex'"]);
        let away = Models([("codex", Some("the bridge is away")), ("a", None)].into());
        let choice = choose(&wish(&agent), &away).unwrap();
        assert_eq!((choice.alias.as_str(), choice.source), ("a", ModelSource::BotDefault));
        assert!(choice.warnings[0].starts_with("agent_unavailable: "), "{:?}", choice.warnings);
    }

    proptest! {
        #[test]
        fn the_choice_is_ready_and_silent_only_if_first_wish(
            requested in prop::option::of("a|b|off|gone"), switched in prop::option::of("a|b|off|gone"),
            default in prop::option::of("a|b|off|gone"), service in prop::option::of("a|b|off|gone"),
        ) {
            let bot = bot(default.as_deref());
            let wish = Wish {
                requested: requested.as_deref(), switched: switched.as_deref(),
                default_model: service.as_deref(), ..wish(&bot)
            };
            let choice = choose(&wish, &models()).unwrap();
            prop_assert!(matches!(models().look(&choice.alias), Look::Ready(_)));
            let first = [&requested, &switched, &default, &service].into_iter().flatten().next();
            prop_assert_eq!(choice.warnings.is_empty(), first == Some(&choice.alias));
        }
    }
}
