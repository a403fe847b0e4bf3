//! Reading what models take for JSON: answers ([`repair`], memory.md §8.4) and the arguments of calls ([`object`],
//! tools.md §5.3).
//!
//! The ladder: the text as it stands; then a tolerant reader that respects strings. For an answer the longest value
//! anywhere in the text wins, so that fences, prose and footnotes around it do not matter, and one that was cut off keeps
//! what was complete. Arguments are not guessed: missing closers are added, but a call that lost a part of its arguments is
//! none. Pure, and bounded in input, depth and steps: hostile text costs time linear in its length and never panics.

mod tolerant;

#[cfg(test)]
mod corpus;

use serde_json::Value;

use self::tolerant::Reader;
use crate::closing::Closing;

/// Most bytes that are looked at.
const MOST: usize = 1024 * 1024;

/// The object or array in a model's reply, repaired where that is possible; `None` when there is none. A value that was cut
/// off keeps what was complete.
#[must_use]
pub fn repair(text: &str) -> Option<Value> {
    let text = &text[..text.floor_char_boundary(MOST)];
    let trimmed = text.trim();
    if let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(trimmed) {
        return Some(value);
    }
    let mut reader = Reader::new(text);
    let (mut best, mut longest) = (None, 0);
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find(['{', '['])) {
        let begin = at + found;
        match reader.value_at(begin) {
            Some((value, end)) => {
                if end - begin > longest {
                    (best, longest) = (Some(value), end - begin);
                }
                at = end;
            }
            None => at = begin + 1,
        }
        if reader.is_exhausted() {
            break;
        }
    }
    best
}

/// The object that a whole text is, as the arguments of a call: small mistakes are repaired, missing closers added, surplus
/// ones dropped. `None` when it is anything else or when a part of it was lost. JSON in a JSON string is unpacked once.
#[must_use]
pub fn object(text: &str) -> Option<Value> {
    match serde_json::from_str(text.trim()) {
        Ok(value @ Value::Object(_)) => Some(value),
        Ok(Value::String(packed)) => lenient(packed.trim()),
        Ok(_) => None,
        Err(_) => lenient(unfenced(text.trim())),
    }
}

/// The object with which a text begins and its length in bytes, repaired like [`object`] but complete.
#[must_use]
pub fn object_at(text: &str) -> Option<(Value, usize)> {
    if !text.starts_with('{') {
        return None;
    }
    let text = &text[..text.floor_char_boundary(MOST)];
    let end = Closing::new().feed(text)?;
    Some((lenient(&text[..end])?, end))
}

fn lenient(text: &str) -> Option<Value> {
    if !text.starts_with('{') || text.len() > MOST {
        return None;
    }
    let mut closing = Closing::new();
    let (whole, rest) = match closing.feed(text) {
        Some(end) => (text[..end].to_owned(), &text[end..]),
        None => (text.to_owned() + &closing.missing()?, ""),
    };
    if !rest.chars().all(|c| c.is_whitespace() || matches!(c, '}' | ']' | '`')) {
        return None;
    }
    if let Ok(value @ Value::Object(_)) = serde_json::from_str(&whole) {
        return Some(value);
    }
    let (value, end) = Reader::new(&whole).complete_at(0)?;
    (end == whole.len()).then_some(value)
}

/// A text without the code fence around it.
fn unfenced(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```") else { return text };
    inner.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').trim_start()
}
