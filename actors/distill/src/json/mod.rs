//! Reading what models take for JSON (memory.md §8.4).
//!
//! The ladder: the text as it stands; then every `{` or `[` in it is tried by a tolerant reader that respects strings,
//! and the longest value that can be read wins, so that fences, prose and footnotes around it do not matter. Pure, and
//! bounded in input, depth and steps: hostile text costs time linear in its length and never panics.

mod tolerant;

#[cfg(test)]
mod corpus;

use serde_json::Value;

use self::tolerant::Reader;

/// Most bytes that are looked at.
const MOST: usize = 1024 * 1024;

/// The object or array in a model's reply, repaired where that is possible; `None` when there is none. A value that was cut
/// off keeps what was complete.
#[must_use]
pub fn read_json(text: &str) -> Option<Value> {
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
