//! What a terminal is given: colours when it wants them, and never a control character of somebody else's, because an
//! answer could otherwise move the cursor, change the title or forge the lines around it.

use std::io::{IsTerminal, Write};

use crate::config::Surroundings;

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    colours: bool,
}

impl Style {
    /// Colours when both outputs are a terminal and nobody objects.
    #[must_use]
    pub fn detect(plain: bool, around: &Surroundings) -> Self {
        let objected = around.variable("NO_COLOR").is_some() || around.variable("TERM") == Some("dumb");
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Self { colours: !plain && !objected && terminal }
    }

    /// Without colours.
    #[cfg(test)]
    #[must_use]
    pub const fn bare() -> Self {
        Self { colours: false }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// For what is less important.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// For what is more important.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// For what is well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// For what deserves a look.
    #[must_use]
    pub fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// For what is broken.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }
}

/// Writes to standard output at once. Unlike `print!` it reports a reader that left as an error, not with a panic.
///
/// # Errors
/// What the system says.
pub fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Text without control characters other than line breaks and tabs.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// One line of text, at most `most` characters.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    let flat: String = harmless(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= most { flat } else { format!("{}…", flat.chars().take(most).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{7}\r\n\tc\u{9b}1m"), "a[2Jb\n\tc1m");
        assert_eq!(one_line("a\n\n  b\u{1b} c", 10), "a b c");
        assert_eq!(one_line("aaaaaa", 3), "aaa…");
    }
}
