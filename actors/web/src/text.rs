//! Texts from outside, made presentable: no markup where none belongs, no characters that nobody sees.

use crate::fetch::html;

/// The text behind a piece of HTML, on one line, cut to `limit` characters.
pub(crate) fn line_of_html(piece: &str, limit: usize) -> String {
    if !piece.contains(['<', '&']) {
        return line(piece, limit);
    }
    html::fragment(piece).map_or_else(|| line(piece, limit), |document| line(&document.text(), limit))
}

/// A text on one line, cut to `limit` characters.
pub(crate) fn line(text: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut letters = 0;
    for word in text.split(|letter: char| letter.is_whitespace() || letter.is_control()).filter(|word| !word.is_empty())
    {
        if letters > 0 {
            out.push(' ');
            letters += 1;
        }
        for letter in word.chars().filter(|letter| is_seen(*letter)) {
            if letters >= limit {
                out.truncate(out.trim_end().len());
                out.push('…');
                return out;
            }
            out.push(letter);
            letters += 1;
        }
    }
    out
}

/// A longer text: lines without blanks at their ends, never two empty ones in a row.
pub(crate) fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines() {
        let line = line.trim_end();
        if line.is_empty() {
            empty += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if empty > 0 { "\n\n" } else { "\n" });
        }
        empty = 0;
        out.extend(line.chars().filter(|letter| is_seen(*letter) && (!letter.is_control() || *letter == '\t')));
    }
    out
}

/// Not one of those that serve to hide text from people: tags, zero widths, changes of direction.
fn is_seen(letter: char) -> bool {
    !matches!(letter, '\u{00ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_without_markup_or_hidden_letters() {
        assert_eq!(line_of_html("Rust &amp; <b>Go</b>\n &lt;3", 99), "Rust & Go <3");
        assert_eq!(line("a\u{200b}b\u{e0041}\u{7}  c\n\nd", 99), "ab c d");
        assert_eq!(line("über lang", 4), "über…");
        assert_eq!(line("über", 4), "über");
    }

    #[test]
    fn longer_texts_keep_their_paragraphs() {
        assert_eq!(lines("\n\n a  \r\n\n\n\nb\u{202e}\nc\n"), " a\n\nb\nc");
    }
}
