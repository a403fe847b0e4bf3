//! The part of a text that answers a question best, for lists of results. Pure.

use std::collections::HashSet;

use crate::question::Question;
use crate::words::{pieces, stemmer, term_of};

/// Occurrences of a question's words that are weighed.
const MAX_FOUND: usize = 2_000;

/// The stretch of a text of at most `max_chars` characters (and an ellipsis at each cut) with the most different words of the
/// question, cut between words and with line breaks as spaces. Without any of its words, the beginning.
#[must_use]
pub fn snippet(text: &str, question: &Question, max_chars: usize) -> String {
    let text = text.trim();
    if text.char_indices().nth(max_chars).is_none() {
        return one_line(text);
    }
    let wanted: HashSet<&str> = question.terms().iter().map(String::as_str).collect();
    let stemmer = stemmer();
    let mut found: Vec<(usize, usize, String)> = Vec::new();
    pieces(text, |piece| {
        if found.len() < MAX_FOUND
            && let Some(term) = term_of(&stemmer, &piece).filter(|term| wanted.contains(term.as_str()))
        {
            found.push((piece.start, piece.end, term));
        }
    });
    let mut best = (0, 0, 0); // different words, start, end
    for (first, (start, ..)) in found.iter().enumerate() {
        let mut different = HashSet::new();
        let mut end = *start;
        for (_, until, term) in found.iter().skip(first) {
            // Bytes are at least as many as characters, so this never takes too much.
            if until - start > max_chars {
                break;
            }
            different.insert(term.as_str());
            end = *until;
        }
        if different.len() > best.0 {
            best = (different.len(), *start, end);
        }
    }
    let (_, start, end) = best;
    let used = text.get(start..end).unwrap_or_default().chars().count();
    let lead = max_chars.saturating_sub(used) / 3;
    let from = text.get(..start).unwrap_or_default().char_indices().rev().take(lead).last().map_or(start, |(at, _)| at);
    let rest = text.get(from..).unwrap_or_default();
    let to = rest.char_indices().nth(max_chars).map_or(text.len(), |(at, _)| from + at);
    let (from, to) = (after_space(text, from, start), before_space(text, to, end));
    let (head, tail) = (if from > 0 { "… " } else { "" }, if to < text.len() { " …" } else { "" });
    format!("{head}{}{tail}", one_line(text.get(from..to).unwrap_or_default()))
}

/// The beginning of the first whole word from `at`, but not behind `limit`.
fn after_space(text: &str, at: usize, limit: usize) -> usize {
    if at == 0 {
        return 0;
    }
    let inside = text.get(at..limit).unwrap_or_default();
    inside.find(char::is_whitespace).map_or(at, |space| at + space)
}

/// The end of the last whole word up to `at`, but not before `limit`.
fn before_space(text: &str, at: usize, limit: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    let inside = text.get(limit..at).unwrap_or_default();
    inside.rfind(char::is_whitespace).map_or(at, |space| limit + space)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::snippet;
    use crate::question::{Cast, Question};

    fn ask(text: &str) -> Question {
        Question::parse(text, &Cast::default(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_part_with_the_words_is_shown() {
        let text = format!(
            "{} She bought the red bicycles\nin Rome. {}",
            "Nothing here. ".repeat(40),
            "More of it. ".repeat(40)
        );
        let shown = snippet(&text, &ask("Who bought a bicycle?"), 80);
        assert!(
            shown.contains("bought the red bicycles in Rome.") && shown.starts_with("… ") && shown.ends_with(" …"),
            "{shown}"
        );
        assert_eq!(snippet(" a\n b ", &ask("x"), 80), "a b");
        assert!(snippet(&text, &ask("zebra"), 40).starts_with("Nothing here."));
    }

    proptest! {
        #[test]
        fn it_is_never_too_long(text in "\\PC{0,300}", question in "\\PC{0,40}", max in 1_usize..120) {
            prop_assert!(snippet(&text, &ask(&question), max).chars().count() <= max + 4);
        }
    }
}
