//! Which value of a setting wins: request, then bot row, global row, the bot's seed, process configuration, seed
//! template, built-in value. The request's own sampling fields are laid on top by the turn.
//!
//! Invariant: a known key's effective value fits its schema; a stored value that does not is passed over. The template
//! stands below the process configuration, because it names nearly every key and would silence it otherwise.

use std::collections::BTreeMap;

use greenroom_turn::TurnSettings;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::tunable::{TUNABLES, checked, tunable};

/// One layer of settings.
pub type Layer = BTreeMap<String, Value>;

/// Where an effective value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A row of the bot.
    Bot,
    /// A row for all bots.
    Global,
    /// The bot's own settings in the seed file.
    Seed,
    /// The process configuration.
    Config,
    /// The template of the seed file.
    Template,
    /// Built in.
    Default,
}

/// The layers of one bot, highest first.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// The bot's rows.
    pub bot: &'a Layer,
    /// The global rows.
    pub global: &'a Layer,
    /// The bot's seed.
    pub seed: &'a Layer,
    /// The process configuration.
    pub config: &'a Layer,
    /// The seed file's template.
    pub template: &'a Layer,
}

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// The winning value.
    pub value: Value,
    /// Who set it.
    pub source: Source,
    /// Whether the key is known to this service.
    pub known: bool,
}

/// The effective settings of one bot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effective {
    settings: BTreeMap<String, Setting>,
}

impl Effective {
    /// Weighs the layers.
    #[must_use]
    pub fn of(layers: Layers<'_>) -> Self {
        let ranked = [
            (Source::Template, layers.template),
            (Source::Config, layers.config),
            (Source::Seed, layers.seed),
            (Source::Global, layers.global),
            (Source::Bot, layers.bot),
        ];
        let mut settings = BTreeMap::new();
        for known in TUNABLES {
            if let Some(value) = known.default.value() {
                insert(&mut settings, known.key, value, Source::Default);
            }
        }
        for (source, layer) in ranked {
            for (key, value) in layer {
                if source == Source::Bot && tunable(key).is_some_and(|known| known.global_only) {
                    continue;
                }
                if let Ok(value) = checked(key, value) {
                    insert(&mut settings, key, value, source);
                }
            }
        }
        Self { settings }
    }

    /// All settings, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.settings.values()
    }

    /// One setting.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    /// Key and value only, as profiles show them.
    #[must_use]
    pub fn plain(&self) -> Map<String, Value> {
        self.settings.iter().map(|(key, setting)| (key.clone(), setting.value.clone())).collect()
    }

    /// A text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.value.as_str().filter(|text| !text.trim().is_empty())
    }

    /// A whole number.
    #[must_use]
    pub fn count(&self, key: &str) -> Option<u64> {
        self.get(key)?.value.as_u64()
    }

    /// A number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<f64> {
        self.get(key)?.value.as_f64()
    }

    /// The part of the settings that a turn uses; the bot's own time zone goes before the setting.
    #[must_use]
    pub fn for_turns(&self, timezone: Option<&str>) -> TurnSettings {
        // Known values fit their schema, and the turn's fields have the names of their keys.
        let mut settings: TurnSettings = serde_json::from_value(Value::Object(self.plain())).unwrap_or_default();
        settings.timezone = timezone.or_else(|| self.text("timezone")).map(str::to_owned);
        settings
    }
}

fn insert(settings: &mut BTreeMap<String, Setting>, key: &str, value: Value, source: Source) {
    let known = tunable(key).is_some();
    settings.insert(key.to_owned(), Setting { key: key.to_owned(), value, source, known });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn layer(value: Option<f64>) -> Layer {
        value.map(|value| ("temperature".to_owned(), json!(value))).into_iter().collect()
    }

    proptest! {
        #[test]
        fn the_highest_layer_that_has_a_value_wins(
            bot in prop::option::of(0.0..1.0f64), global in prop::option::of(0.0..1.0f64),
            seed in prop::option::of(0.0..1.0f64), config in prop::option::of(0.0..1.0f64),
            template in prop::option::of(0.0..1.0f64),
        ) {
            let layers = [layer(bot), layer(global), layer(seed), layer(config), layer(template)];
            let effective = Effective::of(Layers {
                bot: &layers[0], global: &layers[1], seed: &layers[2], config: &layers[3], template: &layers[4],
            });
            let order = [
                (bot, Source::Bot), (global, Source::Global), (seed, Source::Seed), (config, Source::Config),
                (template, Source::Template), (Some(0.8), Source::Default),
            ];
            let (value, source) = order.into_iter().find_map(|(value, source)| Some((value?, source))).unwrap();
            let winner = effective.get("temperature").unwrap();
            prop_assert_eq!((&winner.value, winner.source), (&json!(value), source));
            prop_assert_eq!(effective.for_turns(None).temperature, value);
        }
    }

    #[test]
    fn values_that_do_not_fit_are_passed_over() {
        let bad: Layer = [
            ("temperature".to_owned(), json!(9)),
            ("mine".to_owned(), json!([1])),
            ("profile_maintenance_interval_minutes".to_owned(), json!(5)),
        ]
        .into();
        let empty = Layer::new();
        let layers = Layers { bot: &bad, global: &empty, seed: &empty, config: &empty, template: &empty };
        let effective = Effective::of(layers);
        assert_eq!(effective.get("temperature").map(|s| s.source), Some(Source::Default));
        assert_eq!(effective.get("mine").map(|s| (s.known, s.source)), Some((false, Source::Bot)));
        let job = effective.get("profile_maintenance_interval_minutes").unwrap();
        assert_eq!((&job.value, job.source), (&json!(60), Source::Default));
    }

    #[test]
    fn nothing_set_is_what_turns_take_as_default() {
        let empty = Layer::new();
        let layers = Layers { bot: &empty, global: &empty, seed: &empty, config: &empty, template: &empty };
        let effective = Effective::of(layers);
        assert_eq!(effective.for_turns(None), TurnSettings::default());
        assert_eq!(effective.for_turns(Some("Asia/Tokyo")).timezone.as_deref(), Some("Asia/Tokyo"));
    }
}
