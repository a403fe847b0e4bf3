//! Reading facts out of a model's reply and judging them one by one (memory.md §8.3, §8.4).
//!
//! A fact is kept only if it is about something the user said in the lines that were to be read: what the assistant said,
//! what was recalled, and what the model made up is dropped with a reason. Pure.

use std::collections::HashSet;

use greenroom_memory::memories::clean_tag;
use serde_json::Value;
use uuid::Uuid;

use super::secrets::is_secret;
use crate::words::stems;

/// Most facts of one call.
const MOST_FACTS: usize = 20;
/// Most characters of a fact.
const MOST_CHARS: usize = 500;
/// Most tags of a fact.
const MOST_TAGS: usize = 6;
/// Share of a fact's words that the user must have used.
const LEAST_SHARED: f64 = 0.1;
/// When this many times more of a fact's words come from the other lines alone, it was recalled and not said.
const RECALLED: usize = 3;

/// A fact that a model found and that passed the checks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fact {
    /// One sentence about the user.
    pub(crate) content: String,
    /// Canonical, never empty.
    pub(crate) tags: Vec<String>,
    /// 0 to 1.
    pub(crate) importance: f32,
    /// 0 to 1.
    pub(crate) confidence: f32,
    /// Why it was shared.
    pub(crate) intent: Option<String>,
    /// The profile attribute that it would make.
    pub(crate) attribute: Option<Wish>,
    /// The messages that say it.
    pub(crate) sources: Vec<Uuid>,
}

/// A profile attribute that a model proposes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    pub(crate) category: String,
    pub(crate) key: String,
    /// A short value; the sentence stands in when there is none.
    pub(crate) value: Option<Value>,
}

/// Why an item of a reply was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dropped {
    /// No content, or none that could be read.
    Empty,
    /// Longer than a fact is.
    TooLong,
    /// It gives away a secret.
    Secret,
    /// No line of the user's says it.
    NoEvidence,
    /// Its words come from what the assistant said or recalled.
    Recalled,
    /// It says the same as an earlier item.
    Repeated,
    /// There were too many.
    TooMany,
    /// Too unimportant to keep.
    Unimportant,
}

/// The lines that were shown to a model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// By number: the message and its stems, if it is a line of the user's that is to be read.
    lines: Vec<Option<(Uuid, HashSet<String>)>>,
    /// Stems of the user's lines.
    said: HashSet<String>,
    /// Stems of the other lines.
    heard: HashSet<String>,
    /// Stems that say nothing, such as the user's own name.
    trivial: HashSet<String>,
    /// The text has no lines: any part of it is evidence, and these are the facts' sources.
    whole: bool,
}

impl Evidence {
    /// Nothing yet; the words of `names` do not count as evidence.
    pub(crate) fn new(names: &[&str]) -> Self {
        let mut trivial = stems("user person");
        for name in names {
            trivial.extend(stems(name));
        }
        Self { trivial, ..Self::default() }
    }

    /// A text without lines, such as a summary.
    pub(crate) fn of_text(text: &str, names: &[&str]) -> Self {
        Self { said: stems(text), whole: true, ..Self::new(names) }
    }

    /// The next line is the user's and is to be read. Gives its number.
    pub(crate) fn user(&mut self, id: Uuid, text: &str) -> usize {
        let stems = stems(text);
        self.said.extend(stems.iter().cloned());
        self.lines.push(Some((id, stems)));
        self.lines.len()
    }

    /// Something that is shown without a number.
    pub(crate) fn context(&mut self, text: &str) {
        self.heard.extend(stems(text));
    }

    /// The next line is the assistant's. Gives its number.
    pub(crate) fn other(&mut self, text: &str) -> usize {
        self.heard.extend(stems(text));
        self.lines.push(None);
        self.lines.len()
    }

    /// The user's messages that say a fact: those it names, or else those that share most of its words.
    fn sources(&self, content: &str, named: Option<&[usize]>) -> Result<Vec<Uuid>, Dropped> {
        let fact: HashSet<String> = stems(content).difference(&self.trivial).cloned().collect();
        let line = |number: &usize| self.lines.get(number.checked_sub(1)?)?.as_ref();
        let cited: Vec<&(Uuid, HashSet<String>)> = match named {
            Some(named) => named.iter().filter_map(line).collect(),
            None => self.lines.iter().flatten().filter(|(_, stems)| !stems.is_disjoint(&fact)).collect(),
        };
        if cited.is_empty() && !self.whole {
            return Err(Dropped::NoEvidence);
        }
        let said = fact.intersection(&self.said).count();
        let heard = fact.iter().filter(|stem| self.heard.contains(*stem) && !self.said.contains(*stem)).count();
        #[expect(clippy::cast_precision_loss, reason = "counts of words are small")]
        let share = said as f64 / fact.len().max(1) as f64;
        if !fact.is_empty() && (said == 0 || share < LEAST_SHARED) {
            return Err(if heard > 0 { Dropped::Recalled } else { Dropped::NoEvidence });
        }
        if heard >= RECALLED * said.max(1) {
            return Err(Dropped::Recalled);
        }
        let mut seen = HashSet::new();
        Ok(cited.into_iter().map(|(id, _)| *id).filter(|id| seen.insert(*id)).collect())
    }
}

/// The facts of a reply, and why the others were dropped; `None` when the reply is not what was asked for.
pub(crate) fn read(reply: &Value, evidence: &Evidence) -> Option<(Vec<Fact>, Vec<Dropped>)> {
    let items = match reply {
        Value::Array(items) => items.as_slice(),
        Value::Object(members) => match members.get("facts") {
            Some(Value::Array(items)) => items.as_slice(),
            Some(Value::Null) => &[],
            Some(item @ Value::Object(_)) => std::slice::from_ref(item),
            Some(_) => return None,
            None if members.contains_key("content") => std::slice::from_ref(reply),
            None => return None,
        },
        _ => return None,
    };
    let (mut facts, mut dropped): (Vec<Fact>, Vec<Dropped>) = (Vec::new(), Vec::new());
    for item in items {
        if facts.len() == MOST_FACTS {
            dropped.push(Dropped::TooMany);
            continue;
        }
        match fact(item, evidence) {
            Ok(fact) => {
                let same =
                    |other: &Fact| crate::words::normalised(&other.content) == crate::words::normalised(&fact.content);
                if facts.iter().any(same) { dropped.push(Dropped::Repeated) } else { facts.push(fact) }
            }
            Err(why) => dropped.push(why),
        }
    }
    Some((facts, dropped))
}

fn fact(item: &Value, evidence: &Evidence) -> Result<Fact, Dropped> {
    let content = match item {
        Value::String(text) => text.as_str(),
        Value::Object(members) => members.get("content").and_then(Value::as_str).ok_or(Dropped::Empty)?,
        _ => return Err(Dropped::Empty),
    };
    let content = content.split_whitespace().collect::<Vec<_>>().join(" ");
    let content: String = content.chars().filter(|c| !c.is_control()).collect();
    if !content.chars().any(char::is_alphanumeric) {
        return Err(Dropped::Empty);
    }
    if content.chars().count() > MOST_CHARS {
        return Err(Dropped::TooLong);
    }
    if is_secret(&content) {
        return Err(Dropped::Secret);
    }
    let attribute = item.get("profile_attribute").and_then(wish);
    let secret_value =
        attribute.as_ref().and_then(|wish| wish.value.as_ref()).is_some_and(|v| is_secret(&v.to_string()));
    if secret_value {
        return Err(Dropped::Secret);
    }
    let named = item.get("source_indexes").and_then(numbers);
    let sources = evidence.sources(&content, named.as_deref())?;
    Ok(Fact {
        tags: tags(item.get("tags").or_else(|| item.get("tag"))),
        importance: share(item.get("importance"), 0.5),
        confidence: share(item.get("confidence"), 0.8),
        intent: item.get("intent").and_then(Value::as_str).and_then(line),
        attribute,
        sources,
        content,
    })
}

/// A number from 0 to 1, also as text; anything else is `otherwise`.
fn share(value: Option<&Value>, otherwise: f32) -> f32 {
    let number = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "clamped to 0..1")]
    number.filter(|number: &f64| number.is_finite()).map_or(otherwise, |number| number.clamp(0.0, 1.0) as f32)
}

fn numbers(value: &Value) -> Option<Vec<usize>> {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
        Value::String(text) => text.trim().trim_matches(['[', ']']).parse().ok(),
        _ => None,
    };
    match value {
        Value::Array(items) if !items.is_empty() => Some(items.iter().take(50).filter_map(number).collect()),
        Value::Number(_) | Value::String(_) => Some(number(value).into_iter().collect()),
        _ => None,
    }
}

/// Canonical tags, unknown ones included; never none.
fn tags(value: Option<&Value>) -> Vec<String> {
    let given: Vec<&str> = match value {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => text.split(',').collect(),
        _ => Vec::new(),
    };
    let mut tags: Vec<String> = Vec::new();
    for tag in given {
        let plain = tag.trim().to_lowercase().split_whitespace().collect::<Vec<_>>().join("-");
        if let Some(tag) = clean_tag(&plain).filter(|tag| !tags.contains(tag) && tag != "pinned" && tag != "recurring")
        {
            tags.push(tag);
        }
    }
    tags.truncate(MOST_TAGS);
    if tags.is_empty() {
        tags.push("misc".into());
    }
    tags
}

/// A short text on one line.
fn line(text: &str) -> Option<String> {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    (!line.is_empty()).then_some(line)
}

fn wish(value: &Value) -> Option<Wish> {
    let text = |name| value.get(name).and_then(Value::as_str).map(|text: &str| text.trim().to_lowercase());
    let category = text("category").filter(|word| matches!(word.as_str(), "fact" | "preference" | "interest"))?;
    let key = text("key").map(|key| key.replace([' ', '-'], "_")).filter(|key| !key.is_empty() && key.len() <= 100)?;
    let value = match value.get("value") {
        Some(Value::String(text)) => line(text).map(Value::String),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.clone()),
        Some(Value::Array(items)) => {
            let items: Vec<Value> =
                items.iter().take(20).filter_map(Value::as_str).filter_map(line).map(Value::String).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        _ => None,
    };
    Some(Wish { category, key, value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn evidence() -> (Evidence, Uuid, Uuid) {
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut evidence = Evidence::new(&["Ann"]);
        evidence.user(first, "I moved to Lyon last spring and I'm allergic to peanuts");
        evidence.other("How nice! You told me about your brother Carl, the pilot with the blue motorcycle.");
        evidence.user(second, "Yes, exactly");
        (evidence, first, second)
    }

    #[test]
    fn items_are_judged_one_by_one() {
        let (evidence, first, _) = evidence();
        let reply = json!({"facts": [
            {"content": "  The user moved to\nLyon last spring. ", "tags": "Event, Big Change", "importance": "0.9", "source_indexes": [1],
             "profile_attribute": {"category": "Fact", "key": "Location", "value": "Lyon"}},
            {"content": "The user is allergic to peanuts.", "tags": ["health"], "importance": "very", "confidence": 7},
            {"content": "The user's brother Carl is a pilot with a blue motorcycle.", "source_indexes": [3]},
            {"content": "The user's brother Carl is a pilot.", "source_indexes": [2]},
            {"content": "The user owns a castle on Mars."},
            {"content": "The user's password is lyon.", "source_indexes": [1]},
            {"content": "the user moved to lyon last spring."},
            {"content": ""}, {"importance": 1}, 7, null,
            {"content": "x".repeat(501)},
        ]});
        let (facts, dropped) = read(&reply, &evidence).expect("readable");
        assert_eq!(facts.len(), 2, "{facts:?}");
        assert_eq!(facts[0].content, "The user moved to Lyon last spring.");
        assert_eq!(facts[0].tags, ["event", "big-change"]);
        assert_eq!(facts[0].sources, [first]);
        assert!((facts[0].importance - 0.9).abs() < 1e-6 && (facts[0].confidence - 0.8).abs() < 1e-6);
        assert_eq!(facts[0].attribute.as_ref().map(|wish| wish.key.as_str()), Some("location"));
        assert_eq!(facts[1].sources, [first], "found by its words");
        assert!((facts[1].importance - 0.5).abs() < 1e-6 && (facts[1].confidence - 1.0).abs() < 1e-6);
        assert_eq!(
            dropped,
            [
                Dropped::Recalled,
                Dropped::NoEvidence,
                Dropped::NoEvidence,
                Dropped::Secret,
                Dropped::Repeated,
                Dropped::Empty,
                Dropped::Empty,
                Dropped::Empty,
                Dropped::Empty,
                Dropped::TooLong,
            ]
        );
    }

    #[test]
    fn nothing_and_nonsense_are_told_apart() {
        let (evidence, ..) = evidence();
        for empty in [json!({"facts": []}), json!([]), json!({"facts": null})] {
            assert_eq!(read(&empty, &evidence), Some((Vec::new(), Vec::new())), "{empty}");
        }
        for nonsense in [json!({}), json!({"facts": "none"}), json!("none"), json!({"memories": []})] {
            assert_eq!(read(&nonsense, &evidence), None, "{nonsense}");
        }
        let many: Vec<Value> =
            (0..30).map(|n| json!({"content": format!("Lyon {n}"), "source_indexes": [1]})).collect();
        let (facts, dropped) = read(&json!(many), &evidence).expect("readable");
        assert_eq!((facts.len(), dropped.len()), (20, 10));
    }

    proptest! {
        #[test]
        fn no_reply_panics(text in ".{0,80}", number in any::<i64>(), key in ".{0,20}") {
            let (evidence, ..) = evidence();
            let reply = json!([{"content": text, "importance": number, "source_indexes": [number, text], "tags": [text],
                "profile_attribute": {"category": "fact", "key": key, "value": [text]}}, text]);
            if let Some((facts, _)) = read(&reply, &evidence) {
                for fact in facts {
                    prop_assert!((0.0..=1.0).contains(&fact.importance) && !fact.tags.is_empty());
                }
            }
        }
    }
}
