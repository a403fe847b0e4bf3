//! Who a line says it is from: imported conversations begin a message with "Name: ". Pure.

/// Bytes of a name that is believed.
const MAX_NAME_BYTES: usize = 40;
/// Words of a name that is believed.
const MAX_NAME_WORDS: usize = 4;
/// What stands before a colon and is nobody.
const NOBODY: &[&str] = &[
    "a",
    "agenda",
    "answer",
    "attention",
    "author",
    "bcc",
    "caution",
    "cc",
    "conclusion",
    "date",
    "definition",
    "edit",
    "error",
    "example",
    "from",
    "fwd",
    "hint",
    "http",
    "https",
    "important",
    "ingredients",
    "input",
    "instructions",
    "link",
    "message",
    "name",
    "nb",
    "note",
    "notes",
    "option",
    "output",
    "p.s",
    "plan",
    "problem",
    "ps",
    "q",
    "question",
    "quote",
    "re",
    "reminder",
    "result",
    "results",
    "role",
    "rule",
    "solution",
    "source",
    "spoiler",
    "step",
    "subject",
    "summary",
    "task",
    "tasks",
    "time",
    "tip",
    "title",
    "tl;dr",
    "tldr",
    "to",
    "todo",
    "topic",
    "update",
    "warning",
    "where",
    "why",
];

/// The name a text begins with, and the text behind it. A name is one to four words that each begin with a capital letter or
/// a letter of a script without capitals, before a colon and a space.
pub(crate) fn split(text: &str) -> (Option<&str>, &str) {
    let Some((name, rest)) = text.split_once(':').filter(|(name, _)| name.len() <= MAX_NAME_BYTES) else {
        return (None, text);
    };
    let name = name.trim();
    let begins = |word: &str| word.chars().next().is_some_and(|c| c.is_alphabetic() && !c.is_lowercase());
    let plain = |word: &str| word.chars().all(|c| c.is_alphanumeric() || matches!(c, '\'' | '’' | '-' | '.' | '_'));
    let words = name.split_whitespace().count();
    let is_name = (1..=MAX_NAME_WORDS).contains(&words)
        && rest.starts_with(char::is_whitespace)
        && name
            .split_whitespace()
            .all(|word| plain(word) && (begins(word) || word.starts_with(|c: char| c.is_numeric())))
        && begins(name)
        && !name.to_lowercase().split_whitespace().next().is_none_or(|word| NOBODY.contains(&word));
    if is_name { (Some(name), rest.trim_start()) } else { (None, text) }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn names_are_told_from_other_beginnings() {
        assert_eq!(split("Caroline: Hey Mel!"), (Some("Caroline"), "Hey Mel!"));
        assert_eq!(split("Dr. O'Neill Smith: hello"), (Some("Dr. O'Neill Smith"), "hello"));
        assert_eq!(split("Speaker 2: yes"), (Some("Speaker 2"), "yes"));
        assert_eq!(split("田中: はい"), (Some("田中"), "はい"));
        for text in [
            "Note: buy milk",
            "see: this",
            "https://x.y",
            "10:30 works",
            "Name:x",
            ": x",
            "",
            "One Two Three Four Five: x",
        ] {
            assert_eq!(split(text), (None, text));
        }
    }
}
