//! Which texts stand for a message when it is turned into vectors: the message alone, and the message with what was said just
//! before and after it. Names of speakers are left out of both, as they are out of the question. Pure.

use crate::question::Role;
use crate::speaker;

/// Neighbours of the same session before a message that are embedded with it.
pub const CONTEXT_BEFORE: usize = 2;
/// Neighbours after it.
pub const CONTEXT_AFTER: usize = 1;
/// Characters of a message alone, some 2,000 tokens.
const OWN_CHARS: usize = 8_000;
/// Characters of a message among its neighbours.
const CENTRE_CHARS: usize = 1_200;
/// Characters of a neighbour.
const NEIGHBOUR_CHARS: usize = 400;

/// A message as far as its vectors depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Whose message it is.
    pub role: Role,
    /// Its text.
    pub content: &'a str,
}

/// The text that stands for a message alone, cut to 8,000 characters. Blank only for a blank message.
#[must_use]
pub fn own_text(line: &Line<'_>) -> String {
    said(line, OWN_CHARS).to_owned()
}

/// The text that stands for a message with its neighbours of the same session, in the order of time. At most
/// [`CONTEXT_BEFORE`] and [`CONTEXT_AFTER`] neighbours count, those next to it, each cut to 400 characters.
#[must_use]
pub fn context_text(before: &[Line<'_>], own: &Line<'_>, after: &[Line<'_>]) -> String {
    let before = before.get(before.len().saturating_sub(CONTEXT_BEFORE)..).unwrap_or_default();
    let lines = before.iter().map(|line| said(line, NEIGHBOUR_CHARS));
    let lines = lines.chain([said(own, CENTRE_CHARS)]);
    let lines = lines.chain(after.iter().take(CONTEXT_AFTER).map(|line| said(line, NEIGHBOUR_CHARS)));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn said<'a>(line: &Line<'a>, chars: usize) -> &'a str {
    let text = match speaker::split(line.content).1.trim() {
        "" => line.content.trim(),
        text => text,
    };
    text.char_indices().nth(chars).map_or(text, |(end, _)| text.get(..end).unwrap_or(text)).trim_end()
}

#[cfg(test)]
mod tests {
    use super::{Line, context_text, own_text};
    use crate::question::Role;

    fn line(content: &str) -> Line<'_> {
        Line { role: Role::User, content }
    }

    #[test]
    fn the_nearest_neighbours_count_and_names_do_not() {
        let before = [line("Ann: one"), line("two"), line("Ben: three")];
        assert_eq!(
            context_text(&before, &line("Ann: four"), &[line("Ben: five"), line("six")]),
            "two\nthree\nfour\nfive"
        );
        assert_eq!(own_text(&line("Ann: four ")), "four");
        assert_eq!(own_text(&line("Ann: ")), "Ann:");
        assert_eq!(own_text(&line("  ")), "");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let long = "é".repeat(1_000_000);
        assert_eq!(own_text(&line(&long)).chars().count(), 8_000);
        assert_eq!(context_text(&[line(&long)], &line(&long), &[line(&long)]).chars().count(), 400 + 1_200 + 400 + 2);
    }
}
