//! What a profile says in a prompt (pipeline-and-prompts §6.2, §6.3): pure functions from a profile to a short text.
//!
//! Invariants: at most [`TOKENS_MAX`] estimated tokens, the least sure attributes are left out first; a stale portrait is
//! never used; a value stays in its line, so that no attribute can forge a heading.

use std::collections::HashSet;
use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::attribute::Attribute;
use crate::entity::EntityType;
use crate::profile::ProfileDetail;

/// Most tokens of one section, estimated as one for each started group of four bytes.
pub const TOKENS_MAX: usize = 600;
/// Attributes less sure than this are not told.
const LEAST_CONFIDENCE: f64 = 0.5;
/// Longest value, in characters.
const VALUE_CHARS: usize = 400;
/// What a bot is told about itself.
const TRAITS: [&str; 4] = ["communication_style", "interest", "personality", "preference"];
/// Lists of tools go stale and mislead the model.
const TOOL_LISTS: [&str; 3] = ["tools", "tool_list", "available_tools"];

/// What there is to say about an entity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileText {
    /// For the prompt, without a heading; empty when there is nothing to say.
    pub text: String,
    /// How the entity wants to be called.
    pub display_name: Option<String>,
    /// IANA name of the entity's time zone, if it is known and real.
    pub timezone: Option<String>,
    /// The profile's version; 0 when there is none.
    pub version: i64,
}

impl ProfileText {
    /// The text of a profile.
    #[must_use]
    pub fn of(profile: &ProfileDetail) -> Self {
        let header = &profile.header;
        let kind = header.entity.kind();
        let display_name = header.display_name.as_deref().map(one_line).filter(|name| !name.is_empty());
        let name_line = display_name.as_ref().map(|name| match kind {
            EntityType::User => format!("The user's name is {name}.\n"),
            EntityType::Bot => format!("Your name is {name}.\n"),
        });
        let head = name_line.unwrap_or_default();
        let portrait = header.summary.as_deref().map(calm).filter(|text| !text.is_empty());
        let body = match portrait {
            Some(portrait) => cut(&portrait, (TOKENS_MAX * 4).saturating_sub(head.len())),
            None => lines(kind, display_name.as_deref(), &profile.attributes, &head),
        };
        Self {
            text: format!("{head}{body}").trim_end().to_owned(),
            timezone: timezone(&profile.attributes),
            display_name,
            version: header.version,
        }
    }
}

/// One attribute as it would be told.
struct Told<'a> {
    attribute: &'a Attribute,
    value: String,
}

fn lines(kind: EntityType, name: Option<&str>, attributes: &[Attribute], head: &str) -> String {
    let mut told: Vec<Told<'_>> = attributes
        .iter()
        .filter(|attribute| attribute.confidence >= LEAST_CONFIDENCE && concerns(kind, attribute))
        .map(|attribute| Told { attribute, value: plain(&attribute.value) })
        .filter(|told| !told.value.is_empty())
        .filter(|told| {
            !(told.attribute.key == "name" && name.is_some_and(|name| told.value.eq_ignore_ascii_case(name)))
        })
        .collect();
    // A summary among other attributes of its category only repeats them.
    let mixed = |told: &Told<'_>, all: &[Told<'_>]| {
        told.attribute.key == "summary"
            && all.iter().filter(|it| it.attribute.category == told.attribute.category).count() > 1
    };
    let repeats: Vec<bool> = told.iter().map(|it| mixed(it, &told)).collect();
    let mut repeats = repeats.into_iter();
    told.retain(|_| !repeats.next().unwrap_or_default());

    // The surest first, and of those the newest; what is said twice is told once.
    told.sort_by(|a, b| {
        let (a, b) = (a.attribute, b.attribute);
        b.confidence.total_cmp(&a.confidence).then(b.updated_at.cmp(&a.updated_at)).then(a.id.cmp(&b.id))
    });
    let mut seen = HashSet::new();
    told.retain(|it| seen.insert((it.attribute.key.clone(), it.value.to_lowercase())));
    let budget = (TOKENS_MAX * 4).saturating_sub(head.len());
    let mut kept = told.len();
    loop {
        let text = compose(kind, &told[..kept]);
        if text.len() <= budget || kept == 0 {
            return text;
        }
        // Each round drops at least one; far over the budget, many at once.
        kept = (kept * budget / text.len()).min(kept - 1);
    }
}

fn concerns(kind: EntityType, attribute: &Attribute) -> bool {
    let category = attribute.category.as_str();
    match kind {
        EntityType::User => true,
        EntityType::Bot => {
            let tool_list = category == "personality" && TOOL_LISTS.contains(&attribute.key.as_str());
            TRAITS.contains(&category) && !tool_list
        }
    }
}

fn compose(kind: EntityType, told: &[Told<'_>]) -> String {
    let mut told: Vec<&Told<'_>> = told.iter().collect();
    told.sort_by_key(|it| (&it.attribute.category, &it.attribute.key));
    let owner = match kind {
        EntityType::User => "User's",
        EntityType::Bot => "Your",
    };
    let mut text = String::new();
    for group in told.chunk_by(|a, b| a.attribute.category == b.attribute.category) {
        let Some(first) = group.first() else { continue };
        let _ = write!(text, "{owner} {}: ", label(&first.attribute.category));
        match group {
            [only] if only.attribute.key == "summary" => text.push_str(&only.value),
            several => {
                let pairs: Vec<String> =
                    several.iter().map(|it| format!("{}: {}", readable(&it.attribute.key), it.value)).collect();
                text.push_str(&pairs.join("; "));
            }
        }
        text.push('\n');
    }
    text
}

fn label(category: &str) -> String {
    match category {
        "preference" => "preferences".into(),
        "fact" => "facts".into(),
        "personality" => "personality traits".into(),
        "interest" => "interests".into(),
        "context" => "current context".into(),
        "communication" => "communication style".into(),
        other => readable(other),
    }
}

fn readable(name: &str) -> String {
    one_line(&name.replace('_', " "))
}

/// A value as people write it; empty for null.
fn plain(value: &Value) -> String {
    fn write(value: &Value) -> String {
        match value {
            Value::Null => String::new(),
            Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                items.iter().map(write).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
            }
            Value::Object(map) => {
                map.iter().map(|(key, value)| format!("{key} {}", write(value))).collect::<Vec<_>>().join(", ")
            }
        }
    }
    let text = one_line(&write(value));
    match text.char_indices().nth(VALUE_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

/// A portrait of several lines, none of which looks like a heading.
fn calm(text: &str) -> String {
    let lines = text.lines().map(|line| one_line(line.trim_start_matches(['#', ' ', '\t'])));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Whole words up to a number of bytes.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let whole = text[..end].rfind(char::is_whitespace).unwrap_or(end);
    text[..whole].trim_end().to_owned()
}

/// The surest attribute `timezone` that names a zone.
fn timezone(attributes: &[Attribute]) -> Option<String> {
    let mut zones: Vec<&Attribute> =
        attributes.iter().filter(|it| it.key == "timezone" && it.confidence >= LEAST_CONFIDENCE).collect();
    zones.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(b.updated_at.cmp(&a.updated_at)));
    zones.iter().find_map(|it| {
        let name = it.value.as_str()?.trim();
        TimeZone::get(name).ok()?.iana_name().map(str::to_owned)
    })
}

/// The name in a sentence such as "my name is Ann": the word after "name is", "named", "I'm" or "call me"; else the sentence
/// itself when it is short and says nothing else; else its last capitalised word.
#[must_use]
pub fn name_in_fact(content: &str) -> Option<String> {
    let content = one_line(content);
    let clean = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        let word = word.strip_suffix("'s").or_else(|| word.strip_suffix("’s")).unwrap_or(word);
        (1..=crate::profile::NAME_MAX).contains(&word.chars().count()).then(|| word.to_owned())
    };
    let words: Vec<&str> = content.split(' ').collect();
    let lower: Vec<String> = words.iter().map(|word| word.to_lowercase().replace('’', "'")).collect();
    let after = (0..lower.len()).find_map(|at| match lower[at].as_str() {
        "named" | "i'm" => Some(at + 1),
        "name" if lower.get(at + 1).is_some_and(|next| next == "is") => Some(at + 2),
        "call" if lower.get(at + 1).is_some_and(|next| next == "me") => Some(at + 2),
        _ => None,
    });
    if let Some(name) = after.and_then(|at| words.get(at)).and_then(|word| clean(word)) {
        return Some(name);
    }
    if content.chars().count() <= 30 && !lower.iter().any(|word| word == "is") {
        let bare = content.trim_matches(|c: char| !c.is_alphanumeric());
        return (!bare.is_empty()).then(|| bare.to_owned());
    }
    words.iter().rev().find(|word| word.chars().next().is_some_and(char::is_uppercase)).and_then(|word| clean(word))
}

#[cfg(test)]
mod tests;
