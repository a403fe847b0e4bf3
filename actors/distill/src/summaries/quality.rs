//! Whether a summary says enough for what it stands for (memory.md §13.6). Pure.

use greenroom_memory::summaries::Sections;

/// Whether it may be stored for a conversation of so many characters.
pub(crate) fn is_enough(sections: &Sections, source_chars: usize) -> bool {
    let length = |text: &str| text.chars().count();
    let details = length(&sections.key_details);
    let all = length(&sections.summary) + details + length(&sections.intent) + length(&sections.open_loops);
    match source_chars {
        0..200 => all >= 20,
        200..600 => all >= 80,
        _ => all >= 260 && details >= 120 && is_specific(sections),
    }
}

/// Whether it names anything in particular: a number, something quoted, a name, something technical.
fn is_specific(sections: &Sections) -> bool {
    let text = format!("{} {}", sections.summary, sections.key_details);
    let mut digits = 0;
    for letter in text.chars() {
        digits = if letter.is_ascii_digit() { digits + 1 } else { 0 };
        if digits == 2 || matches!(letter, '"' | '`' | '“' | '«' | '/' | '_' | '@') {
            return true;
        }
    }
    let inner_capital = |word: &str| word.chars().skip(1).any(char::is_uppercase);
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let next_is_name = words.peek().is_some_and(|next| next.chars().next().is_some_and(char::is_uppercase));
        if inner_capital(word) || (next_is_name && !word.ends_with(['.', '!', '?', ':'])) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections(summary: &str, key_details: &str) -> Sections {
        Sections { summary: summary.into(), key_details: key_details.into(), ..Sections::default() }
    }

    #[test]
    fn short_talk_needs_little() {
        assert!(!is_enough(&sections("They spoke.", ""), 100));
        assert!(is_enough(&sections("The user said hello twice.", ""), 100));
        assert!(!is_enough(&sections("The user said hello twice.", ""), 300));
    }

    #[test]
    fn long_talk_needs_particulars() {
        let long =
            "the user spoke about many things and the assistant answered every one of them at length. ".repeat(3);
        assert!(!is_enough(&sections(&long, "short"), 5_000));
        assert!(!is_enough(&sections(&long, &long), 5_000), "nothing in particular");
        assert!(is_enough(&sections(&long, &format!("{long} moved to Kyiv")), 5_000));
        assert!(is_enough(&sections(&long, &format!("{long} testing the parser, 42 cases")), 5_000));
        assert!(is_enough(&sections(&long, &format!("{long} ran `make`")), 5_000));
    }
}
