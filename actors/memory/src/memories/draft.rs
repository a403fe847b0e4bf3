//! What may be stored as a memory: pure checks with errors that say what is wrong.

use uuid::Uuid;

use super::{Meaning, MemoryDraft};
use crate::MemoryError;

/// Most characters of a memory.
pub const MOST_CHARS: usize = 4000;
/// Most tags that a caller may give.
pub const MOST_TAGS: usize = 12;
/// Most characters of a tag.
pub const MOST_TAG_CHARS: usize = 40;
/// Most source ids of one kind.
pub const MOST_SOURCES: usize = 1000;
/// Most characters of a meaning field.
const MOST_MEANING_CHARS: usize = 500;
/// Most bytes of the notes beside a memory, as JSON.
const MOST_METADATA_BYTES: usize = 16 << 10;
/// Most keywords.
const MOST_KEYWORDS: usize = 32;
/// What a memory is tagged with when nobody says.
const DEFAULT_TAG: &str = "misc";

/// The draft in canonical form.
pub(super) fn checked(draft: MemoryDraft) -> Result<MemoryDraft, MemoryError> {
    if draft.metadata.as_ref().is_some_and(|notes| notes.to_string().len() > MOST_METADATA_BYTES) {
        return Err(MemoryError::Invalid(format!("metadata must not be longer than {MOST_METADATA_BYTES} bytes")));
    }
    Ok(MemoryDraft {
        content: content(&draft.content)?,
        tags: tags(&draft.tags)?,
        importance: share("importance", draft.importance)?,
        confidence: share("confidence", draft.confidence)?,
        sources: sources(draft.sources)?,
        summary_sources: sources(draft.summary_sources)?,
        meaning: meaning(draft.meaning)?,
        ..draft
    })
}

/// A draft in canonical form, its meaning completed by rule: what an import stores.
pub(crate) fn checked_for_import(draft: MemoryDraft) -> Result<MemoryDraft, MemoryError> {
    let mut draft = checked(draft)?;
    let given = std::mem::take(&mut draft.meaning);
    draft.meaning = super::meaning::completed(given, &draft.content, &draft.tags, draft.importance);
    Ok(draft)
}

/// The text, trimmed, without control characters other than line breaks and tabs.
pub(super) fn content(text: &str) -> Result<String, MemoryError> {
    let text: String = text.trim().chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    if text.trim().is_empty() {
        return Err(MemoryError::Invalid("content must not be blank".into()));
    }
    if text.chars().count() > MOST_CHARS {
        return Err(MemoryError::Invalid(format!("content must not be longer than {MOST_CHARS} characters")));
    }
    Ok(text)
}

/// A tag in canonical form: `[a-z0-9][a-z0-9_-]*`, at most 40 characters. `None` for anything else.
#[must_use]
pub fn clean_tag(tag: &str) -> Option<String> {
    let tag = tag.trim().to_lowercase();
    let head = tag.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let plain = tag.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    (head && plain && tag.len() <= MOST_TAG_CHARS).then_some(tag)
}

/// Tags in canonical form and in order, each once; never none.
pub(super) fn tags(given: &[String]) -> Result<Vec<String>, MemoryError> {
    let mut tags: Vec<String> = Vec::new();
    for tag in given.iter().filter(|tag| !tag.trim().is_empty()) {
        let tag = clean_tag(tag).ok_or_else(|| {
            MemoryError::Invalid(format!(
                "a tag consists of a-z, 0-9, - and _, begins with a letter or digit and has at most {MOST_TAG_CHARS} \
                 characters"
            ))
        })?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if tags.len() > MOST_TAGS {
        return Err(MemoryError::Invalid(format!("a memory has at most {MOST_TAGS} tags")));
    }
    if tags.is_empty() {
        tags.push(DEFAULT_TAG.into());
    }
    Ok(tags)
}

/// A number clamped to 0..1.
pub(super) fn share(what: &str, number: f32) -> Result<f32, MemoryError> {
    if number.is_nan() {
        return Err(MemoryError::Invalid(format!("{what} must be a number from 0 to 1")));
    }
    Ok(number.clamp(0.0, 1.0))
}

fn sources(ids: Vec<Uuid>) -> Result<Vec<Uuid>, MemoryError> {
    if ids.len() > MOST_SOURCES {
        return Err(MemoryError::Invalid(format!("a memory has at most {MOST_SOURCES} sources")));
    }
    let mut seen = std::collections::HashSet::new();
    Ok(ids.into_iter().filter(|id| seen.insert(*id)).collect())
}

/// Meaning fields, trimmed and on one line; blank ones count as absent.
pub(super) fn meaning(given: Meaning) -> Result<Meaning, MemoryError> {
    let line = |text: Option<String>| {
        let Some(text) = text else { return Ok(None) };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        if text.chars().count() > MOST_MEANING_CHARS {
            return Err(MemoryError::Invalid(format!(
                "intent and stakes must not be longer than {MOST_MEANING_CHARS} characters"
            )));
        }
        Ok((!text.is_empty()).then_some(text))
    };
    if given.keywords.len() > MOST_KEYWORDS {
        return Err(MemoryError::Invalid(format!("a memory has at most {MOST_KEYWORDS} keywords")));
    }
    Ok(Meaning {
        intent: line(given.intent)?,
        stakes: line(given.stakes)?,
        emotional_charge: given.emotional_charge.map(|charge| share("emotional_charge", charge)).transpose()?,
        keywords: keywords(&given.keywords),
    })
}

/// Keywords in lower case, each once, blank ones left out, long ones cut.
fn keywords(given: &[String]) -> Vec<String> {
    let mut keywords: Vec<String> = Vec::new();
    for word in given {
        let word: String = word.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        let word: String = word.chars().filter(|c| !c.is_control()).take(MOST_TAG_CHARS).collect();
        if !word.is_empty() && !keywords.contains(&word) {
            keywords.push(word);
        }
    }
    keywords
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_canonical_or_refused() {
        let given = [" Plan ".to_owned(), "plan".into(), "a-b_c".into(), " ".into()];
        assert_eq!(tags(&given).expect("tags"), ["plan", "a-b_c"]);
        assert_eq!(tags(&[]).expect("tags"), ["misc"]);
        for bad in ["it's", "\"", "a b", "-a", "_a", "a'); DROP TABLE memories; --", "ä", &"x".repeat(41)] {
            assert!(tags(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
        let many: Vec<String> = (0..13).map(|n| format!("t{n}")).collect();
        assert!(tags(&many).is_err());
    }

    #[test]
    fn content_is_bounded() {
        assert_eq!(content("  a\u{0}b \n").expect("text"), "ab");
        assert!(content(" \n\t ").is_err());
        assert!(content(&"x".repeat(4000)).is_ok() && content(&"x".repeat(4001)).is_err());
        assert!(share("importance", f32::NAN).is_err());
        assert_eq!(share("importance", 7.0).ok(), Some(1.0));
    }

    proptest! {
        #[test]
        fn no_draft_panics(text in ".{0,200}", tag in ".{0,60}", word in ".{0,60}", importance in any::<f32>()) {
            let mut draft = MemoryDraft::new(text);
            draft.tags = vec![tag];
            draft.importance = importance;
            draft.meaning.keywords = vec![word];
            if let Ok(draft) = checked(draft) {
                prop_assert!(!draft.content.trim().is_empty() && !draft.tags.is_empty());
                prop_assert!((0.0..=1.0).contains(&draft.importance));
            }
        }
    }
}
