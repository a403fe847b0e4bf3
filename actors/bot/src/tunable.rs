//! The schema of runtime settings: which keys are known, what values they take, where they may be set.
//!
//! Invariant: a value that [`checked`] returned fits its key. Unknown keys are allowed everywhere and merely flagged,
//! because clients keep their own there.

use greenroom_protocol::fields::{Complaint, Field, Fields};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::profile::is_time_zone;

/// Longest key, in characters.
pub const KEY_MAX: usize = 128;

/// What values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Kind {
    /// A whole number within bounds.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A number within bounds.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// True or false.
    Boolean,
    /// A text.
    Text {
        /// Most characters.
        max: usize,
    },
    /// One of a few words.
    Word {
        /// The words.
        of: &'static [&'static str],
    },
    /// An IANA time zone.
    TimeZone,
}

/// What a key is worth when nobody has set it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Preset {
    /// Nothing.
    None,
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A flag.
    Boolean(bool),
    /// A word.
    Word(&'static str),
}

impl Preset {
    /// The value, if there is one.
    #[must_use]
    pub fn value(self) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Integer(number) => Some(number.into()),
            Self::Number(number) => Some(number.into()),
            Self::Boolean(flag) => Some(flag.into()),
            Self::Word(word) => Some(word.into()),
        }
    }
}

/// Where a setting stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeType {
    /// One bot.
    Bot,
    /// Every bot.
    Global,
}

impl ScopeType {
    /// The word as it is stored and sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Global => "global",
        }
    }

    /// The inverse of [`Self::as_str`], exactly.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Bot, Self::Global].into_iter().find(|scope| scope.as_str() == word)
    }
}

/// One known key.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tunable {
    /// The key.
    pub key: &'static str,
    /// Its values.
    #[serde(flatten)]
    pub kind: Kind,
    /// Its built-in value.
    pub default: Preset,
    /// Whether it can only be set for the whole service.
    pub global_only: bool,
    /// What it does.
    pub meaning: &'static str,
}

const fn integer(key: &'static str, min: i64, max: i64, default: i64, meaning: &'static str) -> Tunable {
    let kind = Kind::Integer { min, max };
    Tunable { key, kind, default: Preset::Integer(default), global_only: false, meaning }
}

const fn number(key: &'static str, min: f64, max: f64, default: f64, meaning: &'static str) -> Tunable {
    let kind = Kind::Number { min, max };
    Tunable { key, kind, default: Preset::Number(default), global_only: false, meaning }
}

const fn boolean(key: &'static str, default: bool, meaning: &'static str) -> Tunable {
    Tunable { key, kind: Kind::Boolean, default: Preset::Boolean(default), global_only: false, meaning }
}

const fn other(key: &'static str, kind: Kind, default: Preset, meaning: &'static str) -> Tunable {
    Tunable { key, kind, default, global_only: false, meaning }
}

const fn job(key: &'static str, default: i64, meaning: &'static str) -> Tunable {
    let kind = Kind::Integer { min: 1, max: MINUTES_IN_A_YEAR };
    Tunable { key, kind, default: Preset::Integer(default), global_only: true, meaning }
}

const MINUTES_IN_A_YEAR: i64 = 366 * 24 * 60;
const SECONDS_IN_A_YEAR: i64 = MINUTES_IN_A_YEAR * 60;

/// The words of the key `concurrency`.
pub const CONCURRENCY: &[&str] = &["supersede", "queue", "parallel"];

/// All known keys, in alphabetical order.
pub const TUNABLES: &[Tunable] = &[
    other(
        "concurrency",
        Kind::Word { of: CONCURRENCY },
        Preset::None,
        "a user's second request to the bot ends the first, waits for it, or runs beside it",
    ),
    other("default_voice", Kind::Text { max: 128 }, Preset::None, "voice of bots that name none"),
    job("history_summarization_interval_minutes", 30, "pause between summarisation jobs"),
    number("history_reload_ttl_seconds", 0.0, 86_400.0, 2.0, "age at which cached history is read again"),
    integer("max_context_messages", 0, 1_000_000, 0, "most history rows in the prompt, 0 for no cap"),
    integer("max_context_tokens", 0, 100_000_000, 0, "prompt budget, 0 for the model's window less the output"),
    integer("max_output_tokens", 1, 10_000_000, 4096, "most tokens of an answer"),
    integer("max_tool_calls_per_turn", 0, 10_000, 20, "most tool calls of a turn, 0 for a hundred"),
    integer("max_tool_iterations", 1, 100, 8, "most passes of a turn in which the model may call tools"),
    number("memory_access_boost_factor", 0.0, 10.0, 0.15, "what each recall adds to a memory's score"),
    boolean("memory_decay_enabled", true, "relevance fades with age"),
    number("memory_decay_half_life_days", 0.1, 36_500.0, 90.0, "days after which relevance has halved"),
    number("memory_dedup_similarity", 0.0, 1.0, 0.85, "similarity from which two memories are one"),
    boolean("memory_diversity_enabled", true, "prefer memories that differ"),
    number("memory_diversity_floor", 0.0, 1.0, 0.5, "share of the best score that a diverse pick must reach"),
    job("memory_extraction_interval_minutes", 30, "pause between extraction jobs"),
    number("memory_hybrid_weight", 0.0, 1.0, 0.3, "weight of the word search in retrieval"),
    integer("memory_max_token_percent", 0, 100, 30, "share of the budget that memories may take"),
    boolean("memory_meaning_query", false, "search the meaning vectors too"),
    number("memory_meaning_weight", 0.0, 1.0, 0.3, "weight of the meaning vectors"),
    number("memory_min_relevance", 0.0, 1.0, 0.01, "relevance below which a memory is left out"),
    integer("memory_n_results", 0, 1_000, 10, "memories per retrieval"),
    integer("memory_protected_recent_turns", 0, 1_000, 3, "newest turns that are never dropped"),
    number("memory_recency_weight", 0.0, 1.0, 0.3, "weight of recency against importance"),
    job("profile_maintenance_interval_minutes", 60, "pause between profile jobs"),
    integer("summarization_batch_concurrency", 1, 64, 3, "batches summarised at once"),
    integer("summarization_batch_size", 1, 100, 5, "sessions per summarisation call"),
    boolean("summarization_compact_context", true, "short form of summaries in the prompt"),
    integer("summarization_max_in_context", 0, 1_000, 5, "most summaries in the prompt"),
    integer("summarization_min_messages_per_session", 0, 10_000, 2, "smallest session that is summarised"),
    boolean("summarization_quality_retry", false, "ask again for a summary that fails the quality gate"),
    integer("summarization_session_gap_seconds", 0, SECONDS_IN_A_YEAR, 3600, "silence that splits sessions"),
    other(
        "summarize_model_override",
        Kind::Text { max: 128 },
        Preset::None,
        "model for the bot's summaries, facts and profile, before the service's",
    ),
    number("temperature", 0.0, 2.0, 0.8, "sampling temperature"),
    other("timezone", Kind::TimeZone, Preset::None, "time zone of bots that name none"),
    number("top_p", 0.0, 1.0, 0.95, "nucleus cut-off"),
    other("ui_color", Kind::Text { max: 64 }, Preset::None, "colour of bots that name none"),
];

/// The schema of a key, if it is known.
#[must_use]
pub fn tunable(key: &str) -> Option<&'static Tunable> {
    TUNABLES.iter().find(|tunable| tunable.key == key)
}

/// Checks a value for a key and returns it in canonical form (a numeric text becomes a number, and so on).
///
/// # Errors
/// A complaint about `body.value`.
pub fn checked(key: &str, value: &Value) -> Result<Value, Complaint> {
    let Some(tunable) = tunable(key) else { return Ok(value.clone()) };
    if value.is_null() {
        let message = format!("'{key}' cannot be null; delete the setting instead");
        return Err(Complaint::new("null_not_allowed", &["body", "value"], message, Value::Null));
    }
    let holder = Map::from_iter([("value".to_owned(), value.clone())]);
    let mut fields = Fields::of_map("body", &holder);
    let read = match tunable.kind {
        Kind::Integer { min, max } => fields.integer("value", min, max).map(Value::from),
        Kind::Number { min, max } => fields.number("value", min, max).map(Value::from),
        Kind::Boolean => fields.boolean("value").map(Value::from),
        Kind::Text { max } => fields.text_max("value", max).map(Value::from),
        Kind::Word { of } => {
            let word = fields.text("value").map(|word| word.trim().to_lowercase());
            if let Field::Value(word) = &word
                && !of.contains(&word.as_str())
            {
                fields.complain("literal_error", "value", format!("Input should be one of {}", of.join(", ")));
            }
            word.map(Value::from)
        }
        Kind::TimeZone => {
            let zone = fields.text("value");
            if let Field::Value(zone) = &zone
                && !is_time_zone(zone)
            {
                fields.complain("value_error", "value", "Input should be an IANA time zone name");
            }
            zone.map(Value::from)
        }
    };
    match (fields.finish(), read) {
        (Ok(()), Field::Value(value)) => Ok(value),
        (Err(complaints), _) => Err(complaints.into_iter().next().unwrap_or_else(|| strange(value))),
        (Ok(()), Field::Absent | Field::Null) => Err(strange(value)),
    }
}

fn strange(value: &Value) -> Complaint {
    Complaint::new("value_error", &["body", "value"], "Input is not valid for this key", value.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_sorted_and_their_defaults_fit() {
        assert!(TUNABLES.iter().all(|tunable| tunable.key.len() <= KEY_MAX));
        for tunable in TUNABLES {
            if let Some(default) = tunable.default.value() {
                assert_eq!(checked(tunable.key, &default), Ok(default), "{}", tunable.key);
            }
        }
        let mut keys: Vec<_> = TUNABLES.iter().map(|tunable| tunable.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), TUNABLES.len());
    }

    #[test]
    fn known_keys_are_typed_and_bounded() {
        assert_eq!(checked("temperature", &json!("0.5")), Ok(json!(0.5)));
        assert_eq!(checked("max_output_tokens", &json!(100.0)), Ok(json!(100)));
        assert_eq!(checked("concurrency", &json!(" Queue ")), Ok(json!("queue")));
        for (key, value) in [
            ("temperature", json!(2.1)),
            ("temperature", json!(null)),
            ("top_p", json!(-0.1)),
            ("max_output_tokens", json!(0)),
            ("memory_max_token_percent", json!(101)),
            ("summarization_compact_context", json!(7)),
            ("concurrency", json!("both")),
            ("timezone", json!("Mars/Olympus")),
            ("ui_color", json!("x".repeat(65))),
            ("memory_n_results", json!([1])),
        ] {
            let complaint = checked(key, &value).unwrap_err();
            assert_eq!(complaint.loc, vec![json!("body"), json!("value")], "{key} {value}");
        }
    }

    #[test]
    fn unknown_keys_take_anything() {
        assert_eq!(checked("my_own", &json!(null)), Ok(json!(null)));
        assert_eq!(checked("my_own", &json!({"a": [1]})), Ok(json!({"a": [1]})));
    }

    proptest! {
        #[test]
        fn a_checked_number_is_within_its_bounds(value in -10.0..10.0f64) {
            match checked("temperature", &json!(value)) {
                Ok(kept) => prop_assert!((0.0..=2.0).contains(&value) && kept == json!(value)),
                Err(_) => prop_assert!(!(0.0..=2.0).contains(&value)),
            }
        }
    }
}
